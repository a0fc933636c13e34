package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay/forward"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// oursBefore is the field that stands above what was forwarded from here.
const oursBefore = "Received: by gateway.example (pecgate) id f1-0\r\n\tfor <mario@example.org>; Sat, 21 Nov 2026 10:00:00 +0100\r\n"

func attaching(head, inner string) string {
	return head + "From: altri@pec.beta.example\r\nTo: " + testBox + "\r\nSubject: ricorso\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\nContent-Type: text/plain\r\n\r\nin allegato\r\n" +
		"--bb\r\nContent-Type: message/rfc822\r\n\r\n" + inner + "From: x@pec.example\r\nSubject: prima\r\n\r\nprima\r\n\r\n--bb--\r\n"
}

// What the sender wrote keeps a PEC or a receipt from nobody: our marks in an
// attachment, or in the very header of what was sent.
func TestMarksInsideOfPECStopNothing(t *testing.T) {
	for name, raw := range map[string]string{
		"attached":     attaching("", oursBefore),
		"in its head":  attaching("X-Loop: pecgate@gateway.example\r\n", ""),
		"our Received": attaching(oursBefore, ""),
	} {
		t.Run(name, func(t *testing.T) {
			i := newIntake(t)
			i.withMail()
			i.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example", "b@pec.example")
			i.take(i.compose(i.sim.Signer(), providersim.Transport, func(n *providersim.Notice) {
				n.Sender, n.ReplyTo, n.To = "altri@pec.beta.example", "altri@pec.beta.example", testBox
				n.Recipients = []providersim.Recipient{{Address: testBox}}
				n.Attached = []byte(raw)
				n.Header = []byte("From: altri@pec.beta.example\r\nTo: " + testBox + "\r\nSubject: ricorso\r\n\r\n")
			}, providersim.SignOptions{}))
			i.wantMailed("copy mario@example.org", "notice capo@example.org")
			i.take(i.receipt(providersim.Delivery, func(n *providersim.Notice) { n.Receipt, n.Attached = "completa", []byte(raw) }))
			i.wantMailed("copy mario@example.org", "copy mario@example.org", "notice capo@example.org")
		})
	}
}

// In an anomaly envelope what the provider wrapped is looked at, its attachments
// are not.
func TestMarksInAnomalies(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want []string
	}{
		{attaching("", oursBefore), []string{"copy mario@example.org", "ordinary ufficio@example.org"}},
		{attaching(oursBefore, ""), nil},
		{attaching("Auto-Submitted: auto-replied\r\n", ""), nil},
	} {
		i := newIntake(t)
		i.withMail()
		i.acc.OrdinaryTo = "ufficio@example.org"
		i.take(i.compose(i.sim.Signer(), providersim.Anomaly, func(n *providersim.Notice) { n.Attached = []byte(c.raw) }, providersim.SignOptions{}))
		i.wantMailed(c.want...)
	}
}

// A forged envelope is no PEC: it is not announced as one, and what a machine wrote
// goes nowhere under that cloak either.
func TestForgedEnvelopeIsNotAnnounced(t *testing.T) {
	forged := "X-Trasporto: posta-certificata\r\nFrom: \"Per conto di: x@pec.example\" <posta-certificata@x.example>\r\nTo: " + testBox + "\r\nSubject: POSTA CERTIFICATA: x\r\nMessage-ID: <a@b.example>\r\n\r\nx\r\n"
	for _, raw := range []string{forged, strings.Replace(forged, "<a@", "<b@", 1) + "more\r\n", strings.Replace(string(newIntake(t).envelope()), "ciao", "CIAO", 1)} {
		i := newIntake(t)
		i.withMail()
		i.take([]byte(raw))
		i.wantMailed("copy mario@example.org")
		if got := i.inbox("capo"); len(got) != 0 {
			t.Errorf("announced: %q", got)
		}
	}
	for _, head := range []string{"Return-Path: <>\r\n", "Auto-Submitted: auto-replied\r\n"} {
		i := newIntake(t)
		i.withMail()
		i.take([]byte(head + forged))
		i.wantMailed()
	}
}

