package segment

import (
	"context"
	"sync"
)

// turns lets either any number of walks or one sweep go over the segments, so
// that a walk sees each message once. A walk does not queue behind a waiting
// sweep: one inside another must not deadlock.
type turns struct {
	mu       sync.Mutex
	walks    int
	sweeping bool
	changed  chan struct{} // closed when something ended; nil when nobody waits
}

func (t *turns) walk(ctx context.Context) error {
	return t.wait(ctx, func() bool {
		if t.sweeping {
			return false
		}
		t.walks++
		return true
	})
}

func (t *turns) sweep(ctx context.Context) error {
	return t.wait(ctx, func() bool {
		if t.sweeping || t.walks > 0 {
			return false
		}
		t.sweeping = true
		return true
	})
}

func (t *turns) wait(ctx context.Context, begin func() bool) error {
	for {
		t.mu.Lock()
		if begin() {
			t.mu.Unlock()
			return nil
		}
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *turns) endWalk() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.walks--
	t.tell()
}

func (t *turns) endSweep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweeping = false
	t.tell()
}

func (t *turns) tell() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}
