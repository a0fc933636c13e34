package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox/kv"
)

// each is how many records of the damage tests one Update writes.
const each = 4

func damageRecords(tx kv.Txn, n int) error {
	for i := range each {
		if err := damageRecord(tx, n*each+i); err != nil {
			return err
		}
	}
	return nil
}

// damageRecord writes record n, changes one that was there before, and deletes
// and makes again another, so that an older state is another one.
func damageRecord(tx kv.Txn, n int) error {
	err := errors.Join(tx.Put(fmt.Appendf(nil, "k%05d", n), damageValue(n)), tx.Put([]byte("last"), fmt.Append(nil, n)))
	if n%2 == 0 {
		return errors.Join(err, tx.Delete([]byte("odd")))
	}
	return errors.Join(err, tx.Put([]byte("odd"), fmt.Append(nil, n)))
}

func damageValue(n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	b := make([]byte, 500+n%1000)
	r.Read(b)
	return b
}

// whole says whether a store has the first n records, and no more than those of
// one Update that was not acknowledged.
func whole(s *Store, n int) error {
	return s.View(context.Background(), func(r kv.Reader) error {
		found := 0
		err := r.Scan([]byte("k"), nil, func(k, v []byte) (bool, error) {
			if string(k) != fmt.Sprintf("k%05d", found) || !bytes.Equal(v, damageValue(found)) {
				return false, fmt.Errorf("record %d differs", found)
			}
			found++
			return true, nil
		})
		if err != nil {
			return err
		}
		if found < n || found > n+each || found%each != 0 {
			return fmt.Errorf("%d of %d records, in silence", found, n)
		}
		last, err := r.Get([]byte("last"))
		if err != nil || string(last) != fmt.Sprint(found-1) {
			return fmt.Errorf("the last of %d records is %q, %v", found, last, err)
		}
		if _, err := r.Get([]byte("odd")); errors.Is(err, kv.ErrNotFound) != (found%2 == 1) {
			return fmt.Errorf("a deleted record after %d: %v", found, err)
		}
		return nil
	})
}

// fixture is a folder that is copied for each kind of damage.
type fixture struct {
	name, dir string
	records   int
}

// fixtures are a store that was closed and one that was killed, both with
// tables, the second with several logs.
func fixtures(t *testing.T) []fixture {
	t.Helper()
	killed := fixture{name: "killed", dir: t.TempDir()}
	out, err := child(t, "logs", killed.dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(out), &killed.records); err != nil {
		t.Fatal(err)
	}
	closed := fixture{name: "closed", dir: t.TempDir(), records: killed.records}
	copyFolder(t, killed.dir, closed.dir)
	s, err := Open(Options{Dir: closed.dir, tune: small})
	if err == nil {
		err = errors.Join(whole(s, closed.records), s.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return []fixture{closed, killed}
}

// files lists the names in a fixture.
func (f fixture) files(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(f.dir, "*"))
	if err != nil || len(names) == 0 {
		t.Fatal("no files", err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return names
}

// content is a file without the zeros at its end.
func (f fixture) content(t *testing.T, name string) (b []byte, size int64) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(bytes.TrimRight(b, "\x00")), int64(len(b))
}

// bench is where damage is tried: a copy that is made anew when it was used.
type bench struct {
	f     fixture
	dir   string
	fresh bool
	tally map[string]int
}

// try damages a file of the copy and opens it. Either it is refused, with a
// word about what is wrong, and stays as it was, or all records are there.
func (b *bench) try(t *testing.T, name, what string, damage func(path string) error) (refused error) {
	t.Helper()
	if !b.fresh {
		b.dir = t.TempDir()
		copyFolder(t, b.f.dir, b.dir)
	}
	b.fresh = false
	path := filepath.Join(b.dir, name)
	if err := damage(path); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: b.dir, tune: small})
	switch {
	case errors.Is(err, kv.ErrCorrupt):
		b.tally[filepath.Ext(name)+" refused"]++
		if text := err.Error(); !strings.Contains(text, "file ") || strings.Contains(text, "\n") || len(text) > 500 {
			t.Errorf("%s: %s: not one line that names a file: %v", name, what, err)
		}
		copyFile(t, filepath.Join(b.f.dir, name), path) // all else is as it was
		b.fresh = true
		return err
	case err != nil:
		t.Errorf("%s: %s: %v", name, what, err)
		return err
	}
	b.tally[filepath.Ext(name)+" harmless"]++
	if err := errors.Join(whole(s, b.f.records), s.Close()); err != nil {
		t.Errorf("%s: %s: %v", name, what, err)
	}
	return nil
}

// TestK5_FlippedByte flips bytes of all files: at their beginnings and ends,
// where lengths and sums are, and at random places.
func TestK5_FlippedByte(t *testing.T) {
	dice := rand.New(rand.NewPCG(5, 5))
	for _, f := range fixtures(t) {
		t.Run(f.name, func(t *testing.T) {
			b := &bench{f: f, tally: map[string]int{}}
			for _, name := range f.files(t) {
				content, size := f.content(t, name)
				places := []int64{0, 8, 19, 21, size - 1, size / 2, int64(len(content))}
				random := 6
				switch filepath.Ext(name) {
				case ".sst":
					places = append(places, size-4, size-8, size-12)
				case logExt:
					places = append(places, 20, 22, 23, 24, int64(len(content))-1, int64(len(content))+1, int64(len(content))+3)
					random = 20
				}
				for range random {
					places = append(places, dice.Int64N(int64(len(content))+30))
				}
				slices.Sort(places)
				for _, at := range slices.Compact(places) {
					if at < 0 || at >= size {
						continue
					}
					bit := byte(1) << dice.IntN(8)
					b.try(t, name, fmt.Sprintf("byte %d of %d xor %#x", at, len(content), bit), func(path string) error { return flip(path, at, bit) })
				}
			}
			t.Log(b.tally)
			if b.tally[".sst refused"] < 30 || f.name == "killed" && b.tally[".mem refused"] < 50 {
				t.Errorf("too little was noticed: %v", b.tally)
			}
		})
	}
}

