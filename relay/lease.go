package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/planted"
)

// Several services may work on one store. What one of them does is under a lease:
// a record with its holder, a number that grows with each lease (the fence), and
// an end by the store's time. Whoever wants to do what cannot be undone looks
// again, in the transaction that makes its intent durable: a holder that slept
// over the end of its lease does nothing more. The lease of a submission is in its
// line of the queue, that of a mailbox to fetch is a record of its own.
//
// A holder that has the records open under another name (mailbox.Store.Opened) is
// gone for certain: its leases are over at once, and what it was doing counts as
// cut off by a crash. That of a live one is over when its time is.

// leaseTime is longer than any attempt: ten minutes for the answer to the dot
// and the same again for the way there.
const leaseTime = 25 * time.Minute

// errLease says that somebody else has the submission now.
var errLease = errors.New("relay: the lease of this attempt is over")

// instant is where a test may stand by.
type instant string

const (
	atDue    instant = "due"    // something is due of it, and it is not read yet
	atLeased instant = "leased" // before the connection
	atIntent instant = "intent" // the intent is durable, the dot not sent
	atRead   instant = "read"   // a message of the provider is about to be looked at
)

func (s *Service) standBy(m instant, id string) {
	if s.at != nil {
		s.at(m, id)
	}
}

// dead tells whether a holder is certainly there no more.
func (s *Service) dead(holder string) bool {
	opened, _, _ := strings.Cut(holder, "/")
	return opened != s.opt.Store.Opened()
}

// takeForAttempt moves a queued submission to its attempt, under a lease.
func (s *Service) takeForAttempt(tx *mailbox.Tx, sub *Submission) error {
	if err := sub.move(Attempting, ""); err != nil {
		return err
	}
	if err := s.beginsNow(tx, sub); err != nil {
		return err
	}
	now := tx.Now().UTC()
	sub.Attempts++
	sub.Fence++
	sub.Intent = false
	sub.Since = now
	return save(tx, sub, &due{At: now, Lease: now.Add(leaseTime), Holder: s.holder})
}

// intend makes it durable that the dot will be sent, if the lease still holds.
func (s *Service) intend(ctx context.Context, sub *Submission) error {
	if planted.Is(planted.IntentNotWritten) {
		return nil
	}
	var end time.Time
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		now, err := load(tx, sub.ID)
		if err != nil {
			return err
		}
		if now.State != Attempting || now.Fence != sub.Fence {
			return errLease
		}
		var line due
		if err := tx.Space(room).Get(queueKey(sub.Box, sub.ID), &line); err != nil {
			return err
		}
		t := tx.Now().UTC()
		if line.Holder != s.holder {
			return errLease
		}
		// Its lease may be over, after a slow upload: nobody has taken it, and in this
		// transaction nobody can.
		now.Intent, now.SHA256 = true, sub.SHA256
		if err := happened(tx, now, "intent", fmt.Sprintf("attempt %d", now.Attempts)); err != nil {
			return err
		}
		end = t.Add(leaseTime)
		return save(tx, now, &due{At: t, Lease: end, Holder: s.holder})
	})
	if err != nil {
		return err
	}
	s.standBy(atIntent, sub.ID)
	if !s.opt.Store.Now().Before(end) {
		return errLease // it took longer than the lease: another may have it by now
	}
	return nil
}

// runs tells whether the lease of a line is not over.
func (d due) runs(now time.Time) bool { return d.Lease.After(now) }

// ahead tells whether a line was written by a clock that was ahead of this one:
// its times mean nothing by now.
func (d due) ahead(now time.Time) bool { return d.Set.After(now.Add(clockSlack)) }

// ready tells whether something is due for a line, and in nobody's hands. What was
// due when it was written stays so when the clock is put back a little.
func (d due) ready(now time.Time) bool {
	return !d.Lease.After(now) && (!d.At.After(now) || !d.Set.IsZero() && !d.At.After(d.Set))
}

// clockSlack is what a clock may be put back by without more ado.
const clockSlack = 2 * time.Minute

// settleBack writes lines anew that a clock wrote which stood ahead of the one of
// now: each waits as long as it had to then.
func (s *Service) settleBack(ctx context.Context, box string, ids []string) error {
	for len(ids) > 0 {
		part := ids[:min(len(ids), 200)]
		ids = ids[len(part):]
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			sp, now := tx.Space(room), tx.Now().UTC()
			for _, id := range part {
				var line due
				k := queueKey(box, id)
				if err := sp.Get(k, &line); errors.Is(err, mailbox.ErrNotFound) {
					continue
				} else if err != nil {
					return err
				}
				if !line.ahead(now) {
					continue
				}
				line.At = now.Add(max(0, line.At.Sub(line.Set)))
				if !line.Lease.IsZero() {
					line.Lease = now.Add(max(0, line.Lease.Sub(line.Set)))
				}
				line.Set = now
				if err := sp.Put(k, line); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// recover puts every submission that was under way when the process ended
// where it belongs: before its intent it certainly did not leave and is queued
// again, after it nobody knows. What another service holds, that is alive, stays
// with it.
func (s *Service) recover(ctx context.Context) error {
	var all []task
	err := scanTasks(ctx, s.opt.Store, "", func(_ time.Time, t task) bool {
		if t.Holder == s.holder || s.dead(t.Holder) {
			all = append(all, t)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, t := range all {
		if err := s.cutOff(ctx, t.id, 0, false, "the gateway stopped during the hand-over"); err != nil {
			return err
		}
	}
	return nil
}

// answeredLate tells whether the provider's answer to an attempt still decides:
// another service took the attempt for cut off, and none has come after it.
func (s *Submission) answeredLate(to State) bool {
	switch s.State {
	case Uncertain:
		return to != Uncertain
	case Held:
		return to == HandedOver || to == NotAccepted && s.StateReason == ReasonUncertain
	case Queued, Cancelled:
		return to == HandedOver // released or given up meanwhile, and the provider has it
	}
	return false
}
