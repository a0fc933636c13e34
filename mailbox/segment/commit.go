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

// job is what waits for the committer: a Commit, or a step of Remove or Sweep.
type job struct {
	pairs    []newPair // to be written; their places are filled in
	one      [1]newPair
	upload   bool // the pair is a large message, whole and synced: only its name is missing
	pin      bool // the pair waits for Release
	removals []removal
	seal     uint64 // this segment must not be written on any more

	taken bool // guarded by Store.mu: the committer has it, it cannot be taken back
	err   error
	done  chan struct{}
}

// newPair is a message that is about to be written.
type newPair struct {
	message []byte // of a small message
	sidecar []byte
	time    int64
	from    source // of a copy
	ref     Ref
	number  uint64
}

// source is the pair that a copy is made from.
type source struct {
	number uint64 // 0: it is no copy
	ref    Ref
}

// removal is a removal entry that is about to be written.
type removal struct {
	sum    [32]byte
	number uint64
	ref    Ref   // of the pair; zero when a sweep keeps the entry of another segment
	bytes  int64 // of the pair in its segment
	time   int64
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

// now is the time of an entry in seconds.
func (s *Store) now() int64 { return max(0, s.opts.Now().Unix()) }

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
	} else {
		s.book(batch)
	}
	s.events = s.events[:0]
	for _, j := range batch {
		j.err = err
		close(j.done)
	}
}

// book makes a durable group count.
func (s *Store) book(batch []*job) {
	s.mu.Lock()
	if s.act.f != nil {
		s.durable = Place{s.act.segment, s.act.synced}
	}
	for _, j := range batch {
		if j.upload {
			s.topLarge = max(s.topLarge, j.pairs[0].ref.Segment)
		}
		if j.pin {
			s.pins[j.pairs[0].ref.Segment]++
		}
	}
	switch {
	case s.tallies != nil:
		for i := range s.events {
			s.tallies.book(&s.events[i])
		}
	case s.capturing:
		s.captured = append(s.captured, s.events...)
	}
	var spent []uint64
	s.emptied = slices.DeleteFunc(s.emptied, func(n uint64) bool {
		if n < s.topLarge {
			spent = append(spent, n)
		}
		return n < s.topLarge
	})
	s.mu.Unlock()
	for _, n := range spent {
		_ = s.fs.Remove(s.path(n)) // an empty archive too many does no harm
	}
}

func (s *Store) write(batch []*job) error {
	uploads := 0
	for _, j := range batch {
		if j.upload {
			uploads++
		} else if err := s.carryOut(j); err != nil {
			return err
		}
	}
	if uploads < len(batch) && s.act.f != nil {
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
		p := &j.pairs[0]
		if err := s.fs.Rename(s.uploadPath(p.ref.Segment), s.path(p.ref.Segment)); err != nil {
			return fmt.Errorf("name segment %d: %w", p.ref.Segment, err)
		}
		bytes := pairSize(p.ref.Size, int64(len(p.sidecar)))
		s.events = append(s.events, event{kind: madePair, segment: p.ref.Segment, number: p.number, ref: p.ref, bytes: bytes, size: bytes + endSize})
	}
	if err := s.fs.SyncDir(s.opts.Dir); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// carryOut writes what a job brings behind the active segment.
func (s *Store) carryOut(j *job) error {
	for i := range j.pairs {
		if err := s.append(&j.pairs[i]); err != nil {
			return err
		}
	}
	for i := range j.removals {
		r := j.removals[i]
		if err := s.appendRemoval(r); err != nil {
			return err
		}
		if r.ref.Segment == 0 {
			continue
		}
		// A message that stands twice is removed twice.
		s.mu.Lock()
		c, twice := s.tallies.copyOf(r.ref)
		s.mu.Unlock()
		if twice {
			if err := s.appendRemoval(removal{sum: r.sum, number: c.number, ref: c.ref, bytes: r.bytes, time: r.time}); err != nil {
				return err
			}
		}
	}
	if j.seal != 0 {
		return s.moveOn(j.seal)
	}
	return nil
}

// room makes the active segment ready for a piece of so many bytes.
func (s *Store) room(need int64) error {
	a := &s.act
	if a.f != nil && a.size > 0 && (a.size+need+endSize > s.opts.MaxSegment || a.count >= perSegment-1) {
		if err := s.seal(); err != nil {
			return err
		}
	}
	if a.f == nil {
		return s.create()
	}
	return nil
}

// moveOn sees to it that a segment is sealed and not the last one: the last
// number must stay on disk.
func (s *Store) moveOn(segment uint64) error {
	if s.act.f != nil && s.act.segment == segment {
		if err := s.seal(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	last := s.lastSmall
	s.mu.Unlock()
	if last == segment {
		return s.create()
	}
	return nil
}

// append writes one pair at the end of the active segment.
func (s *Store) append(p *newPair) error {
	a := &s.act
	need := pairSize(int64(len(p.message)), int64(len(p.sidecar)))
	if err := s.room(need); err != nil {
		return err
	}
	a.count++
	p.number = a.segment*perSegment + a.count
	p.ref.Segment, p.ref.Offset = a.segment, a.size+block
	mark := uint64(a.synced / block)
	err := s.putEntry(header{name: messageName(p.ref.Sum), time: p.time, mark: mark}, p.message)
	if err != nil {
		return err
	}
	err = s.putEntry(header{name: sidecarName(p.ref.Sum, p.number), time: p.time, mark: crc(p.sidecar), from: p.from.number}, p.sidecar)
	s.events = append(s.events, event{kind: madePair, segment: a.segment, number: p.number, ref: p.ref, bytes: need, size: a.size, from: p.from})
	return err
}

// appendRemoval writes one removal at the end of the active segment.
func (s *Store) appendRemoval(r removal) error {
	a := &s.act
	if err := s.room(removalSize); err != nil {
		return err
	}
	mark := uint64(a.synced / block)
	err := s.putEntry(header{name: removalName(r.sum, r.number), time: r.time, mark: mark}, removalContent(r.time))
	s.events = append(s.events, event{kind: madeRemoval, segment: a.segment, number: r.number, bytes: r.bytes, size: a.size})
	return err
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
	s.events = append(s.events, event{kind: madeFile, segment: a.segment, size: a.size})
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
	s.events = append(s.events, event{kind: madeFile, segment: n})
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
