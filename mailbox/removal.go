package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

// Removal of a message for good. Only Retain asks for it, FileGenerated for what the
// gateway wrote itself, and RemoveTransit; no folder command of a person does: these take
// entries away, the message stays.
//
// The last transaction takes the record away and notes the bytes under mx/;
// then the segments are told, then the note goes. A crash in between finds the
// note, so that what was removed never comes back as a recovered message.

// removeMessage takes a message with all its entries away, if may says so in
// the transaction that does it. A message with very many entries goes in
// several transactions, the record in the last.
func (s *Store) removeMessage(ctx context.Context, id MessageID, may func(*Tx, *Message) (bool, error)) (gone bool, err error) {
	for size := batch / 2; ; {
		var places []Place
		more := false
		err := s.Update(ctx, func(tx *Tx) error {
			gone, more = false, false
			m, err := tx.Message(id)
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			if ok, err := may(tx, m); err != nil || !ok {
				return err
			}
			if places, err = tx.dropSome(id, size); err != nil {
				return err
			}
			if more = len(places) == size; more {
				return nil
			}
			gone = true
			return tx.erase(m, "keep")
		})
		if errors.Is(err, kv.ErrTooBig) && size > 1 {
			size /= 2
			continue
		}
		if err != nil {
			return false, fmt.Errorf("remove message %d: %w", id, err)
		}
		// What is left of its entries is unreachable already.
		if err := s.clearPersonal(ctx, places...); err != nil {
			return gone, fmt.Errorf("remove message %d: %w", id, err)
		}
		if gone {
			if err := s.clear(ctx, key("mr", id)); err != nil {
				return gone, fmt.Errorf("remove message %d: %w", id, err)
			}
		}
		if !more {
			return gone, nil
		}
	}
}

// dropSome drops at most most of a message's entries.
func (tx *Tx) dropSome(id MessageID, most int) ([]Place, error) {
	all, err := tx.allPlaces(id, most)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		err := tx.remove(p)
		if errors.Is(err, ErrNotFound) { // of a folder that was deleted
			err = tx.w.Delete(key("mp", id, p.Folder, p.UID))
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// erase takes away the record of a message that has no entries any more, for a
// reason that the audit log tells.
func (tx *Tx) erase(m *Message, why string) error {
	last, err := tx.unrefer(m)
	if err != nil {
		return err
	}
	err = tx.Audit(AuditLine{
		Actor: "store", Event: "removed", Box: m.Box, Subject: m.Submission, Reason: why,
		More: map[string]string{"message": strconv.FormatUint(uint64(m.ID), 10), "sha256": m.SHA256()},
	})
	if err != nil {
		return err
	}
	if last {
		ref, err := m.Ref.MarshalBinary()
		if err != nil {
			return err
		}
		if err := tx.w.Put(doomedKey(m.Ref), ref); err != nil {
			return err
		}
	}
	gone := [][]byte{key("m", m.ID), key("mi", m.ID), key("mf", m.ID), key("mh", m.Ref.Sum[:], m.ID)}
	if m.MessageID != "" {
		gone = append(gone, msgidKey(m))
		c, err := tx.ownCopy(m.Author, m.MessageID)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil && c.Message == m.ID {
			gone = append(gone, key("mo", m.Author, clipKey(m.MessageID)))
		}
	}
	for _, k := range gone {
		if err := tx.w.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// clearPersonal takes away what people had at entries that are gone, in as few
// transactions as may be. Each entry is bounded by the people who ever saw its
// folder.
func (s *Store) clearPersonal(ctx context.Context, places ...Place) error {
	var left [][]byte
	flush := func(least int) error {
		if len(left) < least {
			return nil
		}
		for part := range slices.Chunk(left, 500) {
			err := s.Update(ctx, func(tx *Tx) error {
				for _, k := range part {
					if err := tx.w.Delete(k); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		left = left[:0]
		return nil
	}
	for _, p := range places {
		var had [][]byte
		err := s.View(ctx, func(tx *Tx) (err error) { had, err = tx.ofPersons(p, allPersonal); return err })
		if err != nil {
			return err
		}
		left = append(left, had...)
		if err := flush(500); err != nil {
			return err
		}
	}
	return flush(1)
}

func doomedKey(ref segment.Ref) []byte { return key("mx", ref.Segment, uint64(ref.Offset)) }

// doomed is how many references are removed at once.
const doomed = 256

// finishRemovals removes the bytes that no record names any more.
func (s *Store) finishRemovals(ctx context.Context) error {
	if !s.copying.TryLock() {
		return nil // a backup copies them: later
	}
	defer s.copying.Unlock()
	for more := true; more; {
		var refs []segment.Ref
		err := s.View(ctx, func(tx *Tx) error {
			refs = nil
			return tx.r.Scan(key("mx"), nil, func(_, v []byte) (bool, error) {
				var ref segment.Ref
				if err := ref.UnmarshalBinary(v); err != nil {
					return false, err
				}
				refs = append(refs, ref)
				return len(refs) < doomed, nil
			})
		})
		if err != nil || len(refs) == 0 {
			return err
		}
		more = len(refs) == doomed
		// A segment that is gone took its bytes along; a reference to no message
		// is told, and cannot be done better a second time.
		err = s.watch(s.bytes.Remove(ctx, refs...))
		if errors.Is(err, segment.ErrCorrupt) {
			s.opt.Events.Fault("store", "", err)
		} else if err != nil && !errors.Is(err, segment.ErrNotFound) {
			return fmt.Errorf("remove bytes: %w", err)
		}
		upTo := s.bytes.Durable()
		err = s.Update(ctx, func(tx *Tx) error {
			for _, ref := range refs {
				if err := tx.w.Delete(doomedKey(ref)); err != nil {
					return err
				}
			}
			return tx.noteRemoved(upTo)
		})
		if err != nil {
			return fmt.Errorf("remove bytes: %w", err)
		}
	}
	return nil
}
