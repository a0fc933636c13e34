package badger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"       // name of its list of tables
	"github.com/dgraph-io/badger/v4/table" // names of its tables

	"pecgate/mailbox/kv"
)

// appendSet writes a set behind the list of tables, as badger does before it
// carries it out.
func appendSet(t *testing.T, dir string, level uint64, made, removed []uint64) {
	t.Helper()
	var body []byte
	change := func(b ...byte) { body = append(append(body, fieldChange<<3|2, byte(len(b))), b...) }
	number := func(field byte, v uint64) []byte { return binary.AppendUvarint([]byte{field << 3}, v) }
	for _, id := range made {
		change(slices.Concat(number(fieldTable, id), number(fieldLevel, level))...)
	}
	for _, id := range removed {
		change(slices.Concat(number(fieldTable, id), number(fieldOperation, operationRemove))...)
	}
	set := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	set = binary.BigEndian.AppendUint32(set, crc32.Checksum(body, castagnoli()))
	f, err := os.OpenFile(filepath.Join(dir, badger.ManifestFilename), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(append(set, body...))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestA7_ListOfWhatWasNotCarriedOut: the sync of badger's list of tables failed,
// and badger removed the new tables again: the list names them, nothing is lost.
// Where something is lost the store is refused all the same.
func TestA7_ListOfWhatWasNotCarriedOut(t *testing.T) {
	const never = 9000 // no table has this number
	fixtures := fixtures(t)
	closed, killed := fixtures[0], fixtures[1]
	for name, c := range map[string]struct {
		from  fixture
		plant func(dir string, ids []uint64)
		good  bool
	}{
		"a memory table": {killed, func(dir string, _ []uint64) { appendSet(t, dir, 0, []uint64{never}, nil) }, true},
		"tables merged": {closed, func(dir string, ids []uint64) {
			appendSet(t, dir, 1, []uint64{never, never + 1}, ids)
		}, true},
		"tables merged into nothing": {closed, func(dir string, ids []uint64) { appendSet(t, dir, 1, nil, ids) }, true},
		"tables merged, and a memory table after them": {killed, func(dir string, ids []uint64) {
			appendSet(t, dir, 1, []uint64{never}, ids)
			appendSet(t, dir, 0, []uint64{never + 1}, nil)
		}, true},
		"a memory table, and tables merged meanwhile": {killed, func(dir string, ids []uint64) {
			appendSet(t, dir, 0, []uint64{never}, nil)
			merged(t, dir, ids[0], never+1)
		}, true},
		"a memory table that was merged": {closed, func(dir string, ids []uint64) {
			merged(t, dir, ids[len(ids)-1], never)
		}, true},
		"a memory table whose log is gone": {closed, func(dir string, ids []uint64) {
			remove(t, table.NewFilename(ids[len(ids)-1], dir))
		}, false},
		"a memory table that is not the newest": {killed, func(dir string, _ []uint64) {
			appendSet(t, dir, 0, []uint64{never}, nil)
			appendSet(t, dir, 0, []uint64{never + 1}, nil)
		}, false},
		"tables merged, and one of them gone": {closed, func(dir string, ids []uint64) {
			appendSet(t, dir, 1, []uint64{never}, ids)
			remove(t, table.NewFilename(ids[0], dir))
		}, false},
		"merged while closing, without one": {killed, func(dir string, ids []uint64) {
			copyFile(t, filepath.Join(dir, badger.ManifestFilename), filepath.Join(dir, closingList))
			appendSet(t, dir, 0, []uint64{never}, nil)
			copyFile(t, table.NewFilename(ids[0], dir), table.NewFilename(never+1, dir))
			appendSet(t, dir, 0, []uint64{never + 1}, append(ids, never))
		}, true},
		"the list before closing, when all went well": {closed, func(dir string, ids []uint64) {
			copyFile(t, filepath.Join(dir, badger.ManifestFilename), filepath.Join(dir, closingList))
			truncate(t, filepath.Join(dir, closingList), -12) // without the last memory table
		}, true},
		"a list before closing that is of no use": {killed, func(dir string, ids []uint64) {
			if err := os.WriteFile(filepath.Join(dir, closingList), []byte("Bdgr"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		"a list before closing, and nothing fits": {killed, func(dir string, ids []uint64) {
			copyFile(t, filepath.Join(dir, badger.ManifestFilename), filepath.Join(dir, closingList))
			remove(t, table.NewFilename(ids[0], dir))
		}, false},
		"a set that is damaged": {killed, func(dir string, _ []uint64) {
			appendSet(t, dir, 0, []uint64{never}, nil)
			appendSet(t, dir, 0, []uint64{never + 1}, nil)
			name := filepath.Join(dir, badger.ManifestFilename)
			st, err := os.Stat(name)
			if err := errors.Join(err, flip(name, st.Size()-12, 1)); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			copyFolder(t, c.from.dir, dir)
			tables, err := tablesOf(dir, badger.ManifestFilename)
			if err != nil {
				t.Fatal(err)
			}
			ids := slices.Sorted(maps.Keys(tables))
			c.plant(dir, ids)
			for range 2 {
				s, err := Open(Options{Dir: dir, tune: small})
				if err == nil {
					err = errors.Join(whole(s, c.from.records), s.Close())
				}
				if c.good && err != nil {
					t.Error(err)
				}
				if !c.good && !errors.Is(err, kv.ErrCorrupt) {
					t.Errorf("not refused: %v", err)
				}
				if _, err := os.Stat(filepath.Join(dir, closingList)); c.good && err == nil {
					t.Error("the list from before closing is still there")
				}
			}
		})
	}
}

// truncate cuts bytes off a file.
func truncate(t *testing.T, name string, by int64) {
	t.Helper()
	st, err := os.Stat(name)
	if err == nil {
		err = os.Truncate(name, st.Size()+by)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// merged plays a merge of one table, which stands.
func merged(t *testing.T, dir string, from, to uint64) {
	t.Helper()
	if err := os.Rename(table.NewFilename(from, dir), table.NewFilename(to, dir)); err != nil {
		t.Fatal(err)
	}
	appendSet(t, dir, 0, []uint64{to}, []uint64{from})
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// TestA7_FailedTableEndsTheStore: a table cannot be made, when a memory table is
// written out or when tables are merged. badger would go on, in the latter case
// without what was in it. The store ends instead, and all is there when it is
// opened again.
func TestA7_FailedTableEndsTheStore(t *testing.T) {
	var merges atomic.Int32
	t.Run("tables", func(t *testing.T) {
		for _, c := range []struct{ first, most int }{{1, 1}, {3, 20}, {4, 1}, {5, 1}, {6, 20}, {9, 1}} {
			t.Run(fmt.Sprintf("%d from %d on", c.most, c.first), func(t *testing.T) {
				t.Parallel()
				if strings.Contains(blocked(t, c.first, c.most), "merged") {
					merges.Add(1)
				}
			})
		}
	})
	if merges.Load() < 2 {
		t.Errorf("only %d failed when tables were merged", merges.Load())
	}
}

// blocked lets a process write until it cannot make one of these tables, and
// gives what it said.
func blocked(t *testing.T, first, most int) string {
	dir := t.TempDir()
	c := child(t, "blocked", dir)
	c.Env = append(c.Env, fmt.Sprintf("%s=%d %d", blockedTables, first, most))
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	count, what, _ := strings.Cut(string(out), " ")
	n, err := strconv.Atoi(count)
	if err != nil || n < 100 {
		t.Fatalf("%q: %v", out, err)
	}
	for k := range most {
		remove(t, table.NewFilename(uint64(first+k), dir))
	}
	s, err := Open(Options{Dir: dir, tune: small})
	if err == nil {
		err = errors.Join(whole(s, n*each), s.Close())
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return what
}

const blockedTables = "PECGATE_KV_BLOCKED"

// writeBlocked writes until a table cannot be made, because a folder stands in
// its place, and tells how many updates were promised, and the error.
func writeBlocked(dir string) {
	var first, most int
	_, err := fmt.Sscan(os.Getenv(blockedTables), &first, &most)
	fail(err)
	s, err := Open(Options{Dir: dir, tune: small})
	fail(err)
	for k := range most {
		fail(os.Mkdir(table.NewFilename(uint64(first+k), dir), 0o700))
	}
	n := 0
	for ; n < 20000; n++ {
		if err = s.Update(context.Background(), func(tx kv.Txn) error { return damageRecords(tx, n) }); err != nil {
			break
		}
	}
	if !errors.Is(err, kv.ErrFailed) || strings.Contains(err.Error(), "\n") {
		fail(fmt.Errorf("after %d updates: %v", n, err))
	}
	if verr := s.View(context.Background(), func(kv.Reader) error { return nil }); !errors.Is(verr, kv.ErrFailed) {
		fail(fmt.Errorf("it still reads: %v", verr))
	}
	_ = s.Close() // the process ends
	fmt.Print(n, " ", err)
	os.Exit(0)
}

// TestA7_MergeWhileOpening: tables are merged while the store is still being
// opened, and one cannot be made. The same when it does not open after all.
func TestA7_MergeWhileOpening(t *testing.T) {
	closed := fixtures(t)[0]
	for _, end := range []string{"opens", "does not open"} {
		t.Run(end, func(t *testing.T) {
			dir := t.TempDir()
			copyFolder(t, closed.dir, dir)
			c := child(t, "opening", dir)
			c.Env = append(c.Env, openingEnd+"="+end)
			out, err := c.Output()
			if err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if st, err := os.Stat(name); err == nil && st.IsDir() {
					remove(t, name)
				}
			}
			if err := os.RemoveAll(filepath.Join(dir, obstacle)); err != nil {
				t.Fatal(err)
			}
			s, err := Open(Options{Dir: dir, tune: small})
			if err == nil {
				err = errors.Join(whole(s, closed.records), s.Close())
			}
			if err != nil {
				t.Errorf("%s: %v", out, err)
			}
		})
	}
}

const (
	openingEnd = "PECGATE_KV_OPENING"
	obstacle   = "000009.vlog" // badger cannot open it as its value log
)

// mergeWhileOpening opens a store so slowly that badger begins to merge its
// tables before, which fails since folders stand where new ones would be made.
func mergeWhileOpening(dir string) {
	tables, err := tablesOf(dir, badger.ManifestFilename)
	fail(err)
	last := slices.Max(slices.Collect(maps.Keys(tables)))
	merging, once := make(chan struct{}), sync.Once{}
	slow := func(_ slog.Level, text string) {
		switch {
		case strings.Contains(text, "LOG Compact. Added"):
			once.Do(func() { close(merging) })
		case strings.HasPrefix(text, "Set nextTxnTs"):
			for id := range uint64(50) {
				fail(os.Mkdir(table.NewFilename(last+1+id, dir), 0o700))
			}
			if os.Getenv(openingEnd) != "opens" {
				fail(os.Mkdir(filepath.Join(dir, obstacle), 0o700))
			}
			select {
			case <-merging:
			case <-time.After(20 * time.Second):
				fail(errors.New("nothing is merged"))
			}
			time.Sleep(300 * time.Millisecond) // a merge that does not wait is done by then
		}
	}
	merge := func(o badger.Options) badger.Options { return small(o).WithNumLevelZeroTables(1) }
	s, err := Open(Options{Dir: dir, tune: merge, Log: slow})
	if os.Getenv(openingEnd) != "opens" {
		if err == nil {
			fail(errors.New("it opens"))
		}
		fmt.Print(err)
		os.Exit(0)
	}
	for err == nil {
		err = s.View(context.Background(), func(kv.Reader) error { return nil })
	}
	if !errors.Is(err, kv.ErrFailed) {
		fail(err)
	}
	fmt.Print(err)
	os.Exit(0)
}
