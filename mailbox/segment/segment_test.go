package segment

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak" // sees a goroutine that Close forgot
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onDisk is a store in a temporary folder with small segments.
func onDisk(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, LargeAt: 8 << 10, MaxSegment: 24 << 10, Now: func() time.Time { return time.Unix(1700000000, 5) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPut(t testing.TB, s *Store, msg, sidecar string) Ref {
	t.Helper()
	ref, err := put(context.Background(), s, []byte(msg), []byte(sidecar))
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestEverySegmentIsTar reads all files, the active one too, with the standard
// library, and finds every message with its sidecar behind it.
func TestEverySegmentIsTar(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	s := onDisk(t, dir)
	defer s.Close()
	acked, err := work(s)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "", "")
	same := mustPut(t, s, "twice", "{}")
	if again := mustPut(t, s, "twice", "{}"); again == same {
		t.Error("the same message twice has one place")
	}

	content := map[string][]byte{}
	for _, name := range segments(t, dir) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r := tar.NewReader(f)
		last := ""
		for {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", filepath.Base(name), err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatalf("%s: %v", filepath.Base(name), err)
			}
			sum, isMessage := strings.CutSuffix(h.Name, ".eml")
			if !isMessage && (!strings.HasPrefix(h.Name, last+".") || !strings.HasSuffix(h.Name, ".json")) {
				t.Errorf("entry %s behind message %s", h.Name, last)
			}
			if _, twice := content[h.Name]; twice && !isMessage {
				t.Errorf("sidecar name %s used twice: unpacking would lose one", h.Name)
			}
			last, content[h.Name] = sum, b
			if h.Mode != 0o600 || h.Typeflag != tar.TypeReg || !h.ModTime.Equal(time.Unix(1700000000, 0)) {
				t.Errorf("entry %s: mode %o type %c time %v", h.Name, h.Mode, h.Typeflag, h.ModTime)
			}
		}
	}
	for _, k := range acked {
		if !bytes.Equal(content[hex.EncodeToString(k.ref.Sum[:])+".eml"], k.message) {
			t.Errorf("message in segment %d is not in the archive", k.ref.Segment)
		}
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := onDisk(t, dir)
	mustPut(t, s, "small", "{}")
	mustPut(t, s, strings.Repeat("large", 5000), "{}")
	w, _ := s.Begin(context.Background())
	w.Write(make([]byte, 10000))
	defer w.Abort()
	err := filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
		want := os.FileMode(0o600)
		if path == dir {
			want = 0o700
		}
		if err == nil && st.Mode().Perm() != want {
			t.Errorf("%s has mode %o", filepath.Base(path), st.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := onDisk(t, dir)
	acked, err := work(s)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := s.Begin(context.Background())
	w.Write(make([]byte, 10000)) // never ended
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("K14: second open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := map[string][]byte{}
	for _, name := range segments(t, dir) {
		before[name], _ = os.ReadFile(name)
	}
	s = onDisk(t, dir)
	defer s.Close()
	if r := s.Recovered(); r.Uploads != 1 || r.Cut != 0 {
		t.Errorf("recovered %+v", r)
	}
	w.Abort()
	if lost := check(t, s, acked); lost != 0 {
		t.Errorf("%d lost", lost)
	}
	mustPut(t, s, "one more", "{}")
	for name, b := range before {
		if now, _ := os.ReadFile(name); !bytes.HasPrefix(now, b) {
			t.Errorf("%s changed", filepath.Base(name))
		}
	}
}

// TestGroupCommit holds the first sync until all other writers wait: the second
// one serves them all.
func TestGroupCommit(t *testing.T) {
	m := newMemFS()
	s, err := Open(Options{Dir: "/store", FS: m})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const others = 63
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.onSync = func(string) {
		once.Do(func() { close(started); <-release })
	}
	var wg sync.WaitGroup
	wg.Go(func() { mustPut(t, s, "first", "{}") })
	<-started
	for n := range others {
		wg.Go(func() { mustPut(t, s, fmt.Sprint("message ", n), "{}") })
	}
	for waiting := 0; waiting < others; {
		s.mu.Lock()
		waiting = len(s.waiting)
		s.mu.Unlock()
		time.Sleep(time.Millisecond) // decides nothing: the loop waits for a count
	}
	// One that gives up while it waits is not stored.
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		if _, err := put(ctx, s, []byte("given up"), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
	})
	cancel()
	for waiting := others + 1; waiting > others; {
		s.mu.Lock()
		waiting = len(s.waiting)
		s.mu.Unlock()
	}
	close(release)
	wg.Wait()
	if m.syncs != 2 {
		t.Errorf("%d syncs for %d messages", m.syncs, others+1)
	}
	n := 0
	if err := s.Walk(context.Background(), func(Entry) error { n++; return nil }); err != nil || n != others+1 {
		t.Errorf("%d messages, %v", n, err)
	}
}

func TestHandlesAreBounded(t *testing.T) {
	m := newMemFS()
	s, err := Open(small(m))
	if err != nil {
		t.Fatal(err)
	}
	acked, _ := work(s)
	if lost := check(t, s, acked); lost != 0 {
		t.Fatal(lost)
	}
	if m.handles > 3 { // two idle ones and the active segment
		t.Errorf("%d files open", m.handles)
	}
	var readers []*Reader
	for _, k := range acked {
		r, err := s.Open(k.ref)
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i, r := range readers { // still usable, as promised
		b := make([]byte, r.Size())
		if _, err := r.ReadAt(b, 0); err != nil || !bytes.Equal(b, acked[i].message) {
			t.Errorf("reader after close: %v", err)
		}
		r.Close()
		r.Close()
		if _, err := r.ReadAt(b, 0); !errors.Is(err, ErrClosed) {
			t.Errorf("closed reader: %v", err)
		}
	}
	if m.handles != 0 {
		t.Errorf("%d files left open", m.handles)
	}
	if _, err := s.Open(acked[0].ref); !errors.Is(err, ErrClosed) {
		t.Errorf("open after close: %v", err)
	}
	if _, err := s.Begin(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("begin after close: %v", err)
	}
}

func TestReaderStaysInItsMessage(t *testing.T) {
	s := onDisk(t, t.TempDir())
	defer s.Close()
	ref := mustPut(t, s, "0123456789", "secret of another")
	r, err := s.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, c := range []struct {
		off  int64
		len  int
		want string
		err  error
	}{
		{0, 10, "0123456789", nil}, {0, 20, "0123456789", io.EOF}, {8, 2, "89", nil}, {8, 3, "89", io.EOF},
		{10, 1, "", io.EOF}, {1 << 40, 1, "", io.EOF}, {3, 0, "", nil},
	} {
		b := make([]byte, c.len)
		n, err := r.ReadAt(b, c.off)
		if string(b[:n]) != c.want || err != c.err {
			t.Errorf("ReadAt(%d, %d) = %q, %v", c.len, c.off, b[:n], err)
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("negative offset was read")
	}
}

func TestWrongReferences(t *testing.T) {
	s := onDisk(t, t.TempDir())
	defer s.Close()
	good := mustPut(t, s, "message", "{}")
	for name, c := range map[string]struct {
		change func(*Ref)
		want   error
	}{
		"sum":             {func(r *Ref) { r.Sum[3]++ }, ErrCorrupt},
		"size":            {func(r *Ref) { r.Size-- }, ErrCorrupt},
		"sidecar":         {func(r *Ref) { r.Offset += 2 * block }, ErrCorrupt},
		"behind the end":  {func(r *Ref) { r.Offset += 1 << 30 }, ErrCorrupt},
		"between blocks":  {func(r *Ref) { r.Offset++ }, ErrCorrupt},
		"before the file": {func(r *Ref) { r.Offset = 0 }, ErrCorrupt},
		"negative size":   {func(r *Ref) { r.Size = -1 }, ErrCorrupt},
		"no segment":      {func(r *Ref) { r.Segment = 0 }, ErrCorrupt},
		"other segment":   {func(r *Ref) { r.Segment = 44 }, ErrNotFound},
	} {
		ref := good
		c.change(&ref)
		if _, err := s.Open(ref); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var ref Ref
	b, err := good.MarshalBinary()
	if err != nil || ref.UnmarshalBinary(b) != nil || ref != good {
		t.Errorf("reference comes back as %+v, %v", ref, err)
	}
	for _, bad := range [][]byte{nil, b[:10], append(slices.Clone(b), 0), append([]byte{9}, b[1:]...), make([]byte, len(b))} {
		if err := ref.UnmarshalBinary(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

func TestWriterEnds(t *testing.T) {
	s := onDisk(t, t.TempDir())
	defer s.Close()
	ctx := context.Background()
	for _, size := range []int{10, 10000} {
		w, _ := s.Begin(ctx)
		w.Write(make([]byte, size))
		if w.Size() != int64(size) {
			t.Errorf("size %d", w.Size())
		}
		if _, err := w.Commit(ctx, make([]byte, MaxSidecar+1)); !errors.Is(err, ErrTooBig) {
			t.Errorf("large sidecar: %v", err)
		}
		if _, err := w.Commit(ctx, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("second commit: %v", err)
		}
		if _, err := w.Write([]byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("write after commit: %v", err)
		}
		w.Abort()
		ended, cancel := context.WithCancel(ctx)
		w, _ = s.Begin(ended)
		w.Write(make([]byte, size))
		cancel()
		if _, err := w.Commit(ended, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("commit after the end of ctx: %v", err)
		}
		if _, err := s.Begin(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("begin after the end of ctx: %v", err)
		}
	}
	if names, _ := os.ReadDir(s.opts.Dir); len(names) != 1 {
		t.Errorf("%d files left in the folder, want the lock alone", len(names))
	}
	mustPut(t, s, "a", strings.Repeat("s", MaxSidecar))
}

func TestUnknownFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lost+found", "note.tmp", "12.tar", "0000000000000000.tar", "x000000000000002.tar"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := onDisk(t, dir)
	mustPut(t, s, "message", "{}")
	s.Close()
	if names, _ := os.ReadDir(dir); len(names) != 7 {
		t.Errorf("%d files", len(names))
	}
}

func TestRefAsText(t *testing.T) {
	want := Ref{Segment: 2, Offset: 1024, Size: 7, Sum: [32]byte{1, 2, 255}}
	b, err := want.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var got Ref
	if err := got.UnmarshalText(b); err != nil || got != want {
		t.Errorf("%s became %+v: %v", b, got, err)
	}
	for _, bad := range []string{"", "2/1024/7", "2/1024/7/00", "0/1024/7/" + strings.Repeat("0", 64), "x/1024/7/" + strings.Repeat("0", 64), string(b) + "00", "2/1024/-1/" + strings.Repeat("0", 64)} {
		if err := got.UnmarshalText([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
