package kv

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// Bounds of one step of ApplyBackup: what it puts and what it deletes are
// together below those of an Update.
const (
	stepPuts  = MaxUpdateKeys / 2
	stepBytes = MaxUpdateBytes / 2
	stepDrops = MaxUpdateKeys / 4
	stepKept  = 10 * MaxUpdateKeys // names only, not written
)

// ApplyBackup reads a backup and makes an empty store the state it holds, by
// way of update, in many steps: for implementations of Restore.
func ApplyBackup(ctx context.Context, r io.Reader, update func(context.Context, func(Txn) error) error) error {
	in := NewBackupReader(r)
	for {
		h, err := in.Part()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := applyPart(ctx, in, h.Since != 0, update); err != nil {
			return err
		}
	}
}

// step is a piece of a part: what the state has between two keys.
type step struct {
	after   []byte // key before it; empty: from the first key
	last    []byte // its own last key; nil: to the last key of all
	entries []BackupEntry
}

func applyPart(ctx context.Context, in *BackupReader, merge bool, update func(context.Context, func(Txn) error) error) error {
	var after []byte
	for {
		s, err := readStep(in, after)
		if err != nil {
			return err
		}
		for more := true; more; {
			err := update(ctx, func(tx Txn) error {
				var err error
				more, err = s.apply(tx, merge)
				return err
			})
			if err != nil {
				return err
			}
		}
		if s.last == nil {
			return nil
		}
		after = s.last
	}
}

// readStep gathers entries up to the bounds of a step or the end of the part.
func readStep(in *BackupReader, after []byte) (step, error) {
	s := step{after: after}
	puts, size, kept := 0, 0, 0
	for puts < stepPuts && size < stepBytes && kept < stepKept {
		e, err := in.Next()
		if err == io.EOF {
			s.last = nil
			return s, nil
		}
		if err != nil {
			return s, err
		}
		e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
		s.entries = append(s.entries, e)
		s.last = e.Key
		if e.Kept {
			kept++
		} else {
			puts, size = puts+1, size+len(e.Key)+len(e.Value)
		}
	}
	return s, nil
}

// apply makes the store between the step's keys what the step says. It answers
// true when it must run once more, since there was too much to delete.
func (s step) apply(tx Txn, merge bool) (again bool, err error) {
	if merge {
		if again, err = s.drop(tx); again || err != nil {
			return again, err
		}
	}
	for _, e := range s.entries {
		if e.Kept {
			continue
		}
		if err := tx.Put(e.Key, e.Value); err != nil {
			return false, err
		}
	}
	return false, nil
}

// drop deletes what is in the store and not in the step, and makes sure that
// what the step keeps is there.
func (s step) drop(tx Txn) (again bool, err error) {
	var from []byte
	if len(s.after) > 0 {
		from = append(bytes.Clone(s.after), 0)
	}
	left, drops := s.entries, 0
	err = tx.Scan(nil, from, func(key, _ []byte) (bool, error) {
		if s.last != nil && bytes.Compare(key, s.last) > 0 {
			return false, nil
		}
		for len(left) > 0 && bytes.Compare(left[0].Key, key) < 0 {
			if left[0].Kept {
				return false, errLost
			}
			left = left[1:]
		}
		if len(left) > 0 && bytes.Equal(left[0].Key, key) {
			left = left[1:]
			return true, nil
		}
		if drops++; drops > stepDrops {
			again = true
			return false, nil
		}
		return true, tx.Delete(key)
	})
	if err != nil || again {
		return again, err
	}
	for _, e := range left {
		if e.Kept {
			return false, errLost
		}
	}
	return false, nil
}

var errLost = fmt.Errorf("%w: an incremental part keeps a record that the parts before it do not have", ErrCorrupt)
