package badger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"pecgate/mailbox/kv"
)

// maxCalls bounds how many Updates one fold takes: those that write nothing
// do not fill it, and the first in it must not wait without end.
const maxCalls = 1000

// errUnfinished is the outcome of an fn that did not return.
var errUnfinished = errors.New("kv: update was not finished")

// call is one Update on its way.
type call struct {
	taken bool          // guarded by Store.mu: its turn is sure to come
	turn  chan *txn     // from the writer: run now
	ran   chan struct{} // to the writer: fn has returned
	err   error         // of fn, then of the whole
	done  chan struct{}
}

// Update calls fn and makes its writes durable; see kv.Store.
func (s *Store) Update(ctx context.Context, fn func(kv.Txn) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.calls.Done()
	c := &call{turn: make(chan *txn), ran: make(chan struct{}), done: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, c)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	var t *txn
	select {
	case t = <-c.turn:
	case <-c.done:
		return c.err // the store failed before the turn came
	case <-ctx.Done():
		if s.takeBack(c) {
			return ctx.Err()
		}
		select {
		case t = <-c.turn:
		case <-c.done:
			return c.err
		}
	}
	t.ctx = ctx
	c.run(t, fn)
	<-c.done
	return c.err
}

// takeBack removes a call the writer has not taken yet.
func (s *Store) takeBack(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.taken {
		return false
	}
	s.waiting = slices.DeleteFunc(s.waiting, func(o *call) bool { return o == c })
	return true
}

// run calls fn. The writer goes on whatever fn does, a panic included.
func (c *call) run(t *txn, fn func(kv.Txn) error) {
	c.err = errUnfinished
	defer func() {
		t.ended = true
		c.ran <- struct{}{}
	}()
	c.err = fn(t)
	if c.err == nil {
		c.err = t.err
	}
}

// run is the writer. It ends when Close says so, after the last Update.
func (s *Store) run() {
	defer close(s.ended)
	for {
		select {
		case <-s.wake:
		case <-s.stop:
			return
		}
		for s.fold() {
		}
	}
}

// next gives an Update that waits, or nil. On a failed store it answers all.
func (s *Store) next() *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		for _, c := range s.waiting {
			c.taken, c.err = true, s.failed
			close(c.done)
		}
		s.waiting = nil
	}
	if len(s.waiting) == 0 {
		return nil
	}
	c := s.waiting[0]
	s.waiting[0] = nil
	s.waiting = s.waiting[1:]
	c.taken = true
	return c
}

// gather is next, but lets those run first who were answered a moment ago and
// are about to come back: a commit costs far more than a few turns.
func (s *Store) gather() *call {
	for range yields {
		if c := s.next(); c != nil {
			return c
		}
		runtime.Gosched()
	}
	return s.next()
}

// yields is how often gather lets others run.
const yields = 3

// fold runs the Updates that wait and commits them together. It answers false
// when none waited.
func (s *Store) fold() bool {
	c := s.next()
	if c == nil {
		return false
	}
	state := s.db.NewTransactionAt(s.last.seq, false)
	defer func() { state.Discard() }()
	fold, calls := &overlay{}, []*call{}
	for ; c != nil; c = s.gather() {
		t := &txn{reader: reader{txn: state, own: &overlay{}, fold: fold}}
		c.turn <- t
		<-c.ran
		if c.err == nil {
			if len(fold.items)+len(t.own.items) > kv.MaxUpdateKeys || fold.bytes+t.own.bytes > kv.MaxUpdateBytes {
				// What fn read stays true: the fold it ran over is committed first.
				if !s.finish(fold, calls) {
					end([]*call{c}, s.failure())
					return true // once more, for those who wait
				}
				state.Discard()
				state = s.db.NewTransactionAt(s.last.seq, false)
				fold, calls = &overlay{}, nil
			}
			fold.add(t.own)
		}
		// One that failed or wrote nothing has still read the fold, so its
		// answer is true only once the fold is durable.
		calls = append(calls, c)
		if len(fold.items) == 0 || len(calls) >= maxCalls {
			break
		}
	}
	s.finish(fold, calls)
	return true
}

// finish commits a fold and leaves its calls to the counter, who also answers
// those of a fold without writes: they have read what may not be counted yet.
// It answers false when the commit failed, or what they read cannot be believed,
// which is the end of the store.
func (s *Store) finish(fold *overlay, calls []*call) bool {
	err := s.behind.check() // what the calls read
	next := s.last
	if err == nil && len(fold.items) > 0 {
		next = s.last.next(fold.items)
		err = s.put(next, fold.items)
	}
	if err != nil {
		end(calls, s.fail(err))
		return false
	}
	s.last = next
	s.later(answer{upTo: s.last, items: fold.items, calls: calls})
	return true
}

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// commit writes a fold to badger, synced. Only this function writes.
func (s *Store) commit(m mark, items []item) error {
	t := s.db.NewTransactionAt(s.last.seq, true)
	defer t.Discard()
	for _, i := range items {
		var err error
		if i.deleted {
			err = t.Delete(i.key)
		} else {
			err = t.Set(i.key, i.value)
		}
		if err != nil {
			return fmt.Errorf("gather a commit of %d keys: %w", len(items), err)
		}
	}
	if err := t.Set([]byte(chainKey), m.chain[:]); err != nil {
		return fmt.Errorf("gather a commit of %d keys: %w", len(items), err)
	}
	if err := t.CommitAt(m.seq, nil); err != nil {
		return fmt.Errorf("commit %d keys: %w", len(items), err)
	}
	return nil
}
