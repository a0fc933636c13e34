package auth

import (
	"context"
	"fmt"
	"strings"
)

// ServerLogin is the login of a groupware server. Several may have one name.
type ServerLogin struct {
	Name     string // compared without regard to case
	Password string // hash
}

// LoginServer checks the login of a groupware server that connects from an address
// without port, and returns the place of the first that is right. It is throttled as
// the logins of users are, and by the same count of the address. Its errors are those of
// Login.
func (s *Service) LoginServer(ctx context.Context, logins []ServerLogin, name, password, remote string) (int, error) {
	from := address(remote)
	who := s.pair("server\x00"+strings.ToLower(name), remote)
	label := fmt.Sprintf("server:%s", knownServer(logins, name))
	if len(name) > maxName || len(password) > maxSecret {
		s.fails.failed(s.pair("", remote), from, [32]byte{})
		s.opt.Events.LoginRefused("", remote, "size")
		return -1, ErrRefused
	}
	entry := s.cache.key("server\x00"+strings.ToLower(name), "", password)
	right, why := -1, ""
	check := func(hashing bool) {
		switch {
		case s.fails.again(who, entry):
			why = "again"
			return
		case s.fails.blocked(who, from):
			why = "throttled"
			return
		}
		asked := false
		for i, l := range logins {
			if !strings.EqualFold(l.Name, name) || l.Name == "" {
				continue
			}
			key := s.cache.key("server\x00"+strings.ToLower(name), l.Password, password)
			if s.cache.holds(key) {
				right = i
				return
			}
			if !hashing {
				continue
			}
			asked = true
			if h, err := parseHash(l.Password); err != nil {
				s.opt.Events.HashUnusable(label, "password")
			} else if s.compare(h, password) {
				s.cache.put(key)
				right = i
				return
			}
		}
		if hashing && !asked {
			s.compare(s.nobody, password) // a name without a login costs the same
		}
	}
	if check(false); right < 0 && why == "" {
		if err := s.inTurn(ctx, s.fails.rank(who, from), func() { check(true) }); err != nil {
			return -1, err
		}
	}
	if right >= 0 {
		s.fails.succeeded(who)
		s.opt.Events.LoginOK(label, "", remote)
		return right, nil
	}
	if why == "" {
		s.fails.failed(who, from, entry)
		why = "password"
	}
	s.opt.Events.LoginRefused(label, remote, why)
	return -1, ErrRefused
}

// knownServer is a name that some server has: what was typed for one may be a password.
func knownServer(logins []ServerLogin, name string) string {
	for _, l := range logins {
		if strings.EqualFold(l.Name, name) {
			return l.Name
		}
	}
	return ""
}
