package segment

import "maps"

// keepMoves is how many moves out of segments that are gone are remembered, so
// that references read just before still lead to their message.
const keepMoves = 100_000

// tallies is what the headers of all segments add up to, kept current by the
// committer. Guarded by Store.mu. A nil *tallies knows nothing.
type tallies struct {
	segments map[uint64]*tally
	copies   map[uint64]*copies // by the segment they were made from
	swept    []uint64           // those of copies whose segment is gone, oldest first
	followed int                // moves kept for them
}

// tally is about one segment.
type tally struct {
	size     int64            // of the file
	live     int64            // of pairs that stand
	dead     int64            // of removed pairs, and of removals whose segment is gone
	removals map[uint64]int64 // bytes of removals still needed, by the segment they reach into
	gone     bitset           // places of the pairs that were removed
	damaged  bool
}

// copies are the second places of the messages of one segment.
type copies struct {
	places  map[int64]copyPlace // by the offset of the first
	sources map[uint64]bool     // numbers of the first, while their segment stands
}

type copyPlace struct {
	ref    Ref
	number uint64
}

type eventKind byte

const (
	madeFile eventKind = iota // or its end
	madePair
	madeRemoval
	unlinked
)

// event is one change of what is on disk.
type event struct {
	kind    eventKind
	segment uint64
	size    int64  // of the file after it
	number  uint64 // of the pair; of a removal: of the pair it removes
	bytes   int64  // of the pair that is made or removed
	ref     Ref    // of a pair
	from    source // of a copy
}

func newTallies() *tallies {
	return &tallies{segments: make(map[uint64]*tally), copies: make(map[uint64]*copies)}
}

func (t *tallies) of(segment uint64) *tally {
	s := t.segments[segment]
	if s == nil {
		s = &tally{removals: make(map[uint64]int64)}
		t.segments[segment] = s
	}
	return s
}

func (t *tallies) book(e *event) {
	if e.kind == unlinked {
		t.drop(e.segment)
		return
	}
	s := t.of(e.segment)
	s.size = max(s.size, e.size)
	switch e.kind {
	case madePair:
		if large(e.segment) && s.live+s.dead > 0 {
			return // it was named while the headers were counted
		}
		s.live += e.bytes
		if e.from.number != 0 {
			t.addCopy(e.from, copyPlace{e.ref, e.number})
		}
	case madeRemoval:
		t.remove(s, e.number, e.bytes)
	}
}

// remove books a removal entry that stands in s.
func (t *tallies) remove(s *tally, number uint64, bytes int64) {
	target := t.segments[segmentOf(number)]
	if target == nil {
		s.dead += removalSize
		return
	}
	s.removals[segmentOf(number)] += removalSize
	if target.gone.set(number % perSegment) {
		target.live -= bytes
		target.dead += bytes
	}
}

// removed says whether a pair was removed.
func (t *tallies) removed(number uint64) bool {
	s := t.segments[segmentOf(number)]
	return s != nil && s.gone.has(number%perSegment)
}

// messageRemoved says it of a message, which may stand twice.
func (t *tallies) messageRemoved(p *piece) bool {
	if t.removed(p.number) || p.from != 0 && t.removed(p.from) {
		return true
	}
	c, ok := t.copyOf(p.ref)
	return ok && t.removed(c.number)
}

func (t *tallies) addCopy(from source, to copyPlace) {
	n := segmentOf(from.number)
	if t.segments[n] == nil {
		return
	}
	c := t.copies[n]
	if c == nil {
		c = &copies{places: make(map[int64]copyPlace), sources: make(map[uint64]bool)}
		t.copies[n] = c
	}
	c.places[from.ref.Offset] = to
	c.sources[from.number] = true
}

// copyOf is the place to which a sweep copied a message.
func (t *tallies) copyOf(ref Ref) (copyPlace, bool) {
	if t == nil {
		return copyPlace{}, false
	}
	c := t.copies[ref.Segment]
	if c == nil {
		return copyPlace{}, false
	}
	to, ok := c.places[ref.Offset]
	return to, ok && to.ref.Sum == ref.Sum && to.ref.Size == ref.Size
}

// interrupted says whether copies were made out of a segment that still stands.
func (t *tallies) interrupted(segment uint64) bool {
	return t.segments[segment] != nil && t.copies[segment] != nil
}

// isCopy says whether a pair is the second place of a message whose first one
// still stands.
func (t *tallies) isCopy(p *piece) bool {
	n := segmentOf(p.from)
	return p.from != 0 && t.interrupted(n) && t.copies[n].sources[p.from]
}

// holdsCopies says whether pairs of an interrupted sweep stand in a segment.
func (t *tallies) holdsCopies(segment uint64) (of uint64, ok bool) {
	for n, c := range t.copies {
		if t.segments[n] == nil {
			continue
		}
		for _, to := range c.places {
			if to.ref.Segment == segment {
				return n, true
			}
		}
	}
	return 0, false
}

// drop forgets a segment that was unlinked. Moves out of it are still followed.
func (t *tallies) drop(segment uint64) {
	delete(t.segments, segment)
	for _, s := range t.segments {
		s.dead += s.removals[segment]
		delete(s.removals, segment)
	}
	c := t.copies[segment]
	if c == nil {
		return
	}
	c.sources = nil
	t.swept = append(t.swept, segment)
	t.followed += len(c.places)
	for t.followed > keepMoves && len(t.swept) > 1 {
		t.followed -= len(t.copies[t.swept[0]].places)
		delete(t.copies, t.swept[0])
		t.swept = t.swept[1:]
	}
}

// needed is how many bytes of removals in a segment still say something.
func (s *tally) needed() (n int64) {
	for b := range maps.Values(s.removals) {
		n += b
	}
	return n
}

// bitset is a set of places in a segment.
type bitset []uint64

func (b bitset) has(n uint64) bool {
	return n/64 < uint64(len(b)) && b[n/64]&(1<<(n%64)) != 0
}

// set adds n and says whether it was not there.
func (b *bitset) set(n uint64) bool {
	for n/64 >= uint64(len(*b)) {
		*b = append(*b, 0)
	}
	was := b.has(n)
	(*b)[n/64] |= 1 << (n % 64)
	return !was
}
