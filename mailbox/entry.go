package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/mime"
)

// entry is one line of a folder: a message under a UID.
type entry struct {
	Message  MessageID
	ModSeq   uint64
	Audience Person // whose it is; 0: everybody's who sees the folder
	Seen     bool   // for those who have set no flag of their own
	Private  bool   // nobody but the audience sees it, whatever their scope
	Size     int64
	Date     time.Time // INTERNALDATE, seconds
	Day      day       // with Archived: where its line in the archive stands
	Archived UID       // 0: it stands in no archive
}

// An entry that stands in no archive ends before Day.
const (
	entryLen    = 8 + 8 + 4 + 1 + 8 + 8
	archivedLen = entryLen + 4 + 4
)

const (
	entrySeen byte = 1 << iota
	entryPrivate
)

func (e *entry) bytes() []byte {
	b := make([]byte, 0, archivedLen)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Message))
	b = binary.BigEndian.AppendUint64(b, e.ModSeq)
	b = binary.BigEndian.AppendUint32(b, uint32(e.Audience))
	bits := byte(0)
	if e.Seen {
		bits |= entrySeen
	}
	if e.Private {
		bits |= entryPrivate
	}
	b = append(b, bits)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Date.Unix()))
	if e.Archived == 0 {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, uint32(e.Day))
	return binary.BigEndian.AppendUint32(b, uint32(e.Archived))
}

func readEntry(b []byte) (entry, error) {
	if len(b) != entryLen && len(b) != archivedLen {
		return entry{}, fmt.Errorf("mailbox: a folder entry has %d bytes instead of %d or %d", len(b), entryLen, archivedLen)
	}
	e := entry{
		Message:  MessageID(binary.BigEndian.Uint64(b)),
		ModSeq:   binary.BigEndian.Uint64(b[8:]),
		Audience: Person(binary.BigEndian.Uint32(b[16:])),
		Seen:     b[20]&entrySeen != 0,
		Private:  b[20]&entryPrivate != 0,
		Size:     int64(binary.BigEndian.Uint64(b[21:])),
		Date:     time.Unix(int64(binary.BigEndian.Uint64(b[29:])), 0),
	}
	if len(b) == archivedLen {
		e.Day, e.Archived = day(binary.BigEndian.Uint32(b[entryLen:])), UID(binary.BigEndian.Uint32(b[entryLen+4:]))
	}
	return e, nil
}

func (tx *Tx) entry(f FolderID, uid UID) (entry, error) {
	b, err := tx.r.Get(key("e", f, uid))
	if errors.Is(err, kv.ErrNotFound) {
		return entry{}, ErrNotFound
	}
	if err != nil {
		return entry{}, err
	}
	return readEntry(b)
}

// The prefixes of what FETCH answers without touching the message: made once,
// stored under folder and UID so that a listing is one scan in key order.
const (
	wireEnvelope  = "xe"
	wireStructure = "xs"
	wireBody      = "xb"
	wireWords     = "xw" // for searches, see index.go; it may be missing
	wireFields    = "xh" // for listings, see fields.go; it may be missing
)

// Filing says how a message goes into a folder.
type Filing struct {
	Audience Person   // 0: everybody who sees the folder
	Private  bool     // only the audience sees it, whatever the scope of others
	Seen     bool     // already seen for all (history)
	For      Person   // whose personal flags Flags are; 0: nobody's
	Flags    []string // \Seen \Deleted \Flagged; others are passed over
	Keywords []string // common flags and keywords, for example $PecAccepted
}

// File puts a message into a folder, made when there is none, and returns the
// entry's new UID.
func (tx *Tx) File(k FolderKey, m *Message, how Filing) (FolderID, UID, error) {
	f, err := tx.ensureFolder(k)
	if err != nil {
		return 0, 0, err
	}
	uid, err := tx.file(f, m, how)
	if err != nil {
		return 0, 0, err
	}
	return f.ID, uid, tx.putFolder(f)
}

// file is File on a folder record that the caller writes afterwards.
func (tx *Tx) file(f *folder, m *Message, how Filing) (UID, error) {
	uid := f.UIDNext
	if uid == ^UID(0) {
		return 0, fmt.Errorf("mailbox: folder %d has used up its UIDs", f.ID)
	}
	f.UIDNext++
	if err := tx.changed(f, change{UID: uid, Kind: changeAdded}); err != nil {
		return 0, err
	}
	e := entry{Message: m.ID, ModSeq: f.ModSeq, Audience: how.Audience, Private: how.Private, Seen: how.Seen, Size: m.Ref.Size, Date: m.Date}
	if f.Key.archived() {
		if err := tx.archive(f, uid, m, &e); err != nil {
			return 0, err
		}
	}
	if err := tx.w.Put(key("e", f.ID, uid), e.bytes()); err != nil {
		return 0, err
	}
	if err := tx.putWire(f.ID, uid, m); err != nil {
		return 0, err
	}
	if how.For != 0 {
		if err := tx.w.Put(key("gp", f.ID, how.For, uid), []byte{personalFlags(how.Flags)}); err != nil {
			return 0, err
		}
	}
	if len(how.Keywords) > 0 {
		if err := tx.putJSON(key("gc", f.ID, uid), how.Keywords); err != nil {
			return 0, err
		}
	}
	return uid, tx.placed(m.ID, Place{Folder: f.ID, UID: uid})
}

// putWire stores the wire forms of a message for a new entry: from the index
// that Record has at hand, from another entry, or from the bytes.
func (tx *Tx) putWire(f FolderID, uid UID, m *Message) error {
	ix, words, fields := tx.parsed, tx.words, tx.fields
	if ix == nil || tx.parsedID != m.ID {
		switch done, err := tx.copyWire(f, uid, m.ID); {
		case err != nil:
			return err
		case done:
			return nil
		}
		r, err := tx.s.bytes.Open(m.Ref)
		if err != nil {
			return err
		}
		ix, err = mime.Parse(r, m.Ref.Size, mime.Limits{})
		if err == nil {
			words, err = MakeSignature(r, ix)
		}
		if err == nil {
			fields, err = makeFields(r, ix)
		}
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	err := errors.Join(
		tx.w.Put(key(wireEnvelope, f, uid), ix.Envelope),
		tx.w.Put(key(wireStructure, f, uid), ix.BodyStructure),
		tx.w.Put(key(wireBody, f, uid), ix.Body))
	if words != nil {
		err = errors.Join(err, tx.w.Put(key(wireWords, f, uid), words))
	}
	if fields != nil {
		err = errors.Join(err, tx.w.Put(key(wireFields, f, uid), fields))
	}
	return err
}

// copyWire copies the wire forms from another entry of the message, if there
// is one.
func (tx *Tx) copyWire(f FolderID, uid UID, id MessageID) (bool, error) {
	places, err := tx.Places(id)
	if err != nil || len(places) == 0 {
		return false, err
	}
	for _, prefix := range []string{wireEnvelope, wireStructure, wireBody, wireWords, wireFields} {
		b, err := tx.r.Get(key(prefix, places[0].Folder, places[0].UID))
		if (prefix == wireWords || prefix == wireFields) && errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		if err := tx.w.Put(key(prefix, f, uid), b); err != nil {
			return false, err
		}
	}
	return true, nil
}
