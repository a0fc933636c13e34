package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

// How the records keep the segments honest. The segments alone cannot tell
// damage in what was written last from a write that a stop interrupted. The
// records can: bytes are durable before a record names them, so what one names
// was whole. The keys mb/ say it for messages, n/ removed for removals; nothing
// else has to be written for it.

// ErrSegments: messages that records name are not on disk as they were. The
// store was not opened, and nothing was cut.
var ErrSegments = errors.New("mailbox: stored messages are damaged or missing")

// lastNamed is the last place that records name in a segment.
type lastNamed struct {
	segment uint64
	offset  uint64
}

// runLength is how many places of one segment are passed one by one before the
// rest of it is skipped. Most segments hold one large message.
const runLength = 8

// namedSegments lists all segments that records name bytes in, ascending.
func (tx *Tx) namedSegments() (all []lastNamed, err error) {
	prefix := key("mb")
	for from := prefix; from != nil; {
		run, next := 0, []byte(nil)
		err := tx.r.Scan(prefix, from, func(k, _ []byte) (bool, error) {
			at := readPlace(k)
			if at.segment == 0 {
				return true, nil // fsck tells
			}
			if n := len(all); n == 0 || all[n-1].segment != at.segment {
				all, run = append(all, at), 0
			}
			all[len(all)-1] = at
			if run++; run >= runLength {
				next = key("mb", at.segment+1)
			}
			return next == nil, nil
		})
		if err != nil {
			return nil, err
		}
		if next != nil {
			last := &all[len(all)-1]
			err = tx.r.ScanBack(key("mb", last.segment), func(k, _ []byte) (bool, error) {
				if at := readPlace(k); at.segment != 0 {
					*last = at
					return false, nil
				}
				return true, nil
			})
			if err != nil {
				return nil, err
			}
		}
		from = next
	}
	return all, nil
}

// readPlace reads the place in a key mb/; zero for one that is malformed.
func readPlace(k []byte) (at lastNamed) {
	if k = k[len("mb/"):]; len(k) == 24 {
		at = lastNamed{binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(k[8:])}
	}
	return at
}

// furthest is how far the segment that is written on must be whole.
func (tx *Tx) furthest(all []lastNamed) (segment.Place, error) {
	out, err := tx.removedUpTo()
	for _, at := range slices.Backward(all) {
		if segment.Large(at.segment) {
			continue
		}
		if at.segment > out.Segment || at.segment == out.Segment && int64(at.offset) > out.End {
			out = segment.Place{Segment: at.segment, End: int64(at.offset)}
		}
		break
	}
	return out, err
}

// removedUpTo is how far the removals of messages reach that have no record any
// more: cut off, they would come back.
func (tx *Tx) removedUpTo() (segment.Place, error) {
	b, err := tx.r.Get(key("n", "removed"))
	if errors.Is(err, kv.ErrNotFound) || err == nil && len(b) != 16 {
		return segment.Place{}, nil
	}
	if err != nil {
		return segment.Place{}, err
	}
	return segment.Place{Segment: binary.BigEndian.Uint64(b), End: int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

func (tx *Tx) noteRemoved(upTo segment.Place) error {
	old, err := tx.removedUpTo()
	if err != nil || upTo.Segment < old.Segment || upTo.Segment == old.Segment && upTo.End <= old.End {
		return err
	}
	b := binary.BigEndian.AppendUint64(nil, upTo.Segment)
	return tx.w.Put(key("n", "removed"), binary.BigEndian.AppendUint64(b, uint64(upTo.End)))
}

// named says what records name of the segments in a folder.
type named struct {
	furthest segment.Place // up to here the segment that is written on must be whole
	missing  []uint64      // segments without a file, ascending
}

func (s *Store) named(ctx context.Context, dir string) (out named, err error) {
	there, err := segment.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return out, fmt.Errorf("look for the message segments: %w", err)
	}
	err = s.View(ctx, func(tx *Tx) error {
		all, err := tx.namedSegments()
		if err != nil {
			return err
		}
		here := all[:0]
		for _, at := range all {
			if _, stands := slices.BinarySearch(there, at.segment); !stands {
				if really, err := tx.inSegment(at.segment); err != nil || !really {
					if err != nil {
						return err
					}
					continue
				}
				out.missing = append(out.missing, at.segment)
			}
			here = append(here, at)
		}
		out.furthest, err = tx.furthest(here)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("read which messages there are: %w", err)
	}
	return out, nil
}

// openBytes opens the segments, after the records.
func (s *Store) openBytes(ctx context.Context) error {
	dir := filepath.Join(s.opt.Dir, "segments")
	names, err := s.named(ctx, dir)
	if err != nil {
		return err
	}
	// Before the segments are opened: a number that is free would be given again.
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && len(names.missing) > 0 {
		return fmt.Errorf("%w: %s is not there, but records name messages in it; put the folder back from a backup", ErrSegments, dir)
	}
	if gone := names.missing; len(gone) > 0 {
		what := segment.FileName(gone[0]) + " is"
		if more := len(gone) - 1; more > 0 {
			what = fmt.Sprintf("%s and %d more are", segment.FileName(gone[0]), more)
		}
		return fmt.Errorf("%w: %s missing in %s, and records name messages there; put back what is missing from a backup "+
			"(`pecgate fsck` shows what that is, `pecgate fsck --repair` lets the appliance start without it)", ErrSegments, what, dir)
	}
	s.bytes, err = segment.Open(segment.Options{Dir: dir, Named: names.furthest})
	if errors.Is(err, segment.ErrCorrupt) {
		return fmt.Errorf("%w: %w; nothing was changed: `pecgate fsck --deep` shows which message it is, "+
			"`pecgate fsck --repair` lets the appliance start without it", ErrSegments, err)
	}
	if err != nil {
		return fmt.Errorf("open the message segments: %w", err)
	}
	return nil
}

// inSegment tells whether a message's own record says that it is in a segment,
// and not only a key that was left over.
func (tx *Tx) inSegment(n uint64) (really bool, err error) {
	err = tx.r.Scan(key("mb", n), nil, func(k, _ []byte) (bool, error) {
		m, err := tx.Message(MessageID(tailUint64(k)))
		really = err != nil && !errors.Is(err, ErrNotFound) || err == nil && m.Ref.Segment == n
		return !really, nil
	})
	return really, err
}
