package relay

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
	"pecgate/relay/submit"
)

// Logins at the provider. One that was refused is not repeated: providers lock a
// mailbox after some wrong passwords. So a refused login holds back every service
// of the mailbox that would send the same, over restarts, until the credential is
// another one or a person says so:
//
//	login/<mailbox>/<service>   refusal
//
// The record has a salted, slow hash of user name and password, from which
// neither can be had. As long as the process has not seen a credential taken, only
// one login with it is under way, and that it is under way is durable before it
// is sent: a gateway that is stopped again and again while the provider ponders
// does not guess on, least of all with a credential that was never taken
// (login_taken.go).
//
// A refusal counts when it says that it is the credential (AUTHENTICATIONFAILED,
// [AUTH], 535, or words for it), and without a reason when the credential was never
// taken. The listener's never does: the second connection is refused for reasons of
// its own, and the fetcher's next login tells.

// Login is what one service of the provider is told where it differs from the
// mailbox's.
type Login struct {
	Username string                 // empty: the mailbox's
	Password func() (string, error) `json:"-"` // nil: the mailbox's, with its Expires
	Expires  time.Time              // the first instant at which the password is none any more; zero: never
}

// Services of a provider, as people read them.
const (
	serviceSMTP = "SMTP"
	serviceIMAP = "IMAP"
	servicePOP3 = "POP3"
)

// fetchService is the service a mailbox is fetched by.
func (a Account) fetchService() string {
	if a.POP3.Host != "" {
		return servicePOP3
	}
	return serviceIMAP
}

// loginOf is the whole login of a service.
func (a Account) loginOf(service string) Login {
	l := a.FetchLogin
	if service == serviceSMTP {
		l = a.SMTPLogin
	}
	if l.Username == "" {
		l.Username = a.Username
	}
	if l.Password == nil {
		l.Password, l.Expires = a.Password, a.Expires
	}
	return l
}

// refusal is a login that was refused, or of which nobody knows yet.
type refusal struct {
	Service string    `json:"service"`
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
	Salt    []byte    `json:"salt"`
	Hash    []byte    `json:"hash"` // of user name and password
	// Off: the provider says that the service is switched off, not that the
	// credential is wrong: it holds back that service alone.
	Off bool `json:"off,omitempty"`
	// Tries: so many logins were sent whose answer the gateway did not live to
	// see; 0: it was refused.
	Tries int `json:"tries,omitempty"`
	// Taken: of a credential that the provider took once.
	Taken bool `json:"taken,omitempty"`
}

const (
	// hashRounds of PBKDF2: some milliseconds, asked once for each credential.
	hashRounds = 60000
	// mostUnanswered logins end at a stop of the gateway before no other is sent.
	mostUnanswered = 2
	// unansweredFor is how long these hold a service back.
	unansweredFor = time.Hour
)

// errSuspended says that the provider refused this login before.
var errSuspended = errors.New("the provider has refused this login before, it is not sent again")

func refusalsPrefix(box string) string { return "login/" + strings.ToLower(box) + "/" }

func refusalKey(box, service string) string { return refusalsPrefix(box) + service }

// maxRefusals bounds what is read of one mailbox: there are three services.
const maxRefusals = 8

func refusalsOf(tx *mailbox.Tx, box string) (all []refusal, err error) {
	err = tx.Space(room).Scan(refusalsPrefix(box), func(_ string, raw []byte) (bool, error) {
		var r refusal
		if err := json.Unmarshal(raw, &r); err != nil {
			return false, fmt.Errorf("record of a refused login: %w", err)
		}
		all = append(all, r)
		return len(all) < maxRefusals, nil
	})
	return all, err
}

// credential is user name and password as one number, for this process alone.
type credential [sha256.Size]byte

func credentialOf(username, password string) credential {
	return sha256.Sum256([]byte(fmt.Sprintf("%d:%s,%s", len(username), username, password)))
}

func slowHash(c credential, salt []byte) []byte {
	h, err := pbkdf2.Key(sha256.New, string(c[:]), salt, hashRounds, sha256.Size)
	if err != nil {
		return nil // only for lengths that nobody asks for; nil matches nothing
	}
	return h
}

