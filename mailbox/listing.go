package mailbox

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Listing is what a viewer sees of all entries of a folder at one instant, as
// clients ask for it again and again. It is shared and never changes.
type Listing struct {
	ModSeq uint64
	UIDs   []UID // ascending

	sizes []uint32 // bytes
	dates []int64  // INTERNALDATE, seconds
	flags []uint32 // places in sets
	sets  []flagSet
	known map[string]uint32 // places in sets by what they hold

	varied bool // too many flag sets: the folder is not listed
}

// flagSet is the flags of some entries.
type flagSet struct {
	names []string
	bits  byte // the personal ones
}

// Find returns the place of a UID, at or behind from.
func (l *Listing) Find(uid UID, from int) (int, bool) {
	if from < len(l.UIDs) && l.UIDs[from] == uid {
		return from, true
	}
	i, found := slices.BinarySearch(l.UIDs[min(from, len(l.UIDs)):], uid)
	return from + i, found
}

// Flags are the personal and common flags at a place. They must not be changed.
func (l *Listing) Flags(i int) []string { return l.sets[l.flags[i]].names }

// Size is in bytes; 4 GiB and above are given as one byte less.
func (l *Listing) Size(i int) uint32 { return l.sizes[i] }

// Date is the INTERNALDATE.
func (l *Listing) Date(i int) time.Time { return time.Unix(l.dates[i], 0) }

// FirstUnseen returns the first entry without \Seen.
func (l *Listing) FirstUnseen() (UID, bool) {
	for i, uid := range l.UIDs {
		if l.sets[l.flags[i]].bits&flagSeen == 0 {
			return uid, true
		}
	}
	return 0, false
}

// put writes one entry at a place.
func (l *Listing) put(i int, e *Entry) {
	l.sizes[i] = uint32(min(e.Size, 1<<32-1))
	l.dates[i] = e.Date.Unix()
	name := strings.Join(e.Flags, " ")
	n, known := l.known[name]
	if !known {
		n = uint32(len(l.sets))
		l.sets = append(l.sets, flagSet{slices.Clone(e.Flags), personalFlags(e.Flags)})
		l.known[name] = n
	}
	l.flags[i] = n
}

// grow adds an entry at the end.
func (l *Listing) grow(e *Entry) {
	l.UIDs = append(l.UIDs, e.UID)
	l.sizes, l.dates, l.flags = append(l.sizes, 0), append(l.dates, 0), append(l.flags, 0)
	l.put(len(l.UIDs)-1, e)
}

// clone is a Listing that may be changed.
func (l *Listing) clone() *Listing {
	return &Listing{
		ModSeq: l.ModSeq, UIDs: slices.Clone(l.UIDs), sizes: slices.Clone(l.sizes), dates: slices.Clone(l.dates),
		flags: slices.Clone(l.flags), sets: slices.Clone(l.sets), known: maps.Clone(l.known),
	}
}

// without drops entries (ascending).
func (l *Listing) without(uids []UID) {
	n := 0
	for i, uid := range l.UIDs {
		if _, gone := slices.BinarySearch(uids, uid); gone {
			continue
		}
		l.UIDs[n], l.sizes[n], l.dates[n], l.flags[n] = uid, l.sizes[i], l.dates[i], l.flags[i]
		n++
	}
	l.UIDs, l.sizes, l.dates, l.flags = l.UIDs[:n], l.sizes[:n], l.dates[:n], l.flags[:n]
}

// Bounds of listings. One entry takes 20 bytes.
const (
	maxListed  = 2_000_000 // entries in all that are kept
	maxSets    = 4096      // that differ, before a listing is made anew
	patchShare = 4         // a listing is made anew when more than one in so many entries changed
)

// listingCache keeps the newest listing of each viewer, those used last.
type listingCache struct {
	mu    sync.Mutex
	last  map[snapshotKey]*Listing
	order []snapshotKey // the one used longest ago first
	held  int           // entries
}

func (c *listingCache) get(k snapshotKey) *Listing {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.last[k]
	if i := slices.Index(c.order, k); l != nil && i >= 0 {
		c.order = append(slices.Delete(c.order, i, i+1), k)
	}
	return l
}

