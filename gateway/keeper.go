package gateway

import (
	"context"
	"errors"
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
	"pecgate/relay"
)

const (
	// keepEvery is how often the store is tidied: segments that are mostly dead are
	// rewritten, and the head of the audit log is signed.
	keepEvery = time.Hour
	// retainEvery is how often it is looked for messages whose time is over. The
	// store believes its clock only when it is asked once a day.
	retainEvery = 23 * time.Hour
	// closeWait bounds the last signature of the audit log while closing.
	closeWait = 5 * time.Second
)

// keep tidies the store until ctx ends. First it looks for messages whose bytes
// are durable but whose record a crash prevented: they are filed for the
// administrator of their mailbox.
func (g *Gateway) keep(ctx context.Context, current func() *policy.Policy, zone *time.Location) {
	found, err := g.store.Recover(ctx, adminOf(current))
	g.fault("recover", err)
	if found.Filed > 0 {
		g.events.Recovered(found.Filed)
	}
	ages := retention{store: g.store, policy: current}
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		removed, err := ages.run(ctx)
		g.fault("retention", err)
		if removed > 0 {
			g.events.Retained(removed)
		}
		_, err = counters{g.store}.drop(ctx, zone)
		g.fault("counters", err)
		_, err = g.store.Sweep(ctx)
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

// retention removes messages whose age is over, as policy says then: once a day
// it goes through the store.
type retention struct {
	store  *mailbox.Store
	policy func() *policy.Policy
	most   int       // messages in one step; 0: the store's own bound
	last   time.Time // when it ended
}

// run goes through the store if a day is over. It returns how many messages it
// removed; the audit log names each.
func (r *retention) run(ctx context.Context) (removed int, err error) {
	now := r.store.Now()
	if since := now.Sub(r.last); since >= 0 && since < retainEvery {
		return 0, nil
	}
	// One policy for a whole round. A mailbox that has left it keeps everything.
	p := r.policy()
	ages := false
	for i := range p.Mailboxes {
		ages = ages || p.Mailboxes[i].Keep > 0
	}
	if !ages {
		return 0, nil
	}
	how := mailbox.Retention{Most: r.most, Needed: relay.Needed, Keep: func(box string) (time.Duration, bool) {
		m, ok := p.Mailbox(box)
		if !ok {
			return 0, false
		}
		return m.Keep, m.Keep > 0
	}}
	for {
		out, err := r.store.Retain(ctx, how)
		removed += out.Removed
		if err != nil {
			return removed, err
		}
		if out.Done || out.Waiting {
			r.last = now
			return removed, nil
		}
		if err := ctx.Err(); err != nil {
			return removed, err
		}
	}
}
