package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"pecgate/mailbox/kv"
)

// plan is the format of the records: 1 has the keys mb/, q/ and ad/. Format 0
// had no number.
const plan = 1

// ErrNewer says that the store was written by a newer pecgate.
var ErrNewer = errors.New("mailbox: the store was written by a newer pecgate, which is needed to open it")

// upgrade gives a store of format 0 the keys that it lacks. All at once, before
// anything is served: counters that are right for some messages only could not
// be told from wrong ones. It goes on where it was interrupted.
func (s *Store) upgrade(ctx context.Context) error {
	have, last, empty := uint64(0), uint64(0), false
	err := s.View(ctx, func(tx *Tx) (err error) {
		if have, err = tx.number("plan"); err != nil {
			return err
		}
		if last, err = tx.number("fill"); err != nil {
			return err
		}
		n, err := tx.number("message")
		empty = n == 0
		return err
	})
	switch {
	case err != nil:
		return err
	case have > plan:
		return fmt.Errorf("%w (format %d, this one knows %d)", ErrNewer, have, plan)
	case have == plan:
		return nil
	}
	for size, more := 20, !empty; more; {
		next := last
		err := s.Update(ctx, func(tx *Tx) (err error) {
			next, more, err = tx.fill(last, size)
			return err
		})
		if errors.Is(err, kv.ErrTooBig) && size > 1 {
			size /= 2
			continue
		}
		if err != nil {
			return fmt.Errorf("bring the records to format %d, behind message %d: %w", plan, last, err)
		}
		last = next
	}
	if err := s.adoptAudit(ctx); err != nil {
		return err
	}
	return s.Update(ctx, func(tx *Tx) error {
		return errors.Join(
			tx.w.Delete(key("n", "audit")),
			tx.w.Put(key("n", "plan"), binary.BigEndian.AppendUint64(nil, plan)),
			tx.w.Delete(key("n", "fill")))
	})
}

func (tx *Tx) number(name string) (uint64, error) {
	b, err := tx.r.Get(key("n", name))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err == nil && len(b) != 8 {
		err = fmt.Errorf("mailbox: the number %s has %d bytes", name, len(b))
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// fill writes what messages behind last lack, and where it ended.
func (tx *Tx) fill(last uint64, most int) (next uint64, more bool, err error) {
	var ids []MessageID
	next = last
	err = tx.r.Scan(key("m"), key("m", last+1), func(k, _ []byte) (bool, error) {
		next = tailUint64(k)
		ids = append(ids, MessageID(next))
		return len(ids) < most, nil
	})
	if err != nil {
		return last, false, err
	}
	for _, id := range ids {
		m, err := tx.Message(id)
		if err != nil {
			return last, false, err
		}
		if err := tx.refer(m); err != nil {
			return last, false, err
		}
		places, err := tx.Places(id)
		if err != nil {
			return last, false, err
		}
		for _, p := range places {
			if err := tx.fillPlace(m, p); err != nil {
				return last, false, err
			}
		}
	}
	return next, len(ids) == most, tx.w.Put(key("n", "fill"), binary.BigEndian.AppendUint64(nil, next))
}

func (tx *Tx) fillPlace(m *Message, p Place) error {
	f, err := tx.folderByID(p.Folder)
	if err != nil || !f.Key.archived() {
		return err
	}
	e, err := tx.entry(p.Folder, p.UID)
	if errors.Is(err, ErrNotFound) || err == nil && e.Archived != 0 {
		return nil
	}
	if err != nil {
		return err
	}
	dated := *m
	dated.Date = e.Date
	if err := tx.archive(f, p.UID, &dated, &e); err != nil {
		return err
	}
	return tx.w.Put(key("e", p.Folder, p.UID), e.bytes())
}
