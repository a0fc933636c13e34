package providersim

import (
	"slices"
	"sync"
	"time"
)

// SentFolder is the name of the provider's Sent folder, as Aruba's. Submission
// does not fill it; a client may by APPEND.
const SentFolder = "INBOX.Inviata"

// Message is one stored message as a folder shows it.
type Message struct {
	UID   uint32
	Flags []string
	At    time.Time // INTERNALDATE
	Raw   []byte    // shared, not to be changed
}

// account is one mailbox with its folders.
type account struct {
	Mailbox
	folders []*folder
}

func newAccount(m Mailbox, validity uint32) *account {
	return &account{Mailbox: m, folders: []*folder{
		{name: "INBOX", validity: validity, next: 1},
		{name: SentFolder, validity: validity, next: 1},
	}}
}

func (a *account) folder(name string) *folder {
	for _, f := range a.folders {
		// INBOX is without case, also as the first part of a name (RFC 9051 5.1).
		if f.name == name || len(name) >= 5 && fold(name[:5]) == "inbox" && f.name[5:] == name[5:] {
			return f
		}
	}
	return nil
}

// folder keeps messages in ascending UID order. A message is never changed in
// place: flags are replaced by a new slice, so snapshots need no copy of bytes.
type folder struct {
	name string

	mu       sync.Mutex
	validity uint32
	next     uint32
	version  uint64 // raised by every change
	messages []Message
	watchers map[chan struct{}]struct{}
}

// add stores raw and returns its UID and the folder's UIDVALIDITY.
func (f *folder) add(raw []byte, at time.Time, flags []string) (uid, validity uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	uid = f.next
	f.next++
	f.messages = append(f.messages, Message{UID: uid, Flags: slices.Clone(flags), At: at, Raw: raw})
	f.changed()
	return uid, f.validity
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
	messages       []Message
}

func (f *folder) state() folderState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return folderState{validity: f.validity, next: f.next, version: f.version, messages: slices.Clone(f.messages)}
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
	kept := make([]Message, 0, len(f.messages))
	for _, m := range f.messages {
		if !hasFlag(m.Flags, `\Deleted`) || uids != nil && !uids(m.UID) {
			kept = append(kept, m)
		}
	}
	if len(kept) != len(f.messages) {
		f.messages = kept
		f.changed()
	}
}

// renumber gives the folder a new UIDVALIDITY and new UIDs from 1.
func (f *folder) renumber() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.validity++
	fresh := slices.Clone(f.messages)
	for i := range fresh {
		fresh[i].UID = uint32(i + 1)
	}
	f.messages = fresh
	f.next = uint32(len(fresh) + 1)
	f.changed()
}

func hasFlag(flags []string, flag string) bool {
	return slices.ContainsFunc(flags, func(s string) bool { return fold(s) == fold(flag) })
}
