package relay

import (
	"context"
	"errors"
	"os"
	"regexp"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// TestL2_StopAtTheDot: a stop while the provider's answer to the dot is awaited
// begins nothing new, waits for the answer for a set time, and then leaves the
// submission uncertain; one whose answer comes is handed over. The unit of systemd
// allows for longer.
func TestL2_StopAtTheDot(t *testing.T) {
	for name, answers := range map[string]bool{"no answer": false, "a late answer": true} {
		t.Run(name, func(t *testing.T) {
			clock := newTestClock()
			store := clock.store(t)
			ids := queued(t, store, testBox, 2)
			acc := Account{Box: testBox, Active: true, Every: time.Hour, UncertainAfter: time.Hour, Password: func() (string, error) { return "segreta", nil }}
			o := newIntake(t).s.opt
			o.Store, o.Accounts, o.StopWait = store, func() []Account { return []Account{acc} }, 50*time.Millisecond
			if answers {
				o.StopWait = time.Hour
			}
			s := New(o)
			ctx, stop := context.WithCancel(t.Context())
			tries := 0
			s.handOver = func(at context.Context, _ submit.Server, _ string, _ []string, _ submit.Body, h submit.Hooks) submit.Result {
				tries++
				if err := h.BeforeDot(at); err != nil {
					t.Error(err)
				}
				stop()
				if answers {
					if at.Err() != nil {
						t.Error("its connection was cut at once")
					}
					return submit.Result{Class: submit.HandedOver, Stage: submit.StageDot, Code: 250}
				}
				<-at.Done()
				return submit.Result{Class: submit.Uncertain, Stage: submit.StageDot, Err: at.Err()}
			}
			if err := s.Run(ctx); err != nil {
				t.Fatal(err)
			}
			want := Uncertain
			if answers {
				want = HandedOver
			}
			if a, b := stored(t, store, ids[0]), stored(t, store, ids[1]); tries != 1 || a.State != want || b.State != Queued || b.Attempts != 0 {
				t.Errorf("%d attempts; %s and %s after %d", tries, a.State, b.State, b.Attempts)
			}
		})
	}
	unit, err := os.ReadFile("../systemd/pecgate.service")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=(.*)$`).FindSubmatch(unit)
	if m == nil {
		t.Fatal("the unit has no TimeoutStopSec")
	}
	if d, err := time.ParseDuration(string(m[1][:len(m[1])-2])); err != nil || d < stopWait+45*time.Second {
		t.Errorf("the unit waits %s, the relay %s: %v", m[1], stopWait, err)
	}
}

// TestJ1_AJumpEndsNothingThatWaits, also J2: the clock goes a year ahead or back.
// Nothing of what waits ends or is called late for it, nobody's lease binds for a year,
// and the retries go on.
func TestJ1_AJumpEndsNothingThatWaits(t *testing.T) {
	for name, jump := range map[string]time.Duration{
		"J1 a year ahead": 365 * 24 * time.Hour, "J2 a year back": -365 * 24 * time.Hour, "J2 to 1970": -56 * 365 * 24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endsNothing(t, jump)
		})
	}
}

// endsNothing has a hundred submissions wait while the clock jumps.
func endsNothing(t *testing.T, jump time.Duration) {
	t.Helper()
	x := newTimed(t)
	ids := queued(t, x.store, testBox, 100)
	tries, refuse := map[string]int{}, true
	var d dots
	x.s.handOver = func(ctx context.Context, srv submit.Server, from string, to []string, body submit.Body, h submit.Hooks) submit.Result {
		tries[to[0]]++
		if refuse {
			return submit.Result{Class: submit.Temporary, Stage: submit.StageRcpt, Code: 450}
		}
		return d.handOver(ctx, srv, from, to, body, h)
	}
	x.worksUntil(10*time.Minute, func() bool { return len(tries) == len(ids) })
	before := len(tries)
	held, err := New(x.s.opt).lease(t.Context(), x.due()) // another service has it in hand
	if err != nil {
		t.Fatal(err)
	}
	x.clock.add(jump)
	x.next = x.clock.now()
	x.pass(0)
	clear(tries)
	x.worksUntil(time.Hour, func() bool { return len(tries) == len(ids) })
	if len(tries) < before-1 {
		t.Errorf("of %d that were tried before %d are tried now", before, len(tries))
	}
	for _, id := range ids {
		if s := stored(t, x.store, id); s.State != Queued || s.LateTold {
			t.Errorf("%s is %s (%s), told %t", id, s.State, s.StateReason, s.LateTold)
		}
	}
	if n := x.noticesOf(1); n != 0 {
		t.Errorf("the sender has %d notices", n)
	}
	if err := x.s.intend(t.Context(), held); !errors.Is(err, errLease) {
		t.Errorf("its lease still holds: %v", err)
	}
	refuse = false
	x.worksUntil(time.Hour, func() bool { return len(d.sent) == len(ids) })
	if len(d.sent) != len(ids) {
		t.Errorf("%d of %d left", len(d.sent), len(ids))
	}
}

// TestJ3_StandsStillForTwoHours: the machine sleeps for two hours, while a hundred wait,
// or in the middle of a hand-over. Nothing ends, is called late or leaves twice; what
// had not written its intent goes on, what had sent the dot takes the provider's answer,
// and what was between the two sends nothing before it has taken its lease anew.
func TestJ3_StandsStillForTwoHours(t *testing.T) {
	const sleep = 2 * time.Hour
	t.Run("all wait", func(t *testing.T) { endsNothing(t, sleep) })
	for _, c := range []struct {
		where string
		at    instant // empty: the provider answers the dot after it
		dots  int
		want  State
	}{
		{"before the connection", atLeased, 1, HandedOver},
		{"before the dot", atIntent, 0, Queued},
		{"before the answer", "", 1, HandedOver},
	} {
		t.Run(c.where, func(t *testing.T) {
			x := newTimed(t)
			id := queued(t, x.store, testBox, 1)[0]
			slept := false
			x.s.at = func(at instant, _ string) {
				if at == c.at && !slept {
					slept = true
					x.clock.add(sleep)
				}
			}
			var d dots
			x.s.handOver = func(ctx context.Context, srv submit.Server, from string, to []string, body submit.Body, h submit.Hooks) submit.Result {
				r := d.handOver(ctx, srv, from, to, body, h)
				if c.at == "" {
					x.clock.add(sleep)
				}
				return r
			}
			if _, _, err := x.s.sendDue(t.Context(), x.w); err != nil {
				t.Fatal(err)
			}
			if s := stored(t, x.store, id); d.sent[id] != c.dots || s.State != c.want {
				t.Errorf("%d dots, and it is %s (%s)", d.sent[id], s.State, s.StateReason)
			}
			x.pass(0)
			x.works(30 * time.Minute)
			if d.sent[id] != 1 {
				t.Errorf("later there were %d dots", d.sent[id])
			}
			if s := stored(t, x.store, id); s.State != HandedOver || s.LateTold || x.noticesOf(1) != 0 {
				t.Errorf("later it is %s (%s), told %t, %d notices", s.State, s.StateReason, s.LateTold, x.noticesOf(1))
			}
		})
	}
}

// due makes one of what waits due now.
func (x *timed) due() (id string) {
	x.t.Helper()
	x.update(func(tx *mailbox.Tx) error {
		id = ""
		return tx.Space(room).Scan(queueBox(testBox), func(k string, _ []byte) (bool, error) {
			id = k[len(queueBox(testBox)):]
			return false, nil
		})
	})
	x.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, id)
		return errors.Join(err, save(tx, s, &due{At: tx.Now()}))
	})
	return id
}
