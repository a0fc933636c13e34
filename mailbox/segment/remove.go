package segment

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// removeGroup bounds how many removals go to the committer at once.
const removeGroup = 256

// Remove makes it durable that these messages are dead. A large one is gone
// from disk on return, a small one waits for a sweep; Readers that hold one go
// on. The caller has removed the last record that named each of them.
//
// Removing again does nothing. ErrNotFound stands for a reference whose segment
// is gone, ErrCorrupt for one that names no message; the others are removed all
// the same. After any other error, also that of ctx, some may be removed: the
// call may be made again, unless it was ErrFailed.
func (s *Store) Remove(ctx context.Context, refs ...Ref) error {
	if err := s.enter(); err != nil {
		return fmt.Errorf("remove messages: %w", err)
	}
	defer s.commits.Done()
	var bad []error
	for len(refs) > 0 {
		n := min(len(refs), removeGroup)
		if err := s.remove(ctx, refs[:n], &bad); err != nil {
			return fmt.Errorf("remove messages: %w", err)
		}
		refs = refs[n:]
	}
	if err := errors.Join(bad...); err != nil {
		return fmt.Errorf("remove messages: %w", err)
	}
	return nil
}

func (s *Store) remove(ctx context.Context, refs []Ref, bad *[]error) error {
	j := &job{}
	var files []uint64
	for _, ref := range refs {
		p, err := s.find(ref)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
			if len(*bad) < maxDamage {
				*bad = append(*bad, err)
			}
			continue
		}
		if err != nil {
			return err
		}
		if large(p.ref.Segment) {
			files = append(files, p.ref.Segment)
		}
		s.mu.Lock()
		done := s.tallies != nil && s.tallies.removed(p.number)
		s.mu.Unlock()
		if !done {
			j.removals = append(j.removals, removal{sum: p.ref.Sum, number: p.number, ref: p.ref, bytes: p.bytes(), time: s.now()})
		}
	}
	if len(j.removals) > 0 {
		if err := s.submit(ctx, j); err != nil {
			return err
		}
	}
	return s.unlink(files...)
}

// find reads the headers of a message where it stands now.
func (s *Store) find(ref Ref) (p piece, err error) {
	ref, h, err := s.hold(ref)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, s.handles.put(h)) }()
	size, err := h.f.Size()
	if err != nil {
		return p, fmt.Errorf("read segment %d: %w", ref.Segment, err)
	}
	if size < ref.Offset {
		return p, fmt.Errorf("segment %d ends before offset %d: %w", ref.Segment, ref.Offset, ErrCorrupt)
	}
	p, err = readPiece(h.f, ref.Segment, ref.Offset-block, size)
	switch {
	case errors.Is(err, errTorn), errors.Is(err, errEnd), err == nil && p.ref != ref:
		return p, fmt.Errorf("no such message in segment %d at offset %d: %w", ref.Segment, ref.Offset, ErrCorrupt)
	case err != nil:
		return p, fmt.Errorf("read segment %d: %w", ref.Segment, err)
	}
	return p, nil
}

// unlink takes segments from disk, durably. The highest odd one leaves an empty
// archive, by which Open knows that its number was used.
func (s *Store) unlink(segments ...uint64) error {
	if len(segments) == 0 {
		return nil
	}
	s.unlinking.Lock() // two at once would make the same empty archive
	defer s.unlinking.Unlock()
	s.mu.Lock()
	top := s.topLarge
	s.mu.Unlock()
	var errs []error
	for _, n := range segments {
		var err error
		if n == top {
			err = s.empty(n)
		} else if err = s.fs.Remove(s.path(n)); err != nil && s.isMissing(n) {
			err = nil // by another call, or in spite of the error
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("unlink segment %d: %w", n, err))
			continue
		}
		errs = append(errs, s.handles.drop(n))
		if n == top {
			s.keepNumber(n)
		}
		s.bookUnlinked(n)
	}
	if err := s.fs.SyncDir(s.opts.Dir); err != nil {
		return s.fail(fmt.Errorf("sync folder: %w", err))
	}
	return errors.Join(errs...)
}

func (s *Store) isMissing(segment uint64) bool {
	f, err := s.openSegment(segment)
	if err == nil {
		f.Close() // only looked for
	}
	return errors.Is(err, ErrNotFound)
}

// bookUnlinked makes it count that a segment is gone from disk.
func (s *Store) bookUnlinked(segment uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := event{kind: unlinked, segment: segment}
	if s.tallies != nil {
		s.tallies.book(&e)
	} else if s.capturing {
		s.captured = append(s.captured, e)
	}
}

// keepNumber remembers an empty archive: it may go when there is a higher one.
func (s *Store) keepNumber(segment uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.emptied, segment) {
		s.emptied = append(s.emptied, segment)
	}
}

// empty puts an archive without entries in the place of a segment, in one step.
func (s *Store) empty(segment uint64) error {
	name := s.uploadPath(segment) // free since the upload was renamed
	f, err := s.fs.Create(name)
	if err != nil {
		_ = s.fs.Remove(name) // it may stand from an earlier call
		return err
	}
	err = writeAt(f, segment, make([]byte, endSize), 0)
	if err == nil {
		if err = f.Sync(); err != nil {
			err = s.fail(fmt.Errorf("sync segment %d: %w", segment, err))
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = s.fs.Remove(name) // what stays goes at the next Open
		return err
	}
	if err := s.fs.Rename(name, s.path(segment)); err != nil {
		return s.fail(fmt.Errorf("name segment %d: %w", segment, err))
	}
	return nil
}
