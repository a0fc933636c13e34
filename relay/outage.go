package relay

import (
	"context"
	"errors"
	"strings"
	"time"

	"pecgate/mailbox"
)

// How long the provider of a mailbox could not be reached:
//
//	down/<mailbox>  outage
//
// What waits then is not tried: no message expires for it, nor is called late by an
// answer that is the first after days.

// outage is in the time that the gateway has run (runclock.go).
type outage struct {
	Ran   time.Duration  `json:"ran"`             // those that are over together
	Since *time.Duration `json:"since,omitempty"` // when the one that lasts began; nil: none does
}

// until is how long the outages were when the gateway had run for so long.
func (o outage) until(ran time.Duration) time.Duration {
	if o.Since != nil {
		return o.Ran + max(0, ran-*o.Since)
	}
	return o.Ran
}

func outageKey(box string) string { return "down/" + strings.ToLower(box) }

func outageOf(tx *mailbox.Tx, box string) (o outage, err error) {
	if err = tx.Space(room).Get(outageKey(box), &o); errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return o, err
}

// noteOutage notes whether an attempt reached the provider, where that has changed.
func (s *Service) noteOutage(ctx context.Context, box string, down bool) error {
	var o outage
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { o, err = outageOf(tx, box); return err })
	if err != nil || down == (o.Since != nil) {
		return err
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		o, err := outageOf(tx, box)
		if err != nil {
			return err
		}
		ran, err := hasRun(tx)
		if o.Ran = o.until(ran); down {
			o.Since = &ran
		} else {
			o.Since = nil
		}
		return errors.Join(err, tx.Space(room).Put(outageKey(box), o))
	})
}
