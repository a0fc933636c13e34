package relay

import (
	"slices"
	"testing"
)

// TestEveryEdge tries each state after each other one: what the table does not
// name is refused and changes nothing.
func TestEveryEdge(t *testing.T) {
	follow := map[State][]State{
		Held:        {Queued, Cancelled, HandedOver, Accepted, NotAccepted},
		ToApprove:   {Queued, Held, Cancelled, HandedOver, Accepted, NotAccepted},
		Queued:      {Attempting, Held, Cancelled, HandedOver, Accepted, NotAccepted},
		Attempting:  {Queued, Uncertain, Held, HandedOver, Accepted, NotAccepted},
		Uncertain:   {HandedOver, Accepted, NotAccepted, Held, Queued},
		HandedOver:  {Accepted, NotAccepted},
		Accepted:    {},
		NotAccepted: {HandedOver, Accepted},
		Cancelled:   {HandedOver, Accepted},
	}
	if len(follow) != len(States()) {
		t.Fatalf("%d states are told of, there are %d", len(follow), len(States()))
	}
	for _, from := range States() {
		for _, to := range States() {
			s := submission("a@pec.example")
			s.State, s.StateReason = from, "before"
			err := s.move(to, "why")
			if want := from == to || slices.Contains(follow[from], to); (err == nil) != want {
				t.Errorf("from %s to %s: %v", from, to, err)
			}
			want := step{to, "why"}
			if err != nil {
				want = step{from, "before"}
			}
			if g := (step{s.State, s.StateReason}); g != want {
				t.Errorf("from %s to %s: it is %v", from, to, g)
			}
		}
	}
}

type step struct {
	state State
	why   Reason
}

// TestDoubtStays: what may have left once may have left for ever, whatever is
// tried afterwards.
func TestDoubtStays(t *testing.T) {
	for name, way := range map[string][]step{
		"uncertain":         {{Attempting, ""}, {Uncertain, ""}},
		"held as uncertain": {{Attempting, ""}, {Uncertain, ""}, {Held, ReasonUncertain}},
		"released":          {{Attempting, ""}, {Uncertain, ""}, {Held, ReasonUncertain}, {Queued, ""}, {Attempting, ""}, {Queued, ""}, {Held, ReasonOperator}},
		"restored":          {{Held, ReasonRestored}, {Queued, ""}},
	} {
		s := submission("a@pec.example")
		s.State = Queued
		for _, w := range way {
			if err := s.move(w.state, w.why); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if !s.mayHaveLeft() || mayCancel(s, false) == nil {
			t.Errorf("%s: it can be called unsent as %s", name, s.State)
		}
	}
	s := submission("a@pec.example")
	s.State = Queued
	for _, w := range []step{{Attempting, ""}, {Queued, ""}, {Held, ReasonOperator}, {Queued, ""}} {
		if err := s.move(w.state, w.why); err != nil {
			t.Fatal(err)
		}
	}
	if s.mayHaveLeft() || mayCancel(s, false) != nil {
		t.Error("what certainly did not leave cannot be cancelled")
	}
}
