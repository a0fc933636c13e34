package auth

import (
	"context"
	"fmt"
	"sync"

	"pecgate/policy"
)

// People knows which person a login is: a login that is given to somebody else is
// another person from then on, and each has a number.
type People interface {
	// Number is that of who has a login, 0 where nobody had it yet. The login may be
	// no user's.
	Number(ctx context.Context, login string) (uint32, error)
	// Enter is Number for one who logs in, and has a number from then on.
	Enter(ctx context.Context, login string) (uint32, error)
	// Closed tells that nobody may log in as a user now, because it is not done yet
	// to keep apart what was somebody else's.
	Closed(u *policy.User) bool
	// KeptOut notes that somebody was, for that reason.
	KeptOut(login, remote string)
	// Version is another after each change of what the others answer, and of app
	// passwords.
	Version() uint64
}

// samePeople is People who never change.
type samePeople struct{}

func (samePeople) Number(context.Context, string) (uint32, error) { return 0, nil }
func (samePeople) Enter(context.Context, string) (uint32, error)  { return 0, nil }
func (samePeople) Closed(*policy.User) bool                       { return false }
func (samePeople) KeptOut(string, string)                         {}
func (samePeople) Version() uint64                                { return 0 }

// Entry is a login that succeeded: who, and a PIN that came behind the password.
type Entry struct {
	policy.Identity
	PIN string

	proof *proof // nil: nothing ends it
}

// proof is what an entry rests on.
type proof struct {
	s        *Service
	login    string
	person   uint32
	password string    // hash in the policy then
	app      *[32]byte // digest of the app password; nil: it was the password

	mu      sync.Mutex
	policy  *policy.Policy // with these two it was good
	version uint64
}

// admit makes the entry of an attempt whose password was right.
func (s *Service) admit(ctx context.Context, a *attempt, id policy.Identity) (Entry, error) {
	// Before the person is looked for: one who is parted later has another number.
	if s.opt.People.Closed(&a.user) {
		s.opt.People.KeptOut(a.user.Login, a.remote)
		return Entry{}, ErrClosed
	}
	n, err := s.opt.People.Enter(ctx, a.user.Login)
	if err != nil {
		return Entry{}, fmt.Errorf("look for who has a login: %w", err)
	}
	pr := &proof{s: s, login: a.user.Login, person: n, password: a.user.Password}
	if a.app != "" {
		pr.app = &a.digest
	}
	if n != a.person { // the first time, or it changed just now
		s.fails.seen(s.pair(userKey(a.user.Login, n), a.remote), s.opt.Now())
	}
	return Entry{Identity: id, proof: pr}, nil
}

// Holds tells whether what an entry rested on is still so: the same person has the
// login, with the same password in the policy, and the app password was not
// revoked. A session asks before it does anything for its user; while nothing
// changed that costs nothing. The zero entry holds.
func (e Entry) Holds(ctx context.Context) (bool, error) {
	pr := e.proof
	if pr == nil {
		return true, nil
	}
	p, version := pr.s.opt.Policy(), pr.s.opt.People.Version()
	pr.mu.Lock()
	same := pr.policy == p && pr.version == version
	pr.mu.Unlock()
	if same {
		return true, nil
	}
	holds, err := pr.holds(ctx, p)
	if holds && err == nil {
		pr.mu.Lock()
		pr.policy, pr.version = p, version
		pr.mu.Unlock()
	}
	return holds, err
}

func (pr *proof) holds(ctx context.Context, p *policy.Policy) (bool, error) {
	u, ok := p.User(pr.login)
	if !ok || u.Password != pr.password || pr.s.opt.People.Closed(u) {
		return false, nil
	}
	if n, err := pr.s.opt.People.Number(ctx, u.Login); err != nil || n != pr.person {
		return false, err
	}
	if pr.app == nil {
		return true, nil
	}
	name, err := pr.s.opt.Apps.Find(ctx, u.Login, *pr.app)
	return err == nil && name != "", err
}
