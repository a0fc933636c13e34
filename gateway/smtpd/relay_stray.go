package smtpd

import (
	"context"
	"io"
	"time"
)

// Strays takes what has a null sender: notices of failure, automatic replies,
// journal reports. It goes to the administrator and nowhere else.
type Strays interface {
	// Begin starts one.
	Begin(ctx context.Context, s Stray) (StrayDelivery, error)
}

// StrayDelivery takes the bytes of one.
type StrayDelivery interface {
	io.Writer
	// Commit returns when all about it is durable.
	Commit(ctx context.Context) error
	// Abort drops everything. It does nothing after Commit.
	Abort()
}

// Stray is a message without a sender.
type Stray struct {
	Relay      string
	Recipients []string
	Remote     string // address of the server without port
	Received   time.Time
}

// stray is one on its way in.
type stray struct {
	*relaySession
	body *body
}

// receive takes it to its end. Its errors are those of submission.receive.
func (in *stray) receive() (Receipt, error) {
	d, fault := in.srv.opt.Relay.Strays.Begin(in.ctx, Stray{
		Relay: in.peer.Name, Recipients: in.to, Remote: in.c.Remote(), Received: in.srv.opt.Now(),
	})
	if d != nil {
		defer d.Abort()
	}
	for fault == nil {
		piece, err := in.body.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Receipt{}, err
		}
		if in.body.n <= in.srv.opt.MaxSize && !in.body.dirty {
			_, fault = d.Write(piece)
		}
	}
	if err := in.body.drain(); err != nil {
		return Receipt{}, err
	}
	switch {
	case in.body.n > in.srv.opt.MaxSize:
		return Receipt{}, in.srv.tooLarge()
	case in.body.dirty:
		return Receipt{}, badBytes()
	case fault != nil:
		return Receipt{}, fault
	}
	if err := d.Commit(in.srv.ctx); err != nil {
		return Receipt{}, err
	}
	return Receipt{Stray: true}, nil
}
