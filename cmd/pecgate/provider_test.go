package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
	"pecgate/relay/submit"
)

// built runs the program as a process of its own, as a person does.
func (h *house) built(args ...string) (state int, stdout, stderr string) {
	h.t.Helper()
	var out, errs bytes.Buffer
	c := exec.CommandContext(h.t.Context(), os.Args[0], append([]string{"--config", h.config()}, args...)...)
	c.Env = append(os.Environ(), childMark+"=1")
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil && c.ProcessState == nil {
		h.t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// loginsOf counts the logins that the provider saw for a mailbox.
func (h *house) loginsOf(box string) (n int) {
	for _, l := range h.provider.Logins() {
		if l.Username == box {
			n++
		}
	}
	return n
}

func (h *house) suspended(box string) string {
	h.t.Helper()
	for _, m := range h.status().Mailboxes {
		if m.Address == box {
			return m.Suspended
		}
	}
	h.t.Fatalf("status has no %s", box)
	return ""
}

// TestB10_ProviderResumeCommand: a login that was refused is sent once more when a
// person says so, and only then; while the appliance runs and while it does not.
func TestB10_ProviderResumeCommand(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	if err := h.provider.SetPassword(boxB, "another"); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.until("box B is suspended", func() bool { return h.suspended(boxB) != "" })
	refused := h.loginsOf(boxB)
	for _, args := range [][]string{{"provider", "resume"}, {"provider", "resume", boxA, boxB}, {"provider", "resume", "--all"}, {"provider", "copies"}, {"provider", "other"}} {
		if state, out, errs := h.built(args...); state != exitUsage || out != "" || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: %d\n%s%s", args, state, out, errs)
		}
	}
	for box, want := range map[string]string{
		"nessuno@pec.example": "pecgate: nessuno@pec.example is no mailbox of the policy\n",
		boxA:                  "pecgate: " + boxA + " is not suspended: no login of it was refused since the last one that was taken\n",
	} {
		if state, out, errs := h.built("provider", "resume", box); state != exitFailed || out != "" || errs != want {
			t.Errorf("%s: %d\n%s%s", box, state, out, errs)
		}
	}
	if n := h.loginsOf(boxB); n != refused {
		t.Errorf("%d logins that nobody asked for", n-refused)
	}
	// Still the wrong one: one more login, and suspended again.
	if state, out, errs := h.built("provider", "resume", strings.ToUpper(boxB)); state != exitGood || errs != "" ||
		out != boxB+" logs in once more; if the provider refuses that too, it is suspended again, and `pecgate status` shows it\n" {
		t.Errorf("%d\n%s%s", state, out, errs)
	}
	h.until("one more login is refused", func() bool { return h.loginsOf(boxB) > refused && h.suspended(boxB) != "" })
	refused = h.loginsOf(boxB)
	// The provider takes it now, which nobody knows before a person says so.
	if err := h.provider.SetPassword(boxB, "provider-b"); err != nil {
		t.Fatal(err)
	}
	h.stop()
	var done admin.Resumed
	state, out, errs := h.built("provider", "resume", boxB, "--json")
	if err := json.Unmarshal([]byte(out), &done); err != nil || state != exitGood || errs != "" || done != (admin.Resumed{Mailbox: boxB, Resumed: true}) {
		t.Errorf("while nothing runs: %d\n%s%s", state, out, errs)
	}
	if n := h.loginsOf(boxB); n != refused {
		t.Errorf("%d logins of a command", n-refused)
	}
	h.start()
	h.until("it is fetched again", func() bool { return h.fetched(boxB) && h.suspended(boxB) == "" })
	h.stop()
	var lines []string
	for _, l := range h.audit("provider resume") {
		lines = append(lines, l.Actor+": "+l.Box+" "+l.Result)
	}
	got := strings.Join(lines, ", ")
	for _, want := range []string{"control socket: " + boxB + " resumed", "pecgate provider: " + boxB + " resumed", "control socket: " + boxA + " refused"} {
		if !strings.Contains(got, want) {
			t.Errorf("no audit line %q in %s", want, got)
		}
	}
}

// TestProviderCopiesCommand: what would be deleted at the provider is told and stands
// there all the same; a rule can be tried before it holds.
func TestProviderCopiesCommand(t *testing.T) {
	keep := mailboxText(boxA, false, "", "mario")
	h := newHouse(t, keep, mailboxText(boxB, false, "", "lucia"))
	h.start()
	for _, id := range []string{"c1@alfa.example", "c2@alfa.example"} {
		if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Nota", id)); r.Class != submit.HandedOver {
			t.Fatalf("%+v", r)
		}
		h.until("it is delivered", func() bool {
			s, err := h.shown(id)
			return err == nil && len(s.Recipients) == 1 && s.Recipients[0].State == relay.Delivered
		})
	}
	look := func() (c relay.Copies) {
		t.Helper()
		state, out, errs := h.built("provider", "copies", strings.ToUpper(boxA), "--json")
		if err := json.Unmarshal([]byte(out), &c); err != nil || state != exitGood || errs != "" {
			t.Fatalf("%d, %v\n%s%s", state, err, out, errs)
		}
		return c
	}
	if c := look(); c.Mailbox != boxA || c.Messages != "keep" || c.Standing != 4 || c.Due != 0 || len(c.List) != 0 {
		t.Errorf("%+v", c)
	}
	if state, out, errs := h.built("provider", "copies", boxA); state != exitGood || errs != "" || !strings.HasPrefix(out, boxA+": messages keep, receipts keep, so that nothing is deleted.\n") ||
		!strings.Contains(out, "\n0 of 4 copies (0.0 MB) would be deleted, at most ") {
		t.Errorf("%d\n%s%s", state, out, errs)
	}
	if state, out, errs := h.built("provider", "copies", "nessuno@pec.example"); state != exitFailed || out != "" || errs != "pecgate: nessuno@pec.example is no mailbox of the policy\n" {
		t.Errorf("%d\n%s%s", state, out, errs)
	}
	h.stop()
	h.writePolicy(strings.Replace(h.policy, "    admin: lucia\n", "    admin: lucia\n    provider_copy: 3d\n", 1))
	if c := look(); c.Messages != "3d" || c.Standing != 4 || c.Due != 0 || c.Since != nil || c.Even {
		t.Errorf("a rule that no round has seen: %+v", c)
	}
	if _, out, _ := h.built("provider", "copies", boxA); !strings.Contains(out, "which no round has seen yet") || !strings.Contains(out, "nothing is deleted by its age before that") {
		t.Error(out)
	}
	if in, err := h.provider.Folder(boxA, "INBOX"); err != nil || len(in) != 4 {
		t.Errorf("%d messages at the provider, %v", len(in), err)
	}
}

