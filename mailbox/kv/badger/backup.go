package badger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/dgraph-io/badger/v4" // its iterator

	"pecgate/mailbox/kv"
)

// A position, as Backup gives it, is the number of a commit below the first two
// bytes of the store's id: those of another store, or of this one before it was
// restored, are known as such.
const positionBits = 48

func (s *Store) position(seq uint64) uint64 {
	return uint64(binary.BigEndian.Uint16(s.journal.id[:]))<<positionBits | seq
}

// Backup writes one state of the store; see kv.Store. It does not use badger's
// own stream, of which every goroutine reads another state, whose end cannot be
// told from a cut, and in which what was deleted comes back when badger has
// removed the trace. It first reads all tables again, since badger would leave
// out what it cannot read.
func (s *Store) Backup(ctx context.Context, w io.Writer, since uint64) (next uint64, err error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.calls.Done()
	at, release := s.look()
	defer release()
	from := since & (1<<positionBits - 1)
	if since != 0 && (since != s.position(from) || from > at) {
		return 0, fmt.Errorf("backup since %d: %w", since, kv.ErrSince)
	}
	if err := s.checkLive(ctx); err != nil {
		return 0, fmt.Errorf("kv: backup: check the tables: %w", err)
	}
	next = s.position(at)
	out, err := kv.NewBackupWriter(w, kv.BackupHeader{Store: s.journal.id, Since: since, Next: next})
	if err != nil {
		return 0, err
	}
	t := s.db.NewTransactionAt(at, false)
	defer t.Discard()
	it := t.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	n := 0
	for it.Rewind(); it.Valid() && string(it.Item().Key()) < own; it.Next() {
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		item := it.Item()
		if since != 0 && item.Version() <= from {
			err = out.Keep(item.Key())
		} else {
			_, err = show(item, func(key, value []byte) (bool, error) { return true, out.Put(key, value) })
		}
		if err != nil {
			return 0, err
		}
	}
	return next, out.Close()
}

// checkLive reads all tables while the store is in use. Damage is the end of
// the store; it is looked at twice, since badger changes files meanwhile.
func (s *Store) checkLive(ctx context.Context) error {
	_, err := checkTables(ctx, s.dir, badger.ManifestFilename, nil, true)
	if errors.Is(err, kv.ErrCorrupt) {
		_, err = checkTables(ctx, s.dir, badger.ManifestFilename, nil, true)
	}
	if errors.Is(err, kv.ErrCorrupt) {
		return s.fail(err)
	}
	return err
}

// fail ends the store: what it would answer from now on cannot be believed.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = fmt.Errorf("%w: %w", kv.ErrFailed, err)
	}
	return s.failed
}

// Restore fills an empty store; see kv.Store. A record of its own tells from
// the first commit on that it is not finished.
func (s *Store) Restore(ctx context.Context, r io.Reader) error {
	err := s.Update(ctx, func(tx kv.Txn) error {
		full := false
		err := tx.Scan(nil, nil, func(_, _ []byte) (bool, error) {
			full = true
			return false, nil
		})
		if err == nil && full {
			err = fmt.Errorf("restore: %w", kv.ErrNotEmpty)
		}
		if err != nil {
			return err
		}
		return tx.(*txn).set(item{key: []byte(restoreKey)})
	})
	if err != nil {
		return err
	}
	if err := kv.ApplyBackup(ctx, r, s.Update); err != nil {
		return fmt.Errorf("kv: restore: %w", err)
	}
	return s.Update(ctx, func(tx kv.Txn) error {
		return tx.(*txn).set(item{key: []byte(restoreKey), deleted: true})
	})
}
