package mailbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pecgate/mailbox/backup"
	"pecgate/mailbox/segment"
)

// faulty is the disk of a backup's folder whose nth operation fails; dead: and
// every one after it, as when the process or the disk is gone.
type faulty struct {
	segment.FS
	calls, at int
	dead      bool
	err       error
	fired     string
}

func (f *faulty) fail(what string) error {
	f.calls++
	if f.calls == f.at || f.dead && f.fired != "" {
		if f.fired == "" {
			f.fired = what
		}
		return f.err
	}
	return nil
}

func (f *faulty) MkdirAll(dir string) error {
	if err := f.fail("mkdir"); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir)
}

func (f *faulty) List(dir string) ([]string, error) {
	if err := f.fail("list"); err != nil {
		return nil, err
	}
	return f.FS.List(dir)
}

func (f *faulty) Open(name string) (segment.File, error) {
	return f.file("open", func() (segment.File, error) { return f.FS.Open(name) })
}

func (f *faulty) Create(name string) (segment.File, error) {
	return f.file("create", func() (segment.File, error) { return f.FS.Create(name) })
}

func (f *faulty) file(what string, open func() (segment.File, error)) (segment.File, error) {
	if err := f.fail(what); err != nil {
		return nil, err
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, f: f}, nil
}

func (f *faulty) Rename(from, to string) error {
	if err := f.fail("rename"); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *faulty) Remove(name string) error {
	if err := f.fail("remove"); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f *faulty) SyncDir(dir string) error {
	if err := f.fail("sync folder"); err != nil {
		return err
	}
	return f.FS.SyncDir(dir)
}

func (f *faulty) Lock(name string) (io.Closer, error) {
	if err := f.fail("lock"); err != nil {
		return nil, err
	}
	return f.FS.Lock(name)
}

type faultyFile struct {
	segment.File
	f *faulty
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.f.fail("write"); err != nil {
		n, werr := f.File.WriteAt(p[:len(p)/2], off)
		return n, errors.Join(err, werr)
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.f.fail("read"); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) Sync() error {
	if err := f.f.fail("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Close() error {
	if err := f.f.fail("close"); err != nil {
		return errors.Join(err, f.File.Close())
	}
	return f.File.Close()
}

// TestBackupInterruptedAnywhere fails every operation on the folder of a
// backup, once alone and once with all that follow. The backup of before stays,
// whole, or the new one is there, whole; the next run makes one.
func TestBackupInterruptedAnywhere(t *testing.T) {
	to, keys, _ := identity(t)
	for _, c := range []struct {
		name string
		dead bool
		to   *backup.Recipients
	}{{"once", false, to}, {"from there on", true, nil}} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, t.TempDir())
			defer s.Close()
			put(t, s, inbox, text("first"), Filing{})
			put(t, s, inbox, text("large")+strings.Repeat("0123456789abcdef\r\n", 60_000), Filing{})
			dir := filepath.Join(t.TempDir(), "b")
			backupTo(t, s, backup.Options{Dir: dir, Recipients: c.to})
			put(t, s, inbox, text("second"), Filing{})
			fired := map[string]int{}
			for n := 1; ; n++ {
				before := manifest(t, dir)
				disk := &faulty{FS: segment.Disk(), at: n, dead: c.dead, err: syscall.EIO}
				_, err := tryBackup(s, backup.Options{Dir: dir, Recipients: c.to, FS: disk})
				if disk.fired == "" {
					break
				}
				fired[disk.fired]++
				if err == nil && disk.fired != "close" { // one that was only read
					t.Fatalf("operation %d (%s) failed, and nobody said so", n, disk.fired)
				}
				now := manifest(t, dir)
				if now.Run != before.Run && now.Run != before.Run+1 {
					t.Fatalf("operation %d (%s): run %d after run %d", n, disk.fired, now.Run, before.Run)
				}
				want := int64(3)
				if now.Run == 1 {
					want = 2
				}
				if got := checkBackup(t, dir, keys); !got.OK() || got.Messages != want {
					t.Fatalf("operation %d (%s), run %d: %+v", n, disk.fired, now.Run, got)
				}
			}
			for _, what := range []string{"mkdir", "list", "open", "create", "write", "read", "sync", "rename", "remove", "sync folder", "close", "lock"} {
				if fired[what] == 0 {
					t.Errorf("no %s was made to fail: %v", what, fired)
				}
			}
			backupTo(t, s, backup.Options{Dir: dir, Recipients: c.to})
			onlyNamed(t, dir)
		})
	}
}

