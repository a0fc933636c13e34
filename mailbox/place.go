package mailbox

import (
	"encoding/binary"
	"errors"
	"math"
)

// Place is where an entry stands.
type Place struct {
	Folder FolderID `json:"folder"`
	UID    UID      `json:"uid"`
}

func (tx *Tx) placed(id MessageID, p Place) error {
	return tx.w.Put(key("mp", id, p.Folder, p.UID), nil)
}

// Places returns the entries of a message in all folders. Entries of a deleted
// folder are left out.
func (tx *Tx) Places(id MessageID) ([]Place, error) {
	all, err := tx.allPlaces(id, math.MaxInt)
	if err != nil {
		return nil, err
	}
	live := all[:0]
	for _, p := range all {
		switch ok, err := tx.has(key("f", p.Folder)); {
		case err != nil:
			return nil, err
		case ok:
			live = append(live, p)
		}
	}
	return live, nil
}

// allPlaces returns at most most of a message's entries, those of deleted
// folders too.
func (tx *Tx) allPlaces(id MessageID, most int) ([]Place, error) {
	var all []Place
	err := tx.r.Scan(key("mp", id), nil, func(k, _ []byte) (bool, error) {
		all = append(all, Place{Folder: FolderID(binary.BigEndian.Uint64(k[len(k)-12:])), UID: UID(tailUint32(k))})
		return len(all) < most, nil
	})
	return all, err
}

// PlacesIn returns at most most of the entries of a message that stand in
// folders of a role.
func (tx *Tx) PlacesIn(id MessageID, role Role, most int) ([]Place, error) {
	all, err := tx.Places(id)
	if err != nil {
		return nil, err
	}
	var out []Place
	for _, p := range all {
		f, err := tx.folderByID(p.Folder)
		if err != nil {
			return nil, err
		}
		if f.Key.Role == role && len(out) < most {
			out = append(out, p)
		}
	}
	return out, nil
}

// OwnCopy is what a person has of a Message-ID: the entries of the sent copy
// that the gateway keeps, or of what their client appended.
type OwnCopy struct {
	Submitted bool      `json:"submitted"`
	Message   MessageID `json:"message,omitempty"` // the submission's
	Places    []Place   `json:"places"`
}

// OwnCopy returns the person's copy of a Message-ID (as pec.NormalizeID writes
// it), or ErrNotFound, also when the submission's message was removed since.
func (tx *Tx) OwnCopy(p Person, msgid string) (OwnCopy, error) {
	c, err := tx.ownCopy(p, msgid)
	if err != nil || !c.Submitted {
		return c, err
	}
	switch there, err := tx.has(key("m", c.Message)); {
	case err != nil:
		return OwnCopy{}, err
	case !there:
		return OwnCopy{}, ErrNotFound
	}
	return c, nil
}

func (tx *Tx) ownCopy(p Person, msgid string) (OwnCopy, error) {
	var c OwnCopy
	return c, tx.getJSON(key("mo", p, clipKey(msgid)), &c)
}

// NoteSent remembers that the gateway's sent copy of a submission stands at
// places under its Message-ID (and, called again, under the client's alias).
// What the person's client appended before under the same id is taken away:
// the sent copy stands for it.
func (tx *Tx) NoteSent(p Person, msgid string, m *Message, places []Place) error {
	if msgid == "" {
		return nil
	}
	before, err := tx.OwnCopy(p, msgid)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if before.Submitted && before.Message != m.ID {
		// One id in two mailboxes, or an alias: both copies answer to it.
		places = append(places, before.Places[:min(len(before.Places), 16)]...)
	}
	if !before.Submitted {
		for _, old := range before.Places {
			if err := tx.remove(old); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
	}
	return tx.putJSON(key("mo", p, clipKey(msgid)), OwnCopy{Submitted: true, Message: m.ID, Places: places})
}

// noteAppended remembers an appended message, unless a submission has the id.
func (tx *Tx) noteAppended(p Person, msgid string, place Place) error {
	if msgid == "" {
		return nil
	}
	c, err := tx.OwnCopy(p, msgid)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if c.Submitted {
		return nil
	}
	// Only the last few count: a draft is saved again and again under one id.
	if len(c.Places) >= 16 {
		c.Places = c.Places[1:]
	}
	c.Places = append(c.Places, place)
	return tx.putJSON(key("mo", p, clipKey(msgid)), c)
}
