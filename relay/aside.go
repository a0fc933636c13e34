package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	// The same for a message that ended the gateway three times: each of its tries may
	// end it again. The first comes as soon, since most ends come from elsewhere and
	// what waits may be a receipt.
	poisonFirst = 5 * time.Minute
	poisonMost  = 24 * time.Hour
)

// asidesPerRound is how many messages that were set aside one round tries; of those
// that only wait behind the others it tries Service.perRound.
const asidesPerRound = 10

// aside is a message of the provider that could not be taken in. It is never
// given up and never deleted there.
type aside struct {
	UID   uint32    `json:"uid,omitempty"`
	ID    string    `json:"uidl,omitempty"` // by POP3, in place of UID
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
	Tries int       `json:"tries"`
	Next  time.Time `json:"next"`
	Set   time.Time `json:"set,omitzero"` // when this was written, by the clock of then
}

// suspect tells whether it was only left for the end of a round.
func (a aside) suspect() bool { return a.Why == errSuspect.Error() }

// triedAgain tells whether it was tried after it was set aside. What was not may be a
// sound message: the gateway, or the connection, ended for another reason.
func (a aside) triedAgain() bool { return !a.suspect() && a.Tries > maxTries }

// due tells whether it is to be tried again. One that was written by a clock that
// stood ahead of the one of now is: its times mean nothing by now.
func (a aside) due(now time.Time) bool {
	return !a.Next.After(now) || due{Set: a.Set}.ahead(now)
}

// asidesPrefix is where the messages of a provider's folder are that were set
// aside; by POP3 the folder is empty.
func asidesPrefix(box, folder string) string {
	return fmt.Sprintf("a/%s/%s/", strings.ToLower(box), folder)
}

func asidePrefix(box, folder string, validity uint32) string {
	return asidesPrefix(box, folder) + fmt.Sprint(validity) + "/"
}

func (p spot) asideKey(box string) string {
	if p.id != "" {
		return asidesPrefix(box, "") + p.id
	}
	return fmt.Sprintf("%s%010d", asidePrefix(box, p.folder, p.validity), p.uid)
}

// stumble counts a message that could not be taken in. The first failures are
// errors, so that the next round tries again; then the message is set aside,
// behind moves the cursor behind it (nil: there is none), and log, audit and
// status say so. A store that fails is no fault of the message.
func (s *Service) stumble(ctx context.Context, w *worker, at spot, why error, behind func(*mailbox.Tx) error) error {
	if ctx.Err() != nil || errors.Is(why, mailbox.ErrNoSpace) || errors.Is(why, errOtherFetcher) || s.opt.Store.Broken() != nil {
		return why
	}
	if errors.Is(why, errSuspect) {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			if err := putAside(tx, w.acc.Box, at, why.Error(), 0, 0); err != nil || behind == nil {
				return err
			}
			return behind(tx)
		})
	}
	w.tries[at]++
	first, poison := asideFirst, errors.Is(why, errPoison)
	if poison {
		first = poisonFirst
	} else if w.tries[at] < maxTries {
		return fmt.Errorf("%s, try %d of %d: %w", at, w.tries[at], maxTries, why)
	}
	delete(w.tries, at)
	s.opt.Events.Poison(w.acc.Box, at.at(), why)
	told := s.asideAlarm(w.acc.Box, at, why.Error())
	if poison {
		told = s.poisonAlarm(w.acc.Box, at)
	}
	if err := s.raise(ctx, told); err != nil {
		return err
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if err := putAside(tx, w.acc.Box, at, why.Error(), maxTries, first); err != nil || behind == nil {
			return err
		}
		return behind(tx)
	})
}

// lastTry tells whether a message is set aside if it cannot be taken in now.
func (w *worker) lastTry(at spot) bool { return w.tries[at] >= maxTries-1 }

// asideKind is the alarm about a message that was set aside.
const asideKind = "set-aside"

