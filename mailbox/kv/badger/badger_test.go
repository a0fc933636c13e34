package badger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/kv/kvtest"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	dirs := map[string]string{}
	kvtest.Run(t, func(t *testing.T) kv.Store {
		dir := dirs[t.Name()]
		if dir == "" {
			dir = t.TempDir()
			dirs[t.Name()] = dir
		}
		return open(t, dir)
	})
}

func putOne(key string) func(kv.Txn) error {
	return func(tx kv.Txn) error { return tx.Put([]byte(key), []byte("v")) }
}

// held lets Updates gather while the first commit is held, and counts commits.
type held struct {
	s       *Store
	started chan struct{}
	release chan struct{}
	folds   []int // keys
}

func hold(s *Store) *held {
	h := &held{s: s, started: make(chan struct{}), release: make(chan struct{})}
	commit := s.put
	s.put = func(m mark, items []item) error {
		if len(h.folds) == 0 {
			close(h.started)
			<-h.release
		}
		h.folds = append(h.folds, len(items))
		return commit(m, items)
	}
	return h
}

// wait returns when n Updates wait for the writer.
func (h *held) wait(n int) {
	for {
		h.s.mu.Lock()
		waiting := len(h.s.waiting)
		h.s.mu.Unlock()
		if waiting >= n {
			return
		}
		time.Sleep(time.Millisecond) // decides nothing: the loop waits for a count
	}
}

func TestWaitingUpdatesShareOneCommit(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	h := hold(s)
	var wg sync.WaitGroup
	wg.Go(func() { s.Update(context.Background(), putOne("first")) })
	<-h.started
	for n := range 63 {
		wg.Go(func() {
			if err := s.Update(context.Background(), putOne(fmt.Sprint("n", n))); err != nil {
				t.Error(err)
			}
		})
	}
	h.wait(63)
	close(h.release)
	wg.Wait()
	if len(h.folds) != 2 || h.folds[1] != 63 {
		t.Errorf("keys per commit: %v", h.folds)
	}
}

