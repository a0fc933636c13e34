package mailbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// folderRun is what is known of the folder (or archive) whose records are
// being looked at: they stand one after the other.
type folderRun struct {
	id     FolderID
	f      *folder // nil: it is gone, or cannot be read
	known  bool    // it is there
	uid    UID     // the highest seen
	modSeq uint64
	box    string // of an archive
}

func entryName(f FolderID, uid UID) string { return fmt.Sprintf("folder %d, UID %d", f, uid) }

func folderLabel(id FolderID) string { return fmt.Sprintf("folder %d", id) }

// lookUpFolder is lookUp of a folder.
func (x *fsck) lookUpFolder(id FolderID) (f *folder, known bool, err error) {
	f, err = x.tx.folderByID(id)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, false, nil
	case unreadable(err):
		return nil, true, nil
	case err != nil:
		return nil, false, err
	}
	return f, true, nil
}

// folderName comes before everything else of folders: a folder that a name
// leads to was not deleted.
func (x *fsck) folderName(k, _, v []byte) error {
	if len(v) != 8 {
		x.find(BadRecord, "a folder name", fmt.Sprintf("%d bytes", len(v)), nil)
		return nil
	}
	id := FolderID(binary.BigEndian.Uint64(v))
	x.named[id] = true
	x.top["folder"] = max(x.top["folder"], uint64(id))
	f, known, err := x.lookUpFolder(id)
	switch {
	case err != nil:
		return err
	case known && (f == nil || bytes.Equal(f.Key.bytes(), k)):
		return nil
	case known:
		x.dangling(k, folderLabel(id))
		return nil
	}
	// Without entries the name is all that was lost; it is made anew at need.
	empty := true
	err = x.tx.r.Scan(key("e", id), nil, func(_, _ []byte) (bool, error) {
		empty = false
		return false, nil
	})
	if err != nil {
		return err
	}
	var do func(*Tx) error
	if empty {
		do = gone(k)
	}
	x.find(NoFolder, folderLabel(id), "", do)
	return nil
}

func (x *fsck) folder(_, rest, v []byte) error {
	id := FolderID(tailUint64(rest))
	x.top["folder"] = max(x.top["folder"], uint64(id))
	var f folder
	if !x.decode(v, &f, folderLabel(id)) {
		return nil
	}
	if f.ID != id {
		x.find(BadRecord, folderLabel(id), fmt.Sprintf("it is that of folder %d", f.ID), nil)
		return nil
	}
	x.top["uidvalidity"] = max(x.top["uidvalidity"], uint64(f.UIDValidity))
	if !x.named[id] {
		x.find(MissingKey, folderLabel(id), "fk/", nil)
	}
	return nil
}

// enter makes a folder the one whose records are looked at.
func (x *fsck) enter(id FolderID, end func() error) error {
	if x.run.id == id {
		return nil
	}
	if err := end(); err != nil {
		return err
	}
	f, known, err := x.lookUpFolder(id)
	x.run = folderRun{id: id, f: f, known: known}
	return err
}

// leave compares the counters of a folder with what was seen of it.
func (x *fsck) leave() {
	r := x.run
	x.run = folderRun{}
	if r.f == nil || r.uid < r.f.UIDNext && r.modSeq <= r.f.ModSeq {
		return
	}
	if x.low[r.id] && !x.o.Repair {
		return // said of its entries
	}
	x.low[r.id] = true
	detail := fmt.Sprintf("UIDNEXT %d and mod-sequence %d, and there are UID %d and mod-sequence %d", r.f.UIDNext, r.f.ModSeq, r.uid, r.modSeq)
	x.find(LowCounter, folderLabel(r.id), detail, func(tx *Tx) error {
		f, err := tx.folderByID(r.id)
		if err != nil {
			return err
		}
		if r.uid >= f.UIDNext && r.uid < ^UID(0) {
			f.UIDNext = r.uid + 1
		}
		f.ModSeq = max(f.ModSeq, r.modSeq)
		return tx.putFolder(f)
	})
}

