package segment

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func entries(t testing.TB, s *Store) (all []Entry) {
	t.Helper()
	if err := s.Walk(context.Background(), func(e Entry) error { all = append(all, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// onlySegment is the usage of a store with one segment.
func onlySegment(t testing.TB, s *Store) SegmentUsage {
	t.Helper()
	u, err := s.Usage(context.Background())
	if err != nil || len(u) != 1 {
		t.Fatalf("usage %+v, %v", u, err)
	}
	return u[0]
}

func TestRemove(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s := onDisk(t, dir)
	a, b, c := mustPut(t, s, "first", `{"a":1}`), mustPut(t, s, "second", `{"b":2}`), mustPut(t, s, "third", `{"c":3}`)
	if err := s.Remove(ctx, b); err != nil { // before the headers were counted
		t.Fatal(err)
	}
	before := onlySegment(t, s)
	if want := (SegmentUsage{Segment: 2, Size: 3*2048 + removalSize, Live: 2 * 2048, Dead: 2048, Removals: removalSize}); before != want {
		t.Errorf("usage %+v, want %+v", before, want)
	}
	if err := s.Remove(ctx, b, b); err != nil {
		t.Errorf("removed again: %v", err)
	}
	if after := onlySegment(t, s); after != before {
		t.Errorf("removing again wrote something: %+v", after)
	}
	wrong := a
	wrong.Sum[0]++
	absent := a
	absent.Segment = 40
	err := s.Remove(ctx, wrong, absent, a)
	if !errors.Is(err, ErrCorrupt) || !errors.Is(err, ErrNotFound) {
		t.Errorf("wrong references: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	s.Remove(ended, c) // either way is right, but never a half
	for range 2 {
		var removed []Ref
		for _, e := range entries(t, s) {
			if e.Removed {
				removed = append(removed, e.Ref)
			}
		}
		if !slices.Equal(removed[:2], []Ref{a, b}) {
			t.Errorf("removed %+v", removed)
		}
		if got, err := get(s, b); err != nil || string(got) != "second" {
			t.Errorf("a removed message cannot be read before the sweep: %v", err)
		}
		s.Close()
		if err := s.Remove(ctx, c); !errors.Is(err, ErrClosed) {
			t.Errorf("remove after close: %v", err)
		}
		s = onDisk(t, dir)
	}
	s.Close()
}

// TestRemoveLarge: the file goes at once, a reader that has it goes on, and the
// number is never given again.
func TestRemoveLarge(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s := onDisk(t, dir)
	big := strings.Repeat("large", 4000)
	var refs []Ref
	for n := range 3 {
		refs = append(refs, mustPut(t, s, big[n:], "{}"))
	}
	r, err := s.Open(refs[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, refs[1], refs[2]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, r.Size())
	if _, err := r.ReadAt(got, 0); err != nil || string(got) != big[1:] {
		t.Errorf("a reader that held it: %v", err)
	}
	r.Close()
	for n, ref := range refs[1:] {
		if _, err := s.Open(ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("message %d is open after its removal: %v", n+1, err)
		}
		if err := s.Remove(ctx, ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("message %d removed again: %v", n+1, err)
		}
	}
	s.Close()
	if st, err := os.Stat(s.path(refs[2].Segment)); err != nil || st.Size() != endSize {
		t.Errorf("the highest number is not kept by an empty archive: %v", err)
	}
	s = onDisk(t, dir)
	if all := entries(t, s); len(all) != 1 || all[0].Ref != refs[0] {
		t.Errorf("found %+v", all)
	}
	next := mustPut(t, s, big, "{}")
	if next.Segment <= refs[2].Segment {
		t.Errorf("number %d was given after %d", next.Segment, refs[2].Segment)
	}
	var names []string
	for _, name := range segments(t, dir) {
		names = append(names, filepath.Base(name))
	}
	if want := []string{"0000000000000001.tar", "0000000000000002.tar", "0000000000000007.tar"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
	s.Close()
}

// TestRelease: what is not released is not swept.
func TestRelease(t *testing.T) {
	ctx := context.Background()
	s, err := Open(small(newMemFS()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o := newOwner(s)
	release, id, err := o.putHeld(ctx, 700)
	if err != nil {
		t.Fatal(err)
	}
	segment := o.records[id].ref.Segment
	for range 2 { // it is sealed by the first
		if _, err := o.sweep(ctx, segment); !errors.Is(err, ErrBusy) {
			t.Fatalf("swept below a message without a record: %v", err)
		}
	}
	release()
	release()
	if done, err := o.sweep(ctx, segment); err != nil || done.Moved != 1 || done.Freed == 0 {
		t.Fatalf("after the release: %+v, %v", done, err)
	}
	if err := o.verify(); err != nil {
		t.Fatal(err)
	}
}

// TestOldReferences: a reference read before a sweep leads to its message, for
// reading and for removing.
func TestOldReferences(t *testing.T) {
	ctx := context.Background()
	s, err := Open(small(newMemFS()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o := newOwner(s)
	id, err := o.put(ctx, 700)
	if err != nil {
		t.Fatal(err)
	}
	old := o.records[id]
	for range 5 {
		if _, err := o.sweep(ctx, o.records[id].ref.Segment); err != nil {
			t.Fatal(err)
		}
	}
	if o.records[id].ref == old.ref {
		t.Fatal("it did not move")
	}
	if b, err := get(s, old.ref); err != nil || !bytes.Equal(b, old.body) {
		t.Errorf("old reference: %v", err)
	}
	o.unset(id)
	if err := s.Remove(ctx, old.ref); err != nil {
		t.Errorf("old reference: %v", err)
	}
	if all := entries(t, s); len(all) != 1 || !all[0].Removed {
		t.Errorf("found %+v", all)
	}
}

// TestRecordsDecide: a removal entry alone removes nothing as long as a record
// names the message, and a message without a record stays without one.
func TestRecordsDecide(t *testing.T) {
	ctx := context.Background()
	s, err := Open(small(newMemFS()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	removed, orphan := mustPut(t, s, "removed, yet recorded", "{}"), mustPut(t, s, "without a record", "{}")
	dead := mustPut(t, s, "dead", "{}")
	s.mu.Lock()
	clear(s.pins)
	s.mu.Unlock()
	if err := s.Remove(ctx, removed, dead); err != nil {
		t.Fatal(err)
	}
	var asked []Ref
	var moves []Move
	done, err := s.Sweep(ctx, 2, func(ref Ref) (bool, error) {
		asked = append(asked, ref)
		return ref == removed, nil
	}, func(_ context.Context, m []Move) error {
		moves = append(moves, m...)
		return nil
	})
	if err != nil || done.Moved != 2 || done.Dropped != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	if !slices.Equal(asked, []Ref{removed, dead}) || len(moves) != 2 || moves[0].From != removed || moves[1].From != orphan {
		t.Errorf("asked %+v, moved %+v", asked, moves)
	}
	for i, e := range entries(t, s) {
		if e.Removed || e.Ref != moves[i].To {
			t.Errorf("entry %+v", e)
		}
	}
}

// TestSweepRefuses: what cannot be swept stays byte for byte.
func TestSweepRefuses(t *testing.T) {
	ctx := context.Background()
	m := newMemFS()
	s, err := Open(small(m))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o := newOwner(s)
	for range 30 {
		if _, err := o.put(ctx, 2000); err != nil {
			t.Fatal(err)
		}
	}
	big, err := o.put(ctx, 9000)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.remove(ctx, o.ids()[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := o.sweep(ctx, 44); !errors.Is(err, ErrNotFound) {
		t.Errorf("no segment: %v", err)
	}
	if done, err := o.sweep(ctx, o.records[big].ref.Segment); err != nil || done != (Swept{}) {
		t.Errorf("a large message that stands: %+v, %v", done, err)
	}
	stop := errors.New("records cannot be read")
	if _, err := s.Sweep(ctx, 2, func(Ref) (bool, error) { return false, stop }, o.moved); !errors.Is(err, stop) {
		t.Errorf("live failed: %v", err)
	}
	node := m.names[s.path(4)]
	whole := node.data
	for _, at := range []int{600, 700, 6*block + 3, len(whole) - 100, len(whole) - endSize - 600} {
		node.data = slices.Clone(whole)
		node.data[at] ^= 0x20
		damaged := slices.Clone(node.data)
		if _, err := o.sweep(ctx, 4); !errors.Is(err, ErrCorrupt) {
			t.Errorf("damage at %d: %v", at, err)
		}
		if n := m.names[s.path(4)]; n != node || !bytes.Equal(node.data, damaged) {
			t.Fatalf("damage at %d: the segment was touched", at)
		}
	}
	if n, ok, err := s.Due(ctx); err != nil || ok && n == 4 {
		t.Errorf("a damaged segment is due: %v", err)
	}
	node.data = whole
	if err := o.verify(); err != nil {
		t.Fatal(err)
	}
}
