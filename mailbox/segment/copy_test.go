package segment

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// What is held is durable to where Extents says, in whole entries, and no sweep
// takes it away before Release.
func TestHoldKeepsSegmentsForACopy(t *testing.T) {
	ctx := context.Background()
	s, err := Open(Options{Dir: t.TempDir(), MaxSegment: 16 << 10, LargeAt: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	add := func(size int) Ref {
		w, err := s.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		ref, err := w.Commit(ctx, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		w.Release()
		return ref
	}
	var refs []Ref
	for range 12 {
		refs = append(refs, add(3000))
	}
	large := add(20 << 10)
	if err := s.Remove(ctx, refs[:10]...); err != nil {
		t.Fatal(err)
	}
	held, err := s.Hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	due, ok, err := s.Due(ctx)
	if err != nil || !ok {
		t.Fatal("nothing is due", err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	none := func(Ref) (bool, error) { return false, nil }
	moved := func(context.Context, []Move) error { return nil }
	if _, err := s.Sweep(short, due, none, moved); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a sweep while segments are held: %v", err)
	}
	extents, err := held.Extents()
	if err != nil || len(extents) < 4 {
		t.Fatal(extents, err)
	}
	seen := map[uint64]int64{}
	for i, e := range extents {
		if i > 0 && e.Segment <= extents[i-1].Segment || e.Size%block != 0 || e.Size == 0 {
			t.Errorf("extents %v", extents)
		}
		seen[e.Segment] = e.Size
		f, err := held.Open(e.Segment)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(f, 0, e.Size))
		if err := errors.Join(err, f.Close()); err != nil || int64(len(b)) != e.Size {
			t.Errorf("segment %d: %d bytes of %d, %v", e.Segment, len(b), e.Size, err)
		}
	}
	for _, ref := range append(refs, large) {
		if end := ref.Offset + ref.Size; seen[ref.Segment] < end {
			t.Errorf("segment %d ends at %d, a message in it at %d", ref.Segment, seen[ref.Segment], end)
		}
	}
	held.Release()
	held.Release()
	if done, err := s.Sweep(ctx, due, none, moved); err != nil || done.Freed == 0 {
		t.Errorf("a sweep after Release: %+v, %v", done, err)
	}
	if _, err := held.Open(due); !errors.Is(err, ErrNotFound) {
		t.Errorf("open what was swept: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := held.Extents(); !errors.Is(err, ErrClosed) {
		t.Errorf("extents of a closed store: %v", err)
	}
}