// left reports what stands under a folder or entry that is gone. It may be
// taken away, unless a name leads to the folder, which was lost then.
func (x *fsck) left(k []byte, id FolderID, where string) {
	if !x.named[id] {
		x.find(LeftOver, where, kindOf(k), gone(k))
	}
}

func (x *fsck) entry(_, rest, v []byte) error {
	id, uid := FolderID(binary.BigEndian.Uint64(rest)), UID(tailUint32(rest))
	if err := x.enter(id, x.endEntries); err != nil {
		return err
	}
	r := &x.run
	e, err := readEntry(v)
	if err != nil {
		x.find(BadRecord, entryName(id, uid), "e/", nil)
		return nil
	}
	if !r.known {
		if r.uid == 0 && !x.named[id] { // once for each folder; entries are never taken away
			x.find(LeftOver, folderLabel(id), "e/", nil)
		}
		r.uid = uid
		return nil
	}
	r.uid, r.modSeq = max(r.uid, uid), max(r.modSeq, e.ModSeq)
	m, known, err := x.lookUp(e.Message)
	switch {
	case err != nil:
		return err
	case !known:
		x.find(NoMessage, entryName(id, uid), messageName(e.Message), nil)
	case m != nil && m.Ref.Size != e.Size:
		x.find(BadEntry, entryName(id, uid), fmt.Sprintf("%d bytes instead of %d", e.Size, m.Ref.Size), nil)
	}
	want := [][]byte{key(wireEnvelope, id, uid), key(wireStructure, id, uid), key(wireBody, id, uid), key("mp", e.Message, id, uid)}
	if r.f != nil && e.Archived != 0 {
		want = append(want, archiveKey(r.f.Key.Box, e.Day, e.Archived))
	} else if r.f != nil && r.f.Key.archived() {
		x.find(MissingKey, entryName(id, uid), "ad/", nil)
	}
	for _, k := range want {
		has, err := x.tx.has(k)
		if err != nil {
			return err
		}
		if !has {
			x.find(MissingKey, entryName(id, uid), kindOf(k), nil)
		}
	}
	return nil
}

func (x *fsck) endEntries() error { x.leave(); return nil }

func (x *fsck) change(k, rest, v []byte) error {
	id, n := FolderID(binary.BigEndian.Uint64(rest)), tailUint64(rest)
	if err := x.enter(id, x.endChanges); err != nil {
		return err
	}
	r := &x.run
	switch {
	case !r.known:
		x.left(k, id, folderLabel(id))
		return nil
	case len(v) != 9:
		x.find(BadRecord, fmt.Sprintf("folder %d, mod-sequence %d", id, n), "c/", nil)
		return nil
	}
	r.uid, r.modSeq = max(r.uid, UID(binary.BigEndian.Uint32(v[1:]))), max(r.modSeq, n)
	if r.f != nil && n+feedLength <= r.f.ModSeq {
		x.find(OutOfFeed, fmt.Sprintf("folder %d, mod-sequence %d", id, n), "", gone(k))
	}
	return nil
}

func (x *fsck) endChanges() error { x.leave(); return nil }

// archiveLine checks a line of an archive, and on the way the UIDs of it.
func (x *fsck) archiveLine(k, rest, v []byte) error {
	box, at, whole := bytes.Cut(rest, []byte{0})
	if !whole || len(at) != 8 {
		x.find(BadKey, "ad/", fmt.Sprintf("%d bytes", len(k)), nil)
		return nil
	}
	if x.run.id == 0 || x.run.box != string(box) {
		if err := x.endArchive(); err != nil {
			return err
		}
		f, err := x.tx.folder(FolderKey{Box: string(box), Role: RoleArchive})
		if err != nil && !errors.Is(err, ErrNotFound) && !unreadable(err) {
			return err
		}
		if err != nil {
			f = nil
			x.find(MissingKey, mailboxName(string(box)), "the folder of its archive", nil)
		}
		x.run = folderRun{id: 1, f: f, known: f != nil, box: string(box)}
		if f != nil {
			x.run.id = f.ID
		}
	}
	d, uid := day(binary.BigEndian.Uint32(at)), UID(tailUint32(at))
	x.run.uid = max(x.run.uid, uid)
	where := fmt.Sprintf("archive of %s, UID %d", box, uid)
	l, err := readArchiveLine(v)
	if err != nil {
		x.find(BadRecord, where, "", nil)
		return nil
	}
	e, err := x.tx.entry(l.Folder, l.UID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return x.badEntry(l.Folder, l.UID, err)
	}
	if err != nil || e.Archived != uid || e.Day != d || e.Message != l.Message {
		x.dangling(k, where)
		return nil
	}
	if l.Audience != e.Audience || l.Private != e.Private {
		x.find(BadEntry, where, "seen by others than its entry", nil)
	}
	return nil
}

