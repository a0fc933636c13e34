package badger

import (
	"bytes"
	"fmt"

	"pecgate/mailbox/kv"
)

// txn is what fn of an Update gets.
type txn struct {
	reader
	err error // the first of Put or Delete
}

var _ kv.Txn = (*txn)(nil)

func (t *txn) Put(key, value []byte) error {
	if len(key)+len(value) > kv.MaxRecord {
		return t.fail(fmt.Errorf("record of %d bytes: %w", len(key)+len(value), kv.ErrTooBig))
	}
	if err := t.check(key); err != nil {
		return err
	}
	return t.set(item{key: bytes.Clone(key), value: append([]byte{}, value...)})
}

func (t *txn) Delete(key []byte) error {
	if err := t.check(key); err != nil {
		return err
	}
	return t.set(item{key: bytes.Clone(key), deleted: true})
}

// check refuses keys that are not for callers.
func (t *txn) check(key []byte) error {
	if t.ended {
		return kv.ErrClosed
	}
	if err := checkKey(key); err != nil {
		return t.fail(err)
	}
	return nil
}

func (t *txn) set(i item) error {
	if t.ended {
		return kv.ErrClosed
	}
	if t.err != nil {
		return t.err
	}
	t.own.set(i)
	if len(t.own.items) > kv.MaxUpdateKeys || t.own.bytes > kv.MaxUpdateBytes {
		return t.fail(fmt.Errorf("update of %d keys and %d bytes: %w", len(t.own.items), t.own.bytes, kv.ErrTooBig))
	}
	return nil
}

func (t *txn) fail(err error) error {
	if t.err == nil {
		t.err = err
	}
	return t.err
}
