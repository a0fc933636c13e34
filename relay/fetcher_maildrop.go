package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

// By POP3 a mailbox has no folders and no UIDs. What was fetched is known by the
// provider's unique-ids: each has a record, made in the transaction of its
// message, and together they are the cursor.

// pollMaildrop takes in what is new, by POP3.
func (s *Service) pollMaildrop(ctx context.Context, w *worker, srv fetch.Server) (more bool, err error) {
	began, dialled := s.opt.Store.Now(), time.Now()
	drop, err := loggedIn(ctx, s, w, srv, fetch.DialMaildrop)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, drop.Close()) }() // after Quit it does nothing
	w.seenCertificate(w.acc.POP3, drop.CertificateExpires)
	s.seenStaple(w, w.acc.POP3, drop.CertificateExpires, drop.Staple)
	list, err := drop.List(ctx)
	if err != nil {
		return false, err
	}
	if err := s.meetMaildrop(ctx, w.acc, list); err != nil {
		return false, err
	}
	q, err := w.acc.quotaOf(fetch.Quota{}, func() (n int64, _ error) {
		for _, l := range list {
			n += l.Size
		}
		return n, nil
	})
	if err == nil {
		err = s.occupied(ctx, w, q)
	}
	if err != nil && ctx.Err() == nil {
		s.opt.Events.Fault("room", w.acc.Box, err)
	}
	p, err := s.planMaildrop(ctx, w, list)
	if err != nil {
		return false, err
	}
	if err := s.went(ctx, w.acc.Box, p.gone); err != nil {
		return false, err
	}
	stumbled := "" // ID; the session's own error about it says nothing new
	messages := &row{
		s: s, w: w,
		taking: func(it fetch.Item, _ []*arriving, last bool) taking {
			return taking{it: it, listed: p.size[it.ID], history: p.history[it.ID], before: p.before[it.ID], last: last}
		},
		size: func(it fetch.Item) int64 { return p.size[it.ID] },
		stumble: func(ctx context.Context, at spot, why error) error {
			stumbled = at.id
			return s.stumble(ctx, w, at, why, nil)
		},
	}
	// What is listed costs the provider as much as many messages do, but what comes
	// meanwhile is seen by the next connection only.
	for first := true; len(p.wanted) > 0 && (first || time.Since(dialled) < s.roundFor); first = false {
		round := p.wanted[:min(len(p.wanted), s.perRound)]
		err = messages.run(ctx, func(fn func(ctx context.Context, it fetch.Item) error) error { return drop.Fetch(ctx, round, fn) })
		if broken := new(fetch.MessageError); errors.As(err, &broken) && broken.ID != stumbled {
			return false, errors.Join(err, s.stumble(ctx, w, spot{id: broken.ID}, broken.Err, nil))
		}
		if err != nil {
			return false, err
		}
		p.wanted = p.wanted[len(round):]
	}
	more = len(p.wanted) > 0
	if err := s.retryAsideMaildrop(ctx, w, drop, p); err != nil || more {
		return more, err
	}
	if err := s.lookMaildrop(ctx, w, began); err != nil {
		return false, err
	}
	if err := errors.Join(s.recoverOriginals(ctx, w, nil), s.tellEmptied(ctx, w.acc.Box)); err != nil {
		return false, err
	}
	if err := s.ended(ctx, w.acc.Box, anewKind, ""); err != nil {
		return false, err
	}
	asked, err := s.clearMaildrop(ctx, w, drop, p)
	if err != nil {
		return false, err
	}
	// What was asked for is believed when it is listed no more: the next round
	// tells, whatever the answer to QUIT was.
	err = drop.Quit(ctx)
	if asked == 0 {
		w.cleared("", nil)
		return false, nil // nothing depends on the answer
	}
	w.cleared("", err)
	return false, nil
}

