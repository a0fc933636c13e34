package policy

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// Policy is everything that decides. It is built once from the configuration and then only read. Lines that name a group
// say nothing until Spread has made them lines of persons.
type Policy struct {
	Users     []User
	Groups    []Group
	Mailboxes []Mailbox
	Lists     []List
	Relays    []Relay
	// Applications are programs that use the HTTP service.
	Applications []Application
}

// User is a person with one personal password.
type User struct {
	Login    string   // name at SMTP AUTH and IMAP LOGIN; compared without regard to ASCII case
	Name     string   // for people
	Email    string   // ordinary mailbox; may be used as login name; may be empty
	Password string   // argon2id hash; empty: no login by password
	PIN      string   // argon2id hash; empty: this user has no fixed PIN
	TOTP     string   // sealed secret of one-time codes, which are in place of the PIN; empty: there are none
	Deliver  []string // imap, forward
	// NotifyNew: told by ordinary mail of each PEC that arrives.
	NotifyNew bool
	Digested  bool          // wants a digest each day
	Digest    time.Duration // at this time of the day
	Line      string        // file:line, for explain
}

// Mailbox is one PEC mailbox (casella).
type Mailbox struct {
	Address     string // lower case
	Name        string
	Active      bool     // false: nothing is sent; what is stored stays readable
	PINRequired bool     // every submission needs the PIN of its user
	PINMethods  []string // subject, reply, header, password
	Receipt     string   // complete, brief, synthetic
	// ReceiptChoice: the sender's own X-TipoRicevuta counts in place of Receipt.
	ReceiptChoice bool
	ReceiptsTo    string        // sender, receivers, both
	Split         string        // never, blind, always
	ReplyTo       string        // address put into Reply-To; empty: none
	Admin         string        // login of the mailbox administrator
	SharedSeen    bool          // \Seen is common to all members
	ApproveOwn    bool          // who approves may approve what they wrote themselves
	ApprovalNoPIN bool          // an approval needs no PIN, although sending does
	Recipients    int           // most recipients of one message; 0: no limit
	Product       int64         // most octets of size x recipients; 0: no limit
	Keep          time.Duration // age at which our copy of a message may go; 0: never
	Members       []Member
	Line          string // file:line, for explain
}

// Member is what one line of the policy grants one user on one mailbox.
type Member struct {
	User      string // login
	Group     string // where User is empty: every user of this group; where not: the group that the line was written for
	Send      bool   // may submit
	Receive   bool   // sees incoming messages
	Anomalies bool   // sees the folder of anomalies
	Compose   bool   // writes what another approves
	Approve   bool   // approves what others wrote
	Delete    bool   // may remove for all
	SendOnly  bool   // sends by SMTP and has no IMAP; the receipts go by mail
	// Unsaid are the rights of which the line does not speak: they have their default here, and yield to what another
	// line says of the same person.
	Unsaid  Words
	Begins  time.Time // first instant at which the line grants anything; zero: always
	Expires time.Time // first instant at which the line no longer grants anything; zero: never
	Line    string    // file:line, for explain
}

// Identity is who a session is.
type Identity struct {
	User string // login as the policy writes it
	Box  string // empty, or the only mailbox this session may use, lower case
	// Archive: the session reads the archive of Box by day, and nothing else.
	Archive bool
	// Application is the program that acts as User; empty: it is the person.
	Application string
}

// Rights are what a user may do with a mailbox. All false: no access at all.
//
// Send speaks of the member only: an inactive mailbox keeps it, because the person still sees what they sent;
// Decide refuses the sending itself.
type Rights struct {
	Send, Receive, Anomalies, Compose, Approve, Delete bool
	SendOnly                                           bool // a restriction: nothing is shown by IMAP
}

// Any reports whether there is any access.
func (r Rights) Any() bool { return r.Writes() || r.Receive || r.Anomalies || r.Approve }

// Reads reports whether there is anything to see by IMAP.
func (r Rights) Reads() bool { return r.Any() && !r.SendOnly }

// Writes reports whether the user has messages of their own to see: what they sent, and its receipts.
func (r Rights) Writes() bool { return r.Send || r.Compose }

// archiveSuffix stands at the end of the login that reads an archive by day. No address ends so: # is not of a host name.
const archiveSuffix = "#archivio"

