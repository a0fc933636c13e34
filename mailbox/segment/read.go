package segment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// Reader reads one message. ReadAt may be called from several goroutines.
type Reader struct {
	s      *Store
	h      *handle
	ref    Ref
	closed atomic.Bool
}

var _ io.ReaderAt = (*Reader)(nil)

// maxHops bounds how many moves are followed from a reference.
const maxHops = 16

// Open opens a message for reading. Its header must agree with ref: otherwise
// ErrCorrupt, or ErrNotFound when there is no such segment. A reference to a
// message that a sweep moved lately is followed. The content is checked by
// Verify only. A store that failed can still be read.
func (s *Store) Open(ref Ref) (*Reader, error) {
	ref, h, err := s.hold(ref)
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	if err := checkHeader(h.f, ref); err != nil {
		return nil, errors.Join(fmt.Errorf("open message in segment %d at offset %d: %w", ref.Segment, ref.Offset, err), s.handles.put(h))
	}
	return &Reader{s: s, h: h, ref: ref}, nil
}

// hold gives the file a message is in, and where the message is now.
func (s *Store) hold(ref Ref) (Ref, *handle, error) {
	if err := ref.check(); err != nil {
		return ref, nil, err
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ref, nil, ErrClosed
	}
	for range maxHops {
		h, err := s.handles.get(ref.Segment, func() (File, error) { return s.openSegment(ref.Segment) })
		if err == nil && large(ref.Segment) {
			var size int64
			if size, err = h.f.Size(); err == nil && size == endSize {
				err = fmt.Errorf("segment %d was removed: %w", ref.Segment, ErrNotFound)
			}
			if err != nil {
				err = errors.Join(err, s.handles.put(h))
			}
		}
		if err == nil {
			return ref, h, nil
		}
		to, moved := s.movedTo(ref)
		if !moved || !errors.Is(err, ErrNotFound) {
			return ref, nil, err
		}
		ref = to
	}
	return ref, nil, fmt.Errorf("segment %d: %w", ref.Segment, ErrNotFound)
}

// movedTo says where a sweep copied a message.
func (s *Store) movedTo(ref Ref) (Ref, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.tallies.copyOf(ref)
	return c.ref, ok
}

func (s *Store) openSegment(n uint64) (File, error) {
	f, err := s.fs.Open(s.path(n))
	if missing(err) {
		return nil, fmt.Errorf("segment %d: %w", n, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("segment %d: %w", n, err)
	}
	return f, nil
}

func checkHeader(f io.ReaderAt, ref Ref) error {
	var b [block]byte
	if err := readFull(f, b[:], ref.Offset-block); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return ErrCorrupt
		}
		return err
	}
	p, ok := parseMessage(b[:], ref.Segment, ref.Offset-block)
	if !ok || p.ref != ref {
		return ErrCorrupt
	}
	return nil
}

// Size is the size of the message in bytes.
func (r *Reader) Size() int64 { return r.ref.Size }

// ReadAt reads bytes of the message and no others: io.EOF stands at its end. A
// segment that ends before the message does gives ErrCorrupt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if r.closed.Load() {
		return 0, fmt.Errorf("read message: %w", ErrClosed)
	}
	if off < 0 {
		return 0, errors.New("read message: negative offset")
	}
	if off >= r.ref.Size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), r.ref.Size-off)]
	n, err := r.h.f.ReadAt(want, r.ref.Offset+off)
	switch {
	case n < len(want) && (err == nil || err == io.EOF):
		return n, fmt.Errorf("segment %d ends inside a message: %w", r.ref.Segment, ErrCorrupt)
	case n < len(want):
		return n, fmt.Errorf("read message in segment %d: %w", r.ref.Segment, err)
	case len(want) < len(p):
		return n, io.EOF
	}
	return n, nil
}

// Close gives the file back. A second Close does nothing.
func (r *Reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	return r.s.handles.put(r.h)
}

// Verify hashes a message again. It answers ErrCorrupt if the bytes on disk
// are not those that were committed.
func (s *Store) Verify(ctx context.Context, ref Ref) error {
	r, err := s.Open(ref)
	if err != nil {
		return err
	}
	err = checkMessage(ctx, r.h.f, r.ref)
	return errors.Join(err, r.Close())
}
