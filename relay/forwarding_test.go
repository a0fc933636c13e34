package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/forward"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// withMail gives the mailbox members who get what they see by ordinary mail: mario
// receives, lucia only sends and has no IMAP, capo administers and has IMAP alone.
func (i *intake) withMail() {
	i.t.Helper()
	i.withAdmin()
	i.s.opt.Hello = "gateway.example"
	i.s.opt.Smarthost = &Smarthost{Endpoint: Endpoint{Host: "127.0.0.1", Port: 25, Security: "none"}}
	person := func(login string) Correspondent {
		c := Correspondent{Email: login + "@example.org", Forward: login == "mario"}
		if login == "lucia" {
			c.NoIMAP = func(string) bool { return true }
		}
		return c
	}
	i.s.opt.Person = person
	i.s.opt.Readers = func(string) (all []Reader) {
		for _, login := range []string{"mario", "lucia", "capo"} {
			all = append(all, Reader{Correspondent: person(login), Login: login, NotifyNew: login == "capo", Approves: login == "capo",
				Sees: func(role mailbox.Role) (mailbox.Scope, bool) {
					switch {
					case login == "lucia":
						return mailbox.ScopeOwn, role == mailbox.RoleDelivery
					case role == mailbox.RoleAnomalies:
						return mailbox.ScopeOwnOrCommon, true
					}
					return mailbox.ScopeOwnOrCommon, role == mailbox.RoleInbox || role == mailbox.RoleDelivery || role == mailbox.RoleAcceptance
				}})
		}
		return all
	}
	if _, err := i.store.Person(i.t.Context(), "mario"); err != nil {
		i.t.Fatal(err)
	}
}

// mailed decides who gets what, and returns it as kind and address.
func (i *intake) mailed() (all []string) {
	i.t.Helper()
	for range 2 { // once more: it changes nothing
		if err := i.s.routeForwards(i.t.Context()); err != nil {
			i.t.Fatal(err)
		}
	}
	items, err := Forwards(i.t.Context(), i.store, 1000)
	if err != nil {
		i.t.Fatal(err)
	}
	for _, it := range items {
		all = append(all, it.Kind+" "+it.To)
	}
	slices.Sort(all)
	return all
}

func (i *intake) wantMailed(want ...string) {
	i.t.Helper()
	if got := i.mailed(); !slices.Equal(got, want) {
		i.t.Errorf("by ordinary mail goes %q, want %q", got, want)
	}
}

func TestNoticesGoByMailToo(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.mustRaise(suspendedAlarm(i.s))
	i.wantMailed("notice capo@example.org", "notice mario@example.org")
}

