package relay

import (
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

const (
	ownProvider   = "posta-certificata@pec.gestore.example"
	otherProvider = "posta-certificata@" + providersim.OutsideDomain
)

func last24h(n *providersim.Notice) {
	n.ErroreEsteso = "5.4.1 - Gestore - nessuna consegna entro 24 ore"
}

// TestOnlyTheSendersProviderDecides: non-acceptances and warnings of another
// provider than the one that accepted are filed and told, and change nothing,
// whatever came first.
func TestOnlyTheSendersProviderDecides(t *testing.T) {
	i := newIntake(t)
	i.send("s0", "m0@alfa.example", strings.ReplaceAll(sentText, testMsgID, "m0@alfa.example"), "a@pec.example", "b@pec.example")
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	other := func(k providersim.Kind, change func(*providersim.Notice)) []byte {
		return i.foreign(k, func(n *providersim.Notice) {
			if n.Identifier = "x." + pecID; change != nil {
				change(n)
			}
		})
	}
	// The mailbox's provider is known from another submission.
	i.take(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.MsgID, n.Identifier = "<m0@alfa.example>", "0."+pecID }))
	i.take(other(providersim.NonAcceptance, nil))
	i.take(other(providersim.DeliveryWarning, nil))
	if s := i.shown("s1"); s.State != HandedOver || s.Recipients[0].State != Waiting || words(s) != "submitted other-provider other-provider" {
		t.Fatalf("%s, %+v: %s", s.State, s.Recipients, words(s))
	}
	i.take(i.receipt(providersim.Acceptance, nil))
	i.take(other(providersim.DeliveryWarning, last24h))
	i.take(other(providersim.Acceptance, nil))
	i.take(other(providersim.DeliveryError, func(n *providersim.Notice) { n.Recipient = "b@pec.example" })) // of the recipient's provider
	s := i.shown("s1")
	if s.State != Accepted || s.Recipients[0].State != Waiting || s.Recipients[1].State != Failed || s.Identifier != pecID {
		t.Errorf("%s, %+v, %s", s.State, s.Recipients, s.Identifier)
	}
	if words(s) != "submitted other-provider other-provider acceptance other-provider other-provider delivery-error" {
		t.Errorf("%s", words(s))
	}
	if n := len(s.Receipts); n != 3 {
		t.Errorf("%d receipts of the whole are tied", n)
	}
	i.owned(mailbox.RoleErrors, 4)
	i.owned(mailbox.RoleAcceptance, 3)
	i.take(i.receipt(providersim.DeliveryWarning, last24h))
	if s := i.shown("s1"); s.Recipients[0].State != Failed {
		t.Errorf("the warning of the own provider: %+v", s.Recipients)
	}
	// What the other one called it is not known to anybody.
	if _, _, err := Show(t.Context(), i.store, "x."+pecID); err == nil {
		t.Error("the identifier was learnt from another provider")
	}
}

// TestProviderNotKnown: as long as no acceptance tells who the provider of a
// mailbox is, everybody is heard; the acceptance then tells whose warnings count.
func TestProviderNotKnown(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	i.take(i.foreign(providersim.NonAcceptance, nil))
	if s := i.shown("s1"); s.State != NotAccepted {
		t.Errorf("%s", s.State)
	}
	i.take(i.foreign(providersim.DeliveryWarning, last24h))
	i.take(i.receipt(providersim.DeliveryWarning, func(n *providersim.Notice) { n.Recipient = "b@pec.example" }))
	if s := i.shown("s1"); s.State != HandedOver || s.Recipients[0].State != Failed || s.Recipients[1].State != Late {
		t.Errorf("%s, %+v", s.State, s.Recipients)
	}
	i.take(i.receipt(providersim.Acceptance, nil))
	if s := i.shown("s1"); s.State != Accepted || s.Recipients[0].State != Waiting || s.Recipients[1].State != Late {
		t.Errorf("%s, %+v", s.State, s.Recipients)
	}
}

// TestMailboxMoved: the newest acceptance tells who the provider of a mailbox is;
// one that is fetched late does not.
func TestMailboxMoved(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	i.send("s2", "m2@alfa.example", strings.ReplaceAll(sentText, testMsgID, "m2@alfa.example"), "a@pec.example", "b@pec.example")
	second := func(n *providersim.Notice) { n.MsgID, n.Identifier = "<m2@alfa.example>", "2."+pecID }
	i.take(i.foreign(providersim.Acceptance, second))
	i.take(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.At = time.Now().Add(-time.Hour) }))
	i.update(func(tx *mailbox.Tx) error {
		p, err := providerOf(tx, testBox)
		if !pec.SameAddress(p.Signer, otherProvider) {
			t.Errorf("the provider is %s", p.Signer)
		}
		return err
	})
}

