package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Hold is a legal hold: as long as it lies on a message, nothing removes it.
type Hold struct {
	ID     string    `json:"id"` // the caller's, at most 100 bytes
	Reason string    `json:"reason"`
	Who    string    `json:"who"` // login, or the room that acted
	At     time.Time `json:"at"`  // given by PlaceHold
}

// ErrHold says that a hold's id cannot be used.
var ErrHold = errors.New("mailbox: a legal hold has an id of 1 to 100 bytes and a reason of at most 4,000")

// PlaceHold puts a hold on messages: all that exist get it, in bounded steps;
// after an error some may have it, and the call may be made again. A hold that
// is there keeps its reason, person and time and gets more messages. It returns
// how many have it for the first time.
func (s *Store) PlaceHold(ctx context.Context, h Hold, ids []MessageID) (int, error) {
	h.ID = strings.ReplaceAll(h.ID, "\x00", "")
	if h.ID == "" || len(h.ID) > 100 || len(h.Reason) > 4000 || len(h.Who) > 1000 {
		return 0, ErrHold
	}
	placed := 0
	parts := slices.Collect(slices.Chunk(ids, batch))
	if len(parts) == 0 {
		parts = [][]MessageID{nil} // a hold may exist before its first message
	}
	for _, part := range parts {
		n := 0
		err := s.Update(ctx, func(tx *Tx) (err error) { n, err = tx.placeHold(h, part); return err })
		if err != nil {
			return placed, fmt.Errorf("place a legal hold: %w", err)
		}
		placed += n
	}
	return placed, nil
}

func (tx *Tx) placeHold(h Hold, ids []MessageID) (int, error) {
	known, err := tx.has(key("lh", h.ID))
	if err != nil {
		return 0, err
	}
	if !known {
		h.At = tx.now.UTC()
		if err := tx.putJSON(key("lh", h.ID), h); err != nil {
			return 0, err
		}
	}
	placed := 0
	for _, id := range ids {
		k := key("lm", id, h.ID)
		has, err := tx.has(k)
		if err != nil {
			return 0, err
		}
		exists, err := tx.has(key("m", id))
		if err != nil {
			return 0, err
		}
		if has || !exists {
			continue
		}
		if err := errors.Join(tx.w.Put(k, nil), tx.w.Put(key("lx", h.ID, id), nil)); err != nil {
			return 0, err
		}
		placed++
	}
	if known && placed == 0 {
		return 0, nil
	}
	return placed, tx.Audit(AuditLine{Actor: h.Who, Event: "hold", Subject: h.ID, Result: fmt.Sprintf("%d messages", placed), Reason: h.Reason})
}

// LiftHold takes a hold away from all its messages, in bounded steps; after an
// error it lies on some still, and the call may be made again. ErrNotFound: no
// such hold.
func (s *Store) LiftHold(ctx context.Context, id, who, reason string) error {
	for more := true; more; {
		err := s.Update(ctx, func(tx *Tx) error {
			ids, err := tx.HeldBy(id, batch)
			if err != nil {
				return err
			}
			for _, m := range ids {
				if err := errors.Join(tx.w.Delete(key("lm", m, id)), tx.w.Delete(key("lx", id, m))); err != nil {
					return err
				}
			}
			if more = len(ids) == batch; more {
				return nil
			}
			if err := tx.w.Delete(key("lh", id)); err != nil {
				return err
			}
			return tx.Audit(AuditLine{Actor: who, Event: "hold", Subject: id, Result: "lifted", Reason: reason})
		})
		if err != nil {
			return fmt.Errorf("lift a legal hold: %w", err)
		}
	}
	return nil
}

// Holds returns the holds on a message.
func (tx *Tx) Holds(id MessageID) ([]Hold, error) {
	var out []Hold
	prefix := key("lm", id)
	err := tx.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
		var h Hold
		if err := tx.getJSON(append([]byte("lh/"), k[len(prefix):]...), &h); err != nil {
			return false, err
		}
		out = append(out, h)
		return true, nil
	})
	return out, err
}

// held tells whether any hold lies on a message.
func (tx *Tx) held(id MessageID) (bool, error) {
	found := false
	err := tx.r.Scan(key("lm", id), nil, func(_, _ []byte) (bool, error) {
		found = true
		return false, nil
	})
	return found, err
}

// HeldBy returns at most most of the messages that a hold lies on, oldest
// first, or ErrNotFound.
func (tx *Tx) HeldBy(hold string, most int) ([]MessageID, error) {
	if ok, err := tx.has(key("lh", hold)); err != nil {
		return nil, err
	} else if !ok {
		return nil, ErrNotFound
	}
	var ids []MessageID
	err := tx.r.Scan(key("lx", hold), nil, func(k, _ []byte) (bool, error) {
		ids = append(ids, MessageID(tailUint64(k)))
		return len(ids) < most, nil
	})
	return ids, err
}

// AllHolds returns every hold.
func (tx *Tx) AllHolds() ([]Hold, error) {
	var out []Hold
	err := tx.r.Scan(key("lh"), nil, func(_, v []byte) (bool, error) {
		var h Hold
		err := json.Unmarshal(v, &h)
		out = append(out, h)
		return true, err
	})
	return out, err
}