// badEntry passes over an entry that cannot be read, which was reported.
func (x *fsck) badEntry(id FolderID, uid UID, err error) error {
	b, rerr := x.tx.r.Get(key("e", id, uid))
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	if _, perr := readEntry(b); perr != nil {
		return nil
	}
	return err
}

func (x *fsck) endArchive() error { x.leave(); return nil }

// messageEntry checks a message's line about an entry. Those of a deleted folder
// stay until the message goes.
func (x *fsck) messageEntry(k, rest, _ []byte) error {
	m, id, uid := MessageID(binary.BigEndian.Uint64(rest)), FolderID(binary.BigEndian.Uint64(rest[8:])), UID(tailUint32(rest))
	x.at(uint64(m))
	e, err := x.tx.entry(id, uid)
	switch {
	case err == nil && e.Message == m:
		return nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return x.badEntry(id, uid, err)
	case err == nil:
		x.dangling(k, messageName(m))
		return nil
	}
	there, err := x.tx.has(key("f", id))
	if err == nil && there {
		x.dangling(k, messageName(m))
	}
	if err != nil || there {
		return err
	}
	// The message and the folder are gone both: nobody would take the line away.
	has, err := x.tx.has(key("m", m))
	if err == nil && !has {
		x.left(k, id, messageName(m))
	}
	return err
}

// beside checks what is kept beside an entry for everybody.
func (x *fsck) beside(k, rest, _ []byte) error {
	id, uid := FolderID(binary.BigEndian.Uint64(rest)), UID(tailUint32(rest))
	has, err := x.tx.has(key("e", id, uid))
	if err != nil || has {
		return err
	}
	there, err := x.tx.has(key("f", id))
	if err != nil {
		return err
	}
	if there {
		x.dangling(k, entryName(id, uid))
	} else {
		x.left(k, id, entryName(id, uid))
	}
	return nil
}

// personal checks what a person has at an entry; it may outlive the entry.
func (x *fsck) personal(k, rest, _ []byte) error {
	id, uid := FolderID(binary.BigEndian.Uint64(rest)), UID(tailUint32(rest))
	has, err := x.tx.has(key("e", id, uid))
	if err != nil || has {
		return err
	}
	there, err := x.tx.has(key("f", id))
	if err != nil {
		return err
	}
	if there {
		x.find(LeftOver, entryName(id, uid), kindOf(k), gone(k))
	} else {
		x.left(k, id, entryName(id, uid))
	}
	return nil
}

// sight checks how a person saw a folder or an archive last.
func (x *fsck) sight(k, rest, v []byte) error {
	id := FolderID(binary.BigEndian.Uint64(rest))
	validity := []byte(nil)
	switch {
	case kindOf(k) == "v/" && len(v) == 5:
		validity = v[1:]
	case kindOf(k) == "av/" && len(v) == 12:
		validity = v[:4]
	default:
		x.find(BadRecord, folderLabel(id), kindOf(k), nil)
		return nil
	}
	x.top["uidvalidity"] = max(x.top["uidvalidity"], uint64(binary.BigEndian.Uint32(validity)))
	there, err := x.tx.has(key("f", id))
	if err == nil && !there {
		x.left(k, id, folderLabel(id))
	}
	return err
}
