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
	"pecgate/mailbox/pec"
)

// quoting is the header field in which receipts quote the Message-ID of what they
// are about (Regole tecniche, 6.3).
const quoting = "X-Riferimento-Message-ID"

// sought is an uncertain submission of which a receipt is looked for.
type sought struct {
	id    string
	msgid string    // where few are sought
	from  time.Time // before that its receipt cannot have come; zero: unknown
}

// seeking returns the submissions of a mailbox of which a receipt is looked for, all
// of them. What has no record any more is sought no longer.
func (s *Service) seeking(ctx context.Context, box string) (out []sought, err error) {
	var gone []string
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		out, gone = nil, nil
		prefix := lookingPrefix(box)
		err := tx.Space(room).Scan(prefix, func(k string, raw []byte) (bool, error) {
			var l looking
			if err := json.Unmarshal(raw, &l); err != nil {
				return false, fmt.Errorf("record of a search for a receipt: %w", err)
			}
			if !l.Over && !l.Seen.IsZero() {
				out = append(out, sought{id: strings.TrimPrefix(k, prefix), from: l.From})
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		few := len(out) <= maxSingly
		out = slices.DeleteFunc(out, func(one sought) bool {
			lerr := tx.Space(room).Get("s/"+one.id, new(json.RawMessage))
			if errors.Is(lerr, mailbox.ErrNotFound) {
				gone = append(gone, lookingKey(box, one.id), queueKey(box, one.id))
				return true
			}
			err = errors.Join(err, lerr)
			return false
		})
		for i := 0; few && i < len(out) && err == nil; i++ {
			var sub *Submission
			if sub, err = headOf(tx, out[i].id); err == nil {
				out[i].msgid = sub.MsgID
			}
		}
		return err
	})
	if err == nil && len(gone) > 0 {
		err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			for _, k := range gone {
				if err := tx.Space(room).Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return out, err
}

// lookMaildrop is lookFolders by POP3: all that is listed was taken in, but for what
// was set aside.
func (s *Service) lookMaildrop(ctx context.Context, w *worker, began time.Time) error {
	all, err := s.seeking(ctx, w.acc.Box)
	if err != nil {
		return err
	}
	return s.lookEnds(ctx, w, &look{began: began, all: all})
}

// quoted notes that something quotes the Message-ID of a submission that is
// uncertain still: it is not handed over again by itself.
func (l *look) quoted(id, why string) {
	if l.why == nil {
		l.why = map[string]string{}
	}
	if l.why[id] == "" {
		l.why[id] = plain(why, maxWords)
	}
}

// unread is what of a mailbox was set aside: it may be the receipt of what was handed
// over before.
type unread struct {
	last   time.Time // when the last message was
	why    string
	untold time.Time // when the last one was that has not been tried again since; zero: none
}

// readUnread returns what of a mailbox was set aside.
func readUnread(tx *mailbox.Tx, box string) (u unread, err error) {
	err = tx.Space(room).Scan("a/"+strings.ToLower(box)+"/", func(_ string, raw []byte) (bool, error) {
		var a aside
		if err := json.Unmarshal(raw, &a); err != nil {
			return false, fmt.Errorf("record of a message that was set aside: %w", err)
		}
		if !a.Since.Before(u.last) {
			u.last, u.why = a.Since, a.Why
		}
		if !a.triedAgain() && a.Since.After(u.untold) {
			u.untold = a.Since
		}
		return true, nil
	})
	return u, err
}

// since returns why something was set aside since a hand-over began, empty where
// nothing was; again tells whether some of it is still to be tried again.
func (u unread) since(from time.Time) (why string, again bool) {
	if u.last.IsZero() || u.last.Before(from) {
		return "", false
	}
	return u.why, !u.untold.IsZero() && !u.untold.Before(from)
}

// asideGrace is how much longer a search goes on at most while something that was set
// aside since the hand-over, and may be its receipt, was not tried again yet: nobody is
// told that no receipt came which lies there unread. Who feeds the gateway one message
// after the other that it cannot read gains no more than this.
const asideGrace = 2 * max(asideFirst, poisonFirst)

// noteQuoted notes that something quotes the Message-ID of a submission that is
// uncertain, or may be so soon: the provider's answer to the dot may take ten
// minutes, and a receipt may be faster.
func noteQuoted(tx *mailbox.Tx, sub *Submission, why string) error {
	if sub.State != Uncertain && sub.State != Attempting {
		return nil
	}
	l, err := lookingFor(tx, sub)
	if err != nil || l.Seek != "" || sub.State == Uncertain && l.Seen.IsZero() {
		return err
	}
	l.Seek = plain(why, maxWords)
	if sub.State == Attempting && !sub.Looking {
		sub.Looking = true // so that the record goes with the attempt
		if err := putHead(tx, sub); err != nil {
			return err
		}
	}
	return tx.Space(room).Put(lookingKey(sub.Box, sub.ID), l)
}

// noteQuotes is noteQuoted for a message that arrived, quotes Message-IDs of this
// mailbox and was tied to nothing: it may be a receipt whose signature cannot be
// checked here.
func noteQuotes(tx *mailbox.Tx, box string, r *pec.Report) error {
	for _, msgid := range r.MsgIDs() {
		sub, err := byMsgID(tx, box, msgid)
		if err == nil && sub.batch() {
			sub, err = visibleOf(tx, sub) // see tie
		}
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := noteQuoted(tx, sub, fmt.Sprintf("%s (%s) quotes its Message-ID and proves nothing: %s", r.Kind, r.Verdict, r.Reason)); err != nil {
			return err
		}
	}
	return nil
}

// look is a good look at a mailbox, and what it has shown.
type look struct {
	began time.Time
	all   []sought
	why   map[string]string // by id: why it is not handed over again by itself
	gap   string            // what could not be looked into
}

// perLook is how many are noted in one transaction.
const perLook = 200

// lookEnds notes a good look at those that were sought, and files the notices that
// are due.
func (s *Service) lookEnds(ctx context.Context, w *worker, l *look) error {
	blind := w.looks(len(l.all))
	if w.full() && blind == "" {
		blind = "it was full: receipts may not have got in"
	}
	for part := range slices.Chunk(l.all, perLook) {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			aside, err := readUnread(tx, w.acc.Box)
			if err != nil {
				return err
			}
			for _, one := range part {
				if err := l.note(tx, w.acc, one, blind, aside); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	w.lookedWell()
	return s.tellWatched(ctx, w.acc)
}

// note notes the look at one. What was set aside since it was handed over may be its
// receipt.
func (l *look) note(tx *mailbox.Tx, acc Account, one sought, blind string, asides unread) error {
	sub, err := headOf(tx, one.id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := lookingFor(tx, sub)
	if err != nil || now.Seen.IsZero() || sub.State != Uncertain {
		return err
	}
	before := now
	aside, again := asides.since(one.from)
	if now.Seek == "" {
		now.Seek = l.why[one.id]
	}
	if now.Seek == "" && aside != "" {
		now.Seek = plain("something that may quote its Message-ID cannot be fetched: "+aside, maxWords)
	}
	if now.Gap == "" {
		now.Gap = l.gap
	}
	since := l.began.Sub(now.Seen)
	switch within := since < 0 && !now.Seen.After(tx.Now()); {
	case within:
		// It became uncertain while this look was under way: the next one counts.
	case blind == "" && now.Blind == "" && since >= 0 && since < lookNoted && now.Read+since < acc.uncertainAfter():
		// Noted with a later look.
	default:
		now.saw(l.began, acc, blind)
	}
	ends := acc.uncertainAfter()
	if now.Unread = ""; now.Over && again && now.Read < ends+asideGrace {
		ends += asideGrace
		now.Over, now.Unread = false, plain(aside, maxWords)
	}
	if now == before {
		return nil
	}
	now.End = tx.Now().UTC().Add(max(ends-now.Read, 0))
	if err := tx.Space(room).Put(lookingKey(sub.Box, sub.ID), now); err != nil || !now.Over {
		return err
	}
	if err := tx.Space(room).Put(queueKey(sub.Box, sub.ID), due{At: tx.Now().UTC(), Set: tx.Now().UTC(), Suspect: sub.Crashes > 0}); err != nil {
		return err
	}
	return ring(tx, sub)
}

// lookNoted is how often at most a search is noted that goes well.
const lookNoted = 5 * time.Second

// noteBlind notes that a mailbox could not be looked at, durably: a restart does not
// make it readable.
func (s *Service) noteBlind(ctx context.Context, w *worker, why error) error {
	if ctx.Err() != nil || errors.Is(why, errOtherFetcher) {
		return nil
	}
	text := plain(why.Error(), maxWords)
	err := s.blindFor(ctx, w.acc.Box, text)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.blind = text // as long as this worker lives
	}
	return err
}

func (s *Service) blindFor(ctx context.Context, box, why string) error {
	var keys []string
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		keys = nil
		return tx.Space(room).Scan(lookingPrefix(box), func(k string, raw []byte) (bool, error) {
			var l looking
			if err := json.Unmarshal(raw, &l); err != nil {
				return false, fmt.Errorf("record of a search for a receipt: %w", err)
			}
			if !l.Over && !l.Seen.IsZero() && l.Blind == "" {
				keys = append(keys, k)
			}
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	for part := range slices.Chunk(keys, perLook) {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			for _, k := range part {
				var l looking
				if err := tx.Space(room).Get(k, &l); errors.Is(err, mailbox.ErrNotFound) {
					continue
				} else if err != nil {
					return err
				}
				l.Blind = why
				if err := tx.Space(room).Put(k, l); err != nil {
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

// lookWait is how long the fetcher may sleep.
func (w *worker) lookWait() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seeking > 0 {
		return w.acc.lookEvery()
	}
	return w.acc.Every
}

// looks notes how many are sought, and returns why a look before this one failed
// where that could not be recorded.
func (w *worker) looks(n int) (blind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seeking = n
	return w.blind
}

// lookedWell: a good look is recorded.
func (w *worker) lookedWell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blind, w.goodLook = "", true
}

// beginRound notes that no good look was made in this round so far.
func (w *worker) beginRound() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.goodLook = false
}

func (w *worker) hasLooked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.goodLook
}

// full tells whether the mailbox has no room at its provider for a receipt.
func (w *worker) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.quota.Known && w.quota.Limit-w.quota.Used < 64<<10
}
