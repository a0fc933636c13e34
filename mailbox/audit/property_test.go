package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid" // histories of a log, and one harm to each

	"pecgate/mailbox/kv"
)

// TestS7_AnyHistoryAnyHarm: whatever a log lived through, it is good; and
// whatever single record or byte of the file of heads is harmed, it is found.
func TestS7_AnyHistoryAnyHarm(t *testing.T) {
	h := newHouse(t)
	k := h.opt.Key
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		file := filepath.Join(h.dir, fmt.Sprint("heads", runs))
		now := noon
		open := func() *Log {
			return must[*Log](h.t)(New(Options{
				Prefix: fmt.Appendf(nil, "p%d/", runs), Key: k, File: file,
				Now: func() time.Time { now = now.Add(time.Second); return now },
			}))
		}
		l := open()
		ctx := context.Background()
		check := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		removed, heads := map[int64]bool{}, 0
		size := int64(0)
		check(l.Start(ctx, h.store))
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"append", "append", "head", "remove", "restart"}).Draw(t, "step") {
			case "append":
				n := rapid.IntRange(1, 40).Draw(t, "entries")
				check(h.store.Update(ctx, func(tx kv.Txn) error {
					for i := range n {
						now = now.Add(time.Millisecond)
						got, err := l.Append(tx, Entry{At: now, Event: "e", Actor: rapid.String().Draw(t, "actor")})
						if err != nil || got < size+int64(i) {
							return errors.Join(err, fmt.Errorf("number %d", got))
						}
					}
					return nil
				}))
				size += int64(n)
			case "head":
				head, err := l.Head(ctx, h.store)
				check(err)
				heads = int(head.Number) + 1
			case "remove":
				if size == 0 {
					continue
				}
				numbers := rapid.SliceOfNDistinct(rapid.Int64Range(0, size-1), 1, -1, rapid.ID).Draw(t, "numbers")
				slices.Sort(numbers)
				err := h.store.Update(ctx, func(tx kv.Txn) error {
					_, err := l.Remove(tx, numbers, Entry{At: now})
					return err
				})
				if errors.Is(err, ErrRemoval) { // one of them tells of a removal
					continue
				}
				check(err)
				for _, n := range numbers {
					removed[n] = true
				}
				size++
			case "restart":
				l = open()
				check(l.Start(ctx, h.store))
			}
		}
		_, err := l.Head(ctx, h.store)
		check(err)
		r, err := l.Verify(ctx, h.store, nil)
		check(err)
		if !r.OK() || r.Found > 0 || r.Size != size || r.Removed != int64(len(removed)) || r.Covered != size || r.Heads < int64(heads) {
			t.Fatalf("%d entries, %d removed, %d heads: %+v", size, len(removed), heads, r)
		}
		harm(t, h, l)
	})
}

// harm does one thing to a record or to the file of heads, and takes it back.
func harm(t *rapid.T, h *house, l *Log) {
	ctx := context.Background()
	var keys, values [][]byte
	err := h.store.View(ctx, func(r kv.Reader) error {
		return r.Scan(l.opt.Prefix, nil, func(k, v []byte) (bool, error) {
			keys, values = append(keys, bytes.Clone(k)), append(values, bytes.Clone(v))
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	one := rapid.IntRange(0, len(keys)-1).Draw(t, "record")
	other := rapid.IntRange(0, len(keys)-1).Draw(t, "other record")
	at := rapid.IntRange(0, len(values[one])-1).Draw(t, "byte")
	bit := byte(1) << rapid.IntRange(0, 7).Draw(t, "bit")
	flipped := bytes.Clone(values[one])
	flipped[at] ^= bit
	file, err := os.ReadFile(l.opt.File)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := readHeads(l.opt.File)
	if err != nil {
		t.Fatal(err)
	}
	undo := errors.New("undo")
	for name, change := range map[string]func(tx kv.Txn) error{
		"flip":   func(tx kv.Txn) error { return tx.Put(keys[one], flipped) },
		"remove": func(tx kv.Txn) error { return tx.Delete(keys[one]) },
		"cut":    func(tx kv.Txn) error { return tx.Put(keys[one], values[one][:at]) },
		"longer": func(tx kv.Txn) error { return tx.Put(keys[one], append(bytes.Clone(values[one]), bit)) },
		"copy":   func(tx kv.Txn) error { return tx.Put(keys[other], values[one]) },
		"beside": func(tx kv.Txn) error { return tx.Put(append(bytes.Clone(keys[one]), bit), values[one]) },
	} {
		if name == "copy" && one == other || name == "beside" && len(keys[one]) == len(l.prefix[kindState]) {
			continue // nothing is changed; or a key that is never read
		}
		var r *Report
		err := h.store.Update(ctx, func(tx kv.Txn) (err error) {
			if err := change(tx); err != nil {
				return err
			}
			if r, err = l.verify(ctx, tx, &notes, nil); err != nil {
				return err
			}
			return undo
		})
		if err != undo {
			t.Fatal(err)
		}
		if r.OK() {
			t.Fatalf("%s of %q by %q: not found", name, keys[one], keys[other])
		}
	}
	at = rapid.IntRange(0, len(file)-1).Draw(t, "byte of the file")
	harmed := bytes.Clone(file)
	harmed[at] ^= bit
	if err := os.WriteFile(l.opt.File, harmed, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := l.Verify(ctx, h.store, nil); err != nil || r.OK() && r.Found == 0 {
		t.Fatalf("byte %d of the file of heads: %+v %v", at, r, err)
	}
}
