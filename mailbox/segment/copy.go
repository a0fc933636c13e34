package segment

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Extent is how much of a segment is durable.
type Extent struct {
	Segment uint64
	Size    int64 // in bytes, from its beginning: whole entries
}

// Held keeps sweeps from going over the segments while they are copied.
// Messages come in meanwhile. It is ended by Release.
type Held struct {
	s    *Store
	once sync.Once
}

// Hold waits for the sweep under way and lets no other begin until Release.
// What is removed meanwhile stays removed: a large message goes from disk at
// once, so the owner does not remove what the copy must have.
func (s *Store) Hold(ctx context.Context) (*Held, error) {
	if err := s.turns.walk(ctx); err != nil {
		return nil, fmt.Errorf("hold segments: %w", err)
	}
	return &Held{s: s}, nil
}

// Release lets sweeps begin again. A second Release does nothing.
func (h *Held) Release() { h.once.Do(h.s.turns.endWalk) }

// Extents says how much of each segment is durable now, ascending. All but the
// last even one are as large as they ever become.
func (h *Held) Extents() ([]Extent, error) {
	h.s.mu.Lock()
	until, closed := h.s.durable, h.s.closed
	h.s.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("list segments: %w", ErrClosed)
	}
	numbers, _, err := h.s.list()
	if err != nil {
		return nil, err
	}
	var out []Extent
	for _, n := range numbers {
		f, size, _, err := h.s.openUntil(n, until)
		if errors.Is(err, ErrNotFound) && large(n) {
			continue // removed since the folder was listed
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return nil, err
		}
		if size > 0 {
			out = append(out, Extent{n, size})
		}
	}
	return out, nil
}

// Open gives the file of a segment for reading, as it lies on disk; ErrNotFound
// when it went since it was listed. The caller closes it.
func (h *Held) Open(segment uint64) (File, error) { return h.s.openSegment(segment) }