// logins is what a worker remembers of its logins; the fields below turn are
// under the worker's lock.
type logins struct {
	turn   chan struct{} // held while a credential of which nothing is known is tried
	now    Account       // with the logins as they are now
	proven map[credential]bool
	// refused are those whose refusal could not be recorded.
	refused map[credential]string
	judged  map[[sha256.Size]byte]bool // refusals compared with credentials
	unclear map[loginAt]doubt
}

// loginAt is a credential at a service.
type loginAt struct {
	service string
	c       credential
}

// doubt is about a login that was taken before and that was refused without a word
// that says why.
type doubt struct {
	until time.Time
	wait  time.Duration
	words string
}

const (
	// doubtFirst and doubtMost are the waits before such a login is sent again,
	// doubled in between: the provider may be in trouble, or the password a new one.
	doubtFirst = time.Minute
	doubtMost  = time.Hour
)

func newLogins(a Account) logins {
	return logins{
		turn: make(chan struct{}, 1), now: a,
		proven: map[credential]bool{}, refused: map[credential]string{}, judged: map[[sha256.Size]byte]bool{},
		unclear: map[loginAt]doubt{},
	}
}

// setLogins takes the logins of a reload.
func (w *worker) setLogins(a Account) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logins.now = a
}

// credential reads user name and password of a service; they are kept nowhere.
func (w *worker) credential(service string) (username, password string, c credential, err error) {
	w.mu.Lock()
	l := w.logins.now.loginOf(service)
	w.mu.Unlock()
	if password, err = l.Password(); err != nil {
		return "", "", c, fmt.Errorf("read the provider's password: %w", err)
	}
	return l.Username, password, credentialOf(l.Username, password), nil
}

// of tells whether a refusal is of a credential.
func (w *worker) of(r *refusal, c credential) bool {
	k := sha256.Sum256(append(append(append([]byte{}, r.Salt...), r.Hash...), c[:]...))
	w.mu.Lock()
	same, known := w.logins.judged[k]
	w.mu.Unlock()
	if known {
		return same
	}
	same = len(r.Hash) > 0 && subtle.ConstantTimeCompare(slowHash(c, r.Salt), r.Hash) == 1
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.logins.judged) > 100 {
		clear(w.logins.judged)
	}
	w.logins.judged[k] = same
	return same
}

// open tells whether the logins of a record had no answer, lately.
func (r *refusal) open(now time.Time) bool {
	return r.Tries > 0 && !now.Before(r.At) && now.Sub(r.At) < unansweredFor
}

// suspended tells whether the login of a service would be one that was refused
// already. What was refused of another credential is over.
func (s *Service) suspended(ctx context.Context, w *worker, service string) bool {
	_, _, c, err := w.credential(service)
	if err != nil {
		return false // the attempt tells what is wrong with it
	}
	held, err := s.heldBack(ctx, w, service, c)
	if err != nil {
		return false // the attempt asks again, and is not made where nobody can tell
	}
	if service == w.acc.fetchService() {
		w.mu.Lock()
		if w.facts.Suspended = ""; held { // the words are on record
			w.facts.Suspended = service
		}
		w.mu.Unlock()
	}
	if held {
		s.tellSuspended(ctx, w)
	}
	return held
}

// heldBack is suspended for a credential.
func (s *Service) heldBack(ctx context.Context, w *worker, service string, c credential) (held bool, err error) {
	w.mu.Lock()
	_, held = w.logins.refused[c]
	w.mu.Unlock()
	if held {
		return true, nil
	}
	var all []refusal
	var now time.Time
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		now = tx.Now()
		all, err = refusalsOf(tx, w.acc.Box)
		return err
	})
	if err != nil {
		return false, err
	}
	unanswered, most := 0, 0
	for i := range all {
		switch r := &all[i]; {
		case r.Off && r.Service != service, r.Tries > 0 && !r.open(now):
		case w.of(r, c):
			unanswered += r.Tries
			most = max(most, r.most())
			held = held || r.Tries == 0
		case r.Tries == 0 && w.outdated(r):
			if err := s.endRefusal(ctx, w, r, "the credential is another one"); err != nil {
				return held, err
			}
		}
	}
	return held || unanswered > 0 && unanswered >= most, nil
}

// outdated tells whether the service that was refused has another credential by now, or
// the mailbox no such service.
func (w *worker) outdated(r *refusal) bool {
	if r.Service != serviceSMTP && r.Service != w.acc.fetchService() {
		return true
	}
	_, _, c, err := w.credential(r.Service)
	return err == nil && !w.of(r, c)
}

