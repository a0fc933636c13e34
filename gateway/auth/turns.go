package auth

import (
	"container/list"
	"context"
	"sync"
)

// rank says who waits in front of whom for a hash.
type rank int

// The ranks. Whoever guesses falls to the last after one failure, so that the
// line of those who do not is as long as without an attack.
const (
	knownDevice rank = iota // this user has logged in from this address
	quietPlace              // nothing was refused to this address lately
	noisyPlace
	ranks // how many there are
)

// turns let a bounded number compute hashes and a bounded number wait, each rank
// in the order in which they came. Safe for concurrent use.
type turns struct {
	most int // that may wait

	mu      sync.Mutex
	free    int
	waiting int
	lines   [ranks]list.List // of chan struct{}, closed when the turn has come
}

func newTurns(workers, waiting int) *turns { return &turns{most: waiting, free: workers} }

// take waits for a turn. ErrBusy when too many wait already, or the context's
// error. After nil the caller gives it back by done.
func (t *turns) take(ctx context.Context, r rank) error {
	t.mu.Lock()
	if t.free > 0 { // then nobody waits
		t.free--
		t.mu.Unlock()
		return nil
	}
	if t.waiting >= t.most {
		t.mu.Unlock()
		return ErrBusy
	}
	t.waiting++
	come := make(chan struct{})
	place := t.lines[r].PushBack(come)
	t.mu.Unlock()
	select {
	case <-come:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	select {
	case <-come: // it came meanwhile: somebody else has it
		t.mu.Unlock()
		t.done()
	default:
		t.lines[r].Remove(place)
		t.waiting--
		t.mu.Unlock()
	}
	return ctx.Err()
}

// done gives a turn to who is next.
func (t *turns) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.lines {
		if first := t.lines[i].Front(); first != nil {
			t.waiting--
			close(t.lines[i].Remove(first).(chan struct{}))
			return
		}
	}
	t.free++
}

// standing is how many wait.
func (t *turns) standing() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting
}

// flights are the logins that are being looked at, by a keyed digest of name and
// password.
type flights struct {
	mu    sync.Mutex
	under map[[32]byte]chan struct{}
}

// begin tells that nobody else looks at this one, and end must be called; or
// gives what is closed when the other has ended.
func (f *flights) begin(k [32]byte) (other <-chan struct{}, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.under[k]; c != nil {
		return c, false
	}
	f.under[k] = make(chan struct{})
	return nil, true
}

func (f *flights) end(k [32]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.under[k])
	delete(f.under, k)
}
