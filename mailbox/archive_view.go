package mailbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Sight is a person looking at the archive of a mailbox: the policy says for
// each shared folder how much of it they see, or that they do not see it.
// What a person has removed from a folder stays in their archive.
type Sight struct {
	Person Person
	Role   func(Role) (Scope, bool)
}

// sharedRoles are the folders that the policy is asked about. A new role goes
// to the end.
var sharedRoles = [...]Role{
	RoleInbox, RoleSent, RoleAcceptance, RoleOrdinaryAcceptance, RoleDelivery, RoleErrors, RoleAnomalies,
}

// rights is what a person may see, for comparison.
func (v Sight) rights() [8]byte {
	h := sha256.New()
	for _, r := range sharedRoles {
		scope, ok := v.Role(r)
		if !ok {
			scope = ^Scope(0)
		}
		h.Write([]byte{byte(scope)}) // never fails
	}
	return [8]byte(h.Sum(nil))
}

// Day is a date in Options.Zone.
type Day struct {
	Year  int
	Month time.Month
	Day   int
}

// Period is a day, a month (Day 0), a year (Month 0) or all (Year 0).
type Period Day

// days are the first and the last day of a period.
func (p Period) days() (from, to day) {
	at := func(y, m, d int) day { return day(y*10000 + m*100 + d) }
	switch m := int(p.Month); {
	case p.Year == 0:
		return 0, ^day(0)
	case m == 0:
		return at(p.Year, 0, 0), at(p.Year, 99, 99)
	case p.Day == 0:
		return at(p.Year, m, 0), at(p.Year, m, 99)
	}
	return at(p.Year, int(p.Month), p.Day), at(p.Year, int(p.Month), p.Day)
}

// archiveReader judges the lines of one archive for one person.
type archiveReader struct {
	tx    *Tx
	v     Sight
	scope map[FolderID]*Viewer // nil: the folder is not seen
}

func (r *archiveReader) sees(l archiveLine) (bool, error) {
	v, ok := r.scope[l.Folder]
	if !ok {
		f, err := r.tx.folderByID(l.Folder)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return false, err
		}
		if err == nil {
			if scope, ok := r.v.Role(f.Key.Role); ok {
				v = &Viewer{Person: r.v.Person, Scope: scope}
			}
		}
		r.scope[l.Folder] = v
	}
	return v != nil && v.sees(entry{Audience: l.Audience, Private: l.Private}), nil
}

// scan calls fn for the lines of some days that the person sees, by day and
// then UID, until it returns false.
func (r *archiveReader) scan(box string, from, to day, fn func(d day, uid UID, l archiveLine) bool) error {
	prefix := key("ad", strings.ToLower(box))
	return r.tx.r.Scan(prefix, key("ad", strings.ToLower(box), from), func(k, v []byte) (bool, error) {
		if len(k) != len(prefix)+8 {
			return false, fmt.Errorf("mailbox: a key of an archive has %d bytes", len(k))
		}
		d := day(binary.BigEndian.Uint32(k[len(prefix):]))
		if d > to {
			return false, nil
		}
		l, err := readArchiveLine(v)
		if err != nil {
			return false, err
		}
		ok, err := r.sees(l)
		if err != nil || !ok {
			return err == nil, err
		}
		return fn(d, UID(tailUint32(k)), l), nil
	})
}