// Resolve finds who a login name means: the login, the user's email, login/box@domain, or login/box@domain#archivio.
// The last two need a line for that user in that mailbox. It reports false for unknown and for ambiguous names; passwords are not its matter.
func (p *Policy) Resolve(name string) (Identity, bool) {
	if login, box, cut := strings.Cut(name, "/"); cut {
		u, ok := p.User(login)
		if !ok {
			return Identity{}, false
		}
		archive := false
		if n := len(box) - len(archiveSuffix); n > 0 && strings.EqualFold(box[n:], archiveSuffix) {
			box, archive = box[:n], true
		}
		address, err := ParseAddress(box)
		if err != nil {
			return Identity{}, false
		}
		m, ok := p.Mailbox(address)
		if !ok {
			return Identity{}, false
		}
		if _, ok := m.member(u.Login); !ok {
			return Identity{}, false
		}
		return Identity{User: u.Login, Box: lower(m.Address), Archive: archive}, true
	}
	u := p.person(name)
	if u == nil {
		return Identity{}, false
	}
	return Identity{User: u.Login}, true
}

// User finds a user by login. It reports false if there is none or more than one.
func (p *Policy) User(login string) (*User, bool) {
	var found *User
	for i := range p.Users {
		if login != "" && same(p.Users[i].Login, login) {
			if found != nil {
				return nil, false
			}
			found = &p.Users[i]
		}
	}
	return found, found != nil
}

// Mailbox finds a mailbox by address. It reports false if there is none or more than one.
func (p *Policy) Mailbox(address string) (*Mailbox, bool) {
	var found *Mailbox
	for i := range p.Mailboxes {
		if address != "" && same(p.Mailboxes[i].Address, address) {
			if found != nil {
				return nil, false
			}
			found = &p.Mailboxes[i]
		}
	}
	return found, found != nil
}

// Rights says what a user may do with a mailbox at an instant. Unknown user, unknown mailbox, no line, and a line that has
// not begun or is over all give no rights.
func (p *Policy) Rights(login, box string, now time.Time) Rights {
	u, ok := p.User(login)
	if !ok {
		return Rights{}
	}
	m, ok := p.Mailbox(box)
	if !ok {
		return Rights{}
	}
	return m.rights(u.Login, now)
}

func (m *Mailbox) rights(login string, now time.Time) Rights {
	l, ok := m.member(login)
	if !ok || l.early(now) || l.expired(now) {
		return Rights{}
	}
	r := Rights{Send: l.Send, Receive: l.Receive, Anomalies: l.Anomalies, Compose: l.Compose, Approve: l.Approve,
		Delete: l.Delete, SendOnly: l.SendOnly}
	if !r.Any() {
		return Rights{} // deleting what one does not see means nothing
	}
	return r
}

// Boxes lists the mailboxes on which a user has any right, sorted by address. Inactive ones are among them, since they
// stay readable. The mailboxes are the policy's own and must not be changed.
func (p *Policy) Boxes(login string, now time.Time) []*Mailbox {
	u, ok := p.User(login)
	if !ok {
		return nil
	}
	var out []*Mailbox
	for i := range p.Mailboxes {
		m := &p.Mailboxes[i]
		if !m.rights(u.Login, now).Any() {
			continue
		}
		if _, one := p.Mailbox(m.Address); one {
			out = append(out, m)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Address < out[j].Address })
	return out
}

// Trees lists those of Boxes that are shown by IMAP.
func (p *Policy) Trees(login string, now time.Time) []*Mailbox {
	return slices.DeleteFunc(p.Boxes(login, now), func(m *Mailbox) bool { return !p.Rights(login, m.Address, now).Reads() })
}

// MayRead reports whether a session may be opened by IMAP: a login for one mailbox needs something to see there, and who
// may only send has no IMAP at all. Somebody without any mailbox keeps the folders of their own.
func (p *Policy) MayRead(id Identity, now time.Time) bool {
	if _, known := p.User(id.User); !known {
		return false
	}
	if id.Box != "" {
		return p.Rights(id.User, id.Box, now).Reads()
	}
	return len(p.Trees(id.User, now)) > 0 || len(p.Boxes(id.User, now)) == 0
}
