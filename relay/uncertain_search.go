package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

const (
	// maxSingly is how many submissions are searched for one by one, each in every
	// folder. Of more, the receipts that were not taken in are looked for all at once.
	maxSingly = 20
	// maxFoundAnew is how many messages of a folder one search takes in.
	maxFoundAnew = 100
	// maxRedials is how often a search dials again in one round.
	maxRedials = 5
	// searchSlack is how far a provider's times of arrival may be from ours: SEARCH
	// compares days, without their zone.
	searchSlack = 48 * time.Hour
)

// search looks into every folder of the provider, after a round that took in what is
// new, for what the rounds passed by because it was set aside, moved by somebody or
// numbered anew. Nothing that goes wrong in it holds up what it looks for: a search
// that the provider refuses, or that breaks the connection, is a reason not to hand
// over again, and time goes on. So it ends in any case, for all others too.
type search struct {
	s       *Service
	w       *worker
	srv     fetch.Server
	session *fetch.Session // broken after an error of it that is not nil
	broken  error          // why the session is over; nil: it lives
	redials int
	look
}

// lookFolders searches for the receipts of what is uncertain. began is when the round
// began, gap what it could not look into. The session that it returns is the one to go
// on with: it may be another.
func (s *Service) lookFolders(ctx context.Context, w *worker, srv fetch.Server, session *fetch.Session, folders []string, began time.Time, gap string) (*fetch.Session, error) {
	all, err := s.seeking(ctx, w.acc.Box)
	if err != nil {
		return session, err
	}
	r := &search{s: s, w: w, srv: srv, session: session, look: look{began: began, all: all}}
	r.gap = gap
	for _, folder := range folders {
		if len(all) == 0 {
			break
		}
		if len(all) > maxSingly {
			err = r.unseen(ctx, folder)
		} else {
			err = r.singly(ctx, folder)
		}
		if err != nil {
			return r.session, fmt.Errorf("search for receipts: %w", err)
		}
	}
	if err := s.lookEnds(ctx, w, &r.look); err != nil {
		return r.session, err
	}
	if r.broken != nil {
		return r.session, fmt.Errorf("search for receipts: %w", r.broken)
	}
	return r.session, nil
}

// lives dials again where the session is over; false where that cannot be.
func (r *search) lives(ctx context.Context) bool {
	for r.broken != nil {
		if r.redials++; r.redials > maxRedials || ctx.Err() != nil {
			return false
		}
		_ = r.session.Close() // it is over, and why is known
		next, err := loggedIn(ctx, r.s, r.w, r.srv, fetch.Dial)
		if err != nil {
			r.broken = fmt.Errorf("dial again: %w", err)
			r.redials = maxRedials // a provider that is asked too often closes its door
			continue
		}
		r.session, r.broken = next, nil
	}
	return true
}

// failed looks at an error of the session, and tells why it is a reason.
func (r *search) failed(folder string, err error) string {
	if over := r.session.Over(); over != nil {
		r.broken = err
	}
	return fmt.Sprintf("folder %s could not be searched: %v", folder, err)
}

// singly searches a folder for each Message-ID.
func (r *search) singly(ctx context.Context, folder string) error {
	for _, one := range r.all {
		if !r.lives(ctx) {
			r.quoted(one.id, r.failed(folder, r.broken))
			continue
		}
		uids, err := r.session.FindHeader(ctx, folder, quoting, one.msgid)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			r.quoted(one.id, r.failed(folder, err))
			continue
		}
		if len(uids) == 0 {
			continue
		}
		r.quoted(one.id, "something at the provider quotes its Message-ID and proves nothing")
		trouble, err := r.takeIn(ctx, folder, uids)
		if err != nil {
			return err
		}
		if trouble != "" {
			r.why[one.id] = "something that quotes its Message-ID cannot be fetched: " + trouble
		}
	}
	return nil
}

