package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/configs"
	"pecgate/configs/seal"
	"pecgate/relay"
	"pecgate/relay/submit"
)

// sealed runs `pecgate seal` and gives what it printed for policy.yaml.
func (h *house) sealed(password string) string {
	h.t.Helper()
	state, out, errs := program(h.t, password+"\n", "seal", "--config", h.config())
	if state != exitGood || !strings.HasPrefix(out, `{sealed: "v1.`) || !strings.HasSuffix(out, "\"}\n") || strings.Contains(out+errs, password) {
		h.t.Fatalf("%d %q %q", state, out, errs)
	}
	return strings.TrimSpace(out)
}

// TestS1_SealedPasswordsWork: a house whose passwords at the providers are all sealed sends and fetches, by IMAP and POP3;
// the keys change while it runs, and it goes on; none of it is in what it keeps.
func TestS1_SealedPasswordsWork(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), strings.Replace(mailboxText(boxB, false, "", "lucia"), "{protocol: imap, host: localhost, port: IMAPPORT", "{protocol: pop3, host: localhost, port: POP3PORT", 1))
	text := h.policy
	for box, password := range map[string]string{boxA: "provider-a", boxB: "provider-b"} {
		file := "{file: secrets/" + box + "}"
		if !strings.Contains(text, file) {
			t.Fatalf("no %s in\n%s", file, text)
		}
		text = strings.Replace(text, file, h.sealed(password), 1)
	}
	h.writePolicy(text)
	if err := os.RemoveAll(filepath.Join(h.dir, "secrets")); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(h.dir, "seal.key")
	if info, err := os.Stat(key); err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	h.serving()
	sent := 0
	works := func() {
		t.Helper()
		sent++
		id := fmt.Sprintf("s%d@alfa.example", sent)
		if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", id)); r.Class != submit.HandedOver {
			t.Fatalf("%+v", r)
		}
		h.settled(id, relay.Accepted) // sent by SMTP, its receipt fetched by IMAP
		h.until("it arrives by POP3", func() bool { return len(h.folder("lucia", treeB+"Posta in arrivo")) == sent })
	}
	works()
	policy := filepath.Join(h.dir, "policy.yaml")
	before, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	old, err := configs.ReadSealKey(h.config())
	if err != nil {
		t.Fatal(err)
	}
	state, out, errs := program(t, "", "seal", "--rotate", "--config", h.config())
	if state != exitGood || errs != "" || !strings.HasPrefix(out, "2 texts of policy.yaml sealed anew") {
		t.Fatalf("%d %q %q", state, out, errs)
	}
	h.until("it is read again", func() bool { return strings.Contains(h.log.String(), "configuration reloaded") })
	works()
	after, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	now, err := configs.ReadSealKey(h.config())
	if err != nil || now.Ring.Len() != 2 || bytes.Contains(after, []byte(old.Ring.Newest())) || bytes.Count(after, []byte(now.Ring.Newest())) != 2 {
		t.Errorf("%d keys, %v; the policy is\n%s", now.Ring.Len(), err, after)
	}
	if info, err := os.Stat(policy); err != nil || info.Mode() != 0o600 || len(after) != len(before) {
		t.Errorf("%v, %v; %d bytes were %d", info, err, len(after), len(before))
	}
	// The old policy still opens, until the old key is taken out.
	h.write("policy.yaml", string(before))
	if state, out, errs := program(t, "", "check", "--config", h.config()); state != exitGood {
		t.Errorf("%d %s%s", state, out, errs)
	}
	h.write("policy.yaml", string(after))
	keys, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{"provider-a", "provider-b"}
	for _, line := range strings.Split(string(keys), "\n") {
		if k, ok := strings.CutPrefix(line, "pecgate-seal-1 "); ok {
			secrets = append(secrets, k)
		}
	}
	if len(secrets) != 4 {
		t.Fatalf("%d secrets", len(secrets))
	}
	looked := 0
	look := func(where string, b []byte) {
		looked++
		for _, s := range secrets {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s holds %.4s...", where, s)
			}
		}
	}
	look("the log", []byte(h.log.String()))
	look("the policy", after)
	err = filepath.WalkDir(filepath.Join(h.dir, "data"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		look(path, b)
		return err
	})
	if err != nil || looked < 5 {
		t.Errorf("%d places, %v", looked, err)
	}
}

