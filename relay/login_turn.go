package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
	"pecgate/relay/fetch"
	"pecgate/relay/submit"
)

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
		return nil, fmt.Errorf("the login is sent again in %s, the provider did not say that the password is wrong: %s", policy.Term(wait), d.words)
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
	system                   // refused, and the provider says that its own system is at fault
	refused                  // the credential was refused
)

// refusedAs judges the error of a fetcher's login.
func refusedAs(err error) loginEnd {
	switch {
	case errors.Is(err, fetch.ErrAuthUnclear):
		return unclear
	case errors.Is(err, fetch.ErrAuthSystem):
		return system
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
// One that was taken before and is refused without a reason, and one of which the
// provider says that its own system is at fault, is tried again, later and later.
func (t *loginTurn) end(ctx context.Context, how loginEnd, words string) {
	if t.over {
		return
	}
	t.over = true
	defer t.pass()
	if (how == system || how == unclear && t.takenOnce()) && !serviceOff(words) {
		t.putOff(words)
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
	r := refusal{Service: t.service, Why: providerSaid(words), Salt: t.newSalt(), Hash: t.slow(), Off: serviceOff(words)}
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

// takenOnce tells whether the provider took the credential before.
func (t *loginTurn) takenOnce() bool {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	return t.w.logins.proven[t.c] || t.known
}

// putOff has the login wait before it is sent again, longer each time.
func (t *loginTurn) putOff(words string) {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	at := loginAt{t.service, t.c}
	d := t.w.logins.unclear[at]
	if len(t.w.logins.unclear) > 10 {
		clear(t.w.logins.unclear)
	}
	d.wait = min(max(2*d.wait, doubtFirst), doubtMost)
	d.until, d.words = time.Now().Add(d.wait), words
	t.w.logins.unclear[at] = d
}
