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
	Why        string // it is one although it has a sender; empty: it has none
	Remote     string // address of the server without port
	Received   time.Time
}

// stray is one on its way in.
type stray struct {
	*relaySession
	body *body
	head []byte // octets that were taken from the body already
	why  string
	// report: it is to be read as a journal report, and filed only where it cannot be.
	report bool
}

// looped is a message that must not leave, found by its header.
type looped struct {
	head []byte
	why  string
}

func (l *looped) Error() string { return "it must not leave: " + l.why }

// looped tells whether a message that has a sender must not leave; read is what was
// read of it, of which the first end octets are its header.
func (r *relayed) looped(read []byte, end int) error {
	if r.srv.opt.Relay.Looped == nil {
		return nil
	}
	if why := r.srv.opt.Relay.Looped(read[:end]); why != "" {
		return &looped{head: read, why: why}
	}
	return nil
}

// receive takes it to its end. Its errors are those of submission.receive.
func (in *stray) receive() (Receipt, error) {
	about := Stray{Relay: in.peer.Name, Recipients: in.to, Remote: in.c.Remote(), Received: in.srv.opt.Now(), Why: in.why}
	d, fault := in.srv.opt.Relay.Strays.Begin(in.ctx, about)
	if d != nil {
		defer func() { d.Abort() }()
	}
	look := new(pinLook)
	if fault == nil && len(in.head) > 0 {
		look.add(in.head)
		if !in.body.leak.seen() {
			_, fault = d.Write(in.head)
		}
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
			look.add(piece)
			if !in.body.leak.seen() {
				_, fault = d.Write(piece)
			}
		}
	}
	if err := in.srv.whole(in.body, fault); err != nil {
		return Receipt{}, err
	}
	if err := in.stillPeer(); err != nil {
		return Receipt{}, err
	}
	if in.report && !in.body.leak.seen() {
		if r, err := in.journaled(d); err != errNoReport {
			return r, err
		}
	}
	if leaks := in.body.leak.seen(); leaks || look.means() {
		d.Abort()
		other, err := in.srv.opt.Relay.Strays.Begin(in.ctx, about)
		if err != nil {
			return Receipt{}, err
		}
		d = other
		if _, err := d.Write(look.without(leaks, in.body.leak)); err != nil {
			return Receipt{}, err
		}
	}
	if err := d.Commit(in.srv.ctx); err != nil {
		return Receipt{}, err
	}
	return Receipt{Stray: true}, nil
}
