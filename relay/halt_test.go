package relay

import (
	"testing"

	"pecgate/mailbox"
)

// TestSuspendedIsShown: what is queued in a mailbox whose login was refused says so,
// over a restart, and no longer once the password is another one; nothing is written
// of each submission, and the mailbox itself is not called suspended any more.
func TestSuspendedIsShown(t *testing.T) {
	g := newGate(t, false)
	ctx := t.Context()
	id := "0123456789abcdefghijklmnop"
	is := func(want Reason) bool {
		t.Helper()
		shown, _, err := Show(ctx, g.store, id)
		if err != nil {
			t.Fatal(err)
		}
		queued, err := ShowQueued(ctx, g.store, id)
		if err != nil {
			t.Fatal(err)
		}
		page, err := Queue(ctx, g.store, QueueFilter{})
		if err != nil || len(page.Items) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		return shown.State == Queued && shown.StateReason == want && queued.StateReason == want && page.Items[0].StateReason == want
	}
	for range 2 {
		g.run(func() { g.until("it says why it waits", func() bool { return is(ReasonSuspended) }) })
	}
	if s := stored(t, g.store, id); s.StateReason != "" {
		t.Errorf("the submission was written: %s", s.StateReason)
	}
	mend := func() {
		g.k.set(func() { g.k.password = "nuova" })
		g.mu.Lock()
		g.password[""] = "nuova"
		g.mu.Unlock()
	}
	mend()
	g.run(func() {
		g.until("it goes on", func() bool { return is("") && g.status().Suspended == "" && g.told() == 0 })
	})
	// Resumed by a person it is over at once.
	g.update(func(tx *mailbox.Tx) error {
		if err := tx.Space(room).Put(haltKey(testBox), halt{Suspended: true}); err != nil {
			return err
		}
		return tx.Space(room).Put(refusalKey(testBox, serviceSMTP), refusal{Service: serviceSMTP, Why: "no"})
	})
	if !is(ReasonSuspended) {
		t.Error("not suspended")
	}
	if err := g.s.Resume(ctx, testBox, Hand{Actor: "test"}); err != nil || !is("") {
		t.Errorf("suspended still: %v", err)
	}
}

// TestMendedPassword: once another password is set the mailbox is not called suspended
// any more, though no login with it was made yet.
func TestMendedPassword(t *testing.T) {
	g := newGate(t, false)
	g.run(func() { g.until("suspended", func() bool { return g.status().Suspended != "" && g.told() == 1 }) })
	w := aWorker(g.acc)
	g.mu.Lock()
	g.password[""] = "nuova"
	g.mu.Unlock()
	before := g.k.logins()
	if g.s.suspended(t.Context(), w, serviceIMAP) || g.s.suspended(t.Context(), w, serviceSMTP) {
		t.Error("held back with the new password")
	}
	if s := g.status().Suspended; s != "" || g.told() != 0 || g.k.logins() != before {
		t.Errorf("%q, %d alarms, %d logins", s, g.told(), g.k.logins()-before)
	}
}

// TestHaltOfBatch: what has no record yet says the same as what has.
func TestHaltOfBatch(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(3)...)
	i.update(func(tx *mailbox.Tx) error { return tx.Space(room).Put(haltKey(testBox), halt{Suspended: true}) })
	shown, _, err := Show(t.Context(), i.store, batchID)
	if err != nil || shown.StateReason != ReasonSuspended || len(shown.Children) != 3 {
		t.Fatalf("%+v, %v", shown, err)
	}
	for _, c := range shown.Children {
		if c.StateReason != ReasonSuspended {
			t.Errorf("%s: %q", c.ID, c.StateReason)
		}
	}
	if got := (halt{Suspended: true}).reason(Held, ReasonPIN); got != ReasonPIN {
		t.Error(got)
	}
}
