package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"pecgate/gateway/admin"
	"pecgate/gateway/auth"
	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

const (
	// peopleWait bounds one look at who left.
	peopleWait = 30 * time.Second
	// peopleAgain is how soon it is tried again where that failed.
	peopleAgain = 5 * time.Second
	// closedEvery bounds the lines of the log about who is kept out.
	closedEvery = time.Minute
	// oneDay is how long after its first change a line is compared with what it was
	// before that too: a file is often saved in the middle of a change.
	oneDay = 24 * time.Hour
)

// people knows which person each login of the policy is, and parts from it who
// is so no more. A login is open only when the line of the policy that it has now
// was looked at, and whoever had it before is parted: until then nobody logs in,
// so that nobody finds what is another's. What cannot be done (on a full disk) is
// tried until it is.
type people struct {
	store  *mailbox.Store
	events *events.Log
	policy func() *policy.Policy
	again  time.Duration // peopleAgain; tests have less time

	pass sync.Mutex // one look at a time

	mu      sync.Mutex
	open    map[string]record    // by login in lower case
	leaving map[string]string    // not parted yet: why
	told    map[string]time.Time // when the log said that a login is closed
	due     bool                 // something could not be done
}

func newPeople(store *mailbox.Store, ev *events.Log, p func() *policy.Policy) *people {
	return &people{
		store: store, events: ev, policy: p, again: peopleAgain,
		open: map[string]record{}, leaving: map[string]string{}, told: map[string]time.Time{},
	}
}

var _ auth.People = (*people)(nil)

// person is what the policy says of who a login is.
type person struct {
	Name     string `json:"name,omitempty"`
	Email    string `json:"email,omitempty"`
	Password string `json:"password,omitempty"` // SHA-256 of its hash, in hexadecimal
}

func personOf(u *policy.User) person {
	l := person{Name: u.Name, Email: u.Email}
	if u.Password != "" {
		sum := sha256.Sum256([]byte(u.Password))
		l.Password = hex.EncodeToString(sum[:])
	}
	return l
}

// another tells that a line is about somebody else than the one before it: name,
// email and password are all new. Whoever has one of them still is who they were:
// people marry, change their address and forget their password, but not all on
// one day.
func (l person) another(before person) bool {
	same := func(a, b string) bool { return a != "" && strings.EqualFold(a, b) }
	named := func(l person) bool { return l.Name+l.Email != "" }
	return named(l) && named(before) && !same(l.Name, before.Name) && !same(l.Email, before.Email) && !same(l.Password, before.Password)
}

// record is what is recorded of a login: who it is, and who it was before the
// changes of one day.
type record struct {
	person
	Before person `json:"before,omitzero"`
	Since  int64  `json:"since,omitempty"` // when the first of them was seen, Unix time
}

// changed is the record after the policy says now at a time.
func (l record) changed(now person, at time.Time) record {
	if l.person == now || l.person == (person{}) {
		return record{person: now, Before: l.Before, Since: l.Since}
	}
	if l.Before == (person{}) || !l.recent(at) {
		l.Before, l.Since = l.person, at.Unix()
	}
	l.person = now
	return l
}

// recent tells whether Before still counts. A clock that went back makes nothing old.
func (l record) recent(at time.Time) bool { return at.Unix()-l.Since <= int64(oneDay/time.Second) }

// left tells that the policy speaks of somebody else by now.
func (l record) left(now person, at time.Time) bool {
	return now.another(l.person) || l.Before != (person{}) && l.recent(at) && now.another(l.Before)
}

// Why a person is parted from a login.
const (
	whyGone    = "the login left policy.yaml"
	whyAnother = "name, email and password of the login in policy.yaml are all others"
)

// settle looks at every login of the policy and parts who left. What fails is to
// be tried again; meanwhile the logins in question are closed.
func (g *people) settle(ctx context.Context) error {
	g.pass.Lock()
	defer g.pass.Unlock()
	ctx, cancel := context.WithTimeout(ctx, peopleWait)
	defer cancel()
	// Whatever happens: what was found of who may log in is to be asked anew.
	defer g.store.PeopleChanged()
	err := g.look(ctx, g.policy())
	g.mu.Lock()
	g.due = err != nil
	g.mu.Unlock()
	return err
}

func (g *people) look(ctx context.Context, p *policy.Policy) error {
	known, err := g.lines(ctx)
	if err != nil {
		return err
	}
	logins, err := g.store.Logins(ctx)
	if err != nil {
		return err
	}
	gone := g.goneFrom(p, known, logins)
	err = g.part(ctx, p, gone, known)
	g.opened(p, known)
	return errors.Join(err, g.note(ctx, known))
}

// lines are the recorded ones.
func (g *people) lines(ctx context.Context) (all map[string]record, err error) {
	err = g.store.View(ctx, func(tx *mailbox.Tx) error {
		all = map[string]record{}
		return tx.Space(admin.PeopleRoom).Scan("", func(login string, raw []byte) (bool, error) {
			var l record
			if err := json.Unmarshal(raw, &l); err != nil {
				return false, err
			}
			all[login] = l
			return true, nil
		})
	})
	return all, err
}

