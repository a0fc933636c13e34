package mailbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"pecgate/mailbox/kv"
)

// Entry is one line of a folder as a viewer sees it.
type Entry struct {
	UID     UID
	Message MessageID
	ModSeq  uint64
	Before  uint64 // of SetFlags: the mod-sequence that it had before
	Size    int64
	Date    time.Time // INTERNALDATE
	Flags   []string  // personal and common together
	// As they go over the wire, when asked for.
	Envelope, BodyStructure, Body []byte
	Fields                        []byte // header fields (ListsFields) and the empty line; nil: they are not stored
}

func (e *entry) public(uid UID, flags []string) Entry {
	return Entry{UID: uid, Message: e.Message, ModSeq: e.ModSeq, Size: e.Size, Date: e.Date, Flags: flags}
}

// Want says which stored answers Entries reads.
type Want struct{ Flags, Envelope, BodyStructure, Body, Fields bool }

// wireForms are the records of the answers that are wanted.
func (w Want) wireForms() (prefixes []string) {
	if w.Envelope {
		prefixes = append(prefixes, wireEnvelope)
	}
	if w.BodyStructure {
		prefixes = append(prefixes, wireStructure)
	}
	if w.Body {
		prefixes = append(prefixes, wireBody)
	}
	if w.Fields {
		prefixes = append(prefixes, wireFields)
	}
	return prefixes
}

// Entries are read so many at a time, and held in memory meanwhile.
const (
	blockRows = 1024
	wireRows  = 128 // with stored answers of a KiB or so
	fewRows   = 8   // one by one
)

