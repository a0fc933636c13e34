package main

import (
	"regexp"
	"strings"
	"testing"

	"pecgate/configs"
	"pecgate/relay"
)

// reload has the running gateway take another policy, as a change of the file
// does.
func (h *house) reload(policy string) {
	h.t.Helper()
	h.writePolicy(policy)
	l, err := configs.Load(h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.src.use(l); err != nil {
		h.t.Fatal(err)
	}
	h.gateway.Reload()
}

// TestL9_UserRemovedWithQueuedMail: what a person had queued is held when the login leaves the
// policy; who gets the login next sees nothing of it, cannot log in with an app
// password of before, and gets everything once an administrator says so.
func TestL9_UserRemovedWithQueuedMail(t *testing.T) {
	down := strings.Replace(mailboxText(boxA, false, "", "lucia", "mario, receive: false"), "SMTPPORT", "1", 1)
	h := newHouse(t, down, mailboxText(boxB, false, "", "lucia", "mario, receive: false"))
	h.start()
	run := func(args ...string) string {
		t.Helper()
		state, out, errs := program(t, "", append([]string{"--config", h.config()}, args...)...)
		if state != exitGood {
			t.Fatalf("%q: %d %s", args, state, errs)
		}
		return out
	}
	secret := strings.TrimSpace(run("password", "--user", "mario", "--app", "phone"))
	to := []string{"sportello@pec.altra.example"}
	for _, c := range []struct{ box, id string }{{boxA, "left.a@pec.alfa.example"}, {boxB, "left.b@pec.beta.example"}} {
		if r := h.send("mario", "mariomario", c.box, to, mail(c.box, to[0], "Prova", c.id)); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	const sent = "Posta inviata"
	h.until("both are among what mario sent", func() bool { return len(h.folder("mario", sent)) == 2 })
	if out := run("user", "list"); out != "nobody left\n" {
		t.Errorf("before: %s", out)
	}

	without := regexp.MustCompile(`(?m)^  - login: mario\n(    .*\n)+|^.*user: mario.*\n`).ReplaceAllString(h.policy, "")
	if strings.Contains(without, "mario") || !strings.Contains(without, "login: lucia") {
		t.Fatalf("policy\n%s", without)
	}
	h.reload(without)
	held := h.settled("left.a@pec.alfa.example", relay.Held)
	if held.StateReason != relay.ReasonUserRemoved {
		t.Errorf("held for %q", held.StateReason)
	}
	if got := h.imapLogin("mario", secret); !strings.HasPrefix(got, "NO") {
		t.Errorf("an app password of somebody who left: %s", got)
	}

	h.reload(h.policy)
	if n := len(h.folder("mario", sent)) + len(h.folder("mario", "PEC/"+boxB+"/"+sent)); n != 0 {
		t.Errorf("the new mario sees %d messages of the old one", n)
	}
	if got := h.imapLogin("mario", secret); !strings.HasPrefix(got, "NO") {
		t.Errorf("the new mario's program logs in with the old one's password: %s", got)
	}
	if out := run("user", "list"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "mario") {
		t.Errorf("left: %s", out)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"lucia"}, "nobody left this login, so there is nothing to give back: `pecgate user list` shows who left"},
		{[]string{"mario", "--as", "nobody"}, "policy.yaml has no user nobody: put the user there first, or name another login with --as"},
		{[]string{"mario", "--person", "77"}, "nobody left this login, so there is nothing to give back: `pecgate user list` shows who left"},
	} {
		if state, _, errs := program(t, "", append([]string{"--config", h.config(), "user", "adopt"}, c.args...)...); state == exitGood || errs != "pecgate: "+c.want+"\n" {
			t.Errorf("%q: %d %q", c.args, state, errs)
		}
	}
	if out := run("user", "adopt", "Mario"); !strings.HasPrefix(out, "mario has everything back of person ") || !strings.Contains(out, "\n1 app password is revoked: make new ones") {
		t.Errorf("adopted: %s", out)
	}
	if n := len(h.folder("mario", sent)); n != 2 {
		t.Errorf("after the adoption mario sees %d", n)
	}
	if got := h.imapLogin("mario", secret); !strings.HasPrefix(got, "NO") {
		t.Errorf("after the adoption an app password of before is good again: %s", got)
	}
	// A person decides that it goes on, and it is not held again.
	run("queue", "retry", held.ID)
	h.until("it is tried again", func() bool {
		s, err := h.shown(held.ID)
		return err == nil && s.State == relay.Queued
	})
	h.reload(h.policy)
	if s, err := h.shown(held.ID); err != nil || s.State == relay.Held {
		t.Errorf("%+v, %v", s.State, err)
	}
	h.stop()
	if state, out, errs := program(t, "", "--config", h.config(), "fsck"); state != exitGood {
		t.Errorf("fsck: %d %s %s", state, out, errs)
	}
}
