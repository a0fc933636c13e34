package segment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
)

const (
	// sweepBytes and sweepPairs bound what a sweep copies in one step; a step is
	// one group for the committer, so others wait for no more than that.
	sweepBytes = 1 << 20
	sweepPairs = 256
)

// Move says that the bytes of a message stand in a new place.
type Move struct{ From, To Ref }

// Swept says what a sweep did.
type Swept struct {
	Moved   int   // messages copied, or found copied by a sweep that was interrupted
	Dropped int   // removed messages whose bytes went
	Freed   int64 // size of the file that was unlinked, in bytes; 0 if none was
}

// Sweep copies what stands in a segment to the active one and unlinks the old
// file; the active segment is sealed first. One sweep runs at a time, and none
// during a Walk, Check or Usage: it waits for its turn.
//
// A removed message goes only if live says false for it. live is asked with no
// lock held; it says whether a record names the reference. Messages without a
// removal entry are copied, whether a record names them or not. For each step
// moved gets the messages that stand twice now; when it returns nil, every
// record that named From durably names To. It is not called for messages
// without records alone, so it must bear a Move that no record knows.
//
// An error leaves the segment where it is, and Usage says Interrupted if there
// are copies: sweep it again, whatever happened meanwhile. ErrBusy means later,
// ErrCorrupt that an entry cannot be read (nothing is unlinked then),
// ErrNotFound that there is no such segment. Of a large message, Sweep finishes
// the removal, if that is still to do; one that was not removed is left alone.
func (s *Store) Sweep(ctx context.Context, segment uint64, live func(Ref) (bool, error), moved func(context.Context, []Move) error) (Swept, error) {
	if err := s.turns.sweep(ctx); err != nil {
		return Swept{}, fmt.Errorf("sweep segment %d: %w", segment, err)
	}
	defer s.turns.endSweep()
	w := &sweep{s: s, segment: segment, live: live, moved: moved}
	if err := w.run(ctx); err != nil {
		return w.done, fmt.Errorf("sweep segment %d: %w", segment, err)
	}
	return w.done, nil
}

// sweep is one Sweep under way.
type sweep struct {
	s       *Store
	segment uint64
	live    func(Ref) (bool, error)
	moved   func(context.Context, []Move) error
	done    Swept

	f File

	// the step that is being filled
	buf    []byte
	pairs  []newPair
	forced []bool // beside pairs: removed, yet a record names it
	moves  []Move // to copies of an earlier sweep
	drop   []removal
	keep   []removal
}

func (w *sweep) run(ctx context.Context) (err error) {
	if err := w.s.count(ctx); err != nil {
		return err
	}
	w.f, err = w.s.openSegment(w.segment)
	if errors.Is(err, ErrNotFound) { // Due must not name it again
		w.s.bookUnlinked(w.segment)
		if large(w.segment) {
			return nil // Remove was faster
		}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.f.Close()) }()
	if err := w.free(); err != nil {
		return err
	}
	if !large(w.segment) {
		if err := w.submit(ctx, &job{seal: w.segment}); err != nil {
			return err
		}
		if err := w.free(); err != nil { // before it was sealed it could still get messages
			return err
		}
	}
	size, err := w.f.Size()
	if err != nil {
		return err
	}
	if large(w.segment) && size == endSize {
		return nil // it keeps its number, nothing else
	}
	if err := w.inspect(ctx, size); err != nil {
		return err
	}
	gone := true
	err = w.scan(ctx, size, func(p piece) (err error) {
		if large(w.segment) {
			gone, err = w.gone(&p)
			return err
		}
		return w.piece(ctx, p)
	})
	if err != nil || !gone {
		return err
	}
	if err := w.step(ctx); err != nil {
		return err
	}
	if err := w.s.enter(); err != nil {
		return err
	}
	defer w.s.commits.Done()
	if err := w.s.unlink(w.segment); err != nil {
		return err
	}
	w.done.Freed = size
	return nil
}

// free says whether the segment may be swept at all.
func (w *sweep) free() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	sealed := large(w.segment) || w.segment != w.s.lastSmall
	if n := w.s.pins[w.segment]; sealed && n > 0 {
		return fmt.Errorf("%d messages are not released: %w", n, ErrBusy)
	}
	if n, ok := w.s.tallies.holdsCopies(w.segment); ok {
		return fmt.Errorf("it holds copies out of segment %d, which is to be swept first: %w", n, ErrBusy)
	}
	return nil
}

// submit gives a job to the committer, in a way that Close waits for.
func (w *sweep) submit(ctx context.Context, j *job) error {
	if err := w.s.enter(); err != nil {
		return err
	}
	defer w.s.commits.Done()
	return w.s.submit(ctx, j)
}

// inspect reads headers and sidecars before anything is copied.
func (w *sweep) inspect(ctx context.Context, size int64) error {
	return w.scan(ctx, size, func(p piece) error {
		if p.removal {
			return nil
		}
		_, err := readSidecar(w.f, p)
		return w.damaged(err)
	})
}

// scan goes through the pieces and ends at damage.
func (w *sweep) scan(ctx context.Context, size int64, each func(piece) error) error {
	var damage error
	err := scanner{
		f: w.f, segment: w.segment, size: size, tag: w.s.tag,
		piece: func(p piece) error {
			if damage != nil {
				return damage
			}
			return each(p)
		},
		damage: func(off int64, problem error) {
			damage = fmt.Errorf("offset %d: %w: %w", off, problem, ErrCorrupt)
		},
	}.run(ctx)
	if err == nil {
		err = damage
	}
	return w.damaged(err)
}

