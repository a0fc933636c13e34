package segment

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// handles shares open files among readers. Files nobody reads are kept, up to
// a bound, the ones used last.
type handles struct {
	mu     sync.Mutex
	bound  int
	closed bool
	open   map[uint64]*handle
	idle   *list.List // of *handle without readers, the one used last in front
}

type handle struct {
	f       File
	segment uint64
	readers int
	at      *list.Element // in idle, nil while in use
}

func (h *handles) init(bound int) {
	h.bound = bound
	h.open = make(map[uint64]*handle)
	h.idle = list.New()
}

// get gives the file of a segment; every get is followed by one put.
func (h *handles) get(segment uint64, open func() (File, error)) (*handle, error) {
	if f := h.use(segment, nil); f != nil {
		return f, nil
	}
	f, err := open() // without the lock: a slow disk must not stop other readers
	if err != nil {
		return nil, err
	}
	return h.use(segment, f), nil
}

// use counts a reader of a file that is open already; f is the one to keep if not.
func (h *handles) use(segment uint64, f File) *handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.open[segment]
	if e == nil && f == nil {
		return nil
	}
	if e == nil {
		e = &handle{f: f, segment: segment}
		h.open[segment] = e
	} else if f != nil {
		f.Close() // another reader was faster; nothing was written through it
	}
	e.readers++
	if e.at != nil {
		h.idle.Remove(e.at)
		e.at = nil
	}
	return e
}

func (h *handles) put(e *handle) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.readers--
	if e.readers > 0 {
		return nil
	}
	e.at = h.idle.PushFront(e)
	if h.closed {
		return h.shrink(0)
	}
	return h.shrink(h.bound)
}

// shrink closes idle files until at most n are left. Callers hold the lock.
func (h *handles) shrink(n int) error {
	var errs []error
	for h.idle.Len() > n {
		e := h.idle.Remove(h.idle.Back()).(*handle)
		delete(h.open, e.segment)
		errs = append(errs, e.f.Close())
	}
	return errors.Join(errs...)
}

// close closes what nobody reads; the rest goes with its last reader.
func (h *handles) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return h.shrink(0)
}

// Reader reads one message. ReadAt may be called from several goroutines.
type Reader struct {
	s      *Store
	h      *handle
	ref    Ref
	closed atomic.Bool
}

var _ io.ReaderAt = (*Reader)(nil)

// Open opens a message for reading. Its header must agree with ref: otherwise
// ErrCorrupt, or ErrNotFound when there is no such segment. The content is
// checked by Verify only. A store that failed can still be read.
func (s *Store) Open(ref Ref) (*Reader, error) {
	if err := ref.check(); err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("open message: %w", ErrClosed)
	}
	h, err := s.handles.get(ref.Segment, func() (File, error) { return s.openSegment(ref.Segment) })
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	if err := checkHeader(h.f, ref); err != nil {
		return nil, errors.Join(fmt.Errorf("open message in segment %d at offset %d: %w", ref.Segment, ref.Offset, err), s.handles.put(h))
	}
	return &Reader{s: s, h: h, ref: ref}, nil
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
	p, ok := messagePair(b[:], ref.Segment, ref.Offset-block)
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
	err = r.verify(ctx)
	return errors.Join(err, r.Close())
}

func (r *Reader) verify(ctx context.Context) error {
	h := sha256.New()
	buf := make([]byte, min(r.ref.Size, 128<<10))
	for off := int64(0); off < r.ref.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return err
		}
		h.Write(buf[:n])
		off += int64(n)
	}
	if [32]byte(h.Sum(nil)) != r.ref.Sum {
		return fmt.Errorf("message in segment %d at offset %d: %w", r.ref.Segment, r.ref.Offset, ErrCorrupt)
	}
	return nil
}
