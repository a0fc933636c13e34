package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/planted"
	"pecgate/relay/fetch"
)

const (
	// rowBytes is the largest message that others are not kept waiting for.
	rowBytes = 64 << 10
	// rowWaits is how many small messages of a mailbox are prepared while those
	// before them get their records.
	rowWaits = 4
	// rowTogether is how many get their records in one transaction at most.
	rowTogether = 4
)

// row takes in one message after the other. Each needs syncs of its bytes and of its
// record, and is verified in between: so small ones are prepared several at a time,
// and those that are ready get their records together, in the order of the provider.
// In the transaction of a message's record the cursor moves behind it, as ever; at
// most rowWaits and rowTogether of them are between their bytes and their record.
//
// As long as anything is suspected (a message that failed before, a crash while one
// was read), and for whatever is large, one is taken in before the next is looked at.
type row struct {
	s *Service
	w *worker
	// taking says what to note of a message, when those before it, which get their
	// records in the same transaction, have theirs.
	taking func(it fetch.Item, before []*arriving, last bool) taking
	taken  func(it fetch.Item)       // nil: nothing more to note
	size   func(it fetch.Item) int64 // by the provider's list; nil: Item.Size
	// stumble decides about a message that could not be taken in: nil goes on
	// behind it.
	stumble func(ctx context.Context, at spot, why error) error

	alone bool
	last  time.Time // of the message before

	slots chan *slot    // nil: none is waiting
	idle  chan struct{} // closed when all that were in slots are dealt with

	mu  sync.Mutex
	err error // what stopped it: none behind gets a record
}

// slot is a message that waits for its record.
type slot struct {
	a     *arriving
	ready chan struct{} // closed when it is prepared
	err   error         // of the preparation
}

// run takes in what list hands out. Its error is that of list, unless a message
// before could not be taken in.
func (r *row) run(ctx context.Context, list func(fn func(ctx context.Context, it fetch.Item) error) error) error {
	r.err = nil
	r.alone = len(r.w.tries) > 0 || r.w.lease.Crashes > 0 || planted.Is(planted.CursorBeforeRecord)
	defer r.settle() // also of a panic
	err := list(func(ctx context.Context, it fetch.Item) error { return r.take(ctx, it) })
	if early := r.settle(); early != nil {
		return early
	}
	return err
}

// settle waits until all that came have their records, or will have none.
func (r *row) settle() error {
	if r.slots != nil {
		close(r.slots)
		<-r.idle
		r.slots = nil
	}
	return r.stopped()
}

