package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// TestB2_CutAtEachDot: a provider that breaks off each hand-over makes some uncertain
// and not all; the administrator is told. With a clear answer all go on.
func TestB2_CutAtEachDot(t *testing.T) {
	clock := newTestClock()
	store := clock.store(t)
	queued(t, store, testBox, 20)
	s := New(Options{Store: store, Accounts: func() []Account { return nil }, Address: "pecgate@gateway.example"})
	tried, cut := 0, true
	s.handOver = func(ctx context.Context, _ submit.Server, _ string, _ []string, _ submit.Body, h submit.Hooks) submit.Result {
		tried++
		if err := h.BeforeDot(ctx); err != nil {
			t.Error(err)
		}
		if cut {
			return submit.Result{Class: submit.Uncertain, Stage: submit.StageDot}
		}
		return submit.Result{Class: submit.HandedOver, Stage: submit.StageDot, Code: 250}
	}
	w := aWorker(Account{Box: testBox, Password: func() (string, error) { return "", nil }})
	turn := func() time.Duration {
		t.Helper()
		wait, _, err := s.sendDue(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		return wait
	}
	if wait := turn(); tried != doubtsInRow || wait <= 0 {
		t.Errorf("%d were tried; the next turn in %v", tried, wait)
	}
	if turn(); tried != doubtsInRow {
		t.Errorf("%d were tried", tried)
	}
	clock.add(s.opt.Schedule.First)
	turn()
	if turn(); tried != doubtsInRow+1 {
		t.Errorf("%d were tried after the first wait", tried)
	}
	stands := func() (ok bool) {
		t.Helper()
		err := store.View(t.Context(), func(tx *mailbox.Tx) (err error) {
			_, ok, err = readAlarm(tx, alarmKey(testBox, brakeKind, ""))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !stands() {
		t.Error("nobody is told")
	}
	cut = false
	clock.add(s.opt.Schedule.Most)
	if turn(); tried != 20 || stands() {
		t.Errorf("%d were tried in the end, the alarm stands: %t", tried, stands())
	}
}

// TestB1_UncertainHideNothing: more that are uncertain than a sender has in sight do
// not keep it from what is behind them, nor busy.
func TestB1_UncertainHideNothing(t *testing.T) {
	clock := newTestClock()
	store := clock.store(t)
	enqueue(t, store, "0", "m0@alfa.example")
	for from := 0; from < inSight+10; from += 101 {
		err := store.Update(t.Context(), func(tx *mailbox.Tx) error {
			first, err := load(tx, "0")
			if err != nil {
				return err
			}
			for n := range 101 {
				sub := *first
				sub.ID, sub.MsgID = fmt.Sprintf("0%05d", from+n), fmt.Sprintf("m%d@alfa.example", from+n)
				sub.State, sub.Intent, sub.chunks = Attempting, true, nil
				if err := errors.Join(sub.move(Uncertain, ""), save(tx, &sub, &due{At: tx.Now().Add(-time.Second)})); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	enqueue(t, store, "9", "m9@alfa.example")
	s := New(Options{Store: store, Accounts: func() []Account { return nil }})
	d := new(dots)
	s.handOver = d.handOver
	w := aWorker(Account{Box: testBox, Password: func() (string, error) { return "", nil }})
	wait, _, err := s.sendDue(t.Context(), w)
	if err != nil || wait < time.Second || stored(t, store, "9").State != HandedOver {
		t.Errorf("the next turn in %v, %v; the last is %s", wait, err, stored(t, store, "9").State)
	}
}

// TestB4_OneLineStopsNoOther: a line of the queue without a record, and a fault of the
// gateway before a message is even leased, are about that one alone.
func TestB4_OneLineStopsNoOther(t *testing.T) {
	clock := newTestClock()
	store := clock.store(t)
	ids := queued(t, store, testBox, 3)
	err := store.Update(t.Context(), func(tx *mailbox.Tx) error {
		return tx.Space(room).Put(queueKey(testBox, "0gone"), due{At: tx.Now().UTC(), Set: tx.Now().UTC()})
	})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Store: store, Accounts: func() []Account { return nil }})
	d := new(dots)
	s.handOver = d.handOver
	s.at = func(m instant, id string) {
		if m == atDue && id == ids[0] {
			panic("a fault of the gateway")
		}
	}
	w := aWorker(Account{Box: testBox, Password: func() (string, error) { return "", nil }})
	if _, _, err := s.sendDue(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids[1:] {
		if st := stored(t, store, id).State; st != HandedOver {
			t.Errorf("%s is %s", id, st)
		}
	}
	err = store.View(t.Context(), func(tx *mailbox.Tx) error {
		return tx.Space(room).Get(queueKey(testBox, "0gone"), new(json.RawMessage))
	})
	if all, later, derr := s.dueTasks(t.Context(), testBox); err == nil || derr != nil || len(all) > 0 || later.IsZero() {
		t.Errorf("the line without a record: %v; %d are due, more %v", err, len(all), later)
	}
}
