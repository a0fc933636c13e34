package relay

import (
	"slices"
	"testing"

	"pecgate/mailbox"
)

// TestJ7_ClockNotSynchronised: the administrator is told once of a clock that is not
// synchronised at two looks in a row; not at the first after a start, not while it is
// not known, and it ends when it is synchronised.
func TestJ7_ClockNotSynchronised(t *testing.T) {
	i := newIntake(t)
	how := mailbox.ClockUnsynchronised
	store, err := mailbox.Open(mailbox.Options{Dir: t.TempDir(), Clock: func() string { return how }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	i.store, i.s.opt.Store = store, store
	mustList(t, store)
	i.withAdmin()
	unsynced, told := false, 0
	for n, step := range []struct {
		how    string
		stands bool
	}{
		{mailbox.ClockUnsynchronised, false}, {mailbox.ClockSynchronised, false}, {mailbox.ClockUnsynchronised, false},
		{"", false}, {mailbox.ClockUnsynchronised, true}, {mailbox.ClockUnsynchronised, true}, {"", true}, {mailbox.ClockSynchronised, false},
	} {
		how = step.how
		if unsynced, err = i.s.watchClock(t.Context(), unsynced); err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(i.standingAlarms(), clockKind+" "); got != step.stands {
			t.Errorf("step %d, %q: stands %v", n, step.how, got)
		}
		told = len(i.inbox("capo"))
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}
