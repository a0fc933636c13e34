package segment

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// extent is what a pass over the headers of a segment found.
type extent struct {
	end    int64  // after the last whole pair
	count  uint64 // whole pairs
	sealed bool
	tag    string // of the pairs; "" without any
	last   []pair // the pairs of the last group: those no later pair proves synced
}

// survey reads the headers of the segment that is written on, up to the first
// place that is not a whole pair.
func survey(f io.ReaderAt, segment uint64, size int64) (extent, error) {
	var e extent
	var synced int64
	for {
		p, err := readPair(f, segment, e.end, size)
		if err == nil && (e.count > 0 && p.tag != e.tag || p.synced < synced || p.number != segment*perSegment+e.count+1) {
			err = errTorn
		}
		switch {
		case err == nil:
		case errors.Is(err, errEnd):
			e.sealed = true
			return e, nil
		case errors.Is(err, errTorn), err == io.EOF:
			return e, nil
		default:
			return e, err
		}
		if p.synced > synced {
			synced = p.synced
			e.last = e.last[:0]
		}
		e.last = append(e.last, p)
		e.tag, e.end, e.count = p.tag, p.end, e.count+1
	}
}

// mend opens the segment that was active last. A power cut can leave any part
// of the last group missing, so its content is hashed too; what earlier groups
// wrote was synced and is not read.
func (s *Store) mend(segment uint64) error {
	f, err := s.fs.Edit(s.path(segment))
	if err != nil {
		return fmt.Errorf("open segment %d: %w", segment, err)
	}
	s.act.f = f // closed with the store, also when opening fails
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("read segment %d: %w", segment, err)
	}
	e, err := survey(f, segment, size)
	if err != nil {
		return fmt.Errorf("read segment %d: %w", segment, err)
	}
	for i, p := range e.last {
		whole, err := contentWhole(f, p)
		if err != nil {
			return fmt.Errorf("read segment %d: %w", segment, err)
		}
		if whole {
			continue
		}
		if e.sealed { // the end is written only after the last pair was synced
			return fmt.Errorf("segment %d is damaged at offset %d: %w", segment, p.start, ErrCorrupt)
		}
		e.end, e.count = p.start, e.count-uint64(len(e.last)-i)
		break
	}
	if e.sealed {
		s.act.f = nil
		s.durable = place{segment, size}
		return f.Close()
	}
	if e.end < size {
		if err := s.cut(f, segment, e, size); err != nil {
			return err
		}
	}
	// What survived a crash of the process alone may still be in memory only.
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync segment %d: %w", segment, err)
	}
	s.act = active{f: f, segment: segment, size: e.end, synced: e.end, count: e.count}
	s.durable = place{segment, e.end}
	s.recovered.Segment = segment
	return nil
}

// cut removes the unfinished end of the active segment, unless a pair behind
// it proves that the place was once synced.
func (s *Store) cut(f File, segment uint64, e extent, size int64) error {
	tag := e.tag
	if tag == "" {
		tag = s.tag
	}
	for from := e.end; ; {
		p, found, err := findPair(f, segment, tag, from, size)
		if err != nil {
			return fmt.Errorf("read segment %d: %w", segment, err)
		}
		if !found {
			break
		}
		if p.synced > e.end {
			return fmt.Errorf("segment %d is damaged at offset %d, a later entry at %d is whole: %w", segment, e.end, p.start, ErrCorrupt)
		}
		from = p.end
	}
	if err := f.Truncate(e.end); err != nil {
		return fmt.Errorf("cut segment %d: %w", segment, err)
	}
	s.recovered.Cut = size - e.end
	return nil
}

// findPair searches from an offset on for the next pair that bears the tag; an
// empty tag matches any.
func findPair(f io.ReaderAt, segment uint64, tag string, from, size int64) (pair, bool, error) {
	from += pad(from)
	buf := make([]byte, 256<<10)
	for from+endSize <= size {
		n := min(int64(len(buf)), size-from) &^ (block - 1)
		if err := readFull(f, buf[:n], from); err != nil {
			return pair{}, false, err
		}
		for i := int64(0); i < n; i += block {
			if !bytes.HasPrefix(buf[i+offMagic:], []byte("ustar\x0000")) {
				continue
			}
			p, err := readPair(f, segment, from+i, size)
			if err == nil && (tag == "" || p.tag == tag) {
				return p, true, nil
			}
			if err != nil && !errors.Is(err, errTorn) && !errors.Is(err, errEnd) {
				return pair{}, false, err
			}
		}
		from += n
	}
	return pair{}, false, nil
}

// contentWhole compares message and sidecar of a pair with their sums.
func contentWhole(f io.ReaderAt, p pair) (bool, error) {
	_, err := readSidecar(f, p)
	if errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, p.ref.Offset, p.ref.Size)); err != nil {
		return false, err
	}
	return [32]byte(h.Sum(nil)) == p.ref.Sum, nil
}

// readSidecar reads the sidecar of a pair; ErrCorrupt if it is not what was written.
func readSidecar(f io.ReaderAt, p pair) ([]byte, error) {
	b := make([]byte, p.sideLen)
	if err := readFull(f, b, p.sideOff); err != nil {
		return nil, err
	}
	if crc(b) != p.sideCRC {
		return nil, fmt.Errorf("sidecar at offset %d: %w", p.sideOff, ErrCorrupt)
	}
	return b, nil
}
