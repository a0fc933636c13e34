package mailbox

import (
	"context"
	"sync"
)

// flight knows the messages between their bytes and their record, so that
// nobody takes these bytes for forgotten ones.
type flight struct {
	mu sync.Mutex
	in map[*ticket]struct{}
}

// ticket is one message in flight.
type ticket struct {
	flight *flight
	ended  chan struct{}
	once   sync.Once
}

func (f *flight) begin() *ticket {
	t := &ticket{flight: f, ended: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.in == nil {
		f.in = map[*ticket]struct{}{}
	}
	f.in[t] = struct{}{}
	return t
}

func (t *ticket) end() {
	t.once.Do(func() {
		t.flight.mu.Lock()
		delete(t.flight.in, t)
		t.flight.mu.Unlock()
		close(t.ended)
	})
}

// landed waits until everything that is in flight now has its record, or will
// have none.
func (f *flight) landed(ctx context.Context) error {
	f.mu.Lock()
	all := make([]*ticket, 0, len(f.in))
	for t := range f.in {
		all = append(all, t)
	}
	f.mu.Unlock()
	for _, t := range all {
		select {
		case <-t.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
