package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/fetch"
)

// quoting is the header field in which receipts quote the Message-ID of what they
// are about (Regole tecniche, 6.3).
const quoting = "X-Riferimento-Message-ID"

// sought is an uncertain submission of which a receipt is looked for.
type sought struct{ id, msgid string }

// maxSought bounds how many one round looks for: each costs a search in every
// folder. The others have their turn when these have ended.
const maxSought = 50

// seeking returns the submissions of a mailbox of which a receipt is looked for,
// and whether there are more.
func (s *Service) seeking(ctx context.Context, box string) (out []sought, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		out = nil
		prefix := lookingPrefix(box)
		var ids []string
		err := tx.Space(room).Scan(prefix, func(k string, raw []byte) (bool, error) {
			var l looking
			if err := json.Unmarshal(raw, &l); err != nil {
				return false, fmt.Errorf("record of a search for a receipt: %w", err)
			}
			if !l.Over {
				ids = append(ids, strings.TrimPrefix(k, prefix))
			}
			return len(ids) < maxSought, nil
		})
		for _, id := range ids {
			sub, lerr := headOf(tx, id)
			if lerr != nil {
				return errors.Join(err, lerr)
			}
			out = append(out, sought{id: id, msgid: sub.MsgID})
		}
		return err
	})
	return out, err
}

// lookFolders searches every folder of the provider for what quotes the
// Message-ID of an uncertain submission, after a round that took in what is new:
// a receipt that the round passed by, because it was set aside, moved by somebody
// or numbered anew, is found too. began is when the round began.
func (s *Service) lookFolders(ctx context.Context, w *worker, session *fetch.Session, folders []string, began time.Time) error {
	all, err := s.seeking(ctx, w.acc.Box)
	if err != nil || len(all) == 0 {
		return errors.Join(err, s.lookEnds(ctx, w, nil, began))
	}
	for _, one := range all {
		for _, folder := range folders {
			err := s.lookInFolder(ctx, w, session, folder, one)
			if errors.Is(err, fetch.ErrNoFolder) {
				// Renamed or deleted: the others are searched, and what may lie in this
				// one is reason enough not to send again.
				err = s.quoted(ctx, one.id, "a folder could not be searched: "+err.Error())
			}
			if err != nil {
				return fmt.Errorf("search for the receipt of %s: %w", one.id, err)
			}
		}
	}
	return s.lookEnds(ctx, w, all, began)
}

func (s *Service) lookInFolder(ctx context.Context, w *worker, session *fetch.Session, folder string, one sought) error {
	uids, err := session.FindHeader(ctx, folder, quoting, one.msgid)
	if err != nil || len(uids) == 0 {
		return err
	}
	c, met, err := s.readCursor(ctx, w.acc.Box, folder)
	if err != nil || !met {
		return err
	}
	var trouble error
	st, err := session.Again(ctx, folder, c.UIDValidity, uids[:min(len(uids), 100)], func(ctx context.Context, it fetch.Item) error {
		if it.Problem != nil {
			trouble = it.Problem
			return nil
		}
		// The cursor stays: what the rounds have not reached yet they reach.
		return s.take(ctx, w.acc, taking{it: it, listed: it.Size, history: it.UID <= c.HistoryTo})
	})
	if err != nil {
		return err
	}
	if st.Reset {
		return fmt.Errorf("folder %s was numbered anew meanwhile", folder)
	}
	why := "something at the provider quotes its Message-ID and proves nothing"
	if trouble != nil {
		why = "something that quotes its Message-ID cannot be fetched: " + trouble.Error()
	}
	return s.quoted(ctx, one.id, why)
}

// lookMaildrop is lookFolders by POP3. All that is listed was taken in, but for
// what was set aside: of that TOP tells.
func (s *Service) lookMaildrop(ctx context.Context, w *worker, drop *fetch.Maildrop, p *plan, began time.Time) error {
	all, err := s.seeking(ctx, w.acc.Box)
	if err != nil || len(all) == 0 {
		return errors.Join(err, s.lookEnds(ctx, w, nil, began))
	}
	asides, err := s.allAsides(ctx, asidesPrefix(w.acc.Box, ""))
	if err != nil {
		return err
	}
	for _, a := range asides {
		l, there := p.listed[a.ID]
		if !there {
			continue
		}
		head, err := drop.Header(ctx, l)
		if err != nil && !errors.Is(err, fetch.ErrNoAnswer) {
			return fmt.Errorf("search for receipts: %w", err)
		}
		for _, one := range all {
			if err != nil || strings.Contains(strings.ToLower(string(head)), strings.ToLower(one.msgid)) {
				if err := s.quoted(ctx, one.id, "something that may quote its Message-ID cannot be fetched: "+a.Why); err != nil {
					return err
				}
			}
		}
	}
	return s.lookEnds(ctx, w, all, began)
}

