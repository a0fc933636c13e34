package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

// maxTries is how often a message that cannot be taken in is tried before the
// others go on without it.
const maxTries = 3

// Waits before a message that was set aside is tried again: the first, doubled
// each time up to the longest. It may have been an outage of the provider.
const (
	asideFirst = 5 * time.Minute
	asideMost  = 6 * time.Hour
)

// aside is a message of the provider that could not be taken in. It is never
// given up and never deleted there.
type aside struct {
	UID   uint32    `json:"uid"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
	Tries int       `json:"tries"`
	Next  time.Time `json:"next"`
}

func asidePrefix(box, folder string, validity uint32) string {
	return fmt.Sprintf("a/%s/%s/%d/", strings.ToLower(box), folder, validity)
}

func asideKey(box, folder string, validity, uid uint32) string {
	return fmt.Sprintf("%s%010d", asidePrefix(box, folder, validity), uid)
}

// stumble counts a message that could not be taken in. The first failures are
// errors, so that the next round tries again; then the message is set aside,
// the cursor moves behind it, and log, audit and status say so. A store that
// fails is no fault of the message.
func (s *Service) stumble(ctx context.Context, w *worker, folder string, c *cursor, uid uint32, why error) error {
	if ctx.Err() != nil || errors.Is(why, mailbox.ErrNoSpace) || s.opt.Store.Broken() != nil {
		return why
	}
	at := asideKey(w.acc.Box, folder, c.UIDValidity, uid)
	w.tries[at]++
	if w.tries[at] < maxTries {
		return fmt.Errorf("message %d, try %d of %d: %w", uid, w.tries[at], maxTries, why)
	}
	delete(w.tries, at)
	s.opt.Events.Poison(w.acc.Box, folder, uid, why)
	c.UID = uid
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		now := tx.Now().UTC()
		err := tx.Audit(mailbox.AuditLine{
			Actor: "relay", Event: "arrival", Box: w.acc.Box, Result: "set aside", Reason: why.Error(),
			More: map[string]string{"folder": folder, "uid": fmt.Sprint(uid), "uidvalidity": fmt.Sprint(c.UIDValidity)},
		})
		if err != nil {
			return err
		}
		err = tx.Space(room).Put(at, aside{UID: uid, Why: why.Error(), Since: now, Tries: maxTries, Next: now.Add(asideFirst)})
		if err != nil {
			return err
		}
		return tx.Space(room).Put(cursorKey(w.acc.Box, folder), *c)
	})
}

// retryAside tries what was set aside and is due again.
func (s *Service) retryAside(ctx context.Context, w *worker, session *fetch.Session, folder string, c cursor) error {
	due, all, err := s.asides(ctx, w.acc.Box, folder, c.UIDValidity)
	if err != nil {
		return err
	}
	w.setAside(all)
	for _, a := range due {
		asked := false
		var trouble error
		st, err := session.Again(ctx, folder, c.UIDValidity, []uint32{a.UID}, func(ctx context.Context, it fetch.Item) error {
			asked, trouble = true, it.Problem
			if trouble == nil {
				trouble = s.takeIn(ctx, w.acc, c, it)
			}
			return nil
		})
		if !asked && err != nil {
			return err // says nothing about the message
		}
		gone := !asked && slices.Contains(st.Gone, a.UID)
		if uerr := s.triedAside(ctx, w.acc.Box, folder, c.UIDValidity, a, gone, trouble); uerr != nil || err != nil {
			return errors.Join(err, uerr)
		}
	}
	return nil
}

// forgetAside drops what was set aside in a folder whose UIDs begin anew: the
// messages are met again under their new ones.
func (s *Service) forgetAside(ctx context.Context, box, folder string) error {
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		sp := tx.Space(room)
		var keys []string
		err := sp.Scan(fmt.Sprintf("a/%s/%s/", strings.ToLower(box), folder), func(k string, _ []byte) (bool, error) {
			keys = append(keys, k)
			return len(keys) < 500, nil
		})
		for _, k := range keys {
			err = errors.Join(err, sp.Delete(k))
		}
		return err
	})
}

// asides returns what was set aside in a folder: what is due, and how many all.
func (s *Service) asides(ctx context.Context, box, folder string, validity uint32) (due []aside, all int, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		due, all = nil, 0
		return tx.Space(room).Scan(asidePrefix(box, folder, validity), func(_ string, raw []byte) (bool, error) {
			var a aside
			if err := json.Unmarshal(raw, &a); err != nil {
				return false, err
			}
			all++
			if !a.Next.After(tx.Now()) && len(due) < 10 {
				due = append(due, a)
			}
			return true, nil
		})
	})
	return due, all, err
}

// triedAside records another try: taken in, gone at the provider, or in trouble
// again.
func (s *Service) triedAside(ctx context.Context, box, folder string, validity uint32, a aside, gone bool, trouble error) error {
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		k := asideKey(box, folder, validity, a.UID)
		if gone {
			err := tx.Audit(mailbox.AuditLine{
				Actor: "relay", Event: "arrival", Box: box, Result: "seen but gone", Reason: a.Why,
				More: map[string]string{"folder": folder, "uid": fmt.Sprint(a.UID), "uidvalidity": fmt.Sprint(validity)},
			})
			return errors.Join(err, tx.Space(room).Delete(k))
		}
		if trouble == nil {
			return tx.Space(room).Delete(k)
		}
		next := a
		next.Tries++
		wait := asideFirst
		for i := maxTries; i < next.Tries && wait < asideMost; i++ {
			wait *= 2
		}
		next.Next, next.Why = tx.Now().UTC().Add(min(wait, asideMost)), trouble.Error()
		return tx.Space(room).Put(k, next)
	})
}
