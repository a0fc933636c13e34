package gateway

import (
	"context"
	"errors"
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
)

const (
	// keepEvery is how often the store is tidied: segments that are mostly dead are
	// rewritten, and the head of the audit log is signed.
	keepEvery = time.Hour
	// closeWait bounds the last signature of the audit log while closing.
	closeWait = 5 * time.Second
)

// keep tidies the store until ctx ends. First it looks for messages whose bytes
// are durable but whose record a crash prevented: they are filed for the
// administrator of their mailbox.
func (g *Gateway) keep(ctx context.Context, admin func(box string) string) {
	found, err := g.store.Recover(ctx, admin)
	g.fault("recover", err)
	if found.Filed > 0 {
		g.events.Recovered(found.Filed)
	}
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		_, err := g.store.Sweep(ctx)
		g.fault("sweep", err)
		g.fault("audit", g.store.SignAudit(ctx))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// fault logs what went wrong while tidying. A full disk is told elsewhere, and
// an end is none.
func (g *Gateway) fault(what string, err error) {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, mailbox.ErrNoSpace) {
		return
	}
	g.events.Fault(what, "", err)
}

// adminOf names the administrator of a mailbox as policy says now.
func adminOf(current func() *policy.Policy) func(box string) string {
	return func(box string) string {
		if m, ok := current().Mailbox(box); ok {
			return m.Admin
		}
		return ""
	}
}
