package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/dgraph-io/badger/v4"         // writes what earlier releases wrote
	"github.com/dgraph-io/badger/v4/options" // as they set it

	"pecgate/mailbox/kv"
)

// formerSettings are those of the releases before the count, with smaller tables.
func formerSettings(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithMemTableSize(256 << 10).
		WithValueThreshold(30 << 10).
		WithNumMemtables(3).
		WithBlockCacheSize(32 << 20).
		WithIndexCacheSize(16 << 20).
		WithNumCompactors(2).
		WithValueLogFileSize(64 << 20).
		WithMetricsEnabled(false).
		WithDetectConflicts(true).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithLogger(logger{})
}

// formerCommit is what commit n of the former folders sets and deletes.
func formerCommit(n int) (set map[string]string, gone []string) {
	set = map[string]string{}
	for i := range 20 {
		set[fmt.Sprintf("k%03d", (n*7+i*13)%500)] = string(damageValue(n*20 + i)[:400])
	}
	if n%3 == 0 {
		gone = append(gone, fmt.Sprintf("k%03d", n))
		delete(set, gone[0])
	}
	return set, gone
}

const formerCommits = 150

// writeFormer makes a folder of form 0, and closes it, or kills itself. what is
// closed or killed, a colon, and the folder.
func writeFormer(what string) {
	end, dir, _ := strings.Cut(what, ":")
	db, err := badger.Open(formerSettings(dir))
	fail(err)
	for n := range formerCommits {
		tx := db.NewTransaction(true)
		set, gone := formerCommit(n)
		for k, v := range set {
			fail(tx.Set([]byte(k), []byte(v)))
		}
		for _, k := range gone {
			fail(tx.Delete([]byte(k)))
		}
		fail(tx.Commit())
	}
	if end == "killed" {
		fail(syscall.Kill(os.Getpid(), syscall.SIGKILL))
		select {} // until it comes
	}
	fail(db.Close())
}

// former makes two folders of form 0: one that was closed, and one that was
// killed, with tables and logs. records is what both hold.
func former(t *testing.T) (closed, killed string, records map[string]string) {
	t.Helper()
	closed, killed, records = t.TempDir(), t.TempDir(), map[string]string{}
	for n := range formerCommits {
		set, gone := formerCommit(n)
		maps.Copy(records, set)
		for _, k := range gone {
			delete(records, k)
		}
	}
	if err := child(t, "former", "closed:"+closed).Run(); err != nil {
		t.Fatal(err)
	}
	if err := child(t, "former", "killed:"+killed).Run(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatal(err)
	}
	logs, err := logsOf(killed)
	tables, err2 := filepath.Glob(filepath.Join(killed, "*.sst"))
	if err != nil || err2 != nil || len(logs) == 0 || len(tables) == 0 {
		t.Fatal("the killed one should have tables and logs", logs, tables)
	}
	return closed, killed, records
}

func agree([]byte, bool) error { return nil }

// same compares all records.
func same(s *Store, records map[string]string) error {
	left := maps.Clone(records)
	return s.View(context.Background(), func(r kv.Reader) error {
		err := r.Scan(nil, nil, func(k, v []byte) (bool, error) {
			if left[string(k)] != string(v) {
				return false, fmt.Errorf("record %q differs", k)
			}
			delete(left, string(k))
			return true, nil
		})
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d of %d records are missing", len(left), len(records))
		}
		return err
	})
}