// TestFoldTooBig: what does not fit into a fold begins the next one, no fold is
// above its bound, and one caller that alone writes too much loses its own keys
// only.
func TestFoldTooBig(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	h := hold(s)
	var wg sync.WaitGroup
	wg.Go(func() { s.Update(context.Background(), putOne("first")) })
	<-h.started
	const callers, keys = 7, 300
	write := func(c, keys int) error {
		return s.Update(context.Background(), func(tx kv.Txn) error {
			for n := range keys {
				if err := tx.Put(fmt.Appendf(nil, "%d/%d", c, n), nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for c := range callers {
		if c == 3 {
			wg.Go(func() {
				if err := write(99, kv.MaxUpdateKeys+1); !errors.Is(err, kv.ErrTooBig) {
					t.Errorf("the one too big: %v", err)
				}
			})
			h.wait(c + 1)
		}
		wg.Go(func() {
			if err := write(c, keys); err != nil {
				t.Error(err)
			}
		})
	}
	h.wait(callers + 1)
	close(h.release)
	wg.Wait()
	if got := fmt.Sprint(h.folds); got != "[1 900 900 300]" {
		t.Errorf("keys per commit: %v", got)
	}
	err := s.View(context.Background(), func(r kv.Reader) error {
		return r.Scan([]byte("99/"), nil, func(k, _ []byte) (bool, error) { return false, fmt.Errorf("key %s is there", k) })
	})
	if err != nil {
		t.Error(err)
	}
}

// TestA7_FailedCommit: badger may show what it failed to sync. The store does
// not: all in the fold get the error, and nothing is read or written after it.
func TestA7_FailedCommit(t *testing.T) {
	for _, visible := range []bool{false, true} {
		t.Run(fmt.Sprintf("visible=%t", visible), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			ctx := context.Background()
			if err := s.Update(ctx, putOne("good")); err != nil {
				t.Fatal(err)
			}
			broken := errors.New("input/output error")
			commit := s.put
			h := hold(s)
			holding := s.put
			inView := make(chan error, 1)
			s.put = func(m mark, items []item) error {
				if len(h.folds) == 0 {
					return holding(m, items)
				}
				if visible {
					if err := commit(m, items); err != nil {
						t.Error(err)
					}
				}
				// A View that begins now would see the failed writes.
				started := make(chan struct{})
				go func() {
					close(started)
					inView <- s.View(ctx, func(r kv.Reader) error {
						if _, err := r.Get([]byte("n1")); !errors.Is(err, kv.ErrNotFound) {
							t.Errorf("a view read a failed write: %v", err)
						}
						return nil
					})
				}()
				<-started
				return broken
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := s.Update(ctx, putOne("first")); err != nil {
					t.Errorf("the commit before the failed one: %v", err)
				}
			})
			<-h.started
			sorry := errors.New("sorry")
			for n := range 9 {
				wg.Go(func() {
					err := s.Update(ctx, func(tx kv.Txn) error {
						if err := putOne(fmt.Sprint("n", n))(tx); err != nil || n != 5 {
							return err
						}
						return sorry
					})
					// An error of fn may be told as it is if nothing was read before it.
					if err == nil || !errors.Is(err, kv.ErrFailed) && err != sorry {
						t.Errorf("update in the failed fold: %v", err)
					}
				})
			}
			h.wait(9)
			// Too big to go with the others, so it waits behind the failure.
			wg.Go(func() {
				err := s.Update(ctx, func(tx kv.Txn) error {
					for n := range kv.MaxUpdateKeys {
						if err := tx.Put(fmt.Appendf(nil, "big%d", n), nil); err != nil {
							return err
						}
					}
					return nil
				})
				if !errors.Is(err, kv.ErrFailed) {
					t.Errorf("update behind the failed fold: %v", err)
				}
			})
			h.wait(10)
			close(h.release)
			wg.Wait()
			if err := <-inView; err != nil && !errors.Is(err, kv.ErrFailed) {
				t.Errorf("view during the failure: %v", err)
			}
			if err := s.Update(ctx, putOne("later")); !errors.Is(err, kv.ErrFailed) || !errors.Is(err, broken) {
				t.Errorf("update after the failure: %v", err)
			}
			if err := s.View(ctx, func(kv.Reader) error { return nil }); !errors.Is(err, kv.ErrFailed) {
				t.Errorf("view after the failure: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
			defer s.Close()
			err := s.View(ctx, func(r kv.Reader) error {
				_, err := r.Get([]byte("good"))
				_, err2 := r.Get([]byte("first"))
				return errors.Join(err, err2)
			})
			if err != nil {
				t.Errorf("after opening again: %v", err)
			}
		})
	}
}

func TestFnThatEndsItsGoroutine(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	done := make(chan struct{})
	go func() { // what t.Fatal does inside fn
		defer close(done)
		s.Update(context.Background(), func(tx kv.Txn) error {
			tx.Put([]byte("dropped"), nil)
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	if err := s.Update(context.Background(), putOne("after")); err != nil {
		t.Fatal(err)
	}
	err := s.View(context.Background(), func(r kv.Reader) error {
		_, err := r.Get([]byte("dropped"))
		return err
	})
	if !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("a write of an fn that did not return: %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "records")
	old := syscall.Umask(0o077) // as the program sets it; no test here runs in parallel
	defer syscall.Umask(old)
	var mu sync.Mutex
	var lines []string
	s, err := Open(Options{Dir: dir, Log: func(_ slog.Level, text string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, text)
	}, Now: func() time.Time { return time.Unix(42, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Now().Equal(time.Unix(42, 0)) {
		t.Errorf("now: %v", s.Now())
	}
	if err := s.Update(context.Background(), putOne("secret-key")); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil && st.Mode().Perm()&0o077 != 0 {
			t.Errorf("M15: %s has mode %o", d.Name(), st.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("M15: an open folder was left open: %v", err)
	}
	for _, line := range lines {
		if strings.ContainsAny(line, "\n") || strings.Contains(line, "secret-key") {
			t.Errorf("log line %q", line)
		}
	}
	if len(lines) == 0 {
		t.Error("badger's messages are lost")
	}
	if _, err := Open(Options{}); err == nil {
		t.Error("opened without a folder")
	}
}

// TestK14_OpenedTwice: the second one is refused, from this process and from
// another, and the first one goes on.
func TestK14_OpenedTwice(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	for range 2 {
		if _, err := Open(Options{Dir: dir}); !errors.Is(err, kv.ErrInUse) {
			t.Errorf("second open: %v", err)
		}
	}
	c := child(t, "write", dir)
	var said strings.Builder
	c.Stderr = &said
	if err := c.Run(); err == nil || !strings.Contains(said.String(), kv.ErrInUse.Error()) {
		t.Errorf("second open by another process: %v: %s", err, said.String())
	}
	if err := s.Update(context.Background(), putOne("a")); err != nil {
		t.Error(err)
	}
}

// TestK12_NewerFormat: a folder of a newer release is refused and left alone.
func TestK12_NewerFormat(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := errors.Join(s.Update(context.Background(), putOne("a")), s.Close()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, journalName)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	slot := b[:slotSize]
	slot[7]++ // its format
	binary.BigEndian.PutUint32(slot[slotSize-4:], crc32.Checksum(slot[:slotSize-4], castagnoli()))
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, kv.ErrFormat) || errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("a newer format: %v", err)
	}
	if now, err := os.ReadFile(name); err != nil || !bytes.Equal(now, b) {
		t.Errorf("the file was changed: %v", err)
	}
}

// TestOldVersions: badger may drop what nobody reads any more, and nothing that
// a View still reads.
func TestOldVersions(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir(), tune: small})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	write := func(round int) {
		t.Helper()
		err := s.Update(ctx, func(tx kv.Txn) error {
			for n := range 100 {
				if err := tx.Put(fmt.Appendf(nil, "k%02d", n), fmt.Appendf(nil, "%0500d", round)); err != nil {
					return err
				}
			}
			return tx.Delete([]byte("gone"))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Update(ctx, putOne("gone")); err != nil {
		t.Fatal(err)
	}
	old := func(r kv.Reader) error {
		if _, err := r.Get([]byte("gone")); err != nil {
			return fmt.Errorf("a record that was deleted later: %w", err)
		}
		return r.Scan([]byte("k"), nil, func(k, v []byte) (bool, error) { return false, fmt.Errorf("key %s was written later", k) })
	}
	entries := func() int {
		t.Helper()
		if err := s.db.Flatten(1); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, info := range s.db.Tables() {
			n += int(info.KeyCount)
		}
		return n
	}
	err = s.View(ctx, func(r kv.Reader) error {
		for round := range 60 { // some tables full
			write(round)
		}
		if n := entries(); n < 2000 {
			return fmt.Errorf("only %d entries are in tables", n)
		}
		return old(r)
	})
	if err != nil {
		t.Error(err)
	}
	for round := range 60 {
		write(round)
	}
	for range 3 {
		write(1)
	}
	if n := entries(); n > 3000 {
		t.Errorf("%d entries are kept in tables for 101 keys", n)
	}
}

// TestSettings: the bounds of the contract fit into badger's.
func TestSettings(t *testing.T) {
	o := settings(Options{Dir: "x"})
	if !o.SyncWrites || o.MetricsEnabled || o.ValueThreshold <= kv.MaxRecord || o.MemTableSize*15/100 < kv.MaxUpdateBytes+64*(kv.MaxUpdateKeys+2) {
		t.Errorf("settings %+v", o)
	}
	if o.Dir != o.ValueDir {
		t.Error("two folders")
	}
}

func TestReservedKeys(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	for _, key := range []string{"!badger!head", chainKey, restoreKey, own} {
		if err := s.Update(context.Background(), putOne(key)); !errors.Is(err, kv.ErrKey) {
			t.Errorf("put %q: %v", key, err)
		}
		err := s.View(context.Background(), func(r kv.Reader) error {
			_, err := r.Get([]byte(key))
			return err
		})
		if !errors.Is(err, kv.ErrKey) {
			t.Errorf("get %q: %v", key, err)
		}
	}
	if err := s.Update(context.Background(), putOne("\xff\xff\xff\xff\xff\xff\xff")); err != nil {
		t.Errorf("a key just below: %v", err)
	}
}
