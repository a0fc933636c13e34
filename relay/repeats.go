package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox"
)

// A fingerprint of a submission (t/) is of use as long as a client's retry of it is known
// as one: relayWindow at most. Then its record goes, a few in each round of the
// watchdogs. Only a clock that is believed removes any, and with doubtAfter to spare: one
// that is put back would make an old retry a new submission.

const (
	repeatsInGo = 200            // records looked at in one round
	repeatsWait = 24 * time.Hour // after all were, of runClock.Ran
)

// repeatSweep is how far it was looked; the watchdogs' alone.
type repeatSweep struct {
	from string // key
	next time.Duration
}

// sweepRepeats removes fingerprints whose time is over.
func (s *Service) sweepRepeats(ctx context.Context, clock runClock) error {
	if !clock.believed() || clock.Ran < s.repeats.next {
		return nil
	}
	var old map[string]string
	var last string
	looked := 0
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		old, last, looked = map[string]string{}, "", 0
		return tx.Space(room).ScanFrom("t/", s.repeats.from, func(k string, raw []byte) (bool, error) {
			var id string
			if err := json.Unmarshal(raw, &id); err != nil {
				return false, fmt.Errorf("record of a fingerprint: %w", err)
			}
			looked, last = looked+1, k
			over, err := repeatOver(tx, id)
			if over {
				old[k] = id
			}
			return looked < repeatsInGo, err
		})
	})
	if err != nil {
		return err
	}
	if len(old) > 0 {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			for k, id := range old {
				var now string
				if err := tx.Space(room).Get(k, &now); errors.Is(err, mailbox.ErrNotFound) || err == nil && now != id {
					continue // another submission has it by now
				} else if err != nil {
					return err
				}
				if err := tx.Space(room).Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if s.repeats.from = last + "\x00"; looked < repeatsInGo {
		s.repeats = repeatSweep{from: "t/", next: clock.Ran + repeatsWait}
	}
	return nil
}

// repeatOver tells whether no repetition of a submission is known as one any more.
func repeatOver(tx *mailbox.Tx, id string) (bool, error) {
	sub, err := headOf(tx, id)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return err == nil && tx.Now().Sub(sub.SubmittedAt) > relayWindow+doubtAfter, err
}
