package mailbox

import (
	"context"
	"encoding/binary"
	"fmt"
)

type changeKind byte

const (
	changeAdded changeKind = iota + 1
	changeFlags
	changeRemoved
	changeHidden // removed for one person
)

// change is one line of a folder's feed, under its mod-sequence.
type change struct {
	UID    UID
	Kind   changeKind
	Person Person // flags and hidden: whose; 0: everybody's
}

// feedLength is how many changes of a folder are kept; who is further behind
// reads the folder anew.
const feedLength = 4096

// changed gives the folder its next mod-sequence and writes the feed. The
// caller writes the folder's record.
func (tx *Tx) changed(f *folder, c change) error {
	f.ModSeq++
	b := binary.BigEndian.AppendUint32([]byte{byte(c.Kind)}, uint32(c.UID))
	b = binary.BigEndian.AppendUint32(b, uint32(c.Person))
	if err := tx.w.Put(key("c", f.ID, f.ModSeq), b); err != nil {
		return err
	}
	if f.ModSeq > feedLength {
		return tx.w.Delete(key("c", f.ID, f.ModSeq-feedLength))
	}
	return nil
}

// Changes is what happened in a folder since a mod-sequence, as one viewer
// sees it. Each UID stands in one list only; what came and went in between
// stands in none.
type Changes struct {
	ModSeq  uint64
	Resync  bool // too far behind, or another folder now: take a new Snapshot
	Added   []UID
	Removed []UID
	Flags   []UID // flags may have changed; read them with Entries
}

// Changes returns what happened after since. The work is bounded by the length
// of the feed.
func (s *Store) Changes(ctx context.Context, id FolderID, v Viewer, since uint64) (Changes, error) {
	var out Changes
	err := s.View(ctx, func(tx *Tx) error {
		out = Changes{}
		f, err := tx.folderByID(id)
		if err != nil {
			return err
		}
		out.ModSeq = f.ModSeq
		if f.ModSeq == since {
			return nil
		}
		if since > f.ModSeq || f.ModSeq-since >= feedLength {
			out.Resync = true
			return nil
		}
		last := map[UID]changeKind{}
		added := map[UID]bool{}
		var order []UID
		prefix := key("c", id)
		err = tx.r.Scan(prefix, key("c", id, since+1), func(_, b []byte) (bool, error) {
			if len(b) != 9 {
				return false, fmt.Errorf("mailbox: a change of folder %d has %d bytes", id, len(b))
			}
			c := change{Kind: changeKind(b[0]), UID: UID(binary.BigEndian.Uint32(b[1:])), Person: Person(binary.BigEndian.Uint32(b[5:]))}
			if c.Person != 0 && c.Person != v.Person {
				return true, nil
			}
			if _, ok := last[c.UID]; !ok {
				order = append(order, c.UID)
			}
			if c.Kind == changeAdded {
				added[c.UID] = true
			}
			if k := last[c.UID]; k != changeRemoved && k != changeHidden {
				last[c.UID] = c.Kind
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		for _, uid := range order {
			switch gone := last[uid] == changeRemoved || last[uid] == changeHidden; {
			case gone && !added[uid]:
				out.Removed = append(out.Removed, uid)
			case gone:
			default:
				if _, err := tx.visible(id, v, uid); err != nil {
					if err == ErrNotFound {
						continue
					}
					return err
				}
				if added[uid] {
					out.Added = append(out.Added, uid)
				} else {
					out.Flags = append(out.Flags, uid)
				}
			}
		}
		return nil
	})
	return out, err
}

// Watch wakes the caller after each commit that changed the folder. A wake-up
// may stand for several changes or for none that the caller sees. stop ends
// it.
func (s *Store) Watch(id FolderID) (wake <-chan struct{}, stop func()) {
	return s.records.Watch(key("f", id))
}
