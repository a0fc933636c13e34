package segment

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	defaultMaxSegment = 256 << 20
	defaultLargeAt    = 1 << 20
	defaultHandles    = 64

	lockName = "LOCK"
)

// Store is an open folder of segments. Its methods may be called from any
// goroutine.
type Store struct {
	opts      Options
	fs        FS
	lock      io.Closer
	tag       string
	recovered Recovery

	handles handles
	buffers sync.Pool // *[]byte, the memory of small messages

	commits sync.WaitGroup // what Close waits for, see enter
	wake    chan struct{}  // buffered(1): something waits
	stop    chan struct{}
	ended   chan struct{} // the committer has gone

	act    active  // the committer's own, after Open
	events []event // the committer's own: what the group under way wrote

	turns    turns         // walks and sweeps
	counting chan struct{} // buffered(1): taken by the one that counts

	unlinking sync.Mutex

	closing  sync.Once
	closeErr error

	mu        sync.Mutex
	failed    error
	closed    bool
	waiting   []*job
	lastSmall uint64
	lastLarge uint64
	durable   Place          // how far the active segment is synced
	topLarge  uint64         // the highest odd segment on disk
	emptied   []uint64       // odd segments that are only there to keep their number
	pins      map[uint64]int // messages not released, by segment
	tallies   *tallies       // nil until the headers were counted
	capturing bool           // they are being counted: events are kept
	captured  []event
}

// Open opens the folder, made when missing. It cuts the active segment after
// its last whole pair and removes unfinished uploads (see Recovered). It
// answers ErrInUse when the folder is open elsewhere, and ErrCorrupt when
// bytes that were once synced, or that a record names (Options.Named), are
// damaged or missing in the active segment: cutting there would lose messages,
// and nothing was changed then. Segments before it are not looked at.
func Open(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("segment: open: no folder given")
	}
	if o.MaxSegment <= 0 {
		o.MaxSegment = defaultMaxSegment
	}
	if o.LargeAt <= 0 {
		o.LargeAt = defaultLargeAt
	}
	if o.Handles <= 0 {
		o.Handles = fewHandles(defaultHandles)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FS == nil {
		o.FS = Disk()
	}
	s := &Store{
		opts:  o,
		fs:    o.FS,
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		ended: make(chan struct{}),

		counting: make(chan struct{}, 1),
		pins:     make(map[uint64]int),
	}
	s.handles.init(o.Handles)
	s.lock = io.NopCloser(nil)
	if !o.ReadOnly {
		if err := s.fs.MkdirAll(o.Dir); err != nil {
			return nil, fmt.Errorf("segment: make folder: %w", err)
		}
		lock, err := s.fs.Lock(filepath.Join(o.Dir, lockName))
		if err != nil {
			return nil, fmt.Errorf("segment: lock folder: %w", err)
		}
		s.lock = lock
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("segment: open: %w", err), s.act.close(), s.lock.Close())
	}
	go s.run()
	return s, nil
}

// load finds what is on disk and makes it fit to be written on.
func (s *Store) load() error {
	numbers, uploads, err := s.list()
	if err == nil {
		err = s.checkFormat(numbers)
	}
	if err != nil {
		return err
	}
	if s.opts.ReadOnly {
		return s.look(numbers)
	}
	s.numbered(numbers)
	if err := s.findEmptied(); err != nil {
		return err
	}
	if s.tag, err = s.findTag(numbers); err != nil {
		return err
	}
	if s.lastSmall < s.opts.Named.Segment {
		return fmt.Errorf("file %s is missing, and a record names it: %w", FileName(s.opts.Named.Segment), ErrCorrupt)
	}
	if s.lastSmall != 0 {
		if err := s.mend(s.lastSmall); err != nil {
			return err
		}
	}
	for _, name := range uploads {
		if err := s.fs.Remove(filepath.Join(s.opts.Dir, name)); err != nil {
			return fmt.Errorf("remove unfinished upload: %w", err)
		}
		s.recovered.Uploads++
	}
	if s.tag == "" {
		var b [15]byte
		rand.Read(b[:]) // never fails (Go 1.24)
		s.tag = hex.EncodeToString(b[:])
	}
	return nil
}

// numbered learns the highest numbers.
func (s *Store) numbered(numbers []uint64) {
	for _, n := range numbers {
		if large(n) {
			s.lastLarge = max(s.lastLarge, n)
		} else {
			s.lastSmall = max(s.lastSmall, n)
		}
	}
}

// look is load without a change to anything: the active segment is read to its
// end, whatever stands there.
func (s *Store) look(numbers []uint64) (err error) {
	s.numbered(numbers)
	s.topLarge = s.lastLarge
	if s.tag, err = s.findTag(numbers); err != nil || s.lastSmall == 0 {
		return err
	}
	f, err := s.openSegment(s.lastSmall)
	if err != nil {
		return err
	}
	size, err := f.Size()
	s.durable = Place{s.lastSmall, size}
	return errors.Join(err, f.Close())
}

