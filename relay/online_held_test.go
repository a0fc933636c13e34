package relay

import (
	"context"
	"testing"
)

// TestB10_OnlineCutOff: a look that a person gives up, more than once, holds nothing
// back.
func TestB10_OnlineCutOff(t *testing.T) {
	g := newGate(t, false)
	g.k.hold = true
	for range 3 {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := g.s.TryOnline(ctx, testBox); done <- err }()
		<-g.k.changed
		stop()
		<-done // whatever it says
	}
	if g.status().Suspended != "" || g.s.suspended(t.Context(), aWorker(g.acc), serviceIMAP) {
		t.Error("the mailbox is held back")
	}
}
