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
	if g.status().Suspended != "" || g.s.suspended(t.Context(), newWorker(g.acc, func() {}), serviceIMAP) {
		t.Error("the mailbox is held back")
	}
}

// TestB10_OnlineStopped: where the gateway stops in the middle of a look, the answer
// may have been on its way and a start follows: that counts, so that looks and stops
// together do not guess on.
func TestB10_OnlineStopped(t *testing.T) {
	g := newGate(t, false)
	g.k.hold = true
	for range mostUnanswered {
		ctx, stop := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() { _, err := g.s.TryOnline(ctx, testBox); done <- err }()
		<-g.k.changed
		stop(ErrStopping)
		<-done // whatever it says
		g.anew()
	}
	n := g.k.logins()
	found, err := g.s.TryOnline(t.Context(), testBox)
	if err != nil || len(found) != 2 || found[0].Login != LoginSuspended || found[1].Login != LoginSuspended || g.k.logins() != n {
		t.Errorf("the next look sends the login once more: %+v, %v", found, err)
	}
}
