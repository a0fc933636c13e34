package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/kv/badger"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)

// house is a log in a real store, with its key and its file of heads.
type house struct {
	*Log
	t     testing.TB
	store *badger.Store
	dir   string
}

func newHouse(t testing.TB) *house {
	t.Helper()
	dir := t.TempDir()
	s, err := badger.Open(badger.Options{Dir: filepath.Join(dir, "records")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &house{t: t, store: s, dir: dir}
	h.Log = h.log("a/", h.key())
	return h
}

func (h *house) key() *Key {
	h.t.Helper()
	k, err := OpenKey(filepath.Join(h.dir, "audit.key"), "pecgate.example")
	if err != nil {
		h.t.Fatal(err)
	}
	return k
}

// log is another view of the same folder.
func (h *house) log(prefix string, k *Key) *Log {
	h.t.Helper()
	now := noon
	l, err := New(Options{Prefix: []byte(prefix), Key: k, File: filepath.Join(h.dir, "audit.heads"), Now: func() time.Time {
		now = now.Add(time.Minute)
		return now
	}})
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

func (h *house) update(fn func(kv.Txn) error) {
	h.t.Helper()
	if err := h.store.Update(context.Background(), fn); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) view(fn func(kv.Reader) error) {
	h.t.Helper()
	if err := h.store.View(context.Background(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// entry is one like those of the appliance.
func entry(n int) Entry {
	return Entry{
		At: noon.Add(time.Duration(n) * time.Second), Actor: "mario", Event: "submission", Box: "protocollo@pec.example",
		Subject: fmt.Sprintf("S%08d", n), Result: "queued", From: "192.0.2.7:50123",
		More: map[string]string{"pin": "right", "edits": "pin cut, receipt type set"},
	}
}

// fill appends n entries, a hundred in a transaction.
func (h *house) fill(n int) {
	h.t.Helper()
	for done := 0; done < n; {
		some := min(100, n-done)
		h.update(func(tx kv.Txn) error {
			for range some {
				size, err := h.Size(tx)
				if err != nil {
					return err
				}
				if _, err := h.Append(tx, entry(int(size))); err != nil {
					return err
				}
			}
			return nil
		})
		done += some
	}
}

func (h *house) head() Head {
	h.t.Helper()
	head, err := h.Head(context.Background(), h.store)
	if err != nil {
		h.t.Fatal(err)
	}
	return head
}

func (h *house) verify() *Report {
	h.t.Helper()
	r, err := h.Verify(context.Background(), h.store, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// good fails the test when the log has a fault.
func (h *house) good() *Report {
	h.t.Helper()
	r := h.verify()
	if !r.OK() || r.Found > 0 {
		h.t.Fatalf("faults %v findings %v", r.Faults, r.Findings)
	}
	return r
}

// tampered is the report over the records as change leaves them, which are
// then as before. file is the file of heads; nil for the one that is there.
func (h *house) tampered(file []string, change func(tx kv.Txn) error) *Report {
	h.t.Helper()
	if file == nil {
		var err error
		if file, err = readHeads(h.opt.File); err != nil {
			h.t.Fatal(err)
		}
	}
	undo := errors.New("undo")
	var r *Report
	err := h.store.Update(context.Background(), func(tx kv.Txn) (err error) {
		if err := change(tx); err != nil {
			return err
		}
		if r, err = h.Log.verify(context.Background(), tx, &file, nil); err != nil {
			return err
		}
		return undo
	})
	if err != undo {
		h.t.Fatal(err)
	}
	return r
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
