package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox/kv"
)

// RoleArchive is the archive of a mailbox: a view over all its shared folders
// by day, read with ArchiveDays and Archive. Its folder record gives the UIDs,
// which are ascending in the whole mailbox and so in each year, month and day
// of it; it holds no entries. A commit that changes the archive wakes those who
// Watch its folder; it has no change feed, a reader takes a new Archive.
const RoleArchive Role = "archive"

// day is a date as a number, 20261121.
type day uint32

func dayOf(t time.Time, zone *time.Location) day {
	y, m, d := t.In(zone).Date()
	return day(y*10000 + int(m)*100 + d)
}

// archiveDay is the day under which a message stands: that of its INTERNALDATE,
// and where a provider gave one that cannot be meant, that of its arrival.
func (tx *Tx) archiveDay(m *Message) day { return dayOf(tx.TimeOf(m), tx.s.opt.Zone) }

// archiveLine is one entry of a shared folder as the archive's index has it:
// all that decides who sees it, so that a listing reads nothing else.
type archiveLine struct {
	Folder   FolderID
	UID      UID // in Folder
	Message  MessageID
	Audience Person
	Private  bool
}

const archiveLineLen = 8 + 4 + 8 + 4 + 1

func (l *archiveLine) bytes() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, archiveLineLen), uint64(l.Folder))
	b = binary.BigEndian.AppendUint32(b, uint32(l.UID))
	b = binary.BigEndian.AppendUint64(b, uint64(l.Message))
	b = binary.BigEndian.AppendUint32(b, uint32(l.Audience))
	if l.Private {
		return append(b, entryPrivate)
	}
	return append(b, 0)
}

func readArchiveLine(b []byte) (archiveLine, error) {
	if len(b) != archiveLineLen {
		return archiveLine{}, fmt.Errorf("mailbox: an archive line has %d bytes", len(b))
	}
	return archiveLine{
		Folder:   FolderID(binary.BigEndian.Uint64(b)),
		UID:      UID(binary.BigEndian.Uint32(b[8:])),
		Message:  MessageID(binary.BigEndian.Uint64(b[12:])),
		Audience: Person(binary.BigEndian.Uint32(b[20:])),
		Private:  b[24]&entryPrivate != 0,
	}, nil
}

// archived tells whether entries of a folder stand in the archive.
func (k FolderKey) archived() bool {
	switch k.Role {
	case RoleCustom, RoleArchive, RoleToApprove, RoleApproved: // what is approved stands among what was sent
		return false
	}
	return k.Box != "" && k.Shared()
}

func archiveKey(box string, d day, uid UID) []byte {
	return key("ad", strings.ToLower(box), d, uid)
}

// archive writes the archive's line for a new entry, and into the entry where
// it stands: the zone may be another when the entry goes.
func (tx *Tx) archive(f *folder, uid UID, m *Message, e *entry) error {
	a, err := tx.ensureFolder(FolderKey{Box: f.Key.Box, Role: RoleArchive})
	if err != nil {
		return err
	}
	e.Day, e.Archived = tx.archiveDay(m), a.UIDNext
	if a.UIDNext == ^UID(0) {
		return fmt.Errorf("mailbox: archive %d has used up its UIDs", a.ID)
	}
	a.UIDNext++
	a.ModSeq++
	l := archiveLine{Folder: f.ID, UID: uid, Message: e.Message, Audience: e.Audience, Private: e.Private}
	if err := tx.w.Put(archiveKey(f.Key.Box, e.Day, e.Archived), l.bytes()); err != nil {
		return err
	}
	return tx.putFolder(a)
}

// unarchive takes the archive's line of an entry away.
func (tx *Tx) unarchive(f *folder, e *entry) error {
	if e.Archived == 0 {
		return nil
	}
	if err := tx.w.Delete(archiveKey(f.Key.Box, e.Day, e.Archived)); err != nil {
		return err
	}
	a, err := tx.folder(FolderKey{Box: f.Key.Box, Role: RoleArchive})
	if err != nil {
		return err
	}
	a.ModSeq++
	return tx.putFolder(a)
}

// archiveValidity is viewValidity of an archive, where the rights to all
// folders together are what a person may see.
func (tx *Tx) archiveValidity(a *folder, p Person, rights Rights) (validity uint32, known bool, err error) {
	b, err := tx.r.Get(key("av", a.ID, p))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if len(b) != 12 {
		return 0, false, fmt.Errorf("mailbox: a view of an archive has %d bytes", len(b))
	}
	return binary.BigEndian.Uint32(b), Rights(b[4:]) == rights, nil
}