// adoptAndDie takes a folder over and kills itself at a step. what is the number
// of the step, a colon, and the folder.
func adoptAndDie(what string) {
	number, dir, _ := strings.Cut(what, ":")
	last, err := strconv.Atoi(number)
	fail(err)
	step := 0
	s, err := Open(Options{Dir: dir, Judge: agree, step: func() {
		if step++; step == last {
			fail(syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {} // until it comes
		}
	}})
	fail(err)
	fail(s.Close())
}

// TestK11_FolderTakenOver: a folder of form 0 is taken over, and wherever that
// is killed it is begun again, with the same records.
func TestK11_FolderTakenOver(t *testing.T) {
	closed, killed, records := former(t)
	for _, from := range []string{closed, killed} {
		steps := 0
		for done := false; !done; steps++ {
			dir := t.TempDir()
			copyFolder(t, from, dir)
			switch err := child(t, "adopt", fmt.Sprintf("%d:%s", steps+1, dir)).Run(); {
			case err == nil:
				done = true
			case !strings.Contains(err.Error(), "killed"):
				t.Fatal(err)
			}
			s, err := Open(Options{Dir: dir, Judge: agree})
			if err != nil {
				t.Fatalf("after step %d: %v", steps, err)
			}
			if err := errors.Join(same(s, records), s.Update(t.Context(), putOne("zz")), s.Close()); err != nil {
				t.Errorf("after step %d: %v", steps, err)
			}
			// Counted now: nobody has to agree.
			if s, err = Open(Options{Dir: dir}); err != nil {
				t.Fatalf("after step %d, once more: %v", steps, err)
			}
			now := maps.Clone(records)
			err = s.View(t.Context(), func(r kv.Reader) error {
				v, err := r.Get([]byte("zz"))
				now["zz"] = string(v)
				return err
			})
			if err := errors.Join(err, same(s, now), s.Close()); err != nil {
				t.Errorf("after step %d, once more: %v", steps, err)
			}
		}
		if steps < 6 {
			t.Errorf("%d steps", steps)
		}
	}
}

// TestK7_CountRemoved: a folder that was counted and has lost its JOURNAL is
// refused, also by an owner who takes over what was never counted.
func TestK7_CountRemoved(t *testing.T) {
	closed, _, _ := former(t)
	s, err := Open(Options{Dir: closed, Judge: agree})
	if err == nil {
		err = errors.Join(s.Update(t.Context(), putOne("zz")), s.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	if s, err = Open(Options{Dir: empty}); err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	dirs := []string{closed, empty}
	for _, f := range fixtures(t) {
		dirs = append(dirs, f.dir)
	}
	for n, dir := range dirs {
		if err := os.Remove(filepath.Join(dir, journalName)); err != nil {
			t.Fatal(err)
		}
		refusedUntouched(t, dir, Options{Judge: agree}, fmt.Sprintf("folder %d", n), journalName)
	}
}

// refusedUntouched opens a folder, which must be refused with these words, as
// damaged, and left as it was.
func refusedUntouched(t *testing.T, dir string, o Options, what, words string) {
	t.Helper()
	before := contents(t, dir)
	o.Dir = dir
	s, err := Open(o)
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %v", what, err)
	}
	if !maps.EqualFunc(before, contents(t, dir), bytes.Equal) {
		t.Errorf("%s: the folder was changed", what)
	}
}

// contents are all files of a folder.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if out[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestK11_DoubtfulFolder: what nobody counted is taken over only if nothing
// speaks against it.
func TestK11_DoubtfulFolder(t *testing.T) {
	closed, killed, records := former(t)
	logs, err := logsOf(killed)
	if err != nil {
		t.Fatal(err)
	}
	last := filepath.Base(logs[len(logs)-1])
	content := bytes.TrimRight(contents(t, killed)[filepath.Join(killed, last)], "\x00")
	tables, err := filepath.Glob(filepath.Join(closed, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(err, tables)
	}
	table := filepath.Base(tables[0])
	for _, c := range []struct {
		what, from, words string
		damage            func(dir string) error
	}{
		{"a flipped byte in a log", killed, "start and stop it once", func(dir string) error { return flip(filepath.Join(dir, last), int64(len(content)/2), 1) }},
		{"a flipped byte in a table", closed, table, func(dir string) error { return flip(filepath.Join(dir, table), 1000, 1) }},
		{"a table gone", closed, table, func(dir string) error { return os.Remove(filepath.Join(dir, table)) }},
		{"the list of tables gone", closed, "MANIFEST", func(dir string) error { return os.Remove(filepath.Join(dir, "MANIFEST")) }},
		{"the registry damaged", closed, "KEYREGISTRY", func(dir string) error { return flip(filepath.Join(dir, "KEYREGISTRY"), 20, 1) }},
	} {
		dir := t.TempDir()
		copyFolder(t, c.from, dir)
		if err := c.damage(dir); err != nil {
			t.Fatal(err)
		}
		refusedUntouched(t, dir, Options{Judge: agree}, c.what, c.words)
	}
	for _, dir := range []string{closed, killed} {
		refusedUntouched(t, dir, Options{}, "nobody agrees", journalName)
		no := errors.New("not mine")
		refusedUntouched(t, dir, Options{Judge: func([]byte, bool) error { return no }}, "the owner refuses", "not mine")
	}
	// Judge sees what is newest: in a table, in a log, deleted.
	keys := slices.Sorted(maps.Keys(records))
	for _, key := range []string{keys[0], keys[len(keys)/2], keys[len(keys)-1], "k147", "none"} {
		for _, dir := range []string{closed, killed} {
			seen := false
			refusedUntouched(t, dir, Options{Form: []byte(key), Judge: func(v []byte, counted bool) error {
				want, there := records[key]
				seen = !counted && there == (v != nil) && want == string(v)
				return errors.New("seen")
			}}, "the form is "+key, "seen")
			if !seen {
				t.Errorf("the owner was told something else of %s", key)
			}
		}
	}
}

// TestJudge: the owner decides by the newest value before anything is changed,
// of a folder that is counted too.
func TestJudge(t *testing.T) {
	for _, f := range fixtures(t) {
		refusedUntouched(t, f.dir, Options{tune: small, Form: []byte("last"), Judge: func(v []byte, counted bool) error {
			n := 0
			if _, err := fmt.Sscan(string(v), &n); err != nil || !counted || n < f.records-1 {
				t.Errorf("%s: told %q of %d, counted: %t", f.name, v, f.records, counted)
			}
			return errors.New("judged")
		}}, f.name, "judged")
	}
}
