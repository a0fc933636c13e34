package relay

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// full has the mailbox hand over so many messages at this moment.
func (i *intake) full(n int) {
	i.t.Helper()
	i.update(func(tx *mailbox.Tx) error {
		var p pace
		for range n {
			p.At = append(p.At, tx.Now().UnixMilli())
		}
		return tx.Space(room).Put("n/"+testBox, p)
	})
}

// TestStaleTurn: what had its turn a moment ago is not due, although the list of
// before still names it: neither a second attempt nor the end of a wait for
// receipts comes of it.
func TestStaleTurn(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(2)...)
	i.end(i.next(), submit.Result{Class: submit.Temporary, Stage: submit.StageDot, Code: 451})
	child := childID(batchID, 1)
	if _, err := i.s.lease(t.Context(), child); !errors.Is(err, errLease) {
		t.Errorf("before its next attempt is due: %v", err)
	}
	stale := task{id: child, due: due{At: i.store.Now().Add(-2 * time.Minute)}}
	i.update(func(tx *mailbox.Tx) error { return tx.Space(room).Put(queueKey(testBox, child), stale.due) })
	sub, err := i.s.lease(t.Context(), child)
	if err != nil {
		t.Fatal(err)
	}
	w := i.batchWorker()
	w.acc.UncertainAfter = 15 * time.Minute
	w.facts.LastFetch = i.store.Now().Add(-time.Minute)
	if err := i.s.intend(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if _, err := i.s.conclude(t.Context(), w, sub, submit.Result{Class: submit.Uncertain, Stage: submit.StageDot}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.s.turnOf(t.Context(), w, stale); err != nil {
		t.Fatal(err)
	}
	if s := stored(t, i.store, child); s.State != Uncertain {
		t.Errorf("after the second turn it is %s (%s)", s.State, s.StateReason)
	}
}

// TestBatchesTakeTurns: with two batches each and what waits of each comes to
// its turn.
func TestBatchesTakeTurns(t *testing.T) {
	a, b := "0123456789abcdefghijklmnoa", "0123456789abcdefghijklmnob"
	single, many := parted([]task{ // as the queue has them
		{id: a, due: due{Batch: true}}, {id: b, due: due{Batch: true}}, {id: "one"},
		{id: childID(a, 1)}, {id: childID(a, 2)}, {id: childID(b, 1)},
	})
	if len(single) != 1 || len(many) != 5 {
		t.Fatal(single, many)
	}
	w, got := &worker{}, map[string]int{}
	for range 100 {
		first := w.inTurn(many)[0]
		got[first.id]++
		w.turn = first.line()
	}
	for _, x := range many {
		if got[x.id] != 20 {
			t.Errorf("%s had %d of 100 turns", x.id, got[x.id])
		}
	}
}

// TestFullMailboxWaits: with the provider's limit reached the sender waits until
// there is room, however long the queue; what needs no room has its turn.
func TestFullMailboxWaits(t *testing.T) {
	i := newIntake(t)
	i.s.opt.Address = "pecgate@gateway.example"
	for from := 0; from <= inSight; from += 100 {
		i.update(func(tx *mailbox.Tx) error {
			for n := range 100 {
				id := fmt.Sprintf("s%04d", from+n)
				sub := Submission{ID: id, Box: testBox, State: Queued, SubmittedAt: tx.Now()}
				if from+n == 500 {
					sub.State, sub.User, sub.Intent, sub.Looking = Uncertain, "mario", true, true
					if err := tx.Space(room).Put(lookingKey(testBox, id), looking{Seen: tx.Now(), Over: true}); err != nil {
						return err
					}
				}
				err := errors.Join(tx.Space(room).Put("s/"+id, sub), tx.Space(room).Put(queueKey(testBox, id), due{At: tx.Now().Add(-time.Minute)}))
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	i.full(6)
	w := i.batchWorker()
	w.acc.PerMinute = 6
	wait, reached, err := i.s.sendDue(t.Context(), w)
	if err != nil || !reached || wait < 10*time.Second {
		t.Errorf("it looks again after %s, %t, %v", wait, reached, err)
	}
	if s := stored(t, i.store, "s0500"); s.State != Held {
		t.Errorf("what waited for receipts is %s", s.State)
	}
	var rest []task
	for n := range inSight {
		rest = append(rest, task{id: fmt.Sprintf("s%04d", n)})
	}
	if rest, err = i.s.withoutQueued(t.Context(), rest, false); err != nil || len(rest) != 1 {
		t.Errorf("%d are tried all the same, %v", len(rest), err)
	}
}
