package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pecgate/mailbox/kv"
)

// Copied pairs the UIDs of a COPY or MOVE (RFC 4315).
type Copied struct {
	UIDValidity uint32 // of the destination, as the viewer sees it
	From, To    []UID
}

// Copy puts the messages of uids that the viewer sees into a folder of the
// viewer's own: all of them or, after an error, none. Flags come along;
// keywords of the gateway do not.
func (s *Store) Copy(ctx context.Context, from FolderID, v Viewer, uids []UID, to FolderKey) (Copied, error) {
	done, dst, err := s.transfer(ctx, from, v, uids, to, false)
	if err != nil && len(done.To) > 0 {
		// Nobody deletes what never was there: no audit line.
		_, undo := s.remove(context.WithoutCancel(ctx), dst, Viewer{Person: v.Person}, done.To, false)
		return Copied{}, errors.Join(err, undo)
	}
	return done, err
}

// Move is Copy and Remove of each message in one transaction. After an error
// some messages have moved and the others are where they were. For all they are
// removed only by a move to the trash: elsewhere a person puts them for
// themselves.
func (s *Store) Move(ctx context.Context, from FolderID, v Viewer, uids []UID, to FolderKey) (Copied, error) {
	done, _, err := s.transfer(ctx, from, v, uids, to, true)
	return done, err
}

func (s *Store) transfer(ctx context.Context, from FolderID, v Viewer, uids []UID, to FolderKey, move bool) (out Copied, dst FolderID, err error) {
	if to.Shared() {
		return Copied{}, 0, ErrRefused
	}
	if dst, err = s.EnsureFolder(ctx, to); err != nil {
		return Copied{}, 0, err
	}
	if out.UIDValidity, err = s.viewValidity(ctx, dst, Viewer{Person: v.Person}); err != nil {
		return Copied{}, 0, err
	}
	v.Delete = v.Delete && to.Role == RoleTrash
	for size := batch / 4; len(uids) > 0; {
		size = min(size, len(uids))
		var done Copied
		err := s.Update(ctx, func(tx *Tx) (err error) {
			done, err = tx.transfer(ctx, from, v, uids[:size], dst, move)
			return err
		})
		if errors.Is(err, kv.ErrTooBig) && size > 1 {
			size /= 2 // messages with very many parts
			continue
		}
		if err != nil {
			return out, dst, err
		}
		if move && v.Delete {
			if err := s.forget(ctx, from, done.From); err != nil {
				return out, dst, err
			}
		}
		out.From = append(out.From, done.From...)
		out.To = append(out.To, done.To...)
		uids = uids[size:]
	}
	return out, dst, nil
}

func (tx *Tx) transfer(ctx context.Context, from FolderID, v Viewer, uids []UID, to FolderID, move bool) (Copied, error) {
	var out Copied
	var went removals
	src, err := tx.folderByID(from)
	if err != nil {
		return out, err
	}
	dst := src
	if to != from {
		if dst, err = tx.folderByID(to); err != nil {
			return out, err
		}
	}
	for _, uid := range uids {
		e, err := tx.visible(src.ID, v, uid)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return out, err
		}
		to, err := tx.copyEntry(Place{Folder: src.ID, UID: uid}, v, e, dst)
		if err != nil {
			return out, err
		}
		if move {
			if err := tx.removeFrom(src, v, uid, e, &went); err != nil {
				return out, err
			}
		}
		out.From = append(out.From, uid)
		out.To = append(out.To, to)
	}
	went.own, went.hidden = append(went.own, went.hidden...), nil
	if err := tx.auditRemovals(ctx, src, v.Person, &went, "moved"); err != nil {
		return out, err
	}
	if err := tx.putFolder(src); err != nil || dst == src {
		return out, err
	}
	return out, tx.putFolder(dst)
}

// copyEntry files the message of an entry into a folder of the viewer's own,
// whose record the caller writes.
func (tx *Tx) copyEntry(from Place, v Viewer, e entry, dst *folder) (UID, error) {
	m, err := tx.Message(e.Message)
	if err != nil {
		return 0, err
	}
	m.Date = e.Date
	bits, err := tx.personal(from.Folder, v, from.UID, e)
	if err != nil {
		return 0, err
	}
	common, err := tx.common(from.Folder, from.UID)
	if err != nil {
		return 0, err
	}
	common = slices.DeleteFunc(common, gatewayOwned)
	return tx.file(dst, m, Filing{Audience: v.Person, For: v.Person, Flags: flagNames(bits, nil), Keywords: common})
}

