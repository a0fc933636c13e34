package badger

import (
	"fmt"

	"pecgate/mailbox/kv"
)

// answer is what waits for the count: the Updates of a fold, committed by
// badger, or of one that wrote nothing but read what is not counted yet.
type answer struct {
	upTo  mark
	items []item
	calls []*call
}

// later hands an answer to the counter.
func (s *Store) later(a answer) {
	s.mu.Lock()
	s.uncounted = append(s.uncounted, a)
	s.mu.Unlock()
	select {
	case s.wakeCounter <- struct{}{}:
	default:
	}
}

// runCounter is the counter. While it syncs the journal the writer commits the
// next fold, so one sync often counts several.
func (s *Store) runCounter() {
	defer close(s.counterEnded)
	for {
		select {
		case <-s.wakeCounter:
		case <-s.stopCounter:
			return
		}
		for s.countNext() {
		}
	}
}

// countNext counts all that is committed and answers its callers. It answers
// false when nothing waited.
func (s *Store) countNext() bool {
	s.mu.Lock()
	answers, good := s.uncounted, s.good
	s.uncounted = nil
	s.mu.Unlock()
	if len(answers) == 0 {
		return false
	}
	newest, err := answers[len(answers)-1].upTo, error(nil)
	if newest.seq > good {
		if err = s.count(newest); err != nil {
			err = fmt.Errorf("%w: %w", kv.ErrFailed, err)
		}
	}
	s.mu.Lock()
	switch {
	case err == nil:
		s.good = newest.seq
	case s.failed == nil:
		s.failed = err
	}
	s.mu.Unlock()
	if err == nil {
		s.discard()
	}
	for _, a := range answers {
		if err == nil {
			s.watches.wake(a.items)
		}
		end(a.calls, err)
	}
	return true
}

// end answers calls: with their own outcome, or with the error of the commit.
func end(calls []*call, err error) {
	for _, c := range calls {
		if err != nil {
			c.err = err
		}
		close(c.done)
	}
}

// look begins to read the newest state that is counted. release ends it.
func (s *Store) look() (at uint64, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at = s.good
	s.looks[at]++
	return at, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.looks[at]--; s.looks[at] == 0 {
			delete(s.looks, at)
		}
	}
}

// discard tells badger which old versions nobody reads any more.
func (s *Store) discard() {
	s.mu.Lock()
	floor := s.good
	for at := range s.looks {
		floor = min(floor, at)
	}
	s.mu.Unlock()
	s.db.SetDiscardTs(floor)
}
