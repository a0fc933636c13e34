package relay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// TestQueueRetry_OutOfHours: what a person sends outside the hours of its mailbox is
// tried at once, and once; the others wait, also those before it. Its story and the
// audit log say so.
func TestQueueRetry_OutOfHours(t *testing.T) {
	x := newTimed(t)
	ids := queued(t, x.store, testBox, inSight+50)
	urgent := ids[len(ids)-1]
	x.hours(Hours{Send: closedNow(x.clock.now().UTC())})
	var tried []string
	refuse := true
	var d dots

	x.s.handOver = func(ctx context.Context, srv submit.Server, from string, to []string, body submit.Body, h submit.Hooks) submit.Result {
		tried = append(tried, strings.TrimSuffix(to[0], "@pec.example"))
		if refuse {
			return submit.Result{Class: submit.Temporary, Stage: submit.StageRcpt, Code: 450}
		}
		return d.handOver(ctx, srv, from, to, body, h)
	}
	x.works(5 * time.Minute)
	if len(tried) != 0 {
		t.Fatalf("outside the hours there were tried %v", tried)
	}
	retry := func() {
		t.Helper()
		if _, err := x.s.Retry(t.Context(), urgent, Hand{Actor: "test"}); err != nil {
			t.Fatal(err)
		}
		q, err := ShowQueued(t.Context(), x.store, urgent)
		if err != nil || q.Hours != nil || q.Next == nil || q.Next.After(x.clock.now()) {
			t.Errorf("next %v, hours %v, %v", q.Next, q.Hours, err)
		}
	}
	retry()
	x.works(time.Hour)
	if !slices.Equal(tried, []string{urgent}) {
		t.Errorf("after one retry there were tried %v", tried)
	}
	if story := x.storyOf(urgent); !strings.Contains(story, strings.TrimPrefix(anyHoursText, ", ")) {
		t.Errorf("its story:\n%s", story)
	}
	if lines := x.audited("queue retry"); len(lines) != 1 || !strings.Contains(lines[0], strings.TrimPrefix(anyHoursText, ", ")) {
		t.Errorf("the audit log has %q", lines)
	}
	refuse = false
	retry()
	x.works(time.Minute)
	if d.sent[urgent] != 1 || len(tried) != 2 {
		t.Errorf("%d dots, tried %v", d.sent[urgent], tried)
	}
}

// TestQueueRetry_BatchOutOfHours: a batch leaves as a whole; one that is still to leave
// when the hours are over for the next time waits again.
func TestQueueRetry_BatchOutOfHours(t *testing.T) {
	x := newTimed(t)
	x.putBatch(SplitAlways, 0, numbered(4)...)
	x.hours(Hours{Send: closedNow(x.clock.now().UTC())})
	x.w.acc.PerMinute = 1
	n := 0
	var d dots
	x.s.handOver = func(ctx context.Context, srv submit.Server, from string, to []string, body submit.Body, h submit.Hooks) submit.Result {
		n++
		return d.handOver(ctx, srv, from, to, body, h)
	}
	x.works(5 * time.Minute)
	if n != 0 {
		t.Fatalf("outside the hours there left %d", n)
	}
	retry := func() {
		t.Helper()
		if _, err := x.s.Retry(t.Context(), batchID, Hand{Actor: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	retry()
	x.works(10 * time.Second)
	if n != 1 {
		t.Errorf("at first there left %d", n)
	}
	if _, err := x.s.Hold(t.Context(), batchID, Hand{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	retry()
	x.works(10 * time.Second)
	if n != 2 {
		t.Errorf("after a hold and a retry there left %d", n)
	}
	x.update(func(tx *mailbox.Tx) error {
		b, err := load(tx, batchID)
		if err == nil && !b.AnyHours {
			t.Error("a person's word is forgotten before all has left")
		}
		return err
	})
	x.works(5 * time.Minute)
	if n != 4 {
		t.Errorf("at the end there left %d", n)
	}
}

// TestB11_TryingBeginsWithTheRoom: what waited for room for longer than is tried was not
// tried: the provider's first "not now" ends it neither alone nor in a batch.
func TestB11_TryingBeginsWithTheRoom(t *testing.T) {
	x := newTimed(t)
	id := queued(t, x.store, testBox, 1)[0]
	x.putBatch(SplitAlways, 0, numbered(2)...)
	x.s.handOver = func(context.Context, submit.Server, string, []string, submit.Body, submit.Hooks) submit.Result {
		return submit.Result{Class: submit.Temporary, Stage: submit.StageRcpt, Code: 450}
	}
	full := func(used int64) {
		x.rooms(used)
		x.works(time.Minute)
	}
	for range 2 {
		full(100 << 20)
	}
	if b := stored(t, x.store, batchID); b.StateReason != ReasonRoom {
		t.Fatalf("the batch is %s (%s)", b.State, b.StateReason)
	}
	x.update(func(tx *mailbox.Tx) error {
		c, err := readRunClock(tx)
		c.Ran += x.s.opt.Schedule.GiveUp + time.Hour
		return errors.Join(err, tx.Space(room).Put(runKey, c))
	})
	full(0)
	for _, id := range []string{id, childID(batchID, 1), childID(batchID, 2)} {
		if s := stored(t, x.store, id); s.State != Queued || s.Attempts == 0 || s.LateTold {
			t.Errorf("%s is %s (%s) after %d attempts, told %t", id, s.State, s.StateReason, s.Attempts, s.LateTold)
		}
	}
}
