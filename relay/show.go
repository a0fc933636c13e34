package relay

import (
	"context"
	"errors"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// Shown is the answer to `pecgate show`.
type Shown struct {
	ID          string `json:"id"`
	MsgID       string `json:"msgid"`
	Alias       string `json:"alias"` // the client's Message-ID, where it was replaced
	Identifier  string `json:"identifier"`
	Mailbox     string `json:"mailbox"`
	User        string `json:"user"`
	State       State  `json:"state"`
	StateReason Reason `json:"state_reason"`
	// Recovered says that it was not sent through the gateway, and where its
	// original is from: receipt or provider; empty for any other.
	Recovered string `json:"recovered,omitempty"`
	// Hours is when the hours of the mailbox let it go on; left out where they do not
	// keep it waiting.
	Hours *time.Time `json:"hours,omitempty"`
	// Looking is how far the search for its receipt is; left out where there is none.
	Looking     *ShownLooking    `json:"looking,omitempty"`
	SubmittedAt time.Time        `json:"submitted_at"`
	SHA256      string           `json:"sha256"`
	Resent      time.Time        `json:"resent,omitzero"` // when the gateway itself handed it over a second time (uncertain: resend)
	Twice       string           `json:"twice,omitempty"` // identifier of a second acceptance: it went out twice
	Counts      Counts           `json:"counts"`          // recipients, acceptances, deliveries, errors
	Expected    Expected         `json:"expected"`        // receipts that are still to come
	Recipients  []ShownRecipient `json:"recipients"`
	Receipts    []ShownReceipt   `json:"receipts"` // about the whole: acceptance or non-acceptance
	Events      []Event          `json:"events"`
	// Batch is how far the batch is that this is, or is a message of; null for any
	// other. Children are the messages of a batch, empty for any other.
	Batch    *ShownBatch  `json:"batch"`
	Children []ShownChild `json:"children"`
}

// Expected are receipts that are still to come, and the room at the provider that
// they take at most, in bytes: that of complete ones, which carry the original.
type Expected struct {
	Receipts int   `json:"receipts"`
	Bytes    int64 `json:"bytes"`
}

// expects are the receipts that a submission, or all messages of a batch, will
// still bring.
func (s *Submission) expects() Expected {
	e := s.awaited()
	out := Expected{Receipts: e.Receipts, Bytes: e.bytes("complete")}
	switch {
	case s.batch():
		n := s.Tally.Messages
		for i := range s.Recipients {
			if of := s.Recipients[i].Of; of == Accepted {
				n-- // as near as the batch itself knows
			}
		}
		n = max(n, 0)
		out.Receipts, out.Bytes = e.Receipts+n, int64(e.Receipts)*receiptSize("complete", e.Size)+int64(n)*receiptOverhead
	case e.Acceptance:
		out.Receipts++
	}
	return out
}

// ShownRecipient is one recipient of a Shown.
type ShownRecipient struct {
	// HandedOver is when the message to this recipient was handed to the provider;
	// left out before.
	HandedOver time.Time      `json:"handed_over,omitzero"`
	Address    string         `json:"address"`
	State      RecipientState `json:"state"`
	Receipts   []ShownReceipt `json:"receipts"`
}

// ShownReceipt is one receipt of a Shown.
type ShownReceipt struct {
	Kind    pec.Kind  `json:"kind"`
	Verdict string    `json:"verdict"`
	At      time.Time `json:"at"`
	SHA256  string    `json:"sha256"`
}

// Show returns the submission with an id, Message-ID or PEC identifier as a
// timeline; ErrNotFound when there is none. message is that of its bytes.
func Show(ctx context.Context, store *mailbox.Store, name string) (shown Shown, message mailbox.MessageID, err error) {
	err = store.View(ctx, func(tx *mailbox.Tx) error {
		s, err := Find(tx, name)
		if err != nil {
			return err
		}
		message = s.Message
		h, err := haltOf(tx, s.Box)
		if err != nil {
			return err
		}
		shown = Shown{
			ID: s.ID, MsgID: s.MsgID, Alias: s.Alias, Identifier: s.Identifier, Mailbox: s.Box, User: s.User,
			State: s.State, StateReason: h.reason(s.State, s.StateReason), SubmittedAt: s.SubmittedAt, SHA256: s.SHA256, Resent: s.Resent, Twice: s.Twice, Recovered: s.Recovered, Counts: s.counts(),
			Expected: s.expects(), Recipients: []ShownRecipient{}, Children: []ShownChild{},
		}
		if h.Until.After(tx.Now()) && !s.AnyHours && (s.State == Queued || s.batch() && s.Rest == Queued) {
			shown.Hours = &h.Until
		}
		if shown.Looking, err = showLooking(tx, s); err != nil {
			return err
		}
		if shown.Receipts, err = showReceipts(tx, s.ID, -1); err != nil {
			return err
		}
		for i, r := range s.Recipients {
			refs, handed := []ShownReceipt{}, s.HandedOver
			if s.batch() {
				handed = time.Time{} // each of its messages has its own
			}
			if !s.batch() { // whose receipts are about its messages
				if refs, err = showReceipts(tx, s.ID, i); err != nil {
					return err
				}
			}
			shown.Recipients = append(shown.Recipients, ShownRecipient{Address: r.Address, State: r.State, Receipts: refs, HandedOver: handed})
		}
		switch {
		case s.batch():
			err = showBatch(tx, s, h, &shown)
		case s.child():
			var b *Submission
			if b, err = headOf(tx, s.Batch); err == nil {
				shown.Batch = progressOf(b)
			}
		}
		if err != nil {
			return err
		}
		shown.Events, err = Story(tx, s.ID)
		if shown.Events == nil {
			shown.Events = []Event{}
		}
		return err
	})
	return shown, message, err
}

func showReceipts(tx *mailbox.Tx, id string, n int) ([]ShownReceipt, error) {
	refs, err := receipts(tx, id, n)
	out := make([]ShownReceipt, 0, len(refs))
	for _, r := range refs {
		out = append(out, ShownReceipt{Kind: r.Kind, Verdict: r.Verdict, At: r.At, SHA256: r.SHA256})
	}
	return out, err
}

// Receipt is a receipt of a submission with where its bytes are.
type Receipt struct {
	ReceiptRef
	Recipient string // whom it is about; empty: the whole
	Size      int64  // bytes; 0 where it was removed
}

// Receipts returns those of the submission with an id, of the whole first; of a
// batch none, its messages have theirs. ErrNotFound where there is no such submission.
func Receipts(ctx context.Context, store *mailbox.Store, id string) (out []Receipt, err error) {
	err = store.View(ctx, func(tx *mailbox.Tx) error {
		out = nil
		s, err := load(tx, id)
		if err != nil || s.batch() {
			return err
		}
		for n := -1; n < len(s.Recipients); n++ {
			refs, err := receipts(tx, s.ID, n)
			if err != nil {
				return err
			}
			for _, r := range refs {
				one := Receipt{ReceiptRef: r}
				if n >= 0 {
					one.Recipient = s.Recipients[n].Address
				}
				switch m, err := tx.Message(r.Message); {
				case err == nil:
					one.Size = m.Size()
				case !errors.Is(err, mailbox.ErrNotFound):
					return err
				}
				out = append(out, one)
			}
		}
		return nil
	})
	return out, err
}
