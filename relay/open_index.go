package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pecgate/mailbox"
)

// Submissions stay for good, so what is asked often must not read them all. Beside
// their records stand, in the same transaction:
//
//	i/<id>       openLine: those that have not ended
//	late/<id>    how many of its recipients a receipt is late for, where any
//	cn/<mailbox> totals: how many are in each state, and the sum of late/
//	indexed      how far these go: see covered
//
// putHead is the one way to write the record of a submission.

// openLine is what is listed of a submission that has not ended.
type openLine struct {
	Box   string `json:"mailbox"`
	State State  `json:"state"`
}

// totals count the submissions of a mailbox; of a batch its messages count.
type totals struct {
	States map[State]int `json:"states"`
	Late   int           `json:"late"` // recipients
}

// covered is how far the records above are made: a store of an earlier release has
// none, and they are made in the background (coverAll). Meanwhile those up to To are
// kept, and who asks reads everything.
type covered struct {
	To   string `json:"to"`
	Done bool   `json:"done,omitempty"`
}

const (
	openPrefix = "i/"
	coveredKey = "indexed"
)

func lateKey(id string) string    { return "late/" + id }
func totalsKey(box string) string { return "cn/" + strings.ToLower(box) }

func (c covered) has(id string) bool { return c.Done || c.To != "" && id <= c.To }

// ended tells whether nothing more is to become of a submission but what its
// recipients' receipts say.
func (s State) ended() bool { return s == Accepted || s == NotAccepted || s == Cancelled }

// coveredIn reads how far the records go, and whether that is on record. Of a store
// without submissions they are whole from the beginning.
func coveredIn(tx *mailbox.Tx) (c covered, noted bool, err error) {
	err = tx.Space(room).Get(coveredKey, &c)
	if !errors.Is(err, mailbox.ErrNotFound) {
		return c, err == nil, err
	}
	c.Done = true
	err = tx.Space(room).Scan("s/", func(string, []byte) (bool, error) { c.Done = false; return false, nil })
	return c, false, err
}

// putHead writes the record of a submission, without its recipients.
func putHead(tx *mailbox.Tx, s *Submission) error {
	c, noted, err := coveredIn(tx)
	if err == nil && c.Done && !noted {
		err = tx.Space(room).Put(coveredKey, c)
	}
	if err != nil {
		return err
	}
	if c.has(s.ID) {
		before, err := headOf(tx, s.ID)
		if errors.Is(err, ErrNotFound) {
			before, err = nil, nil
		}
		if err != nil {
			return err
		}
		var t totals
		if changed, err := t.change(tx, before, s); err != nil {
			return err
		} else if changed {
			if err := t.add(tx, s.Box); err != nil {
				return err
			}
		}
	}
	return tx.Space(room).Put("s/"+s.ID, s)
}

// change writes what is listed of a submission, whose record was before (nil: there
// was none), and takes what it changes in the totals into t.
func (t *totals) change(tx *mailbox.Tx, before, s *Submission) (changed bool, err error) {
	sp := tx.Space(room)
	if before == nil || before.State != s.State || before.Box != s.Box {
		switch {
		case !s.State.ended():
			err = sp.Put(openPrefix+s.ID, openLine{Box: s.Box, State: s.State})
		case before != nil && !before.State.ended():
			err = sp.Delete(openPrefix + s.ID)
		}
		if err != nil {
			return false, err
		}
	}
	if t.States == nil {
		t.States = map[State]int{}
	}
	was, is := counts(before), counts(s)
	if was != is {
		t.States[was.state] -= was.n
		t.States[is.state] += is.n
		changed = true
	}
	if s.batch() || len(s.Recipients) == 0 { // a batch repeats its messages'
		return changed, nil
	}
	late, old := 0, 0
	for _, r := range s.Recipients {
		if r.State == Late {
			late++
		}
	}
	if err := sp.Get(lateKey(s.ID), &old); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return false, err
	}
	if late == old {
		return changed, nil
	}
	t.Late += late - old
	if late > 0 {
		return true, sp.Put(lateKey(s.ID), late)
	}
	return true, sp.Delete(lateKey(s.ID))
}

// share is what a submission counts for.
type share struct {
	state State
	n     int
}

// counts is the share of a submission; of a batch, that of its messages without a
// record: the others count themselves.
func counts(s *Submission) share {
	switch {
	case s == nil:
		return share{}
	case !s.batch():
		return share{s.State, 1}
	}
	if n := s.unmade(); n > 0 {
		return share{s.Rest, n}
	}
	return share{}
}

