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
//     even a quick one, is given out faster than it allows. Two things pass it,
//     since they are no guesses: an app password that is right, and a password
//     that this user got refused from this address before, which is refused
//     again.
//   - Hashes are computed by a bounded number at a time, and a bounded number
//     waits, known devices first; what is beyond that is told to come again.
//   - A wrong PIN is counted, durably if Counters are, before anybody learns
//     that it was wrong. After ten in a day none is looked at any more. An app
//     password is never a PIN.
//   - A one-time code is taken once, durably if Counters are, before anything
//     is done for it.
//   - What is counted or remembered of a user is a person's, not a login's: who
//     gets the login of somebody else begins anew, and does not log in before
//     what was the other's is kept apart (People).
//   - No secret is in an error, an event or a key of a map.
//
// It must not import configs, mailbox (except events) or relay, and is the home
// of argon2, bcrypt and one-time codes. Its tests need no fixtures.
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
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
	// ErrClosed means that the password was right, but what was the login's former
	// person's is not kept apart yet. Temporary.
	ErrClosed = errors.New("the login is closed until what was its former person's is kept apart")
	// ErrPINLocked means that ten wrong PINs were given today; no PIN is looked
	// at until the day ends.
	ErrPINLocked = errors.New("too many wrong PINs today")
	// ErrCodeSpent means that a one-time code was right, but was taken before.
	ErrCodeSpent = errors.New("this one-time code was used already")
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
	// Locked is called when the PIN of a login was locked, and whenever one is
	// given meanwhile; nil: nobody wants to know.
	Locked func(ctx context.Context, login string, use Use)
	// Codes opens the sealed secret of the one-time codes of a login; nil: codes
	// cannot be checked. The caller wipes what it gets.
	Codes    func(login, sealed string) ([]byte, error)
	Apps     Apps          // app passwords: there are none
	People   People        // who has which login: always the same
	Workers  int           // hashes computed at a time: 2
	Waiting  int           // logins and PINs that may wait for that: 4096, one for each connection
	Remember time.Duration // life of a verified login in the cache: 5 min; negative: no cache
}

