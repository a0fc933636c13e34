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

	"pecgate/mailbox/kv"
)

// Sight is a person looking at the archive of a mailbox: the policy says for
// each shared folder how much of it they see, or that they do not see it.
// What a person has removed from a folder stays in their archive.
type Sight struct {
	Person Person
	Role   func(Role) (Scope, bool)
	// SharedSeen: \Seen is common to all members of the mailbox.
	SharedSeen bool
}

// sharedRoles are the folders that the policy is asked about. A new role goes
// to the end.
var sharedRoles = [...]Role{
	RoleInbox, RoleSent, RoleAcceptance, RoleOrdinaryAcceptance, RoleDelivery, RoleErrors, RoleAnomalies,
	RoleOutcomes,
}

// Rights is what a person may see, for comparison.
type Rights [8]byte

// Rights returns what the person may see now.
func (v Sight) Rights() Rights {
	h := sha256.New()
	for _, r := range sharedRoles {
		scope, ok := v.Role(r)
		if !ok {
			scope = ^Scope(0)
		}
		h.Write([]byte{byte(scope)}) // never fails
	}
	return Rights(h.Sum(nil))
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
				v = &Viewer{Person: r.v.Person, Scope: scope, SharedSeen: r.v.SharedSeen}
			}
		}
		r.scope[l.Folder] = v
	}
	return v != nil && v.sees(entry{Audience: l.Audience, Private: l.Private}), nil
}

// scan calls fn for the lines of some days that the person sees, by day and
// then UID, until it returns false.
func (r *archiveReader) scan(ctx context.Context, box string, from, to day, fn func(d day, uid UID, l archiveLine) bool) error {
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
	return s.archivePeriods(ctx, box, v, func(d day) day { return d + 1 })
}

// ArchiveMonths returns the months of which the archive of a mailbox holds
// something that the person sees, ascending; their Day is 0.
func (s *Store) ArchiveMonths(ctx context.Context, box string, v Sight) ([]Day, error) {
	months, err := s.archivePeriods(ctx, box, v, func(d day) day { return d/100*100 + 100 })
	for i := range months {
		months[i].Day = 0
	}
	return months, err
}

// archivePeriods returns the first day with something to see of each period;
// after tells where the one behind a day begins.
func (s *Store) archivePeriods(ctx context.Context, box string, v Sight, after func(day) day) ([]Day, error) {
	var out []Day
	err := s.View(ctx, func(tx *Tx) error {
		out = nil
		r := &archiveReader{tx: tx, v: v, scope: map[FolderID]*Viewer{}}
		for from, found := day(0), true; found; {
			found = false
			if err := ctx.Err(); err != nil {
				return err
			}
			err := r.scan(ctx, box, from, ^day(0), func(d day, _ UID, _ archiveLine) bool {
				out = append(out, Day{int(d / 10000), time.Month(d / 100 % 100), int(d % 100)})
				from, found = after(d), true // the rest is passed over
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

// ArchiveHolds tells whether a period of a mailbox's archive holds something
// that the person sees.
func (s *Store) ArchiveHolds(ctx context.Context, box string, p Period, v Sight) (bool, error) {
	found := false
	err := s.View(ctx, func(tx *Tx) error {
		found = false
		r := &archiveReader{tx: tx, v: v, scope: map[FolderID]*Viewer{}}
		from, to := p.days()
		return r.scan(ctx, box, from, to, func(day, UID, archiveLine) bool { found = true; return false })
	})
	return found, err
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
		err = r.scan(ctx, box, from, to, func(_ day, uid UID, l archiveLine) bool {
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
	rights, known := v.Rights(), false
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
			_, ok, err := r.entry(l)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			err = tx.give(ctx, l.Place.Folder, *r.scope[l.Place.Folder], l.Place.UID, want, func(e *Entry) error {
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

// entry returns the entry that a line shows; ok is false where it is gone or
// not seen any more.
func (r *archiveReader) entry(l ArchiveLine) (e entry, ok bool, err error) {
	e, err = r.tx.entry(l.Place.Folder, l.Place.UID)
	if errors.Is(err, ErrNotFound) {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	ok, err = r.sees(archiveLine{Folder: l.Place.Folder, Audience: e.Audience, Private: e.Private})
	return e, ok && e.Message == l.Message, err
}

// ArchiveCopy puts the messages of lines into a folder of the person's own, as
// Copy does: all that are left of them or, after an error, none.
func (s *Store) ArchiveCopy(ctx context.Context, v Sight, lines []ArchiveLine, to FolderKey) (Copied, error) {
	if to.Shared() {
		return Copied{}, ErrRefused
	}
	dst, err := s.EnsureFolder(ctx, to)
	if err != nil {
		return Copied{}, err
	}
	var out Copied
	if out.UIDValidity, err = s.viewValidity(ctx, dst, Viewer{Person: v.Person}); err != nil {
		return Copied{}, err
	}
	for size := batch / 4; len(lines) > 0; {
		size = min(size, len(lines))
		var done Copied
		err := s.Update(ctx, func(tx *Tx) (err error) {
			done, err = tx.archiveCopy(v, lines[:size], dst)
			return err
		})
		if errors.Is(err, kv.ErrTooBig) && size > 1 {
			size /= 2 // messages with very many parts
			continue
		}
		if err != nil {
			_, undo := s.remove(context.WithoutCancel(ctx), dst, Viewer{Person: v.Person}, out.To, false)
			return Copied{}, errors.Join(err, undo)
		}
		out.From, out.To = append(out.From, done.From...), append(out.To, done.To...)
		lines = lines[size:]
	}
	return out, nil
}

func (tx *Tx) archiveCopy(v Sight, lines []ArchiveLine, to FolderID) (Copied, error) {
	var out Copied
	dst, err := tx.folderByID(to)
	if err != nil {
		return out, err
	}
	r := &archiveReader{tx: tx, v: v, scope: map[FolderID]*Viewer{}}
	for _, l := range lines {
		e, ok, err := r.entry(l)
		if err != nil {
			return out, err
		}
		if !ok {
			continue
		}
		uid, err := tx.copyEntry(l.Place, *r.scope[l.Place.Folder], e, dst)
		if err != nil {
			return out, err
		}
		out.From, out.To = append(out.From, l.UID), append(out.To, uid)
	}
	return out, tx.putFolder(dst)
}
