package relay

import (
	"fmt"
	"time"
)

// State is where a submission stands. The words are those of `pecgate show`.
type State string

// The states of a submission.
const (
	Held        State = "held"         // waits for a person; StateReason says why
	ToApprove   State = "to-approve"   // waits for a member who approves
	Queued      State = "queued"       // will be tried
	Attempting  State = "attempting"   // a hand-over is under way
	Uncertain   State = "uncertain"    // a hand-over ended without an answer
	HandedOver  State = "handed-over"  // the provider said 250
	Accepted    State = "accepted"     // the signed acceptance is here
	NotAccepted State = "not-accepted" // refused by the provider, at once or by a signed notice
	Cancelled   State = "cancelled"    // taken back before it left
)

// Reason says why a submission is held or not accepted.
type Reason string

// The reasons that exist so far.
const (
	ReasonUncertain Reason = "uncertain" // nobody knows whether the provider took it
	ReasonRestored  Reason = "restored"  // the records are those of a backup: it may have left since
	ReasonOperator  Reason = "operator"  // a person said so
	ReasonPIN       Reason = "pin"       // waits for the sender's PIN
	ReasonApproval  Reason = "approval"  // waits for a member who approves
	ReasonRefused   Reason = "refused"   // the provider's 5xx
	ReasonFormal    Reason = "formal"    // avviso di non accettazione
	ReasonVirus     Reason = "virus"     // avviso di non accettazione per virus
	ReasonExpired   Reason = "expired"   // tried for too long

	ReasonUserRemoved Reason = "user-removed" // its sender's login left the policy
)

// RecipientState is where one recipient of a submission stands.
type RecipientState string

// The states of a recipient.
const (
	Waiting     RecipientState = "waiting"
	Delivered   RecipientState = "delivered"
	Failed      RecipientState = "failed"
	Late        RecipientState = "late"
	Uncertified RecipientState = "uncertified" // outside PEC: no receipt will come
)

// edges is the state machine: from each state to those that may follow.
func edges(from State) []State {
	switch from {
	case Held:
		return []State{Queued, Cancelled, HandedOver, Accepted, NotAccepted}
	case ToApprove:
		// A receipt comes only where the records are those of a backup, and the
		// approval came after it; for the same reason it is held when it is approved.
		return []State{Queued, Held, Cancelled, HandedOver, Accepted, NotAccepted}
	case Queued:
		// A receipt of an earlier attempt may come after a temporary refusal:
		// then the provider had taken the message all the same.
		return []State{Attempting, Held, Cancelled, HandedOver, Accepted, NotAccepted}
	case Attempting:
		// Held after a restore: what the backup calls under way has ended since.
		return []State{Queued, Uncertain, Held, HandedOver, Accepted, NotAccepted}
	case Uncertain:
		return []State{HandedOver, Accepted, NotAccepted, Held, Queued}
	case HandedOver:
		return []State{Accepted, NotAccepted}
	case NotAccepted, Cancelled:
		// Ends for whatever the gateway and people do. Only a signed receipt of a
		// hand-over that nobody counted on leads on: what did leave must not look
		// as if it could be sent again.
		return []State{HandedOver, Accepted}
	}
	return nil // accepted is the end
}

// move changes the state along an edge of the table.
func (s *Submission) move(to State, why Reason) error {
	if s.State == to {
		s.StateReason = why
		s.moveRest()
		s.Doubt = s.Doubt || s.batch() && why == ReasonRestored
		return nil
	}
	for _, next := range edges(s.State) {
		if next == to {
			s.State, s.StateReason, s.WithBatch = to, why, false
			s.moveRest()
			s.Doubt = s.Doubt || to == Uncertain || why == ReasonRestored
			s.derive()
			return nil
		}
	}
	return fmt.Errorf("relay: submission %s cannot go from %s to %s", s.ID, s.State, to)
}

// moveRest has the messages of a batch that have no record follow its state: it
// is about them that it moves. save gives the time.
func (s *Submission) moveRest() {
	if !s.batch() {
		return
	}
	s.Rest, s.RestReason, s.RestSince = s.State, s.StateReason, time.Time{}
	s.Tally.Rev++
}

// mayHaveLeft tells whether nobody can say that the provider never took it.
func (s *Submission) mayHaveLeft() bool {
	return s.Doubt || s.Intent || s.State == Attempting || !s.HandedOver.IsZero() ||
		s.StateReason == ReasonUncertain || s.StateReason == ReasonRestored // as it was before Doubt
}

// waiting tells whether the sender still has something to do for the state.
func (s State) waiting() bool { return s == Queued || s == Attempting || s == Uncertain }
