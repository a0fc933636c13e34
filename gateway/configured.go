package gateway

import (
	"context"
	"errors"

	"pecgate/mailbox"
)

// Sums are SHA-256 of the files of a configuration, in hexadecimal.
type Sums struct {
	Config string `json:"config"`
	Policy string `json:"policy"`
}

// sumsKey is where the sums stand that the audit log told last.
const sumsKey = "configuration"

// openTrail begins to write what people do, and first with which configuration
// the appliance begins.
func (g *Gateway) openTrail(ctx context.Context, sums func() Sums) error {
	g.sums = sums
	if err := g.configured(ctx, "loaded"); err != nil && !errors.Is(err, mailbox.ErrNoSpace) {
		return err
	}
	g.trail = newTrail(g.store, g.events)
	g.events.AuditTo(g.trail.take)
	go g.trail.run() // ended by trail.close
	return nil
}

// configured has the audit log tell which configuration is in use from now on
// and which was before. Who changed the files is not known to the appliance; the
// line says that it was not done by a login.
func (g *Gateway) configured(ctx context.Context, result string) error {
	if g.sums == nil {
		return nil
	}
	now := g.sums()
	ctx, cancel := context.WithTimeout(ctx, trailWait)
	defer cancel()
	err := g.store.Update(ctx, func(tx *mailbox.Tx) error {
		var before Sums
		if err := tx.Space("gateway").Get(sumsKey, &before); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return err
		}
		l := mailbox.AuditLine{Actor: "gateway", Event: "configuration", Result: result, More: map[string]string{
			"config_before": before.Config, "config_after": now.Config, "policy_before": before.Policy, "policy_after": now.Policy,
		}}
		switch {
		case result == "refused":
			l.Reason = "the changed files are faulty, those of before stay in use"
		case before == now:
			l.Reason = "as before"
		}
		if err := tx.Audit(l); err != nil || before == now {
			return err
		}
		return tx.Space("gateway").Put(sumsKey, now)
	})
	if err != nil {
		g.events.Unaudited("configuration", "", "", "", result, "policy "+now.Policy, 1, err)
	}
	return err
}
