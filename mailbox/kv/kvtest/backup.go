package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"pecgate/mailbox/kv"
)

// saved makes a backup.
func saved(t *testing.T, s kv.Store, since uint64) ([]byte, uint64) {
	t.Helper()
	var b bytes.Buffer
	next, err := s.Backup(context.Background(), &b, since)
	if err != nil {
		t.Fatalf("backup since %d: %v", since, err)
	}
	return b.Bytes(), next
}

// restored calls fn with a new store that was filled with the parts.
func restored(t *testing.T, open Open, what string, fn func(*testing.T, kv.Store), parts ...[]byte) {
	t.Helper()
	t.Run(what, func(t *testing.T) {
		s := store(t, open)
		if err := s.Restore(context.Background(), bytes.NewReader(bytes.Join(parts, nil))); err != nil {
			t.Fatalf("restore: %v", err)
		}
		fn(t, s)
	})
}

// everything is what restored expects.
func everything(want string) func(*testing.T, kv.Store) {
	return func(t *testing.T, s kv.Store) {
		view(t, s, func(r kv.Reader) error {
			return errors.Join(expectList(r, "", "", want), expectBack(r, "zz", ""))
		})
		update(t, s, func(tx kv.Txn) error { return expectList(tx, "", "", want) })
	}
}

