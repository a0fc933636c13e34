package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
)

// How the keeper of holds works.
const (
	holdsInGo = 64               // taken from the list in one look
	holdIdle  = 10 * time.Minute // without anything due; a wake-up comes before
	holdAgain = 10 * time.Second // after a fault, like a full disk
	holdTries = 3                // at a notice, while its hold changes
)

// keepHolds writes the notices of what is held for a PIN and those of remarks, and
// ends the holds whose time is over, until ctx ends.
func (s *Service) keepHolds(ctx context.Context) {
	wake, stop := s.opt.Store.WatchSpace(room, holdBell)
	defer stop()
	for {
		wait, err := s.lookAtHolds(ctx)
		if err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("holds", "", err)
			if !pause(ctx, holdAgain) { // no bell: the fault is not over by another message
				return
			}
			continue
		}
		if !pause(ctx, wait, wake) {
			return
		}
	}
}

// lookAtHolds does what is due and returns how long nothing more is.
func (s *Service) lookAtHolds(ctx context.Context) (time.Duration, error) {
	told := errors.Join(s.tellHolds(ctx), s.tellRemarks(ctx)) // one that cannot be told keeps none from ending
	even, err := s.evenClock(ctx)
	if err != nil || !even {
		return holdIdle, errors.Join(told, err)
	}
	wait, err := s.endHolds(ctx)
	return wait, errors.Join(told, err)
}

// holdLook is how often a look at the clock is kept at most.
const holdLook = time.Hour

// evenClock tells whether the clock goes on evenly: one that jumps ends no hold.
func (s *Service) evenClock(ctx context.Context) (even bool, err error) {
	look := func(tx *mailbox.Tx) (before, now mailbox.EvenClock, err error) {
		err = tx.Space(room).Get(holdClock, &before)
		if errors.Is(err, mailbox.ErrNotFound) {
			err = nil
		}
		now = before
		even = now.Look(tx.Now(), s.opt.Location)
		return before, now, err
	}
	keep := false
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		before, now, err := look(tx)
		since := now.Seen.Sub(before.Seen)
		keep = now.Days != before.Days || since < 0 || since > holdLook
		return err
	})
	if err != nil || !keep {
		return even, err
	}
	return even, s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		_, now, err := look(tx)
		return errors.Join(err, tx.Space(room).Put(holdClock, now))
	})
}

// tellHolds writes the notices that are still to be written. What fails for one
// keeps no other waiting.
func (s *Service) tellHolds(ctx context.Context) error {
	var failed error
	for after := ""; ; {
		var ids []string
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			ids = nil
			return tx.Space(room).ScanFrom(holdTell, holdTell+after, func(k string, _ []byte) (bool, error) {
				if id := strings.TrimPrefix(k, holdTell); id != after {
					ids = append(ids, id)
				}
				return len(ids) < holdsInGo, nil
			})
		})
		if err != nil || len(ids) == 0 {
			return errors.Join(failed, err)
		}
		for _, id := range ids {
			if err := s.tellHold(ctx, id); err != nil {
				failed = fmt.Errorf("notice of the held submission %s: %w", id, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		after = ids[len(ids)-1]
	}
}

// errHoldMoved says that a hold is not what it was when its notice was made.
var errHoldMoved = errors.New("relay: the hold has changed meanwhile")

// tellHold writes the notice of one hold; its token is good from the same
// transaction on.
func (s *Service) tellHold(ctx context.Context, id string) (err error) {
	for range holdTries {
		var sub *Submission
		var h hold
		err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
			if sub, err = load(tx, id); err != nil {
				return err
			}
			return tx.Space(room).Get(holdKey(id), &h)
		})
		if errors.Is(err, ErrNotFound) || errors.Is(err, mailbox.ErrNotFound) {
			return nil // it ended between two looks, and took its line along
		}
		if err != nil {
			return err
		}
		if err = s.tellHoldAs(ctx, sub, h); !errors.Is(err, errHoldMoved) {
			return err
		}
	}
	return err
}

