package forward

import (
	"context"
	"errors"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// Ways out of the queue. Each has its own turn: one that cannot be used holds up no
// other. Where an item goes may change while it waits (another configuration, another
// address of a person): then it changes over at its next attempt.
const (
	waySmarthost = ""  // notices and copies
	wayDirect    = "i" // what Options.Direct takes
	wayPassing   = "p" // what passes through, by the smarthost
	wayNew       = "n" // not sorted yet
)

func ways() [3]string { return [...]string{waySmarthost, wayDirect, wayPassing} }

// turn is how one way stands; Sender.mu guards it.
type turn struct {
	name    string
	fails   int       // of its server, one after the other
	retryAt time.Time // before that it is left alone
	failed  bool      // in this go: counted once, and no more is tried in it
}

// wayOf is the way of an item by now.
func (s *Sender) wayOf(it *Item) string {
	switch {
	case it.Envelope != nil:
		return wayPassing
	case s.opt.Direct != nil && s.opt.Takes(it.To):
		return wayDirect
	}
	return waySmarthost
}

// change puts an item on another way, where it is due now.
func (it *Item) change(tx *mailbox.Tx, way string) error {
	if err := tx.Space(space).Delete(dueKey(it)); err != nil {
		return err
	}
	it.Way = way
	return errors.Join(it.put(tx, tx.Now()), tx.Space(space).Put("bell", it.ID))
}

// sort puts what is new on its way.
func (s *Sender) sort(ctx context.Context) error {
	for {
		ids, _, err := s.due(ctx, wayNew)
		if err != nil || len(ids) == 0 {
			return err
		}
		sorted := 0
		err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			sorted = 0
			for _, id := range ids {
				it, err := load(tx, id)
				if errors.Is(err, ErrNotFound) || err == nil && it.Way != wayNew {
					continue // dropped, or another did it
				}
				if err != nil {
					return err
				}
				if err := it.change(tx, s.wayOf(it)); err != nil {
					return err
				}
				sorted++
			}
			return nil
		})
		if err != nil || sorted == 0 {
			return err
		}
	}
}

// host keeps how the server of a way stands, and tells when that changes.
func (s *Sender) host(ctx context.Context, w *turn, why error) error {
	s.mu.Lock()
	before := w.retryAt
	if why == nil {
		w.fails, w.retryAt = 0, time.Time{}
	} else if !w.failed {
		w.failed = true
		w.fails++
		w.retryAt = s.opt.Store.Now().Add(wait(hostFirst, hostMost, w.fails)).UTC()
	}
	at := w.retryAt
	s.mu.Unlock()
	if !at.Equal(before) { // for who asks what waits
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			if at.IsZero() {
				return tx.Space(space).Delete("w" + w.name)
			}
			return tx.Space(space).Put("w"+w.name, at)
		})
		if err != nil {
			return err
		}
	}
	if w.name == wayDirect {
		return s.opt.DirectDown(ctx, why)
	}
	return s.opt.Down(ctx, why)
}

// bring makes one attempt past the smarthost.
func (s *Sender) bring(ctx context.Context, w *turn, it *Item, body content, size int64) error {
	r, ok := s.opt.Direct(ctx, *it, it.Attempts > 1, body, size)
	if err := body.Close(); err != nil {
		return err
	}
	if !ok {
		r = Brought{Result: submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: errors.New("nothing takes this address now")}}
	}
	s.opt.Log(*it, r.Result)
	cut := ctx.Err() != nil // by who ends the gateway: it tells nothing of the server
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if cut && r.Class != submit.HandedOver {
		return s.record(ctx, it, r, false, true)
	}
	var why error
	if r.Away {
		why = r.Err
	} else {
		it.reached()
	}
	if err := s.host(ctx, w, why); err != nil {
		return err
	}
	return s.record(ctx, it, r, false, r.Away)
}
