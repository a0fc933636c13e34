package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
	"pecgate/relay/submit"
)

// testClock is a clock that stands until it is moved.
type testClock struct{ at atomic.Int64 }

func newTestClock() *testClock {
	c := new(testClock)
	c.at.Store(time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *testClock) now() time.Time                    { return time.Unix(0, c.at.Load()).UTC() }
func (c *testClock) add(d time.Duration)               { c.at.Add(int64(d)) }
func (c *testClock) set(at time.Time)                  { c.at.Store(at.UnixNano()) }
func (c *testClock) atLeast(at time.Time)              { c.at.Store(max(c.at.Load(), at.UnixNano())) }
func (c *testClock) store(t *testing.T) *mailbox.Store { return c.storeIn(t, t.TempDir()) }

func (c *testClock) storeIn(t *testing.T, dir string) *mailbox.Store {
	t.Helper()
	store, err := mailbox.Open(mailbox.Options{Dir: dir, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // again, where the test did
	mustList(t, store)
	return store
}

// dueTasks is dueOf without a limit.
func (s *Service) dueTasks(ctx context.Context, box string) ([]task, time.Time, error) {
	due, err := s.dueOf(ctx, box, inSight, false)
	return due.tasks, due.later, err
}

// queued fills the queue of a mailbox with submissions of one message, each its own.
func queued(t *testing.T, store *mailbox.Store, box string, n int) (ids []string) {
	t.Helper()
	ctx := t.Context()
	in, err := store.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "From: "+box+"\r\nMessage-ID: <"+box+">\r\n\r\nx\r\n"); err != nil {
		t.Fatal(err)
	}
	st, err := in.Store(ctx, mailbox.Origin{Box: box, Direction: mailbox.Out})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var m mailbox.Message
	if _, err = store.Record(ctx, st, func(_ *mailbox.Tx, got *mailbox.Message) error { m = *got; return nil }); err != nil {
		t.Fatal(err)
	}
	for from := 0; from < n; from += 100 {
		err := store.Update(ctx, func(tx *mailbox.Tx) error {
			who, err := tx.EnsurePerson("mario")
			if err != nil {
				return err
			}
			for k := from; k < min(from+100, n); k++ {
				id := fmt.Sprintf("%s%05d", box[:1], k)
				s, err := begin(tx, Ticket{ID: id, Box: box, User: "mario", Person: who, MsgID: id + "@alfa.example", To: []string{id + "@pec.example"}}, &m, tx.Now().UTC())
				if err != nil {
					return err
				}
				if err := save(tx, s, &due{At: tx.Now()}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for k := range n {
		ids = append(ids, fmt.Sprintf("%s%05d", box[:1], k))
	}
	return ids
}

// aWorker is a mailbox at work, of a service that a test drives.
func aWorker(acc Account) *worker {
	acc.Active = true
	acc.Password = func() (string, error) { return "segreta", nil }
	return newWorker(acc, func() {})
}

// dots counts the final dots of each submission, in place of a provider.
type dots struct {
	mu   sync.Mutex
	sent map[string]int
	list []string // in their order
}

// handOver takes what reaches the dot; queued made its recipient from its id.
func (d *dots) handOver(ctx context.Context, _ submit.Server, _ string, to []string, _ submit.Body, h submit.Hooks) submit.Result {
	if err := h.BeforeDot(ctx); err != nil {
		return submit.Result{Class: submit.Temporary, Stage: submit.StageBody, Err: err}
	}
	id, _, _ := strings.Cut(to[0], "@")
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sent == nil {
		d.sent = map[string]int{}
	}
	d.sent[id]++
	d.list = append(d.list, id)
	return submit.Result{Class: submit.HandedOver, Stage: submit.StageDot, Code: 250}
}

// TestB18_TwoWorkersOneItem has four services on one store, 32 workers in all, hand
// over 1,000 submissions of one mailbox. Now and then one is stopped between its
// lease and the dot, for longer than the lease: the others take over what it held,
// and when it goes on it does nothing more. No submission leaves twice, all leave.
func TestB18_TwoWorkersOneItem(t *testing.T) {
	const items, services, each = 1000, 4, 8
	clock := newTestClock()
	store := clock.store(t)
	ids := queued(t, store, testBox, items)
	var d dots
	var mu sync.Mutex
	moved := sync.NewCond(&mu)
	progress, asleep, working, stops := 0, 0, services*each, map[instant]int{}
	var left atomic.Int64
	left.Store(items)
	step := func() { mu.Lock(); progress++; moved.Broadcast(); mu.Unlock() }
	chance := rand.New(rand.NewPCG(18, 2026))
	stopped := func(at instant, _ string) {
		mu.Lock()
		defer mu.Unlock()
		if (at != atLeased && at != atIntent) || asleep >= services*each/2 || chance.IntN(40) > 0 {
			return
		}
		asleep++
		stops[at]++
		clock.add(leaseTime + time.Minute) // SIGSTOP, and SIGCONT when others have gone on
		for until := progress + 20; progress < until && left.Load() > 0 && working > asleep; {
			moved.Wait()
		}
		asleep--
	}
	var all sync.WaitGroup
	for range services {
		s := New(Options{Store: store, Accounts: func() []Account { return nil }, Schedule: Schedule{First: time.Second, Most: time.Second, GiveUp: 1e6 * time.Hour}})
		s.at, s.handOver = stopped, d.handOver
		for range each {
			w := aWorker(Account{Box: testBox, UncertainAfter: time.Hour})
			all.Go(func() {
				defer func() { mu.Lock(); working--; moved.Broadcast(); mu.Unlock() }()
				for rounds := 0; left.Load() > 0 && rounds < 20_000; rounds++ {
					tasks, later, err := s.dueTasks(t.Context(), testBox)
					if err != nil {
						t.Error(err)
						return
					}
					if len(tasks) == 0 && !later.IsZero() {
						clock.atLeast(later)
					}
					mine := tasks[:min(len(tasks), 40)]
					rand.Shuffle(len(mine), func(a, b int) { mine[a], mine[b] = mine[b], mine[a] })
					for _, x := range mine[:min(len(mine), 4)] {
						_, err := s.turnOf(t.Context(), w, x)
						step()
						if err != nil {
							t.Error(err)
							return
						}
						if stored(t, store, x.id).State == HandedOver {
							d.mu.Lock()
							left.Store(int64(items - len(d.sent)))
							d.mu.Unlock()
						}
					}
					step()
				}
			})
		}
	}
	all.Wait()
	for _, id := range ids {
		if s := stored(t, store, id); d.sent[id] != 1 || s.State != HandedOver {
			t.Errorf("%s left %d times and is %s (%s)\n%+v", id, d.sent[id], s.State, s.StateReason, s)
		}
	}
	if stops[atLeased] == 0 || stops[atIntent] == 0 {
		t.Errorf("the workers were stopped only so: %v", stops)
	}
	t.Logf("%d stops beyond the lease: %v", stops[atLeased]+stops[atIntent], stops)
}

// TestB18_AStartTakesNothingFromOthers: a service that starts puts back what a dead
// one held, and leaves alone what a live one holds.
func TestB18_AStartTakesNothingFromOthers(t *testing.T) {
	clock := newTestClock()
	store := clock.store(t)
	o := Options{Store: store, Accounts: func() []Account { return nil }}
	ids := queued(t, store, testBox, 3)
	live, dead, third := New(o), New(o), New(o)
	dead.holder = "another opening/x"
	var held []*Submission
	for n, s := range []*Service{live, dead} {
		sub, err := s.lease(t.Context(), ids[n])
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, sub)
	}
	if err := third.recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n, want := range []State{Attempting, Queued, Queued} {
		if s := stored(t, store, ids[n]); s.State != want {
			t.Errorf("%s is %s and not %s", ids[n], s.State, want)
		}
	}
	if _, err := third.lease(t.Context(), ids[0]); !errors.Is(err, errLease) {
		t.Errorf("what is in other hands: %v", err)
	}
	if err := live.intend(t.Context(), held[0]); err != nil {
		t.Errorf("the holder: %v", err)
	}
	if err := dead.intend(t.Context(), held[1]); !errors.Is(err, errLease) {
		t.Errorf("whose lease was taken: %v", err)
	}
	// The live one stops: after its lease another sees to what it had.
	clock.add(leaseTime + time.Second)
	if _, err := third.lease(t.Context(), ids[0]); !errors.Is(err, errLease) {
		t.Errorf("cut off after its intent: %v", err)
	}
	if s := stored(t, store, ids[0]); s.State != Uncertain {
		t.Errorf("it is %s", s.State)
	}
}

// TestB18_OneFetcher: of two services one fetches a mailbox. What the other had in
// hand when its lease was over it neither stores nor deletes.
func TestB18_OneFetcher(t *testing.T) {
	clock := newTestClock()
	store := clock.store(t)
	i := newIntake(t)
	o := i.s.opt
	o.Store = store
	one, two := New(o), New(o)
	acc := Account{Box: testBox, Admin: "capo"}
	w1, w2 := aWorker(acc), aWorker(acc)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	letter := func(s *Service, uid uint32) error {
		raw := fmt.Sprintf("From: a@pec.example\r\nMessage-ID: <%d@pec.example>\r\n\r\nx\r\n", uid)
		return s.takeIn(ctx, acc, cursor{UIDValidity: 1}, itemOf(uid, raw))
	}
	must(one.takeBox(ctx, w1))
	if err := two.takeBox(ctx, w2); !errors.Is(err, errOtherFetcher) {
		t.Fatalf("both fetch: %v", err)
	}
	must(letter(one, 1))
	for range 5 { // a long round goes on as long as something comes
		clock.add(fetchLease * 2 / 3)
		must(letter(one, 1))
	}
	if err := two.takeBox(ctx, w2); !errors.Is(err, errOtherFetcher) {
		t.Fatalf("both fetch: %v", err)
	}
	// The first one stops for longer than its lease.
	clock.add(fetchLease + time.Second)
	must(two.takeBox(ctx, w2))
	must(letter(two, 2))
	if err := letter(one, 2); !errors.Is(err, errOtherFetcher) {
		t.Errorf("it took in what is the other's: %v", err)
	}
	if err := one.ask(ctx, testBox, []copyOf{{at: spot{folder: "INBOX", validity: 1, uid: 1}}}); !errors.Is(err, errOtherFetcher) {
		t.Errorf("it may delete: %v", err)
	}
	must(two.ask(ctx, testBox, []copyOf{{at: spot{folder: "INBOX", validity: 1, uid: 1}}}))
	if err := one.takeBox(ctx, w1); !errors.Is(err, errOtherFetcher) {
		t.Errorf("it took the mailbox back: %v", err)
	}
	// The end of a service, in order or by a crash, leaves the mailbox free at once.
	must(two.leaveBox(ctx, w2))
	must(one.takeBox(ctx, w1))
	one.holder = "another opening/x"
	must(store.Update(ctx, func(tx *mailbox.Tx) error {
		l, err := readBoxLease(tx, testBox)
		l.Holder = one.holder
		return errors.Join(err, tx.Space(room).Put(boxLeaseKey(testBox), l))
	}))
	must(two.takeBox(ctx, w2))
	// A clock that is put back binds nobody for longer.
	clock.add(-365 * 24 * time.Hour)
	must(New(o).takeBox(ctx, aWorker(acc)))
}

func itemOf(uid uint32, raw string) fetch.Item {
	return fetch.Item{Folder: "INBOX", UIDValidity: 1, UID: uid, InternalDate: time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC), Size: int64(len(raw)), Body: strings.NewReader(raw)}
}
