package providersim

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	maxFolders    = 500 // of one mailbox
	maxFolderName = 255 // bytes
)

// Message is one stored message as a folder shows it.
type Message struct {
	UID   uint32
	Flags []string
	At    time.Time // INTERNALDATE
	Raw   []byte    // shared, not to be changed
}

// account is one mailbox with its folders. Address, Username and layout never change.
type account struct {
	Mailbox
	layout  layout
	popOpen atomic.Bool // a POP3 session has it (RFC 1939 4: exclusive access)

	mu         sync.Mutex
	password   string
	validity   uint32 // the last UIDVALIDITY given
	places     []place
	subscribed []string // names; they outlive their folders (RFC 9051 6.3.7)
}

// place is a folder under its name. Renaming changes the place only.
type place struct {
	name string
	*folder
}

func newAccount(m Mailbox, l layout, validity uint32) (*account, error) {
	a := &account{Mailbox: m, layout: l, password: m.Password, validity: validity - 1}
	a.Mailbox.Password = "" // the one that counts may change
	a.places = []place{{"INBOX", a.freshFolder()}, {l.sent, a.freshFolder()}}
	a.subscribed = []string{"INBOX", l.sent}
	for _, name := range m.Folders {
		if err := a.create(name); err != nil {
			return nil, fmt.Errorf("folder %q of mailbox %s: %w", name, m.Address, err)
		}
		a.subscribe(name)
	}
	return a, nil
}

// freshFolder makes a folder with a UIDVALIDITY that this mailbox never used;
// the caller holds mu or owns a alone.
func (a *account) freshFolder() *folder {
	a.validity++
	return &folder{validity: a.validity, next: 1}
}

func (a *account) checkPassword(password string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.password == password
}

func (a *account) setPassword(password string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.password = password
}

// canonical writes INBOX in capitals, also as the first part of a name (RFC 9051 5.1).
func (a *account) canonical(name string) string {
	if len(name) >= 5 && fold(name[:5]) == "inbox" && (len(name) == 5 || name[5] == a.layout.separator) {
		return "INBOX" + name[5:]
	}
	return name
}

// folder finds a folder by name; nil if there is none.
func (a *account) folder(name string) *folder {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := a.find(name); i >= 0 {
		return a.places[i].folder
	}
	return nil
}

func (a *account) find(name string) int {
	name = a.canonical(name)
	return slices.IndexFunc(a.places, func(p place) bool { return p.name == name })
}

// list is every folder with its name at this moment.
func (a *account) list() []place {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.places)
}

// renumber gives a folder a new UIDVALIDITY and new UIDs from 1.
func (a *account) renumber(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.find(name)
	if i < 0 {
		return false
	}
	a.validity++
	a.places[i].renumber(a.validity)
	return true
}

var (
	errNoFolder     = errors.New("no such folder")
	errFolderExists = errors.New("a folder of that name exists")
	errFolderName   = errors.New("not a name for a folder here")
	errFolderFixed  = errors.New("this folder belongs to the provider")
	errHasChildren  = errors.New("the folder has folders below it")
	errTooMany      = errors.New("too many folders")
)

// create makes a folder and what is missing above it (RFC 9051 6.3.4).
func (a *account) create(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	name, err := a.layout.check(a.canonical(name))
	if err != nil {
		return err
	}
	if a.find(name) >= 0 {
		return errFolderExists
	}
	return a.place(name, a.freshFolder())
}

// place puts f under name after the folders above it; mu is held.
func (a *account) place(name string, f *folder) error {
	above := a.layout.above(name)
	above = slices.DeleteFunc(above, func(n string) bool { return a.find(n) >= 0 })
	if len(a.places)+len(above) >= maxFolders {
		return errTooMany
	}
	for _, n := range above {
		a.places = append(a.places, place{n, a.freshFolder()})
	}
	a.places = append(a.places, place{name, f})
	return nil
}

// remove deletes a folder with its messages. One with folders below it stays.
func (a *account) remove(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.find(name)
	switch {
	case i < 0:
		return errNoFolder
	case a.fixed(a.places[i].name):
		return errFolderFixed
	case slices.ContainsFunc(a.places, func(p place) bool { return a.layout.below(p.name, a.places[i].name) }):
		return errHasChildren
	}
	f := a.places[i].folder
	a.places = slices.Delete(a.places, i, i+1)
	f.orphan()
	return nil
}

// rename moves a folder and those below it to another name. INBOX itself stays:
// its messages go to a new folder (RFC 9051 6.3.6).
func (a *account) rename(from, to string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.find(from)
	to, err := a.layout.check(a.canonical(to))
	switch {
	case i < 0:
		return errNoFolder
	case err != nil:
		return err
	case a.find(to) >= 0:
		return errFolderExists
	case a.layout.below(to, a.places[i].name) && a.places[i].name != "INBOX":
		return errFolderName
	}
	old := a.places[i].name
	if old == "INBOX" {
		f := a.freshFolder()
		if err := a.place(to, f); err != nil {
			return err
		}
		transfer(a.places[i].folder, f, func(uint32) bool { return true })
		return nil
	}
	if a.fixed(old) {
		return errFolderFixed
	}
	moved := a.places[i]
	a.places = slices.Delete(a.places, i, i+1)
	if err := a.place(to, moved.folder); err != nil {
		a.places = slices.Insert(a.places, i, moved)
		return err
	}
	for j, p := range a.places {
		if a.layout.below(p.name, old) {
			a.places[j].name = to + p.name[len(old):]
		}
	}
	return nil
}

// move takes messages out of a folder into the one of the given name. The returned pairs are old UID and new UID.
func (a *account) move(from *folder, to string, which func(uint32) bool) (pairs [][2]uint32, validity uint32, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.find(to)
	if i < 0 {
		return nil, 0, errNoFolder
	}
	pairs, validity = transfer(from, a.places[i].folder, which)
	return pairs, validity, nil
}

// fixed folders are the provider's own.
func (a *account) fixed(name string) bool { return name == "INBOX" || name == a.layout.sent }

func (a *account) subscribe(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name = a.canonical(name)
	if !slices.Contains(a.subscribed, name) && len(a.subscribed) < 2*maxFolders {
		a.subscribed = append(a.subscribed, name)
	}
}

func (a *account) unsubscribe(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name = a.canonical(name)
	a.subscribed = slices.DeleteFunc(a.subscribed, func(n string) bool { return n == name })
}

func (a *account) subscriptions() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.subscribed)
}

func usableName(name string) bool {
	if name == "" || len(name) > maxFolderName || !utf8.ValidString(name) {
		return false
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f || r == '*' || r == '%' {
			return false
		}
	}
	return true
}
