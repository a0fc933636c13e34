package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra" // the tree of commands

	"pecgate/relay"
)

// TestL9_RenamedUser: who gives a person another login is told whose mail is held and how it is given back, before and after;
// what the person had queued waits, nothing is lost and nobody else gets it.
func TestL9_RenamedUser(t *testing.T) {
	h := newHouse(t, strings.Replace(mailboxText(boxA, false, "", "mario", "lucia, send: false"), "SMTPPORT", "1", 1)).start()
	to := "sportello@pec.altra.example"
	id := accepted(t, h.send("mario", "mariomario", boxA, []string{to}, mail(boxA, to, "Prova", "rinominato@alfa.example")))
	// Only the word changes: e-mail and password stay those of mario.
	renamed := regexp.MustCompile(`(login|user): mario\b`).ReplaceAllString(h.policy, "$1: m.rossi")
	if strings.Count(renamed, ": m.rossi") != 2 {
		t.Fatalf("policy\n%s", renamed)
	}
	before, err := os.ReadFile(filepath.Join(h.dir, "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	h.write("old.yaml", string(before))
	h.write("new.yaml", regexp.MustCompile(`(login|user): mario\b`).ReplaceAllString(string(before), "$1: m.rossi"))
	if _, out, errs := program(t, "", "policy", "diff", filepath.Join(h.dir, "old.yaml"), filepath.Join(h.dir, "new.yaml")); !strings.Contains(out, "mario") || !strings.Contains(out, "m.rossi") {
		t.Errorf("policy diff says nothing of it: %s%s", out, errs)
	}
	h.reload(renamed)
	if s := h.settled(id, relay.Held); s.StateReason != relay.ReasonUserRemoved {
		t.Errorf("held for %q", s.StateReason)
	}
	run := func(args ...string) string {
		t.Helper()
		state, out, errs := program(t, "", append([]string{"--config", h.config()}, args...)...)
		if state != exitGood {
			t.Fatalf("%q: %d %s", args, state, errs)
		}
		return out
	}
	if out := run("queue", "show", id); !strings.Contains(out, "its sender's login left the policy") || !strings.Contains(out, "What can be done: retry, cancel") {
		t.Errorf("it is not said why it waits and what to do: %s", out)
	}
	if out := run("user", "list"); !strings.Contains(out, "mario") {
		t.Errorf("nobody left: %s", out)
	}
	// The new login has the password and begins with nothing, until an administrator says that it is the same person.
	if n := len(h.sent("m.rossi", "mariomario")); n != 0 {
		t.Errorf("m.rossi sees %d before the adoption", n)
	}
	run("user", "adopt", "mario", "--as", "m.rossi")
	if n := len(h.sent("m.rossi", "mariomario")); n != 1 {
		t.Errorf("m.rossi sees %d after the adoption", n)
	}
	run("queue", "retry", id)
	h.until("it is tried again", func() bool { return h.state(id) == relay.Queued })
	h.stop()
	removed, adopted := 0, 0
	for _, l := range h.audit("user removed") {
		if l.Subject == "mario" || strings.Contains(l.Actor+l.Subject, "mario") {
			removed++
		}
	}
	adopted = len(h.audit("user adopt"))
	if removed == 0 || adopted != 1 {
		t.Errorf("the audit log has %d lines of the removal and %d of the adoption", removed, adopted)
	}
}

// sent is the list of what somebody sent, by the login and password that are given.
func (h *house) sent(login, password string) []string {
	h.t.Helper()
	w, err := dialWire(h.imaps, h.roots())
	if err != nil {
		h.t.Fatal(err)
	}
	defer w.close()
	if status, err := w.imapLogin(login, password); err != nil || status != "OK" {
		h.t.Fatalf("%s logs in: %q %v", login, w.last, err)
	}
	answer, status, err := w.imap(`EXAMINE "Posta inviata"`)
	if err != nil || status != "OK" {
		h.t.Fatalf("%s %v", answer, err)
	}
	if answer, _, err = w.imap("UID SEARCH ALL"); err != nil {
		h.t.Fatal(err)
	}
	return strings.Fields(strings.TrimPrefix(strings.TrimSpace(answer), "* SEARCH"))
}

// TestL9_MailboxTakenOutWithQueuedMail: a mailbox whose line is deleted takes nothing, sends nothing and loses nothing; who
// writes and who looks at the queue is told so, and what waits goes on when the line is back.
func TestL9_MailboxTakenOutWithQueuedMail(t *testing.T) {
	a, b := mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "mario")
	h := newHouse(t, strings.Replace(a, "SMTPPORT", "1", 1), b).start()
	id := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Prova", "casella@alfa.example")))
	with, _, _ := strings.Cut(h.policy, "mailboxes:\n")
	h.reload(with + "mailboxes:\n" + b)
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Prova", "dopo@alfa.example")); r.Code != 550 || !strings.Contains(r.Text, boxA) {
		t.Errorf("a mailbox that is gone takes mail: %+v", r)
	}
	const says = "the mailbox is not in policy.yaml: it waits until it is, or is cancelled"
	for _, args := range [][]string{{"queue", "show", id}, {"queue", "list", "--json"}} {
		if _, out, errs := program(t, "", append([]string{"--config", h.config()}, args...)...); !strings.Contains(out, says) {
			t.Errorf("%q does not say why it waits: %s%s", args, out, errs)
		}
	}
	h.reload(with + "mailboxes:\n" + strings.Replace(a, "    username:", "    active: false\n    username:", 1) + b)
	if _, out, errs := program(t, "", "--config", h.config(), "queue", "show", id); !strings.Contains(out, "nothing is due; the mailbox is not active in policy.yaml") {
		t.Errorf("of an inactive mailbox it is not said: %s%s", out, errs)
	}
	if s := h.state(id); s == relay.Accepted || s == relay.Cancelled || s == relay.NotAccepted {
		t.Errorf("it is %s", s)
	}
	h.reload(with + "mailboxes:\n" + a + b)
	h.settled(id, relay.Accepted)
	if n := len(h.provider.Ledger()); n != 1 {
		t.Errorf("%d messages at the provider", n)
	}
}

