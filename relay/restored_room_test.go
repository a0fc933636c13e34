package relay

import (
	"errors"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

// TestB10_RestoredSuspension: a login that was refused before the backup is not sent
// again after the restore, and a new password lets it go on; what the provider said of
// its room, and what held the mailbox back, is found out anew.
func TestB10_RestoredSuspension(t *testing.T) {
	g := newGate(t, false)
	ctx := t.Context()
	g.run(func() { g.until("suspended", func() bool { return g.told() == 1 }) })
	if err := g.s.occupied(ctx, aWorker(g.acc), fetch.Quota{Used: 9, Limit: 10, Known: true}); err != nil {
		t.Fatal(err)
	}
	g.update(func(tx *mailbox.Tx) error { return tx.Space(room).Put(haltKey(testBox), halt{Suspended: true}) })
	before := g.k.logins()
	g.restore(func() {})
	if err := g.s.Restored(ctx); err != nil {
		t.Fatal(err)
	}
	err := g.store.View(ctx, func(tx *mailbox.Tx) error {
		var q quotaNote
		if err := tx.Space(room).Get(quotaKey(testBox), &q); !errors.Is(err, mailbox.ErrNotFound) {
			t.Errorf("the room of before is believed: %+v, %v", q, err)
		}
		h, err := haltOf(tx, testBox)
		if h != (halt{}) {
			t.Errorf("%+v", h)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	g.run(func() { g.until("suspended still", func() bool { return g.status().Suspended != "" && g.told() == 1 }) })
	if n := g.k.logins(); n != before {
		t.Errorf("%d logins after the restore", n-before)
	}
	g.mu.Lock()
	g.password[""] = "nuova"
	g.mu.Unlock()
	g.k.set(func() { g.k.password = "nuova" })
	g.run(func() {
		g.until("it goes on", func() bool { return g.status().Suspended == "" && g.k.logins() > before })
	})
}
