package gateway

import (
	"context"

	"pecgate/gateway/smtpd"
	"pecgate/mailbox"
	"pecgate/relay"
)

// strays takes what groupware servers send without a sender to the administrators.
type strays struct {
	store *mailbox.Store
	relay *relay.Service
}

var _ smtpd.Strays = strays{}

// Begin starts one.
func (s strays) Begin(ctx context.Context, about smtpd.Stray) (smtpd.StrayDelivery, error) {
	in, err := s.store.Begin(ctx)
	if err != nil {
		return nil, tooFull(err)
	}
	return &strayDelivery{relay: s.relay, in: in, about: relay.Stray{Relay: about.Relay, Remote: about.Remote, Recipients: about.Recipients, Why: about.Why}}, nil
}

type strayDelivery struct {
	relay *relay.Service
	in    *mailbox.Intake
	about relay.Stray
	size  int64
}

// Write takes the next bytes.
func (d *strayDelivery) Write(p []byte) (int, error) {
	n, err := d.in.Write(p)
	d.size += int64(n)
	return n, tooFull(err)
}

// Commit files it.
func (d *strayDelivery) Commit(ctx context.Context) error {
	return tooFull(d.relay.FileStray(ctx, d.in, d.size, d.about))
}

// ReadAt reads what was written so far.
func (d *strayDelivery) ReadAt(p []byte, off int64) (int, error) { return d.in.ReadAt(p, off) }

// Abort drops it. It does nothing after Commit.
func (d *strayDelivery) Abort() { d.in.Abort() }
