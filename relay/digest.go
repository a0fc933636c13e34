package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"pecgate/mailbox"
)

// The daily digest: what arrived, what is unread, what is awaited and what went
// wrong, as a notice once a day to those who asked for it, of the mailboxes that
// they see, and of each what they would see by IMAP.
//
//	dg/<login>   digested
type digested struct {
	Day  string                 `json:"day"`  // of the last one, in Options.Location
	Next map[string]mailbox.UID `json:"next"` // by mailbox: what arrived from there on is new
}

// digestDue tells whether a digest of the day is due. last is the day of the one
// before. The hour that is there twice in October makes no second one, the hour
// that is missing in March none the less, and a clock that was put back far makes
// nothing wait until it has caught up.
func digestDue(now time.Time, at time.Duration, last string) (day string, due bool) {
	day = now.Format(time.DateOnly)
	since := time.Duration(now.Hour())*time.Hour + time.Duration(now.Minute())*time.Minute
	if since < at {
		return day, false
	}
	before, err := time.Parse(time.DateOnly, last)
	today, err1 := time.Parse(time.DateOnly, day)
	if err != nil || err1 != nil {
		return day, true // the first
	}
	return day, today.After(before) || before.Sub(today) > 48*time.Hour
}

// tellDigests writes the digests that are due.
func (s *Service) tellDigests(ctx context.Context) error {
	if s.opt.Digests == nil {
		return nil
	}
	waits := sync.OnceValues(func() (awaiting, error) { return s.awaiting(ctx) })
	var failed []error
	for login, at := range s.opt.Digests() {
		if err := s.tellDigest(ctx, login, at, waits); err != nil {
			failed = append(failed, fmt.Errorf("digest of %s: %w", login, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(failed...)
}

func readDigested(tx *mailbox.Tx, login string) (d digested, err error) {
	err = tx.Space(room).Get("dg/"+strings.ToLower(login), &d)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return d, err
}

func (s *Service) tellDigest(ctx context.Context, login string, at time.Duration, waits waitsNow) error {
	var last digested
	var person mailbox.Person
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { last, err = readDigested(tx, login); return err })
	if err != nil {
		return err
	}
	day, due := digestDue(s.opt.Store.Now().In(s.opt.Location), at, last.Day)
	if !due || s.opt.Readers == nil {
		return nil
	}
	if person, err = s.opt.Store.Person(ctx, login); err != nil {
		return err
	}
	next := digested{Day: day, Next: map[string]mailbox.UID{}}
	var list strings.Builder
	for _, acc := range s.opt.Accounts() {
		box := strings.ToLower(acc.Box)
		for _, r := range s.opt.Readers(box) {
			if !strings.EqualFold(r.Login, login) {
				continue
			}
			lines, uid, err := s.digestOf(ctx, box, r, person, last.Next[box], waits)
			if err != nil {
				return err
			}
			next.Next[box] = uid
			fmt.Fprintf(&list, "%s\n%s", box, lines)
		}
	}
	if list.Len() == 0 {
		return nil
	}
	shown := s.opt.Store.Now().In(s.opt.Location).Format("02/01/2006")
	n := alarmNotice(alarm{
		kind: "digest", about: login + " " + day, to: []addressee{{user: login, person: person}},
		subjectIT: "Riepilogo PEC del " + shown, subjectEN: "PEC digest of " + shown,
		it: "Le caselle PEC che può leggere, dall'ultimo riepilogo.", en: "The PEC mailboxes that you may read, since the last digest.",
		detail: strings.TrimSuffix(list.String(), "\n"),
	}, s.opt)
	return n.fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		now, err := readDigested(tx, login)
		if err != nil || now.Day != last.Day {
			return false, err // written meanwhile
		}
		return true, tx.Space(room).Put("dg/"+strings.ToLower(login), next)
	})
}

// digestOf are the lines about one mailbox, and where what is new begins next time.
func (s *Service) digestOf(ctx context.Context, box string, r Reader, person mailbox.Person, from mailbox.UID, waits waitsNow) (string, mailbox.UID, error) {
	var out strings.Builder
	line := func(it, en string, n int) {
		if s.opt.Language == "en" {
			it = en
		}
		fmt.Fprintf(&out, "  %s: %d\n", it, n)
	}
	count := func(role mailbox.Role) (st mailbox.Status, fresh int, sees bool, err error) {
		scope, ok := r.Sees(role)
		if !ok {
			return st, 0, false, nil
		}
		k, v := mailbox.FolderKey{Box: box, Role: role}, mailbox.Viewer{Person: person, Scope: scope}
		snap, err := s.opt.Store.Snapshot(ctx, k, v)
		if err != nil {
			return st, 0, true, err
		}
		for i := len(snap.UIDs) - 1; from != 0 && i >= 0 && snap.UIDs[i] >= from; i-- { // the first digest begins now
			fresh++
		}
		st, err = s.opt.Store.Status(ctx, k, v)
		return st, fresh, true, err
	}
	next := from
	st, fresh, sees, err := count(mailbox.RoleInbox)
	if err != nil {
		return "", 0, err
	}
	if sees {
		next = st.UIDNext
		line("arrivate", "arrived", fresh)
		line("non lette", "unread", st.Unseen)
	}
	st, _, sees, err = count(mailbox.RoleErrors)
	if err != nil {
		return "", 0, err
	}
	if sees {
		line("errori non letti", "errors unread", st.Unseen)
	}
	all, err := waits()
	if err != nil {
		return "", 0, err
	}
	n := all.of(box, r, person)
	line("invii in attesa di ricevute", "sent, receipts awaited", n.waits)
	line("di cui in ritardo", "of these overdue", n.late)
	return out.String(), next, nil
}

// waitsNow is awaiting, counted at its first call.
type waitsNow func() (awaiting, error)

// awaiting is what waits for receipts: by mailbox, and of it by who submitted it.
type awaiting map[string]map[mailbox.Person]waitCount

type waitCount struct{ waits, late int }

// of are those of a mailbox that a person sees.
func (a awaiting) of(box string, r Reader, person mailbox.Person) (n waitCount) {
	if scope, _ := r.Sees(mailbox.RoleSent); scope != mailbox.ScopeAll {
		return a[box][person]
	}
	for _, c := range a[box] {
		n.waits, n.late = n.waits+c.waits, n.late+c.late
	}
	return n
}

// awaiting counts the submissions that wait for receipts: one pass for all the
// digests of a round.
func (s *Service) awaiting(ctx context.Context) (all awaiting, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		all = awaiting{}
		return tx.Space(room).Scan("ws/", func(k string, _ []byte) (bool, error) {
			sub, err := headOf(tx, strings.TrimPrefix(k, "ws/"))
			if errors.Is(err, ErrNotFound) {
				return true, nil
			}
			if err != nil {
				return false, err
			}
			if all[sub.Box] == nil {
				all[sub.Box] = map[mailbox.Person]waitCount{}
			}
			n := all[sub.Box][sub.Person]
			if n.waits++; sub.Overdue != "" {
				n.late++
			}
			all[sub.Box][sub.Person] = n
			return true, nil
		})
	})
	return all, err
}
