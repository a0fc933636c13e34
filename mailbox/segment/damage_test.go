package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestK6_EveryLength truncates the active segment at every length: the whole
// pairs before remain, the rest is cut.
func TestK6_EveryLength(t *testing.T) {
	dir := t.TempDir()
	s := onDisk(t, dir)
	var refs []Ref
	for n := range 4 {
		refs = append(refs, mustPut(t, s, strings.Repeat("x", 300*n), `{"a":1}`))
	}
	s.Close()
	name := segments(t, dir)[0]
	whole, _ := os.ReadFile(name)
	for n := 0; n < len(whole); n += 37 {
		if err := os.WriteFile(name, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s := onDisk(t, dir)
		count := 0
		if err := s.Walk(context.Background(), func(e Entry) error {
			if e.Ref != refs[count] || string(e.Sidecar) != `{"a":1}` {
				t.Errorf("length %d: entry %d differs", n, count)
			}
			count++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if count < len(refs) && refs[count].Offset+refs[count].Size+3*block <= int64(n) {
			t.Errorf("length %d: only %d entries", n, count)
		}
		again := mustPut(t, s, "after", "{}")
		if b, err := get(s, again); err != nil || string(b) != "after" {
			t.Errorf("length %d: after the cut: %v", n, err)
		}
		s.Close()
	}
}

// TestK5_EveryByte changes single bytes all over active, sealed and large
// segments: each change is harmless, or Open, Walk or Verify tells of it. Never
// are there fewer messages without a word.
func TestK5_EveryByte(t *testing.T) {
	m := newMemFS()
	o := Options{Dir: "/store", FS: m, MaxSegment: 7 << 10, LargeAt: 3000}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var acked []kept
	for n := range 9 {
		k := kept{message: message(1, n, 600), sidecar: []byte(`{"b":2}`)}
		if n == 8 {
			k.message = message(1, n, 3000)
		}
		k.ref = mustPut(t, s, string(k.message), string(k.sidecar))
		acked = append(acked, k)
	}
	s.Close()
	// With what records name, no byte of the last group passes for an unfinished write.
	last := acked[7].ref
	o.Named = Place{last.Segment, last.Offset}
	for name, node := range m.names {
		whole := node.data
		for at := 0; at < len(whole); at += 5 {
			node.data = slices.Clone(whole)
			node.data[at] ^= 0x41
			damaged := slices.Clone(node.data)
			if n := silent(t, o, acked); n != 0 {
				t.Fatalf("%s, byte %d: %d messages lost in silence", filepath.Base(name), at, n)
			}
			if !bytes.Equal(node.data, damaged) {
				t.Fatalf("%s, byte %d: damage was overwritten", filepath.Base(name), at)
			}
		}
		node.data = whole
	}
}

// TestK5_RemovalsAndCopies does the same to a store in which messages were
// removed and a sweep stopped half way: none is lost and none comes back in
// silence, and no sweep unlinks what holds the only whole copy.
func TestK5_RemovalsAndCopies(t *testing.T) {
	ctx := context.Background()
	m := newMemFS()
	options := Options{Dir: "/store", FS: m, MaxSegment: 9 << 10, LargeAt: 3000}
	s, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	o := newOwner(s)
	for n := range 7 {
		if _, err := o.put(ctx, []int{600, 600, 600, 600, 3000, 600, 600}[n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.remove(ctx, 1, 7); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	o.failMoved = func(n int) error {
		if n == 1 {
			return stop
		}
		return nil
	}
	if _, err := o.sweep(ctx, 2); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := o.put(ctx, 600); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.verify(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	known := o.clone()
	files := map[string][]byte{}
	for name, node := range m.names {
		files[name] = node.data
	}
	for name, whole := range files {
		for at := 0; at < len(whole); at += 61 {
			m := newMemFS()
			for n, b := range files {
				node := &inode{data: slices.Clone(b), synced: slices.Clone(b)}
				m.names[n], m.kept[n] = node, node
			}
			m.names[name].data[at] ^= 0x41
			where := fmt.Sprintf("%s, byte %d", filepath.Base(name), at)
			damage := false
			if _, err := Check(ctx, known.options(Options{Dir: "/store", FS: m}), CheckOptions{Deep: true}, func(f Finding) {
				damage = damage || !f.Problem.Harmless()
			}); err != nil {
				t.Fatal(err)
			}
			options.FS = m
			o := known.clone()
			if o.s, err = Open(o.options(options)); err != nil {
				if !errors.Is(err, ErrCorrupt) || !damage {
					t.Fatalf("%s: open: %v, check saw damage: %t", where, err, damage)
				}
				continue
			}
			if err := o.verify(); err != nil && !damage {
				t.Fatalf("%s: in silence: %v", where, err)
			}
			whole := map[int]bool{}
			for id, r := range o.records {
				b, err := get(o.s, r.ref)
				whole[id] = err == nil && bytes.Equal(b, r.body)
			}
			for _, u := range mustUsage(t, o.s) {
				o.sweep(ctx, u.Segment) // many must fail
			}
			for id, r := range o.records {
				if b, err := get(o.s, r.ref); whole[id] && (err != nil || !bytes.Equal(b, r.body)) {
					t.Fatalf("%s: a sweep lost record %d: %v", where, id, err)
				}
			}
			o.s.Close()
		}
	}
}

func mustUsage(t testing.TB, s *Store) []SegmentUsage {
	t.Helper()
	u, err := s.Usage(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// silent counts messages that are gone although nothing complains.
func silent(t *testing.T, o Options, acked []kept) (gone int) {
	s, err := Open(o)
	if errors.Is(err, ErrCorrupt) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	found := map[Ref]bool{}
	told := s.Walk(context.Background(), func(e Entry) error {
		found[e.Ref] = true
		return nil
	})
	if told != nil && !errors.Is(told, ErrCorrupt) {
		t.Fatal(told)
	}
	for _, k := range acked {
		b, err := get(s, k.ref)
		if err == nil && !bytes.Equal(b, k.message) && s.Verify(context.Background(), k.ref) == nil {
			t.Error("a changed message verifies")
		}
		if told == nil && !found[k.ref] {
			gone++
		}
	}
	return gone
}

// TestForgedEntry stores a message that holds a whole segment of this store,
// and damages the place before it: only the store's tag tells the two apart.
func TestForgedEntry(t *testing.T) {
	stranger := t.TempDir()
	s := onDisk(t, stranger)
	for range 3 {
		mustPut(t, s, "forged", "{}")
	}
	s.Close()
	forged, _ := os.ReadFile(segments(t, stranger)[0])

	dir := t.TempDir()
	s = onDisk(t, dir)
	first := mustPut(t, s, "first", "{}")
	mustPut(t, s, string(forged), "{}")
	s.Close()
	name := segments(t, dir)[0]
	b, _ := os.ReadFile(name)
	b = b[:len(b)-block] // the last group was not finished
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = onDisk(t, dir)
	defer s.Close()
	var found []Ref
	if err := s.Walk(context.Background(), func(e Entry) error { found = append(found, e.Ref); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found, []Ref{first}) || s.Recovered().Cut == 0 {
		t.Errorf("found %d entries, cut %d bytes", len(found), s.Recovered().Cut)
	}
}

// FuzzRead feeds any bytes as the last segment, as sealed and as large ones: what
// Check calls whole is opened, walked and swept, and no sweep loses a message.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	s := onDisk(f, dir)
	mustPut(f, s, "a", "{}")
	mustPut(f, s, strings.Repeat("b", 600), "{}")
	mustPut(f, s, strings.Repeat("c", 9000), "{}")
	s.Close()
	for _, name := range append(segments(f, dir), segments(f, lived(f))...) {
		b, _ := os.ReadFile(name)
		f.Add(b)
		f.Add(b[:len(b)-700])
		f.Add(append(slices.Clone(b), make([]byte, endSize)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx := context.Background()
		m := newMemFS()
		for _, n := range []uint64{1, 2, 3, 4, 6} {
			m.names[fmt.Sprintf("/store/%016d.tar", n)] = &inode{data: slices.Clone(b)}
		}
		damage := false
		if _, err := Check(ctx, small(m), CheckOptions{Deep: true}, func(f Finding) {
			damage = damage || !f.Problem.Harmless()
		}); err != nil {
			t.Fatal(err)
		}
		s, err := Open(small(m))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || !damage {
				t.Fatalf("open: %v, check saw damage: %t", err, damage)
			}
			return
		}
		defer s.Close()
		readable := map[[32]byte]bool{}
		err = s.Walk(ctx, func(e Entry) error {
			err := s.Verify(ctx, e.Ref)
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			readable[e.Sum] = readable[e.Sum] || err == nil
			return nil
		})
		if err != nil && (!errors.Is(err, ErrCorrupt) || !damage) {
			t.Fatalf("walk: %v, check saw damage: %t", err, damage)
		}
		mustPut(t, s, "new", "{}")
		for _, u := range mustUsage(t, s) {
			_, err := s.Sweep(ctx, u.Segment, func(Ref) (bool, error) { return true, nil }, func(context.Context, []Move) error { return nil })
			if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrBusy) {
				t.Fatalf("sweep: %v", err)
			}
		}
		err = s.Walk(ctx, func(e Entry) error {
			if s.Verify(ctx, e.Ref) == nil {
				delete(readable, e.Sum)
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		for _, was := range readable {
			if was {
				t.Fatal("a sweep lost a message that no one removed")
			}
		}
	})
}