// unseen searches a folder for receipts that came since the first of those hand-overs
// and were not taken in. What was taken in has been judged as it came (noteQuotes).
func (r *search) unseen(ctx context.Context, folder string) error {
	from := r.all[0].from
	for _, one := range r.all {
		if one.from.Before(from) {
			from = one.from
		}
	}
	if !from.IsZero() {
		from = from.Add(-searchSlack)
	}
	why := ""
	if !r.lives(ctx) {
		why = r.failed(folder, r.broken)
	} else if uids, err := r.session.FindSince(ctx, folder, quoting, from); err != nil {
		if ctx.Err() != nil {
			return err
		}
		why = r.failed(folder, err)
	} else if trouble, err := r.takeIn(ctx, folder, uids); err != nil {
		return err
	} else if trouble != "" {
		why = "something that may quote its Message-ID cannot be fetched: " + trouble
	}
	if why != "" {
		for _, one := range r.all {
			r.quoted(one.id, why)
		}
	}
	return nil
}

// takeIn takes in what was found in a folder and is not here yet. trouble is why
// something was not taken in; the error is one of the store or of ctx.
func (r *search) takeIn(ctx context.Context, folder string, uids []uint32) (trouble string, err error) {
	if len(uids) == 0 {
		return "", nil
	}
	box := r.w.acc.Box
	c, met, err := r.s.readCursor(ctx, box, folder)
	if err != nil || !met {
		return "", err
	}
	var left []uint32
	err = r.s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		left, trouble = nil, ""
		for _, uid := range uids {
			at := spot{folder: folder, validity: c.UIDValidity, uid: uid}
			var a aside
			err := tx.Space(room).Get(at.asideKey(box), &a)
			if err == nil {
				trouble = a.Why // it is tried again when its time comes
				continue
			}
			var st standing
			if errors.Is(err, mailbox.ErrNotFound) {
				err = tx.Space(room).Get(at.standingKey(box), &st)
			}
			switch {
			case errors.Is(err, mailbox.ErrNotFound):
				left = append(left, uid)
			case err != nil:
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if len(left) > maxFoundAnew {
		left, trouble = left[:maxFoundAnew], fmt.Sprintf("more than %d messages of folder %s are not here", maxFoundAnew, folder)
	}
	for len(left) > 0 {
		if !r.lives(ctx) {
			return r.failed(folder, r.broken), nil
		}
		var fault error
		stumbled := uint32(0) // UID; the session's own error about it says nothing new
		st, err := r.session.Again(ctx, folder, c.UIDValidity, left, func(ctx context.Context, it fetch.Item) error {
			at, why := spotOf(it), it.Problem
			if why == nil {
				// The cursor stays: what the rounds have not reached yet they reach.
				why = r.s.look(ctx, r.w, at, func() error {
					return r.s.take(ctx, r.w.acc, taking{it: it, listed: it.Size, history: it.UID <= c.HistoryTo, last: r.w.lastTry(at)})
				})
			}
			left = without(left, it.UID)
			if why == nil {
				delete(r.w.tries, at)
				return nil
			}
			stumbled, trouble = it.UID, why.Error()
			fault = r.stumble(ctx, at, why)
			return fault
		})
		broken := new(fetch.MessageError)
		switch {
		case fault != nil || ctx.Err() != nil:
			return "", err
		case err == nil && st.Reset:
			return fmt.Sprintf("folder %s was numbered anew meanwhile", folder), nil
		case err == nil:
			return trouble, nil // those that are left are gone
		case !errors.As(err, &broken):
			return r.failed(folder, err), nil
		}
		if left = without(left, broken.UID); broken.UID != stumbled {
			at := spot{folder: folder, validity: broken.UIDValidity, uid: broken.UID}
			if err := r.stumble(ctx, at, broken.Err); err != nil {
				return "", err
			}
		}
		trouble = r.failed(folder, err)
	}
	return trouble, nil
}

// without returns a list without a UID.
func without(uids []uint32, uid uint32) []uint32 {
	return slices.DeleteFunc(slices.Clone(uids), func(x uint32) bool { return x == uid })
}

// stumble counts a message that could not be taken in, as the rounds do.
func (r *search) stumble(ctx context.Context, at spot, why error) error {
	err := r.s.stumble(ctx, r.w, at, why, nil)
	if ctx.Err() != nil || errors.Is(why, mailbox.ErrNoSpace) || errors.Is(why, errOtherFetcher) || r.s.opt.Store.Broken() != nil {
		return err
	}
	return nil // the next round tries it again, or it is set aside
}