func flip(path string, at int64, bit byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	b[0] ^= bit
	_, err2 := f.WriteAt(b, at)
	return errors.Join(err, err2, f.Close())
}

// TestK6_Truncated cuts all files, also to nothing.
func TestK6_Truncated(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	for _, f := range fixtures(t) {
		t.Run(f.name, func(t *testing.T) {
			b := &bench{f: f, tally: map[string]int{}}
			for _, name := range f.files(t) {
				content, size := f.content(t, name)
				places := []int64{0, 1, 19, 20, 21, 4096, int64(len(content)), int64(len(content)) - 1, size - 1}
				for range 6 {
					places = append(places, random.Int64N(int64(len(content))+1))
				}
				if strings.HasSuffix(name, logExt) {
					places = append(places, commitEnds(t, filepath.Join(f.dir, name))...)
				}
				slices.Sort(places)
				for _, at := range slices.Compact(places) {
					if at < 0 || at >= size {
						continue
					}
					b.try(t, name, fmt.Sprintf("cut to %d of %d", at, size), func(path string) error { return os.Truncate(path, at) })
				}
			}
			t.Log(b.tally)
		})
	}
}

// commitEnds are some places where a log could end without a trace.
func commitEnds(t *testing.T, path string) []int64 {
	t.Helper()
	var ends []int64
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	_, err = readLog(path, func(commit) error { n++; return nil })
	if err != nil || n < 10 {
		t.Fatalf("%d commits in %s, %v", n, path, err)
	}
	stop := errors.New("enough")
	for _, k := range []int{1, n / 2, n - 1} {
		left := k
		l, err := readLog(path, func(commit) error {
			if left--; left == 0 {
				return stop
			}
			return nil
		})
		if err != stop {
			t.Fatal(err)
		}
		ends = append(ends, l.end)
	}
	return ends
}

// TestK6_ManifestCut cuts the list of tables at each byte: where an entry ends,
// badger would take what is left for the whole, and remove the other tables.
func TestK6_ManifestCut(t *testing.T) {
	for _, f := range fixtures(t) {
		b := &bench{f: f, tally: map[string]int{}}
		_, size := f.content(t, "MANIFEST")
		for at := range size {
			b.try(t, "MANIFEST", fmt.Sprintf("cut to %d of %d", at, size), func(path string) error { return os.Truncate(path, at) })
		}
		t.Log(f.name, b.tally)
	}
}

// TestK7_FileRemoved: the answer names what is missing, or nothing is.
func TestK7_FileRemoved(t *testing.T) {
	unused := []string{"KEYREGISTRY", "DISCARD", "000001.vlog", "000002.vlog"}
	for _, f := range fixtures(t) {
		b, first, newest := &bench{f: f, tally: map[string]int{}}, true, f.name == "killed"
		for _, name := range f.files(t) {
			err := b.try(t, name, "removed", os.Remove)
			switch {
			case slices.Contains(unused, name):
				if err != nil {
					t.Errorf("%s without %s: %v", f.name, name, err)
				}
			case strings.HasSuffix(name, logExt) && err == nil && first:
				first = false // the oldest one is in a table already
			case strings.HasSuffix(name, ".sst") && err == nil && newest:
				newest = false // its log is still there
			case err == nil:
				t.Errorf("%s without %s: opened", f.name, name)
			case strings.HasSuffix(name, logExt):
				if !strings.Contains(err.Error(), logExt) {
					t.Errorf("%s without %s: %v", f.name, name, err)
				}
			case !strings.Contains(err.Error(), name):
				t.Errorf("%s without %s: %v", f.name, name, err)
			}
		}
		t.Log(f.name, b.tally)
	}
}

// TestK3_UnreadableTable: a disk that does not give a table is an error with the
// name of the file, not the end of the process, and not called damage.
func TestK3_UnreadableTable(t *testing.T) {
	f := fixtures(t)[0]
	names, err := filepath.Glob(filepath.Join(f.dir, "*.sst"))
	if err != nil || len(names) == 0 {
		t.Fatal("no tables", err)
	}
	if err := errors.Join(os.Remove(names[0]), os.Mkdir(names[0], 0o700)); err != nil { // reading it fails
		t.Fatal(err)
	}
	_, err = Open(Options{Dir: f.dir, tune: small})
	if err == nil || errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), filepath.Base(names[0])) {
		t.Errorf("a table that cannot be read: %v", err)
	}
}

// TestK5_RefusedAgain: a refusal changes nothing, so it is one the next time
// too. badger alone opens the same folder without an error.
func TestK5_RefusedAgain(t *testing.T) {
	f := fixtures(t)[1]
	names, err := logsOf(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copyFolder(t, f.dir, dir)
	first := filepath.Base(names[1]) // the oldest one is in a table already
	content, _ := f.content(t, first)
	if err := flip(filepath.Join(dir, first), int64(len(content)/2), 1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, err := Open(Options{Dir: dir, tune: small})
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), "records are missing") || !strings.Contains(err.Error(), first) {
			t.Errorf("a flipped byte in %s: %v", first, err)
		}
	}
	db, err := openDB(settings(Options{Dir: dir, tune: small}))
	if err != nil {
		t.Fatalf("badger sees what only the check should see: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
