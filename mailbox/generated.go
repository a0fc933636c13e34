package mailbox

import (
	"errors"
	"slices"
)

// Generated messages: what the gateway writes from its records and may write
// anew at any time, like a report of an outcome. Each replaces the one before;
// that one's bytes are nobody's and go. They are the only messages that something
// else than Retain removes, and only where the record says Generated.

// FileGenerated files m as a generated message in place of old, which is 0 or
// one that was filed by FileGenerated before: the entry of m has a new UID, and
// that of old goes. Each person's flags and the common ones come along, but for
// \Deleted and, where worse is set, \Seen; who has hidden old sees m.
//
// old goes with its bytes, unless a person has a copy of it in another folder or
// a legal hold lies on it: then it stays a message without this entry. It may be
// gone already.
func (tx *Tx) FileGenerated(k FolderKey, m *Message, old MessageID, how Filing, worse bool) error {
	before, err := tx.generated(old)
	if err != nil {
		return err
	}
	var at []Place // of old, in this folder
	var kept keptFlags
	if before != nil {
		if at, kept, err = tx.flagsOf(k, before.ID); err != nil {
			return err
		}
	}
	if worse {
		kept.clearSeen()
	}
	if len(at) > 0 {
		how.Seen, how.Keywords = kept.seen, kept.common
	}
	m.Generated = true
	f, uid, err := tx.File(k, m, how)
	if err != nil {
		return err
	}
	for who, bits := range kept.persons {
		if err := tx.w.Put(key("gp", f, who, uid), []byte{bits}); err != nil {
			return err
		}
	}
	for _, p := range at {
		if err := tx.Unfile(p); err != nil {
			return err
		}
	}
	if before == nil {
		return nil
	}
	return tx.discard(before)
}

// generated returns the record of a generated message, or nil where it is gone.
func (tx *Tx) generated(id MessageID) (*Message, error) {
	if id == 0 {
		return nil, nil
	}
	m, err := tx.Message(id)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err == nil && !m.Generated {
		err = ErrRefused
	}
	return m, err
}

// keptFlags is what people had at an entry.
type keptFlags struct {
	seen    bool // for those who have set no flag of their own
	common  []string
	persons map[Person]byte
}

func (k *keptFlags) clearSeen() {
	k.seen = false
	for who := range k.persons {
		k.persons[who] &^= flagSeen
	}
}

// flagsOf returns the entries of a message in one folder, and what people had at
// the first of them.
func (tx *Tx) flagsOf(k FolderKey, id MessageID) (at []Place, kept keptFlags, err error) {
	f, err := tx.folder(k)
	if errors.Is(err, ErrNotFound) {
		return nil, kept, nil
	}
	if err != nil {
		return nil, kept, err
	}
	all, err := tx.Places(id)
	if err != nil {
		return nil, kept, err
	}
	at = slices.DeleteFunc(all, func(p Place) bool { return p.Folder != f.ID })
	if len(at) == 0 {
		return nil, kept, nil
	}
	e, err := tx.entry(f.ID, at[0].UID)
	if err != nil {
		return nil, kept, err
	}
	kept.seen = e.Seen
	if kept.common, err = tx.common(f.ID, at[0].UID); err != nil {
		return nil, kept, err
	}
	kept.persons, err = tx.personsFlags(f.ID, at[0].UID, e.Audience)
	return at, kept, err
}

// personsFlags returns the flags that people have set at an entry, \Deleted left
// out. Those of Person 0 are all people's together.
func (tx *Tx) personsFlags(f FolderID, uid UID, audience Person) (map[Person]byte, error) {
	out := map[Person]byte{}
	look := func(who Person) error {
		k := key("gp", f, who, uid)
		has, err := tx.has(k)
		if err != nil || !has {
			return err
		}
		b, err := tx.r.Get(k)
		if err == nil && len(b) == 1 {
			out[who] = b[0] &^ flagDeleted
		}
		return err
	}
	if err := errors.Join(look(0), look(audience)); err != nil {
		return nil, err
	}
	err := tx.r.Scan(key("v", f), nil, func(k, _ []byte) (bool, error) {
		return len(out) < forgotten, look(Person(tailUint32(k)))
	})
	return out, err
}

// discard removes a generated message that stands nowhere any more; a person's
// copy, or a legal hold, keeps it.
func (tx *Tx) discard(m *Message) error {
	places, err := tx.allPlaces(m.ID, 1)
	if err != nil || len(places) > 0 {
		return err
	}
	if held, err := tx.held(m.ID); err != nil || held {
		return err
	}
	return tx.erase(m, "replaced")
}
