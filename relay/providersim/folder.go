package providersim

import (
	"slices"
	"sync"
	"time"
)

// folder keeps messages in ascending UID order. A message is never changed in
// place: flags are replaced by a new slice, so snapshots need no copy of bytes.
type folder struct {
	mu       sync.Mutex
	validity uint32
	next     uint32
	version  uint64 // raised by every change
	gone     bool   // deleted while sessions may still look at it
	messages []Message
	watchers map[chan struct{}]struct{}
}

// add stores raw and returns its UID and the folder's UIDVALIDITY.
func (f *folder) add(raw []byte, at time.Time, flags []string) (uid, validity uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.append(Message{Flags: slices.Clone(flags), At: at, Raw: raw}), f.validity
}

// append gives m the next UID; the lock is held.
func (f *folder) append(m Message) uint32 {
	m.UID = f.next
	f.next++
	f.messages = append(f.messages, m)
	f.changed()
	return m.UID
}

// changed is called with the lock held; the channels are buffered, so that
// nobody can hold it up.
func (f *folder) changed() {
	f.version++
	for w := range f.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// watch wakes its channel at every change until stop is called.
func (f *folder) watch() (wake <-chan struct{}, stop func()) {
	w := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = map[chan struct{}]struct{}{}
	}
	f.watchers[w] = struct{}{}
	return w, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, w)
	}
}

type folderState struct {
	validity, next uint32
	version        uint64
	gone           bool
	messages       []Message
}

func (f *folder) state() folderState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return folderState{validity: f.validity, next: f.next, version: f.version, gone: f.gone, messages: slices.Clone(f.messages)}
}

func (f *folder) currentVersion() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.version
}

// setFlags applies change to the flags of the given UIDs and returns the result.
func (f *folder) setFlags(uids map[uint32]bool, change func([]string) []string) map[uint32][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[uint32][]string{}
	for i, m := range f.messages {
		if !uids[m.UID] {
			continue
		}
		flags := change(slices.Clone(m.Flags))
		if !slices.Equal(flags, m.Flags) {
			f.messages[i].Flags = flags
			f.changed()
		}
		out[m.UID] = flags
	}
	return out
}

// expunge removes the messages that bear \Deleted and, if uids is not nil, are
// among them.
func (f *folder) expunge(uids func(uint32) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keep(func(m Message) bool { return !hasFlag(m.Flags, `\Deleted`) || uids != nil && !uids(m.UID) })
}

// remove takes out the given UIDs, whatever their flags; false: the folder has
// been renumbered since validity was told, and nothing was removed.
func (f *folder) remove(validity uint32, uids map[uint32]bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.validity != validity {
		return false
	}
	f.keep(func(m Message) bool { return !uids[m.UID] })
	return true
}

// keep leaves only the messages for which ok is true; the lock is held.
func (f *folder) keep(ok func(Message) bool) {
	kept := make([]Message, 0, len(f.messages))
	for _, m := range f.messages {
		if ok(m) {
			kept = append(kept, m)
		}
	}
	if len(kept) != len(f.messages) {
		f.messages = kept
		f.changed()
	}
}

// renumber gives the folder another UIDVALIDITY and new UIDs from 1.
func (f *folder) renumber(validity uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.validity = validity
	fresh := slices.Clone(f.messages)
	for i := range fresh {
		fresh[i].UID = uint32(i + 1)
	}
	f.messages = fresh
	f.next = uint32(len(fresh) + 1)
	f.changed()
}

// orphan tells the sessions that look at the folder that it was deleted.
func (f *folder) orphan() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	f.changed()
}

// transfer moves messages to another folder in one step: nobody sees them in
// both or in none. It returns the old UID and the new one of each. The caller
// holds the account's lock, so that two transfers cannot wait for each other.
func transfer(from, to *folder, which func(uint32) bool) (pairs [][2]uint32, validity uint32) {
	from.mu.Lock()
	defer from.mu.Unlock()
	if from != to {
		to.mu.Lock()
		defer to.mu.Unlock()
	}
	var moving []Message
	for _, m := range from.messages {
		if which(m.UID) {
			moving = append(moving, m)
		}
	}
	for _, m := range moving {
		pairs = append(pairs, [2]uint32{m.UID, to.append(m)})
	}
	if len(moving) > 0 {
		old := map[uint32]bool{}
		for _, p := range pairs {
			old[p[0]] = true
		}
		from.keep(func(m Message) bool { return !old[m.UID] })
	}
	return pairs, to.validity
}

func hasFlag(flags []string, flag string) bool {
	return slices.ContainsFunc(flags, func(s string) bool { return fold(s) == fold(flag) })
}
