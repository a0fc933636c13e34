package forward

import (
	"context"
	"testing"
	"time"

	"pecgate/mailbox"
)

// shown are the times at which all is tried next.
func (h *house) shown() (at []time.Time) {
	h.t.Helper()
	err := h.store.View(h.t.Context(), func(tx *mailbox.Tx) error {
		at = nil
		all, err := Shown(tx, 100)
		for _, it := range all {
			at = append(at, it.Due)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return at
}

// While the smarthost is away nothing is said to be due in the past; what a person drops
// meanwhile goes whole, and once it is back its wait is forgotten.
func TestShownIsNotPast(t *testing.T) {
	h := newHouse(t)
	_, ids := h.away(3, time.Hour)
	wait, err := h.s.Round(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range h.shown() {
		if d := at.Sub(h.now.Add(wait)); d < -time.Second || d > time.Second {
			t.Errorf("it is tried in %v, and said to be in %v", wait, at.Sub(h.now))
		}
	}
	h.hand(Drop, ids[0])
	h.waiting(2)
	for _, at := range h.shown() {
		if at.Before(h.now) {
			t.Errorf("due %v ago", h.now.Sub(at))
		}
	}
	h.now = h.now.Add(-48 * time.Hour) // put back: it means nothing
	for _, at := range h.shown() {
		if at.After(h.now.Add(49 * time.Hour)) {
			t.Error(at)
		}
	}
}

// What a gateway that was killed had under way is due when the next one begins, and not
// when its lease is over; what another sender of this store has under way is left alone.
func TestKilledLeaseIsOver(t *testing.T) {
	for _, killed := range []bool{true, false} {
		h := newHouse(t)
		h.put(envelope, "mario@example.org")
		id := h.ids()[0]
		if it, err := h.s.take(t.Context(), h.s.ways[0], id); err != nil || it == nil {
			t.Fatal(it, err)
		}
		if killed {
			if err := h.store.Close(); err != nil {
				t.Fatal(err)
			}
			h.open()
		} else {
			h.s = h.sender()
		}
		if err := h.s.begin(context.Background()); err != nil {
			t.Fatal(err)
		}
		h.round()
		if n := len(h.host.All()); (n == 1) != killed {
			t.Errorf("killed: %t, %d messages", killed, n)
		}
	}
}
