package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

// neverFits has an intake whose mailbox is empty and has room for so many bytes.
func (i *intake) neverFits(limit int64) {
	i.t.Helper()
	i.withAdmin()
	if err := i.s.occupied(i.t.Context(), aWorker(i.acc), fetch.Quota{Limit: limit, Known: true}); err != nil {
		i.t.Fatal(err)
	}
}

// roomHeld are the submissions about which an alarm of this kind stands.
func (i *intake) roomHeld() (all []string) {
	i.t.Helper()
	i.update(func(tx *mailbox.Tx) error {
		all = nil
		stand, err := Alarms(tx, 100)
		for _, a := range stand {
			if a.Kind == kindRoomHeld {
				all = append(all, a.About)
			}
		}
		return err
	})
	return all
}

func (i *intake) takes(id string) error {
	i.t.Helper()
	i.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, id)
		if err != nil {
			return err
		}
		return save(tx, s, &due{At: tx.Now()})
	})
	_, err := i.s.lease(i.t.Context(), id)
	return err
}

// TestB11_ReceiptsThatNeverFit: what needs more room than the mailbox has in all is
// held and told as such, and never said to leave by itself; a person may send it all
// the same, once.
func TestB11_ReceiptsThatNeverFit(t *testing.T) {
	i := newIntake(t)
	i.update(func(tx *mailbox.Tx) error { _, err := tx.EnsurePerson("mario"); return err }) // the first
	i.put("one", Queued, "", func(s *Submission) { s.Size = 5 << 20 })
	i.neverFits(5 << 20)
	for range 2 {
		if err := i.takes("one"); !errors.Is(err, errLease) {
			t.Fatalf("it was taken: %v", err)
		}
	}
	if s := stored(t, i.store, "one"); s.State != Held || s.StateReason != ReasonRoom {
		t.Fatalf("it is %s (%s)", s.State, s.StateReason)
	}
	if story := i.storyOf("one"); !strings.Contains(story, "can never fit") || !strings.Contains(story, "queue retry") {
		t.Errorf("its story:\n%s", story)
	}
	for _, who := range []string{"capo", "mario"} {
		if got := i.inbox(who); len(got) != 1 || !strings.Contains(got[0], "trattenuta") {
			t.Errorf("%s was told %q", who, got)
		}
	}
	if got := i.roomHeld(); fmt.Sprint(got) != "[one]" {
		t.Errorf("alarms about %q", got)
	}
	q, err := ShowQueued(t.Context(), i.store, "one")
	if err != nil || q.Next != nil || q.StateReason != ReasonRoom || fmt.Sprint(q.Can) != "[retry cancel]" {
		t.Errorf("%+v, %v", q, err)
	}
	retry := func() {
		t.Helper()
		if _, err := i.s.Retry(t.Context(), "one", Hand{Actor: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	retry()
	if got := i.roomHeld(); len(got) != 0 {
		t.Errorf("after the retry alarms stand about %q", got)
	}
	sub, err := i.s.lease(t.Context(), "one")
	if err != nil {
		t.Fatalf("a person sends it all the same: %v", err)
	}
	i.ends(sub, "temporary") // the provider's word changes nothing
	if err := i.takes("one"); err != nil {
		t.Fatalf("the second attempt: %v", err)
	}
	i.ends(stored(t, i.store, "one"), "temporary")
	// Held again, it needs another word.
	if _, err := i.s.Hold(t.Context(), "one", Hand{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	retry()
	if err := i.takes("one"); !errors.Is(err, errLease) {
		t.Fatalf("it was taken: %v", err)
	}
	if s := stored(t, i.store, "one"); s.State != Held || s.StateReason != ReasonRoom {
		t.Fatalf("it is %s (%s)", s.State, s.StateReason)
	}
	// A person's word is about a mailbox that is too small, not about one that is full.
	retry()
	if err := i.s.occupied(t.Context(), aWorker(i.acc), fetch.Quota{Used: 9 << 20, Limit: 10 << 20, Known: true}); err != nil {
		t.Fatal(err)
	}
	if err := i.takes("one"); !errors.Is(err, errLease) {
		t.Fatalf("it was taken: %v", err)
	}
	if s := stored(t, i.store, "one"); s.State != Queued || s.StateReason != ReasonRoom {
		t.Errorf("with a larger mailbox it is %s (%s)", s.State, s.StateReason)
	}
}

// TestB11_BatchThatNeverFits: a batch is held as one, and a person's word is for all
// of its messages.
func TestB11_BatchThatNeverFits(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(3)...)
	i.update(func(tx *mailbox.Tx) error {
		b, err := load(tx, batchID)
		if err != nil {
			return err
		}
		b.Size = 5 << 20
		return save(tx, b, nil)
	})
	i.neverFits(1 << 20)
	if sub := i.next(); sub != nil {
		t.Fatalf("%s was taken", sub.ID)
	}
	b := stored(t, i.store, batchID)
	if b.State != Held || b.StateReason != ReasonRoom || b.Rest != Held || b.Tally.made() != 0 {
		t.Fatalf("the batch is %s (%s), rest %s", b.State, b.StateReason, b.Rest)
	}
	if got := i.roomHeld(); fmt.Sprint(got) != "["+batchID+"]" {
		t.Errorf("alarms about %q", got)
	}
	if n := len(i.inbox("mario")); n != 1 {
		t.Errorf("its sender has %d notices", n)
	}
	if _, err := i.s.Retry(t.Context(), batchID, Hand{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if got := i.roomHeld(); len(got) != 0 {
		t.Errorf("after the retry alarms stand about %q", got)
	}
	for range 2 {
		i.handOver()
	}
	last := i.next()
	if last == nil {
		t.Fatal("the last is not taken")
	}
	i.ends(last, "temporary")
	if err := i.takes(last.ID); err != nil {
		t.Errorf("the second attempt of the last: %v", err)
	}
}

// TestRoomAlarmEndsWithItsCause: an alarm that was left behind ends by itself.
func TestRoomAlarmEndsWithItsCause(t *testing.T) {
	i := newIntake(t)
	i.put("one", Queued, "", func(s *Submission) { s.Size = 5 << 20 })
	i.neverFits(5 << 20)
	if err := i.takes("one"); !errors.Is(err, errLease) {
		t.Fatal(err)
	}
	i.update(func(tx *mailbox.Tx) error { // as a backup may have it
		s, err := load(tx, "one")
		if err != nil {
			return err
		}
		s.StateReason, s.RoomAlarm, s.Since = ReasonOperator, false, time.Now()
		return tx.Space(room).Put("s/one", s)
	})
	if err := i.s.sweepAlarms(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := i.roomHeld(); len(got) != 0 {
		t.Errorf("alarms stand about %q", got)
	}
}