// meetMaildrop makes a record of everything that is listed at first contact: it
// is history. Only when all have one the maildrop is met.
func (s *Service) meetMaildrop(ctx context.Context, acc Account, list []fetch.Listed) error {
	box := acc.Box
	_, met, err := s.readCursor(ctx, box, "")
	if err != nil || met {
		return err
	}
	for _, prefix := range []string{maildropPrefix(box), asidesPrefix(box, "")} {
		if err := s.forget(ctx, prefix); err != nil {
			return err
		}
	}
	if err := s.sweepAsides(ctx, acc); err != nil {
		return err
	}
	return errors.Join(s.standAs(ctx, box, list, standing{History: true}), s.writeCursor(ctx, box, "", cursor{}))
}

// standAs makes a record of what is listed and not fetched yet.
func (s *Service) standAs(ctx context.Context, box string, list []fetch.Listed, as standing) error {
	for part := range slices.Chunk(list, 500) {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			for _, l := range part {
				if err := stand(tx, box, spot{id: l.ID}, standing{Size: l.Size, History: as.History, Before: as.Before}); err != nil {
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

// anewKind is the alarm about a provider that has numbered its messages anew.
const anewKind = "numbered-anew"

// numberedAnew tells the administrator that a folder (by POP3 "") is read again
// from its beginning.
func (s *Service) numberedAnew(ctx context.Context, box, folder string) error {
	return s.raise(ctx, alarm{
		box: box, kind: anewKind, about: folder, to: s.adminOf(box), quiet: 24 * time.Hour,
		subjectIT: "Il gestore ha rinumerato i messaggi della casella", subjectEN: "The provider has numbered the mailbox anew",
		it:     "Tutti i messaggi presso il gestore hanno numeri nuovi, come dopo un trasloco. Vengono letti di nuovo e confrontati per contenuto: nessun messaggio viene duplicato e, finché non sono stati letti tutti, presso il gestore non si cancella nulla. Non occorre fare nulla.",
		en:     "All messages at the provider have new numbers, as after a move of its mailboxes. They are read again and compared by content: nothing is doubled, and until all are read nothing is deleted at the provider. There is nothing to do.",
		detail: plain(folder, maxWords),
	})
}

// clockSkew is how far the clocks of providers may be from ours.
const clockSkew = time.Hour

// plan is what a round has to do in a maildrop.
type plan struct {
	wanted  []fetch.Listed // to fetch: what is new, oldest first; then what is history, newest first
	gone    []copyOf       // listed no more
	history map[string]bool
	before  map[string]time.Time // history is only what came before
	size    map[string]int64
	listed  map[string]fetch.Listed // all
}

// planMaildrop compares what is listed with what is known.
func (s *Service) planMaildrop(ctx context.Context, w *worker, list []fetch.Listed) (*plan, error) {
	box := w.acc.Box
	prefix := maildropPrefix(box)
	_, aside, err := s.asides(ctx, asidesPrefix(box, ""))
	if err != nil {
		return nil, err
	}
	w.setAside("", len(aside))
	p := &plan{history: map[string]bool{}, before: map[string]time.Time{}, size: make(map[string]int64, len(list)), listed: make(map[string]fetch.Listed, len(list))}
	for _, l := range list {
		p.size[l.ID], p.listed[l.ID] = l.Size, l
	}
	var fresh, old []fetch.Listed
	known, ours := map[string]bool{}, 0
	var latest time.Time // of our copies
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		p.gone, old, ours, latest = nil, nil, 0, time.Time{}
		clear(p.before)
		clear(known)
		clear(p.history)
		return scanStanding(tx, prefix, "", func(k string, st standing) (bool, error) {
			id := strings.TrimPrefix(k, prefix)
			l, there := p.listed[id]
			if st.Message > 0 {
				ours++
			}
			if st.Since.After(latest) {
				latest = st.Since
			}
			switch {
			case !there:
				p.gone = append(p.gone, copyOf{at: spot{id: id}, st: st})
			case st.Message == 0:
				known[id], p.history[id] = true, st.History
				if !st.Before.IsZero() {
					p.before[id] = st.Before
				}
				old = append(old, l)
			case st.Size == l.Size:
				known[id] = true
			} // else the id is used anew, for another message (C5)
			return true, nil
		})
	})
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		if !known[l.ID] {
			fresh = append(fresh, l)
		}
	}
	slices.SortFunc(old, func(a, b fetch.Listed) int { return b.Number - a.Number })
	p.wanted = slices.DeleteFunc(append(fresh, old...), func(l fetch.Listed) bool { _, set := aside[spot{id: l.ID}.asideKey(box)]; return set })
	if many := 10; ours >= many && len(p.gone) >= ours && len(fresh) >= ours {
		// All ids are other ones (C6): the messages are known by their content. What
		// is not, and came before our last copy, is history: it was removed here.
		s.opt.Events.IDsChanged(box, ours, len(fresh))
		for i := range p.gone {
			p.gone[i].renumbered = true
		}
		if err := s.numberedAnew(ctx, box, ""); err != nil {
			return nil, err
		}
		as := standing{History: true, Before: latest.Add(-clockSkew)}
		for _, l := range fresh {
			p.history[l.ID], p.before[l.ID] = true, as.Before
		}
		return p, s.standAs(ctx, box, fresh, as)
	}
	return p, nil
}

// retryAsideMaildrop tries what was set aside and is due again.
func (s *Service) retryAsideMaildrop(ctx context.Context, w *worker, drop *fetch.Maildrop, p *plan) error {
	due, all, err := s.asides(ctx, asidesPrefix(w.acc.Box, "")) // also what this round has left for its end
	if err != nil {
		return err
	}
	if err := s.asidesLeftMaildrop(ctx, w, p, all); err != nil {
		return err
	}
	for _, a := range due {
		at := spot{id: a.ID}
		if err := s.postpone(ctx, w.acc.Box, at, a); err != nil {
			return err
		}
		l, there := p.listed[a.ID]
		asked := false
		var trouble, err error
		if there {
			err = drop.Fetch(ctx, []fetch.Listed{l}, func(ctx context.Context, it fetch.Item) error {
				asked, trouble = true, it.Problem
				if trouble == nil {
					trouble = s.look(ctx, w, at, func() error {
						return s.take(ctx, w.acc, taking{it: it, listed: l.Size, history: p.history[a.ID], before: p.before[a.ID], last: true})
					})
				}
				return nil
			})
			broken := new(fetch.MessageError)
			if errors.As(err, &broken) {
				asked, trouble = true, broken.Err
			}
			if !asked && err != nil {
				return err // says nothing about the message; its next try is put off already
			}
		}
		if uerr := s.triedAside(ctx, w.acc.Box, at, a, !there, trouble); uerr != nil || err != nil {
			return errors.Join(err, uerr)
		}
	}
	return nil
}

// clearMaildrop marks copies whose time is over for deletion. They go with QUIT.
func (s *Service) clearMaildrop(ctx context.Context, w *worker, drop *fetch.Maildrop, p *plan) (asked int, err error) {
	c, err := s.clearing(ctx, w.acc)
	if err != nil || !w.acc.clears() {
		return 0, err
	}
	found, err := s.dueCopies(ctx, w, &c, maildropPrefix(w.acc.Box), spot{})
	if err != nil {
		return 0, err
	}
	var due []copyOf
	for _, c := range found {
		l, there := p.listed[c.at.id]
		if there && l.Size == c.st.Size && !l.Doubtful() {
			c.listed = l
			due = append(due, c)
		}
	}
	due, err = s.verified(ctx, w.acc, due, func(c copyOf, ours io.ReaderAt, size int64) (fetch.Sameness, error) {
		same, err := drop.Same(ctx, c.listed, ours, size)
		if !same {
			return fetch.Other, err
		}
		return fetch.Equal, err
	})
	if err != nil || len(due) == 0 {
		return 0, err
	}
	if err := s.ask(ctx, w.acc.Box, due); err != nil {
		return 0, err
	}
	var list []fetch.Listed
	for _, c := range due {
		list = append(list, c.listed)
	}
	refused, err := drop.Delete(ctx, list)
	if err != nil {
		return 0, fmt.Errorf("delete the provider's copies: %w", err)
	}
	s.opt.Events.CopiesDeleted(w.acc.Box, len(due)-len(refused), len(refused))
	return len(due) - len(refused), nil
}
