package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"pecgate/relay"
	"pecgate/relay/submit"
)

const (
	toApprove = treeA + "Da autorizzare"
	approved  = treeA + "Autorizzati"
)

// approvalHouse is a house in which anna writes for approval, and mario, who has
// a PIN, and piero approve.
func approvalHouse(t *testing.T, pin bool, more string) *house {
	return newHouse(t,
		mailboxText(boxA, pin, more, "anna, compose: true, receive: false", "mario, approve: true", "piero, approve: true, send: false, receive: false", "lucia, send: false"),
		mailboxText(boxB, false, "", "lucia"))
}

// written submits a message of anna's and returns its id.
func (h *house) written(msgid string) string {
	h.t.Helper()
	r := h.send("anna", "annaanna", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", msgid))
	if r.Class != submit.HandedOver || !strings.Contains(r.Text, "quando e' autorizzato") {
		h.t.Fatalf("%+v", r)
	}
	words := strings.Fields(r.Text)
	return strings.TrimSuffix(words[slices.Index(words, "come")+1], ",")
}

// does sends an IMAP command that must end with a status.
func (w *wire) does(t *testing.T, command, status string) string {
	t.Helper()
	answer, got, err := w.imap(command)
	if err != nil || got != status {
		t.Fatalf("%s: %s%s, %v", command, answer, w.last, err)
	}
	return answer + w.last
}

// stays waits as long as a message needs to leave, and sees that none did.
func (h *house) stays(id string, why relay.Reason) {
	h.t.Helper()
	s, err := h.shown(id)
	if err != nil || s.State != relay.ToApprove || s.StateReason != why || len(h.provider.Ledger()) != 0 {
		h.t.Errorf("it is %s (%s), %d messages at the provider, %v", s.State, s.StateReason, len(h.provider.Ledger()), err)
	}
}

// TestApprovalByReply: anna writes, mario approves by moving it and confirms with
// his PIN, and the provider gets it once. Nobody else sees or changes anything.
func TestApprovalByReply(t *testing.T) {
	h := approvalHouse(t, true, "").start()
	id := h.written("m1@alfa.example")
	if again := h.written("m1@alfa.example"); again != id {
		t.Errorf("the client's retry became %s, not %s", again, id)
	}
	h.stays(id, relay.ReasonApproval)

	// Its author sees it, and may not approve it.
	author := h.reading("anna", toApprove)
	if a := author.does(t, "FETCH 1 (ENVELOPE FLAGS)", "OK"); !strings.Contains(a, "Diffida") {
		t.Errorf("the author sees %s", a)
	}
	if a := author.does(t, `MOVE 1 "`+approved+`"`, "NO"); !strings.Contains(a, "NOPERM") || !strings.Contains(a, "may not approve") {
		t.Errorf("the author is told %s", a)
	}
	h.stays(id, relay.ReasonApproval)

	// Who has neither right sees nothing: the answers are those of missing folders.
	stranger := h.reading("lucia", "INBOX")
	if a := stranger.does(t, `LIST "" "*"`, "OK"); strings.Contains(a, "utorizza") || !strings.Contains(a, treeA+"Posta in arrivo") {
		t.Errorf("a member without the right is told of\n%s", a)
	}
	missing := func(c string) string {
		answer, status, err := stranger.imap(c)
		if err != nil || status != "NO" {
			t.Errorf("%s: %s %s, %v", c, answer, status, err)
		}
		_, text, _ := strings.Cut(stranger.last, " ")
		return text
	}
	for _, c := range []string{`SELECT "%s"`, `STATUS "%s" (MESSAGES)`, `MYRIGHTS "%s"`} {
		if got, want := missing(fmt.Sprintf(c, toApprove)), missing(fmt.Sprintf(c, treeA+"Qualcosa")); got != want {
			t.Errorf("%s: %q, and of a missing folder %q", c, got, want)
		}
	}
	if n := len(h.folder("lucia", treeA+"Posta inviata")); n != 0 {
		t.Errorf("%d messages look sent", n)
	}

	// mario moves it, and piero, who looked at it too, comes too late.
	approver, late := h.reading("mario", toApprove), h.reading("piero", toApprove)
	for _, folder := range []string{treeA + "Bozze", "Bozze"} {
		approver.does(t, `MOVE 1 "`+folder+`"`, "NO")
	}
	approver.does(t, `MOVE 1 "`+approved+`"`, "OK")
	h.stays(id, relay.ReasonPIN)
	late.does(t, `MOVE 1 "`+approved+`"`, "OK") // it is gone: nothing happens
	if n := len(h.folder("mario", treeA+"Da confermare")); n != 1 {
		t.Errorf("%d messages are to be confirmed", n)
	}
	if mine, other := len(h.folder("anna", toApprove)), len(h.folder("mario", toApprove)); mine != 1 || other != 0 {
		t.Errorf("the author sees %d, the approver %d to approve", mine, other)
	}

	// The author's client repeats it with a PIN of whomever: it stays.
	if r := h.send("anna", "annaanna", boxA, []string{boxB}, mail(boxA, boxB, "Diffida [PIN:"+pinMario+"]", "m1@alfa.example")); r.Class != submit.HandedOver {
		t.Errorf("%+v", r)
	}
	h.stays(id, relay.ReasonPIN)

	var token string
	h.until("the approver is asked for the PIN", func() bool {
		for _, m := range h.folder("mario", "INBOX") {
			if r := regexp.MustCompile(`(?m)^Reply-To: (confirm\+[a-z2-7]+@gateway\.example)\r$`).FindStringSubmatch(m); r != nil {
				token = r[1]
			}
		}
		return token != ""
	})
	const from = "mario@ordinary.example"
	reply := func(login, from, pin string) submit.Result {
		return h.send(login, login+login, from, []string{token},
			"From: <"+from+">\r\nTo: <"+token+">\r\nSubject: Re: confermare\r\nMessage-ID: <r@x.example>\r\n\r\n"+pin+"\r\n> Diffida\r\n")
	}
	if r := reply("anna", boxA, pinMario); r.Code != 550 {
		t.Errorf("the author confirms it: %+v", r)
	}
	if r := reply("mario", from, "111222"); r.Code != 550 {
		t.Errorf("a wrong PIN: %+v", r)
	}
	h.stays(id, relay.ReasonPIN)
	for range 2 {
		if r := reply("mario", from, pinMario); r.Class != submit.HandedOver || !strings.Contains(r.Text, id) {
			t.Fatalf("%+v", r)
		}
	}
	s := h.settled(id, relay.Accepted)
	if len(h.provider.Ledger()) != 1 {
		t.Errorf("%d messages at the provider", len(h.provider.Ledger()))
	}
	for _, want := range []string{"to-approve", "approval", "approved"} {
		if !slices.ContainsFunc(s.Events, func(e relay.Event) bool { return e.What == want }) {
			t.Errorf("show does not tell %q: %+v", want, s.Events)
		}
	}

	// It stands where people look for it, once, with the bytes that left.
	for _, f := range []struct {
		login, folder string
		n             int
	}{
		{"anna", approved, 1}, {"mario", approved, 1}, {"piero", approved, 1}, {"anna", treeA + "Posta inviata", 1}, {"anna", "Posta inviata", 1}, {"lucia", treeA + "Posta inviata", 1},
		{"anna", toApprove, 0}, {"mario", toApprove, 0}, {"mario", treeA + "Da confermare", 0},
	} {
		got := h.folder(f.login, f.folder)
		if len(got) != f.n || f.n == 1 && got[0] != string(h.provider.Ledger()[0].Raw) {
			t.Errorf("%s sees %d messages in %s, or other bytes than were sent", f.login, len(got), f.folder)
		}
	}
	if a := h.reading("mario", approved).does(t, "FETCH 1 FLAGS", "OK"); !strings.Contains(a, "$PecAccepted") {
		t.Errorf("no outcome on what was approved: %s", a)
	}

	// A second move does nothing, an APPEND is refused.
	approver.does(t, `COPY 1:* "`+approved+`"`, "OK")
	late.does(t, "NOOP", "OK")
	if a := late.does(t, `SELECT "`+toApprove+`"`, "OK"); !strings.Contains(a, "* 0 EXISTS") {
		t.Errorf("%s", a)
	}
	copy := h.folder("mario", approved)[0]
	for _, w := range []*wire{approver, author} { // its author's copy, too
		w.does(t, fmt.Sprintf("APPEND \"%s\" {%d+}\r\n%s", approved, len(copy), copy), "NO")
	}
	h.reading("mario", "INBOX").does(t, `COPY 1 "`+approved+`"`, "NO")
	if len(h.provider.Ledger()) != 1 {
		t.Errorf("%d messages at the provider", len(h.provider.Ledger()))
	}
	h.stop()
	var out strings.Builder
	if state := run(t.Context(), []string{"fsck", "--deep", "--config", h.config()}, strings.NewReader(""), &out, &out); state != exitGood {
		t.Errorf("fsck: %d %s", state, &out)
	}
	var told []string
	for _, event := range []string{"submission", "submission approval", "submission approved"} {
		for _, l := range h.audit(event) {
			if l.Result == "refused" {
				continue
			}
			told = append(told, fmt.Sprintf("%s by %s: %s %s", event, l.Actor, l.Result, l.Reason))
		}
	}
	if want := []string{"submission by anna: to-approve approval", "submission approval by mario: to-approve pin", "submission approved by mario: queued "}; !slices.Equal(told, want) {
		t.Errorf("audited as %q", told)
	}
	err := filepath.WalkDir(filepath.Join(h.dir, "data"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), pinMario) {
			t.Errorf("the PIN stands in %s", path)
		}
		return err
	})
	if err != nil || strings.Contains(h.log.String(), pinMario) {
		t.Errorf("the PIN stands in the log, or %v", err)
	}
}

