package relay

import "testing"

// An item of the list says in words why it has not left; one whose turn comes says
// nothing.
func TestQueueItemSaysWhy(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(2)...)
	why := func(state State) string {
		t.Helper()
		page, err := Queue(t.Context(), i.store, QueueFilter{States: []State{state}})
		if err != nil || len(page.Items) != 1 {
			t.Fatal(page, err)
		}
		return page.Items[0].Why
	}
	if got := why(Queued); got != "" {
		t.Errorf("before an attempt: %q", got)
	}
	if err := i.s.noteHalt(t.Context(), testBox, halt{Suspended: true}); err != nil {
		t.Fatal(err)
	}
	if got := why(Queued); got != suspendedWhy {
		t.Errorf("suspended: %q", got)
	}
	if err := i.s.noteHalt(t.Context(), testBox, halt{}); err != nil {
		t.Fatal(err)
	}
	if got := (&QueueItem{State: Queued, Attempts: 1, Last: &Event{Text: "mail: 451 later"}}).why(); got != "mail: 451 later" {
		t.Errorf("put off: %q", got)
	}
	if got := (&QueueItem{State: Held, StateReason: ReasonPIN, Last: &Event{Text: "waits for the PIN"}}).why(); got != "waits for the PIN" {
		t.Errorf("held: %q", got)
	}
}