// Durable says how far the active segment is synced: everything that was
// written before it is durable.
func (s *Store) Durable() Place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable
}

// findEmptied sees whether the highest odd segment only keeps its number.
func (s *Store) findEmptied() error {
	s.topLarge = s.lastLarge
	if s.topLarge == 0 {
		return nil
	}
	f, err := s.fs.Open(s.path(s.topLarge))
	if err != nil {
		return fmt.Errorf("open segment %d: %w", s.topLarge, err)
	}
	size, err := f.Size()
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read segment %d: %w", s.topLarge, err)
	}
	if size == endSize {
		s.emptied = append(s.emptied, s.topLarge)
	}
	return nil
}

// findTag reads the store's tag from the newest segment whose first header is
// readable; "" when there is none.
func (s *Store) findTag(numbers []uint64) (string, error) {
	for _, n := range slices.Backward(numbers) {
		f, err := s.fs.Open(s.path(n))
		if err != nil {
			return "", fmt.Errorf("open segment %d: %w", n, err)
		}
		tag, err := firstTag(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return "", fmt.Errorf("read segment %d: %w", n, err)
		}
		if tag != "" {
			return tag, nil
		}
	}
	return "", nil
}

// firstTag is the tag of the first entry in a segment, "" when its header
// cannot be read as one of ours.
func firstTag(f File) (string, error) {
	size, err := f.Size()
	if err != nil || size < block {
		return "", err
	}
	var b [block]byte
	if err := readFull(f, b[:], 0); err != nil {
		return "", err
	}
	h, ok := parseHeader(b[:])
	if !ok {
		return "", nil
	}
	return h.tag, nil
}

// Recovered says what Open put right.
func (s *Store) Recovered() Recovery { return s.recovered }

// Close waits for every Commit and Remove under way and for the step a Sweep is
// at, then gives the folder free; that Sweep ends with ErrClosed and is gone on
// with after the next Open. Writers that were not committed must still be
// aborted, and Readers closed; Readers stay usable until then. A second Close
// gives the same answer.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.commits.Wait()
		close(s.stop)
		<-s.ended
		s.closeErr = errors.Join(s.act.close(), s.handles.close(), s.lock.Close())
	})
	return s.closeErr
}

// usable says why nothing more can be written, if so. Callers hold s.mu.
func (s *Store) usable() error {
	if s.failed != nil {
		return s.failed
	}
	if s.closed {
		return ErrClosed
	}
	if s.opts.ReadOnly {
		return ErrReadOnly
	}
	return nil
}

// enter begins work that Close waits for; it is ended by s.commits.Done.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.commits.Add(1)
	return nil
}

// Large says whether a segment is one that holds one large message.
func Large(segment uint64) bool { return large(segment) }

func large(segment uint64) bool { return segment%2 == 1 }

// nextLarge gives the number for an upload. Numbers of uploads that came to
// nothing leave gaps, which mean nothing.
func (s *Store) nextLarge() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return 0, err
	}
	if s.lastLarge == 0 {
		s.lastLarge = 1
	} else {
		s.lastLarge += 2
	}
	return s.lastLarge, nil
}

// FileName is the base name of a segment's file.
func FileName(segment uint64) string { return fmt.Sprintf("%016d.tar", segment) }

// path is the file of a segment.
func (s *Store) path(segment uint64) string { return filepath.Join(s.opts.Dir, FileName(segment)) }

func (s *Store) uploadPath(segment uint64) string {
	return filepath.Join(s.opts.Dir, fmt.Sprintf("%016d.tmp", segment))
}

// List gives the numbers of all segments in a folder in ascending order.
func List(dir string) ([]uint64, error) {
	names, err := Disk().List(dir)
	if err != nil {
		return nil, fmt.Errorf("segment: list folder: %w", err)
	}
	numbers, _ := sortNames(names)
	return numbers, nil
}

// list gives the numbers of all segments in ascending order and the names of
// unfinished uploads. Names that are not ours are left alone.
func (s *Store) list() (numbers []uint64, uploads []string, err error) {
	names, err := s.fs.List(s.opts.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list folder: %w", err)
	}
	numbers, uploads = sortNames(names)
	return numbers, uploads, nil
}

func sortNames(names []string) (numbers []uint64, uploads []string) {
	for _, name := range names {
		digits, kind, _ := strings.Cut(name, ".")
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || n == 0 || len(digits) != 16 {
			continue
		}
		switch kind {
		case "tar":
			numbers = append(numbers, n)
		case "tmp":
			uploads = append(uploads, name)
		}
	}
	slices.Sort(numbers)
	return numbers, uploads
}

// Begin starts a message. The Writer must be ended by Commit or Abort. ctx
// covers this call only.
func (s *Store) Begin(ctx context.Context) (*Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	err := s.usable()
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("begin message: %w", err)
	}
	return &Writer{s: s}, nil
}
