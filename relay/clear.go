package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/segment"
	"pecgate/relay/fetch"
)

// What becomes of the provider's copies (provider_copy). A copy is deleted only
// when all of this holds:
//
//   - the rule of its kind says so and its time is over by a clock that has gone
//     on evenly (mailbox.EvenClock);
//   - our message is there, and its bytes, read back from disk, have the hash
//     that they were stored under;
//   - what stands at the provider under that name now has the size that was
//     fetched and begins as ours does.
//
// Where one of them does not hold the copy stays for good and the log says why.
// Before the provider is asked it is durable that it will be; the audit line
// comes when the copy is gone. A round deletes at most copiesPerRound.
//
// During a bulk sending, and where room is short, receipts go sooner (clear_room.go).
//
// What stood there when a rule came waits until the clock was believed under that
// rule: a rule set by mistake can be taken back for some days. Its number is in
// the log and in the audit line of the rule.

const (
	// copiesPerRound bounds what one round deletes.
	copiesPerRound = 200
	// looksPerRound bounds what one round looks at.
	looksPerRound = 5000
	// looked is how much older a note of the clock gets before it is written anew.
	looked = time.Hour
)

// clearing is what is known of a mailbox's rules for the provider's copies.
type clearing struct {
	mailbox.EvenClock
	Rule  string    `json:"rule"`
	Since time.Time `json:"since"` // of the rule
	// Longest is after how long the last kind of copies goes, where any does: so long
	// our messages stay (copyMayGo).
	Longest time.Duration `json:"longest,omitempty"`
	Deletes bool          `json:"deletes,omitempty"`
	// Words is Rule as people read it.
	Words string `json:"words,omitempty"`
	// Gone is what each rule has deleted, oldest first; at most rulesKept.
	Gone   []GoneByRule `json:"gone,omitempty"`
	even   bool
	sooner string // why receipts go sooner; see Account.sooner
}

func clearingKey(box string) string { return "g/" + strings.ToLower(box) }

// copyRule is the rule as the records hold it, see CopyRule.words.
func (a Account) copyRule() string {
	return "messages " + a.Copy.String() + ", receipts " + a.CopyReceipts.String()
}

// copyWords is the rule as people read it.
func (a Account) copyWords() string {
	return "messages " + a.Copy.words() + ", receipts " + a.CopyReceipts.words()
}

// longestCopy is after how long the last kind of copies goes that does.
func (a Account) longestCopy() (d time.Duration) {
	for _, r := range []CopyRule{a.Copy, a.CopyReceipts} {
		if r.Delete {
			d = max(d, r.After)
		}
	}
	return d
}

// clears tells whether any copy of the account may be deleted.
func (a Account) clears() bool { return a.Copy.Delete || a.CopyReceipts.Delete }

// clearing reads since when the account's rule holds and whether the clock is
// believed, and notes what is new about it.
func (s *Service) clearing(ctx context.Context, acc Account) (c clearing, err error) {
	rule := acc.copyRule()
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		c = clearing{}
		err := tx.Space(room).Get(clearingKey(acc.Box), &c)
		if errors.Is(err, mailbox.ErrNotFound) {
			err = nil
			c.Rule = Account{}.copyRule()
		}
		if err == nil {
			c.sooner, err = acc.sooner(tx)
		}
		return err
	})
	if err != nil || c.Rule == rule && !acc.clears() {
		return c, err
	}
	now := s.opt.Store.Now()
	changed := c.Rule != rule
	before := c.Seen
	if changed {
		c = clearing{Rule: rule, Since: now.UTC(), sooner: c.sooner, Gone: c.Gone}
	}
	worded := c.Words == acc.copyWords()
	c.Deletes, c.Longest, c.Words = acc.clears(), acc.longestCopy(), acc.copyWords()
	c.even = c.Look(now, time.UTC)
	if !changed && worded && now.Sub(before) < looked && now.After(before) {
		return c, nil
	}
	standing := 0
	if changed {
		if standing, err = s.countStanding(ctx, acc.Box); err != nil {
			return c, err
		}
		s.opt.Events.CopyRule(acc.Box, acc.copyWords(), standing)
	}
	return c, s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if changed {
			err := tx.Audit(mailbox.AuditLine{
				Actor: "relay", Event: "provider-copy", Box: acc.Box, Result: "rule", Reason: acc.copyWords(),
				More: map[string]string{"standing": fmt.Sprint(standing)},
			})
			if err != nil {
				return err
			}
		}
		return tx.Space(room).Put(clearingKey(acc.Box), c)
	})
}