// TestL9_TwoAccountsOneMailbox: one mailbox written twice is refused with both places; two that log in at one server with
// one name would take each other's mail, and are warned of.
func TestL9_TwoAccountsOneMailbox(t *testing.T) {
	h := newHouse(t)
	a := mailboxText(boxA, false, "", "mario")
	with, _, _ := strings.Cut(h.policy, "mailboxes:\n")
	for _, c := range []struct {
		name, second, want string
		state              int
	}{
		{"the same address", a, "is already the address of the mailbox at line", exitUsage},
		{"the same address in capitals", strings.Replace(a, "address: "+boxA, "address: "+strings.ToUpper(boxA), 1), "is already the address of the mailbox at line", exitUsage},
		{"the same login", strings.Replace(a, "address: "+boxA, "address: "+boxB, 1), "uses the same login at the same server", exitGood},
	} {
		h.writePolicy(with + "mailboxes:\n" + a + c.second)
		if state, out, errs := program(t, "", "check", "--config", h.config()); state != c.state || !strings.Contains(out+errs, c.want) {
			t.Errorf("%s: %d %s%s", c.name, state, out, errs)
		}
	}
}

// TestL9_NothingIsForced: no command has a flag that makes it do what it refuses.
func TestL9_NothingIsForced(t *testing.T) {
	seen := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		seen++
		for _, name := range []string{"force", "yes", "ignore-errors"} {
			if c.Flags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil {
				t.Errorf("%s has --%s", c.CommandPath(), name)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand(&app{}))
	if seen < 30 {
		t.Errorf("%d commands", seen)
	}
}