// Entries calls fn for each of uids (ascending) that the viewer sees, in
// order, until fn fails. The entry is valid only during the call. fn must not
// write to a peer: the records are held open meanwhile.
func (s *Store) Entries(ctx context.Context, id FolderID, v Viewer, uids []UID, want Want, fn func(*Entry) error) error {
	if len(uids) == 0 {
		return nil
	}
	rows := blockRows
	if len(want.wireForms()) > 0 {
		rows = wireRows
	}
	return s.View(ctx, func(tx *Tx) error {
		b := entryBlock{tx: tx, folder: id, viewer: v, want: want, lists: map[string]*commonFlags{}}
		for part := range slices.Chunk(uids, rows) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := b.read(part); err != nil {
				return err
			}
			for i := range b.rows {
				if err := fn(&b.rows[i].Entry); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// give calls fn with one entry, as Entries does, also if the viewer has removed
// it for themselves.
func (tx *Tx) give(ctx context.Context, id FolderID, v Viewer, uid UID, want Want, fn func(*Entry) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b := entryBlock{tx: tx, folder: id, viewer: v, want: want, all: true, lists: map[string]*commonFlags{}}
	if err := b.read([]UID{uid}); err != nil || len(b.rows) == 0 {
		return err
	}
	return fn(&b.rows[0].Entry)
}

// entryBlock reads entries, many at a time: one scan for each kind of record
// where they lie close together.
type entryBlock struct {
	tx     *Tx
	folder FolderID
	viewer Viewer
	want   Want
	all    bool // what the viewer has removed for themselves too

	rows  []entryRow
	uids  []UID                   // of rows
	wire  []byte                  // the stored answers of rows
	lists map[string]*commonFlags // by their record; "" is none
}

type entryRow struct {
	Entry
	seen   bool // for those who have set no flag of their own
	bits   byte // personal flags
	common *commonFlags
}

// commonFlags are the common flags of some entries, and what they make with
// each set of personal ones, once it was asked for.
type commonFlags struct {
	flags []string
	with  [flagSeen | flagDeleted | flagFlagged + 1][]string
}

// names are shared and must not be changed.
func (c *commonFlags) names(bits byte) []string {
	if c.with[bits] == nil {
		c.with[bits] = flagNames(bits, c.flags)
	}
	return c.with[bits]
}

// read fills rows with those of uids that the viewer sees.
func (b *entryBlock) read(uids []UID) error {
	b.rows, b.uids, b.wire = b.rows[:0], b.uids[:0], b.wire[:0]
	hidden := map[UID]bool{}
	err := b.column(key("h", b.folder, b.viewer.Person), uids, func(i int, _ []byte) error {
		hidden[uids[i]] = true
		return nil
	})
	if err != nil {
		return err
	}
	err = b.column(key("e", b.folder), uids, func(i int, value []byte) error {
		e, err := readEntry(value)
		if err == nil && b.viewer.sees(e) && (b.all || !hidden[uids[i]]) {
			b.rows = append(b.rows, entryRow{Entry: e.public(uids[i], nil), seen: e.Seen})
			b.uids = append(b.uids, uids[i])
		}
		return err
	})
	if err == nil && b.want.Flags {
		err = b.readFlags()
	}
	if err != nil {
		return err
	}
	for _, prefix := range b.want.wireForms() {
		if err := b.readWire(prefix); err != nil {
			return err
		}
	}
	return nil
}

// column calls fn for each of uids (ascending) that has a record below prefix,
// with its place in uids.
func (b *entryBlock) column(prefix []byte, uids []UID, fn func(i int, value []byte) error) error {
	if len(uids) == 0 {
		return nil
	}
	last := uids[len(uids)-1]
	if span := uint64(last-uids[0]) + 1; len(uids) <= fewRows || span >= 4*uint64(len(uids)) {
		for i, uid := range uids {
			value, err := b.tx.r.Get(appendUID(prefix, uid))
			if errors.Is(err, kv.ErrNotFound) {
				continue
			}
			if err == nil {
				err = fn(i, value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	i := 0
	return b.tx.r.Scan(prefix, appendUID(prefix, uids[0]), func(k, value []byte) (bool, error) {
		uid := UID(tailUint32(k))
		for i < len(uids) && uids[i] < uid {
			i++
		}
		if i == len(uids) {
			return false, nil
		}
		if uids[i] != uid {
			return true, nil
		}
		err := fn(i, value)
		return uid < last, err
	})
}

// appendUID is the key of a UID below prefix, which stays as it is.
func appendUID(prefix []byte, uid UID) []byte {
	return append(bytes.Clone(prefix), byte(uid>>24), byte(uid>>16), byte(uid>>8), byte(uid))
}

func (b *entryBlock) readFlags() error {
	none, err := b.list(nil)
	if err != nil {
		return err
	}
	for i := range b.rows {
		b.rows[i].common = none
		if b.rows[i].seen {
			b.rows[i].bits = flagSeen
		}
	}
	take := func(keep byte) func(int, []byte) error {
		return func(i int, value []byte) error {
			if len(value) == 1 {
				b.rows[i].bits = b.rows[i].bits&keep | value[0]&^keep
			}
			return nil
		}
	}
	err = b.column(key("gp", b.folder, b.viewer.Person), b.uids, take(0))
	if err == nil && b.viewer.SharedSeen {
		for i := range b.rows { // what is one's own of it does not count
			b.rows[i].bits &^= flagSeen
			if b.rows[i].seen {
				b.rows[i].bits |= flagSeen
			}
		}
		err = b.column(key("gp", b.folder, Person(0)), b.uids, take(^flagSeen))
	}
	if err != nil {
		return err
	}
	err = b.column(key("gc", b.folder), b.uids, func(i int, value []byte) (err error) {
		b.rows[i].common, err = b.list(value)
		return err
	})
	for i := range b.rows {
		r := &b.rows[i]
		r.Flags = r.common.names(r.bits & (flagSeen | flagDeleted | flagFlagged))
	}
	return err
}

// list reads a record of common flags. Few of them differ.
func (b *entryBlock) list(value []byte) (*commonFlags, error) {
	if c, known := b.lists[string(value)]; known {
		return c, nil
	}
	c := &commonFlags{}
	if len(value) > 0 {
		if err := json.Unmarshal(value, &c.flags); err != nil {
			return nil, fmt.Errorf("mailbox: read common flags: %w", err)
		}
	}
	if len(b.lists) >= maxSets {
		clear(b.lists) // somebody gives each message its own
	}
	b.lists[string(value)] = c
	return c, nil
}

// readWire reads one of the stored answers. Each entry has all of them but the
// header fields.
func (b *entryBlock) readWire(prefix string) error {
	found := 0
	err := b.column(key(prefix, b.folder), b.uids, func(i int, value []byte) error {
		found++
		from := len(b.wire)
		b.wire = append(b.wire, value...) // earlier rows keep the slice that they have
		form := b.wire[from:len(b.wire):len(b.wire)]
		switch prefix {
		case wireEnvelope:
			b.rows[i].Envelope = form
		case wireStructure:
			b.rows[i].BodyStructure = form
		case wireBody:
			b.rows[i].Body = form
		case wireFields:
			b.rows[i].Fields = form
		}
		return nil
	})
	if err == nil && found < len(b.rows) && prefix != wireFields {
		err = fmt.Errorf("mailbox: folder %d: %d of %d stored answers are missing: %w", b.folder, len(b.rows)-found, len(b.rows), kv.ErrNotFound)
	}
	return err
}

// Status counts what a viewer sees in a folder (RFC 9051 section 6.3.11).
type Status struct {
	UIDValidity               uint32
	UIDNext                   UID
	ModSeq                    uint64
	Messages, Unseen, Deleted int
	Size, DeletedSize         int64 // bytes; of all, and of those with \Deleted
}

// Status counts a folder for a viewer. A folder that does not exist yet is
// made.
func (s *Store) Status(ctx context.Context, k FolderKey, v Viewer) (Status, error) {
	snap, err := s.Snapshot(ctx, k, v)
	if err != nil {
		return Status{}, err
	}
	st := Status{UIDValidity: snap.UIDValidity, UIDNext: snap.UIDNext, ModSeq: snap.ModSeq}
	l, err := s.Listing(ctx, snap.Folder, v, len(snap.UIDs), len(snap.UIDs))
	if err != nil || l == nil {
		return st, errors.Join(err, s.countEntries(ctx, snap, v, &st))
	}
	for i, uid := range l.UIDs {
		if uid >= snap.UIDNext {
			break // it came since
		}
		st.count(int64(l.Size(i)), l.sets[l.flags[i]].bits)
	}
	return st, nil
}

// countEntries counts a folder that is not kept as a Listing.
func (s *Store) countEntries(ctx context.Context, snap *Snapshot, v Viewer, st *Status) error {
	return s.Entries(ctx, snap.Folder, v, snap.UIDs, Want{Flags: true}, func(e *Entry) error {
		st.count(e.Size, personalFlags(e.Flags))
		return nil
	})
}

func (st *Status) count(size int64, bits byte) {
	st.Messages++
	st.Size += size
	if bits&flagSeen == 0 {
		st.Unseen++
	}
	if bits&flagDeleted != 0 {
		st.Deleted++
		st.DeletedSize += size
	}
}