func (s *Service) countStanding(ctx context.Context, box string) (n int, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		n = 0
		for _, prefix := range []string{maildropPrefix(box), "d/" + box + "/"} {
			err := scanStanding(tx, prefix, "", func(string, standing) (bool, error) { n++; return true, nil })
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// due tells whether the time of a copy is over.
func (c *clearing) due(acc Account, st standing, now time.Time) bool {
	rule := acc.Copy
	if st.Receipt {
		rule = acc.CopyReceipts
	}
	if !rule.Delete || st.Doubt || st.Message == 0 {
		return false
	}
	if rule.After <= 0 && !st.Since.Before(c.Since) {
		return true // no clock is asked: it came under this rule
	}
	after := max(rule.After, 0)
	switch {
	case !st.Receipt:
	case c.sooner == soonerRoom:
		after = 0
	case c.sooner == soonerBulk:
		after = min(after, bulkAfter)
	}
	return c.even && !st.Since.Add(after).After(now)
}

// copyOf is a copy whose time is over.
type copyOf struct {
	at         spot
	st         standing
	listed     fetch.Listed // by POP3
	renumbered bool         // all ids are other ones: nothing says that it went
}

// dueCopies returns copies below a prefix whose time is over, going on where the
// round before ended.
func (s *Service) dueCopies(ctx context.Context, w *worker, c *clearing, prefix string, in spot) (due []copyOf, err error) {
	var last string
	cut := false
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		due, last, cut = nil, "", false
		n, now := 0, tx.Now()
		return scanStanding(tx, prefix, w.lookedTo[prefix], func(k string, st standing) (bool, error) {
			if n++; n > looksPerRound || len(due) == copiesPerRound {
				cut = true
				return false, nil
			}
			if c.due(w.acc, st, now) {
				at, err := in.below(prefix, k)
				if err != nil {
					return false, err
				}
				due = append(due, copyOf{at: at, st: st})
			}
			last = k
			return true, nil
		})
	})
	if delete(w.lookedTo, prefix); cut {
		w.lookedTo[prefix] = last
	}
	return due, err
}

// ours opens our copy after its bytes were read back and hashed. why tells what
// is wrong with it.
func (s *Service) ours(ctx context.Context, st standing) (body *segment.Reader, size int64, why string, err error) {
	m, err := s.opt.Store.Message(ctx, st.Message)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, 0, "our copy was removed", nil
	}
	if err != nil {
		return nil, 0, "", err
	}
	body, err = s.opt.Store.Open(m)
	if err != nil {
		return nil, 0, "our copy cannot be read: " + err.Error(), nil
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(body, 0, m.Ref.Size))
	if err == nil && (n != m.Ref.Size || [sha256.Size]byte(h.Sum(nil)) != m.Ref.Sum) {
		err = errors.New("it has not the hash that it was stored under")
	}
	if err != nil {
		_ = body.Close() // read-only handle: nothing to lose
		return nil, 0, "our copy is damaged: " + err.Error(), nil
	}
	return body, m.Ref.Size, "", nil
}

// verified leaves only the copies that may go: ours is whole, and same finds the
// provider's to be the one that was fetched. What is there no more is noted as
// gone, and what is doubtful is kept for good; a message that is not the one that
// was fetched is fetched again.
func (s *Service) verified(ctx context.Context, acc Account, all []copyOf, same func(copyOf, io.ReaderAt, int64) (fetch.Sameness, error)) ([]copyOf, error) {
	var good, gone []copyOf
	for _, c := range all {
		body, size, why, err := s.ours(ctx, c.st)
		if err != nil {
			return nil, err
		}
		found := fetch.Equal
		if why == "" {
			found, err = same(c, body, size)
			_ = body.Close() // read-only handle: nothing to lose
			if err != nil {
				return nil, err
			}
		}
		switch {
		case found == fetch.Gone:
			gone = append(gone, c)
			continue
		case found == fetch.Other:
			why = "what stands there is not the message that was fetched"
		case why == "":
			good = append(good, c)
			continue
		}
		s.opt.Events.CopyKept(acc.Box, c.at.at(), why)
		err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			c.st.Doubt = true
			if err := stand(tx, acc.Box, c.at, c.st); err != nil || found != fetch.Other {
				return err
			}
			return putAside(tx, acc.Box, c.at, why, 0, 0)
		})
		if err != nil {
			return nil, err
		}
	}
	return good, s.went(ctx, acc.Box, gone)
}

