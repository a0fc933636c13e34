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
	last := acked[7].ref // the last group of the active segment could also be unfinished
	for name, node := range m.names {
		whole := node.data
		for at := 0; at < len(whole); at += 5 {
			if name == s.path(last.Segment) && int64(at) >= last.Offset-block {
				break
			}
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

// FuzzRead feeds any bytes as the last segment and as a large one.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	s := onDisk(f, dir)
	mustPut(f, s, "a", "{}")
	mustPut(f, s, strings.Repeat("b", 600), "{}")
	mustPut(f, s, strings.Repeat("c", 9000), "{}")
	s.Close()
	for _, name := range segments(f, dir) {
		b, _ := os.ReadFile(name)
		f.Add(b)
		f.Add(b[:len(b)-700])
		f.Add(append(slices.Clone(b), make([]byte, endSize)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMemFS()
		for _, n := range []string{"/store/0000000000000002.tar", "/store/0000000000000001.tar"} {
			m.names[n] = &inode{data: slices.Clone(b)}
		}
		s, err := Open(small(m))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		defer s.Close()
		err = s.Walk(context.Background(), func(e Entry) error {
			if err := s.Verify(context.Background(), e.Ref); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		mustPut(t, s, "new", "{}")
	})
}
