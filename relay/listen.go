package relay

import (
	"context"
	"errors"
	"time"

	"pecgate/relay/fetch"
)

// By IMAP a connection of its own listens to the first folder (IDLE), and every
// word of it makes the fetcher look at once. It is a hint and nothing more: what
// there is the fetcher finds, and its own rounds go on whether anybody listens or
// not, so a line that broke or a server that is silent loses nothing.

const (
	// listenFirst and listenMost are the waits before a line that broke is opened
	// anew; doubled in between.
	listenFirst = 2 * time.Second
	listenMost  = 5 * time.Minute
	// listenLater is the wait where the provider offers no IDLE, or no second
	// connection.
	listenLater = time.Hour
	// hintFirst and hintMost are the shortest times between two rounds that hints
	// asked for: the first for hintFree rounds, so that receipts are seen within a
	// second, then doubled, since each round is a login. hintCalm is the silence
	// after which all begins anew.
	hintFirst = 200 * time.Millisecond
	hintFree  = 10
	hintMost  = 8 * time.Second
	hintCalm  = time.Minute
)

// listen turns the words of the provider into hints until ctx ends.
func (s *Service) listen(ctx context.Context, w *worker) {
	if w.acc.POP3.Host != "" || w.acc.IMAP.Host == "" {
		return
	}
	for wait := listenFirst; ; {
		// A login is tried only after the fetcher's own was good: a password that
		// is wrong must be refused once, and its refusal of the second connection
		// then means that the provider takes no more of them.
		select {
		case <-ctx.Done():
			return
		case <-w.well:
		}
		began := time.Now()
		err := s.listenInHours(ctx, w)
		if ctx.Err() != nil {
			return
		}
		if !w.acc.Hours.Receive.open(s.now()) {
			continue // the first round of the next hours begins anew
		}
		switch {
		case errors.Is(err, fetch.ErrNoIdle), errors.Is(err, fetch.ErrAuthRefused):
			wait = listenLater
		case time.Since(began) > listenMost:
			wait = listenFirst
		default:
			wait = min(2*wait, listenMost)
		}
		s.opt.Events.ListenFailed(w.acc.Box, err)
		if !pause(ctx, wait) {
			return
		}
		select {
		case <-w.well: // of before
		default:
		}
		w.hint()
	}
}

// listenInHours is listenOnce until the hours of receiving end.
func (s *Service) listenInHours(ctx context.Context, w *worker) error {
	now := s.now()
	if !w.acc.Hours.Receive.open(now) {
		return nil
	}
	if left := w.acc.Hours.Receive.until(now); left > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left)
		defer cancel()
	}
	return s.listenOnce(ctx, w)
}

// listenOnce listens until the line breaks.
func (s *Service) listenOnce(ctx context.Context, w *worker) (err error) {
	srv := w.server()
	leave, ok := s.gates.listen(srv.Host, w.acc.Connections)
	if !ok {
		return errors.New("no connection to the provider is free for it (limits.connections)")
	}
	defer leave()
	// Its refusal holds nothing back: it is the second connection, and the
	// fetcher's own login was good a moment ago.
	session, err := loggedInBy(ctx, s, w, srv, fetch.Dial, func(error) loginEnd { return noAnswer })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	return session.Idle(ctx, w.hint)
}

// hint makes the fetcher look soon.
func (w *worker) hint() {
	select {
	case w.hints <- struct{}{}:
	default:
	}
}

// hinted keeps the rounds apart that hints ask for.
type hinted struct {
	last  time.Time // when the last one was asked for
	gap   time.Duration
	count int // since the last calm
}

// next returns how long the round is to wait that a hint of now asks for.
func (h *hinted) next(now time.Time) time.Duration {
	if h.last.IsZero() || now.Sub(h.last) > hintCalm || now.Before(h.last) {
		h.last, h.gap, h.count = now, hintFirst, 1
		return 0
	}
	if h.count++; h.count > hintFree {
		h.gap = min(2*h.gap, hintMost)
	}
	wait := max(h.gap-now.Sub(h.last), 0)
	h.last = now.Add(wait)
	return wait
}
