package segment

import (
	"context"
	"errors"
	"fmt"
)

// maxDamage bounds how many damaged places one Walk names.
const maxDamage = 20

// Walk calls fn for every message that was committed before the call, segment
// by segment, each once, removed ones too. The sidecar is checked, the message
// is not (see Verify). Walk goes on behind damage to the next whole entry; what
// it met on the way is in its answer, ErrCorrupt wrapped, after everything
// readable was shown. An error of fn ends the walk and is returned as it is.
// fn must not wait for a Sweep, which waits for it.
func (s *Store) Walk(ctx context.Context, fn func(Entry) error) error {
	if err := s.turns.walk(ctx); err != nil {
		return fmt.Errorf("walk segments: %w", err)
	}
	defer s.turns.endWalk()
	if err := s.count(ctx); err != nil {
		return fmt.Errorf("walk segments: %w", err)
	}
	s.mu.Lock()
	until, last := s.durable, s.lastSmall
	s.mu.Unlock()
	numbers, _, err := s.list()
	if err != nil {
		return fmt.Errorf("walk segments: %w", err)
	}
	w := walk{s: s, fn: fn, hidden: make(map[uint64]bool)}
	for _, n := range numbers {
		if !large(n) && n > max(until.Segment, last) {
			continue // begun after the call
		}
		if err := w.segment(ctx, n, until); err != nil {
			return err
		}
	}
	return errors.Join(w.damage...)
}

type walk struct {
	s      *Store
	fn     func(Entry) error
	damage []error
	// hidden are the numbers of damaged pairs that have a copy: it is shown then.
	hidden map[uint64]bool
}

func (w *walk) damaged(format string, args ...any) {
	if len(w.damage) < maxDamage {
		w.damage = append(w.damage, fmt.Errorf(format, args...))
	}
}

func (w *walk) segment(ctx context.Context, n uint64, until Place) (err error) {
	f, size, grows, err := w.s.openUntil(n, until)
	if errors.Is(err, ErrNotFound) && large(n) {
		return nil // removed since the folder was listed
	}
	if err != nil {
		return fmt.Errorf("walk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var own error // of fn
	err = scanner{
		f: f, segment: n, size: size, grows: grows, tag: w.s.tag,
		piece: func(p piece) error {
			own = w.piece(f, p)
			return own
		},
		damage: func(off int64, problem error) {
			w.damaged("segment %d at offset %d: %w: %w", n, off, problem, ErrCorrupt)
		},
	}.run(ctx)
	if err != nil && own == nil && ctx.Err() == nil {
		err = fmt.Errorf("walk: %w", err)
	}
	return err
}

func (w *walk) piece(f File, p piece) error {
	if p.removal {
		return nil
	}
	side, err := readSidecar(f, p)
	if errors.Is(err, ErrCorrupt) {
		w.damaged("segment %d: %w", p.ref.Segment, err)
		w.hidden[p.number] = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("segment %d: %w", p.ref.Segment, err)
	}
	w.s.mu.Lock()
	also, _ := w.s.tallies.copyOf(p.ref)
	removed, second := w.s.tallies.messageRemoved(&p), w.s.tallies.isCopy(&p)
	w.s.mu.Unlock()
	if second && !w.hidden[p.from] {
		return nil // it was shown where it stands first
	}
	return w.fn(Entry{Ref: p.ref, Time: p.time, Sidecar: side, Removed: removed, Copy: also.ref})
}
