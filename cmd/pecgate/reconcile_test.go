package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// reconcile runs the command and decodes what it found.
func (h *house) reconcile(args ...string) (r relay.Reconciled) {
	h.t.Helper()
	state, out, errs := program(h.t, "", append([]string{"--config", h.config(), "reconcile", "--json"}, args...)...)
	if state != exitGood {
		h.t.Fatalf("reconcile %q: %d %s", args, state, errs)
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		h.t.Fatalf("%s: %v", out, err)
	}
	return r
}

// TestReconcileIMAP: a message in a folder that is not fetched, one that was sent
// by webmail, and one that somebody moved are found, and found again until they are
// brought in: byte for byte, once, without a notice. It works while the appliance
// runs and while nothing does.
func TestReconcileIMAP(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	const folder = "INBOX.Pratiche"
	if err := h.provider.CreateFolder(boxA, folder); err != nil {
		t.Fatal(err)
	}
	away := func() string {
		t.Helper()
		in, err := h.provider.Folder(boxA, "INBOX")
		if err != nil || len(in) == 0 {
			t.Fatalf("%d messages, %v", len(in), err)
		}
		m := in[len(in)-1]
		if err := h.provider.Move(boxA, m.UID, folder); err != nil {
			t.Fatal(err)
		}
		return string(m.Raw)
	}
	if err := h.provider.SendFromOutside("x@pec.altra.example", boxA, "Atto", "testo"); err != nil {
		t.Fatal(err)
	}
	if err := h.provider.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	never := away()
	webmail := mail(boxA, boxB, "Da webmail", "web9@alfa.example")
	h.inSent(boxA, webmail)
	h.start()
	h.until("it was fetched", func() bool { return h.fetched(boxA) && h.fetched(boxB) })
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Nota", "rc1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.until("it is delivered", func() bool {
		s, err := h.shown("rc1@alfa.example")
		return err == nil && s.State == relay.Accepted && s.Recipients[0].State == relay.Delivered
	})
	moved := away()
	what := func(r relay.Reconciled) (words []string) {
		for _, it := range r.Items {
			words = append(words, it.What+" "+it.Folder)
		}
		slices.Sort(words)
		return words
	}
	r := h.reconcile(boxA)
	if got := strings.Join(what(r), ", "); got != "gone-by-another INBOX, never-taken "+folder+", sent-elsewhere INBOX.Inviata" {
		t.Errorf("%s\n%+v", got, r)
	}
	if r.Store != 2 || r.Both != 1 || r.NeverTaken != 1 || r.SentElsewhere != 1 || r.GoneByAnother != 1 || r.LetGo+r.GoneByRule+r.BroughtIn+r.Failed != 0 {
		t.Errorf("%+v", r)
	}
	// Text, and refusals.
	if state, out, errs := program(t, "", "--config", h.config(), "reconcile", boxA); state != exitGood ||
		!strings.Contains(out, "deleted or moved at the provider by somebody else") || !strings.Contains(out, "--bring-in takes in what is missing") {
		t.Errorf("%d %s %s", state, out, errs)
	}
	if state, _, errs := program(t, "", "--config", h.config(), "reconcile", "nessuno@pec.example"); state != exitFailed ||
		errs != "pecgate: nessuno@pec.example is no PEC mailbox of the policy\n" {
		t.Errorf("%d %q", state, errs)
	}
	r = h.reconcile(boxA, "--bring-in")
	if r.BroughtIn != 1 || r.Originals != 1 || r.Failed != 0 {
		t.Errorf("%+v", r)
	}
	if got := h.folder("mario", treeA+"Posta in arrivo"); len(got) != 1 || got[0] != never {
		t.Errorf("%d in the inbox", len(got))
	}
	if got := h.folder("mario", treeA+"Posta inviata"); len(got) != 2 || !slices.Contains(got, webmail) {
		t.Errorf("sent: %q", got)
	}
	if got := h.folder("mario", treeA+"Ricevute/Consegna"); !slices.Contains(got, moved) && !slices.Contains(h.folder("mario", treeA+"Ricevute/Accettazione"), moved) {
		t.Error("what was moved is not what is in the store")
	}
	if n := len(h.folder("mario", "INBOX")); n != 0 {
		t.Errorf("%d notices", n)
	}
	if s, err := h.shown("web9@alfa.example"); err != nil || s.Recovered != "provider" || len(s.Recipients) != 1 || s.Recipients[0].Address != boxB {
		t.Errorf("%+v, %v", s, err)
	}
	// Again, and with nothing running: nothing is brought in twice.
	h.stop()
	r = h.reconcile(boxA, "--bring-in")
	if r.BroughtIn+r.Originals+r.NeverTaken+r.SentElsewhere+r.Failed != 0 || r.Store != 3 {
		t.Errorf("%+v", r)
	}
}