func manifest(t *testing.T, dir string) *backup.Manifest {
	t.Helper()
	src, err := backup.Read(dir, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src.Manifest()
}

// onlyNamed makes sure that nothing is left of runs that came to nothing.
func onlyNamed(t *testing.T, dir string) {
	t.Helper()
	var named, there []string
	for _, p := range manifest(t, dir).Parts {
		named = append(named, p.Name)
	}
	walk(t, dir, func(path string, _ fs.FileInfo, _ []byte) {
		if name, err := filepath.Rel(dir, path); err == nil && strings.Contains(name, "/") {
			there = append(there, name)
		}
	})
	slices.Sort(named)
	slices.Sort(there)
	if !slices.Equal(named, there) {
		t.Errorf("the manifest names %v, there are %v", named, there)
	}
}

// A full disk is told in one line, and harms nothing.
func TestBackupOntoAFullDisk(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	put(t, s, inbox, text("first"), Filing{})
	dir := filepath.Join(t.TempDir(), "b")
	for _, earlier := range []bool{false, true} {
		for n := 1; ; n++ {
			disk := &faulty{FS: segment.Disk(), at: n, dead: true, err: syscall.ENOSPC}
			// What takes room fails; what gives it back does not.
			only := &fullDisk{faulty: disk}
			_, err := tryBackup(s, backup.Options{Dir: dir, FS: only})
			if disk.fired == "" {
				break
			}
			want := "there is no earlier backup in it"
			if earlier {
				want = "in it is as it was"
			}
			if err == nil || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no room for the backup in "+dir) || !strings.Contains(err.Error(), want) {
				t.Fatalf("earlier %t, operation %d: %v", earlier, n, err)
			}
			if earlier {
				if got := checkBackup(t, dir, nil); !got.OK() || got.Run != 1 {
					t.Fatalf("operation %d: %+v", n, got)
				}
				onlyNamed(t, dir)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		backupTo(t, s, backup.Options{Dir: dir})
	}
}

// fullDisk lets all pass that needs no room.
type fullDisk struct{ *faulty }

func (f *fullDisk) MkdirAll(dir string) error              { return f.faulty.FS.MkdirAll(dir) }
func (f *fullDisk) List(dir string) ([]string, error)      { return f.faulty.FS.List(dir) }
func (f *fullDisk) Open(name string) (segment.File, error) { return f.faulty.FS.Open(name) }
func (f *fullDisk) Rename(from, to string) error           { return f.faulty.FS.Rename(from, to) }
func (f *fullDisk) Remove(name string) error               { return f.faulty.FS.Remove(name) }
func (f *fullDisk) SyncDir(dir string) error               { return f.faulty.FS.SyncDir(dir) }
func (f *fullDisk) Lock(name string) (io.Closer, error)    { return f.faulty.FS.Lock(name) }
func (f *fullDisk) Create(name string) (file segment.File, err error) {
	if err := f.fail("create"); err != nil {
		return nil, err
	}
	if file, err = f.faulty.FS.Create(name); err == nil {
		file = &fullFile{file, f}
	}
	return file, err
}

type fullFile struct {
	segment.File
	f *fullDisk
}

func (f *fullFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.f.fail("write"); err != nil {
		n, werr := f.File.WriteAt(p[:len(p)/2], off)
		return n, errors.Join(err, werr)
	}
	return f.File.WriteAt(p, off)
}

// A folder that is not for this store, or for nobody's backup, is refused and
// stays as it is.
func TestBackupFolderRefused(t *testing.T) {
	to, _, _ := identity(t)
	other, _, _ := identity(t)
	s := open(t, t.TempDir())
	defer s.Close()
	put(t, s, inbox, text("first"), Filing{})
	stranger := open(t, t.TempDir())
	defer stranger.Close()
	put(t, stranger, inbox, text("theirs"), Filing{})
	fill := func(o backup.Options) func(string) {
		return func(dir string) { o.Dir = dir; backupTo(t, s, o) }
	}
	for name, c := range map[string]struct {
		prepare func(dir string)
		s       *Store
		o       backup.Options
		want    error
		text    string
	}{
		"another store":       {fill(backup.Options{}), stranger, backup.Options{}, nil, backup.ErrOther.Error()},
		"something else":      {func(dir string) { overwrite(t, filepath.Join(dir, "photos.zip"), "x") }, s, backup.Options{}, backup.ErrForeign, "give an empty one"},
		"a data folder":       {func(dir string) { overwrite(t, filepath.Join(dir, "audit.key"), "x") }, s, backup.Options{}, backup.ErrForeign, ""},
		"a newer one":         {func(dir string) { overwrite(t, filepath.Join(dir, "backup.json"), `{"format":2,"x":1}`) }, s, backup.Options{}, backup.ErrNewer, "format 2, this one knows 1"},
		"a damaged manifest":  {func(dir string) { overwrite(t, filepath.Join(dir, "backup.json"), `{"format":1`) }, s, backup.Options{}, backup.ErrDamaged, "backup.json"},
		"an encrypted one":    {fill(backup.Options{Recipients: to}), s, backup.Options{}, backup.ErrKeys, "give its recipients"},
		"for others":          {fill(backup.Options{Recipients: to}), s, backup.Options{Recipients: other}, backup.ErrKeys, "for other recipients"},
		"one that is not":     {fill(backup.Options{}), s, backup.Options{Recipients: to}, nil, "not encrypted"},
		"one that lost parts": {func(dir string) { fill(backup.Options{})(dir); unlink(t, filepath.Join(dir, "segments", "*")) }, s, backup.Options{}, backup.ErrDamaged, "segments/0000000000000002-000001.tar is missing"},
		"no disk":             {func(dir string) { unlink(t, dir) }, s, backup.Options{}, fs.ErrNotExist, "is the disk mounted?"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(dir)
			c.o.Dir = dir
			if name == "no disk" {
				c.o.Dir = filepath.Join(dir, "b")
			}
			before := listing(t, dir)
			_, err := tryBackup(c.s, c.o)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error: %v", err)
			}
			if after := listing(t, dir); !slices.Equal(slices.DeleteFunc(after, func(s string) bool { return s == "/LOCK" }), slices.DeleteFunc(before, func(s string) bool { return s == "/LOCK" })) {
				t.Errorf("before %v, after %v", before, after)
			}
		})
	}
	t.Run("under way", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "b")
		f, err := backup.Open(backup.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := tryBackup(s, backup.Options{Dir: dir}); !errors.Is(err, backup.ErrInUse) {
			t.Errorf("a second run at once: %v", err)
		}
	})
}

