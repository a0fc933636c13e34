package relay

import (
	"context"
	"io"
	"testing"
	"time"

	"pecgate/relay/submit"
)

// TestShowLooking: of something uncertain it is said until when its receipt is looked
// for, how long the mailbox was readable, and what was in the way; not once it is over.
func TestShowLooking(t *testing.T) {
	f, _, i := uncertainAt(t, byIMAP)
	f.minutes(5)
	l := i.shown("u").Looking
	if l == nil || l.Read != "5m" || l.Gap != "" || l.Blind != "" {
		t.Fatalf("%+v", l)
	}
	// The clock is a minute behind the last look.
	if left := l.Until.Sub(f.store.Now()); left < 8*time.Minute || left > 10*time.Minute {
		t.Errorf("until %v", left)
	}
	if err := f.s.noteBlind(t.Context(), f.w, errAnew); err != nil {
		t.Fatal(err)
	}
	if l := i.shown("u").Looking; l == nil || l.Blind != errAnew.Error() {
		t.Fatalf("%+v", l)
	}
	f.later(150 * time.Minute)
	f.round()
	if l := i.shown("u").Looking; l == nil || l.Gap != errAnew.Error() {
		t.Errorf("%+v", l)
	}
	f.later(150 * time.Minute)
	f.round()
	if l := i.shown("u").Looking; l == nil || l.Gap != "nobody looked for 2h30m" {
		t.Errorf("%+v", l)
	}
	f.minutes(20)
	if shown := i.shown("u"); shown.State != Held || shown.Looking != nil {
		t.Errorf("%s, %+v", shown.State, shown.Looking)
	}
}

// TestQueueNextWhileProviderIsDown: the time at which something is tried next is that at
// which its provider is asked again, never one that is past, and is forgotten with the
// first answer.
func TestQueueNextWhileProviderIsDown(t *testing.T) {
	i := newTimed(t)
	w := i.w
	ids := queued(t, i.store, testBox, 2)
	i.s.handOver = func(context.Context, submit.Server, string, []string, submit.Body, submit.Hooks) submit.Result {
		return submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: io.ErrUnexpectedEOF}
	}
	wait, reached, err := i.s.sendDue(t.Context(), w)
	if err != nil || reached || wait < 10*time.Second {
		t.Fatal(wait, reached, err)
	}
	page, err := Queue(t.Context(), i.store, QueueFilter{})
	if err != nil || len(page.Items) != 2 {
		t.Fatal(len(page.Items), err)
	}
	for _, it := range page.Items {
		if d := it.Next.Sub(i.store.Now().Add(wait)); d < -5*time.Second || d > 5*time.Second {
			t.Errorf("%s: it is tried in %v, and said to be in %v", it.ID, wait, it.Next.Sub(i.store.Now()))
		}
	}
	if q, err := ShowQueued(t.Context(), i.store, ids[1]); err != nil || q.Next == nil || !q.Next.Equal(*page.Items[1].Next) {
		t.Error(q.Next, err)
	}
	w.down = 0 // reached
	if err := i.s.noteHalt(t.Context(), testBox, halt{}); err != nil {
		t.Fatal(err)
	}
	if page, err = Queue(t.Context(), i.store, QueueFilter{}); err != nil || page.Items[1].Next.After(i.store.Now().Add(time.Second)) {
		t.Error(page.Items[1].Next, err)
	}
}