// tellHoldAs is tellHold for a hold as it was read; errHoldMoved where somebody else
// is asked by now: reading a large message takes its time.
func (s *Service) tellHoldAs(ctx context.Context, sub *Submission, read hold) error {
	d, err := s.digest(ctx, sub)
	if err != nil {
		return err
	}
	id := sub.ID
	whom, _ := sub.asked()
	token, hash := newToken()
	return holdNotice(sub, read, d, token, s.opt).fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		sp := tx.Space(room)
		now, err := load(tx, id)
		if err != nil {
			return false, err
		}
		if err := sp.Delete(holdTell + id); err != nil {
			return false, err
		}
		var h hold
		if err := sp.Get(holdKey(id), &h); errors.Is(err, mailbox.ErrNotFound) || err == nil && h.Token != "" || !now.asksPIN() {
			return false, nil
		} else if err != nil {
			return false, err
		}
		if who, _ := now.asked(); who != whom || now.State != sub.State || !h.Until.Equal(read.Until) {
			return false, errHoldMoved
		}
		h.Token = hash
		return true, errors.Join(sp.Put(holdKey(id), h), sp.Put(tokenKey(hash), id), sp.Put(holdDueKey(h.Until, id), hash))
	})
}

// dueHold is a line of what ends.
type dueHold struct{ key, id, hash string }

// endHolds ends the holds whose time is over, and forgets their tokens. It
// returns how long none will be.
func (s *Service) endHolds(ctx context.Context) (time.Duration, error) {
	for {
		var all []dueHold
		wait := holdIdle
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			all, wait = nil, holdIdle
			now := tx.Now().UnixMilli()
			return tx.Space(room).Scan(holdDue, func(k string, raw []byte) (bool, error) {
				d := dueHold{key: k}
				var at int64
				when, id, _ := strings.Cut(strings.TrimPrefix(k, holdDue), "/")
				if _, err := fmt.Sscanf(when, "%x", &at); err != nil {
					return false, fmt.Errorf("line of a hold: %w", err)
				}
				if at > now {
					wait = min(wait, time.Duration(at-now)*time.Millisecond)
					return false, nil
				}
				d.id = id
				if err := json.Unmarshal(raw, &d.hash); err != nil {
					return false, err
				}
				all = append(all, d)
				return len(all) < holdsInGo, nil
			})
		})
		if err != nil || len(all) == 0 {
			return wait, err
		}
		for _, d := range all {
			if err := s.endOne(ctx, d); err != nil {
				return 0, fmt.Errorf("end of the held submission %s: %w", d.id, err)
			}
		}
	}
}

// endOne ends one hold. It does nothing where that is not what it was: the line
// that is due then is looked at again.
func (s *Service) endOne(ctx context.Context, d dueHold) error {
	var sub *Submission
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		sub, err = load(tx, d.id)
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	forget := func(tx *mailbox.Tx) error {
		sp := tx.Space(room)
		err := sp.Delete(d.key)
		if d.hash != "" {
			err = errors.Join(err, sp.Delete(tokenKey(d.hash)))
		}
		return err
	}
	if errors.Is(err, ErrNotFound) || !sub.kept() {
		return s.opt.Store.Update(ctx, forget)
	}
	doubt, why := sub.mayHaveLeft(), ReasonExpired
	n, text := expiredNotice(sub, s.opt), "no PIN came in time"
	if sub.State == ToApprove {
		n, text = unapprovedNotice(sub, s.opt), "nobody approved it in time"
	}
	if doubt {
		why, text = ReasonUncertain, text+"; it may have left already"
	}
	err = n.fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		// Whoever approves it, or takes an approval back, gives it another time,
		// and the line of before is gone.
		var hash string
		if err := tx.Space(room).Get(d.key, &hash); errors.Is(err, mailbox.ErrNotFound) {
			return false, errHoldMoved
		} else if err != nil {
			return false, err
		}
		if err := forget(tx); err != nil {
			return false, err
		}
		now, err := load(tx, d.id)
		if err != nil || !now.kept() {
			return false, err
		}
		if hash != d.hash || now.State != sub.State || now.mayHaveLeft() != doubt {
			return false, errHoldMoved
		}
		if err := s.step(tx, now, Cancelled, why, text); err != nil {
			return false, err
		}
		return true, save(tx, now, nil)
	})
	if errors.Is(err, errHoldMoved) {
		return nil
	}
	return err
}
