package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pecgate/mailbox/kv"
)

func readYourWrites(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "a", "1", "b", "2", "empty", "")
	update(t, s, func(tx kv.Txn) error {
		if err := expectAll(tx, "a", "1", "b", "2", "c", "<none>", "empty", ""); err != nil {
			return err
		}
		err := errors.Join(
			tx.Put([]byte("a"), []byte("first")), tx.Put([]byte("a"), []byte("new")),
			tx.Delete([]byte("b")), tx.Put([]byte("c"), []byte("3")),
			tx.Delete([]byte("d")),
			tx.Put([]byte("e"), nil), tx.Delete([]byte("e")),
			tx.Delete([]byte("f")), tx.Put([]byte("f"), []byte("again")))
		if err != nil {
			return err
		}
		return expectAll(tx, "a", "new", "b", "<none>", "c", "3", "d", "<none>", "e", "<none>", "f", "again")
	})
	view(t, s, func(r kv.Reader) error {
		return expectAll(r, "a", "new", "b", "<none>", "c", "3", "d", "<none>", "e", "<none>", "f", "again", "empty", "")
	})
}

// valuesAreCopies: nothing the caller does to its slices, before or after,
// reaches the store.
func valuesAreCopies(t *testing.T, open Open) {
	s := store(t, open)
	key, value := []byte("key"), []byte("value")
	update(t, s, func(tx kv.Txn) error {
		copy(key, "key")
		copy(value, "value")
		if err := tx.Put(key, value); err != nil {
			return err
		}
		copy(key, "xxx")
		copy(value, "yyyyy")
		got, err := tx.Get([]byte("key"))
		if err != nil {
			return err
		}
		clear(got)
		return expectAll(tx, "key", "value", "xxx", "<none>")
	})
	view(t, s, func(r kv.Reader) error {
		got, err := r.Get([]byte("key"))
		if err != nil {
			return err
		}
		clear(got)
		return expectAll(r, "key", "value", "xxx", "<none>")
	})
	update(t, s, func(tx kv.Txn) error {
		gone := []byte("key")
		err := tx.Delete(gone)
		clear(gone)
		return err
	})
	view(t, s, func(r kv.Reader) error { return expect(r, "key", "<none>") })
}

