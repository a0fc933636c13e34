package relay

import (
	"time"

	"pecgate/mailbox"
)

// ShownBatch is how far a batch is: numbers of messages and, from Recipients on,
// of recipients.
type ShownBatch struct {
	ID          string `json:"id"`
	Split       string `json:"split"` // SplitBlind or SplitAlways
	Messages    int    `json:"messages"`
	Queued      int    `json:"queued"` // not left yet, those that are being handed over with them
	Held        int    `json:"held"`
	Uncertain   int    `json:"uncertain"`
	HandedOver  int    `json:"handed_over"` // the provider has them, the accepted ones with them
	Accepted    int    `json:"accepted"`
	NotAccepted int    `json:"not_accepted"`
	Cancelled   int    `json:"cancelled"`
	Recipients  int    `json:"recipients"`
	Delivered   int    `json:"delivered"`
	Failed      int    `json:"failed"`
	Late        int    `json:"late"`
}

// progressOf tells how far a batch is.
func progressOf(b *Submission) *ShownBatch {
	t, to := b.Tally, b.places()
	out := &ShownBatch{
		ID: b.ID, Split: b.Split, Messages: t.Messages, Uncertain: t.States[Uncertain], Accepted: t.States[Accepted],
		HandedOver: t.States[HandedOver] + t.States[Accepted], NotAccepted: t.States[NotAccepted], Cancelled: t.States[Cancelled],
		Queued: t.States[Queued] + t.States[Attempting], Held: t.States[Held] + t.States[ToApprove],
		Recipients: t.Recipients, Delivered: to[whereDelivered], Failed: to[whereFailed], Late: to[whereLate],
	}
	rest := b.unmade()
	switch b.Rest {
	case Held, ToApprove:
		out.Held += rest
	case Cancelled:
		out.Cancelled += rest
	case NotAccepted:
		out.NotAccepted += rest
	default:
		out.Queued += rest
	}
	return out
}

// ShownChild is one message of a batch.
type ShownChild struct {
	ID          string     `json:"id"`
	MsgID       string     `json:"msgid"`
	Identifier  string     `json:"identifier"`
	State       State      `json:"state"`
	StateReason Reason     `json:"state_reason"`
	SHA256      string     `json:"sha256"`      // of the bytes that were handed over; empty before
	HandedOver  *time.Time `json:"handed_over"` // null before
	Recipients  []string   `json:"recipients"`
}

// showBatch fills in what is shown of a batch: its children, and the receipts of
// each recipient.
func showBatch(tx *mailbox.Tx, b *Submission, h halt, shown *Shown) error {
	shown.Batch = progressOf(b)
	made := map[int]*Submission{}
	err := eachChild(tx, b.ID, 1, func(c *Submission) bool { made[c.Number] = c; return true })
	if err != nil {
		return err
	}
	for n := 1; n <= b.Tally.Messages; n++ {
		id := childID(b.ID, n)
		out := ShownChild{ID: id, MsgID: childMsgID(b.Box, id), State: b.Rest, StateReason: b.RestReason, Recipients: []string{}}
		if b.visible(n) {
			out.MsgID = b.MsgID
		}
		c := made[n]
		if c != nil {
			out.MsgID, out.Identifier, out.State, out.StateReason, out.SHA256 = c.MsgID, c.Identifier, c.State, c.StateReason, c.SHA256
			if at := c.HandedOver; !at.IsZero() {
				out.HandedOver = &at
			}
		}
		out.StateReason = h.reason(out.State, out.StateReason)
		from, to := b.span(n)
		for i := from; i < to; i++ {
			out.Recipients = append(out.Recipients, b.Recipients[i].Address)
			if c == nil {
				continue
			}
			refs, err := showReceipts(tx, id, i-from)
			if err != nil {
				return err
			}
			shown.Recipients[i].Receipts, shown.Recipients[i].HandedOver = refs, c.HandedOver
		}
		shown.Children = append(shown.Children, out)
	}
	return nil
}
