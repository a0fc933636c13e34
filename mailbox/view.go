package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"pecgate/mailbox/kv"
)

// Scope is how much of a shared folder a person sees.
type Scope uint8

// The scopes.
const (
	ScopeAll         Scope = iota // every entry
	ScopeOwnOrCommon              // one's own and those of nobody in particular
	ScopeOwn                      // one's own only
)

// Viewer is a person looking at a folder. The policy says the scope.
type Viewer struct {
	Person Person
	Scope  Scope
	// SharedSeen: \Seen is common to all who see the folder.
	SharedSeen bool
	// Delete: what is removed from a shared folder is removed for all.
	Delete bool
	// Admin: of the mailbox, who may end what others have taken charge of.
	Admin bool
}

func (v Viewer) sees(e entry) bool {
	if e.Private {
		return e.Audience == v.Person
	}
	switch v.Scope {
	case ScopeAll:
		return true
	case ScopeOwnOrCommon:
		return e.Audience == 0 || e.Audience == v.Person
	}
	return e.Audience == v.Person
}

// visible returns an entry if the viewer sees it, else ErrNotFound.
func (tx *Tx) visible(f FolderID, v Viewer, uid UID) (entry, error) {
	e, err := tx.entry(f, uid)
	if err != nil {
		return e, err
	}
	if !v.sees(e) {
		return entry{}, ErrNotFound
	}
	hidden, err := tx.has(key("h", f, v.Person, uid))
	if err == nil && hidden {
		err = ErrNotFound
	}
	return e, err
}

// Snapshot is a folder as one viewer saw it at one instant. It is shared and
// never changes.
type Snapshot struct {
	Folder      FolderID
	UIDValidity uint32
	UIDNext     UID
	ModSeq      uint64
	UIDs        []UID // ascending
}

// snapshotCache keeps the last snapshot of each viewer, so that sessions share
// it.
type snapshotCache struct {
	mu   sync.Mutex
	last map[snapshotKey]*Snapshot
}

type snapshotKey struct {
	folder FolderID
	viewer Viewer
}

// maxSnapshots bounds the cache; it is emptied when full.
const maxSnapshots = 1024

func (c *snapshotCache) get(k snapshotKey) *Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[k]
}

func (c *snapshotCache) put(k snapshotKey, s *Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || len(c.last) >= maxSnapshots {
		c.last = map[snapshotKey]*Snapshot{}
	}
	c.last[k] = s
}

// Snapshot returns the folder as the viewer sees it now. A folder that does
// not exist yet is made.
func (s *Store) Snapshot(ctx context.Context, k FolderKey, v Viewer) (*Snapshot, error) {
	id, err := s.EnsureFolder(ctx, k)
	if err != nil {
		return nil, err
	}
	validity, err := s.viewValidity(ctx, id, v)
	if err != nil {
		return nil, err
	}
	cached := s.snapshots.get(snapshotKey{id, v})
	var snap *Snapshot
	err = s.View(ctx, func(tx *Tx) error {
		f, err := tx.folderByID(id)
		if err != nil {
			return err
		}
		if cached != nil && cached.ModSeq == f.ModSeq && cached.UIDValidity == validity {
			snap = cached
			return nil
		}
		snap = &Snapshot{Folder: id, UIDValidity: validity, UIDNext: f.UIDNext, ModSeq: f.ModSeq}
		snap.UIDs, err = tx.visibleUIDs(id, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.snapshots.put(snapshotKey{id, v}, snap)
	return snap, nil
}

func (tx *Tx) visibleUIDs(id FolderID, v Viewer) ([]UID, error) {
	hidden, err := tx.hidden(id, v.Person)
	if err != nil {
		return nil, err
	}
	uids := []UID{}
	err = tx.r.Scan(key("e", id), nil, func(k, b []byte) (bool, error) {
		e, err := readEntry(b)
		if err != nil {
			return false, err
		}
		if uid := UID(tailUint32(k)); v.sees(e) && !hidden[uid] {
			uids = append(uids, uid)
		}
		return true, nil
	})
	return uids, err
}

func (tx *Tx) hidden(id FolderID, p Person) (map[UID]bool, error) {
	out := map[UID]bool{}
	err := tx.r.Scan(key("h", id, p), nil, func(k, _ []byte) (bool, error) {
		out[UID(tailUint32(k))] = true
		return true, nil
	})
	return out, err
}

// putView keeps under which UIDVALIDITY a viewer sees a folder.
func (tx *Tx) putView(id FolderID, v Viewer, validity uint32) error {
	return tx.w.Put(key("v", id, v.Person), binary.BigEndian.AppendUint32([]byte{byte(v.Scope)}, validity))
}

// viewValidity returns the UIDVALIDITY under which a viewer sees a folder. It
// rises when what the viewer may see has changed, since entries that were
// invisible would otherwise turn up under old UIDs.
func (s *Store) viewValidity(ctx context.Context, id FolderID, v Viewer) (uint32, error) {
	var validity uint32
	known := false
	read := func(tx *Tx) error {
		known = false
		b, err := tx.r.Get(key("v", id, v.Person))
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		if err == nil && len(b) == 5 {
			validity = binary.BigEndian.Uint32(b[1:])
			known = Scope(b[0]) == v.Scope
		}
		return err
	}
	if err := s.View(ctx, read); err != nil || known {
		return validity, err
	}
	err := s.Update(ctx, func(tx *Tx) error {
		validity = 0
		if err := read(tx); err != nil || known {
			return err
		}
		if validity == 0 {
			f, err := tx.folderByID(id)
			if err != nil {
				return err
			}
			validity = f.UIDValidity
		} else {
			n, err := tx.nextUIDValidity()
			if err != nil {
				return err
			}
			validity = n
		}
		return tx.putView(id, v, validity)
	})
	if errors.Is(err, ErrNoSpace) && validity == 0 {
		// The first look of this person falls on a full disk. Reading goes on then;
		// the same is kept at the next look.
		err = s.View(ctx, func(tx *Tx) error {
			f, err := tx.folderByID(id)
			if err == nil {
				validity = f.UIDValidity
			}
			return err
		})
	}
	return validity, err
}