func (c *listingCache) put(k snapshotKey, l *Listing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		c.last = map[snapshotKey]*Listing{}
	}
	if old := c.last[k]; old != nil {
		if old.ModSeq > l.ModSeq {
			return // another session was faster
		}
		c.drop(slices.Index(c.order, k))
	}
	c.last[k], c.order = l, append(c.order, k)
	c.held += len(l.UIDs)
	for c.held > maxListed || len(c.order) > maxSnapshots {
		c.drop(0)
	}
}

func (c *listingCache) drop(i int) {
	c.held -= len(c.last[c.order[i]].UIDs)
	delete(c.last, c.order[i])
	c.order = slices.Delete(c.order, i, i+1)
}

// Listing lists a folder for a viewer. The first time it reads all entries;
// then what has changed. It answers nil where that does not pay: the first time
// for a folder of which few entries are wanted, and for one that is too large, or too varied in its
// flags, to be kept.
func (s *Store) Listing(ctx context.Context, id FolderID, v Viewer, wanted, of int) (*Listing, error) {
	k := snapshotKey{id, v}
	l := s.listings.get(k)
	if l == nil && wanted*patchShare < of || of > maxListed || l != nil && l.varied {
		return nil, nil
	}
	if l != nil {
		switch now, err := s.follow(ctx, id, v, l); {
		case errors.Is(err, ErrNotFound):
			return nil, nil // the folder is gone
		case err != nil:
			return nil, err
		case now == l:
			return l, nil
		case now != nil:
			s.listings.put(k, now)
			return now, nil
		}
	}
	l, err := s.list(ctx, id, v)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s.listings.put(k, l)
	if l.varied {
		return nil, nil
	}
	return l, nil
}

// list reads a folder whole. What changes meanwhile is read again by follow.
func (s *Store) list(ctx context.Context, id FolderID, v Viewer) (*Listing, error) {
	l := &Listing{known: map[string]uint32{}}
	var uids []UID
	err := s.View(ctx, func(tx *Tx) error {
		f, err := tx.folderByID(id)
		if err != nil {
			return err
		}
		l.ModSeq = f.ModSeq
		uids, err = tx.visibleUIDs(id, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.sizes, l.flags, l.dates = make([]uint32, 0, len(uids)), make([]uint32, 0, len(uids)), make([]int64, 0, len(uids))
	l.UIDs = make([]UID, 0, len(uids))
	err = s.Entries(ctx, id, v, uids, Want{Flags: true}, func(e *Entry) error {
		l.grow(e)
		if len(l.sets) > maxSets {
			return errVaried
		}
		return nil
	})
	if errors.Is(err, errVaried) {
		return &Listing{ModSeq: l.ModSeq, varied: true}, nil
	}
	return l, err
}

// follow returns l as the folder is now: l itself where nothing has changed,
// nil where so much has that it is to be made anew.
func (s *Store) follow(ctx context.Context, id FolderID, v Viewer, l *Listing) (*Listing, error) {
	ch, err := s.Changes(ctx, id, v, l.ModSeq)
	switch n := len(ch.Added) + len(ch.Removed) + len(ch.Flags); {
	case err != nil:
		return nil, err
	case ch.ModSeq == l.ModSeq:
		return l, nil
	case ch.Resync || len(l.sets) > maxSets || n > fewRows && n*patchShare > len(l.UIDs):
		return nil, nil
	}
	now := l.clone()
	now.ModSeq = ch.ModSeq
	slices.Sort(ch.Removed)
	now.without(ch.Removed)
	changed := slices.Concat(ch.Flags, ch.Added)
	slices.Sort(changed)
	err = s.Entries(ctx, id, v, changed, Want{Flags: true}, func(e *Entry) error {
		i, found := now.Find(e.UID, 0)
		switch {
		case found:
			now.put(i, e)
		case i == len(now.UIDs):
			now.grow(e)
		default:
			return errOutOfOrder
		}
		return nil
	})
	if errors.Is(err, errOutOfOrder) {
		return nil, nil
	}
	return now, err
}

// errVaried: nearly each entry has flags of its own.
var errVaried = errors.New("mailbox: too many sets of flags")

// errOutOfOrder: an entry came to stand between others.
var errOutOfOrder = errors.New("mailbox: an entry between others")