// allAsides returns what was set aside below a prefix, at most 1,000.
func (s *Service) allAsides(ctx context.Context, prefix string) (out []aside, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		out = nil
		return tx.Space(room).Scan(prefix, func(_ string, raw []byte) (bool, error) {
			var a aside
			if err := json.Unmarshal(raw, &a); err != nil {
				return false, fmt.Errorf("record of a message that was set aside: %w", err)
			}
			out = append(out, a)
			return len(out) < 1000, nil
		})
	})
	return out, err
}

// quoted notes that something quotes the Message-ID of a submission that is
// uncertain still: it is not handed over again by itself.
func (s *Service) quoted(ctx context.Context, id, why string) error {
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return noteQuoted(tx, id, why) })
}

func noteQuoted(tx *mailbox.Tx, id, why string) error {
	sub, err := headOf(tx, id)
	if errors.Is(err, ErrNotFound) || err == nil && sub.State != Uncertain {
		return nil
	}
	if err != nil {
		return err
	}
	l, err := lookingFor(tx, sub)
	if err != nil || l.Seen.IsZero() || l.Seek != "" {
		return err
	}
	l.Seek = plain(why, maxWords)
	return tx.Space(room).Put(lookingKey(sub.Box, sub.ID), l)
}

// noteQuotes is noteQuoted for a message that arrived, quotes Message-IDs of this
// mailbox and was tied to nothing: it may be a receipt whose signature cannot be
// checked here.
func noteQuotes(tx *mailbox.Tx, box string, r *pec.Report) error {
	for _, msgid := range r.MsgIDs() {
		sub, err := byMsgID(tx, box, msgid)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if sub.State != Uncertain {
			continue
		}
		if err := noteQuoted(tx, sub.ID, fmt.Sprintf("%s (%s) quotes its Message-ID and proves nothing: %s", r.Kind, r.Verdict, r.Reason)); err != nil {
			return err
		}
	}
	return nil
}

// lookEnds notes a good look at those that were sought, all in one transaction,
// and files the notices that are due.
func (s *Service) lookEnds(ctx context.Context, w *worker, all []sought, began time.Time) error {
	blind := w.lookedWell(len(all))
	if w.full() && blind == "" {
		blind = "it was full: receipts may not have got in"
	}
	if len(all) == 0 {
		return s.tellWatched(ctx, w.acc)
	}
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		for _, one := range all {
			sub, err := load(tx, one.id)
			if err != nil {
				return err
			}
			l, err := lookingFor(tx, sub)
			if err != nil || l.Seen.IsZero() || sub.State != Uncertain {
				return err
			}
			if since := began.Sub(l.Seen); blind == "" && since >= 0 && since < lookNoted && l.Read+since < w.acc.uncertainAfter() {
				continue // noted with a later look
			}
			l.saw(began, w.acc, blind)
			if err := tx.Space(room).Put(lookingKey(sub.Box, sub.ID), l); err != nil {
				return err
			}
			next := due{At: tx.Now().UTC(), Set: tx.Now().UTC()}
			if !l.Over {
				next.At = next.At.Add(max(w.acc.uncertainAfter()-l.Read, time.Second))
			} else if err := ring(tx, sub); err != nil {
				return err
			}
			if err := tx.Space(room).Put(queueKey(sub.Box, sub.ID), next); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, s.tellWatched(ctx, w.acc))
}

// lookNoted is how often at most a search is noted that goes well.
const lookNoted = 5 * time.Second

// lookWait is how long the fetcher may sleep.
func (w *worker) lookWait() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seeking > 0 {
		return w.acc.lookEvery()
	}
	return w.acc.Every
}

// lookedWell notes how many are sought, and returns why a look before this one
// failed, if one did.
func (w *worker) lookedWell(n int) (blind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	blind, w.blind, w.seeking = w.blind, "", n
	return blind
}

// full tells whether the mailbox has no room at its provider for a receipt.
func (w *worker) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.quota.Known && w.quota.Limit-w.quota.Used < 64<<10
}