func reopen(t *testing.T, open Open) {
	s := open(t)
	fill(t, s, "stays", "1", "goes", "2", "empty", "")
	update(t, s, func(tx kv.Txn) error {
		return errors.Join(tx.Delete([]byte("goes")), tx.Put([]byte("big"), make([]byte, kv.MaxRecord-3)))
	})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t)
		view(t, s, func(r kv.Reader) error {
			b, err := r.Get([]byte("big"))
			if err != nil || len(b) != kv.MaxRecord-3 {
				return fmt.Errorf("largest record: %d bytes, %w", len(b), err)
			}
			return expectAll(r, "stays", "1", "goes", "<none>", "empty", "")
		})
		fill(t, s, "more", "3")
	}
	view(t, s, func(r kv.Reader) error { return expect(r, "more", "3") })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func tooBig(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "before", "1")
	for name, fn := range map[string]func(kv.Txn) error{
		"record": func(tx kv.Txn) error { return tx.Put([]byte("k"), make([]byte, kv.MaxRecord)) },
		"key":    func(tx kv.Txn) error { return tx.Put(make([]byte, kv.MaxKey+1), nil) },
		"keys": func(tx kv.Txn) error {
			for n := range kv.MaxUpdateKeys + 1 {
				if err := tx.Put(fmt.Appendf(nil, "n%d", n), nil); err != nil {
					return err
				}
			}
			return nil
		},
		"bytes": func(tx kv.Txn) error {
			for n := range kv.MaxUpdateBytes/60000 + 1 {
				if err := tx.Put(fmt.Appendf(nil, "n%d", n), make([]byte, 60000)); err != nil {
					return err
				}
			}
			return nil
		},
		"an error fn passes over": func(tx kv.Txn) error {
			tx.Put([]byte("n"), nil)
			tx.Put([]byte("k"), make([]byte, kv.MaxRecord))
			tx.Put([]byte("n1"), nil)
			return nil
		},
	} {
		if err := s.Update(context.Background(), fn); !errors.Is(err, kv.ErrTooBig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	view(t, s, func(r kv.Reader) error { return expectList(r, "", "", "before=1 ") })
	// Exactly at the bounds everything is taken; a key written twice counts once.
	update(t, s, func(tx kv.Txn) error {
		for range 2 {
			for n := range kv.MaxUpdateKeys {
				if err := tx.Put(fmt.Appendf(nil, "k%04d", n), []byte("v")); err != nil {
					return err
				}
			}
		}
		return nil
	})
	update(t, s, func(tx kv.Txn) error {
		for n := range kv.MaxUpdateBytes / kv.MaxRecord {
			key := fmt.Appendf(nil, "b%03d", n)
			if err := tx.Put(key, bytes.Repeat([]byte("x"), kv.MaxRecord-len(key))); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(r kv.Reader) error {
		n := 0
		err := r.Scan(nil, nil, func(k, v []byte) (bool, error) { n++; return true, nil })
		if want := 1 + kv.MaxUpdateKeys + kv.MaxUpdateBytes/kv.MaxRecord; n != want {
			return fmt.Errorf("%d records, want %d", n, want)
		}
		return err
	})
}

func badKeys(t *testing.T, open Open) {
	s := store(t, open)
	for name, err := range map[string]error{
		"put":    s.Update(context.Background(), func(tx kv.Txn) error { return tx.Put(nil, []byte("v")) }),
		"delete": s.Update(context.Background(), func(tx kv.Txn) error { return tx.Delete([]byte{}) }),
		"get": s.View(context.Background(), func(r kv.Reader) error {
			_, err := r.Get(nil)
			return err
		}),
	} {
		if !errors.Is(err, kv.ErrKey) {
			t.Errorf("%s with an empty key: %v", name, err)
		}
	}
	// Every single byte is a good key, also those that look like signs.
	update(t, s, func(tx kv.Txn) error {
		for c := range 256 {
			if err := tx.Put([]byte{byte(c)}, []byte{byte(c)}); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(r kv.Reader) error {
		n := 0
		err := r.Scan(nil, nil, func(k, v []byte) (bool, error) {
			if len(k) != 1 || int(k[0]) != n || !bytes.Equal(k, v) {
				return false, fmt.Errorf("key %x at place %d", k, n)
			}
			n++
			return true, nil
		})
		if n != 256 {
			return fmt.Errorf("%d keys, %w", n, err)
		}
		return err
	})
}

func endedTransaction(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "a", "1")
	var old kv.Reader
	var oldTxn kv.Txn
	view(t, s, func(r kv.Reader) error { old = r; return nil })
	update(t, s, func(tx kv.Txn) error { oldTxn = tx; return tx.Put([]byte("b"), nil) })
	none := func(k, v []byte) (bool, error) { return true, nil }
	for name, err := range map[string]error{
		"get":       second(old.Get([]byte("a"))),
		"scan":      old.Scan(nil, nil, none),
		"scan back": old.ScanBack(nil, none),
		"txn get":   second(oldTxn.Get([]byte("a"))),
		"put":       oldTxn.Put([]byte("c"), nil),
		"delete":    oldTxn.Delete([]byte("a")),
	} {
		if !errors.Is(err, kv.ErrClosed) {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
	view(t, s, func(r kv.Reader) error { return expectList(r, "", "", "a=1 b= ") })
}

func second(_ []byte, err error) error { return err }

func now(t *testing.T, open Open) {
	s := store(t, open)
	first := s.Now()
	if first.IsZero() || s.Now().Before(first.Add(-time.Minute)) {
		t.Errorf("the store's time goes from %v to %v", first, s.Now())
	}
}
