// Package auth says who somebody is: passwords, PINs, and how often each may be
// tried.
//
// It owns the hash of secrets, the throttling of logins, the cache of verified
// ones and the count of wrong PINs. Who may do what is the policy's matter.
//
// Invariants:
//
//   - A refusal is one error with one text, and costs the same hash, whether
//     the name is unknown, has no password or the password is wrong.
//   - Throttling comes before hashing, and before the cache: no answer, not
//     even a quick one, is given out faster than it allows.
//   - Hashes are computed by a bounded number at a time, and a bounded number
//     waits; what is beyond that is told to come again.
//   - A wrong PIN is counted, durably if Counters are, before anybody learns
//     that it was wrong. After ten in a day none is looked at any more.
//   - No secret is in an error, an event or a key of a map.
//
// It must not import configs, mailbox (except events) or relay, and is the home
// of argon2. Its tests need no fixtures.
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"pecgate/mailbox/events"
	"pecgate/policy"
)

// The errors of Login and CheckPIN.
var (
	// ErrRefused is the only refusal of a login.
	ErrRefused = errors.New("user name or password not accepted")
	// ErrBusy means that nothing was checked: too many logins wait. Temporary.
	ErrBusy = errors.New("too many logins at once, try again")
	// ErrPINLocked means that ten wrong PINs were given today; no PIN is looked
	// at until the day ends.
	ErrPINLocked = errors.New("too many wrong PINs today")
)

// maxName is the longest login name, in bytes: a login, a slash and an address.
const maxName = 400

// WrongPINs is how many wrong PINs a user may give in a day.
const WrongPINs = 10

// Options of a Service. Zero values get the default named beside them.
type Options struct {
	Policy   func() *policy.Policy // required; the policy in force
	Events   *events.Log           // required
	Now      func() time.Time      // time.Now
	Location *time.Location        // in which days of PINs begin: UTC
	Counters Counters              // memory
	Workers  int                   // hashes computed at a time: 2
	Waiting  int                   // logins and PINs that may wait for that: 256
	Remember time.Duration         // life of a verified login in the cache: 5 min; negative: no cache
}

// Service checks logins and PINs. Safe for concurrent use.
type Service struct {
	opt     Options
	work    chan struct{} // a token for each hash being computed
	line    chan struct{} // a token for each caller that computes or waits
	cache   *cache
	fails   *throttle
	nobody  phc    // what unknown users are checked against
	nameKey []byte // of names in the throttle
	pins    sync.Map
}

// New returns a Service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Counters == nil {
		o.Counters = newMemory(o.Now)
	}
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.Waiting <= 0 {
		o.Waiting = 256
	}
	if o.Remember == 0 {
		o.Remember = 5 * time.Minute
	}
	s := &Service{
		opt: o, work: make(chan struct{}, o.Workers), line: make(chan struct{}, o.Workers+o.Waiting),
		cache: newCache(o.Remember, o.Now), fails: newThrottle(o.Now),
		nobody: phc{cost: DefaultCost(), salt: random(newSalt), key: random(newKey)}, nameKey: random(32),
	}
	return s
}

// random returns random bytes; crypto/rand never fails on the systems that
// this runs on, and ends the process by itself where it would.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// Login checks a name (login, email, or login/box@domain) and a password that
// came from an address without port. ErrRefused, ErrBusy, or the context's
// error; every other outcome is a success.
func (s *Service) Login(ctx context.Context, name, password, remote string) (policy.Identity, error) {
	if len(name) > maxName || len(password) > maxSecret {
		s.fails.failed(s.pair("", remote), address(remote))
		s.opt.Events.LoginRefused("", remote, "size")
		return policy.Identity{}, ErrRefused
	}
	p := s.opt.Policy()
	id, known := p.Resolve(name)
	login, hash := "", ""
	if u, ok := p.User(id.User); known && ok {
		login, hash = u.Login, u.Password
	} else {
		known = false
	}
	// All names of one user count together, and unknown ones apart.
	who := s.pair("user\x00"+strings.ToLower(login), remote)
	if !known {
		who = s.pair("name\x00"+strings.ToLower(name), remote)
	}
	entry := s.cache.key(login, hash, password)
	ok, throttled := false, false
	check := func(hashing bool) {
		if throttled = s.fails.blocked(who, address(remote)); throttled {
			return
		}
		if ok = known && s.cache.holds(entry); !ok && hashing {
			ok = s.matches(p, login, "password", hash, password)
		}
	}
	if check(false); !ok && !throttled {
		// Looked at again when its turn has come: many tries at once are as
		// throttled as one after the other, and of a client's five connections
		// only the first costs a hash.
		if err := s.inTurn(ctx, func() { check(true) }); err != nil {
			if errors.Is(err, ErrBusy) {
				s.opt.Events.LoginBusy(remote)
			}
			return policy.Identity{}, err
		}
	}
	if throttled {
		s.opt.Events.LoginRefused(login, remote, "throttled")
		return policy.Identity{}, ErrRefused
	}
	if !ok || !known {
		s.fails.failed(who, address(remote))
		why := "password"
		if !known {
			why = "unknown"
		}
		s.opt.Events.LoginRefused(login, remote, why)
		return policy.Identity{}, ErrRefused
	}
	s.cache.put(entry)
	s.fails.succeeded(who)
	s.opt.Events.LoginOK(id.User, id.Box, remote)
	return id, nil
}

// inTurn runs fn, which computes at most one hash, when a worker is free.
func (s *Service) inTurn(ctx context.Context, fn func()) error {
	select {
	case s.line <- struct{}{}:
		defer func() { <-s.line }()
	default:
		return ErrBusy
	}
	select {
	case s.work <- struct{}{}:
		defer func() { <-s.work }()
	case <-ctx.Done():
		return ctx.Err()
	}
	fn()
	return nil
}

// matches compares a secret with a hash of the policy. An unusable hash costs
// as much as a usable one and matches nothing.
func (s *Service) matches(p *policy.Policy, login, which, hash, secret string) bool {
	h, err := parsePHC(hash)
	if err != nil {
		if hash != "" {
			s.opt.Events.HashUnusable(login, which)
		}
		s.like(p).matches(secret)
		return false
	}
	return h.matches(secret)
}

// like is a hash that nobody has, with the cost of the first user's, so that
// an unknown name takes as long as a known one.
func (s *Service) like(p *policy.Policy) phc {
	for i := range p.Users {
		if h, err := parsePHC(p.Users[i].Password); err == nil {
			return phc{cost: h.cost, salt: s.nobody.salt, key: s.nobody.key}
		}
	}
	return s.nobody
}

// pair is the key of a name at an address, without the name: unknown names
// may be passwords typed into the wrong field.
func (s *Service) pair(name, remote string) string {
	m := hmac.New(sha256.New, s.nameKey)
	fmt.Fprintf(m, "%d:%s:%s", len(name), name, remote)
	return "pair:" + string(m.Sum(nil)[:16])
}
