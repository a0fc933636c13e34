package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/kv/badger"
	"pecgate/mailbox/segment"
)

// The form of a store is that of its parts. Here is all of it:
//
//	records        the number n/plan           plan
//	their folder   the file JOURNAL in it      badger.Format
//	segments       the group of tar entries    segment.Format
//
// Whoever changes what stands in the records (keys, entries, offsets, the audit
// log, the records of other rooms) so that an older release would misread it,
// raises plan and adds a step below. A store of which any part is of a newer
// form is refused before a byte of it is changed.
//
// Format 0 has no number, no JOURNAL, none of the keys mb/, q/ and ad/, and
// audit lines under plain numbers. It is brought to format 1 at the first Open.
// A store without a JOURNAL but with a number has lost the JOURNAL: damage.

// plan is the format of the records.
const plan = 1

var (
	// ErrNewer says that the store was written by a newer pecgate.
	ErrNewer = errors.New("mailbox: the store was written by a newer pecgate, which is needed to open it; nothing was changed")
	// ErrOlder says that a check does not read a store of an earlier format.
	ErrOlder = errors.New("mailbox: the store is of an earlier format: start the appliance once, which brings it to the present one")
)

// openRecords opens the records of a store of which this release knows every
// part. Before that is sure nothing is written. Unless older is wanted, a store
// of format 0 is ErrOlder.
func openRecords(o Options, older bool) (kv.Store, error) {
	err := segment.CheckFormat(segment.Options{Dir: filepath.Join(o.Dir, "segments")})
	if errors.Is(err, segment.ErrFormat) {
		return nil, fmt.Errorf("%w (%w)", ErrNewer, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the message segments: %w", err)
	}
	var judged error
	s, err := badger.Open(badger.Options{
		Dir: filepath.Join(o.Dir, "records"), Now: o.Now, NoRoom: o.noRoom, Room: o.roomFor,
		Form: key("n", "plan"),
		Judge: func(number []byte, counted bool) error {
			judged = judge(number, counted, older)
			return judged
		},
	})
	switch {
	case errors.Is(judged, ErrNewer), errors.Is(judged, ErrOlder):
		return nil, judged
	case errors.Is(err, kv.ErrFormat):
		return nil, fmt.Errorf("%w (%w)", ErrNewer, err)
	case err != nil:
		return nil, fmt.Errorf("open the records: %w", err)
	}
	return s, nil
}

// judge says whether records with this number are opened.
func judge(number []byte, counted, older bool) error {
	have, err := readNumber("plan", number)
	switch {
	case err != nil:
		return err
	case have > plan:
		return fmt.Errorf("%w (format %d, this one knows %d)", ErrNewer, have, plan)
	case counted:
		return nil
	case have > 0:
		return fmt.Errorf("the file JOURNAL in the folder of records is missing: %w", kv.ErrCorrupt)
	case !older:
		return ErrOlder
	}
	return nil
}

// progress is how far an upgrade has come.
type progress struct {
	have   uint64 // format
	last   uint64 // message that fill has done
	newest uint64 // message; 0: there is none
}

func (s *Store) progress(ctx context.Context) (p progress, err error) {
	err = s.View(ctx, func(tx *Tx) (err error) {
		if p.have, err = tx.number("plan"); err != nil {
			return err
		}
		if p.last, err = tx.number("fill"); err != nil {
			return err
		}
		p.newest, err = tx.number("message")
		return err
	})
	return p, err
}

// upgradeRecords brings the records of a store of format 0 to what this release
// reads. All at once, before anything is served: counters that are right for some
// messages only could not be told from wrong ones. It comes before the segments
// are opened, which are held to what these keys name, and before the audit log,
// so that its lines stand in their order. It goes on where it was interrupted;
// upgrade ends it.
func (s *Store) upgradeRecords(ctx context.Context) error {
	p, err := s.progress(ctx)
	if err != nil || p.have == plan {
		return err
	}
	if p.newest > 0 {
		s.opt.Events.Slog().Info("the store is brought to the present format, which takes a while", "from", p.have, "to", plan, "behind_message", p.last)
	}
	for size, more := fillBatch, p.last < p.newest; more; {
		next := p.last
		err := s.Update(ctx, func(tx *Tx) (err error) {
			next, more, err = tx.fill(p.last, size)
			return err
		})
		if errors.Is(err, kv.ErrTooBig) && size > 1 {
			size /= 2
			continue
		}
		if err != nil {
			return fmt.Errorf("bring the records to format %d, behind message %d: %w", plan, p.last, err)
		}
		p.last = next
	}
	return s.adoptAudit(ctx)
}

// fillBatch is how many messages one commit fills, if they are not too many
// keys: two for each message, and two for each entry.
const fillBatch = 50

// upgrade writes the number of the format, that of a new store too.
func (s *Store) upgrade(ctx context.Context) error {
	p, err := s.progress(ctx)
	if err != nil || p.have == plan {
		return err
	}
	err = s.Update(ctx, func(tx *Tx) error {
		if p.newest > 0 {
			err := tx.Audit(AuditLine{Actor: "store", Event: "store-format", Result: "upgraded", More: map[string]string{"from": fmt.Sprint(p.have), "to": fmt.Sprint(plan)}})
			if err != nil {
				return err
			}
		}
		return errors.Join(
			tx.w.Delete(key("n", "audit")),
			tx.w.Put(key("n", "plan"), binary.BigEndian.AppendUint64(nil, plan)),
			tx.w.Delete(key("n", "fill")))
	})
	if err == nil && p.newest > 0 {
		s.opt.Events.Slog().Info("the store has the present format", "format", plan)
	}
	return err
}

func (tx *Tx) number(name string) (uint64, error) {
	b, err := tx.r.Get(key("n", name))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return readNumber(name, b)
}

// readNumber reads a counter; nil is 0.
func readNumber(name string, b []byte) (uint64, error) {
	switch len(b) {
	case 0:
		return 0, nil
	case 8:
		return binary.BigEndian.Uint64(b), nil
	}
	return 0, fmt.Errorf("mailbox: the number %s has %d bytes", name, len(b))
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
