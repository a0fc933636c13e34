package imapd

import (
	"errors"

	"github.com/emersion/go-imap/v2" // response codes

	"pecgate/gateway/auth"
	"pecgate/policy"
)

// maxFailures is how many failed logins a connection gets.
const maxFailures = 3

// Login checks name and password (RFC 9051 section 6.2.3). Every refusal is the
// same answer. AUTHENTICATE PLAIN comes here too, with the library's write lock
// held: nothing may be written from here.
func (s *session) Login(name, password string) error {
	e, err := s.srv.opt.Login(s.ctx, name, password, s.f.remote())
	if err != nil && !errors.Is(err, auth.ErrRefused) {
		// Nothing was found wrong with the password: a client must not ask its
		// user for another one.
		return no(imap.ResponseCodeUnavailable, "Logging in is not possible now, try again later")
	}
	if err == nil && !s.mayEnter(e.Identity) {
		s.srv.opt.Events.LoginRefused(e.User, s.f.remote(), "no-right")
		err = auth.ErrRefused
	}
	if err != nil {
		if s.failures++; s.failures >= maxFailures {
			s.f.sayBye("Too many failed logins")
		}
		return no(imap.ResponseCodeAuthenticationFailed, "Authentication failed")
	}
	person, err := s.srv.opt.Store.Person(s.ctx, e.User)
	if err != nil {
		return s.reply("LOGIN", err)
	}
	s.id, s.person, s.entry = e.Identity, person, e
	s.hold(nil)
	s.f.loggedIn()
	return nil
}

// mayEnter tells whether there is anything to show: a login for one mailbox
// needs a right on it, and who may only send has no IMAP.
func (s *session) mayEnter(id policy.Identity) bool {
	return s.srv.opt.Policy().MayRead(id, s.srv.now())
}

// Unauthenticate ends the login and keeps the connection (RFC 8437).
func (s *session) Unauthenticate() error {
	s.settle()
	s.deselect()
	s.mu.Lock() // the watch reads them
	s.held, s.id, s.person, s.entry = nil, policy.Identity{}, 0, auth.Entry{}
	s.mu.Unlock()
	s.f.loggedOut()
	return nil
}
