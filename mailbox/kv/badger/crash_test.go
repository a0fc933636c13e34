package badger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pecgate/mailbox/kv"
)

// has says which keys a folder has when it is opened, or why it is not.
func has(t *testing.T, dir string) (string, error) {
	t.Helper()
	s, err := Open(Options{Dir: dir, tune: small})
	if err != nil {
		return "", err
	}
	var keys []string
	err = s.View(context.Background(), func(r kv.Reader) error {
		return r.Scan(nil, nil, func(k, _ []byte) (bool, error) {
			keys = append(keys, string(k))
			return true, nil
		})
	})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return strings.Join(keys, " "), nil
}

// cutLog takes the last commit out of the newest log of a folder, as a torn
// write or a bad disk would.
func cutLog(t *testing.T, dir string) {
	t.Helper()
	names, err := logsOf(dir)
	if err != nil || len(names) == 0 {
		t.Fatal("no log", err)
	}
	name, ends := names[len(names)-1], []int64{logHeader}
	_, err = readLog(name, func(commit) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for stop := errors.New("stop"); ; {
		n := 0
		l, err := readLog(name, func(commit) error {
			if n++; n == len(ends) {
				return stop
			}
			return nil
		})
		if err == nil {
			break
		}
		ends = append(ends, l.end)
	}
	if err := os.Truncate(name, ends[len(ends)-2]); err != nil {
		t.Fatal(err)
	}
}

// TestCrashPoints copies the folder at every step between badger's commit and
// the answer. Until the count is synced a commit may be there or not; both are
// good, and neither is an alarm. From then on its loss is one.
func TestCrashPoints(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	copies := map[string]string{}
	point := func(name string) {
		to := t.TempDir()
		copyFolder(t, dir, to)
		copies[name] = to
	}
	update := func(key string) {
		t.Helper()
		if err := s.Update(context.Background(), putOne(key)); err != nil {
			t.Fatal(err)
		}
	}
	update("a")
	update("b")
	put, count := s.put, s.count
	s.put = func(m mark, items []item) error {
		point("before the commit")
		err := put(m, items)
		point("committed")
		return err
	}
	s.count = func(m mark) error {
		point("before the count")
		err := count(m)
		point("counted")
		return err
	}
	update("c")
	point("answered")
	s.put, s.count = put, count
	for name, want := range map[string][2]string{ // as it is, and without its last commit
		"before the commit": {"a b", ""},
		"committed":         {"a b c", "a b"},
		"before the count":  {"a b c", "a b"},
		"counted":           {"a b c", ""},
		"answered":          {"a b c", ""},
	} {
		cut := t.TempDir()
		copyFolder(t, copies[name], cut)
		cutLog(t, cut)
		if got, err := has(t, copies[name]); err != nil || got != want[0] {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		got, err := has(t, cut)
		if got != want[1] || errors.Is(err, kv.ErrCorrupt) != (want[1] == "") {
			t.Errorf("%s, its last commit lost: %q, %v", name, got, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTornCount: a count that was written in part is as if it had not begun.
func TestTornCount(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	for _, key := range []string{"a", "b", "c"} {
		if err := s.Update(context.Background(), putOne(key)); err != nil {
			t.Fatal(err)
		}
	}
	newest := s.journal.encode(s.journal.mark.next(nil))
	for n := range len(newest) {
		to := t.TempDir()
		copyFolder(t, dir, to)
		f, err := os.OpenFile(filepath.Join(to, journalName), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt(newest[:n], int64(1-s.journal.slot)*slotStride)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		j, at, err := checkFolder(Options{Dir: to})
		if err != nil || at != s.journal.mark || j.mark != at {
			t.Errorf("%d of %d bytes: commit %d, %v", n, len(newest), at.seq, err)
		}
		if err == nil {
			j.close()
		}
	}
}

// TestEmptyLog: badger empties a log before it removes it, and makes one before
// it gives it a length. A kill between the two must not keep the store shut.
func TestEmptyLog(t *testing.T) {
	for _, size := range []int64{0, 5, logHeader, 4096} {
		dir := t.TempDir()
		s := open(t, dir)
		err := s.Update(context.Background(), putOne("a"))
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"00001.mem", "00077.mem", "000009.vlog"} {
			err := os.WriteFile(filepath.Join(dir, name), nil, 0o600)
			if err = errors.Join(err, os.Truncate(filepath.Join(dir, name), size)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := has(t, dir); err != nil || got != "a" {
			t.Errorf("%d bytes: %q, %v", size, got, err)
		}
	}
}

// TestPipelined: while a count is synced the writer commits on; nobody is
// answered and nobody reads it before its own count; one count takes several.
func TestPipelined(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	ctx := context.Background()
	if err := s.Update(ctx, putOne("before")); err != nil {
		t.Fatal(err)
	}
	started, release, committed := make(chan struct{}), make(chan struct{}), make(chan struct{}, 10)
	var counted []uint64
	put, count := s.put, s.count
	s.put = func(m mark, items []item) error {
		err := put(m, items)
		committed <- struct{}{}
		return err
	}
	s.count = func(m mark) error {
		if counted = append(counted, m.seq); len(counted) == 1 {
			close(started)
			<-release
		}
		return count(m)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	answered := 0
	wake, stop := s.Watch([]byte("n0"))
	defer stop()
	for n := range 4 {
		wg.Go(func() {
			err := s.Update(ctx, func(tx kv.Txn) error {
				// Each sees those before it, though they are not answered.
				for i := range n {
					if _, err := tx.Get(fmt.Append(nil, "n", i)); err != nil {
						return err
					}
				}
				return tx.Put(fmt.Append(nil, "n", n), nil)
			})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			answered++
			mu.Unlock()
		})
		<-committed
		<-started // the first count is of the first commit alone
	}
	wg.Go(func() { // reads what is not counted, so it waits too
		err := s.Update(ctx, func(tx kv.Txn) error {
			_, err := tx.Get([]byte("n3"))
			return err
		})
		select {
		case <-release:
		default:
			t.Error("answered before the count of what it read")
		}
		if err != nil {
			t.Error(err)
		}
	})
	err := s.View(ctx, func(r kv.Reader) error {
		_, err := r.Get([]byte("before"))
		if _, err := r.Get([]byte("n0")); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("a view reads what is not counted: %v", err)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	mu.Lock()
	if answered > 0 {
		t.Errorf("%d answers before the count", answered)
	}
	mu.Unlock()
	select {
	case <-wake:
		t.Error("woken before the count")
	default:
	}
	close(release)
	wg.Wait()
	<-wake
	if !slices.Equal(counted, []uint64{2, 5}) {
		t.Errorf("counted %v", counted)
	}
	err = s.View(ctx, func(r kv.Reader) error {
		_, err := r.Get([]byte("n3"))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestK4_FailedCount: what could not be counted is answered with an error, and
// so is all that comes after it.
func TestK4_FailedCount(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ctx := context.Background()
	if err := s.Update(ctx, putOne("good")); err != nil {
		t.Fatal(err)
	}
	if err := s.journal.f.Close(); err != nil { // every write fails from now on
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			if err := s.Update(ctx, putOne(fmt.Sprint("bad", n))); !errors.Is(err, kv.ErrFailed) {
				t.Errorf("update: %v", err)
			}
		})
	}
	wg.Wait()
	if err := s.View(ctx, func(kv.Reader) error { return nil }); !errors.Is(err, kv.ErrFailed) {
		t.Errorf("view: %v", err)
	}
	if s.good != 1 || s.journal.mark.seq != 1 {
		t.Errorf("commit %d is good, %d counted", s.good, s.journal.mark.seq)
	}
	if err := s.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("close: %v", err)
	}
	if got, err := has(t, dir); err != nil || !strings.HasSuffix(got, "good") {
		t.Errorf("after it: %q, %v", got, err)
	}
}

// TestKilled kills a process that writes, again and again, in the same folder:
// what it told to be written is there.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	told := map[string]bool{}
	for round := range 4 {
		c := child(t, "write", dir)
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if len(lines.Text()) == len("w0/00/000000") { // the last one may be cut
				told[lines.Text()] = true
			}
			if n == 200+150*round {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		c.Wait()
		copied := t.TempDir()
		copyFolder(t, dir, copied)
		s, err := Open(Options{Dir: copied, tune: small})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		err = s.View(context.Background(), func(r kv.Reader) error {
			for key := range told {
				if _, err := r.Get([]byte(key)); err != nil {
					t.Errorf("round %d: %s: %v", round, key, err)
				}
			}
			return nil
		})
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) < 1500 {
		t.Errorf("only %d records", len(told))
	}
}
