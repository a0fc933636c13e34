package relay

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// timed is a relay on a clock that a test moves.
type timed struct {
	*intake
	clock *testClock
	w     *worker
	next  time.Time // look at the clock
}

func newTimed(t *testing.T) *timed {
	x := &timed{intake: newIntake(t), clock: newTestClock(), w: aWorker(Account{Box: testBox, Admin: "capo", UncertainAfter: 15 * time.Minute})}
	o := x.s.opt
	o.Store, o.Address = x.clock.store(t), "pecgate@gateway.example"
	o.Accounts = func() []Account { return []Account{{Box: testBox, Admin: "capo", Active: true}} }
	x.store, x.s = o.Store, New(o)
	x.next = x.clock.now()
	x.pass(0)
	return x
}

// pass lets time pass, with the gateway running.
func (x *timed) pass(d time.Duration) {
	x.t.Helper()
	for {
		step := min(d, x.next.Sub(x.clock.now()))
		x.clock.add(step)
		if d -= step; x.clock.now().Before(x.next) {
			return
		}
		if _, err := x.s.tick(x.t.Context()); err != nil {
			x.t.Fatal(err)
		}
		x.next = x.clock.now().Add(runEvery)
	}
}

// works lets the sender work for some time, and returns when it tried what.
func (x *timed) works(d time.Duration) {
	x.t.Helper()
	x.worksUntil(d, func() bool { return false })
}

// worksUntil is works for that long at most.
func (x *timed) worksUntil(d time.Duration, done func() bool) {
	x.t.Helper()
	for end := x.clock.now().Add(d); x.clock.now().Before(end) && !done(); {
		wait, _, err := x.s.sendDue(x.t.Context(), x.w)
		if err != nil {
			x.t.Fatal(err)
		}
		x.pass(max(wait, time.Second))
	}
}

// TestB5_PutOff: a provider that puts a message off gets the same envelope and bytes
// again, after waits that grow and differ; the others of the mailbox leave meanwhile.
// The sender is told after four hours, once, and at the end.
func TestB5_PutOff(t *testing.T) {
	for name, r := range map[string]submit.Result{
		"451 at MAIL":       {Class: submit.Temporary, Stage: submit.StageMail, Code: 451},
		"greylisted":        {Class: submit.Temporary, Stage: submit.StageRcpt, Code: 450},
		"421 at DATA":       {Class: submit.Temporary, Stage: submit.StageData, Code: 421},
		"451 after the dot": {Class: submit.Temporary, Stage: submit.StageDot, Code: 451},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTimed(t)
			ids := queued(t, x.store, testBox, 2)
			bad := ids[0]
			var at []time.Time
			given := map[string]bool{}
			var d dots
			x.s.handOver = func(ctx context.Context, srv submit.Server, from string, to []string, body submit.Body, h submit.Hooks) submit.Result {
				if !strings.HasPrefix(to[0], bad) {
					return d.handOver(ctx, srv, from, to, body, h)
				}
				b, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
				if err != nil {
					t.Error(err)
				}
				given[fmt.Sprintf("%s %s %x", from, to, sha256.Sum256(b))] = true
				at = append(at, x.clock.now())
				return r
			}
			x.works(6 * time.Hour)
			if !slices.Equal(d.list, ids[1:]) {
				t.Errorf("of the others left %v", d.list)
			}
			if len(given) != 1 {
				t.Errorf("%d envelopes or contents: %v", len(given), given)
			}
			var waits []time.Duration
			for n := range len(at) - 1 {
				waits = append(waits, at[n+1].Sub(at[n]).Round(time.Second))
			}
			if len(waits) < 10 || waits[0] > 35*time.Second || waits[4] < 4*time.Minute || slices.Max(waits) > 16*time.Minute {
				t.Errorf("the waits are %v", waits)
			}
			last := waits[len(waits)-6:]
			if slices.Min(last) == slices.Max(last) {
				t.Errorf("without jitter: %v", last)
			}
			if n := x.noticesOf(1); n != 1 || !stored(t, x.store, bad).LateTold {
				t.Errorf("after six hours the sender has %d notices", n)
			}
			x.works(time.Hour)
			if n := x.noticesOf(1); n != 1 {
				t.Errorf("later it has %d", n)
			}
			x.update(func(tx *mailbox.Tx) error { // five days more
				return tx.Space(room).Put(runKey, runClock{Ran: 5*24*time.Hour + time.Hour, Seen: tx.Now()})
			})
			x.works(time.Hour)
			if s := stored(t, x.store, bad); s.State != NotAccepted || s.StateReason != ReasonExpired {
				t.Errorf("after five days it is %s (%s)", s.State, s.StateReason)
			}
			if n := x.noticesOf(1); n != 2 {
				t.Errorf("at the end the sender has %d notices", n)
			}
		})
	}
}

