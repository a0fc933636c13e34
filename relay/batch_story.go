package relay

import (
	"fmt"

	"pecgate/mailbox"
)

// The story of a batch tells how far its messages are: the first and the last that the
// provider took, the last acceptance, the last delivery, and which went wrong. What
// became of each stands in the story of each.

// batchStory bounds the lines about single messages, so that there is room for those
// about all.
const batchStory = 60

// batchStage is what of a batch its story tells of.
type batchStage struct {
	state     State
	left      bool // a message was handed over
	delivered bool // to everybody
}

func (b *Submission) stage() batchStage {
	return batchStage{b.State, !b.HandedOver.IsZero(), b.Tally.To[whereDelivered] == b.Tally.Recipients}
}

// goesOn tells in the story of a batch what a change of a message, which was before
// (nil: it had no record), has brought about.
func (b *Submission) goesOn(tx *mailbox.Tx, s, before *Submission, was batchStage) (err error) {
	tell := func(what, text string) {
		if err == nil {
			err = happened(tx, b, what, text)
		}
	}
	one := func(what, text string) {
		if b.Events >= batchStory {
			return
		}
		to := ""
		if len(s.Recipients) > 0 {
			to = ", to " + plain(s.Recipients[0].Address, maxAddress)
			if n := len(s.Recipients) - 1; n > 0 {
				to += fmt.Sprintf(" and %d more", n)
			}
		}
		tell(what, fmt.Sprintf("message %s%s%s", s.ID, to, text))
	}
	now, n := b.stage(), b.Tally.Messages
	if now.left && !was.left {
		tell(string(HandedOver), fmt.Sprintf("the first of %d messages", n))
	}
	if before == nil || before.State != s.State {
		switch {
		case s.State == Uncertain, s.State == NotAccepted, s.State == Held && (s.StateReason == ReasonUncertain || s.StateReason == ReasonPoison):
			why := ""
			if s.StateReason != "" {
				why = " (" + string(s.StateReason) + ")"
			}
			one(string(s.State), why)
		case before != nil && before.State == Held && before.StateReason == ReasonUncertain && s.taken():
			one(string(s.State), ", although it was held")
		}
	}
	if !s.Resent.IsZero() && (before == nil || before.Resent.IsZero()) {
		one("resend", "")
	}
	if now.state != was.state {
		switch now.state {
		case HandedOver:
			tell(string(HandedOver), fmt.Sprintf("of %d messages none waits any more", n))
		case Accepted:
			tell("acceptance", fmt.Sprintf("of %d of %d messages: no other is waited for", b.Tally.States[Accepted], n))
		}
	}
	if now.delivered && !was.delivered {
		tell("delivery", fmt.Sprintf("to all %d recipients", b.Tally.Recipients))
	}
	return err
}
