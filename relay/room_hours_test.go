package relay

import (
	"context"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
	"pecgate/relay/submit"
)

// hours sets those of the mailbox, as a policy of now has them.
func (x *timed) hours(h Hours) {
	x.w.acc.Hours = h
	x.s.opt.Accounts = func() []Account { return []Account{{Box: testBox, Admin: "capo", Active: true, Hours: h}} }
}

func (x *timed) line(id string) (d due) {
	x.t.Helper()
	x.update(func(tx *mailbox.Tx) error { return tx.Space(room).Get(queueKey(testBox, id), &d) })
	return d
}

// rooms has the provider tell its room.
func (x *timed) rooms(used int64) {
	x.t.Helper()
	if err := x.s.occupied(x.t.Context(), x.w, fetch.Quota{Used: used, Limit: 100 << 20, Known: true}); err != nil {
		x.t.Fatal(err)
	}
}

// TestB11_RoomWaitsWithinTheHours: what waits for room stays what waits to be handed
// over: outside the hours of sending it does not leave, even when there is room.
func TestB11_RoomWaitsWithinTheHours(t *testing.T) {
	x := newTimed(t)
	var d dots
	x.s.handOver = func(ctx context.Context, srv submit.Server, from string, to []string, body submit.Body, h submit.Hooks) submit.Result {
		return d.handOver(ctx, srv, from, to, body, h)
	}
	id := queued(t, x.store, testBox, 1)[0]
	x.rooms(100 << 20)
	x.works(5 * time.Minute)
	if s := stored(t, x.store, id); s.State != Queued || s.StateReason != ReasonRoom {
		t.Fatalf("it is %s (%s)", s.State, s.StateReason)
	}
	if l := x.line(id); !l.Queued || l.Set.IsZero() {
		t.Errorf("its line: %+v", l)
	}
	x.hours(Hours{Send: closedNow(x.clock.now().UTC())})
	x.rooms(0)
	x.works(10 * time.Minute)
	if d.sent[id] != 0 {
		t.Error("it left outside the hours")
	}
	x.works(3 * time.Hour)
	if d.sent[id] != 1 {
		t.Errorf("within the hours: %d dots", d.sent[id])
	}
}

// TestB11_RoomOutOfHours: while the hours of receiving are over nobody asks for the
// room, so what was known of it counts until they begin again; what was not known
// before holds nothing back.
func TestB11_RoomOutOfHours(t *testing.T) {
	for name, old := range map[string]time.Duration{"known": 10 * time.Minute, "not known": 2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			x := newTimed(t)
			var d dots
			x.s.handOver = d.handOver
			x.rooms(100 << 20)
			x.pass(old)
			from := closedNow(x.clock.now().UTC()).From
			x.hours(Hours{Receive: Span{From: from, To: (from + 22*time.Hour - 5*time.Minute) % (24 * time.Hour)}})
			id := queued(t, x.store, testBox, 1)[0]
			x.works(115 * time.Minute)
			if left := d.sent[id] > 0; left != (old > time.Hour) {
				t.Fatalf("outside the hours: it left %t", left)
			}
			if d.sent[id] > 0 {
				return
			}
			x.works(40 * time.Minute) // the hours began, and nobody has asked for long
			if d.sent[id] != 0 {
				t.Error("it left before the provider could be asked")
			}
			x.works(30 * time.Minute)
			if d.sent[id] != 1 {
				t.Error("it waits although nobody knows the room any more")
			}
		})
	}
}

// TestB11_BatchOfWhichMessagesNeverFit says so where only single ones of it are held.
func TestB11_BatchOfWhichMessagesNeverFit(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(2)...)
	for range 2 {
		i.ends(i.next(), submit.Temporary)
	}
	for n := 1; n <= 2; n++ {
		i.update(func(tx *mailbox.Tx) error {
			c, err := load(tx, childID(batchID, n))
			if err != nil {
				return err
			}
			c.Size = 5 << 20
			return save(tx, c, nil)
		})
	}
	i.neverFits(1 << 20)
	for n := 1; n <= 2; n++ {
		if err := i.takes(childID(batchID, n)); err == nil {
			t.Fatal("it was taken")
		}
	}
	if b := stored(t, i.store, batchID); b.State != Held || b.StateReason != ReasonRoom {
		t.Errorf("the batch is %s (%s)", b.State, b.StateReason)
	}
	if _, err := i.s.Retry(t.Context(), batchID, Hand{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.s.Hold(t.Context(), batchID, Hand{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if b := stored(t, i.store, batchID); b.State != Held || b.StateReason != ReasonOperator || b.Tally.Room != 0 {
		t.Errorf("held by a person it is %s (%s)", b.State, b.StateReason)
	}
}