func (r *row) stopped() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *row) stop(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

// take is the callback of list.
func (r *row) take(ctx context.Context, it fetch.Item) error {
	if err := r.stopped(); err != nil {
		return err
	}
	size := it.Size
	if r.size != nil {
		size = r.size(it)
	}
	if r.alone || it.Problem != nil || size < 0 || size > rowBytes {
		return r.takeAlone(ctx, it)
	}
	var a *arriving
	err := r.s.lookInTurn(ctx, r.w, spotOf(it), func() (err error) {
		a, err = r.s.receive(ctx, &it)
		return err
	})
	if err != nil {
		if early := r.settle(); early != nil {
			return early
		}
		return r.failed(ctx, it, err)
	}
	// In the order of arrival also where only the bytes are left to tell it.
	a.at = r.s.opt.Store.Now().UTC()
	if a.at.UnixMilli() <= r.last.UnixMilli() && r.last.Sub(a.at) < time.Second {
		a.at = r.last.Add(time.Millisecond)
	}
	r.last = a.at
	if a.in.Size() > 2*rowBytes { // listed wrongly
		if err := r.settle(); err != nil {
			a.close()
			return err
		}
		return r.one(ctx, a, r.prepare(ctx, a))
	}
	if r.slots == nil {
		r.slots, r.idle = make(chan *slot, rowWaits-1), make(chan struct{})
		go r.enterAll(ctx, r.slots, r.idle)
	}
	t := &slot{a: a, ready: make(chan struct{})}
	go func() {
		defer close(t.ready)
		t.err = r.prepare(ctx, a)
	}()
	r.slots <- t
	return nil
}

// takeAlone takes a message in when all before it are.
func (r *row) takeAlone(ctx context.Context, it fetch.Item) error {
	if err := r.settle(); err != nil {
		return err
	}
	err := it.Problem
	if err == nil {
		last := r.w.lastTry(spotOf(it))
		err = r.s.lookInTurn(ctx, r.w, spotOf(it), func() error { return r.s.take(ctx, r.w.acc, r.taking(it, nil, last)) })
	}
	if err != nil {
		return r.failed(ctx, it, err)
	}
	r.done(it)
	return nil
}

func (r *row) done(it fetch.Item) {
	if r.taken != nil {
		r.taken(it)
	}
	delete(r.w.tries, spotOf(it))
}

func (r *row) failed(ctx context.Context, it fetch.Item, err error) error {
	return r.stumble(ctx, spotOf(it), err)
}

func (r *row) prepare(ctx context.Context, a *arriving) error {
	return r.s.guarded("fetch", r.w.acc.Box, func() error { return r.s.prepare(ctx, r.w.acc.Box, a) })
}

// enterAll gives those that wait their records, one after the other.
func (r *row) enterAll(ctx context.Context, slots <-chan *slot, idle chan<- struct{}) {
	defer close(idle)
	var next *slot // taken out of slots already
	for {
		t := next
		if next = nil; t == nil {
			if t = <-slots; t == nil {
				return
			}
		}
		<-t.ready
		if r.stopped() != nil {
			r.drop(t.a)
			continue
		}
		together := []*arriving{t.a}
		for t.err == nil && r.joins(t.a) && len(together) < rowTogether {
			select {
			case next = <-slots:
			default:
			}
			if next == nil {
				break
			}
			<-next.ready
			if next.err != nil || !r.joins(next.a) {
				break
			}
			together, next = append(together, next.a), nil
		}
		if err := r.enter(ctx, together, t.err); err != nil {
			r.stop(err)
		}
	}
}

// joins tells whether a message may get its record together with others: what says
// what became of a message is compared with what those before it said.
func (r *row) joins(a *arriving) bool {
	return !(a.report.Believed() && aboutSending(a.report.Kind))
}

// enter gives messages their records: all together or, when that fails, one by one.
func (r *row) enter(ctx context.Context, list []*arriving, err error) error {
	if len(list) > 1 {
		if done, err := r.together(ctx, list); done {
			return err
		} // else which of them it was shows itself
	}
	for i, a := range list {
		if err := r.one(ctx, a, err); err != nil {
			for _, a := range list[i+1:] {
				r.drop(a)
			}
			return err
		}
	}
	return nil
}

// one gives a message its record, unless its preparation failed.
func (r *row) one(ctx context.Context, a *arriving, err error) error {
	defer a.close()
	if err == nil {
		last := r.w.lastTry(spotOf(a.it))
		err = r.s.guarded("fetch", r.w.acc.Box, func() error { return r.s.enter(ctx, r.w.acc, r.taking(a.it, nil, last), a) })
	}
	if err != nil {
		return r.failed(ctx, a.it, err)
	}
	r.done(a.it)
	return nil
}

// together gives several messages their records in one transaction; done tells
// whether it did.
func (r *row) together(ctx context.Context, list []*arriving) (done bool, err error) {
	err = r.s.guarded("fetch", r.w.acc.Box, func() error {
		var stored []*mailbox.Stored
		var all []*entering
		for i, a := range list {
			stored = append(stored, a.st)
			all = append(all, &entering{s: r.s, acc: r.w.acc, t: r.taking(a.it, list[:i], false), a: a})
		}
		messages, err := r.s.opt.Store.RecordAll(ctx, stored, func(tx *mailbox.Tx, i int, m *mailbox.Message) error { return all[i].record(tx, m) })
		if err != nil {
			return err
		}
		done = true
		for _, a := range list {
			r.done(a.it)
			a.close()
		}
		for i, e := range all {
			e.recorded(ctx, messages[i])
		}
		return nil
	})
	return done, err
}

// errDropped decides against a message.
var errDropped = errors.New("relay: a message before it could not be taken in")

// drop lets a message go that gets no record now: it is fetched again.
func (r *row) drop(a *arriving) {
	defer a.close()
	if a.st == nil {
		return
	}
	_, err := r.s.opt.Store.Record(context.Background(), a.st, func(*mailbox.Tx, *mailbox.Message) error { return errDropped })
	if !errors.Is(err, errDropped) && r.s.opt.Store.Broken() == nil {
		r.s.opt.Events.Fault("fetch", r.w.acc.Box, err)
	}
}
