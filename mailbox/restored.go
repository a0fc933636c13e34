package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"pecgate/mailbox/audit"
)

// restoredMark is the record n/ restored: the records are those of a backup, or
// were made anew from the segments, so they do not know what was done after
// that. The steps follow each other, each one takes the step before it away.
type restoredMark struct {
	At   time.Time    `json:"at"`   // when the records were put back
	From time.Time    `json:"from"` // the state that they are of; zero: made anew
	Step restoredStep `json:"step"`
	By   string       `json:"by,omitempty"`   // who did it: user and process
	Base uint32       `json:"base,omitempty"` // every UIDVALIDITY is at least this, once Step is past stepOpen
}

type restoredStep string

const (
	stepOpen  restoredStep = "open"  // for Open: UIDVALIDITY, audit log
	stepRelay restoredStep = "relay" // for the relay: queue, cursors, receipts
	stepDone  restoredStep = "done"  // kept, to be told
)

// Restored tells when the records were put back from a backup (or made anew
// from the segments), the last time; a zero time: never. pending says that the
// relay has not yet held what the records call unsent: nothing may be sent
// before.
func (tx *Tx) Restored() (at time.Time, pending bool, err error) {
	m, err := tx.restored()
	return m.At, m.Step == stepOpen || m.Step == stepRelay, err
}

// RestoredDone says that the relay has held what the records call unsent and
// forgotten how far it had fetched. Without a mark it does nothing.
func (tx *Tx) RestoredDone() error {
	m, err := tx.restored()
	if err != nil || m.Step != stepRelay {
		return err
	}
	m.Step = stepDone
	return tx.putJSON(key("n", "restored"), m)
}

func (tx *Tx) restored() (m restoredMark, err error) {
	if err = tx.getJSON(key("n", "restored"), &m); errors.Is(err, ErrNotFound) {
		return restoredMark{}, nil
	}
	return m, err
}

// markRestored begins the steps. It is written with, or right after, the last
// of the records, before anybody can open the store.
func (tx *Tx) markRestored(from time.Time) error { return tx.markRestoredBy(from, "") }

func (tx *Tx) markRestoredBy(from time.Time, by string) error {
	return tx.putJSON(key("n", "restored"), restoredMark{At: tx.now.UTC(), From: from.UTC(), Step: stepOpen, By: by})
}

// startAudit begins the audit log. Records that were put back may be older than
// the file of heads, or have no log at all: then the file is made anew, and the
// one that was there is kept.
func (s *Store) startAudit(ctx context.Context) error {
	err := s.audit.Start(ctx, s.records)
	if !errors.Is(err, audit.ErrRolledBack) && !errors.Is(err, audit.ErrHeadsMissing) && !errors.Is(err, audit.ErrHead) {
		return err
	}
	var m restoredMark
	verr := s.View(ctx, func(tx *Tx) (err error) { m, err = tx.restored(); return err })
	if verr != nil || m.Step != stepOpen {
		return errors.Join(err, verr)
	}
	return s.audit.Renew(ctx, s.records)
}

// finishRestore does what the first Open owes to records that were put back:
// clients must read all folders anew, no backup folder of before may be written
// on, and the audit log says what happened, under a signed head. It may be
// interrupted anywhere and is done again then.
func (s *Store) finishRestore(ctx context.Context) error {
	var m restoredMark
	err := s.View(ctx, func(tx *Tx) (err error) { m, err = tx.restored(); return err })
	if err != nil || m.Step != stepOpen {
		return err
	}
	if err := s.renewViews(ctx); err != nil {
		return fmt.Errorf("finish the restore: %w", err)
	}
	err = s.Update(ctx, func(tx *Tx) error {
		m, err := tx.restored()
		if err != nil {
			return err
		}
		m.Step = stepRelay
		line := AuditLine{Actor: "store", Event: "restored", Result: "done", From: m.By, More: map[string]string{"at": m.At.Format(time.RFC3339)}}
		if m.From.IsZero() {
			line.Reason = "made anew from the messages"
		} else {
			line.Reason = "put back from a backup: what was done after it is not in this log"
			line.More["backup"] = m.From.Format(time.RFC3339)
		}
		return errors.Join(tx.w.Delete(key("n", "backups")), tx.putJSON(key("n", "restored"), m), tx.Audit(line))
	})
	if err != nil {
		return fmt.Errorf("finish the restore: %w", err)
	}
	return s.SignAudit(ctx)
}

// What was lost may have given UIDVALIDITY values that these records do not
// know: one for each second, or more when many folders were made at once. A
// leap beyond all that, of another width each time, since one backup may be
// restored twice. The number has room for 2,000 of them.
const (
	leapLeast = 1 << 16
	leapMore  = 1 << 20
)

// renewViews gives every folder a UIDVALIDITY that no client has seen and
// forgets under which each person saw it. In bounded pieces: it goes on where
// it was interrupted.
func (s *Store) renewViews(ctx context.Context) error {
	var base uint32
	err := s.Update(ctx, func(tx *Tx) error {
		m, err := tx.restored()
		if err != nil || m.Base != 0 {
			base = m.Base
			return err
		}
		last, err := tx.nextUIDValidity()
		if err != nil {
			return err
		}
		m.Base = last + leapLeast + rand.Uint32N(leapMore)
		base = m.Base
		return errors.Join(
			tx.w.Put(key("n", "uidvalidity"), binary.BigEndian.AppendUint32(nil, base)),
			tx.putJSON(key("n", "restored"), m))
	})
	if err != nil {
		return err
	}
	for from := key("f"); from != nil; {
		var next []byte
		if err := s.Update(ctx, func(tx *Tx) (err error) { next, err = tx.renewFolders(from, base); return err }); err != nil {
			return fmt.Errorf("give folders a new UIDVALIDITY: %w", err)
		}
		from = next
	}
	for _, views := range []string{"v", "av"} {
		if err := s.clear(ctx, key(views)); err != nil {
			return fmt.Errorf("forget the views of folders: %w", err)
		}
	}
	return nil
}

// renewFolders does so for the next folders from a key on; next is nil at the
// end.
func (tx *Tx) renewFolders(from []byte, base uint32) (next []byte, err error) {
	var ids []FolderID
	err = tx.r.Scan(key("f"), from, func(k, _ []byte) (bool, error) {
		if len(ids) == batch {
			next = append([]byte(nil), k...)
			return false, nil
		}
		ids = append(ids, FolderID(tailUint64(k)))
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		f, err := tx.folderByID(id)
		if err != nil {
			return nil, err
		}
		if f.UIDValidity >= base {
			continue // done before it was interrupted
		}
		if f.UIDValidity, err = tx.nextUIDValidity(); err != nil {
			return nil, err
		}
		if err := tx.putFolder(f); err != nil {
			return nil, err
		}
	}
	return next, nil
}
