package segment

import (
	"context"
	"fmt"
	"slices"
)

const (
	// maxGroup bounds how many messages share one sync.
	maxGroup = 1024
	// gather is how many bytes are collected before they are written.
	gather = 1 << 20
	// direct is the size from which a message is written without being copied.
	direct = 128 << 10
	// keepBuffer is the largest message buffer that is used again.
	keepBuffer = 256 << 10
)

// job is one Commit that waits for the committer.
type job struct {
	message []byte // of a small message
	sidecar []byte
	upload  bool // a large message, whole and synced: only its name is missing
	ref     Ref
	time    int64
	taken   bool // guarded by Store.mu: the committer has it, it cannot be taken back
	err     error
	done    chan struct{}
}

// active is the segment that is written on. Only the committer touches it.
type active struct {
	f       File
	segment uint64
	size    int64 // including what is still gathered
	synced  int64
	count   uint64
	gather  []byte
}

func (a *active) close() error {
	if a.f == nil {
		return nil
	}
	return a.f.Close()
}

// submit hands a job to the committer and waits for its end. When ctx ends
// first, the job is taken back, unless it is being written: then its outcome
// is awaited, so an error of ctx always means that nothing was stored.
func (s *Store) submit(ctx context.Context, j *job) error {
	j.done = make(chan struct{})
	s.mu.Lock()
	if s.failed != nil {
		s.mu.Unlock()
		return s.failed
	}
	s.waiting = append(s.waiting, j)
	s.mu.Unlock()
	s.signal()
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	if !j.taken {
		s.waiting = slices.DeleteFunc(s.waiting, func(o *job) bool { return o == j })
		s.mu.Unlock()
		return ctx.Err()
	}
	s.mu.Unlock()
	<-j.done
	return j.err
}

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run is the committer. It ends when Close says so, after the last Commit.
func (s *Store) run() {
	defer close(s.ended)
	for {
		select {
		case <-s.wake:
		case <-s.stop:
			return
		}
		for batch := s.take(); len(batch) > 0; batch = s.take() {
			s.commit(batch)
		}
	}
}

// take gives the jobs that wait. On a failed store it answers them instead.
func (s *Store) take() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.waiting), maxGroup)
	if s.failed != nil {
		n = len(s.waiting)
	}
	batch := slices.Clone(s.waiting[:n])
	s.waiting = slices.Delete(s.waiting, 0, n)
	for _, j := range batch {
		j.taken = true
		if s.failed != nil {
			j.err = s.failed
			close(j.done)
		}
	}
	if s.failed != nil {
		return nil
	}
	return batch
}

// fail ends the store's writing for good and gives the error everybody gets.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	if s.failed == nil {
		s.failed = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	err = s.failed
	s.mu.Unlock()
	s.signal() // those who wait are answered by the committer
	return err
}

// commit writes a group and answers it.
func (s *Store) commit(batch []*job) {
	err := s.write(batch)
	if err != nil {
		err = s.fail(err)
	} else if s.act.f != nil {
		s.mu.Lock()
		s.durable = place{s.act.segment, s.act.synced}
		s.mu.Unlock()
	}
	for _, j := range batch {
		j.err = err
		close(j.done)
	}
}

func (s *Store) write(batch []*job) error {
	uploads := 0
	for _, j := range batch {
		if j.upload {
			uploads++
		} else if err := s.append(j); err != nil {
			return err
		}
	}
	if uploads < len(batch) {
		if err := s.sync(); err != nil {
			return err
		}
	}
	if uploads == 0 {
		return nil
	}
	for _, j := range batch {
		if !j.upload {
			continue
		}
		if err := s.fs.Rename(s.uploadPath(j.ref.Segment), s.path(j.ref.Segment)); err != nil {
			return fmt.Errorf("name segment %d: %w", j.ref.Segment, err)
		}
	}
	if err := s.fs.SyncDir(s.opts.Dir); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// append writes one pair at the end of the active segment.
func (s *Store) append(j *job) error {
	a := &s.act
	need := pairSize(int64(len(j.message)), int64(len(j.sidecar)))
	if a.f != nil && a.size > 0 && (a.size+need+endSize > s.opts.MaxSegment || a.count >= perSegment-1) {
		if err := s.seal(); err != nil {
			return err
		}
	}
	if a.f == nil {
		if err := s.create(); err != nil {
			return err
		}
	}
	a.count++
	j.ref.Segment, j.ref.Offset = a.segment, a.size+block
	mark := uint64(a.synced / block)
	err := s.putEntry(header{name: messageName(j.ref.Sum), time: j.time, mark: mark}, j.message)
	if err != nil {
		return err
	}
	name := sidecarName(j.ref.Sum, a.segment*perSegment+a.count)
	return s.putEntry(header{name: name, time: j.time, mark: crc(j.sidecar)}, j.sidecar)
}

// putEntry adds one tar entry to what is gathered.
func (s *Store) putEntry(h header, content []byte) error {
	a := &s.act
	h.tag, h.size = s.tag, int64(len(content))
	a.gather = appendHeader(a.gather, &h)
	a.size += block + h.size + pad(h.size)
	if len(content) >= direct {
		if err := s.flush(int64(len(content)) + pad(h.size)); err != nil {
			return err
		}
		if err := writeAt(a.f, a.segment, content, a.size-h.size-pad(h.size)); err != nil {
			return err
		}
	} else {
		a.gather = append(a.gather, content...)
	}
	a.gather = append(a.gather, make([]byte, pad(h.size))...)
	if len(a.gather) >= gather {
		return s.flush(0)
	}
	return nil
}

// flush writes what is gathered; it ends after bytes before the logical end.
func (s *Store) flush(after int64) error {
	a := &s.act
	if len(a.gather) == 0 {
		return nil
	}
	err := writeAt(a.f, a.segment, a.gather, a.size-after-int64(len(a.gather)))
	a.gather = a.gather[:0]
	return err
}

// sync makes everything appended so far durable.
func (s *Store) sync() error {
	if err := s.flush(0); err != nil {
		return err
	}
	if err := s.act.f.Sync(); err != nil {
		return fmt.Errorf("sync segment %d: %w", s.act.segment, err)
	}
	s.act.synced = s.act.size
	return nil
}

// seal ends the active segment. The pairs are synced before the end is
// written, so that an end on disk proves them.
func (s *Store) seal() error {
	if err := s.sync(); err != nil {
		return err
	}
	a := &s.act
	a.gather = append(a.gather, make([]byte, endSize)...)
	a.size += endSize
	if err := s.sync(); err != nil {
		return err
	}
	f := a.f
	*a = active{gather: a.gather}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close sealed segment: %w", err)
	}
	return nil
}

// create starts the next active segment; its name is durable on return.
func (s *Store) create() error {
	s.mu.Lock()
	s.lastSmall += 2
	n := s.lastSmall
	s.mu.Unlock()
	f, err := s.fs.Create(s.path(n))
	if err != nil {
		return fmt.Errorf("make segment %d: %w", n, err)
	}
	s.act = active{f: f, segment: n, gather: s.act.gather}
	if err := s.fs.SyncDir(s.opts.Dir); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

func appendHeader(b []byte, h *header) []byte {
	b = append(b, make([]byte, block)...)
	h.encode(b[len(b)-block:])
	return b
}

func writeAt(f File, segment uint64, p []byte, off int64) error {
	if n, err := f.WriteAt(p, off); err != nil || n != len(p) {
		return fmt.Errorf("write %d of %d bytes to segment %d: %w", n, len(p), segment, orShort(err))
	}
	return nil
}