// damaged remembers that Due need not name this segment again.
func (w *sweep) damaged(err error) error {
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if t := w.s.tallies.segments[w.segment]; t != nil {
		t.damaged = true
	}
	return err
}

// gone says whether a message was removed and no record names this place.
func (w *sweep) gone(p *piece) (bool, error) {
	w.s.mu.Lock()
	removed := w.s.tallies.messageRemoved(p)
	w.s.mu.Unlock()
	if !removed {
		return false, nil
	}
	live, err := w.live(p.ref)
	return !live, err
}

func (w *sweep) piece(ctx context.Context, p piece) error {
	if p.removal {
		w.keepRemoval(p)
		return nil
	}
	w.s.mu.Lock()
	second, twice := w.s.tallies.copyOf(p.ref)
	removed := w.s.tallies.messageRemoved(&p)
	secondRemoved := twice && w.s.tallies.removed(second.number)
	w.s.mu.Unlock()
	gone, err := w.gone(&p)
	if err != nil {
		return err
	}
	switch {
	case gone && twice && !secondRemoved:
		// The records decide about the second place as well.
		live, err := w.live(second.ref)
		if err != nil {
			return err
		}
		w.done.Dropped++
		if !live {
			w.drop = append(w.drop, removal{sum: p.ref.Sum, number: second.number, ref: second.ref, bytes: p.bytes(), time: w.s.now()})
		}
	case gone:
		w.done.Dropped++
	case twice && !secondRemoved && w.same(ctx, p, second):
		w.moves = append(w.moves, Move{p.ref, second.ref})
	default:
		if err := w.copy(ctx, p, removed); err != nil {
			return err
		}
	}
	if len(w.buf) >= sweepBytes || len(w.pairs)+len(w.moves)+len(w.drop) >= sweepPairs {
		return w.step(ctx)
	}
	return nil
}

// keepRemoval takes a removal along whose segment stands.
func (w *sweep) keepRemoval(p piece) {
	n := segmentOf(p.number)
	w.s.mu.Lock()
	stands := n != w.segment && w.s.tallies.segments[n] != nil
	w.s.mu.Unlock()
	if stands {
		w.keep = append(w.keep, removal{sum: p.ref.Sum, number: p.number, time: p.time.Unix()})
	}
}

// same says whether the copy of an earlier sweep is whole.
func (w *sweep) same(ctx context.Context, p piece, second copyPlace) bool {
	f, err := w.s.openSegment(second.ref.Segment)
	if err != nil {
		return false
	}
	defer f.Close() // only read
	size, err := f.Size()
	if err != nil {
		return false
	}
	q, err := readPiece(f, second.ref.Segment, second.ref.Offset-block, size)
	if err != nil || q.ref != second.ref || q.number != second.number || checkMessage(ctx, f, q.ref) != nil {
		return false
	}
	a, err1 := readSidecar(w.f, p)
	b, err2 := readSidecar(f, q)
	return err1 == nil && err2 == nil && bytes.Equal(a, b)
}

// copy reads a pair into the step. Its bytes are hashed: the old ones go, so
// the new ones must be right.
func (w *sweep) copy(ctx context.Context, p piece, forced bool) error {
	if len(w.buf) > 0 && int64(len(w.buf))+p.bytes() > sweepBytes {
		if err := w.step(ctx); err != nil {
			return err
		}
	}
	side, err := readSidecar(w.f, p)
	if err != nil {
		return w.damaged(err)
	}
	at := len(w.buf)
	w.buf = append(w.buf, make([]byte, p.ref.Size)...)
	msg := w.buf[at:len(w.buf):len(w.buf)]
	if err := readFull(w.f, msg, p.ref.Offset); err != nil {
		return err
	}
	if sha256.Sum256(msg) != p.ref.Sum {
		return w.damaged(fmt.Errorf("message at offset %d: %w", p.ref.Offset, ErrCorrupt))
	}
	w.pairs = append(w.pairs, newPair{
		message: msg, sidecar: side, time: p.time.Unix(),
		from: source{p.number, p.ref}, ref: Ref{Size: p.ref.Size, Sum: p.ref.Sum},
	})
	w.forced = append(w.forced, forced)
	return nil
}

// step makes what was collected durable, and the owner's records follow.
func (w *sweep) step(ctx context.Context) error {
	if len(w.pairs) > 0 || len(w.keep) > 0 {
		if err := w.submit(ctx, &job{pairs: w.pairs, removals: w.keep}); err != nil {
			return err
		}
	}
	for i := range w.pairs {
		p := &w.pairs[i]
		w.s.mu.Lock()
		// Removed while it was copied: the removal knew only one place.
		late := !w.forced[i] && w.s.tallies.removed(p.from.number)
		both := w.s.tallies.removed(p.number)
		w.s.mu.Unlock()
		if late && !both {
			w.drop = append(w.drop, removal{sum: p.ref.Sum, number: p.number, ref: p.ref, bytes: pairSize(p.ref.Size, int64(len(p.sidecar))), time: w.s.now()})
		}
		if late {
			w.done.Dropped++
			continue
		}
		w.moves = append(w.moves, Move{p.from.ref, p.ref})
	}
	if len(w.drop) > 0 {
		if err := w.submit(ctx, &job{removals: w.drop}); err != nil {
			return err
		}
	}
	if len(w.moves) > 0 {
		if err := w.moved(ctx, w.moves); err != nil {
			return err
		}
		w.done.Moved += len(w.moves)
	}
	clear(w.pairs)
	w.buf, w.pairs, w.forced = w.buf[:0], w.pairs[:0], w.forced[:0]
	w.moves, w.drop, w.keep = nil, w.drop[:0], w.keep[:0]
	return nil
}
