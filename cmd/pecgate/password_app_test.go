package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pecgate/gateway/admin"
)

// imapLogin tells what the gateway answers to a login, by the IMAP port.
func (h *house) imapLogin(login, password string) string {
	h.t.Helper()
	host, _, err := splitPort(h.imaps)
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := tls.Dial("tcp", h.imaps, &tls.Config{RootCAs: h.roots(), ServerName: host})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(c, "a LOGIN %q %q\r\n", login, password)
	for r := bufio.NewScanner(c); r.Scan(); {
		if answer, ok := strings.CutPrefix(r.Text(), "a "); ok {
			return answer
		}
	}
	return "nothing"
}

// TestAppPasswords: made, used and revoked while the appliance runs, for IMAP and
// for SMTP, and seen the same when it does not run.
func TestAppPasswords(t *testing.T) {
	h := newHouse(t)
	h.start()
	run := func(args ...string) string {
		t.Helper()
		state, out, errs := program(t, "", append([]string{"--config", h.config(), "password"}, args...)...)
		if state != exitGood {
			t.Fatalf("%q: %d %s", args, state, errs)
		}
		return out
	}
	secret := strings.TrimSpace(run("--app", "Telefono di Mario", "--user", "mario"))
	if !regexp.MustCompile(`^[a-z2-9]{5}(-[a-z2-9]{5}){3}$`).MatchString(secret) {
		t.Fatalf("printed %q", secret)
	}
	var erp struct{ User, Name, Password string }
	if err := json.Unmarshal([]byte(run("--app", "erp", "--user", "lucia@ordinary.example", "--json")), &erp); err != nil || erp.User != "lucia" || erp.Name != "erp" || erp.Password == "" {
		t.Fatalf("%+v %v", erp, err)
	}
	if got := run("--list", "--user", "mario"); !strings.Contains(got, "Telefono di Mario") || !strings.Contains(got, "never") || strings.Contains(got, secret) || strings.Contains(got, "erp") {
		t.Errorf("list\n%s", got)
	}
	for _, c := range []struct{ login, password, want string }{
		{"mario", secret, "OK"}, {"mario/" + boxA, strings.ReplaceAll(secret, "-", " "), "OK"}, {"mario", "mariomario", "OK"},
		{"lucia", secret, "NO"}, {"lucia", erp.Password, "OK"}, {"mario", erp.Password, "NO"},
	} {
		if got := h.imapLogin(c.login, c.password); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s", c.login, got)
		}
	}
	to := []string{"sportello@pec.altra.example"}
	if r := h.send("lucia", erp.Password, boxB, to, mail(boxB, to[0], "Prova", "app.1@pec.beta.example")); r.Err != nil {
		t.Errorf("SMTP: %+v", r)
	}
	// It is no PIN.
	if r := h.send("mario", secret, boxA, to, mail(boxA, to[0], "Prova [PIN:"+secret+"]", "app.2@pec.alfa.example")); r.Err == nil {
		t.Error("an app password counted as a PIN")
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--app", "TELEFONO di mario", "--user", "mario"}, "the user has an app password of this name: revoke it first, or take another name"},
		{[]string{"--app", "x", "--user", "nobody"}, "--user nobody: policy.yaml has no such user"},
		{[]string{"--app", "x"}, "--app needs --user: whose app password it is"},
		{[]string{"--user", "mario"}, "--user goes with --app NAME or --list"},
		{[]string{"--revoke", "--user", "mario"}, "--revoke needs --app and --user: which app password, and whose"},
		{[]string{"--list", "--app", "x"}, "--list goes with --user and --json only"},
		{[]string{"--json"}, "--json goes with --app NAME or --list"},
		{[]string{"--app", "tablet", "--user", "mario", "--revoke"}, "the user has no app password of this name: `pecgate password --list` shows them"},
		{[]string{"--app", strings.Repeat("x", 61), "--user", "mario"}, "an app password needs a name of 1 to 60 characters, like that of the phone or program it is for"},
		{[]string{"--app", "a\tb", "--user", "mario"}, "an app password needs a name of 1 to 60 characters, like that of the phone or program it is for"},
	} {
		if state, _, errs := program(t, "", append([]string{"--config", h.config(), "password"}, c.args...)...); state == exitGood || errs != "pecgate: "+c.want+"\n" {
			t.Errorf("%q: %d %q", c.args, state, errs)
		}
	}
	if got := run("--app", "telefono di mario", "--user", "mario", "--revoke"); !strings.Contains(got, "is revoked") {
		t.Errorf("revoked: %s", got)
	}
	if got := h.imapLogin("mario", secret); !strings.HasPrefix(got, "NO") {
		t.Errorf("after revoking: %s", got)
	}
	if log := h.log.String(); strings.Contains(log, secret) || strings.Contains(log, erp.Password) || !strings.Contains(log, `"app":"erp"`) {
		t.Error("the log holds the secret, or does not name the app")
	}
	h.stop()
	var left []admin.App
	for line := range strings.Lines(run("--list", "--json")) {
		var a admin.App
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		left = append(left, a)
	}
	if len(left) != 1 || left[0].User != "lucia" || left[0].Used.IsZero() || left[0].From != "127.0.0.1" {
		t.Errorf("left %+v", left)
	}
	if secret = strings.TrimSpace(run("--app", "tablet", "--user", "mario")); secret == "" {
		t.Error("made nothing while stopped")
	}
	if state, out, errs := program(t, "", "--config", h.config(), "fsck"); state != exitGood {
		t.Errorf("fsck: %d %s %s", state, out, errs)
	}
	h.start()
	if got := h.imapLogin("mario", secret); !strings.HasPrefix(got, "OK") {
		t.Errorf("made while stopped: %s", got)
	}
}