// TestApprovalByTwoAtOnce: without a PIN the move alone releases. Two approvers
// move the same message many times over at the same moment, by MOVE and COPY, and
// clients delete what they copied: it leaves once, and is not rejected.
func TestApprovalByTwoAtOnce(t *testing.T) {
	h := approvalHouse(t, true, "    approval_pin: false\n").start()
	var ids []string
	for n := range 4 {
		ids = append(ids, h.written(fmt.Sprintf("m%d@alfa.example", n)))
	}
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for n := range errs {
		login := []string{"mario", "piero"}[n%2]
		w := h.reading(login, toApprove)
		wg.Go(func() {
			commands := []string{`MOVE 1:* "` + approved + `"`}
			if n >= 4 {
				commands = []string{`COPY 1:* "` + approved + `"`, `STORE 1:* +FLAGS.SILENT (\Deleted)`, "EXPUNGE"}
			}
			for _, c := range commands {
				_, _, err := w.imap(c) // EXPUNGEISSUED is one of the answers
				errs[n] = errors.Join(errs[n], err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		h.settled(id, relay.Accepted)
	}
	if n := len(h.provider.Ledger()); n != len(ids) {
		t.Errorf("%d messages at the provider", n)
	}
	if n := len(h.folder("anna", approved)); n != len(ids) {
		t.Errorf("%d messages are approved", n)
	}
	// Both pairs of a MOVE are told.
	id := h.written("later@alfa.example")
	if a := h.reading("piero", toApprove).does(t, `MOVE 1 "`+approved+`"`, "OK"); !regexp.MustCompile(`OK \[COPYUID \d+ 5 5\]`).MatchString(a) {
		t.Errorf("%s", a)
	}
	h.settled(id, relay.Accepted)
}

// TestApprovalEnds: rejected by an approver in three ways, and taken back by its
// author; the author is told of a rejection, and nothing leaves.
func TestApprovalEnds(t *testing.T) {
	h := approvalHouse(t, false, "").start()
	command := func(args ...string) string {
		var out strings.Builder
		if state := run(t.Context(), append(args, "--config", h.config()), strings.NewReader(""), &out, &out); state != exitGood {
			t.Errorf("%v: status %d: %s", args, state, &out)
		}
		return out.String()
	}
	notices := func() (n int) {
		for _, m := range h.folder("anna", "INBOX") {
			if strings.Contains(m, "PEC_non_autorizzata") {
				n++
			}
		}
		return n
	}
	told := 0
	for n, c := range []struct {
		name   string
		end    func(id string)
		notice bool
		trash  string // of whom it stands there
		why    relay.Reason
	}{
		{"moved to the trash", func(string) {
			if a := h.reading("mario", toApprove).does(t, `MOVE 1 "`+treeA+`Cestino"`, "OK"); !strings.Contains(a, "COPYUID") {
				t.Error(a)
			}
		}, true, "anna mario", relay.ReasonApproval},
		{"expunged", func(string) {
			w := h.reading("piero", toApprove)
			w.does(t, `STORE 1 +FLAGS (\Deleted)`, "OK")
			w.does(t, "EXPUNGE", "OK")
		}, true, "anna", relay.ReasonApproval},
		{"queue reject", func(id string) { command("queue", "reject", id) }, true, "anna", relay.ReasonApproval},
		{"taken back into the trash", func(string) { h.reading("anna", toApprove).does(t, `MOVE 1 "Cestino"`, "OK") }, false, "", ""},
		{"taken back", func(string) {
			w := h.reading("anna", toApprove)
			w.does(t, `STORE 1 +FLAGS (\Deleted)`, "OK")
			w.does(t, "CLOSE", "OK")
		}, false, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := h.written(fmt.Sprintf("m%d@alfa.example", n))
			before := map[string]int{}
			for _, who := range []string{"anna", "mario", "piero"} {
				before[who] = len(h.folder(who, treeA+"Cestino"))
			}
			c.end(id)
			s, err := h.shown(id)
			if err != nil || s.State != relay.Cancelled || s.StateReason != c.why {
				t.Errorf("it is %s (%s), %v", s.State, s.StateReason, err)
			}
			if c.notice {
				told++
			}
			if got := notices(); got != told {
				t.Errorf("%d notices instead of %d", got, told)
			}
			for who, n := range before {
				if got := len(h.folder(who, treeA+"Cestino")); (got > n) != strings.Contains(c.trash, who) {
					t.Errorf("%s has %d messages in the trash, before %d", who, got, n)
				}
			}
			if n := len(h.folder("mario", toApprove)); n != 0 {
				t.Errorf("%d messages are still to be approved", n)
			}
			// What was rejected may be sent again: it is another submission.
			again := h.written(fmt.Sprintf("m%d@alfa.example", n))
			if again == id {
				t.Error("it is taken for a retry")
			}
			command("queue", "cancel", again)
		})
	}
	// What never left has no report among those that all who receive can read.
	if n := len(h.folder("mario", treeA+"Esiti")); n != 0 {
		t.Errorf("%d reports of what was never approved", n)
	}
	if n := len(h.folder("anna", "Cestino")); n != 1 {
		t.Errorf("%d messages in the author's own trash", n)
	}
	// By the command it leaves, without a PIN.
	id := h.written("last@alfa.example")
	if out := command("queue", "list"); !strings.Contains(out, "to-approve (approval)") {
		t.Errorf("%s", out)
	}
	if out := command("queue", "show", id); !strings.Contains(out, "approve, reject") {
		t.Errorf("%s", out)
	}
	command("queue", "approve", id)
	h.settled(id, relay.Accepted)
	var out strings.Builder
	if state := run(t.Context(), []string{"queue", "approve", id, "--config", h.config()}, strings.NewReader(""), &out, &out); state != exitFailed || !strings.Contains(out.String(), "does not wait for approval") {
		t.Errorf("status %d: %s", state, &out)
	}
	if n := len(h.provider.Ledger()); n != 1 {
		t.Errorf("%d messages at the provider", n)
	}
}

// TestApprovalOfOnesOwn: who writes for approval and approves may not approve
// what they wrote, unless the mailbox says so.
func TestApprovalOfOnesOwn(t *testing.T) {
	box := func(more string) string {
		return mailboxText(boxA, false, more, "anna, compose: true, approve: true", "mario, approve: true")
	}
	h := newHouse(t, box(""), mailboxText(boxB, false, "", "lucia")).start()
	id := h.written("m1@alfa.example")
	w := h.reading("anna", toApprove)
	if a := w.does(t, `MOVE 1 "`+approved+`"`, "NO"); !strings.Contains(a, "another member") {
		t.Errorf("%s", a)
	}
	h.stays(id, relay.ReasonApproval)
	h.stop()
	h.writePolicy(strings.Replace(h.policy, box(""), box("    approve_own: true\n"), 1))
	h.start()
	h.reading("anna", toApprove).does(t, `COPY 1 "`+approved+`"`, "OK")
	h.settled(id, relay.Accepted)
}

// TestApprovalNeedsAPIN: an approver who has no PIN cannot approve where one is
// needed, and is told so.
func TestApprovalNeedsAPIN(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, "", "anna, compose: true", "lucia, approve: true"), mailboxText(boxB, false, "", "lucia")).start()
	id := h.written("m1@alfa.example")
	if a := h.reading("lucia", toApprove).does(t, `MOVE 1 "`+approved+`"`, "NO"); !strings.Contains(a, "needs the PIN, and the user has none") {
		t.Errorf("%s", a)
	}
	h.stays(id, relay.ReasonApproval)
}
