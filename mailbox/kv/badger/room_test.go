package badger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/mailbox/kv"
)

// TestA6_MergesWaitForRoom: without room on the disk no tables are merged, and
// everything else goes on; a close does not wait for the room, and loses nothing.
// With room again the tables are merged.
func TestA6_MergesWaitForRoom(t *testing.T) {
	dir := t.TempDir()
	if out, err := child(t, "cramped", dir).Output(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	s, err := Open(Options{Dir: dir, tune: small, Room: func(int64) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	if err := crampedWhole(s); err != nil {
		t.Error(err)
	}
	for range 1000 {
		if deeper(s) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if deeper(s) == 0 {
		t.Error("with room nothing is merged")
	}
	if err := errors.Join(crampedWhole(s), s.Close()); err != nil {
		t.Error(err)
	}
}

// crampedRecords are some tables of level 0, fewer than stop all writing.
const crampedRecords = 5000

// deeper counts the tables that a merge has made.
func deeper(s *Store) (n int) {
	for _, table := range s.db.Tables() {
		if table.Level > 0 {
			n++
		}
	}
	return n
}

func crampedWhole(s *Store) error {
	return s.View(context.Background(), func(r kv.Reader) error {
		n := 0
		err := r.Scan([]byte("k"), nil, func(_, v []byte) (bool, error) {
			if string(v) != string(damageValue(n)) {
				return false, errors.New("a record differs")
			}
			n++
			return true, nil
		})
		if err == nil && n != crampedRecords {
			err = errors.New("records are missing")
		}
		return err
	})
}

// writeCramped fills a store on a disk without room, and closes it. What waits
// for room does so until the process ends.
func writeCramped(dir string) {
	var asked atomic.Bool
	s, err := Open(Options{Dir: dir, tune: small, Room: func(bytes int64) bool {
		if bytes < mergeAhead {
			fail(errors.New("asked for less than a merge takes"))
		}
		asked.Store(true)
		return false
	}})
	fail(err)
	const each = 50
	for i := range crampedRecords / each {
		fail(s.Update(context.Background(), func(tx kv.Txn) (err error) {
			for n := i * each; n < (i+1)*each; n++ {
				err = errors.Join(err, tx.Put(fmt.Appendf(nil, "k%05d", n), damageValue(n)))
			}
			return err
		}))
	}
	for range 1000 {
		if asked.Load() {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !asked.Load() {
		fail(errors.New("nothing was to be merged"))
	}
	fail(crampedWhole(s))
	if deeper(s) > 0 {
		fail(errors.New("tables were made without room"))
	}
	fail(s.Close())
	os.Exit(0)
}