// goneFrom lists who is to be parted, and closes their logins.
func (g *people) goneFrom(p *policy.Policy, known map[string]record, logins []string) (gone []mailbox.Leaving) {
	now := g.store.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	look := map[string]bool{}
	for _, login := range logins {
		look[login] = true
	}
	for login := range g.leaving {
		look[login] = true
	}
	for login := range known {
		look[login] = true
	}
	for login := range look {
		before, had := g.open[login] // newer than the record where that could not be written
		if !had {
			before, had = known[login]
		}
		u, in := p.User(login)
		why := g.leaving[login]
		switch {
		case why != "":
		case !in:
			why = whyGone
		case had && before.left(personOf(u), now):
			why = whyAnother
		default:
			continue
		}
		delete(g.open, login)
		g.leaving[login] = why
		gone = append(gone, mailbox.Leaving{Login: login, Why: why})
	}
	return gone
}

// part parts them, and has the record say what the policy says now.
func (g *people) part(ctx context.Context, p *policy.Policy, gone []mailbox.Leaving, known map[string]record) error {
	parted, err := g.store.Part(ctx, gone, func(tx *mailbox.Tx, login string) error {
		if u, ok := p.User(login); ok {
			return tx.Space(admin.PeopleRoom).Put(login, record{person: personOf(u)})
		}
		return tx.Space(admin.PeopleRoom).Delete(login)
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	done := map[string]bool{}
	for _, l := range parted {
		done[l.Login] = true
		g.events.UserRemoved(l.Login, g.leaving[l.Login])
	}
	for _, l := range gone {
		if err == nil || done[l.Login] {
			delete(g.leaving, l.Login)
			delete(g.told, l.Login)
			delete(known, l.Login)
			if u, ok := p.User(l.Login); ok {
				known[l.Login] = record{person: personOf(u)}
			}
		} else if _, told := g.told[l.Login]; !told {
			g.told[l.Login] = g.store.Now()
			g.events.UserNotRemoved(l.Login, l.Why, err)
		}
	}
	return err
}

// opened opens the logins of the policy behind which nobody is to be parted.
func (g *people) opened(p *policy.Policy, known map[string]record) {
	now := g.store.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	open := make(map[string]record, len(p.Users))
	for i := range p.Users {
		login := strings.ToLower(p.Users[i].Login)
		if g.leaving[login] != "" {
			continue
		}
		before, had := g.open[login] // newer than the record where that could not be written
		if !had {
			before = known[login]
		}
		open[login] = before.changed(personOf(&p.Users[i]), now)
	}
	g.open = open
}

// linesAtOnce is how many lines one transaction records.
const linesAtOnce = 200

// note records the lines that are new.
func (g *people) note(ctx context.Context, known map[string]record) error {
	fresh := map[string]record{}
	g.mu.Lock()
	for login, l := range g.open {
		if known[login] != l || l == (record{}) {
			fresh[login] = l
		}
	}
	g.mu.Unlock()
	for len(fresh) > 0 {
		part := map[string]record{}
		for login, l := range fresh {
			if part[login] = l; len(part) == linesAtOnce {
				break
			}
		}
		err := g.store.Update(ctx, func(tx *mailbox.Tx) error {
			for login, l := range part {
				if err := tx.Space(admin.PeopleRoom).Put(login, l); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for login := range part {
			delete(fresh, login)
		}
	}
	return nil
}

// keep tries again what could not be done, until ctx ends.
func (g *people) keep(ctx context.Context) {
	tick := time.NewTicker(g.again)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		g.mu.Lock()
		due := g.due
		g.mu.Unlock()
		if due {
			_ = g.settle(ctx) // the log has it once, and who is kept out
		}
	}
}

// Number is the number of the person who has a login, 0 where nobody had it yet.
func (g *people) Number(ctx context.Context, login string) (n uint32, err error) {
	err = g.store.View(ctx, func(tx *mailbox.Tx) error {
		p, err := tx.PersonOf(login)
		if n = uint32(p); errors.Is(err, mailbox.ErrNotFound) {
			err = nil
		}
		return err
	})
	return n, err
}

// Enter is Number of a login of the policy, which has a person from then on.
func (g *people) Enter(ctx context.Context, login string) (uint32, error) {
	p, err := g.store.Person(ctx, login)
	return uint32(p), tooFull(err)
}

// Closed tells that nobody may log in as a user of the policy now.
func (g *people) Closed(u *policy.User) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.open[strings.ToLower(u.Login)]
	return !ok || l.person != personOf(u)
}

// User is who has a login or an email in the policy.
func (g *people) User(name string) (admin.User, bool) {
	p := g.policy()
	for i := range p.Users {
		u := &p.Users[i]
		if strings.EqualFold(u.Login, name) || u.Email != "" && strings.EqualFold(u.Email, name) {
			return admin.User{Login: u.Login, Closed: g.Closed(u), NoPIN: u.PIN == "" && u.TOTP == ""}, true
		}
	}
	return admin.User{}, false
}

// KeptOut tells the log that somebody was, not more often than each minute.
func (g *people) KeptOut(login, remote string) {
	g.mu.Lock()
	now, key := g.store.Now(), strings.ToLower(login)
	last, leaving := g.told[key], g.leaving[key] != ""
	say := !leaving || now.Sub(last) >= closedEvery || now.Before(last)
	if leaving && say {
		g.told[key] = now
	}
	g.mu.Unlock()
	if say {
		g.events.LoginClosed(login, remote)
	}
}

// Version is another after each change of who has a login or an app password.
func (g *people) Version() uint64 { return g.store.PeopleVersion() }