// TestSealCommand: what cannot be sealed, and where the key is not as it must be.
func TestSealCommand(t *testing.T) {
	config := configFolder(t)
	dir := filepath.Dir(config)
	key := filepath.Join(dir, "seal.key")
	for stdin, want := range map[string]string{
		"":                             "the password is empty",
		"\n":                           "the password is empty",
		"hunter2\x00\n":                "the password must be one line",
		strings.Repeat("hunter2", 1e4): "the password is too long",
	} {
		if state, out, errs := program(t, stdin, "seal", "--config", config); state != exitUsage || out != "" || errs != "pecgate: "+want+"\n" {
			t.Errorf("%.20q: %d %q %q", stdin, state, out, errs)
		}
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("a key was made for nothing")
	}
	if state, out, errs := program(t, "", "seal", "--rotate", "--config", config); state != exitUsage || out != "" || !strings.Contains(errs, "there is no key "+key+" yet") {
		t.Errorf("%d %q %q", state, out, errs)
	}
	state, first, errs := program(t, "hunter2\r\n", "seal", "--config", config)
	if state != exitGood || errs != "pecgate: the key "+key+" is new: keep a copy of it, apart from policy.yaml\n" {
		t.Fatalf("%d %q %q", state, first, errs)
	}
	state, second, errs := program(t, "hunter2", "seal", "--config", config)
	if state != exitGood || errs != "" || second == first {
		t.Fatalf("%d %q %q", state, second, errs)
	}
	at, err := configs.ReadSealKey(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{first, second} {
		text := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(out), `{sealed: "`), `"}`)
		if got, err := at.Ring.Open(seal.Password, text); string(got) != "hunter2" || err != nil {
			t.Errorf("%s gives %q, %v", text, got, err)
		}
	}
	// Faults elsewhere in the files do not keep anybody from sealing; a lost key is not made anew behind what it sealed.
	good, err := os.ReadFile(filepath.Join(dir, "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("policy.yaml", "users: 7\n")
	if state, out, errs := program(t, "hunter2", "seal", "--config", config); state != exitGood || !strings.HasPrefix(out, "{sealed: ") {
		t.Errorf("%d %q %q", state, out, errs)
	}
	put("policy.yaml", strings.Replace(string(good), "{file: secret}", strings.TrimSpace(first), 1))
	if err := os.Rename(key, key+".lost"); err != nil {
		t.Fatal(err)
	}
	if state, out, errs := program(t, "hunter2", "seal", "--config", config); state != exitUsage || out != "" || !strings.Contains(errs, "put it back as "+key) {
		t.Errorf("%d %q %q", state, out, errs)
	}
	lost, err := os.ReadFile(filepath.Join(dir, "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []string{"users: 7\n", "\tno YAML: [\n"} { // in whatever state that policy is
		put("policy.yaml", string(lost)+fault)
		state, out, errs := program(t, "hunter2", "seal", "--config", config)
		if _, err := os.Stat(key); err == nil || state != exitUsage || out != "" || !strings.Contains(errs, "put it back as "+key) {
			t.Fatalf("%q: %d %q %q, %v", fault, state, out, errs, err)
		}
	}
	put("policy.yaml", string(lost))
	for _, c := range []struct {
		name string
		do   func() error
		want string
	}{
		{"open", func() error { return errors.Join(os.WriteFile(key, nil, 0o600), os.Chmod(key, 0o604)) }, "lets others read or change it"},
		{"empty", func() error { return os.Chmod(key, 0o600) }, "it holds no key"},
		{"folder", func() error { return errors.Join(os.Remove(key), os.Mkdir(key, 0o700)) }, "it is not a regular file"},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"seal"}, {"seal", "--rotate"}, {"check"}} {
			if state, out, errs := program(t, "hunter2", append(args, "--config", config)...); state != exitUsage || !strings.Contains(out+errs, c.want) || strings.Contains(out+errs, "hunter2") {
				t.Errorf("%s, %v: %d %q %q", c.name, args, state, out, errs)
			}
		}
	}
	// systemd's is before the file, and nobody changes it.
	if err := os.Mkdir(filepath.Join(dir, "credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(key+".lost", filepath.Join(dir, "credentials", "seal.key")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Join(dir, "credentials"))
	if state, out, errs := program(t, "", "check", "--config", config); state != exitGood {
		t.Errorf("%d %q %q", state, out, errs)
	}
	if state, out, errs := program(t, "", "seal", "--rotate", "--config", config); state != exitUsage || !strings.Contains(errs, "credential of systemd") {
		t.Errorf("%d %q %q", state, out, errs)
	}
}

// rotated is a folder of a configuration with a sealed password.
func rotated(t *testing.T) (config string) {
	t.Helper()
	config = configFolder(t)
	state, out, errs := program(t, "hunter2\n", "seal", "--config", config)
	if state != exitGood {
		t.Fatalf("%d %q %q", state, out, errs)
	}
	policy := filepath.Join(filepath.Dir(config), "policy.yaml")
	b, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), "{file: secret}", strings.TrimSpace(out), 1)
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

// TestSealRotationsAtOnce: they come one after the other, and the policy opens with the keys that are left.
func TestSealRotationsAtOnce(t *testing.T) {
	config := rotated(t)
	const rotations = 6
	done := make(chan string, rotations)
	for range rotations {
		go func() {
			state, out, errs := program(t, "", "seal", "--rotate", "--config", config)
			if state == exitGood {
				done <- ""
				return
			}
			done <- fmt.Sprintf("%d %q %q", state, out, errs)
		}()
	}
	for range rotations {
		if wrong := <-done; wrong != "" {
			t.Error(wrong)
		}
	}
	l, err := configs.Load(config)
	if err != nil {
		t.Fatal(err)
	}
	at, err := configs.ReadSealKey(config)
	if err != nil || at.Ring.Len() != 1+rotations {
		t.Fatalf("%d keys, %v", at.Ring.Len(), err)
	}
	texts := l.SealedTexts()
	if len(texts) != 1 || !strings.Contains(texts[0].Text, at.Ring.Newest()) {
		t.Fatalf("%+v", texts)
	}
	if got, err := at.Ring.Open(texts[0].Purpose, texts[0].Text); string(got) != "hunter2" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestSealRotationLooksOnceMore: what an editor saves during a rotation, policy or keys, stops it.
func TestSealRotationLooksOnceMore(t *testing.T) {
	config := rotated(t)
	a := &app{config: config}
	l, err := configs.Load(config)
	if err != nil {
		t.Fatal(err)
	}
	at, err := configs.ReadSealKey(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.stillRotates(at, l); err != nil {
		t.Error(err)
	}
	policy := filepath.Join(filepath.Dir(config), "policy.yaml")
	before, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		do   func() error
		want string
	}{
		{"policy saved", func() error { return os.WriteFile(policy, append(before, "# more\n"...), 0o600) }, "policy.yaml was changed meanwhile"},
		{"another key", func() error {
			return errors.Join(os.WriteFile(policy, before, 0o600), os.Remove(at.File), seal.Make(t.Context(), at.File, policy))
		}, "the new key is no more in"},
		{"no key", func() error { return os.Remove(at.File) }, "the new key is no more in"},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if err := a.stillRotates(at, l); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
