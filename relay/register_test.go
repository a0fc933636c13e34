package relay

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim"
)

// registered lists a register of the mailbox in this year.
func (i *intake) registered(d mailbox.Direction) (out []uint64) {
	i.t.Helper()
	err := i.store.View(context.Background(), func(tx *mailbox.Tx) error {
		return tx.ScanRegister(testBox, d, time.Now().UTC().Year(), 0, func(n uint64, _ mailbox.Registered) bool {
			out = append(out, n)
			return true
		})
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return out
}

// TestRegister: what was handed over and what arrived get numbers, once each;
// receipts, history and what never left get none.
func TestRegister(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, "From: a@pec.example\r\n\r\none\r\n", "a@pec.example", "b@pec.example")
	if got := i.registered(mailbox.Out); len(got) != 0 {
		t.Errorf("before it is known to be handed over: %v", got)
	}
	acceptance := i.receipt(providersim.Acceptance, nil)
	i.take(acceptance)
	i.take(i.receipt(providersim.Delivery, func(n *providersim.Notice) { n.Recipient = "a@pec.example" }))
	if got := fmt.Sprint(i.registered(mailbox.Out)); got != "[1]" {
		t.Errorf("sent: %s", got)
	}
	envelope := i.receipt(providersim.Transport, func(n *providersim.Notice) {
		n.Attached = []byte("From: x@pec.altri.example\r\nMessage-ID: <" + pecID + ">\r\n\r\nciao\r\n")
	})
	i.take(envelope)
	i.take(envelope) // fetched anew under another UID
	i.take(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.MsgID = "<nobody@pec.example>" }))
	i.takeAt(i.receipt(providersim.Transport, nil), time.Now(), cursor{UIDValidity: 1, HistoryTo: 1000})
	if got := fmt.Sprint(i.registered(mailbox.In)); got != "[1]" {
		t.Errorf("arrived: %s", got)
	}
}
