package mailbox

import (
	"context"
	"errors"
	"fmt"

	"pecgate/mailbox/segment"
)

// Swept says what Sweep did.
type Swept struct {
	Segments int
	Moved    int
	Freed    int64 // bytes
}

// Sweep gives the space of removed messages back to the disk, segment by
// segment, as long as one is worth it and the disk is above the floor (a sweep
// first writes). It runs beside everything else, may be ended at any time and
// goes on when it is called again. It is not to be called before the records
// were found complete.
func (s *Store) Sweep(ctx context.Context) (Swept, error) {
	var out Swept
	if err := s.finishRemovals(ctx); err != nil {
		return out, err
	}
	for {
		if err := s.Room(); err != nil {
			return out, err
		}
		n, ok, err := s.bytes.Due(ctx)
		if err != nil || !ok {
			return out, s.watch(err)
		}
		done, err := s.bytes.Sweep(ctx, n, s.live(ctx), s.moved)
		out.Moved += done.Moved
		out.Freed += done.Freed
		if errors.Is(err, segment.ErrBusy) || errors.Is(err, segment.ErrNotFound) {
			return out, nil // later
		}
		if err != nil {
			return out, fmt.Errorf("sweep: %w", s.watch(err))
		}
		if done.Freed == 0 {
			return out, nil // it would be named again
		}
		out.Segments++
	}
}

// live tells the sweep whether a record names bytes.
func (s *Store) live(ctx context.Context) func(segment.Ref) (bool, error) {
	return func(ref segment.Ref) (found bool, err error) {
		err = s.View(ctx, func(tx *Tx) error {
			ids, err := tx.named(ref)
			found = len(ids) > 0
			return err
		})
		return found, err
	}
}

// moved changes the records of messages whose bytes stand in a new place.
func (s *Store) moved(ctx context.Context, moves []segment.Move) error {
	for len(moves) > 0 {
		n := min(len(moves), batch)
		err := s.Update(ctx, func(tx *Tx) error {
			for _, m := range moves[:n] {
				if err := tx.move(m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("change the places of %d messages: %w", n, err)
		}
		moves = moves[n:]
	}
	return nil
}

func (tx *Tx) move(m segment.Move) error {
	ids, err := tx.named(m.From)
	if err != nil {
		return err
	}
	for _, id := range ids {
		msg, err := tx.Message(id)
		if err != nil {
			return err
		}
		msg.Ref = m.To
		err = errors.Join(
			tx.putJSON(key("m", id), msg),
			tx.w.Delete(append(placeKey(m.From), key("", id)[1:]...)),
			tx.w.Put(append(placeKey(m.To), key("", id)[1:]...), nil))
		if err != nil {
			return err
		}
	}
	doomed, err := tx.has(doomedKey(m.From))
	if err != nil || !doomed {
		return err
	}
	ref, err := m.To.MarshalBinary()
	if err != nil {
		return err
	}
	return errors.Join(tx.w.Delete(doomedKey(m.From)), tx.w.Put(doomedKey(m.To), ref))
}
