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

// personal returns the viewer's flags of an entry.
func (tx *Tx) personal(f FolderID, v Viewer, uid UID, e entry) (byte, error) {
	own, err := tx.personOnes(f, v.Person, uid, e)
	if err != nil || !v.SharedSeen {
		return own, err
	}
	all, err := tx.personOnes(f, 0, uid, e)
	return own&^flagSeen | all&flagSeen, err
}

// SeenByAny tells whether one of some people has seen what stands at a place, or it
// stands there no more. Where \Seen is common, somebody else may have set it: one of
// them must have, and nobody taken it away since.
func (tx *Tx) SeenByAny(p Place, who []Person, common bool) (bool, error) {
	e, err := tx.entry(p.Folder, p.UID)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if common {
		if bits, err := tx.personOnes(p.Folder, 0, p.UID, e); err != nil || bits&flagSeen == 0 {
			return false, err
		}
	}
	for _, w := range who {
		if bits, err := tx.personOnes(p.Folder, w, p.UID, e); err != nil || bits&flagSeen != 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// Shows tells whether a viewer sees what stands at a place; not what stands there
// no more.
func (tx *Tx) Shows(p Place, v Viewer) (bool, error) {
	e, err := tx.entry(p.Folder, p.UID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && v.sees(e), err
}

// FolderKey is which folder has an id.
func (tx *Tx) FolderKey(id FolderID) (FolderKey, error) {
	f, err := tx.folderByID(id)
	if err != nil {
		return FolderKey{}, err
	}
	return f.Key, nil
}

// personOnes returns the flags that stand under one person; 0 is everybody, for
// whom only \Seen counts, where the mailbox has it common.
func (tx *Tx) personOnes(f FolderID, p Person, uid UID, e entry) (byte, error) {
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
// belong to the gateway and stay as they are, but for $PecInCharge, by which a
// person takes charge of an incoming message: a ChargeError tells of those that
// are another's, after all else is done. Entries that the viewer does not
// see are passed over, and a folder that is gone is ErrNotFound: one that has
// its name since is another. It returns the entries with their flags afterwards, in
// the order of uids.
func (s *Store) SetFlags(ctx context.Context, id FolderID, v Viewer, uids []UID, op FlagOp, flags []string) ([]Entry, error) {
	var out []Entry
	var refused error
	for part := range slices.Chunk(uids, batch/2) {
		var done []Entry
		var theirs error
		err := s.Update(ctx, func(tx *Tx) error {
			done, theirs = done[:0], nil
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
				old := e.ModSeq
				bits, common, err := tx.setFlags(ctx, f, v, uid, &e, op, flags)
				if refusedCharge(err) {
					theirs = err
				} else if err != nil {
					return err
				}
				if op != FlagsRemove && personalFlags(flags)&flagSeen != 0 {
					if err := tx.auditReading(ctx, v.Person, e.Message); err != nil {
						return err
					}
				}
				public := e.public(uid, flagNames(bits, common))
				public.Before = old
				done = append(done, public)
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
		if theirs != nil {
			refused = theirs
		}
	}
	return out, refused
}

// setFlags changes one entry. A ChargeError leaves the other changes standing.
func (tx *Tx) setFlags(ctx context.Context, f *folder, v Viewer, uid UID, e *entry, op FlagOp, flags []string) (byte, []string, error) {
	old, err := tx.personal(f.ID, v, uid, *e)
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
	var refused error
	if asksCharge(flags) {
		taken, err := tx.charge(ctx, f, v, e, op)
		switch {
		case refusedCharge(err):
			refused = err
		case err != nil:
			return 0, nil, err
		case taken && op == FlagsRemove:
			newCommon = removeFlags(newCommon, []string{inCharge})
		case taken:
			newCommon = addFlags(newCommon, []string{inCharge})
		}
	}
	if len(newCommon) > maxKeywords {
		return 0, nil, ErrTooManyKeywords
	}
	if err := tx.putPersonal(f, v, uid, e, old, bits); err != nil {
		return 0, nil, err
	}
	if !slices.Equal(newCommon, oldCommon) {
		if err := tx.putJSON(key("gc", f.ID, uid), newCommon); err != nil {
			return 0, nil, err
		}
		if err := tx.touch(f, uid, e, change{UID: uid, Kind: changeFlags}); err != nil {
			return 0, nil, err
		}
	}
	return bits, newCommon, refused
}

// putPersonal writes a viewer's flags, as far as they changed.
func (tx *Tx) putPersonal(f *folder, v Viewer, uid UID, e *entry, old, bits byte) error {
	if v.SharedSeen && (old^bits)&flagSeen != 0 {
		if err := tx.w.Put(key("gp", f.ID, Person(0), uid), []byte{bits & flagSeen}); err != nil {
			return err
		}
		if err := tx.touch(f, uid, e, change{UID: uid, Kind: changeFlags}); err != nil {
			return err
		}
	}
	own := old ^ bits
	if !v.SharedSeen && own == 0 {
		return nil
	}
	mine, err := tx.personOnes(f.ID, v.Person, uid, *e)
	if err != nil {
		return err
	}
	next := mine ^ own
	if v.SharedSeen { // whose it is: nobody sees that, but SeenByAny asks
		own &^= flagSeen
		next = (mine^own)&^flagSeen | bits&flagSeen
	}
	if next == mine {
		return nil
	}
	if err := tx.w.Put(key("gp", f.ID, v.Person, uid), []byte{next}); err != nil || own == 0 {
		return err
	}
	return tx.touch(f, uid, e, change{UID: uid, Kind: changeFlags, Person: v.Person})
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
