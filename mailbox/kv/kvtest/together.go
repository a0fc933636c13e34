package kvtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"pecgate/mailbox/kv"
)

// errorDropsOwnWrites: among many Updates at the same time, those that fail
// lose their writes, with their error as it is, and the others lose nothing.
func errorDropsOwnWrites(t *testing.T, open Open) {
	s := store(t, open)
	const callers, rounds = 16, 10
	sorry := errors.New("sorry")
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for n := range rounds {
				fails := (c+n)%3 == 0
				err := s.Update(context.Background(), func(tx kv.Txn) error {
					if err := tx.Put(fmt.Appendf(nil, "own/%02d/%02d", c, n), []byte("x")); err != nil {
						return err
					}
					if err := tx.Put([]byte("shared"), fmt.Appendf(nil, "%t", fails)); err != nil {
						return err
					}
					if fails {
						return sorry
					}
					return nil
				})
				if fails && err != sorry || !fails && err != nil {
					t.Errorf("caller %d round %d: %v", c, n, err)
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(r kv.Reader) error {
		for c := range callers {
			for n := range rounds {
				want := "x"
				if (c+n)%3 == 0 {
					want = "<none>"
				}
				if err := expect(r, fmt.Sprintf("own/%02d/%02d", c, n), want); err != nil {
					return err
				}
			}
		}
		return expect(r, "shared", "false")
	})
}

// foldTooBig: Updates that would be too much together are each taken, since
// none is too big alone; a too big one among them hurts nobody else.
func foldTooBig(t *testing.T, open Open) {
	s := store(t, open)
	const callers = 12
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			err := s.Update(context.Background(), func(tx kv.Txn) error {
				for n := range kv.MaxUpdateKeys - 100 {
					if err := tx.Put(fmt.Appendf(nil, "keys/%02d/%04d", c, n), nil); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("many keys, caller %d: %v", c, err)
			}
		})
		wg.Go(func() {
			err := s.Update(context.Background(), func(tx kv.Txn) error {
				for n := range 15 {
					if err := tx.Put(fmt.Appendf(nil, "bytes/%02d/%02d", c, n), make([]byte, 60<<10)); err != nil {
						return err
					}
				}
				return count(tx, "bytes-count")
			})
			if err != nil {
				t.Errorf("many bytes, caller %d: %v", c, err)
			}
		})
		wg.Go(func() {
			err := s.Update(context.Background(), func(tx kv.Txn) error {
				for n := range 20 {
					if err := tx.Put(fmt.Appendf(nil, "too/%02d/%02d", c, n), make([]byte, 60<<10)); err != nil {
						return err
					}
				}
				return nil
			})
			if !errors.Is(err, kv.ErrTooBig) {
				t.Errorf("too many bytes, caller %d: %v", c, err)
			}
		})
	}
	wg.Wait()
	view(t, s, func(r kv.Reader) error {
		got := map[byte]int{}
		err := r.Scan(nil, nil, func(k, v []byte) (bool, error) { got[k[0]]++; return true, nil })
		if got['k'] != callers*(kv.MaxUpdateKeys-100) || got['b'] != callers*15+1 || got['t'] != 0 {
			return fmt.Errorf("%d small, %d large and %d too large records, %w", got['k'], got['b'], got['t'], err)
		}
		return errors.Join(err, expectCount(r, "bytes-count", callers))
	})
}

// count adds one to a counter.
func count(tx kv.Txn, key string) error {
	b, err := tx.Get([]byte(key))
	if errors.Is(err, kv.ErrNotFound) {
		b, err = make([]byte, 8), nil
	}
	if err != nil {
		return err
	}
	return tx.Put([]byte(key), binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(b)+1))
}

func expectCount(r kv.Reader, key string, want int) error {
	b, err := r.Get([]byte(key))
	if err != nil {
		return err
	}
	if got := binary.BigEndian.Uint64(b); got != uint64(want) {
		return fmt.Errorf("counter %s: %d, want %d", key, got, want)
	}
	return nil
}

// counters: no increment is lost, whoever runs beside it.
func counters(t *testing.T, open Open) {
	s := store(t, open)
	const callers, rounds = 24, 25
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for range rounds {
				err := s.Update(context.Background(), func(tx kv.Txn) error {
					return errors.Join(count(tx, "all"), count(tx, fmt.Sprint("some/", c%3)))
				})
				if err != nil {
					t.Errorf("caller %d: %v", c, err)
					return
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(r kv.Reader) error {
		return errors.Join(expectCount(r, "all", callers*rounds),
			expectCount(r, "some/0", callers/3*rounds), expectCount(r, "some/1", callers/3*rounds), expectCount(r, "some/2", callers/3*rounds))
	})
}

// transfers: a View sees every Update whole or not at all. Each Update keeps
// two numbers equal, and decides by a scan.
func transfers(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "pair/1", "0", "pair/2", "0")
	same := func(r kv.Reader) (string, error) {
		var values []string
		err := r.Scan([]byte("pair/"), nil, func(k, v []byte) (bool, error) {
			values = append(values, string(v))
			return true, nil
		})
		if err == nil && (len(values) != 2 || values[0] != values[1]) {
			err = fmt.Errorf("half of an update is visible: %v", values)
		}
		if err != nil {
			return "", err
		}
		return values[0], nil
	}
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				err := s.View(context.Background(), func(r kv.Reader) error {
					_, err := same(r)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for c := range 8 {
		writers.Go(func() {
			for range 20 {
				err := s.Update(context.Background(), func(tx kv.Txn) error {
					v, err := same(tx)
					if err != nil {
						return err
					}
					next := fmt.Appendf(nil, "%d%s", c, v[:min(len(v), 20)])
					return errors.Join(tx.Put([]byte("pair/1"), next), tx.Put([]byte("pair/2"), next))
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
}

// snapshotOfView: what is committed while a View runs is not seen by it, and
// is seen by the next one.
func snapshotOfView(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "a", "1", "b", "1")
	view(t, s, func(r kv.Reader) error {
		if err := expect(r, "a", "1"); err != nil {
			return err
		}
		update(t, s, func(tx kv.Txn) error {
			return errors.Join(tx.Put([]byte("a"), []byte("2")), tx.Delete([]byte("b")), tx.Put([]byte("c"), []byte("2")))
		})
		if err := s.View(context.Background(), func(r kv.Reader) error { return expectList(r, "", "", "a=2 c=2 ") }); err != nil {
			return err
		}
		return errors.Join(expectAll(r, "a", "1", "b", "1", "c", "<none>"), expectList(r, "", "", "a=1 b=1 "))
	})
	sorry := errors.New("sorry")
	if err := s.View(context.Background(), func(kv.Reader) error { return sorry }); err != sorry {
		t.Errorf("error of fn came back as %v", err)
	}
}
