package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
)

// A hand-over whose end nobody knows: the connection, the provider or the
// gateway itself ended after the intent was recorded. The provider's signed
// acceptance tells, if it comes; so the mailbox is searched for anything that
// quotes the Message-ID until it was readable for Account.UncertainAfter
// (uncertain_look.go), and only then something is done: it is held for a person,
// or, where the mailbox says so, handed over a second time.
//
//	v/<mailbox>/<id>  looking: how far the search for its receipt is
//
// The time is counted in what the search has seen and not by two moments of the
// clock: neither a clock that jumps nor a mailbox that could not be read makes
// it shorter.

// looking is how far the search for the receipt of an uncertain submission is. Before
// it is uncertain there is a record only where something has quoted its Message-ID
// already: Seen is zero then.
type looking struct {
	Seen  time.Time     `json:"seen,omitzero"`   // the last good look; first: when it became uncertain
	From  time.Time     `json:"from,omitzero"`   // when its hand-over began; zero: unknown
	Read  time.Duration `json:"read"`            // so long the mailbox was readable since
	End   time.Time     `json:"end,omitzero"`    // when it will have been so for long enough
	Blind string        `json:"blind,omitempty"` // why a look since Seen failed
	Gap   string        `json:"gap,omitempty"`   // why it was not readable throughout; empty: it was
	Seek  string        `json:"quote,omitempty"` // why it may have left: something quotes the Message-ID and proves nothing, or could not be read
	Over  bool          `json:"over,omitempty"`  // the search is over: something has to be done
	// Unread is why it goes on, at most asideGrace, though the time is over: what was
	// set aside is read once more before anybody is told that nothing came.
	Unread string `json:"unread,omitempty"`
}

func lookingPrefix(box string) string { return "v/" + strings.ToLower(box) + "/" }

func lookingKey(box, id string) string { return lookingPrefix(box) + id }

// lookFar is how far off the line of the queue is put while the search goes on: it
// rings when there is something to do. Many that are uncertain hide nothing behind
// them.
const lookFar = 24 * time.Hour

// noteLooking begins and ends the search with the state. save calls it; next is the
// line of the queue, which it puts far off.
func noteLooking(tx *mailbox.Tx, s *Submission, next *due) error {
	uncertain := s.State == Uncertain && !s.batch()
	if uncertain && next != nil && next.At.Before(tx.Now().Add(lookFar)) {
		defer func(end time.Time) { next.At = end }(tx.Now().UTC().Add(lookFar))
	}
	if s.State == Attempting || !uncertain && !s.Looking {
		return nil // what quotes it during the attempt is kept
	}
	k := lookingKey(s.Box, s.ID)
	l, err := lookingFor(tx, s)
	switch {
	case err != nil:
		return err
	case s.State == Queued && l.Seen.IsZero():
		return nil // that attempt is over; what was seen during it counts for the next
	case !uncertain:
		s.Looking = false
		return tx.Space(room).Delete(k)
	case !l.Seen.IsZero():
		s.Looking = true
		return nil
	}
	s.Looking = true
	l = looking{Seek: l.Seek, Seen: tx.Now().UTC()}
	var line due // of the attempt: it was written with the intent
	if err := tx.Space(room).Get(queueKey(s.Box, s.ID), &line); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	if !line.Set.After(l.Seen) {
		l.From = line.Set
	}
	if next != nil {
		l.End = next.At
	}
	return tx.Space(room).Put(k, l)
}

// lookingFor returns how far the search for a submission's receipt is; the zero
// value where none is under way.
func lookingFor(tx *mailbox.Tx, s *Submission) (l looking, err error) {
	err = tx.Space(room).Get(lookingKey(s.Box, s.ID), &l)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return l, err
}

// lookEvery is the longest time between two looks while something is uncertain.
func (a Account) lookEvery() time.Duration {
	return max(min(a.Every, a.uncertainAfter()/10, time.Minute), time.Second/10)
}

func (a Account) uncertainAfter() time.Duration {
	if a.UncertainAfter > 0 {
		return a.UncertainAfter
	}
	return 15 * time.Minute
}

