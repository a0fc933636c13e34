package audit

import (
	"context"
	"errors"
	"testing"

	"pecgate/mailbox/kv"
)

// BenchmarkAppend is the cost of one entry within a transaction, without the
// commit: a hundred are appended to a log of 10,000 and dropped.
func BenchmarkAppend(b *testing.B) {
	h := newHouse(b)
	h.fill(10_000)
	undo := errors.New("undo")
	for left := b.N; left > 0; left -= 100 {
		err := h.store.Update(context.Background(), func(tx kv.Txn) error {
			for i := range min(left, 100) {
				if _, err := h.Append(tx, entry(i)); err != nil {
					return err
				}
			}
			return undo
		})
		if err != undo {
			b.Fatal(err)
		}
	}
}

// counting counts what one entry writes.
type counting struct {
	kv.Txn
	reads, keys, bytes int
}

func (c *counting) Get(k []byte) ([]byte, error) { c.reads++; return c.Txn.Get(k) }
func (c *counting) Put(k, v []byte) error {
	c.keys++
	c.bytes += len(k) + len(v)
	return c.Txn.Put(k, v)
}

// TestCostOfAnEntry: three keys, and few reads however long the log is.
func TestCostOfAnEntry(t *testing.T) {
	h := newHouse(t)
	const entries = 256
	var all counting
	h.update(func(tx kv.Txn) error {
		all = counting{Txn: tx}
		for n := range entries {
			before := all
			if _, err := h.Append(&all, entry(n)); err != nil {
				return err
			}
			if keys, reads := all.keys-before.keys, all.reads-before.reads; keys != 3 || reads > 2+8 {
				t.Errorf("entry %d: %d keys, %d reads", n, keys, reads)
			}
		}
		return nil
	})
	if all.reads > 3*entries || all.bytes > 600*entries {
		t.Errorf("%d reads and %d bytes for %d entries", all.reads, all.bytes, entries)
	}
}

func BenchmarkHead(b *testing.B) {
	h := newHouse(b)
	h.fill(10_000)
	undo := errors.New("undo")
	for b.Loop() {
		err := h.store.Update(context.Background(), func(tx kv.Txn) error {
			if _, err := h.sign(tx); err != nil {
				return err
			}
			return undo
		})
		if err != undo {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify100000(b *testing.B) {
	h := newHouse(b)
	for range 10 {
		h.fill(10_000)
		h.head()
	}
	for b.Loop() {
		if r := h.verify(); !r.OK() || r.Size != 100_000 {
			b.Fatalf("%+v", r)
		}
	}
}

func BenchmarkProve(b *testing.B) {
	h := newHouse(b)
	h.fill(10_000)
	head := h.head()
	n := int64(0)
	for b.Loop() {
		n = (n + 7919) % head.Size
		h.view(func(r kv.Reader) error {
			p, err := h.Prove(r, head, n)
			if err == nil {
				_, _, err = p.Check(h.opt.Key.Public())
			}
			return err
		})
	}
}
