package segment

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"pecgate/mailbox/planted"
)

// extent is what a pass over the headers of the last segment found.
type extent struct {
	end    int64  // after the last whole piece
	count  uint64 // whole pairs
	sealed bool
	tag    string  // of the pieces; "" without any
	last   []piece // those of the last group, which no later piece proves synced
}

// survey reads the headers of the segment that is written on, up to the first
// place that is not a whole piece.
func survey(file io.ReaderAt, segment uint64, size int64) (extent, error) {
	var e extent
	var synced int64
	f := &window{f: file}
	for {
		p, err := readPiece(f, segment, e.end, size)
		if err == nil && (e.tag != "" && p.tag != e.tag || p.synced < synced ||
			!p.removal && p.number != segment*perSegment+e.count+1) {
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
		e.tag, e.end = p.tag, p.end
		if !p.removal {
			e.count++
		}
	}
}

// tail says how much of the last segment holds. A power cut can leave any part
// of the last group missing, so its content is hashed too; what earlier groups
// wrote was synced and is not read. What lies behind the answer's end is the
// unfinished end of the file; it is ErrCorrupt if a piece in it proves that the
// place was once synced, or if a record names bytes in it.
func tail(f io.ReaderAt, segment uint64, size int64, tag string, named Place) (extent, error) {
	e, err := survey(f, segment, size)
	if err != nil {
		return e, err
	}
	for i, p := range e.last {
		err := checkContent(context.Background(), f, p)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrCorrupt) {
			return e, err
		}
		e.end = p.start
		if e.sealed { // the end is written only after the last pair was synced
			return e, fmt.Errorf("damaged at offset %d: %w", p.start, ErrCorrupt)
		}
		for _, after := range e.last[i:] {
			if !after.removal {
				e.count--
			}
		}
		break
	}
	if e.sealed {
		return e, nil
	}
	if e.tag != "" {
		tag = e.tag
	}
	for from := e.end; from < size; {
		p, found, err := findPiece(f, segment, tag, from, size)
		if err != nil {
			return e, err
		}
		if !found {
			break
		}
		if p.synced > e.end {
			return e, fmt.Errorf("damaged at offset %d, a later entry at %d is whole: %w", e.end, p.start, ErrCorrupt)
		}
		from = p.end
	}
	// The record was made after the sync, so this was whole once.
	if named.Segment == segment && named.End > e.end {
		return e, fmt.Errorf("damaged at offset %d, and a record names what is behind it, at offset %d: %w", e.end, named.End, ErrCorrupt)
	}
	return e, nil
}

// mend opens the segment that was active last and cuts its unfinished end.
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
	e, err := tail(f, segment, size, s.tag, s.opts.Named)
	if err != nil {
		return fmt.Errorf("file %s: %w", FileName(segment), err)
	}
	if e.sealed {
		s.act.f = nil
		s.durable = Place{segment, size}
		return f.Close()
	}
	if planted.Is(planted.CutTailSilently) && len(e.last) > 0 {
		e.end = min(e.end, e.last[0].start)
	}
	if e.end < size {
		if err := f.Truncate(e.end); err != nil {
			return fmt.Errorf("cut segment %d: %w", segment, err)
		}
		s.recovered.Cut = size - e.end
	}
	// What survived a crash of the process alone may still be in memory only.
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync segment %d: %w", segment, err)
	}
	s.act = active{f: f, segment: segment, size: e.end, synced: e.end, count: e.count}
	s.durable = Place{segment, e.end}
	s.recovered.Segment = segment
	return nil
}

// checkContent compares message and sidecar of a pair with their sums. A
// removal's content was read with its header.
func checkContent(ctx context.Context, f io.ReaderAt, p piece) error {
	if p.removal {
		return nil
	}
	if _, err := readSidecar(f, p); err != nil {
		return err
	}
	return checkMessage(ctx, f, p.ref)
}

// checkMessage answers ErrCorrupt if the bytes in the file are not those that
// were committed.
func checkMessage(ctx context.Context, f io.ReaderAt, ref Ref) error {
	h := sha256.New()
	buf := make([]byte, min(ref.Size, 128<<10))
	for off := int64(0); off < ref.Size; off += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(int64(len(buf)), ref.Size-off)]
		if err := readFull(f, buf, ref.Offset+off); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("segment %d ends inside a message: %w", ref.Segment, ErrCorrupt)
			}
			return err
		}
		h.Write(buf)
	}
	if [32]byte(h.Sum(nil)) != ref.Sum && !planted.Is(planted.SkipHashCheck) {
		return fmt.Errorf("message in segment %d at offset %d: %w", ref.Segment, ref.Offset, ErrCorrupt)
	}
	return nil
}

// readSidecar reads the sidecar of a pair; ErrCorrupt if it is not what was written.
func readSidecar(f io.ReaderAt, p piece) ([]byte, error) {
	b := make([]byte, p.sideLen)
	if err := readFull(f, b, p.sideOff); err != nil {
		return nil, err
	}
	if crc(b) != p.sideCRC {
		return nil, fmt.Errorf("sidecar at offset %d: %w", p.sideOff, ErrCorrupt)
	}
	return b, nil
}