// Remove takes entries away from a viewer's folder: from a folder of their own
// for good, from a shared one for this person only, or for all where the viewer
// may delete. The messages stay in the store. It returns the UIDs that went.
func (s *Store) Remove(ctx context.Context, id FolderID, v Viewer, uids []UID) ([]UID, error) {
	return s.remove(ctx, id, v, uids, true)
}

func (s *Store) remove(ctx context.Context, id FolderID, v Viewer, uids []UID, audited bool) ([]UID, error) {
	var out []UID
	for part := range slices.Chunk(uids, batch/2) {
		var done []UID
		shared := false
		err := s.Update(ctx, func(tx *Tx) error {
			done = done[:0]
			var went removals
			f, err := tx.folderByID(id)
			if err != nil {
				return err
			}
			shared = f.Key.Shared()
			for _, uid := range part {
				e, err := tx.visible(f.ID, v, uid)
				if errors.Is(err, ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				if err := tx.removeFrom(f, v, uid, e, &went); err != nil {
					return err
				}
				done = append(done, uid)
			}
			if audited {
				if err := tx.auditRemovals(ctx, f, v.Person, &went, "expunged"); err != nil {
					return err
				}
			}
			return tx.putFolder(f)
		})
		if err != nil {
			return out, err
		}
		if shared && v.Delete {
			if err := s.forget(ctx, id, done); err != nil {
				return out, err
			}
		}
		out = append(out, done...)
	}
	return out, nil
}

// forget clears what people had at entries that were removed for all. It is
// unreachable already.
func (s *Store) forget(ctx context.Context, id FolderID, uids []UID) error {
	places := make([]Place, len(uids))
	for i, uid := range uids {
		places[i] = Place{Folder: id, UID: uid}
	}
	if err := s.clearPersonal(ctx, places...); err != nil {
		return fmt.Errorf("clear removed entries: %w", err)
	}
	return nil
}

// removals are the messages of entries that went, by what became of them.
type removals struct{ own, hidden, forAll []MessageID }

func (tx *Tx) removeFrom(f *folder, v Viewer, uid UID, e entry, went *removals) error {
	switch {
	case !f.Key.Shared():
		went.own = append(went.own, e.Message)
		return tx.drop(f, uid, e)
	case v.Delete:
		went.forAll = append(went.forAll, e.Message)
		return tx.drop(f, uid, e)
	}
	went.hidden = append(went.hidden, e.Message)
	return tx.hide(f, v.Person, uid)
}

func (tx *Tx) drop(f *folder, uid UID, e entry) error {
	if err := tx.unarchive(f, &e); err != nil {
		return err
	}
	for _, k := range [][]byte{
		key("e", f.ID, uid), key(wireEnvelope, f.ID, uid), key(wireStructure, f.ID, uid), key(wireBody, f.ID, uid),
		key(wireWords, f.ID, uid), key(wireFields, f.ID, uid),
		key("gc", f.ID, uid), key("mp", e.Message, f.ID, uid),
	} {
		if err := tx.w.Delete(k); err != nil {
			return err
		}
	}
	// Those who may have flags here without having seen the folder; see Filing.For.
	// What is common of them stands under nobody.
	for _, who := range []Person{0, f.Key.Owner, e.Audience} {
		if err := tx.w.Delete(key("gp", f.ID, who, uid)); err != nil {
			return err
		}
	}
	return tx.changed(f, change{UID: uid, Kind: changeRemoved})
}

// remove drops the entry at a place for everybody.
func (tx *Tx) remove(p Place) error {
	f, err := tx.folderByID(p.Folder)
	if err != nil {
		return err
	}
	e, err := tx.entry(p.Folder, p.UID)
	if err != nil {
		return err
	}
	if err := tx.drop(f, p.UID, e); err != nil {
		return err
	}
	return tx.putFolder(f)
}
