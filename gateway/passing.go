package gateway

import (
	"context"
	"errors"
	"fmt"

	"pecgate/gateway/smtpd"
	"pecgate/mailbox"
	"pecgate/relay"
)

// passing takes ordinary mail of groupware servers to the smarthost's queue.
type passing struct {
	store *mailbox.Store
	relay *relay.Service
}

var _ smtpd.Passing = passing{}

// Ready tells whether a message could be taken now.
func (p passing) Ready(ctx context.Context) error {
	if err := p.store.Room(); err != nil {
		return tooFull(err)
	}
	return noWay(p.relay.CanPass(ctx))
}

// Wandered tells why a message must not pass.
func (p passing) Wandered(header []byte) string { return p.relay.Wandered(header) }

// Begin starts one.
func (p passing) Begin(ctx context.Context, about smtpd.Passage) (smtpd.StrayDelivery, error) {
	in, err := p.store.Begin(ctx)
	if err != nil {
		return nil, tooFull(err)
	}
	e := relay.Passage{Relay: about.Relay, Remote: about.Remote, From: about.From, EnvID: about.EnvID, Return: about.Return}
	for _, a := range about.To {
		e.To = append(e.To, relay.Addressee{Address: a.Recipient, Notify: a.Notify, Original: a.ORCPT})
	}
	return &passingDelivery{relay: p.relay, in: in, envelope: e}, nil
}

type passingDelivery struct {
	relay    *relay.Service
	in       *mailbox.Intake
	envelope relay.Passage
}

// Write takes the next bytes.
func (d *passingDelivery) Write(p []byte) (int, error) {
	n, err := d.in.Write(p)
	return n, tooFull(err)
}

// Commit queues it.
func (d *passingDelivery) Commit(ctx context.Context) error {
	return noWay(tooFull(d.relay.Pass(ctx, d.in, d.envelope)))
}

// Abort drops it. It does nothing after Commit.
func (d *passingDelivery) Abort() { d.in.Abort() }

// noWay gives smtpd its own words for why ordinary mail cannot pass.
func noWay(err error) error {
	switch {
	case errors.Is(err, relay.ErrPassingFull):
		return fmt.Errorf("%w: %w", smtpd.ErrPassingFull, err)
	case errors.Is(err, relay.ErrNoSmarthost):
		return fmt.Errorf("%w: %w", smtpd.ErrNoSmarthost, err)
	}
	return err
}