// Without a smarthost nothing is kept for it.
func TestNoSmarthostKeepsNothing(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.s.opt.Smarthost = nil
	i.mustRaise(suspendedAlarm(i.s))
	i.take(i.envelope())
	i.wantMailed()
	err := i.store.View(t.Context(), func(tx *mailbox.Tx) error {
		return tx.Space(room).Scan(forwardDue, func(k string, _ []byte) (bool, error) { t.Errorf("left: %s", k); return true, nil })
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A PEC goes to whom it is to be forwarded, and those who asked for it are told;
// history goes nowhere.
func TestEnvelopesAreForwarded(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.takeAt(i.envelope(), time.Now(), cursor{UIDValidity: 1, HistoryTo: 99})
	i.wantMailed()
	i.take(i.envelope())
	i.wantMailed("copy mario@example.org", "notice capo@example.org")
	if got := i.inbox("capo"); len(got) != 1 || got[0] != "Nuova PEC in "+testBox {
		t.Errorf("INBOX: %q", got)
	}
}

// Copies pass the filter of IMAP: mario's receipt goes to mario, not to others.
func TestReceiptsAreForwardedToWhoSeesThem(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example", "b@pec.example")
	i.s.opt.Person = nil
	i.take(i.receipt(providersim.Acceptance, nil))
	i.wantMailed("copy mario@example.org")
	readers := i.s.opt.Readers
	i.s.opt.Readers = func(box string) []Reader {
		all := readers(box)
		for n := range all {
			all[n].Forward = true
		}
		return all
	}
	i.take(i.receipt(providersim.Delivery, nil))
	i.wantMailed("copy mario@example.org", "copy mario@example.org")
}

func ordinaryMail(header string) []byte {
	return []byte(header + "From: x@esempio.example\r\nTo: " + testBox + "\r\nSubject: ciao\r\nMessage-ID: <x" + fmt.Sprint(time.Now().UnixNano()) + "@esempio.example>\r\n\r\nciao\r\n")
}

// Ordinary mail goes to the set address, and to members who see anomalies; it stays in its folder.
func TestOrdinaryMailIsForwarded(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.acc.OrdinaryTo = "ufficio@example.org"
	i.take(ordinaryMail(""))
	i.wantMailed("copy mario@example.org", "ordinary ufficio@example.org")
}

// A hundred answers by machines to what was forwarded lead to nothing, however
// they come back.
func TestLoopsEnd(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.acc.OrdinaryTo = "ufficio@example.org"
	ours := "Received: by gateway.example (pecgate) id f1-0\r\n\tfor <ufficio@example.org>; Sat, 21 Nov 2026 10:00:00 +0100\r\n"
	for n := range 100 {
		header := []string{
			"Auto-Submitted: auto-replied\r\n", "Return-Path: <>\r\n", ours, "X-Loop: pecgate@gateway.example\r\n",
			strings.Repeat("Received: from a by b; Sat, 21 Nov 2026 10:00:00 +0100\r\n", 40),
		}[n%5]
		i.take(ordinaryMail(header))
	}
	// Our own copy, wrapped by a provider.
	i.take(i.compose(i.sim.Signer(), providersim.Anomaly, func(n *providersim.Notice) {
		n.Attached = []byte(ours + "From: x@esempio.example\r\nSubject: ciao\r\n\r\nciao\r\n")
	}, providersim.SignOptions{}))
	i.wantMailed()
	if got := i.audited("not forwarded"); len(got) != 101 {
		t.Errorf("%d audit lines", len(got))
	}
}

// Who may approve is told that something waits.
func TestApproversAreTold(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.keep("one", ForApproval)
	i.wantMailed("notice capo@example.org")
	if got := i.inbox("capo"); len(got) != 1 || got[0] != "PEC da autorizzare: "+testBox {
		t.Errorf("INBOX: %q", got)
	}
	if got := i.inbox("mario"); len(got) != 0 {
		t.Errorf("the author is told: %q", got)
	}
}

// A refusal is told to the administrator once, and never of the notice about it.
func TestForwardRefusalIsToldOnce(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	f := forward.Failure{Item: forward.Item{ID: "f1-0", To: "capo@example.org", Kind: "notice", Box: testBox}, Reason: "rcpt: 550 5.1.1 no such user", Final: true}
	for range 5 {
		if err := i.s.forwardFailed(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	if got := i.inbox("capo"); len(got) != 1 {
		t.Errorf("INBOX: %q", got)
	}
	i.wantMailed() // not to the address that refuses
	f.Item.To = "mario@example.org"
	if err := i.s.forwardFailed(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	i.wantMailed("notice capo@example.org")
}

// sent takes what is queued off the queue, as if the smarthost had taken it.
func (i *intake) sent() {
	i.t.Helper()
	items, err := Forwards(i.t.Context(), i.store, 1000)
	if err != nil {
		i.t.Fatal(err)
	}
	i.update(func(tx *mailbox.Tx) error {
		for _, it := range items {
			if _, err := forward.Drop(tx, it.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// What is filed elsewhere once its CA is known goes to whom sees it only now, and to
// nobody twice; an envelope that stays where it was goes to nobody again, and has one
// watch.
func TestJudgedAgainIsForwardedOnce(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.acc.Watch.Unread = time.Hour
	i.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example", "b@pec.example")
	known := i.s.opt.Reader
	trust, err := pec.NewTrust()
	if err != nil {
		t.Fatal(err)
	}
	i.s.opt.Reader = pec.NewReader(pec.Options{Trust: trust})
	i.take(i.receipt(providersim.Acceptance, nil))
	i.wantMailed("copy mario@example.org", "notice capo@example.org") // the copy from the anomalies, and the alarm
	i.take(i.envelope())
	i.wantMailed("copy mario@example.org", "copy mario@example.org", "notice capo@example.org", "notice capo@example.org")
	i.sent()
	readers := i.s.opt.Readers
	i.s.opt.Readers = func(box string) []Reader {
		return append(readers(box), Reader{Correspondent: Correspondent{Email: "nina@example.org", Forward: true}, Login: "nina",
			Sees: func(role mailbox.Role) (mailbox.Scope, bool) { return mailbox.ScopeAll, role == mailbox.RoleAcceptance }})
	}
	i.s.opt.Reader = known
	if err := i.s.judgeAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.wantMailed("copy nina@example.org")
	watches := 0
	i.update(func(tx *mailbox.Tx) error {
		return tx.Space(room).Scan("wd/", func(k string, _ []byte) (bool, error) {
			if strings.Contains(k, "/u/") {
				watches++
			}
			return true, nil
		})
	})
	if watches != 1 {
		t.Errorf("%d watches of one unread envelope", watches)
	}
}

// Nobody is told of a new PEC that is none.
func TestForgedEnvelopeIsNoNews(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	raw := i.envelope()
	at := strings.LastIndex(string(raw), "\r\nciao\r\n")
	if at < 0 {
		t.Fatal("no text to change")
	}
	raw[at+2] = 'k'
	i.take(raw)
	i.wantMailed("copy mario@example.org") // who sees anomalies
	if got := i.inbox("capo"); len(got) != 0 {
		t.Errorf("INBOX: %q", got)
	}
}