func backup(t *testing.T, open Open) {
	s := store(t, open)
	empty, next := saved(t, s, 0)
	restored(t, open, "empty", everything(""), empty)

	fill(t, s, "a", "1", "ab", "", "abc", strings.Repeat("x", 100), "b\x00\xff", "4")
	update(t, s, func(tx kv.Txn) error {
		return errors.Join(tx.Put([]byte("gone"), nil), tx.Put(bytes.Repeat([]byte{0xff}, 7), make([]byte, 0)))
	})
	update(t, s, func(tx kv.Txn) error { return tx.Delete([]byte("gone")) })
	all := "a=1 ab= abc=" + strings.Repeat("x", 100) + " b\x00\xff=4 \xff\xff\xff\xff\xff\xff\xff= "
	full, _ := saved(t, s, 0)
	restored(t, open, "full", everything(all), full)
	more, _ := saved(t, s, next)
	restored(t, open, "since empty", everything(all), empty, more)

	// What was restored is a store like any other, open again and saved again.
	t.Run("again", func(t *testing.T) {
		s := open(t)
		if err := s.Restore(context.Background(), bytes.NewReader(full)); err != nil {
			t.Fatal(err)
		}
		fill(t, s, "new", "5")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = store(t, open)
		b, _ := saved(t, s, 0)
		restored(t, open, "and again", func(t *testing.T, s kv.Store) {
			view(t, s, func(r kv.Reader) error { return expectAll(r, "a", "1", "new", "5", "gone", "<none>") })
		}, b)
	})

	// Records as large, and as many, as there may be in one Update.
	big := bytes.Repeat([]byte("k"), kv.MaxKey)
	update(t, s, func(tx kv.Txn) error { return tx.Put(big, make([]byte, kv.MaxRecord-len(big))) })
	for n := range 3 {
		update(t, s, func(tx kv.Txn) error {
			for i := range kv.MaxUpdateKeys {
				if err := tx.Put(fmt.Appendf(nil, "many/%d/%d", n, i), fmt.Append(nil, i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	full, _ = saved(t, s, 0)
	restored(t, open, "large", func(t *testing.T, s kv.Store) {
		view(t, s, func(r kv.Reader) error {
			n := 0
			err := r.Scan([]byte("many/"), nil, func(k, v []byte) (bool, error) {
				n++
				return bytes.HasSuffix(k, append([]byte("/"), v...)), nil
			})
			b, err2 := r.Get(big)
			if n != 3*kv.MaxUpdateKeys || len(b) != kv.MaxRecord-len(big) {
				return fmt.Errorf("%d records, the largest with %d bytes", n, len(b))
			}
			return errors.Join(err, err2)
		})
	}, full)
}

func backupIncremental(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "changes", "1", "goes", "1", "goes and comes", "1", "stays", "1")
	var pairs []string
	for n := range 900 {
		pairs = append(pairs, fmt.Sprintf("many/%04d", n), "x")
	}
	fill(t, s, pairs...)
	full, at := saved(t, s, 0)

	first := "changes=2 comes=1 stays=1 "
	fill(t, s, "changes", "2", "comes", "1", "never seen", "1")
	update(t, s, func(tx kv.Txn) error {
		err := errors.Join(tx.Delete([]byte("goes")), tx.Delete([]byte("goes and comes")), tx.Delete([]byte("never seen")))
		for n := range 900 {
			err = errors.Join(err, tx.Delete(fmt.Appendf(nil, "many/%04d", n)))
		}
		return err
	})
	one, at1 := saved(t, s, at)

	second := "changes=2 goes and comes=3 stays=1 z=3 "
	fill(t, s, "goes and comes", "3", "z", "3")
	update(t, s, func(tx kv.Txn) error { return tx.Delete([]byte("comes")) })
	two, at2 := saved(t, s, at1)
	none, at3 := saved(t, s, at2)
	both, _ := saved(t, s, at)

	restored(t, open, "one", everything(first), full, one)
	restored(t, open, "two", everything(second), full, one, two)
	restored(t, open, "nothing new", everything(second), full, one, two, none)
	restored(t, open, "both at once", everything(second), full, both)
	if len(one) > len(full) || len(none) > 400 {
		t.Errorf("backups of %d, %d, %d and %d bytes", len(full), len(one), len(two), len(none))
	}

	for name, parts := range map[string][][]byte{
		"nothing":              {},
		"incremental first":    {one},
		"a part left out":      {full, two},
		"a part twice":         {full, one, one},
		"two full ones":        {full, full},
		"text":                 {[]byte("hello, this is some text that is longer than a header of a backup is")},
		"end cut":              {full[:len(full)-1]},
		"end of last part cut": {full, one[:len(one)-40]},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			if err := s.Restore(context.Background(), bytes.NewReader(bytes.Join(parts, nil))); !errors.Is(err, kv.ErrCorrupt) {
				t.Errorf("restore: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if err := s.Restore(context.Background(), bytes.NewReader(full)); !errors.Is(err, kv.ErrNotEmpty) {
		t.Errorf("restore into a store with records: %v", err)
	}
	view(t, s, func(r kv.Reader) error { return expectList(r, "", "", second) })

	// Positions are those of one store.
	if _, err := s.Backup(context.Background(), io.Discard, at3+1); !errors.Is(err, kv.ErrSince) {
		t.Errorf("backup since the future: %v", err)
	}
	restored(t, open, "other store", func(t *testing.T, s kv.Store) {
		if _, err := s.Backup(context.Background(), io.Discard, at); !errors.Is(err, kv.ErrSince) {
			t.Errorf("backup since a position of the store it came from: %v", err)
		}
	}, full)
}

// brokenWriter takes so many bytes.
type brokenWriter struct{ left int }

var errFull = errors.New("no space")

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func backupEnds(t *testing.T, open Open) {
	s := store(t, open)
	var pairs []string
	for n := range 500 {
		pairs = append(pairs, fmt.Sprintf("n%03d", n), strings.Repeat("v", 500))
	}
	fill(t, s, pairs...)
	for _, room := range []int{0, 100, 200_000} {
		if _, err := s.Backup(context.Background(), &brokenWriter{room}, 0); !errors.Is(err, errFull) {
			t.Errorf("backup into %d bytes: %v", room, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := s.Backup(ctx, writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("backup whose context ended: %v", err)
	}
	if _, err := s.Backup(ctx, io.Discard, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("backup with an ended context: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// K8_BackupUnderLoad: each of several backups, the later ones incremental,
// made while others write, is one state: with all that was acknowledged before
// it began, and no half of an Update.
func backupUnderLoad(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "pair/1", "0", "pair/2", "0")
	update(t, s, func(tx kv.Txn) error { return tx.Put([]byte("count"), make([]byte, 8)) })
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				err := s.Update(context.Background(), func(tx kv.Txn) error {
					next := fmt.Appendf(nil, "%d/%d", c, n)
					err := errors.Join(tx.Put([]byte("pair/1"), next), tx.Put([]byte("pair/2"), next), count(tx, "count"))
					// One record for each count: they come and go in turn.
					b, err2 := tx.Get([]byte("count"))
					err = errors.Join(err, err2, tx.Put(append([]byte("each/"), b...), nil))
					if n%3 == 2 {
						err = errors.Join(err, tx.Delete(fmt.Appendf(nil, "own/%d", c)))
					} else {
						err = errors.Join(err, tx.Put(fmt.Appendf(nil, "own/%d", c), next))
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	type state struct {
		parts [][]byte
		least int
	}
	var states []state
	var parts [][]byte
	since := uint64(0)
	for range 20 {
		least := 0
		view(t, s, func(r kv.Reader) error {
			return r.Scan([]byte("each/"), nil, func(k, v []byte) (bool, error) { least++; return true, nil })
		})
		var part []byte
		part, since = saved(t, s, since)
		parts = append(parts[:len(parts):len(parts)], part)
		states = append(states, state{parts, least})
	}
	close(stop)
	wg.Wait()
	for n, st := range states {
		restored(t, open, fmt.Sprint(n), func(t *testing.T, s kv.Store) {
			view(t, s, func(r kv.Reader) error {
				one, err := r.Get([]byte("pair/1"))
				if err != nil {
					return err
				}
				each := 0
				err = r.Scan([]byte("each/"), nil, func(k, v []byte) (bool, error) { each++; return true, nil })
				if each < st.least {
					err = fmt.Errorf("%d of %d Updates", each, st.least)
				}
				return errors.Join(err, expect(r, "pair/2", string(one)), expectCount(r, "count", each))
			})
		}, st.parts...)
	}
}
