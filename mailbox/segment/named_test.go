package segment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// lastGroup stores messages that share one sync, behind one that does not.
func lastGroup(t *testing.T, o Options, n int) (acked []kept) {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	first := kept{message: []byte("first"), sidecar: []byte("{}")}
	first.ref = mustPut(t, s, "first", "{}")
	acked = append(acked, first)
	var jobs []*job
	for n := range n {
		body := message(2, n, 300*n)
		w, err := s.Begin(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		j := &job{pin: true, done: make(chan struct{})}
		j.one[0] = newPair{message: body, sidecar: []byte(`{"n":1}`), ref: Ref{Size: int64(len(body)), Sum: sha256.Sum256(body)}}
		j.pairs = j.one[:]
		jobs = append(jobs, j)
		w.Abort()
		acked = append(acked, kept{message: body, sidecar: j.pairs[0].sidecar})
	}
	s.mu.Lock()
	s.waiting = append(s.waiting, jobs...) // at once, so that one sync serves them
	s.mu.Unlock()
	s.signal()
	for i, j := range jobs {
		if <-j.done; j.err != nil {
			t.Fatal(j.err)
		}
		acked[i+1].ref = j.pairs[0].ref
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return acked
}

// TestK5_LastGroupThatRecordsName changes every byte of a group that nothing
// proves synced but the records: what they name is never cut in silence, and
// what they do not name is an unfinished write.
func TestK5_LastGroupThatRecordsName(t *testing.T) {
	m := newMemFS()
	o := Options{Dir: "/store", FS: m}
	acked := lastGroup(t, o, 3)
	var node *inode
	for _, n := range m.names {
		if len(n.data) > 0 {
			node = n
		}
	}
	whole := node.data
	for _, named := range []int{1, 3} {
		ref := acked[named].ref
		o.Named = Place{ref.Segment, ref.Offset}
		refused, cut := 0, 0
		for at := acked[0].ref.Offset - block; at < int64(len(whole)); at++ {
			node.data = slices.Clone(whole)
			node.data[at] ^= 0x20
			damaged := slices.Clone(node.data)
			s, err := Open(o)
			if errors.Is(err, ErrCorrupt) {
				sum, err := Check(context.Background(), o, CheckOptions{}, func(Finding) {})
				if refused++; !bytes.Equal(node.data, damaged) || sum.Damage == 0 || err != nil {
					t.Fatalf("byte %d: refused, changed: %v, check: %d, %v", at, !bytes.Equal(node.data, damaged), sum.Damage, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, k := range acked {
				if i > named {
					continue
				}
				if err := s.Verify(context.Background(), k.ref); err != nil && at >= acked[1].ref.Offset-block {
					t.Fatalf("byte %d, records up to %d: message %d: %v", at, named, i, err)
				}
			}
			if s.Recovered().Cut > 0 {
				cut++
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if refused == 0 || (cut > 0) != (named < len(acked)-1) {
			t.Errorf("records up to %d: %d refused, %d cut", named, refused, cut)
		}
	}
}

// TestK6_EveryLengthThatRecordsName truncates the active segment: below what
// records name it is refused and stays, above it is cut in silence.
func TestK6_EveryLengthThatRecordsName(t *testing.T) {
	m := newMemFS()
	o := Options{Dir: "/store", FS: m}
	acked := lastGroup(t, o, 4)
	name := "/store/" + FileName(acked[0].ref.Segment)
	node := m.names[name]
	whole := node.data
	for named, k := range acked {
		o.Named = Place{k.ref.Segment, k.ref.Offset}
		must := int64(len(whole))
		if named < len(acked)-1 {
			must = acked[named+1].ref.Offset - block
		}
		for n := int64(0); n < int64(len(whole)); n += 5 {
			node.data = slices.Clone(whole[:n])
			s, err := Open(o)
			if (n < must) != errors.Is(err, ErrCorrupt) || n < must && int64(len(node.data)) != n {
				t.Fatalf("length %d of %d: %v", n, must, err)
			}
			if err == nil {
				if err := errors.Join(s.Verify(context.Background(), k.ref), s.Close()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	o.Named = Place{acked[0].ref.Segment + 2, block}
	node.data = whole
	if _, err := Open(o); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a segment that records name is missing: %v", err)
	}
}

// TestForgo lets a damaged folder be opened again: nothing is cut, numbers are
// not given twice, and the damage is told as before.
func TestForgo(t *testing.T) {
	ctx := context.Background()
	m := newMemFS()
	o := Options{Dir: "/store", FS: m, LargeAt: 3000}
	acked := lastGroup(t, o, 3)
	last := acked[len(acked)-1].ref
	o.Named = Place{last.Segment, last.Offset}
	node := m.names["/store/"+FileName(last.Segment)]
	node.data[acked[2].ref.Offset] ^= 1
	before := slices.Clone(node.data)
	if _, err := Open(o); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}

	look := o
	look.ReadOnly = true
	s, err := Open(look)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(ctx); !errors.Is(err, ErrReadOnly) {
		t.Errorf("begin: %v", err)
	}
	if err := s.Remove(ctx, last); !errors.Is(err, ErrReadOnly) {
		t.Errorf("remove: %v", err)
	}
	readable := func(s *Store) (out string) {
		for i, k := range acked {
			if s.Verify(ctx, k.ref) == nil {
				out += fmt.Sprint(i)
			}
		}
		return out
	}
	if got := readable(s); got != "013" {
		t.Errorf("readable: %s", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	if err := Forgo(m, "/store", []uint64{1, 7}, true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if s, err = Open(o); err != nil {
			t.Fatal(err)
		}
		if got := readable(s); got != "013" || !bytes.Equal(node.data, before) {
			t.Errorf("readable: %s, or the damaged file was changed", got)
		}
		if err := s.Walk(ctx, func(Entry) error { return nil }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("walk: %v", err)
		}
		if ref := mustPut(t, s, "small", "{}"); ref.Segment != last.Segment+2 {
			t.Errorf("written to segment %d", ref.Segment)
		}
		if ref := mustPut(t, s, string(make([]byte, 4000)), "{}"); ref.Segment <= 7 {
			t.Errorf("segment %d given again", ref.Segment)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		damage := 0
		if _, err := Check(ctx, o, CheckOptions{Deep: true}, func(f Finding) {
			if !f.Problem.Harmless() {
				damage++
			}
		}); err != nil || damage == 0 {
			t.Errorf("check: %d, %v", damage, err)
		}
	}
}
