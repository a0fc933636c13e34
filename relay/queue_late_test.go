package relay

import (
	"errors"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// TestB18_LateAnswer: the provider's 250 to an attempt that stalled counts also after
// its submission was released, held or given up meanwhile: nobody sends it again.
func TestB18_LateAnswer(t *testing.T) {
	by := Hand{Actor: "test"}
	for name, meanwhile := range map[string]func(x *timed, id string) error{
		"released": func(*timed, string) error { return nil },
		"held":     func(x *timed, id string) error { _, err := x.s.Hold(x.t.Context(), id, by); return err },
		"given up": func(x *timed, id string) error { _, err := x.s.Cancel(x.t.Context(), id, true, by); return err },
	} {
		t.Run(name, func(t *testing.T) {
			x := newTimed(t)
			x.t = t
			id, ctx := queued(t, x.store, testBox, 1)[0], t.Context()
			sub := x.under(id, true)
			x.pass(leaseTime + time.Minute)
			if _, err := x.s.lease(ctx, id); !errors.Is(err, errLease) { // another sees that it is over
				t.Fatal(err)
			}
			err := x.s.giveUpWaiting(ctx, stored(t, x.store, id), "")
			if _, e := x.s.Retry(ctx, id, by); err != nil || e != nil {
				t.Fatal(err, e)
			}
			if err := meanwhile(x, id); err != nil {
				t.Fatal(err)
			}
			x.ends(sub, submit.HandedOver)
			if s := stored(t, x.store, id); s.State != HandedOver || s.HandedOver.IsZero() {
				t.Errorf("it is %s (%s)", s.State, s.StateReason)
			}
			if _, err := x.s.lease(ctx, id); !errors.Is(err, errLease) {
				t.Errorf("it is taken again: %v", err)
			}
		})
	}
}

// TestB18_SlowUpload: an upload that takes longer than its lease goes on, unless
// somebody took the submission over meanwhile.
func TestB18_SlowUpload(t *testing.T) {
	x := newTimed(t)
	ids, ctx := queued(t, x.store, testBox, 2), t.Context()
	slow, taken := x.under(ids[0], false), x.under(ids[1], false)
	x.pass(leaseTime + time.Minute)
	if _, err := x.s.lease(ctx, ids[1]); !errors.Is(err, errLease) {
		t.Fatal(err)
	}
	if err := x.s.intend(ctx, slow); err != nil {
		t.Errorf("its lease is over, and nobody else has it: %v", err)
	}
	if err := x.s.intend(ctx, taken); !errors.Is(err, errLease) {
		t.Errorf("somebody saw to it meanwhile: %v", err)
	}
	other := New(x.s.opt)
	x.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, ids[0])
		if err != nil {
			return err
		}
		return save(tx, s, &due{At: tx.Now(), Lease: tx.Now().Add(leaseTime), Holder: other.holder})
	})
	if err := x.s.intend(ctx, slow); !errors.Is(err, errLease) {
		t.Errorf("another holds it: %v", err)
	}
}

// TestB18_OnlyTheNewestAttempt: two workers of one service. What the first had leased
// goes to the second when the lease is over; the first, which goes on late, neither
// sends the dot nor changes anything, although both have the holder's name.
func TestB18_OnlyTheNewestAttempt(t *testing.T) {
	x := newTimed(t)
	id, ctx := queued(t, x.store, testBox, 1)[0], t.Context()
	first := x.under(id, false)
	x.pass(leaseTime + time.Minute)
	if _, err := x.s.lease(ctx, id); !errors.Is(err, errLease) { // sees that it is over
		t.Fatal(err)
	}
	second := x.under(id, false)
	if second.Fence == first.Fence || stored(t, x.store, id).State != Attempting {
		t.Fatalf("the second attempt: %+v", second)
	}
	if err := x.s.intend(ctx, first); !errors.Is(err, errLease) {
		t.Errorf("the first may send the dot: %v", err)
	}
	x.ends(first, submit.Temporary)
	if s := stored(t, x.store, id); s.State != Attempting || s.Intent {
		t.Errorf("the end of the first made it %s", s.State)
	}
	if err := x.s.intend(ctx, second); err != nil {
		t.Errorf("the second may not: %v", err)
	}
	x.ends(second, submit.HandedOver)
	if s := stored(t, x.store, id); s.State != HandedOver {
		t.Errorf("it is %s (%s)", s.State, s.StateReason)
	}
}

// TestB18_StoppedBeforeTheDot: who is stopped between its durable intent and the dot
// for longer than its lease does not send the dot: another may have it by now.
func TestB18_StoppedBeforeTheDot(t *testing.T) {
	x := newTimed(t)
	sub := x.under(queued(t, x.store, testBox, 1)[0], false)
	x.s.at = func(at instant, _ string) {
		if at == atIntent {
			x.clock.add(leaseTime + time.Second)
		}
	}
	if err := x.s.intend(t.Context(), sub); !errors.Is(err, errLease) {
		t.Errorf("it sends the dot: %v", err)
	}
}

// TestJ1_NothingExpiresByAJump: a clock that jumps by a year makes a temporary failure
// of what was just submitted no reason to give up.
func TestJ1_NothingExpiresByAJump(t *testing.T) {
	x := newTimed(t)
	ids := queued(t, x.store, testBox, 100)
	x.clock.add(365 * 24 * time.Hour)
	if _, err := x.s.tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		x.ends(x.under(id, true), submit.Temporary)
		if s := stored(t, x.store, id); s.State != Queued {
			t.Fatalf("%s is %s (%s)", id, s.State, s.StateReason)
		}
	}
}

// TestJ2_OrderOverAClockThatIsPutBack: what is submitted after the clock was put back,
// by a little or by years, leaves behind what was there.
func TestJ2_OrderOverAClockThatIsPutBack(t *testing.T) {
	x := newTimed(t)
	var want []string
	for _, d := range []time.Duration{0, -time.Minute, -365 * 24 * time.Hour, time.Second, -50 * 365 * 24 * time.Hour} {
		x.clock.add(d)
		for range 3 {
			id, err := NextID(t.Context(), x.store)
			if err != nil {
				t.Fatal(err)
			}
			enqueue(t, x.store, id, id+"@alfa.example")
			want = append(want, id)
		}
		tasks, _, err := x.s.dueTasks(t.Context(), testBox)
		if err != nil || len(tasks) != len(want) {
			t.Fatalf("of %d %d are due, %v", len(want), len(tasks), err)
		}
		for n, task := range tasks {
			if task.id != want[n] {
				t.Fatalf("at place %d stands %s, not %s", n, task.id, want[n])
			}
		}
	}
}

// TestJ2_AsideIsTriedAgain: what was set aside by a clock that stood a year ahead is
// tried again when the clock is right.
func TestJ2_AsideIsTriedAgain(t *testing.T) {
	x := newTimed(t)
	at := spot{folder: "INBOX", validity: 1, uid: 7}
	x.clock.add(365 * 24 * time.Hour)
	x.update(func(tx *mailbox.Tx) error { return putAside(tx, testBox, at, "too big", maxTries, asideFirst) })
	due := func() int {
		t.Helper()
		all, _, err := x.s.asides(t.Context(), asidesPrefix(testBox, "INBOX"))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if due() != 0 {
		t.Error("it is due at once")
	}
	x.clock.add(-365 * 24 * time.Hour)
	if due() != 1 {
		t.Error("it waits for a clock of before")
	}
}