// endRefusal takes a refusal away that holds nothing back any more.
func (s *Service) endRefusal(ctx context.Context, w *worker, r *refusal, why string) error {
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if err := tx.Space(room).Delete(refusalKey(w.acc.Box, r.Service)); err != nil {
			return err
		}
		return tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "provider login", Box: w.acc.Box, Subject: r.Service, Result: "resumed", Reason: why})
	})
	if err != nil {
		return err
	}
	return s.endedSuspension(ctx, w.acc.Box, r.Service)
}

// loginTurn is one login under way.
type loginTurn struct {
	username, password string

	s       *Service
	w       *worker
	service string
	c       credential
	salt    []byte
	hash    []byte
	mine    bool // it has the turn
	marked  bool // it is on record that it is under way
	known   bool // the provider took it once
	over    bool
}

// login begins a login with a service; end must be called. errSuspended: it is
// not to be sent.
func (s *Service) login(ctx context.Context, w *worker, service string) (*loginTurn, error) {
	username, password, c, err := w.credential(service)
	if err != nil {
		return nil, err
	}
	if held, err := s.heldBack(ctx, w, service, c); err != nil || held {
		return nil, errors.Join(err, suspendedIf(held))
	}
	w.mu.Lock()
	d := w.logins.unclear[loginAt{service, c}]
	w.mu.Unlock()
	if wait := time.Until(d.until); wait > 0 {
		return nil, fmt.Errorf("the login is sent again in %s, the provider did not say why it refused it: %s", wait.Round(time.Second), d.words)
	}
	return &loginTurn{username: username, password: password, s: s, w: w, service: service, c: c}, nil
}

func suspendedIf(held bool) error {
	if held {
		return errSuspended
	}
	return nil
}

// before is called right before the login is sent: it waits for another one of
// the mailbox whose end tells whether this one may be.
func (t *loginTurn) before(ctx context.Context) error {
	t.w.mu.Lock()
	proven := t.w.logins.proven[t.c]
	t.w.mu.Unlock()
	if !proven {
		select {
		case t.w.logins.turn <- struct{}{}:
			t.mine = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// Another login, or a command, may have ended since.
	held, err := t.s.heldBack(ctx, t.w, t.service, t.c)
	if err != nil || held {
		return errors.Join(err, suspendedIf(held))
	}
	t.w.mu.Lock()
	proven = t.w.logins.proven[t.c]
	t.w.mu.Unlock()
	if proven {
		t.pass()
		return nil
	}
	return t.mark(ctx)
}

// mark makes it durable that a login is under way of which nothing is known.
func (t *loginTurn) mark(ctx context.Context) error {
	err := t.s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		r := refusal{Service: t.service}
		k := refusalKey(t.w.acc.Box, t.service)
		if err := tx.Space(room).Get(k, &r); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return err
		}
		if !t.w.of(&r, t.c) || !r.open(tx.Now()) {
			r = refusal{Service: t.service, Salt: t.newSalt()}
			r.Hash = t.slow()
		}
		taken, err := t.w.takenBefore(tx, t.service, t.c)
		if err != nil {
			return err
		}
		r.Tries++
		r.Taken, t.known = taken, taken
		r.At, r.Why = tx.Now().UTC(), "the gateway was stopped in the middle of the login, more than once"
		return tx.Space(room).Put(k, r)
	})
	t.marked = err == nil
	return err
}

func (t *loginTurn) newSalt() []byte {
	if t.salt == nil {
		t.salt = make([]byte, 16)
		rand.Read(t.salt)
	}
	return t.salt
}

func (t *loginTurn) slow() []byte {
	if t.hash == nil {
		t.hash = slowHash(t.c, t.newSalt())
	}
	return t.hash
}

// pass lets the next login have its turn.
func (t *loginTurn) pass() {
	if t.mine {
		t.mine = false
		<-t.w.logins.turn
	}
}

// taken says that the provider took the login.
func (t *loginTurn) taken(ctx context.Context) {
	if t.over {
		return
	}
	t.over = true
	defer t.pass()
	t.w.mu.Lock()
	if len(t.w.logins.proven) > 10 { // passwords come and go
		clear(t.w.logins.proven)
	}
	t.w.logins.proven[t.c] = true
	delete(t.w.logins.unclear, loginAt{t.service, t.c})
	t.w.mu.Unlock()
	t.proved(ctx)
}

