package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Retention says what may be removed from the store.
type Retention struct {
	// Keep is the age at which the messages of a mailbox may go, by our arrival
	// time; false: they stay forever. Messages of no mailbox always stay.
	Keep func(box string) (age time.Duration, ok bool)
	// Needed tells whether another room needs the message still, for example for
	// a submission under way. nil: whatever belongs to a submission is needed.
	Needed func(*Tx, *Message) (bool, error)
	// Most is how many messages one call looks at; 0: 1,000.
	Most int
}

// Retained is what one call of Retain did.
type Retained struct {
	Looked, Removed int
	Done            bool // the end of the store was reached; the next call begins anew
	// Waiting: the clock has not been seen to go on evenly for long enough, so
	// that nothing was looked at. A clock that jumps must not remove mail.
	Waiting bool
}

// retention is the state between two calls.
type retention struct {
	EvenClock
	Cursor MessageID `json:"cursor"` // the last one looked at
}

// Retain removes messages whose age is over, on which no hold lies and that
// nobody needs: their entries in the mailbox's tree (whoever has them), their
// records and their bytes. An entry in a folder that a person made, or among
// drafts, outside this tree keeps the message: that copy is the person's own.
//
// The work of one call is bounded; the next one goes on where it ended, also
// after a restart. It is called at least once a day: see Retained.Waiting.
func (s *Store) Retain(ctx context.Context, r Retention) (out Retained, err error) {
	if r.Most <= 0 {
		r.Most = 1000
	}
	if err := s.finishRemovals(ctx); err != nil {
		return out, err
	}
	var state retention
	var due []MessageID
	now := s.opt.Now()
	err = s.View(ctx, func(tx *Tx) error {
		state, due, out = retention{}, nil, Retained{}
		if err := tx.getJSON(key("n", "retention"), &state); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if !state.Look(now, s.opt.Zone) {
			out.Waiting = true
			return nil
		}
		return tx.scanDue(r, now, &state, &due, &out)
	})
	if err != nil {
		return out, fmt.Errorf("look for messages whose time is over: %w", err)
	}
	for _, id := range due {
		gone, err := s.removeMessage(ctx, id, func(tx *Tx, m *Message) (bool, error) { return tx.mayGo(r, m, now) })
		if err != nil {
			return out, err
		}
		if gone {
			out.Removed++
		}
	}
	if err := s.finishRemovals(ctx); err != nil {
		return out, err
	}
	return out, s.Update(ctx, func(tx *Tx) error { return tx.putJSON(key("n", "retention"), state) })
}

// scanDue collects messages behind the cursor that are old enough.
func (tx *Tx) scanDue(r Retention, now time.Time, state *retention, due *[]MessageID, out *Retained) error {
	out.Done = true
	last := state.Cursor
	err := tx.r.Scan(key("m"), key("m", last+1), func(k, v []byte) (bool, error) {
		if out.Looked == r.Most {
			out.Done = false
			return false, nil
		}
		out.Looked++
		last = MessageID(tailUint64(k))
		var m Message
		if err := json.Unmarshal(v, &m); err != nil {
			return false, fmt.Errorf("message %d: %w", last, err)
		}
		if old(r, &m, now) {
			*due = append(*due, last)
		}
		return true, nil
	})
	if state.Cursor = last; out.Done {
		state.Cursor = 0
	}
	return err
}

func old(r Retention, m *Message, now time.Time) bool {
	if m.Box == "" || r.Keep == nil {
		return false
	}
	age, ok := r.Keep(strings.ToLower(m.Box))
	return ok && age > 0 && m.Arrived.Add(age).Before(now)
}

// mayGo tells whether a message may be removed.
func (tx *Tx) mayGo(r Retention, m *Message, now time.Time) (bool, error) {
	if !old(r, m, now) {
		return false, nil
	}
	if held, err := tx.held(m.ID); err != nil || held {
		return false, err
	}
	needed := func(_ *Tx, m *Message) (bool, error) { return m.Submission != "", nil }
	if r.Needed != nil {
		needed = r.Needed
	}
	if yes, err := needed(tx, m); err != nil || yes {
		return false, err
	}
	places, err := tx.Places(m.ID)
	if err != nil {
		return false, err
	}
	for _, p := range places {
		f, err := tx.folderByID(p.Folder)
		if err != nil {
			return false, err
		}
		own := !f.Key.Shared() && (f.Key.Role == RoleCustom || f.Key.Role == RoleDrafts)
		if own && !strings.EqualFold(f.Key.Box, m.Box) {
			return false, nil
		}
	}
	return true, nil
}
