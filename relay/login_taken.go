package relay

import (
	"context"
	"errors"
	"strings"
	"time"

	"pecgate/mailbox"
)

// The credential that the provider took last, of each service:
//
//	taken/<mailbox>/<service>   a refusal's salt and hash
//
// Written when another one is taken, not at each login. Of a credential that was
// good once, a login that ends without an answer tells little: a machine that is
// switched off in the middle of one has a good password all the same.

// mostOfTaken is mostUnanswered for a credential that was taken once.
const mostOfTaken = 10

// most is how many logins without an answer hold a service back.
func (r *refusal) most() int {
	if r.Taken {
		return mostOfTaken
	}
	return mostUnanswered
}

func takenKey(box, service string) string { return "taken/" + strings.ToLower(box) + "/" + service }

// takenBefore tells whether the provider has taken a credential, and none after it.
func (w *worker) takenBefore(tx *mailbox.Tx, service string, c credential) (bool, error) {
	var r refusal
	err := tx.Space(room).Get(takenKey(w.acc.Box, service), &r)
	if errors.Is(err, mailbox.ErrNotFound) {
		return false, nil
	}
	return err == nil && w.of(&r, c), err
}

// proved records that a login was taken of which nothing was known.
func (t *loginTurn) proved(ctx context.Context) {
	if !t.marked {
		return
	}
	t.marked = false
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	err := t.s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		known, err := t.w.takenBefore(tx, t.service, t.c)
		if err != nil {
			return err
		}
		if !known {
			r := refusal{Service: t.service, At: tx.Now().UTC(), Salt: t.newSalt(), Hash: t.slow()}
			if err := tx.Space(room).Put(takenKey(t.w.acc.Box, t.service), r); err != nil {
				return err
			}
		}
		return tx.Space(room).Delete(refusalKey(t.w.acc.Box, t.service))
	})
	if err == nil {
		err = t.s.endedSuspension(ctx, t.w.acc.Box, t.service)
	}
	if err != nil {
		t.s.opt.Events.Fault("login", t.w.acc.Box, err)
	}
}