// TestIdentifiersAreOfAMailbox: the same identifier in two mailboxes, and one
// that was written before the mailbox was part of its key.
func TestIdentifiersAreOfAMailbox(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	i.send("s2", "m2@alfa.example", strings.ReplaceAll(sentText, testMsgID, "m2@alfa.example"), "a@pec.example", "b@pec.example")
	i.update(func(tx *mailbox.Tx) error {
		s2, err := load(tx, "s2")
		if err != nil {
			return err
		}
		s2.Box = "altro@pec.alfa.example"
		if err := save(tx, s2, nil); err != nil {
			return err
		}
		return tx.Space(room).Put(identifierBefore(idKey(pecID)), "s2")
	})
	if s := i.shown("<" + strings.ToUpper(pecID) + ">"); s.ID != "s2" {
		t.Errorf("an old identifier is of %s", s.ID)
	}
	i.take(i.receipt(providersim.Acceptance, nil))
	i.take(i.receipt(providersim.Delivery, noMsgID))
	if s := i.shown(pecID); s.ID != "s1" || s.Recipients[0].State != Delivered {
		t.Errorf("the identifier is of %s: %+v", s.ID, s.Recipients)
	}
	// An old key of this mailbox goes on to tie.
	i.update(func(tx *mailbox.Tx) error { return tx.Space(room).Put(identifierBefore(idKey("old."+pecID)), "s1") })
	i.take(i.receipt(providersim.DeliveryError, func(n *providersim.Notice) { noMsgID(n); n.Identifier, n.Recipient = "old."+pecID, "b@pec.example" }))
	if s := i.shown("old." + pecID); s.ID != "s1" || s.Recipients[1].State != Failed {
		t.Errorf("the old identifier is of %s: %+v", s.ID, s.Recipients)
	}
}

// TestReceiptsTellTheHandOver: where the provider's 250 is not on record, the
// receipts tell since when the message is under way, so that a last warning
// without a code counts; in any order.
func TestReceiptsTellTheHandOver(t *testing.T) {
	start := time.Now().Add(-23 * time.Hour).Truncate(time.Second)
	at := func(h time.Duration) func(*providersim.Notice) {
		return func(n *providersim.Notice) { n.At = start.Add(h) }
	}
	made := newIntake(t)
	receipts := [][]byte{
		made.receipt(providersim.Acceptance, at(0)),
		made.receipt(providersim.DeliveryWarning, at(12*time.Hour)),
		made.receipt(providersim.DeliveryWarning, at(23*time.Hour)),
		made.receipt(providersim.Delivery, func(n *providersim.Notice) { at(time.Minute)(n); n.Recipient = "b@pec.example" }),
	}
	for name, from := range map[string]State{"uncertain": Uncertain, "held": Held, "attempting": Attempting, "queued": Queued} {
		orders := [][]int{{0, 2}, {2, 1}}
		if from == Uncertain {
			orders = [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0}, {2, 1}, {0, 2}, {1, 2}, {3, 2}, {2, 3}}
		}
		for _, order := range orders {
			i := newIntake(t)
			i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
			i.from("s1", from)
			for _, k := range order {
				i.take(receipts[k])
			}
			sub := stored(t, i.store, "s1")
			if got := i.shown("s1").Recipients[0].State; got != Failed {
				t.Errorf("%s, %v: %s", name, order, got)
			}
			if sub.State != Accepted && sub.State != HandedOver || sub.HandedOver.IsZero() {
				t.Errorf("%s, %v: %s, handed over %v", name, order, sub.State, sub.HandedOver)
			}
			if order[0] == 0 && !sub.HandedOver.Equal(start) {
				t.Errorf("%s, %v: handed over %v instead of %v", name, order, sub.HandedOver, start)
			}
		}
	}
	// A clock that is ahead does not make it later than now.
	i := newIntake(t)
	i.send("s1", testMsgID, sentText, "a@pec.example")
	i.from("s1", Uncertain)
	i.take(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.At = time.Now().Add(5 * time.Hour) }))
	if sub := stored(t, i.store, "s1"); sub.HandedOver.IsZero() || sub.HandedOver.After(time.Now()) {
		t.Errorf("handed over %v", sub.HandedOver)
	}
}
