package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/pec"
)

// Append files what a person's client put into a folder (RFC 9051 section
// 6.3.12); in a shared folder only this person sees it. A message whose
// Message-ID is a submission of this person is not stored again: the answer is
// that of SentCopy. in is used up in any case.
func (s *Store) Append(ctx context.Context, k FolderKey, p Person, in *Intake, flags []string, date time.Time) (uint32, UID, error) {
	var login string
	if err := s.View(ctx, func(tx *Tx) (err error) { login, err = tx.Login(p); return err }); err != nil {
		in.Abort()
		return 0, 0, err
	}
	st, err := in.Store(ctx, Origin{Box: k.Box, Direction: Own, User: login, Folder: string(k.Role), Name: k.Name, Date: date})
	if err != nil {
		return 0, 0, err
	}
	defer st.Close() // read-only handle: nothing to lose
	id := pec.NormalizeID(st.Index.MessageID)
	var at Place
	_, err = s.Record(ctx, st, func(tx *Tx, m *Message) error {
		c, err := tx.OwnCopy(p, id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if id != "" && c.Submitted {
			return errOwnCopy // it was submitted while it was being appended
		}
		m.Author = p
		common := slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return personalBit(f) != 0 || gatewayOwned(f) })
		fid, uid, err := tx.File(k, m, Filing{Audience: p, Private: k.Shared(), For: p, Flags: flags, Keywords: common})
		if err != nil {
			return err
		}
		at = Place{Folder: fid, UID: uid}
		return tx.noteAppended(p, id, at)
	})
	if errors.Is(err, errOwnCopy) {
		return s.SentCopy(ctx, k, p, id)
	}
	if err != nil {
		return 0, 0, err
	}
	validity, err := s.placeValidity(ctx, at, p)
	return validity, at.UID, err
}

// errOwnCopy ends the transaction of an APPEND that stores nothing.
var errOwnCopy = errors.New("mailbox: the gateway keeps the sent copy")

// SentCopy returns where the gateway's sent copy of a Message-ID (as
// pec.NormalizeID writes it) of this person stands, preferably in the folder k;
// ErrNotFound when the person has submitted nothing under that id. Where the
// person has removed every copy, one is filed anew in k, or in the mailbox's
// sent folder where k is another shared one.
func (s *Store) SentCopy(ctx context.Context, k FolderKey, p Person, msgid string) (uint32, UID, error) {
	var at Place
	look := func(tx *Tx) (OwnCopy, bool, error) {
		c, err := tx.OwnCopy(p, msgid)
		if err != nil {
			return c, false, err
		}
		if msgid == "" || !c.Submitted {
			return c, false, ErrNotFound
		}
		found, err := tx.ownPlace(k, p, c)
		if err == nil && found != nil {
			at = *found
		}
		return c, found != nil, err
	}
	known := false
	err := s.View(ctx, func(tx *Tx) (err error) { _, known, err = look(tx); return err })
	if err == nil && !known {
		err = s.Update(ctx, func(tx *Tx) error {
			c, known, err := look(tx)
			if err != nil || known {
				return err
			}
			m, err := tx.Message(c.Message)
			if err != nil {
				return err
			}
			to := k
			if k.Shared() {
				to.Role = RoleSent
			}
			keywords, err := tx.outcome(m.ID)
			if err != nil {
				return err
			}
			fid, uid, err := tx.File(to, m, Filing{Audience: p, Private: k.Shared(), For: p, Flags: []string{`\Seen`}, Keywords: keywords})
			if err != nil {
				return err
			}
			at = Place{Folder: fid, UID: uid}
			c.Places = append(c.Places, at)
			return tx.putJSON(key("mo", p, clipKey(msgid)), c)
		})
	}
	if err != nil {
		return 0, 0, err
	}
	validity, err := s.placeValidity(ctx, at, p)
	return validity, at.UID, err
}

// outcome returns the gateway's keywords on a message that was sent.
func (tx *Tx) outcome(id MessageID) ([]string, error) {
	places, err := tx.PlacesIn(id, RoleSent, 1)
	if err != nil || len(places) == 0 {
		return nil, err
	}
	flags, err := tx.common(places[0].Folder, places[0].UID)
	return slices.DeleteFunc(flags, func(f string) bool { return !gatewayOwned(f) }), err
}

// ownPlace returns a place of a sent copy that the person still sees, the one
// in the folder k first, or nil.
func (tx *Tx) ownPlace(k FolderKey, p Person, c OwnCopy) (*Place, error) {
	var any *Place
	for _, place := range c.Places {
		_, err := tx.visible(place.Folder, Viewer{Person: p}, place.UID)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f, err := tx.folderByID(place.Folder)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if f.Key == k {
			return &place, nil
		}
		if any == nil {
			any = &place
		}
	}
	return any, nil
}

// placeValidity returns the UIDVALIDITY of a place as a person sees it.
func (s *Store) placeValidity(ctx context.Context, p Place, person Person) (uint32, error) {
	var validity uint32
	err := s.View(ctx, func(tx *Tx) error {
		b, err := tx.r.Get(key("v", p.Folder, person))
		if err == nil && len(b) == 5 {
			validity = binary.BigEndian.Uint32(b[1:])
			return nil
		}
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		f, err := tx.folderByID(p.Folder)
		if err == nil {
			validity = f.UIDValidity
		}
		return err
	})
	return validity, err
}
