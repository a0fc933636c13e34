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
// 6.3.12). A message whose Message-ID is a submission of this person is not
// stored again: the answer is the place of the gateway's sent copy.
func (s *Store) Append(ctx context.Context, k FolderKey, p Person, in *Intake, flags []string, date time.Time) (uint32, UID, error) {
	st, err := in.Store(ctx, Origin{Box: k.Box, Direction: Own, Date: date})
	if err != nil {
		return 0, 0, err
	}
	defer st.Close() // read-only handle: nothing to lose
	id := pec.NormalizeID(st.Index.MessageID)
	var at Place
	var own bool
	_, err = s.Record(ctx, st, func(tx *Tx, m *Message) error {
		own = false
		m.Author = p
		c, err := tx.OwnCopy(p, id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if id != "" && c.Submitted && len(c.Places) > 0 {
			own, at = true, tx.ownPlace(k, c)
			return errOwnCopy
		}
		common := slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return personalBit(f) != 0 || gatewayOwned(f) })
		fid, uid, err := tx.File(k, m, Filing{Audience: p, For: p, Flags: flags, Keywords: common})
		if err != nil {
			return err
		}
		at = Place{Folder: fid, UID: uid}
		return tx.noteAppended(p, id, at)
	})
	if err != nil && !(own && errors.Is(err, errOwnCopy)) {
		return 0, 0, err
	}
	validity, err := s.placeValidity(ctx, at, p)
	return validity, at.UID, err
}

// errOwnCopy ends the transaction of an APPEND that stores nothing.
var errOwnCopy = errors.New("mailbox: the gateway keeps the sent copy")

// ownPlace prefers the copy in the folder that the client named.
func (tx *Tx) ownPlace(k FolderKey, c OwnCopy) Place {
	for _, p := range c.Places {
		if f, err := tx.folderByID(p.Folder); err == nil && f.Key == k {
			return p
		}
	}
	return c.Places[0]
}

// SentCopy returns where the gateway's sent copy of a Message-ID (as
// pec.NormalizeID writes it) of this person stands, so that an APPEND of it
// need not be read at all; ErrNotFound when there is none.
func (s *Store) SentCopy(ctx context.Context, k FolderKey, p Person, msgid string) (uint32, UID, error) {
	var at Place
	err := s.View(ctx, func(tx *Tx) error {
		c, err := tx.OwnCopy(p, msgid)
		if err != nil {
			return err
		}
		if msgid == "" || !c.Submitted || len(c.Places) == 0 {
			return ErrNotFound
		}
		at = tx.ownPlace(k, c)
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	validity, err := s.placeValidity(ctx, at, p)
	return validity, at.UID, err
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