// Service checks logins and PINs. Safe for concurrent use.
type Service struct {
	opt     Options
	turns   *turns // of whoever computes a hash
	flights *flights
	cache   *cache
	fails   *throttle
	servers servers
	nobody  phc    // what unknown users are checked against where there are no others
	nameKey []byte // of names in the throttle
	pins    sync.Map

	// compare computes a hash; tests count here.
	compare func(h verifier, secret string) bool
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
	if o.Apps == nil {
		o.Apps = noApps{}
	}
	if o.People == nil {
		o.People = samePeople{}
	}
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.Waiting <= 0 {
		o.Waiting = 4096
	}
	if o.Remember == 0 {
		o.Remember = 5 * time.Minute
	}
	s := &Service{
		opt: o, turns: newTurns(o.Workers, o.Waiting), flights: &flights{under: map[[32]byte]chan struct{}{}},
		cache: newCache(o.Remember, o.Now), fails: newThrottle(o.Now),
		nobody: phc{cost: DefaultCost(), salt: random(newSalt), key: random(newKey)}, nameKey: random(32),
		compare: verifier.matches,
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
// came from an address without port. ErrRefused, ErrBusy, ErrClosed, the
// context's error, or one that means that nothing is known; every other outcome
// is a success.
func (s *Service) Login(ctx context.Context, name, password, remote string) (Entry, error) {
	e, _, err := s.login(ctx, name, []string{password}, remote)
	return e, err
}

// Seen tells that the person who has a login now logged in from an address before
// this service began: such a device is known. Older than thirty days it is not.
func (s *Service) Seen(ctx context.Context, login, remote string, at time.Time) error {
	n, err := s.opt.People.Number(ctx, login)
	if err == nil {
		s.fails.seen(s.pair(userKey(login, n), remote), at)
	}
	return err
}

// LoginPIN is Login where the password may have a PIN behind it: the whole is
// tried as password first, then what stands before the last space if 4 to 12
// digits follow. The PIN of the entry is as it came, "" where there was none, and
// was not looked at.
func (s *Service) LoginPIN(ctx context.Context, name, password, remote string) (Entry, error) {
	tries, pin := []string{password}, ""
	if i := strings.LastIndexByte(password, ' '); i > 0 {
		if digits := password[i+1:]; len(digits) >= 4 && len(digits) <= 12 && strings.Trim(digits, "0123456789") == "" {
			tries, pin = append(tries, password[:i]), digits
		}
	}
	e, right, err := s.login(ctx, name, tries, remote)
	if right > 0 {
		e.PIN = pin
	}
	return e, err
}

// attempt is a login under way.
type attempt struct {
	name, remote string
	who, from    string // keys of the throttle: user and address, address
	user         policy.User
	seed         string // login, or the unknown name: never told to anybody
	known        bool   // the name is that of a user
	tries        []string
	entries      [][32]byte // of tries, in the cache
	all          [32]byte   // of all tries together: one that Login refuses may be right for LoginPIN
	person       uint32     // 0: nobody had the login yet
	app          string     // name of the app password that was right; "": none was
	digest       [32]byte   // of it
}

// userKey names a person who has a login, in the throttle.
func userKey(login string, person uint32) string {
	return fmt.Sprintf("user\x00%d\x00%s", person, strings.ToLower(login))
}

// login checks a name with passwords, the first of which that is right counts.
func (s *Service) login(ctx context.Context, name string, tries []string, remote string) (_ Entry, right int, err error) {
	a := attempt{name: name, remote: remote, from: address(remote), tries: tries}
	if len(name) > maxName || len(tries[0]) > maxSecret {
		s.fails.failed(s.pair("", remote), a.from, [32]byte{})
		s.opt.Events.LoginRefused("", remote, "size")
		return Entry{}, 0, ErrRefused
	}
	p := s.opt.Policy()
	var id policy.Identity
	if id, a.known = p.Resolve(name); a.known {
		var u *policy.User
		if u, a.known = p.User(id.User); a.known {
			a.user = *u
		}
	}
	// All names of one user count together, and unknown ones apart.
	a.seed = a.user.Login
	if !a.known {
		a.seed = strings.ToLower(name)
	}
	// Asked for unknown names too, which are to cost the same.
	if a.person, err = s.opt.People.Number(ctx, a.seed); err != nil {
		return Entry{}, 0, fmt.Errorf("look for who has a login: %w", err)
	}
	a.who = s.pair(userKey(a.user.Login, a.person), remote)
	if !a.known {
		a.who = s.pair("name\x00"+strings.ToLower(name), remote)
	}
	for _, t := range tries {
		a.entries = append(a.entries, s.cache.key(a.user.Login, a.user.Password, t))
	}
	a.all = s.cache.all(a.entries)
	if right, err = s.byApp(ctx, &a); err != nil {
		return Entry{}, 0, err
	}
	if right < 0 {
		if right, err = s.byPassword(ctx, p, &a); err != nil {
			if errors.Is(err, ErrBusy) {
				s.opt.Events.LoginBusy(remote)
			}
			return Entry{}, 0, err
		}
	}
	e, err := s.admit(ctx, &a, id)
	switch {
	case err != nil:
		return Entry{}, 0, err
	case a.app != "":
		s.opt.Apps.Used(ctx, a.user.Login, a.digest, remote)
		s.opt.Events.LoginByApp(id.User, id.Box, remote, a.app)
	default:
		s.opt.Events.LoginOK(id.User, id.Box, remote)
	}
	return e, right, nil
}

// byApp looks for an app password among what was typed: its place, or -1.
func (s *Service) byApp(ctx context.Context, a *attempt) (int, error) {
	for i, t := range a.tries {
		digest, maybe := appDigest(t)
		if !maybe || !a.known {
			continue
		}
		app, err := s.opt.Apps.Find(ctx, a.user.Login, digest)
		if err != nil {
			return -1, fmt.Errorf("look for an app password: %w", err)
		}
		if app != "" {
			// What failed before stays: the holder of a phone shall not have endless
			// guesses at the password. An app password is never held up by it.
			s.fails.seen(a.who, s.opt.Now())
			a.app, a.digest = app, digest
			return i, nil
		}
	}
	return -1, nil
}

// byPassword checks the password of the policy: the place of the right one
// among the tries, or an error.
func (s *Service) byPassword(ctx context.Context, p *policy.Policy, a *attempt) (right int, err error) {
	right, why := -1, ""
	check := func(hashing bool) {
		if s.fails.again(a.who, a.all) {
			why = "again"
			return
		}
		if s.fails.blocked(a.who, a.from) {
			why = "throttled"
			return
		}
		for i := range a.tries {
			if a.known && s.cache.holds(a.entries[i]) {
				right = i
				return
			}
		}
		for i := 0; hashing && right < 0 && i < len(a.tries); i++ {
			if s.matches(p, a.seed, "password", a.user.Password, a.tries[i]) && a.known {
				right = i
			}
		}
	}
	// The same name with the same password is looked at once at a time: of the
	// connections that a mail program opens together only the first costs a hash.
	// Names that are nobody's are no different.
	same := s.cache.key("\x00"+a.seed, a.user.Password, a.tries[0])
	for {
		if check(false); right >= 0 || why != "" {
			break
		}
		other, first := s.flights.begin(same)
		if first {
			defer s.flights.end(same)
			break
		}
		select {
		case <-other:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if right < 0 && why == "" {
		// Looked at again when its turn has come: many tries at once are as
		// throttled as one after the other.
		if err := s.inTurn(ctx, s.fails.rank(a.who, a.from), func() { check(true) }); err != nil {
			return 0, err
		}
	}
	switch {
	case right >= 0:
		s.cache.put(a.entries[right]) // before the next of the same looks
		s.fails.succeeded(a.who)
		return right, nil
	case why == "":
		s.fails.failed(a.who, a.from, a.all)
		if why = "password"; !a.known {
			why = "unknown"
		}
	}
	s.opt.Events.LoginRefused(a.user.Login, a.remote, why)
	return 0, ErrRefused
}

// inTurn runs fn, which computes one hash or two, when it is its turn.
func (s *Service) inTurn(ctx context.Context, r rank, fn func()) error {
	if err := s.turns.take(ctx, r); err != nil {
		return err
	}
	defer s.turns.done()
	fn()
	return nil
}

// matches compares a secret with a hash of the policy. An unusable hash costs
// as much as a usable one and matches nothing.
func (s *Service) matches(p *policy.Policy, login, which, hash, secret string) bool {
	h, err := parseHash(hash)
	if err != nil {
		if hash != "" {
			s.opt.Events.HashUnusable(login, which)
		}
		s.compare(s.like(p, login), secret)
		return false
	}
	return s.compare(h, secret)
}

// like is the hash of some user, whose work a name without one is to cost: of
// the same user for the same name, and of any for the next, so that names tell
// nothing where hashes are of several kinds.
func (s *Service) like(p *policy.Policy, name string) verifier {
	m := hmac.New(sha256.New, s.nameKey)
	m.Write([]byte(name))
	start := binary.BigEndian.Uint32(m.Sum(nil))
	for i := range p.Users {
		if h, err := parseHash(p.Users[(int(start%uint32(len(p.Users)))+i)%len(p.Users)].Password); err == nil {
			return h
		}
	}
	return s.nobody
}

// pair is the key of a name at an address, without the name: unknown names
// may be passwords typed into the wrong field.
func (s *Service) pair(name, remote string) string {
	m := hmac.New(sha256.New, s.nameKey)
	fmt.Fprintf(m, "%d:%s:%s", len(name), name, place(remote))
	return "pair:" + string(m.Sum(nil)[:16])
}
