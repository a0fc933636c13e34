package relay

import (
	"slices"
	"testing"
	"time"

	"pecgate/mailbox"
)

// What was told of a locked PIN is forgotten after its day, once another day's is told.
func TestLockedPINIsForgottenAfterItsDay(t *testing.T) {
	i := newIntake(t)
	i.withAdmin()
	i.s.opt.Location = time.UTC
	records := func() (keys []string) {
		i.update(func(tx *mailbox.Tx) error {
			keys = nil
			return tx.Space(room).Scan("told/pin/", func(k string, _ []byte) (bool, error) { keys = append(keys, k); return true, nil })
		})
		return keys
	}
	day := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	for n := range 3 {
		for _, login := range []string{"mario", "lucia"} {
			if err := i.s.TellPINLocked(t.Context(), login, testBox, day.AddDate(0, 0, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{"told/pin/2026-03-04/lucia/capo", "told/pin/2026-03-04/lucia/lucia", "told/pin/2026-03-04/mario/capo", "told/pin/2026-03-04/mario/mario"}
	if got := records(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if err := i.s.TellPINLocked(t.Context(), "mario", testBox, day.AddDate(0, 0, 2)); err != nil {
		t.Fatal(err)
	}
	if got := i.inbox("mario"); len(got) != 3 {
		t.Errorf("told %q", got)
	}
}
