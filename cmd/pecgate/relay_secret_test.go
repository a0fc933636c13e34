package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pecgate/gateway/auth"
	"pecgate/relay/submit"
	"pecgate/relay/submit/smarthosttest"
)

// TestG14_TheSecretIsNowhere: what a groupware server proves itself with is in no file of the data folder, no log, and nothing
// that provider, smarthost or people get, whatever becomes of the message; without it nothing gets anywhere.
func TestG14_TheSecretIsNowhere(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, replyBox, "mario"), mailboxText(boxB, false, "", "lucia"))
	out := smarthosttest.New(t)
	host, port, err := splitPort(out.Addr())
	if err != nil {
		t.Fatal(err)
	}
	addr := free(t)
	h.write("pecgate.yaml", strings.Replace(string(readFile(t, h.config())), "smtp: {", fmt.Sprintf("smtp: {relay: [%q], ", addr), 1)+
		fmt.Sprintf("outgoing: {smarthost: {host: %s, port: %d, security: none}}\n", host, port))
	value, hash := auth.NewRelaySecret()
	h.writePolicy(h.policy + "relays:\n  - {name: m365, networks: [127.0.0.1/32], unmarked: smarthost, secret_header: {name: X-Pecgate-Secret, value: " + hash + "}}\n")
	h.serving()
	host, port, err = splitPort(addr)
	if err != nil || !listening(addr, 20*time.Second) {
		t.Fatalf("nobody listens: %v, %s", err, h.log)
	}
	send := func(from, to, subject, id, more, body string) submit.Result {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		message := "From: Nome <" + from + ">\r\n" + more + "To: <" + to + ">\r\nSubject: " + subject + "\r\nMessage-ID: <" + id + "@ex01.corp.example>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0100\r\n\r\n" + body
		if strings.HasPrefix(from, "postmaster@") {
			from = ""
		}
		return submit.Send(ctx, submit.Server{Host: host, Port: port, Security: "starttls", Ordinary: true, Roots: h.roots(), Hello: "ex01.example", Timeout: 20 * time.Second},
			from, []string{to}, strings.NewReader(message), submit.Hooks{})
	}
	const mario, lucia, far = "mario@ordinary.example", "lucia@ordinary.example", "amico@altrove.example"
	field := "X-Pecgate-Secret: " + value + "\r\n"
	for _, c := range []struct{ from, to, subject, id, more, body, want string }{
		{lucia, boxA, "[PEC] uno", "s1", field, "ciao\r\n", "250"},
		{mario, boxB, "[PEC] trattenuto", "s2", field, "ciao\r\n", "250"},
		{mario, far, "ordinario", "s3", "x-pecgate-secret:\r\n " + value + "\r\n", "ciao\r\n", "250"},
		{"postmaster@ordinary.example", boxA, "avviso", "s4", field, "ciao\r\n", "250"},
		{"postmaster@ordinary.example", boxA, "avviso con segreto", "s5", field, "Il messaggio era:\r\n" + field, "250"},
		{mario, boxB, "[PEC] senza", "s6", "", "ciao\r\n", "550"},
		{mario, boxB, "[PEC] due volte", "s7", field + field, "ciao\r\n", "550"},
		{mario, boxB, "[PEC] nel testo", "s8", field, strings.Repeat("riga\r\n", 20000) + value + "\r\n", "550"},
		{mario, far, "ordinario, in base64", "s9", field, base64.StdEncoding.EncodeToString([]byte(field)) + "\r\n", "550"},
		{"postmaster@ordinary.example", boxA, "avviso senza", "s10", "", field, "550"},
	} {
		if r := send(c.from, c.to, c.subject, c.id, c.more, c.body); fmt.Sprint(r.Code) != c.want {
			t.Errorf("%s: %+v, want %s", c.subject, r, c.want)
		}
	}
	h.until("what leaves has left", func() bool {
		return len(h.provider.Ledger()) == 1 && len(out.All()) >= 2 && strings.Contains(strings.Join(h.folder("lucia", "INBOX"), ""), "Subject: avviso") &&
			strings.Contains(strings.Join(h.folder("lucia", "INBOX"), ""), "Messaggio con il segreto del relay")
	})
	all := h.log.String()
	for _, s := range h.provider.Ledger() {
		all += string(s.Raw)
	}
	for _, m := range out.All() {
		all += m.Data
	}
	files := 0
	err = filepath.WalkDir(h.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !e.Type().IsRegular() {
			return nil // gone meanwhile
		}
		if b, err := os.ReadFile(path); err == nil {
			all += string(b)
			files++
		}
		return nil
	})
	coded := base64.RawStdEncoding.EncodeToString([]byte(field))
	if err != nil || files < 10 || !strings.Contains(all, "s1@ex01.corp.example") {
		t.Fatalf("%d files, %v", files, err)
	}
	if strings.Contains(all, value) || strings.Contains(all, coded[:40]) || strings.Contains(all, value[:26]) || strings.Contains(all, value[26:]) {
		t.Errorf("the secret is somewhere")
	}
	if !strings.Contains(h.log.String(), "relay-secret-missing") || !strings.Contains(h.log.String(), "relay-secret-twice") {
		t.Error("the log does not tell why")
	}
}
