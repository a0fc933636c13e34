package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
)

// TestConnectionsOfAHost: over all mailboxes no more connections to a host are used
// at once than the provider takes; whoever waits comes in turn, and one that gives
// up waiting takes nobody's place. Other hosts are not concerned.
func TestConnectionsOfAHost(t *testing.T) {
	var g gates
	var now, most atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 50 {
				leave, err := g.enter(t.Context(), "Smtp.pec.example", 3, false)
				if err != nil {
					t.Error(err)
					return
				}
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				now.Add(-1)
				leave()
				leave() // once counts
			}
		})
	}
	all.Wait()
	if most.Load() > 3 {
		t.Errorf("%d at once", most.Load())
	}
	if len(g.hosts) != 0 {
		t.Errorf("%d hosts are remembered", len(g.hosts))
	}
	var leave [2]func()
	for i := range leave {
		var err error
		if leave[i], err = g.enter(t.Context(), "a", 2, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.enter(t.Context(), "b", 2, false); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gave, came := make(chan error), make(chan error)
	go func() { _, err := g.enter(ctx, "a", 2, false); gave <- err }()
	for waits := 0; waits < 1; {
		g.mu.Lock()
		waits = len(g.hosts["a"].queue)
		g.mu.Unlock()
	}
	go func() { _, err := g.enter(t.Context(), "a", 2, false); came <- err }()
	cancel()
	if err := <-gave; err == nil {
		t.Error("it was let in")
	}
	leave[0]()
	if err := <-came; err != nil {
		t.Error(err)
	}
	// Those that only listen leave half of the places to work.
	for n, want := range []bool{true, true, false} {
		if _, ok := g.listen("c", 4); ok != want {
			t.Errorf("listener %d: %t", n, ok)
		}
	}
	if _, ok := g.listen("d", 1); ok {
		t.Error("the only connection is one that listens")
	}
}