// How a login ended that was not taken.
type loginEnd int

const (
	noAnswer loginEnd = iota // nobody knows, or it was refused for something that passes
	unclear                  // refused, and nothing says that it is the credential
	refused                  // the credential was refused
)

// refusedAs judges the error of a fetcher's login.
func refusedAs(err error) loginEnd {
	switch {
	case errors.Is(err, fetch.ErrAuthUnclear):
		return unclear
	case errors.Is(err, fetch.ErrAuthRefused):
		return refused
	}
	return noAnswer
}

// sentAs judges the result of a sender's login.
func sentAs(r submit.Result) loginEnd {
	switch {
	case r.Class != submit.AuthRefused:
		return noAnswer
	case r.Unclear():
		return unclear
	}
	return refused
}

func (t *loginTurn) unmark(ctx context.Context) {
	if !t.marked {
		return
	}
	t.marked = false
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	err := t.s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Delete(refusalKey(t.w.acc.Box, t.service)) })
	if err == nil {
		err = t.s.endedSuspension(ctx, t.w.acc.Box, t.service)
	}
	if err != nil {
		t.s.opt.Events.Fault("login", t.w.acc.Box, err)
	}
}

// end says how it went where the login was not taken, with the provider's words.
// One that was taken before and is refused without a reason is tried again, later
// and later.
func (t *loginTurn) end(ctx context.Context, how loginEnd, words string) {
	if t.over {
		return
	}
	t.over = true
	defer t.pass()
	if how == unclear && !serviceOff(words) && t.doubted(words) {
		how = noAnswer
	}
	if how == noAnswer {
		// A stop of the service counts, since the answer may have been on its way and a
		// start follows; that a person waits no longer does not.
		if ctx.Err() == nil || errors.Is(context.Cause(ctx), errNobodyWaits) {
			t.unmark(ctx)
		}
		return
	}
	t.w.mu.Lock()
	delete(t.w.logins.proven, t.c)
	t.w.logins.refused[t.c] = words // until it is on record
	t.w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	r := refusal{Service: t.service, Why: words, Salt: t.newSalt(), Hash: t.slow(), Off: serviceOff(words)}
	err := t.s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		r.At = tx.Now().UTC()
		if err := tx.Space(room).Put(refusalKey(t.w.acc.Box, t.service), r); err != nil {
			return err
		}
		if taken, err := t.w.takenBefore(tx, t.service, t.c); err != nil {
			return err
		} else if taken {
			if err := tx.Space(room).Delete(takenKey(t.w.acc.Box, t.service)); err != nil {
				return err
			}
		}
		return tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "provider login", Box: t.w.acc.Box, Subject: t.service, Result: "suspended", Reason: words})
	})
	t.s.opt.Events.ProviderLoginRefused(t.w.acc.Box, t.service, words)
	if err != nil {
		t.s.opt.Events.Fault("login", t.w.acc.Box, err)
		return
	}
	t.w.mu.Lock()
	delete(t.w.logins.refused, t.c)
	t.w.mu.Unlock()
	t.s.tellSuspended(ctx, t.w)
}

// doubted puts a login off that was taken before; false: it never was.
func (t *loginTurn) doubted(words string) bool {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if !t.w.logins.proven[t.c] && !t.known {
		return false
	}
	at := loginAt{t.service, t.c}
	d := t.w.logins.unclear[at]
	if len(t.w.logins.unclear) > 10 {
		clear(t.w.logins.unclear)
	}
	d.wait = min(max(2*d.wait, doubtFirst), doubtMost)
	d.until, d.words = time.Now().Add(d.wait), words
	t.w.logins.unclear[at] = d
	return true
}

// serviceOff tells whether a refusal says that the service is not switched on
// for the mailbox: providers have a switch for each in their panel.
func serviceOff(words string) bool {
	words = strings.ToLower(words)
	has := func(list ...string) bool {
		for _, w := range list {
			if strings.Contains(words, w) {
				return true
			}
		}
		return false
	}
	return has("disabled", "not enabled", "not permitted", "not allowed", "disabilitat", "non abilitat", "non attiv", "non consentit", "disattivat") &&
		has("imap", "pop3", "pop ", "smtp", "protocol", "service", "servizio", "access via", "accesso tramite") &&
		!has("account disabled", "account is disabled", "user disabled", "utente disabilitato", "casella disabilitata", "mailbox disabled")
}
