package policy

import (
	"slices"
	"time"
)

// Application is a program that uses the HTTP service in the name of a user. It never may more than that user.
type Application struct {
	Name      string   // compared without regard to ASCII case
	User      string   // login it acts as
	Mailboxes []string // the only ones it may use, lower case
	Send      bool     // submits
	Read      bool     // reads outcomes, receipts and messages
	PINWaived bool     // what it submits needs no PIN, whatever the mailbox asks
	Line      string   // file:line, for explain
}

// Application finds one by name. It reports false if there is none or more than one.
func (p *Policy) Application(name string) (*Application, bool) {
	var found *Application
	for i := range p.Applications {
		if name != "" && same(p.Applications[i].Name, name) {
			if found != nil {
				return nil, false
			}
			found = &p.Applications[i]
		}
	}
	return found, found != nil
}

func (a *Application) has(address string) bool {
	return slices.ContainsFunc(a.Mailboxes, func(b string) bool { return same(b, address) })
}

// maySend reports whether the application that a session is, if it is one, may submit from an address at all.
func (p *Policy) maySend(id Identity, address string) bool {
	if id.Application == "" {
		return true
	}
	a, ok := p.Application(id.Application)
	return ok && a.Send && same(a.User, id.User) && a.has(address)
}

// PINNeeded reports whether what a session submits from a mailbox needs the PIN of its user.
func (p *Policy) PINNeeded(id Identity, m *Mailbox) bool {
	if !m.PINRequired || id.Application == "" {
		return m.PINRequired
	}
	a, ok := p.Application(id.Application)
	return !ok || !a.PINWaived
}

// MayAsk says what an application may read of a mailbox: its user's rights there, and none where its own line does not
// name the mailbox or grants no reading.
func (p *Policy) MayAsk(application, box string, now time.Time) Rights {
	a, ok := p.Application(application)
	if !ok || !a.Read || !a.has(box) {
		return Rights{}
	}
	return p.Rights(a.User, box, now)
}
