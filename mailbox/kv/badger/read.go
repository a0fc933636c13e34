package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4" // the embedded store

	"pecgate/mailbox/kv"
)

// checkEvery is after how many keys a scan looks whether ctx has ended.
const checkEvery = 64

// reader reads one state of badger under up to two overlays: the writes of the
// Update itself, then those of the Updates before it in the fold.
type reader struct {
	ctx   context.Context
	txn   *badger.Txn
	own   *overlay // nil in View
	fold  *overlay // nil in View
	ended bool
}

var _ kv.Reader = (*reader)(nil)

func (r *reader) Get(key []byte) ([]byte, error) {
	if r.ended {
		return nil, kv.ErrClosed
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	for _, o := range []*overlay{r.own, r.fold} {
		if o == nil {
			continue
		}
		if at, found := o.find(key); found {
			if o.items[at].deleted {
				return nil, kv.ErrNotFound
			}
			return append([]byte{}, o.items[at].value...), nil
		}
	}
	item, err := r.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, kv.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("kv: read a record: %w", err)
	}
	value, err := item.ValueCopy([]byte{})
	if err != nil {
		return nil, fmt.Errorf("kv: read a record: %w", err)
	}
	return value, nil
}

func (r *reader) Scan(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	if r.ended {
		return kv.ErrClosed
	}
	it := r.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	it.Seek(later(prefix, from))
	return r.walk(it, prefix, r.pending(prefix, from), false, fn)
}

func (r *reader) ScanBack(prefix []byte, fn func(key, value []byte) (bool, error)) error {
	if r.ended {
		return kv.ErrClosed
	}
	// No Prefix here: the search begins at the first key behind it.
	it := r.txn.NewIterator(badger.IteratorOptions{Reverse: true})
	defer it.Close()
	end := successor(prefix)
	if end == nil {
		end = []byte(own)
	}
	it.Seek(end)
	if it.Valid() && bytes.Equal(it.Item().Key(), end) {
		it.Next()
	}
	pending := r.pending(prefix, nil)
	slices.Reverse(pending)
	return r.walk(it, prefix, pending, true, fn)
}

// pending gives the writes a scan must show or hide, in ascending order.
func (r *reader) pending(prefix, from []byte) []item {
	if r.own == nil {
		return nil
	}
	return merge(r.own.within(prefix, from), r.fold.within(prefix, from))
}

// walk shows what the iterator and the pending writes have together. Both are
// in the same order; for equal keys the pending write counts.
func (r *reader) walk(it *badger.Iterator, prefix []byte, pending []item, back bool, fn func(key, value []byte) (bool, error)) error {
	for n := 0; ; n++ {
		if n%checkEvery == 0 {
			if err := r.ctx.Err(); err != nil {
				return err
			}
		}
		stored := it.ValidForPrefix(prefix) && !bytes.HasPrefix(it.Item().Key(), []byte(own))
		if !stored && len(pending) == 0 {
			return nil
		}
		order := 1 // the pending one comes first when negative
		switch {
		case !stored:
			order = -1
		case len(pending) > 0:
			order = bytes.Compare(pending[0].key, it.Item().Key())
			if back {
				order = -order
			}
		}
		more, err := true, error(nil)
		if order <= 0 {
			p := pending[0]
			pending = pending[1:]
			if order == 0 {
				it.Next()
			}
			if !p.deleted {
				more, err = fn(p.key, p.value)
			}
		} else {
			more, err = show(it.Item(), fn)
			it.Next()
		}
		if err != nil || !more {
			return err
		}
	}
}

// show gives fn a stored record without copying it.
func show(item *badger.Item, fn func(key, value []byte) (bool, error)) (more bool, err error) {
	var answer error
	err = item.Value(func(value []byte) error {
		more, answer = fn(item.Key(), value)
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("kv: read a record: %w", err)
	}
	return more, answer
}