// A receipt that came before its submission was known goes to the sender once it
// is, and to nobody twice.
func TestReceiptTiedLaterIsForwardedOnce(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	all := i.s.opt.Readers
	own := func(box string) []Reader { // mario sees own receipts only, anna what is nobody's
		readers := all(box)[:1]
		readers[0].Sees = func(role mailbox.Role) (mailbox.Scope, bool) { return mailbox.ScopeOwn, role != mailbox.RoleInbox }
		other := Reader{Correspondent: Correspondent{Email: "anna@example.org", Forward: true}, Login: "anna"}
		other.Sees = func(mailbox.Role) (mailbox.Scope, bool) { return mailbox.ScopeOwnOrCommon, true }
		return append(readers, other)
	}
	i.s.opt.Readers = own
	i.take(i.receipt(providersim.Delivery, nil))
	i.wantMailed("copy anna@example.org")
	i.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example", "b@pec.example")
	i.take(i.receipt(providersim.Acceptance, nil))
	i.wantMailed("copy anna@example.org", "copy mario@example.org", "copy mario@example.org")

	// Who saw it as nobody's and is its sender has it already.
	i = newIntake(t)
	i.withMail()
	i.take(i.receipt(providersim.Delivery, nil))
	i.wantMailed("copy mario@example.org")
	i.dropForwards()
	i.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example", "b@pec.example")
	i.take(i.receipt(providersim.Acceptance, nil))
	i.wantMailed("copy mario@example.org") // the acceptance
}

// dropForwards empties the queue, as when all has been sent.
func (i *intake) dropForwards() {
	i.t.Helper()
	items, err := Forwards(i.t.Context(), i.store, 1000)
	for _, it := range items {
		if _, err := i.s.ForwardDrop(i.t.Context(), it.ID, Hand{Actor: "test"}); err != nil {
			i.t.Fatal(err)
		}
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// Four hundred members get a copy and a notice each, though no transaction has room
// for so many.
func TestManyMembersGetCopies(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.s.opt.Readers = func(string) (all []Reader) {
		for n := range 400 {
			login := fmt.Sprintf("u%03d", n)
			all = append(all, Reader{Correspondent: Correspondent{Email: login + "@example.org", Forward: true}, Login: login, NotifyNew: true,
				Sees: func(mailbox.Role) (mailbox.Scope, bool) { return mailbox.ScopeAll, true }})
		}
		return all
	}
	i.s.opt.Person = nil
	i.take(i.envelope())
	got := i.mailed()
	if n := len(slices.Compact(got)); n != 400 || len(got) != 400 {
		t.Errorf("%d copies, %d addresses", len(got), n)
	}
	for _, login := range []string{"u000", "u049", "u050", "u399"} {
		if got := i.inbox(login); len(got) != 1 {
			t.Errorf("INBOX of %s: %q", login, got)
		}
	}
}

// Nothing goes to an address that is a PEC mailbox here.
func TestNothingIsForwardedToPEC(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	readers := i.s.opt.Readers
	i.s.opt.Readers = func(box string) []Reader {
		all := readers(box)
		for n := range all {
			all[n].Email = strings.ToUpper(testBox)
		}
		return all
	}
	i.take(i.envelope())
	i.wantMailed("notice capo@example.org")
}

// What waits goes to nobody who has left, and to the address that somebody has by now.
func TestWaitingCopiesFollowThePolicy(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.take(i.envelope())
	i.wantMailed("copy mario@example.org", "notice capo@example.org")
	items, err := Forwards(t.Context(), i.store, 10)
	if err != nil {
		t.Fatal(err)
	}
	now := func(want ...string) {
		t.Helper()
		var got []string
		i.update(func(tx *mailbox.Tx) error {
			got = nil
			for _, it := range items {
				to, _, err := i.s.stillGets(tx, it)
				if err != nil {
					return err
				}
				got = append(got, to)
			}
			return nil
		})
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("goes to %q, want %q", got, want)
		}
	}
	now("capo@example.org", "mario@example.org")
	readers := i.s.opt.Readers
	i.s.opt.Readers = func(box string) []Reader {
		all := readers(box)
		all[0].Email = "mario@new.example"
		return all
	}
	now("capo@example.org", "mario@new.example")
	i.s.opt.Readers = func(string) []Reader { return nil }
	i.leaves("capo")
	now("", "")
}

// Spam that is refused again and again is told once a day, an address once.
func TestRefusedContentIsToldOnceADay(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	for range 20 {
		f := forward.Failure{Item: forward.Item{ID: "f1-0", To: "ufficio@example.org", Kind: "ordinary", Box: testBox}, Reason: "dot: 550 5.7.1 spam", Final: true, Content: true}
		if err := i.s.forwardFailed(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		f.Content, f.Reason = false, "rcpt: 550 5.1.1 no such user"
		if err := i.s.forwardFailed(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if err := i.s.ended(t.Context(), "", "forward-refused", f.Item.To); err != nil { // one got through
			t.Fatal(err)
		}
	}
	if got := i.inbox("capo"); len(got) != 2 {
		t.Errorf("INBOX: %q", got)
	}
}