// ask makes it durable that the deletion of these copies will be asked for.
func (s *Service) ask(ctx context.Context, box string, all []copyOf) error {
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if err := s.stillOurs(tx, box); err != nil {
			return err
		}
		for _, c := range all {
			c.st.Asked++
			if err := stand(tx, box, c.at, c.st); err != nil {
				return err
			}
		}
		return nil
	})
}

// went notes copies that are there no more: those that we asked to delete, in
// the audit log; what another client took before it was fetched, too.
func (s *Service) went(ctx context.Context, box string, all []copyOf) error {
	for len(all) > 0 {
		part := all[:min(len(all), 100)]
		all = all[len(part):]
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			for _, c := range part {
				if err := went(tx, box, c); err != nil {
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

func went(tx *mailbox.Tx, box string, c copyOf) error {
	if err := tx.Space(room).Delete(c.at.standingKey(box)); err != nil {
		return err
	}
	switch {
	case c.renumbered && c.st.Asked == 0:
		return nil // it stands there under another id
	case c.st.Message == 0:
		return seenButGone(tx, box, c.at, byAnother)
	case c.st.Asked == 0:
		more := c.at.facts()
		more["message"] = fmt.Sprint(c.st.Message)
		return errors.Join(countGone(tx, box, true), tx.Audit(mailbox.AuditLine{
			Actor: "relay", Event: "provider-copy", Box: box, Result: "gone", Reason: byAnother, More: more,
		}))
	}
	more := c.at.facts()
	more["message"] = fmt.Sprint(c.st.Message)
	m, err := tx.Message(c.st.Message)
	if err == nil {
		more["sha256"] = m.SHA256()
	} else if !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	rule, err := noteGoneByRule(tx, box, c.st.Receipt)
	if err != nil {
		return err
	}
	return tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "provider-copy", Box: box, Result: "deleted", Reason: rule, More: more})
}

// clearFolder deletes copies in a folder whose time is over.
func (s *Service) clearFolder(ctx context.Context, w *worker, session *fetch.Session, folder string, validity uint32) error {
	c, err := s.clearing(ctx, w.acc)
	if err != nil || !w.acc.clears() {
		w.cleared(folder, nil)
		return err
	}
	due, err := s.dueCopies(ctx, w, &c, folderPrefix(w.acc.Box, folder, validity), spot{folder: folder, validity: validity})
	if err != nil || len(due) == 0 {
		return err
	}
	due, err = s.verified(ctx, w.acc, due, func(c copyOf, ours io.ReaderAt, size int64) (fetch.Sameness, error) {
		return session.Same(ctx, folder, validity, c.at.uid, ours, size)
	})
	if err != nil || len(due) == 0 {
		return err
	}
	if err := s.ask(ctx, w.acc.Box, due); err != nil {
		return err
	}
	var uids []uint32
	for _, c := range due {
		uids = append(uids, c.at.uid)
	}
	left, err := session.Remove(ctx, folder, validity, uids)
	w.cleared(folder, err)
	if errors.Is(err, fetch.ErrRefused) {
		return nil // the mailbox is fetched all the same; status says it
	}
	if err != nil {
		return fmt.Errorf("delete the provider's copies: %w", err)
	}
	still := map[uint32]bool{}
	for _, uid := range left {
		still[uid] = true
	}
	var gone []copyOf
	for _, c := range due {
		if c.st.Asked++; !still[c.at.uid] {
			gone = append(gone, c)
		}
	}
	s.opt.Events.CopiesDeleted(w.acc.Box, len(gone), len(left))
	if len(left) > 0 {
		w.cleared(folder, fmt.Errorf("%d messages are there still after they were deleted", len(left)))
	}
	return s.went(ctx, w.acc.Box, gone)
}
