package segment

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lived is a store on disk with small, large, removed and moved messages. Its
// segments: 3 large, 4 sealed and full, 6 active.
func lived(t testing.TB) string {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	s := onDisk(t, dir)
	o := newOwner(s)
	put := func(n, size int) {
		for range n {
			if _, err := o.put(ctx, size); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(12, 700)
	put(2, 9000)
	ids := o.ids()
	if err := o.remove(ctx, append(slices.Clone(ids[:7]), ids[12])...); err != nil {
		t.Fatal(err)
	}
	if _, err := o.sweep(ctx, 2); err != nil {
		t.Fatal(err)
	}
	put(7, 700)
	if err := o.remove(ctx, o.ids()[3], o.ids()[7]); err != nil {
		t.Fatal(err)
	}
	if err := o.verify(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func checkDir(t testing.TB, dir string, deep bool) (Checked, []Problem) {
	t.Helper()
	var found []Problem
	sum, err := Check(context.Background(), Options{Dir: dir}, CheckOptions{Deep: deep}, func(f Finding) {
		found = append(found, f.Problem)
		if text := f.String(); !strings.HasPrefix(text, f.File) || strings.Contains(text, "\n") {
			t.Errorf("finding reads %q", text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum, found
}

// TestCheck damages one thing at a time in a copy of a store and reads what
// Check says; nothing on disk changes by it.
func TestCheck(t *testing.T) {
	good := lived(t)
	if sum, found := checkDir(t, good, true); len(found) > 0 || sum.Damage > 0 || sum.Messages != 13 || sum.Removed != 2 || sum.Segments != 3 {
		t.Fatalf("a good store: %+v, %q", sum, found)
	}
	names := segments(t, good)
	if len(names) != 3 {
		t.Fatalf("files %q", names)
	}
	const sealed, active, big = "0000000000000004.tar", "0000000000000006.tar", "0000000000000003.tar"
	edit := func(name string, change func([]byte) []byte) func(testing.TB, string) {
		return func(t testing.TB, dir string) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), change(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			if at < 0 {
				at += len(b)
			}
			b[at] ^= 4
			return b
		}
	}
	for name, c := range map[string]struct {
		damage  func(testing.TB, string)
		shallow []Problem
		deep    []Problem // nil: the same
	}{
		"header":          {edit(sealed, flip(100)), []Problem{BadEntry, Gap}, nil},
		"header of large": {edit(big, flip(100)), []Problem{BadEntry}, nil},
		"sidecar":         {edit(sealed, flip(4*block+2)), []Problem{BadSidecar}, nil},
		"message":         {edit(sealed, flip(block+3)), nil, []Problem{BadMessage}},
		"message, large":  {edit(big, flip(block+3)), nil, []Problem{BadMessage}},
		"end of archive":  {edit(sealed, func(b []byte) []byte { return b[:len(b)-endSize] }), []Problem{NoEnd}, nil},
		"half an end":     {edit(sealed, func(b []byte) []byte { return b[:len(b)-block] }), []Problem{BadEntry}, nil},
		"behind the end":  {edit(big, func(b []byte) []byte { return append(b, "more"...) }), []Problem{BadEntry}, nil},
		"an entry cut out": {func(t testing.TB, dir string) {
			s := onDisk(t, dir)
			three := make([]newPair, 3)
			for i := range three {
				three[i] = newPair{message: make([]byte, i), ref: Ref{Size: int64(i), Sum: sha256.Sum256(make([]byte, i))}}
			}
			for _, j := range []*job{{seal: 6}, {pairs: three, seal: 8}} {
				if err := s.submit(context.Background(), j); err != nil {
					t.Fatal(err)
				}
			}
			s.Close()
			edit("0000000000000008.tar", func(b []byte) []byte { return slices.Delete(b, 2*block, 5*block) })(t, dir)
		}, []Problem{Gap}, nil},
		"unfinished write":      {edit(active, func(b []byte) []byte { return append(b, b[:700]...) }), []Problem{Unfinished}, nil},
		"below what was synced": {edit(active, flip(10)), []Problem{BadEntry, Gap, BadRemoval}, nil},
		"last sidecar, of what no sync proves": {edit(active, func(b []byte) []byte {
			return b[:len(b)-block]
		}), []Problem{Unfinished}, nil},
		"foreign": {func(t testing.TB, dir string) {
			os.WriteFile(filepath.Join(dir, "readme"), []byte("mine"), 0o600)
		}, []Problem{Foreign}, nil},
		"upload": {func(t testing.TB, dir string) {
			os.WriteFile(filepath.Join(dir, "0000000000000009.tmp"), []byte("half"), 0o600)
		}, []Problem{Upload}, nil},
		"large one back after its removal": {func(t testing.TB, dir string) {
			s := onDisk(t, dir)
			defer s.Close()
			before, _ := os.ReadFile(s.path(3))
			for _, e := range entries(t, s) {
				if e.Segment == 3 {
					if err := s.Remove(context.Background(), e.Ref); err != nil {
						t.Fatal(err)
					}
				}
			}
			os.WriteFile(s.path(3), before, 0o600)
		}, []Problem{Unswept}, nil},
		"removal of what is not there": {func(t testing.TB, dir string) {
			s := onDisk(t, dir)
			defer s.Close()
			if err := s.submit(context.Background(), &job{removals: []removal{{number: 3*perSegment + 1, time: 1}}}); err != nil {
				t.Fatal(err)
			}
		}, []Problem{BadRemoval}, nil},
		"sweep that stopped": {func(t testing.TB, dir string) {
			s := onDisk(t, dir)
			defer s.Close()
			s.Sweep(context.Background(), 4, func(Ref) (bool, error) { return false, nil }, func(context.Context, []Move) error { return io.ErrClosedPipe })
		}, slices.Repeat([]Problem{Twice}, 5), nil},
		"first file without entries": {edit(sealed, func([]byte) []byte { return nil }), []Problem{NoEnd, BadRemoval}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir)
			before := contents(t, dir)
			sum, found := checkDir(t, dir, false)
			if !slices.Equal(found, c.shallow) {
				t.Errorf("found %q, want %q", found, c.shallow)
			}
			if c.deep == nil {
				c.deep = c.shallow
			}
			sum, found = checkDir(t, dir, true)
			if !slices.Equal(found, c.deep) {
				t.Errorf("deep: found %q, want %q", found, c.deep)
			}
			damage := 0
			for _, p := range found {
				if !p.Harmless() {
					damage++
				}
			}
			if sum.Damage != damage {
				t.Errorf("%d damaged, counted %d", damage, sum.Damage)
			}
			if after := contents(t, dir); !slices.Equal(before, after) {
				t.Error("the check changed the folder")
			}
		})
	}
}

func contents(t testing.TB, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, path, string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCheckOfAnOpenStore(t *testing.T) {
	ctx, dir := context.Background(), lived(t)
	s := onDisk(t, dir)
	defer s.Close()
	if _, err := Check(ctx, Options{Dir: dir}, CheckOptions{}, func(Finding) {}); !errors.Is(err, ErrInUse) {
		t.Errorf("from outside: %v", err)
	}
	w, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(make([]byte, 10000)); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "readme"), []byte("mine"), 0o600)
	var found []Problem
	sum, err := s.Check(ctx, CheckOptions{Deep: true}, func(f Finding) { found = append(found, f.Problem) })
	if err != nil || !slices.Equal(found, []Problem{Foreign}) || sum.Messages != 13 {
		t.Errorf("%+v, %q, %v", sum, found, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Check(ended, CheckOptions{}, func(Finding) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of ctx: %v", err)
	}
}

// TestK3_OneUnreadableMessage: a disk that cannot read one place is reported,
// and everything else is checked.
func TestK3_OneUnreadableMessage(t *testing.T) {
	dir := lived(t)
	o := Options{Dir: dir, FS: deafFS{Disk(), "0000000000000004.tar", block + 9}}
	var found []Problem
	sum, err := Check(context.Background(), o, CheckOptions{Deep: true}, func(f Finding) { found = append(found, f.Problem) })
	if err != nil || !slices.Equal(found, []Problem{Unreadable}) || sum.Messages != 12 {
		t.Errorf("%+v, %q, %v", sum, found, err)
	}
}

// deafFS cannot read one byte of a file.
type deafFS struct {
	FS
	name string
	at   int64
}

type deafFile struct {
	File
	at int64
}

func (d deafFS) Open(name string) (File, error) {
	f, err := d.FS.Open(name)
	if filepath.Base(name) == d.name {
		f = deafFile{f, d.at}
	}
	return f, err
}

func (f deafFile) ReadAt(p []byte, off int64) (int, error) {
	if off <= f.at && f.at < off+int64(len(p)) {
		return 0, errDisk
	}
	return f.File.ReadAt(p, off)
}
