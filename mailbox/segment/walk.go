package segment

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// maxDamage bounds how many damaged places one Walk names.
const maxDamage = 20

// Walk calls fn for every message that was committed before the call, segment
// by segment. The sidecar is checked, the message is not (see Verify). Walk
// goes on behind damage to the next whole pair; what it met on the way is in
// its answer, ErrCorrupt wrapped, after everything readable was shown. An
// error of fn ends the walk and is returned as it is.
func (s *Store) Walk(ctx context.Context, fn func(Entry) error) error {
	s.mu.Lock()
	closed, until, last := s.closed, s.durable, s.lastSmall
	s.mu.Unlock()
	if closed {
		return fmt.Errorf("walk segments: %w", ErrClosed)
	}
	numbers, _, err := s.list()
	if err != nil {
		return fmt.Errorf("walk segments: %w", err)
	}
	var damage damages
	for _, n := range numbers {
		if !large(n) && n > max(until.segment, last) {
			continue // begun after the call
		}
		if err := s.walkSegment(ctx, n, until, &damage, fn); err != nil {
			return err
		}
	}
	return errors.Join(damage.list...)
}

// damages collects what Walk met.
type damages struct{ list []error }

func (d *damages) add(format string, args ...any) {
	if len(d.list) < maxDamage {
		d.list = append(d.list, fmt.Errorf(format, args...))
	}
}

func (s *Store) walkSegment(ctx context.Context, n uint64, until place, damage *damages, fn func(Entry) error) (err error) {
	f, err := s.openSegment(n)
	if err != nil {
		return fmt.Errorf("walk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("walk segment %d: %w", n, err)
	}
	open := !large(n) && n >= until.segment // it may still grow, and has no end mark
	if n == until.segment {
		size = min(size, until.size)
	} else if open {
		size = 0 // nothing in it was durable when the walk began
	}
	tag := s.tag
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := readPair(f, n, off, size)
		switch {
		case err == nil:
		case errors.Is(err, errEnd):
			return nil
		case err == io.EOF && open:
			return nil
		case err == io.EOF:
			damage.add("segment %d has no end: %w", n, ErrCorrupt)
			return nil
		case errors.Is(err, errTorn):
			damage.add("segment %d at offset %d: %w", n, off, ErrCorrupt)
			var found bool
			p, found, err = findPair(f, n, tag, off+block, size)
			if err != nil {
				return fmt.Errorf("walk segment %d: %w", n, err)
			}
			if !found {
				return nil
			}
		default:
			return fmt.Errorf("walk segment %d: %w", n, err)
		}
		tag, off = p.tag, p.end
		side, err := readSidecar(f, p)
		if errors.Is(err, ErrCorrupt) {
			damage.add("segment %d: %w", n, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("walk segment %d: %w", n, err)
		}
		if err := fn(Entry{Ref: p.ref, Time: p.time, Sidecar: side}); err != nil {
			return err
		}
	}
}
