package relay

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// TestClaimedReceiptIsTheSenders: a receipt that waited is filed for all at
// first, and once it is tied for the sender alone: a new entry under a new UID,
// and no other is left.
func TestClaimedReceiptIsTheSenders(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	i.take(i.receipt(providersim.Delivery, noMsgID))
	i.common(mailbox.RoleDelivery, 1)
	i.take(i.receipt(providersim.Acceptance, nil))
	i.owned(mailbox.RoleDelivery, 1)
	i.owned(mailbox.RoleAcceptance, 1)
	if n := i.inFolder(mailbox.RoleDelivery, sender, mailbox.ScopeAll); n != 1 {
		t.Errorf("%d entries of one receipt", n)
	}
	snap, err := i.store.Snapshot(t.Context(), mailbox.FolderKey{Box: testBox, Role: mailbox.RoleDelivery}, mailbox.Viewer{Person: sender, Scope: mailbox.ScopeOwn})
	if err != nil || fmt.Sprint(snap.UIDs) != "[2]" {
		t.Errorf("%v, UIDs %v", err, snap)
	}
}

// TestMangledMsgID: a provider of a recipient that mangles long Message-IDs is
// understood by the identifier, whatever comes first; and an id that belongs to
// another submission is never passed over.
func TestMangledMsgID(t *testing.T) {
	mangled := func(n *providersim.Notice) { n.MsgID = "<m1@alfa.exampl>" }
	for _, first := range []bool{true, false} {
		i := newIntake(t)
		i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
		i.send("s2", "m2@alfa.example", strings.ReplaceAll(sentText, testMsgID, "m2@alfa.example"), "b@pec.example")
		receipts := [][]byte{i.receipt(providersim.Acceptance, nil), i.receipt(providersim.Delivery, mangled)}
		if first {
			receipts[0], receipts[1] = receipts[1], receipts[0]
		}
		for _, raw := range receipts {
			i.take(raw)
		}
		if s := i.shown("s1"); s.Recipients[0].State != Delivered || s.State != Accepted {
			t.Errorf("first %t: %s, %+v\n%s", first, s.State, s.Recipients, i.log)
		}
		i.owned(mailbox.RoleDelivery, 1)
		// The id is that of s2, which did not go to this recipient.
		i.take(i.receipt(providersim.DeliveryWarning, func(n *providersim.Notice) { n.MsgID = "<m2@alfa.example>" }))
		if one, two := i.shown("s1"), i.shown("s2"); words(two) != "submitted" || strings.Contains(words(one), "warning") {
			t.Errorf("first %t: %s; %s", first, words(one), words(two))
		}
	}
}

// TestOddIdentifier: an identifier in a form that has to be normalised more than
// once is the same wherever it is looked up.
func TestOddIdentifier(t *testing.T) {
	for _, odd := range []string{"<<" + pecID + ">>", "&lt;<" + pecID + "> &gt;", "&amp;lt;" + pecID + "&amp;gt;"} {
		set := func(n *providersim.Notice) { n.Identifier = odd }
		i := newIntake(t)
		i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
		i.take(i.receipt(providersim.DeliveryError, func(n *providersim.Notice) { noMsgID(n); set(n) }))
		i.take(i.receipt(providersim.Acceptance, set))
		i.take(i.receipt(providersim.Delivery, func(n *providersim.Notice) { noMsgID(n); set(n); n.Recipient = "b@pec.example" }))
		if s := i.shown("s1"); s.Recipients[0].State != Failed || s.Recipients[1].State != Delivered {
			t.Errorf("%s: %s, %+v\n%s", odd, s.State, s.Recipients, i.log)
		}
	}
}

// TestClaimGoesOn: what cannot be read among the waiting receipts stops no
// other, and each is told.
func TestClaimGoesOn(t *testing.T) {
	i := newIntake(t)
	i.take(i.receipt(providersim.DeliveryError, noMsgID))
	i.take(i.receipt(providersim.Delivery, func(n *providersim.Notice) { noMsgID(n); n.Recipient = "b@pec.example" }))
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	damaged := []string{"w/aaa", waitingPrefix(testBox, idKey(pecID)) + "0", waitingPrefix(testBox, idKey(pecID)) + "z"}
	i.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, "s1")
		if err != nil {
			return err
		}
		for _, k := range damaged {
			if err := tx.Space(room).Put(k, "x"); err != nil {
				return err
			}
		}
		return learn(tx, s, pecID)
	})
	err := i.s.claimAll(t.Context())
	if s := i.shown("s1"); s.Recipients[0].State != Failed || s.Recipients[1].State != Delivered {
		t.Errorf("%+v\n%v", s.Recipients, err)
	}
	if err == nil {
		t.Fatal("no error")
	}
	i.s.faults("", err)
	if n := strings.Count(i.log.String(), "msg=fault"); n != len(damaged) {
		t.Errorf("%d faults\n%s", n, i.log)
	}
}

// TestWaitingEnds: what nobody asked for in 30 days waits no longer, and stays
// where it is.
func TestWaitingEnds(t *testing.T) {
	i := newIntake(t)
	i.take(i.receipt(providersim.DeliveryError, noMsgID))
	i.take(i.receipt(providersim.Delivery, nil))
	count := func(older time.Duration) (n int) {
		i.update(func(tx *mailbox.Tx) error {
			n = 0
			var all []waitingLine
			err := scanWaiting(tx, "w/", func(l waitingLine) bool { n++; all = append(all, l); return true })
			for _, l := range all {
				l.At = l.At.Add(-older)
				if err := tx.Space(room).Put(l.key, l.waiting); err != nil {
					return err
				}
			}
			return err
		})
		return n
	}
	if n := count(waitFor + time.Hour); n != 2 {
		t.Fatalf("%d wait", n)
	}
	if err := i.s.claimAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(0); n != 0 {
		t.Errorf("%d wait", n)
	}
	i.common(mailbox.RoleErrors, 1)
	i.common(mailbox.RoleDelivery, 1)
}

// TestH5_ReceiptsWaitOverAStop: a stop between the acceptance and the receipts
// that waited for it is made good at the next start.
func TestH5_ReceiptsWaitOverAStop(t *testing.T) {
	i := newIntake(t)
	i.take(i.receipt(providersim.DeliveryError, noMsgID))
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	err := i.store.Update(context.Background(), func(tx *mailbox.Tx) error {
		s, err := load(tx, "s1")
		if err != nil {
			return err
		}
		return learn(tx, s, pecID)
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := i.s.claimAll(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	s := i.shown("s1")
	if s.Recipients[0].State != Failed || len(s.Recipients[0].Receipts) != 1 || words(s) != "submitted delivery-error" {
		t.Errorf("%+v", s)
	}
}

// TestH5_WaitingIsBounded: receipts that wait for a submission of 120 recipients
// are all applied, in more than one go.
func TestH5_WaitingIsBounded(t *testing.T) {
	i := newIntake(t)
	var to []string
	var list []providersim.Recipient
	for k := range 2*perClaim + 20 {
		to = append(to, fmt.Sprintf("r%d@pec.example", k))
		list = append(list, providersim.Recipient{Address: to[k]})
	}
	i.send("s1", testMsgID, sentText, to...)
	for _, a := range to {
		i.take(i.receipt(providersim.Delivery, func(n *providersim.Notice) {
			noMsgID(n)
			n.Recipient, n.Recipients = a, list[:1]
		}))
	}
	i.take(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.Recipients = list }))
	for _, r := range i.shown("s1").Recipients {
		if r.State != Delivered {
			t.Fatalf("%+v", r)
		}
	}
}