func (s *Service) asideAlarm(box string, at spot, why string) alarm {
	return alarm{
		box: box, kind: asideKind, about: at.about(), to: s.adminOf(box), quiet: 24 * time.Hour,
		subjectIT: "Un messaggio presso il gestore non si può leggere", subjectEN: "A message at the provider cannot be fetched",
		it: "Dopo più tentativi il gateway non è riuscito a scaricare un messaggio che si trova presso il gestore. Gli altri vengono scaricati; questo resta dov'è, non viene mai cancellato, e il gateway riprova da solo, sempre più di rado. " +
			"Che cosa fare: aprirlo nella webmail del gestore. Il registro dice il motivo.",
		en: "After several tries the gateway could not take in a message that stands at the provider. The others do not wait; this one stays where it is, is never deleted, and is tried again by itself, more and more rarely. " +
			"What to do: open it in the provider's webmail. The log says why.",
		detail: plain(at.String()+": "+why, maxWords),
	}
}

// about names a place at the provider in an alarm.
func (p spot) about() string {
	if p.id != "" {
		return p.id
	}
	return fmt.Sprintf("%s %d/%d", p.folder, p.validity, p.uid)
}

// sweepAsides ends the alarms about messages of a mailbox that are not set aside
// any more, or stand where nobody fetches: what was known of the provider was forgotten,
// or the folders are others.
func (s *Service) sweepAsides(ctx context.Context, acc Account) error {
	box := acc.Box
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		stand := map[string]bool{}
		for _, kind := range []string{asideKind, poisonKind} {
			all, err := alarmsOfKind(tx, box, kind)
			if err != nil {
				return err
			}
			for _, a := range all {
				stand[alarmKey(box, kind, a.About)] = true
			}
		}
		if len(stand) == 0 {
			return nil
		}
		prefix := "a/" + strings.ToLower(box) + "/"
		err := tx.Space(room).Scan(prefix, func(k string, _ []byte) (bool, error) {
			rest := strings.TrimPrefix(k, prefix)
			at := spot{id: strings.TrimPrefix(rest, "/")}
			wanted := acc.POP3.Host != ""
			if !strings.HasPrefix(rest, "/") {
				// folder/validity/uid; a name may hold slashes
				i := strings.LastIndexByte(rest, '/')
				j := strings.LastIndexByte(rest[:max(i, 0)], '/')
				if j < 0 {
					return true, nil
				}
				validity, _ := strconv.ParseUint(rest[j+1:i], 10, 32)
				uid, _ := strconv.ParseUint(rest[i+1:], 10, 32)
				at = spot{folder: rest[:j], validity: uint32(validity), uid: uint32(uid)}
				wanted = !wanted && slices.Contains(acc.folders(), at.folder)
			}
			if wanted {
				delete(stand, alarmKey(box, asideKind, at.about()))
				delete(stand, alarmKey(box, poisonKind, at.String()))
			}
			return true, nil
		})
		for k := range stand {
			if err == nil {
				_, err = endAlarm(tx, k)
			}
		}
		return err
	})
}

// putAside sets a message aside; it is tried again after a wait.
func putAside(tx *mailbox.Tx, box string, at spot, why string, tries int, wait time.Duration) error {
	err := tx.Audit(mailbox.AuditLine{
		Actor: "relay", Event: "arrival", Box: box, Result: "set aside", Reason: why, More: at.facts(),
	})
	if err != nil {
		return err
	}
	now := tx.Now().UTC()
	return tx.Space(room).Put(at.asideKey(box), aside{UID: at.uid, ID: at.id, Why: why, Since: now, Tries: tries, Next: now.Add(wait), Set: now})
}

