package mailbox

import (
	"context"
	"errors"
	"slices"
	"strings"

	"pecgate/mailbox/kv"
)

// Personal flags, one byte per person and entry.
const (
	flagSeen byte = 1 << iota
	flagDeleted
	flagFlagged
)

// ErrTooManyKeywords says that an entry would have more keywords than are kept.
var ErrTooManyKeywords = errors.New("mailbox: too many keywords on one message")

// maxKeywords bounds the keywords of an entry.
const maxKeywords = 64

func personalBit(flag string) byte {
	switch strings.ToLower(flag) {
	case `\seen`:
		return flagSeen
	case `\deleted`:
		return flagDeleted
	case `\flagged`:
		return flagFlagged
	}
	return 0
}

func personalFlags(flags []string) (bits byte) {
	for _, f := range flags {
		bits |= personalBit(f)
	}
	return bits
}

func flagNames(bits byte, common []string) []string {
	out := make([]string, 0, 3+len(common))
	if bits&flagSeen != 0 {
		out = append(out, `\Seen`)
	}
	if bits&flagDeleted != 0 {
		out = append(out, `\Deleted`)
	}
	if bits&flagFlagged != 0 {
		out = append(out, `\Flagged`)
	}
	return append(out, common...)
}

// gatewayOwned tells whether only the gateway sets the keyword.
func gatewayOwned(flag string) bool {
	return len(flag) >= 4 && strings.EqualFold(flag[:4], "$pec")
}

// personal returns the person's flags of an entry.
func (tx *Tx) personal(f FolderID, p Person, uid UID, e entry) (byte, error) {
	b, err := tx.r.Get(key("gp", f, p, uid))
	if errors.Is(err, kv.ErrNotFound) || (err == nil && len(b) != 1) {
		if e.Seen {
			return flagSeen, nil
		}
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (tx *Tx) common(f FolderID, uid UID) ([]string, error) {
	var flags []string
	err := tx.getJSON(key("gc", f, uid), &flags)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return flags, err
}

// FlagOp is what STORE does (RFC 9051 section 6.4.6).
type FlagOp int

// The operations.
const (
	FlagsSet FlagOp = iota
	FlagsAdd
	FlagsRemove
)

// batch is how many entries one transaction changes at most, so that a fold
// stays bounded.
const batch = 100

// SetFlags changes flags for a viewer: \Seen, \Deleted and \Flagged are the
// person's own, all others common to everybody. Keywords that begin with $Pec
// belong to the gateway and stay as they are. Entries that the viewer does not
// see are passed over, and a folder that is gone is ErrNotFound: one that has
// its name since is another. It returns the entries with their flags afterwards, in
// the order of uids.
func (s *Store) SetFlags(ctx context.Context, id FolderID, v Viewer, uids []UID, op FlagOp, flags []string) ([]Entry, error) {
	var out []Entry
	for part := range slices.Chunk(uids, batch/2) {
		var done []Entry
		err := s.Update(ctx, func(tx *Tx) error {
			done = done[:0]
			f, err := tx.folderByID(id)
			if err != nil {
				return err
			}
			before := f.ModSeq
			for _, uid := range part {
				e, err := tx.visible(f.ID, v, uid)
				if errors.Is(err, ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				bits, common, err := tx.setFlags(f, v.Person, uid, &e, op, flags)
				if err != nil {
					return err
				}
				if op != FlagsRemove && personalFlags(flags)&flagSeen != 0 {
					if err := tx.auditReading(ctx, v.Person, e.Message); err != nil {
						return err
					}
				}
				done = append(done, e.public(uid, flagNames(bits, common)))
			}
			if f.ModSeq == before {
				return nil
			}
			return tx.putFolder(f)
		})
		if err != nil {
			return out, err
		}
		out = append(out, done...)
	}
	return out, nil
}

func (tx *Tx) setFlags(f *folder, p Person, uid UID, e *entry, op FlagOp, flags []string) (byte, []string, error) {
	old, err := tx.personal(f.ID, p, uid, *e)
	if err != nil {
		return 0, nil, err
	}
	oldCommon, err := tx.common(f.ID, uid)
	if err != nil {
		return 0, nil, err
	}
	given := personalFlags(flags)
	common := slices.DeleteFunc(slices.Clone(flags), func(s string) bool {
		return personalBit(s) != 0 || gatewayOwned(s) || strings.EqualFold(s, `\Recent`)
	})
	bits, newCommon := old, slices.Clone(oldCommon)
	switch op {
	case FlagsSet:
		bits = given
		newCommon = slices.DeleteFunc(newCommon, func(s string) bool { return !gatewayOwned(s) })
		newCommon = addFlags(newCommon, common)
	case FlagsAdd:
		bits |= given
		newCommon = addFlags(newCommon, common)
	case FlagsRemove:
		bits &^= given
		newCommon = removeFlags(newCommon, common)
	}
	if len(newCommon) > maxKeywords {
		return 0, nil, ErrTooManyKeywords
	}
	if bits != old {
		if err := tx.w.Put(key("gp", f.ID, p, uid), []byte{bits}); err != nil {
			return 0, nil, err
		}
		if err := tx.touch(f, uid, e, change{UID: uid, Kind: changeFlags, Person: p}); err != nil {
			return 0, nil, err
		}
	}
	if !slices.Equal(newCommon, oldCommon) {
		if err := tx.putJSON(key("gc", f.ID, uid), newCommon); err != nil {
			return 0, nil, err
		}
		if err := tx.touch(f, uid, e, change{UID: uid, Kind: changeFlags}); err != nil {
			return 0, nil, err
		}
	}
	return bits, newCommon, nil
}

// SetKeywords adds and removes the gateway's keywords ($Pec...) on an entry.
func (tx *Tx) SetKeywords(p Place, add, remove []string) error {
	f, err := tx.folderByID(p.Folder)
	if err != nil {
		return err
	}
	e, err := tx.entry(p.Folder, p.UID)
	if err != nil {
		return err
	}
	old, err := tx.common(p.Folder, p.UID)
	if err != nil {
		return err
	}
	now := addFlags(removeFlags(slices.Clone(old), remove), add)
	if slices.Equal(now, old) {
		return nil
	}
	if err := tx.putJSON(key("gc", p.Folder, p.UID), now); err != nil {
		return err
	}
	if err := tx.touch(f, p.UID, &e, change{UID: p.UID, Kind: changeFlags}); err != nil {
		return err
	}
	return tx.putFolder(f)
}

// touch gives an entry the folder's next mod-sequence and feeds the change.
func (tx *Tx) touch(f *folder, uid UID, e *entry, c change) error {
	if err := tx.changed(f, c); err != nil {
		return err
	}
	e.ModSeq = f.ModSeq
	return tx.w.Put(key("e", f.ID, uid), e.bytes())
}

func addFlags(to, flags []string) []string {
	for _, f := range flags {
		if !slices.ContainsFunc(to, func(s string) bool { return strings.EqualFold(s, f) }) {
			to = append(to, f)
		}
	}
	return to
}

func removeFlags(from, flags []string) []string {
	return slices.DeleteFunc(from, func(s string) bool {
		return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(s, f) })
	})
}
