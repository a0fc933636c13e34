package relay

import (
	"fmt"
	"slices"
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

// The reasons. Room and Suspended are of what is queued: why it waits. What is held for
// Room needs more than the mailbox has in all.
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
	ReasonPoison    Reason = "poison"    // its handling crashed the gateway, again and again
	ReasonRoom      Reason = "room"      // the mailbox has no room at the provider for its receipts
	ReasonSuspended Reason = "suspended" // the provider refused the login: no mail of the mailbox leaves

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

// Edge is one line of the state machine: a submission goes from one state to
// another, and what makes it do so.
type Edge struct {
	From, To State
	Cause    string
}

// Edges is the state machine, whole: what is not a line of it never happens. The
// package documentation shows the same.
//
// A receipt leads on from whatever the gateway thinks: what did leave must not look
// as if it could be sent again. So it also ends what is held, what an earlier
// attempt left queued, and what was called not accepted or cancelled.
func Edges() []Edge {
	const (
		acceptance = "the signed acceptance"
		notice     = "a signed notice about a recipient, which proves the hand-over"
		refusal    = "the signed non-acceptance"
	)
	return []Edge{
		{Held, Queued, "released: its PIN, a person, the retry of its batch"},
		{Held, Cancelled, "a person, its sender, or nobody in time"},
		{Held, HandedOver, notice + "; the provider's late 250"},
		{Held, Accepted, acceptance},
		{Held, NotAccepted, refusal + "; the provider's late 5xx"},

		{ToApprove, Queued, "approved"},
		{ToApprove, Held, "approved, but it may have left since the backup; its author left"},
		{ToApprove, Cancelled, "rejected, or approved by nobody in time"},
		{ToApprove, HandedOver, notice},
		{ToApprove, Accepted, acceptance},
		{ToApprove, NotAccepted, refusal},

		{Queued, Attempting, "a sender takes it, under a lease"},
		{Queued, Held, "a person, a restore, its batch is held, its sender left the policy, its receipts can never fit the mailbox"},
		{Queued, Cancelled, "a person, or its batch is cancelled"},
		{Queued, HandedOver, notice + "; the provider's late 250"},
		{Queued, Accepted, acceptance},
		{Queued, NotAccepted, refusal},

		{Attempting, Queued, "a temporary refusal, or cut off before the intent"},
		{Attempting, Uncertain, "cut off after the intent, without a clear answer"},
		{Attempting, Held, "poison: its handling crashed for the third time; a restore"},
		{Attempting, HandedOver, "the provider's 250; " + notice},
		{Attempting, Accepted, acceptance},
		{Attempting, NotAccepted, "the provider's 5xx, tried for too long; " + refusal},

		{Uncertain, Queued, "sent again, flagged, where the mailbox says so; the provider's late refusal to take it now"},
		{Uncertain, Held, "no receipt in time; a restore"},
		{Uncertain, HandedOver, notice + "; the provider's late 250"},
		{Uncertain, Accepted, acceptance},
		{Uncertain, NotAccepted, refusal + "; the provider's late 5xx"},

		{HandedOver, Accepted, acceptance},
		{HandedOver, NotAccepted, refusal},

		{NotAccepted, HandedOver, notice},
		{NotAccepted, Accepted, acceptance},
		{Cancelled, HandedOver, notice + "; the provider's late 250"},
		{Cancelled, Accepted, acceptance},
	}
}

// leads tells whether there is an edge.
func leads(from, to State) bool {
	return slices.ContainsFunc(Edges(), func(e Edge) bool { return e.From == from && e.To == to })
}

// move changes the state along an edge of the table.
func (s *Submission) move(to State, why Reason) error {
	if s.State == to {
		s.StateReason = why
		s.moveRest()
		s.Doubt = s.Doubt || s.batch() && why == ReasonRestored
		return nil
	}
	if !leads(s.State, to) {
		return fmt.Errorf("relay: submission %s cannot go from %s to %s", s.ID, s.State, to)
	}
	s.State, s.StateReason, s.WithBatch = to, why, false
	s.AnyRoom, s.AnyHours = s.AnyRoom && to != Held, s.AnyHours && to == Queued
	s.moveRest()
	s.Once = s.Once || to == Uncertain && s.Doubt
	s.Doubt = s.Doubt || to == Uncertain || why == ReasonRestored
	s.derive()
	return nil
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