// retryAside tries what was set aside in a folder and is due again.
func (s *Service) retryAside(ctx context.Context, w *worker, session *fetch.Session, folder string, c cursor) error {
	due, all, err := s.asides(ctx, asidePrefix(w.acc.Box, folder, c.UIDValidity))
	if err != nil {
		return err
	}
	w.setAside(folder, len(all))
	if err := s.asidesLeft(ctx, w, session, folder, c, all); err != nil {
		return err
	}
	for _, a := range due {
		at := spot{folder: folder, validity: c.UIDValidity, uid: a.UID}
		if err := s.postpone(ctx, w.acc.Box, at, a); err != nil {
			return err
		}
		asked := false
		var trouble error
		st, err := session.Again(ctx, folder, c.UIDValidity, []uint32{a.UID}, func(ctx context.Context, it fetch.Item) error {
			asked, trouble = true, it.Problem
			if trouble == nil {
				trouble = s.look(ctx, w, at, func() error { return s.tryIn(ctx, w.acc, c, it, true) })
			}
			return nil
		})
		broken := new(fetch.MessageError)
		if !asked && errors.As(err, &broken) {
			asked, trouble = true, broken.Err
		}
		if !asked && err != nil {
			return err // says nothing about the message; its next try is put off already
		}
		gone := !asked && slices.Contains(st.Gone, a.UID)
		if uerr := s.triedAside(ctx, w.acc.Box, at, a, gone, trouble); uerr != nil || err != nil {
			return errors.Join(err, uerr)
		}
	}
	return nil
}

// asides returns what was set aside below a prefix: what is due, and all, by key.
func (s *Service) asides(ctx context.Context, prefix string) (due []aside, all map[string]aside, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		others, suspects := 0, 0
		due, all = nil, map[string]aside{}
		return tx.Space(room).Scan(prefix, func(k string, raw []byte) (bool, error) {
			var a aside
			if err := json.Unmarshal(raw, &a); err != nil {
				return false, err
			}
			all[k] = a
			switch {
			case !a.due(tx.Now()):
			case a.suspect() && suspects < s.perRound:
				suspects++
				due = append(due, a)
			case !a.suspect() && others < asidesPerRound:
				others++
				due = append(due, a)
			}
			return true, nil
		})
	})
	return due, all, err
}

// postpone puts the next try off before one is made: it may end the gateway, or the
// connection and with it the round. That of a suspect is due at once: a third end
// makes it poison, which is told by the next round.
func (s *Service) postpone(ctx context.Context, box string, at spot, a aside) error {
	if a.suspect() {
		return nil
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		wait := asideWait(a.Tries)
		if a.Why == errPoison.Error() {
			a.Tries++ // if the try ends the gateway nobody counts it
			wait = poisonWait(a.Tries)
		}
		a.Set = tx.Now().UTC()
		a.Next = a.Set.Add(wait)
		return tx.Space(room).Put(at.asideKey(box), a)
	})
}

// asideWait is the wait after so many tries.
func asideWait(tries int) time.Duration { return doubled(asideFirst, asideMost, tries) }

func poisonWait(tries int) time.Duration { return doubled(poisonFirst, poisonMost, tries) }

// doubled is a wait that is first after maxTries, and twice as long after each more.
func doubled(first, most time.Duration, tries int) time.Duration {
	wait := first
	for i := maxTries; i < tries && wait < most; i++ {
		wait *= 2
	}
	return min(wait, most)
}

// triedAside records another try: taken in, gone at the provider, or in trouble
// again.
func (s *Service) triedAside(ctx context.Context, box string, at spot, a aside, gone bool, trouble error) error {
	k := at.asideKey(box)
	poison := !gone && errors.Is(trouble, errPoison)
	broken := !gone && trouble != nil && !poison
	var err error
	switch {
	case poison:
		err = s.raise(ctx, s.poisonAlarm(box, at))
	case broken:
		err = s.raise(ctx, s.asideAlarm(box, at, trouble.Error()))
	}
	if err == nil && !poison {
		err = s.ended(ctx, box, poisonKind, at.String())
	}
	if err == nil && !broken {
		err = s.ended(ctx, box, asideKind, at.about())
	}
	if err != nil {
		return err
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if gone {
			return errors.Join(seenButGone(tx, box, at, a.Why), tx.Space(room).Delete(k))
		}
		if trouble == nil {
			return tx.Space(room).Delete(k)
		}
		next := a
		next.Tries++
		wait := asideWait(next.Tries)
		if poison {
			next.Tries = max(a.Tries, maxTries)
			wait = poisonWait(next.Tries)
		}
		next.Set, next.Why = tx.Now().UTC(), trouble.Error()
		next.Next = next.Set.Add(wait)
		return tx.Space(room).Put(k, next)
	})
}