// TestK9_RestoreKeepsWhatHoldsMailboxesBack: a backup with a refused login, a
// provider's room and receipts under way is put back by the commands: the wrong
// password is not sent once more, the room is asked anew, and what is still to come
// is still counted.
func TestK9_RestoreKeepsWhatHoldsMailboxesBack(t *testing.T) {
	h := newHouse(t, byPOP3(mailboxText(boxA, false, "    provider_quota: 100MB\n", "mario")), mailboxText(boxB, false, "", "lucia"))
	h.provider.Faults().NoReceipts.On()
	h.write("secrets/"+boxB, "wrong\n")
	h.start()
	const id = "e1@alfa.example"
	if r := h.send("mario", "mariomario", boxA, []string{"x@pec.altra.example"}, mail(boxA, "x@pec.altra.example", "Nota", id)); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.settled(id, relay.HandedOver)
	quota := func() string {
		for _, m := range h.status().Mailboxes {
			if m.Address == boxA {
				return m.Quota
			}
		}
		return ""
	}
	h.until("box B is suspended, and the room of box A is known", func() bool { return h.suspended(boxB) != "" && quota() != "" })
	h.stop()
	records := func() string {
		t.Helper()
		store, err := mailbox.Open(mailbox.Options{Dir: filepath.Join(h.dir, "data")})
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		err = store.View(t.Context(), func(tx *mailbox.Tx) error {
			for _, prefix := range []string{"expect/", "login/", "quota/"} {
				err := tx.Space("relay").Scan(prefix, func(k string, _ []byte) (bool, error) {
					found = append(found, k[:strings.LastIndexByte(k, '/')])
					return true, nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		return strings.Join(found, " ")
	}
	const all = "expect/" + boxA + " login/" + boxB + " quota"
	if got := records(); got != all {
		t.Fatalf("before the backup: %s", got)
	}
	refused := h.loginsOf(boxB)
	dir := filepath.Join(t.TempDir(), "backup")
	if state, out, errs := h.built("backup", dir); state != exitGood || errs != "" {
		t.Fatalf("%d\n%s%s", state, out, errs)
	}
	data := filepath.Join(h.dir, "data")
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if state, out, errs := h.built("restore", dir); state != exitGood || errs != "" {
		t.Fatalf("%d\n%s%s", state, out, errs)
	}
	if got := records(); got != all {
		t.Fatalf("after the restore: %s", got)
	}
	// The first command on it does what a start would do.
	if state, _, errs := h.built("queue", "retry", id); state != exitFailed || errs == "" {
		t.Errorf("%d %s", state, errs)
	}
	if got := records(); got != "expect/"+boxA+" login/"+boxB {
		t.Errorf("before the first start: %s", got)
	}
	h.start()
	h.until("the room is asked anew", func() bool { return h.fetched(boxA) && quota() != "" && h.suspended(boxB) != "" })
	if n := h.loginsOf(boxB); n != refused {
		t.Errorf("%d logins with the refused password", n-refused)
	}
	if s, err := h.shown(id); err != nil || s.State != relay.HandedOver || s.Expected.Receipts == 0 || s.Expected.Bytes == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if all, _ := h.sentTimes(); all != 1 {
		t.Errorf("%d messages at the provider", all)
	}
	h.write("secrets/"+boxB, "provider-b\n")
	h.until("box B goes on", func() bool { return h.suspended(boxB) == "" && h.loginsOf(boxB) > refused && h.fetched(boxB) })
	h.stop()
	if got := records(); got != all[:strings.Index(all, " login")]+" quota" {
		t.Errorf("at the end: %s", got)
	}
}