// maxUnseen is the longest time between two good looks in which nobody doubts
// that the mailbox was readable; longer, and the clock has jumped, the provider
// hung or the gateway was down.
func (a Account) maxUnseen() time.Duration { return 3*a.lookEvery() + 2*time.Minute }

// saw adds a good look at a time to the search. blind is why a look before it
// failed, empty where none did.
func (l *looking) saw(now time.Time, a Account, blind string) {
	since := now.Sub(l.Seen)
	if l.Blind != "" {
		blind, l.Blind = l.Blind, ""
	}
	switch {
	case blind != "":
		since = 0
		l.Gap = blind
	case since < 0:
		l.Gap, since = "the clock was put back", 0
	case since > a.maxUnseen():
		l.Gap, since = "nobody looked for "+policy.Term(since), a.maxUnseen()
	}
	l.Seen = now.UTC()
	l.Read += since
	l.Over = l.Read >= a.uncertainAfter()
}

// mayResend tells whether a submission may be handed over a second time by the
// gateway itself, or why not.
func (l looking) mayResend(a Account, s *Submission) (bool, string) {
	switch {
	case !a.Resend:
		return false, ""
	case s.Once:
		return false, "it was in doubt before, and is sent again by itself only once"
	case l.Seek != "":
		return false, l.Seek
	case l.Gap != "":
		return false, "the mailbox was not readable throughout: " + l.Gap
	}
	return true, ""
}

// decide ends the search for the receipt of a submission, once it is over.
func (s *Service) decide(ctx context.Context, w *worker, sub *Submission) (wait time.Duration, err error) {
	var l looking
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		l, err = lookingFor(tx, sub)
		return err
	})
	if err != nil {
		return 0, err
	}
	if !l.Over {
		// The fetcher tells when it is. One of a version that did not search begins.
		return 0, s.settle(ctx, sub, nil, func(tx *mailbox.Tx, now *Submission) (*due, bool, error) {
			return &due{At: tx.Now().UTC()}, false, nil
		})
	}
	defer func() {
		if err == nil {
			err = s.tellWatched(ctx, w.acc)
		}
	}()
	if may, why := l.mayResend(w.acc, sub); !may {
		if why != "" {
			why = "not sent again: " + why
		}
		return 0, s.giveUpWaiting(ctx, sub, cmp.Or(why, l.Seek))
	}
	return 0, s.resend(ctx, w.acc, sub)
}

// resend puts a submission back into the queue, once ever: same bytes, same
// Message-ID, and everybody who looks at it is told.
func (s *Service) resend(ctx context.Context, acc Account, sub *Submission) error {
	return s.settle(ctx, sub, nil, func(tx *mailbox.Tx, now *Submission) (*due, bool, error) {
		if now.State != Uncertain {
			return nil, false, nil
		}
		l, err := lookingFor(tx, now)
		if err != nil {
			return nil, false, err
		}
		if may, _ := l.mayResend(acc, now); !may || !l.Over {
			return nil, false, nil
		}
		t := tx.Now().UTC()
		now.Once, now.Resent, now.Intent = true, t, false
		text := fmt.Sprintf("no receipt quotes its Message-ID, and the mailbox was readable for %s: this is a second hand-over, the only one", policy.Term(l.Read))
		if err := happened(tx, now, "resend", text); err != nil {
			return nil, false, err
		}
		err = tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "resend", Box: now.Box, Subject: now.ID, Result: "second hand-over", Reason: "uncertain: resend"})
		if err != nil {
			return nil, false, err
		}
		if err := toTell(tx, now, toldResent); err != nil {
			return nil, false, err
		}
		return &due{At: t}, false, s.step(tx, now, Queued, "", text)
	})
}

// giveUpWaiting holds a submission for which no receipt came in time: a person
// decides. why is what else is known, or empty.
func (s *Service) giveUpWaiting(ctx context.Context, sub *Submission, why string) error {
	text := "no receipt quotes its Message-ID"
	if why != "" {
		text += "; " + why
	}
	return s.settle(ctx, sub, nil, func(tx *mailbox.Tx, now *Submission) (*due, bool, error) {
		if now.State != Uncertain {
			return nil, false, nil
		}
		if err := toTell(tx, now, toldHeld); err != nil {
			return nil, false, err
		}
		return nil, false, s.step(tx, now, Held, ReasonUncertain, text)
	})
}