// TestB9_WhoIsTold: where the provider cannot be reached the administrator and each
// sender are told once after four hours, for all that waits; nothing expires, and
// the alarms end when it leaves.
func TestB9_WhoIsTold(t *testing.T) {
	x := newTimed(t)
	ids := queued(t, x.store, testBox, 30)
	up := false
	var d dots
	attempts := 0
	x.s.handOver = func(ctx context.Context, srv submit.Server, from string, to []string, body submit.Body, h submit.Hooks) submit.Result {
		if attempts++; !up {
			return submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: io.ErrUnexpectedEOF}
		}
		return d.handOver(ctx, srv, from, to, body, h)
	}
	alarms := func() (n int) {
		t.Helper()
		err := x.store.View(t.Context(), func(tx *mailbox.Tx) error {
			all, err := Alarms(tx, 100)
			n = len(all)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	x.works(3 * time.Hour)
	if n := alarms(); n != 0 {
		t.Errorf("%d alarms after three hours", n)
	}
	x.works(24 * time.Hour)
	if attempts > 200 {
		t.Errorf("%d attempts in a day", attempts)
	}
	x.update(func(tx *mailbox.Tx) error { // a week more
		return tx.Space(room).Put(runKey, runClock{Ran: 8 * 24 * time.Hour, Seen: tx.Now()})
	})
	x.works(time.Hour)
	if n := alarms(); n != 2 {
		t.Errorf("%d alarms stand", n)
	}
	if n := x.noticesOf(1); n != 1 {
		t.Errorf("the sender has %d notices", n)
	}
	up = true
	x.works(time.Hour)
	if !slices.Equal(d.list, ids) {
		t.Errorf("what left is %v", d.list)
	}
	if err := x.s.endQueueLate(t.Context(), &worker{acc: x.w.acc, late: true}); err != nil || alarms() != 0 {
		t.Errorf("%d alarms stand, %v", alarms(), err)
	}
}

// TestB9_AlarmEndsWhenTheProviderAnswers: it says that the provider does not answer, and
// ends at the first answer, however many still wait. One that comes and goes is not told
// each time.
func TestB9_AlarmEndsWhenTheProviderAnswers(t *testing.T) {
	x := newTimed(t)
	queued(t, x.store, testBox, 30)
	answer := submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: io.ErrUnexpectedEOF}
	x.s.handOver = func(context.Context, submit.Server, string, []string, submit.Body, submit.Hooks) submit.Result {
		return answer
	}
	alarms := func() (n int) {
		t.Helper()
		if err := x.s.endQueueLate(t.Context(), x.w); err != nil {
			t.Fatal(err)
		}
		x.update(func(tx *mailbox.Tx) error {
			all, err := Alarms(tx, 100)
			n = len(all)
			return err
		})
		return n
	}
	down := answer
	x.works(6 * time.Hour)
	if n := alarms(); n != 2 {
		t.Fatalf("%d alarms stand", n)
	}
	answer = submit.Result{Class: submit.Temporary, Stage: submit.StageMail, Code: 451}
	x.works(time.Minute)
	if n := alarms(); n != 0 {
		t.Errorf("it answers, and %d alarms stand", n)
	}
	told := x.noticesOf(1)
	answer = down
	x.works(2 * time.Hour)
	if n := x.noticesOf(1); alarms() != 2 || n != told {
		t.Errorf("away again: %d alarms, %d notices after %d", alarms(), n, told)
	}
	x.works(4 * time.Hour)
	if n := x.noticesOf(1); n != told+1 {
		t.Errorf("away for long again: %d notices after %d", n, told)
	}
}
