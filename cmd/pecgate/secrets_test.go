package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/relay"
)

// TestS1_PasswordsOfProvidersNowhere: whether sealed or in files of their own, the passwords at the providers stand in clear
// in no argument and no variable of the running process, in no file of the store, in no backup, in no line of the log and in
// nothing that was sent; neither does the key that opens the sealed ones. What the unit adds: no core is dumped. That keys
// change while it runs is TestS1_SealedPasswordsWork.
func TestS1_PasswordsOfProvidersNowhere(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.writePolicy(strings.Replace(h.policy, "{file: secrets/"+boxA+"}", h.sealed("provider-a"), 1)) // the other stays a file
	keys, err := os.ReadFile(filepath.Join(h.dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	var key string
	for line := range strings.Lines(string(keys)) {
		if k, ok := strings.CutPrefix(line, "pecgate-seal-1 "); ok {
			key = strings.TrimSpace(k)
		}
	}
	if key == "" {
		t.Fatalf("no key in %d bytes", len(keys))
	}
	p := h.launch()
	id := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", "s1@alfa.example")))
	h.settled(id, relay.Accepted)
	h.until("it arrives", func() bool { return len(h.folder("lucia", treeB+"Posta in arrivo")) == 1 })
	backup := filepath.Join(t.TempDir(), "backup")
	if state, out, errs := program(t, "", "backup", "--config", h.config(), backup); state != exitGood {
		t.Fatalf("%d %s%s", state, out, errs)
	}
	tr := newTracer([]string{"provider-a", "provider-b", key})
	places := 0
	look := func(where string, b []byte) {
		places++
		if tr.in(b) != "" {
			t.Errorf("a secret stands in %s", where)
		}
	}
	for _, name := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name))
		if err != nil || len(b) == 0 {
			t.Fatalf("%s: %d bytes, %v", name, len(b), err)
		}
		look(name, b)
	}
	p.stop()
	h.everyByte(backup, look)
	policy, err := os.ReadFile(filepath.Join(h.dir, "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	look("policy.yaml", policy)
	if places < 12 {
		t.Errorf("%d places", places)
	}
	unit, err := os.ReadFile("../../systemd/pecgate.service")
	if err != nil || !bytes.Contains(unit, []byte("\nLimitCORE=0\n")) {
		t.Errorf("a core of the process could be dumped: %v", err)
	}
}

// TestS2_PasswordsOfPeopleAreHashes: a plain text in policy.yaml is refused with its place and never shown, so is a weak
// bcrypt; what the commands make is taken as it is printed, and the person logs in with it.
func TestS2_PasswordsOfPeopleAreHashes(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, "", "mario"))
	lines := strings.SplitAfter(h.policy, "\n")
	at := -1
	for i, l := range lines {
		if strings.Contains(l, "login: mario") {
			at = i
		}
	}
	if at < 0 || !strings.HasPrefix(lines[at+2], "    password: ") || !strings.HasPrefix(lines[at+3], "    pin: ") {
		t.Fatalf("policy\n%s", h.policy)
	}
	with := func(password, pin string) (state int, said string) {
		t.Helper()
		changed := append([]string{}, lines...)
		changed[at+2], changed[at+3] = "    password: "+password+"\n", "    pin: "+pin+"\n"
		h.writePolicy(strings.Join(changed, ""))
		state, out, errs := program(t, "", "check", "--config", h.config())
		return state, out + errs
	}
	good := strings.TrimSpace(strings.TrimPrefix(lines[at+2], "    password: "))
	goodPIN := strings.TrimSpace(strings.TrimPrefix(lines[at+3], "    pin: "))
	const bcryptTail = "$abcdefghijklmnopqrstuu0sISH0leK.XA2Hsy79BXs2v6yMcspdC"
	for _, c := range []struct{ name, password, pin, want string }{
		{"a plain password", "hunter2-hunter2", goodPIN, "plain text is refused"},
		{"a plain password that looks like a variable", "'$hunter2'", goodPIN, "plain text is refused"},
		{"its base64", base64.StdEncoding.EncodeToString([]byte("hunter2-hunter2")), goodPIN, "plain text is refused"},
		{"a plain PIN", good, `"471193"`, "plain text is refused"},
		{"MD5 of crypt", "$1$abcdefgh$hunter2hunter2hunter2/", goodPIN, "needs a hash"},
		{"bcrypt of cost 4", "$2y$04" + bcryptTail, goodPIN, "cost 12"},
		{"bcrypt of cost 11", "$2b$11" + bcryptTail, goodPIN, "cost 12"},
		{"bcrypt of cost 13", "$2b$13" + bcryptTail, goodPIN, "cost 12"},
		{"a PIN with bcrypt of cost 10", good, "$2b$10" + bcryptTail, "cost 12"},
	} {
		state, said := with(c.password, c.pin)
		if state != exitUsage || !strings.Contains(said, c.want) || !strings.Contains(said, "policy.yaml:") {
			t.Errorf("%s: %d %s", c.name, state, said)
		}
		for _, secret := range []string{"hunter2", "471193", base64.StdEncoding.EncodeToString([]byte("hunter2"))[:8], bcryptTail} {
			if strings.Contains(said, secret) {
				t.Errorf("%s is shown: %s", c.name, said)
			}
		}
	}
	if state, said := with("$2b$12"+bcryptTail, goodPIN); state != exitGood {
		t.Errorf("bcrypt of cost 12: %d %s", state, said)
	}
	made := func(command, secret string) string {
		t.Helper()
		state, out, errs := program(t, secret+"\n", command)
		hash := strings.TrimSpace(out)
		if i := strings.LastIndexByte(hash, ' '); i >= 0 {
			hash = hash[i+1:]
		}
		if state != exitGood || auth.CheckHash(hash) != nil || strings.Contains(out+errs, secret) {
			t.Fatalf("%s: %d %q %q", command, state, out, errs)
		}
		return hash
	}
	password, pin := "una parola lunga", "840215"
	if state, said := with(made("password", password), made("pin", pin)); state != exitGood {
		t.Fatalf("what the commands print: %d %s", state, said)
	}
	h.start()
	accepted(t, h.send("mario", password, boxA, []string{boxB}, mail(boxA, boxB, "x [PIN:"+pin+"]", "s2@alfa.example")))
}