// add takes changes into the totals of a mailbox.
func (t *totals) add(tx *mailbox.Tx, box string) error {
	var sum totals
	if err := tx.Space(room).Get(totalsKey(box), &sum); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	if sum.States == nil {
		sum.States = map[State]int{}
	}
	for state, n := range t.States {
		if sum.States[state] += n; sum.States[state] == 0 {
			delete(sum.States, state)
		}
	}
	sum.Late += t.Late
	return tx.Space(room).Put(totalsKey(box), sum)
}

// coverPage is how many submissions are taken in in one transaction.
const coverPage = 200

// coverAll makes the records above for a store that has none. What is submitted and
// changes meanwhile is kept as far as it has come; a stop loses nothing.
func (s *Service) coverAll(ctx context.Context) error {
	for done := false; !done; {
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			c, _, err := coveredIn(tx)
			done = c.Done
			return err
		})
		if err != nil || done {
			return err
		}
		if err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return coverMore(tx, coverPage) }); err != nil {
			return err
		}
	}
	return nil
}

// coverMore takes at most so many more submissions in.
func coverMore(tx *mailbox.Tx, most int) error {
	c, _, err := coveredIn(tx)
	if err != nil || c.Done {
		return err
	}
	var ids []string
	more := false
	err = tx.Space(room).ScanFrom("s/", "s/"+c.To, func(k string, _ []byte) (bool, error) {
		id := strings.TrimPrefix(k, "s/")
		if id == c.To {
			return true, nil
		}
		more = len(ids) == most
		if !more {
			ids = append(ids, id)
		}
		return !more, nil
	})
	if err != nil {
		return err
	}
	all := map[string]*totals{}
	for _, id := range ids {
		s, err := load(tx, id)
		if err != nil {
			return fmt.Errorf("submission %s: %w", id, err)
		}
		t := all[strings.ToLower(s.Box)]
		if t == nil {
			t = new(totals)
			all[strings.ToLower(s.Box)] = t
		}
		if _, err := t.change(tx, nil, s); err != nil {
			return err
		}
		c.To = id
	}
	for box, t := range all {
		if err := t.add(tx, box); err != nil {
			return err
		}
	}
	c.Done = !more
	return tx.Space(room).Put(coveredKey, c)
}

// totalsOf returns the totals of all mailboxes together.
func totalsOf(tx *mailbox.Tx) (sum totals, err error) {
	sum.States = map[State]int{}
	c, _, err := coveredIn(tx)
	if err != nil {
		return sum, err
	}
	if !c.Done {
		return countAll(tx)
	}
	err = tx.Space(room).Scan("cn/", func(_ string, raw []byte) (bool, error) {
		var t totals
		if err := json.Unmarshal(raw, &t); err != nil {
			return false, fmt.Errorf("totals of the submissions of a mailbox: %w", err)
		}
		for state, n := range t.States {
			sum.States[state] += n
		}
		sum.Late += t.Late
		return true, nil
	})
	return sum, err
}

// countAll is totalsOf from the submissions themselves.
func countAll(tx *mailbox.Tx) (sum totals, err error) {
	sum.States = map[State]int{}
	err = tx.Space(room).Scan("s/", func(_ string, raw []byte) (bool, error) {
		var s Submission
		if err := json.Unmarshal(raw, &s); err != nil {
			return false, err
		}
		if is := counts(&s); is.n > 0 {
			sum.States[is.state] += is.n
		}
		return true, nil
	})
	if err != nil {
		return sum, err
	}
	err = tx.Space(room).Scan("r/", func(_ string, raw []byte) (bool, error) {
		var part []Recipient
		if err := json.Unmarshal(raw, &part); err != nil {
			return false, err
		}
		for _, r := range part {
			if r.State == Late && r.Of == "" { // a batch repeats its messages'
				sum.Late++
			}
		}
		return true, nil
	})
	return sum, err
}

// scanListed calls fn for the submissions behind an id ("" for all) that may be in one
// of the states, oldest first, until it returns false: for those that have not ended,
// what is not in one of them is not even read.
func scanListed(tx *mailbox.Tx, after string, states []State, fn func(id string, line openLine) (bool, error)) error {
	c, _, err := coveredIn(tx)
	if err != nil {
		return err
	}
	prefix := "s/"
	if c.Done && !slices.ContainsFunc(states, State.ended) {
		prefix = openPrefix
	}
	return tx.Space(room).ScanFrom(prefix, prefix+after, func(k string, raw []byte) (bool, error) {
		id := strings.TrimPrefix(k, prefix)
		if id == after {
			return true, nil
		}
		var line openLine
		if err := json.Unmarshal(raw, &line); err != nil {
			return false, fmt.Errorf("submission %s: %w", id, err)
		}
		return fn(id, line)
	})
}