// TestReconcilePOP3: what is new waits for the next round, which tells of it, and
// is not brought in as history; what somebody took out of the maildrop is told.
func TestReconcilePOP3(t *testing.T) {
	h := newHouse(t, byPOP3(mailboxText(boxA, false, "", "mario")), mailboxText(boxB, false, "", "lucia"))
	h.start()
	h.until("it was fetched", func() bool { return h.fetched(boxA) })
	h.stop()
	for range 3 {
		if err := h.provider.SendFromOutside("x@pec.altra.example", boxA, "Atto", "testo"); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.provider.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := h.reconcile(boxA, "--bring-in"); r.Protocol != "pop3" || r.Waiting != 3 || r.NeverTaken+r.BroughtIn+r.Store != 0 {
		t.Errorf("before the next round: %+v", r)
	}
	h.start()
	h.until("they are there", func() bool { return len(h.folder("mario", treeA+"Posta in arrivo")) == 3 })
	if r := h.reconcile(boxA, "--bring-in"); r.Both != 3 || r.Store != 3 || len(r.Items) != 0 || r.BroughtIn != 0 {
		t.Errorf("%+v", r)
	}
	h.stop()
	in, err := h.provider.Folder(boxA, "INBOX")
	if err == nil {
		err = h.provider.Move(boxA, in[0].UID, h.provider.SentFolder())
	}
	if err != nil {
		t.Fatal(err)
	}
	if r := h.reconcile(boxA); r.Both != 2 || r.GoneByAnother != 1 || r.Store != 3 || len(r.Items) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestReconcileAside: drafts and spam are no mail that arrived, unless named; an
// empty folder of sent mail ends nothing.
func TestReconcileAside(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	for _, folder := range []string{"INBOX.A.Inviati", "INBOX.Bozze", "INBOX.Spam", "INBOX.Z.Sent"} {
		if err := h.provider.CreateFolder(boxA, folder); err != nil {
			t.Fatal(err)
		}
	}
	to := func(folder, raw string) {
		t.Helper()
		if err := h.provider.Inject(boxA, []byte(raw)); err != nil {
			t.Fatal(err)
		}
		in, err := h.provider.Folder(boxA, "INBOX")
		if err == nil {
			err = h.provider.Move(boxA, in[len(in)-1].UID, folder)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	to("INBOX.Bozze", mail(boxA, boxB, "Bozza, mai inviata", "draft1@alfa.example"))
	to("INBOX.Spam", mail("a@b.example", boxA, "Vincita", "spam1@b.example"))
	to("INBOX.Z.Sent", mail(boxA, boxB, "Inviata da webmail", "web1@alfa.example"))
	h.start()
	h.until("it was fetched", func() bool { return h.fetched(boxA) && h.fetched(boxB) })
	r := h.reconcile(boxA, "--bring-in")
	if r.BroughtIn != 0 || r.NeverTaken != 0 || r.Originals != 1 || r.Failed != 0 {
		t.Errorf("%+v", r)
	}
	for _, f := range r.Folders {
		want := map[string]string{"INBOX.Bozze": "drafts", "INBOX.Spam": "junk"}[f.Name]
		if f.Aside != want || want != "" && f.Unknown != 1 {
			t.Errorf("%+v", f)
		}
	}
	r = h.reconcile(boxA, "--bring-in", "--folder", "INBOX.Spam")
	if r.BroughtIn != 1 || r.NeverTaken != 1 {
		t.Errorf("%+v", r)
	}
	h.stop()
}

// TestReconcileSaysWhichRule: what provider_copy deleted is not called unknown.
func TestReconcileSaysWhichRule(t *testing.T) {
	at := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	r := &relay.Reconciled{Mailbox: boxA, Protocol: "imap", Store: 3, LetGo: 3}
	text := func() string {
		var b strings.Builder
		if err := printReconciled(&b, r, false, time.UTC); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := text(); !strings.Contains(got, "nothing is known at the provider any more: its UIDs or ids began anew") || strings.Contains(got, "provider_copy") {
		t.Error(got)
	}
	r.Rules = []relay.GoneByRule{{Rule: "messages 15d, receipts 2d", First: at, Last: at.Add(time.Hour), Messages: 2, Receipts: 1}}
	if got := text(); strings.Contains(got, "nothing is known") || !strings.Contains(got, "deleted by provider_copy (see below)") ||
		!strings.Contains(got, "messages 15d, receipts 2d: deleted 2 messages and 1 receipt there, 2026-03-02 09:30:00 to 2026-03-02 10:30:00") {
		t.Error(got)
	}
}
