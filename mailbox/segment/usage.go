package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// SegmentUsage says what the bytes of a segment are good for. What is missing
// to Size is the end of the archive.
type SegmentUsage struct {
	Segment  uint64
	Size     int64 // of the file, in bytes
	Live     int64 // messages that stand, with headers and sidecars: their tar form
	Dead     int64 // what a sweep would free
	Removals int64 // removal entries that are needed until the segments they reach into are swept
	// Interrupted: a sweep of it did not come to its end and is to be done again,
	// before any other.
	Interrupted bool
	// Damaged: an entry in it cannot be read; it is not swept.
	Damaged bool
}

// Usage gives the usage of all segments, ascending. The first call reads the
// headers of all segments (about one read of 8 KiB a message) and keeps the
// sums; Open never waits for this, later calls read nothing.
func (s *Store) Usage(ctx context.Context) ([]SegmentUsage, error) {
	if err := s.turns.walk(ctx); err != nil {
		return nil, fmt.Errorf("segment usage: %w", err)
	}
	defer s.turns.endWalk()
	if err := s.count(ctx); err != nil {
		return nil, fmt.Errorf("segment usage: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tallies.usage(), nil
}

func (t *tallies) usage() []SegmentUsage {
	out := make([]SegmentUsage, 0, len(t.segments))
	for n, s := range t.segments {
		out = append(out, SegmentUsage{
			Segment: n, Size: s.size, Live: s.live, Dead: s.dead, Removals: s.needed(),
			Interrupted: t.interrupted(n), Damaged: s.damaged,
		})
	}
	slices.SortFunc(out, func(a, b SegmentUsage) int { return cmp.Compare(a.Segment, b.Segment) })
	return out
}

// Due names the segment to sweep next, ok false when there is none: first what
// was interrupted, then what is mostly dead, then, as long as the folder takes
// more than 1.5 times its live messages, what is dead to the greatest part.
// When it answers false, that bound holds, but for the end of each archive,
// less than 1/64 of a full segment in the active one, segments with messages
// that were not released, and damaged ones.
func (s *Store) Due(ctx context.Context) (segment uint64, ok bool, err error) {
	all, err := s.Usage(ctx)
	if err != nil {
		return 0, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var size, live int64
	var best, active SegmentUsage
	for _, u := range all {
		size += u.Size
		live += u.Live
		switch {
		case u.Damaged || u.Dead == 0 && !u.Interrupted || large(u.Segment) && u.Live > 0:
		case u.Segment == s.lastSmall:
			if u.Dead >= s.opts.MaxSegment/64 {
				active = u
			}
		case s.pins[u.Segment] > 0:
		case u.Interrupted:
			return u.Segment, true, nil
		case u.share() > best.share():
			best = u
		}
	}
	if best.share() <= 0.5 {
		if size*2 <= live*3 {
			return 0, false, nil
		}
		if active.share() > best.share() {
			best = active
		}
	}
	return best.Segment, best.Segment != 0, nil
}

// share is how much of a segment is dead.
func (u SegmentUsage) share() float64 {
	if u.Size == 0 {
		return 0
	}
	return float64(u.Dead) / float64(u.Size)
}

// count reads all headers once. Callers hold a turn.
func (s *Store) count(ctx context.Context) error {
	select {
	case s.counting <- struct{}{}:
		defer func() { <-s.counting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	if s.tallies != nil || s.closed {
		defer s.mu.Unlock()
		if s.closed {
			return ErrClosed
		}
		return nil
	}
	until := s.durable
	s.capturing = true
	s.mu.Unlock()

	t, spent, err := s.countAll(ctx, until)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		for i := range s.captured {
			t.book(&s.captured[i])
		}
		s.tallies = t
		s.emptied = append(s.emptied, spent...)
	}
	s.capturing, s.captured = false, nil
	return err
}

// spot is where a pair lies in its segment, in blocks.
type spot struct{ start, blocks uint32 }

// counter is what counting needs besides its result.
type counter struct {
	*tallies
	spots    map[uint64][]spot // by segment, then place
	removals []reach
	copied   []copied
}

// reach is a removal: the segment it stands in, the pair it names.
type reach struct{ in, number uint64 }

type copied struct {
	from uint64
	to   copyPlace
}

// countAll also gives the odd segments that only kept their number and need
// not any more.
func (s *Store) countAll(ctx context.Context, until Place) (*tallies, []uint64, error) {
	numbers, _, err := s.list()
	if err != nil {
		return nil, nil, err
	}
	c := &counter{tallies: newTallies(), spots: make(map[uint64][]spot)}
	var spent []uint64
	for _, n := range numbers {
		if !large(n) && n > until.Segment {
			continue // begun later: told by events
		}
		empty, err := s.countSegment(ctx, c, n, until)
		if err != nil {
			return nil, nil, err
		}
		if empty {
			delete(c.segments, n)
			s.mu.Lock()
			if n < s.topLarge {
				spent = append(spent, n)
			}
			s.mu.Unlock()
		}
	}
	for _, r := range c.removals {
		at, _ := c.spot(r.number)
		c.remove(c.of(r.in), r.number, int64(at.blocks)*block)
	}
	for _, e := range c.copied {
		if at, ok := c.spot(e.from); ok {
			first := e.to.ref
			first.Segment, first.Offset = segmentOf(e.from), int64(at.start+1)*block
			c.addCopy(source{e.from, first}, e.to)
		}
	}
	return c.tallies, spent, nil
}

// spot is where the pair with a number was found.
func (c *counter) spot(number uint64) (spot, bool) {
	all, i := c.spots[segmentOf(number)], number%perSegment
	if i >= uint64(len(all)) || all[i].blocks == 0 {
		return spot{}, false
	}
	return all[i], true
}

func (s *Store) countSegment(ctx context.Context, c *counter, n uint64, until Place) (empty bool, err error) {
	f, size, grows, err := s.openUntil(n, until)
	if errors.Is(err, ErrNotFound) && large(n) {
		return false, nil // removed since the folder was listed
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	t := c.of(n)
	t.size = size
	err = scanner{
		f: f, segment: n, size: size, grows: grows, tag: s.tag,
		piece:  func(p piece) error { c.add(n, t, &p); return nil },
		damage: func(int64, error) { t.damaged = true },
	}.run(ctx)
	return large(n) && size == endSize && !t.damaged, err
}

func (c *counter) add(n uint64, t *tally, p *piece) {
	if p.removal {
		c.removals = append(c.removals, reach{n, p.number})
		return
	}
	t.live += p.bytes()
	at := p.number % perSegment
	for uint64(len(c.spots[n])) <= at {
		c.spots[n] = append(c.spots[n], spot{})
	}
	c.spots[n][at] = spot{uint32(p.start / block), uint32(p.bytes() / block)}
	if p.from != 0 {
		c.copied = append(c.copied, copied{p.from, copyPlace{p.ref, p.number}})
	}
}

// openUntil opens a segment for going through it, and says how much of it was
// durable at a moment and whether it was still written on.
func (s *Store) openUntil(n uint64, until Place) (f File, size int64, grows bool, err error) {
	if f, err = s.openSegment(n); err != nil {
		return nil, 0, false, err
	}
	if size, err = f.Size(); err != nil {
		return nil, 0, false, errors.Join(fmt.Errorf("read segment %d: %w", n, err), f.Close())
	}
	grows = !large(n) && n >= until.Segment
	if n == until.Segment {
		size = min(size, until.End)
	} else if grows {
		size = 0
	}
	return f, size, grows, nil
}