func overwrite(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func unlink(t *testing.T, pattern string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, n := range names {
		if err := os.RemoveAll(n); err != nil {
			t.Fatal(err)
		}
	}
}

// listing gives names of files and their contents' lengths below a folder.
func listing(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			out = append(out, strings.TrimPrefix(path, dir))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A store that was put back to an earlier state (a snapshot of its machine)
// does not build on runs that it knows nothing of.
func TestBackupAfterARollback(t *testing.T) {
	dir, data := filepath.Join(t.TempDir(), "b"), t.TempDir()
	s := open(t, data)
	put(t, s, inbox, text("first"), Filing{})
	backupTo(t, s, backup.Options{Dir: dir})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	snapshot := copyDir(t, data)
	s = open(t, data)
	put(t, s, inbox, text("lost"), Filing{})
	backupTo(t, s, backup.Options{Dir: dir})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, snapshot)
	defer s.Close()
	for i := range 20 { // more commits than the lost ones
		put(t, s, inbox, text(fmt.Sprint("after ", i)), Filing{})
	}
	if r := backupTo(t, s, backup.Options{Dir: dir}); !r.Whole || r.Run != 3 {
		t.Errorf("the run after the rollback: %+v", r)
	}
	if c := checkBackup(t, dir, nil); !c.OK() || c.Messages != 21 {
		t.Errorf("check: %+v", c)
	}
	onlyNamed(t, dir)
}

// What is not whole in the store is told when it is copied, and by the check.
func TestBackupTellsOfDamageInTheStore(t *testing.T) {
	data := t.TempDir()
	s := open(t, data)
	m, _ := put(t, s, inbox, text("first"), Filing{})
	put(t, s, inbox, text("second"), Filing{})
	file := filepath.Join(data, "segments", segment.FileName(m.Ref.Segment))
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[m.Ref.Offset] ^= 1
	overwrite(t, file, string(b))
	dir := filepath.Join(t.TempDir(), "b")
	r := backupTo(t, s, backup.Options{Dir: dir})
	if want := fmt.Sprintf("segment %d, offset %d", m.Ref.Segment, m.Ref.Offset); !slices.Equal(r.Damaged, []string{want}) || r.Messages != 2 {
		t.Errorf("damaged %v, want %s", r.Damaged, want)
	}
	if c := checkBackup(t, dir, nil); c.OK() || c.Damaged != 1 || c.Missing != 0 || len(c.Bad) != 0 {
		t.Errorf("check: %+v", c)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// It is given back all the same, and told.
	back, err := tryRestore(dir, filepath.Join(t.TempDir(), "data"), nil)
	if err != nil || back.Damage != 1 {
		t.Errorf("restore: %+v, %v", back, err)
	}
}