// ArchiveDays returns the days on which the archive of a mailbox holds
// something that the person sees, ascending.
func (s *Store) ArchiveDays(ctx context.Context, box string, v Sight) ([]Day, error) {
	var out []Day
	err := s.View(ctx, func(tx *Tx) error {
		out = nil
		r := &archiveReader{tx: tx, v: v, scope: map[FolderID]*Viewer{}}
		for from, found := day(0), true; found; {
			found = false
			err := r.scan(box, from, ^day(0), func(d day, _ UID, _ archiveLine) bool {
				out = append(out, Day{int(d / 10000), time.Month(d / 100 % 100), int(d % 100)})
				from, found = d+1, true // the rest of the day is passed over
				return false
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// ArchiveLine is one message of an archive.
type ArchiveLine struct {
	UID     UID // in the archive
	Message MessageID
	Place   Place // the entry that it shows
}

// Archive is a period of a mailbox's archive as one person saw it at one
// instant. It never changes. All periods of a mailbox have one UIDVALIDITY and
// one mod-sequence.
type Archive struct {
	Folder      FolderID // to Watch
	UIDValidity uint32
	UIDNext     UID
	ModSeq      uint64
	Lines       []ArchiveLine // ascending by UID; each message once
}

// Archive returns a period of a mailbox's archive as the person sees it now.
func (s *Store) Archive(ctx context.Context, box string, p Period, v Sight) (*Archive, error) {
	id, err := s.EnsureFolder(ctx, FolderKey{Box: strings.ToLower(box), Role: RoleArchive})
	if err != nil {
		return nil, err
	}
	validity, err := s.ensureArchiveValidity(ctx, id, v)
	if err != nil {
		return nil, err
	}
	var out *Archive
	err = s.View(ctx, func(tx *Tx) error {
		f, err := tx.folderByID(id)
		if err != nil {
			return err
		}
		out = &Archive{Folder: id, UIDValidity: validity, UIDNext: f.UIDNext, ModSeq: f.ModSeq}
		seen := map[MessageID]bool{}
		r := &archiveReader{tx: tx, v: v, scope: map[FolderID]*Viewer{}}
		from, to := p.days()
		var all []ArchiveLine
		err = r.scan(box, from, to, func(_ day, uid UID, l archiveLine) bool {
			all = append(all, ArchiveLine{UID: uid, Message: l.Message, Place: Place{Folder: l.Folder, UID: l.UID}})
			return true
		})
		slices.SortFunc(all, func(a, b ArchiveLine) int { return cmp.Compare(a.UID, b.UID) })
		for _, l := range all {
			if !seen[l.Message] {
				seen[l.Message] = true
				out.Lines = append(out.Lines, l)
			}
		}
		return err
	})
	return out, err
}

func (s *Store) ensureArchiveValidity(ctx context.Context, id FolderID, v Sight) (validity uint32, err error) {
	rights, known := v.rights(), false
	read := func(tx *Tx) (*folder, error) {
		f, err := tx.folderByID(id)
		if err != nil {
			return nil, err
		}
		validity, known, err = tx.archiveValidity(f, v.Person, rights)
		return f, err
	}
	err = s.View(ctx, func(tx *Tx) error { _, err := read(tx); return err })
	if err != nil || known {
		return validity, err
	}
	err = s.Update(ctx, func(tx *Tx) error {
		f, err := read(tx)
		if err != nil || known {
			return err
		}
		if validity == 0 {
			validity = f.UIDValidity
		} else if validity, err = tx.nextUIDValidity(); err != nil {
			return err
		}
		b := append(binary.BigEndian.AppendUint32(nil, validity), rights[:]...)
		return tx.w.Put(key("av", id, v.Person), b)
	})
	return validity, err
}

// ArchiveEntries calls fn for lines of an archive, in their order, as Entries
// does for a folder: the UID is the archive's, flags and answers are those of
// the entry that the line shows. Lines whose entry is gone are passed over.
func (s *Store) ArchiveEntries(ctx context.Context, v Sight, lines []ArchiveLine, want Want, fn func(*Entry) error) error {
	return s.View(ctx, func(tx *Tx) error {
		r := &archiveReader{tx: tx, v: v, scope: map[FolderID]*Viewer{}}
		for _, l := range lines {
			e, err := tx.entry(l.Place.Folder, l.Place.UID)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			ok, err := r.sees(archiveLine{Folder: l.Place.Folder, Audience: e.Audience, Private: e.Private})
			if err != nil {
				return err
			}
			if !ok || e.Message != l.Message {
				continue
			}
			err = tx.give(ctx, l.Place.Folder, *r.scope[l.Place.Folder], l.Place.UID, e, want, func(e *Entry) error {
				e.UID = l.UID
				return fn(e)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
