package badger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pecgate/mailbox/kv"
)

// TestReadLog: what badger writes is read as it was meant. A release of badger
// with another form of the log fails here.
func TestReadLog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	for _, fn := range []func(kv.Txn) error{
		func(tx kv.Txn) error {
			return errors.Join(tx.Put([]byte("b"), bytes.Repeat([]byte("v"), 60_000)), tx.Put([]byte("a"), nil))
		},
		func(tx kv.Txn) error { return errors.Join(tx.Delete([]byte("b")), tx.Put([]byte("\xff"), []byte{0})) },
	} {
		if err := s.Update(context.Background(), fn); err != nil {
			t.Fatal(err)
		}
	}
	names, err := logsOf(dir)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	at := genesis(s.journal.id)
	l, err := readLog(names[0], func(c commit) error {
		if at = at.next(c.items); c.seq != at.seq || !bytes.Equal(c.chain, at.chain[:]) || len(c.items) != 2 {
			t.Errorf("commit %d with %d records", c.seq, len(c.items))
		}
		return nil
	})
	if err != nil || !l.clean || at != s.journal.mark || l.end >= l.size {
		t.Errorf("%+v, commit %d, %v", l, at.seq, err)
	}
}

// TestChain: every part of a commit is in its hash.
func TestChain(t *testing.T) {
	start := genesis(storeID{1})
	seen := map[mark]int{genesis(storeID{2}): -2, start: -1}
	for n, items := range [][]item{
		{},
		{{key: []byte("a")}},
		{{key: []byte("a"), deleted: true}},
		{{key: []byte("a"), value: []byte("b")}},
		{{key: []byte("ab")}},
		{{key: []byte("a")}, {key: []byte("b")}},
		{{key: []byte("b")}, {key: []byte("a")}},
	} {
		m := start.next(items)
		if old, is := seen[m]; is {
			t.Errorf("%d and %d have the same hash", n, old)
		}
		seen[m] = n
		later := m.next(items)
		if _, is := seen[later]; is || later.seq != 2 {
			t.Errorf("%d twice", n)
		}
	}
}

// FuzzLog: a log of any bytes ends.
func FuzzLog(f *testing.F) {
	dir := f.TempDir()
	s := open(f, dir)
	for _, key := range []string{"a", "b"} {
		if err := s.Update(context.Background(), putOne(key)); err != nil {
			f.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "00001"+logExt))
	if err = errors.Join(err, s.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(b[logHeader:1000])
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &logReader{in: bufio.NewReader(bytes.NewReader(b))}
		for {
			before := r.at
			if _, err := r.commit(); err != nil {
				return
			}
			if r.at <= before || r.at > int64(len(b)) {
				t.Fatalf("a commit from %d to %d of %d bytes", before, r.at, len(b))
			}
		}
	})
}
