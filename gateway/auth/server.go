package auth

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// ServerLogin is the login of a groupware server. Several may have one name.
type ServerLogin struct {
	Name     string // compared without regard to case
	Password string // hash
}

// LoginServer checks the login of a groupware server that connects from an address
// without port, and returns the place of the first that is right. It is throttled as
// the logins of users are, and by the same count of the address. Its errors are those of
// Login. The audit log tells of the first of a server from an address on a day, the log
// of all.
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
		s.opt.Events.ServerLogin(label, remote, s.servers.first(label, remote, s.opt.Now()))
		return right, nil
	}
	if why == "" {
		s.fails.failed(who, from, entry)
		why = "password"
	}
	s.opt.Events.LoginRefused(label, remote, why)
	return -1, ErrRefused
}

// maxServers bounds the addresses of groupware servers that are known of a day.
const maxServers = 4096

// servers knows which server logged in from which address today: some connect anew for
// each message, and the audit log is not for that.
type servers struct {
	mu   sync.Mutex
	day  string // in UTC
	seen map[string]bool
}

// first reports whether a login is the first of a server from an address on a day, and
// notes it.
func (s *servers) first(label, remote string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if day := now.UTC().Format(time.DateOnly); day != s.day || s.seen == nil {
		s.day, s.seen = day, map[string]bool{}
	}
	k := label + "\x00" + remote
	if s.seen[k] {
		return false
	}
	if len(s.seen) < maxServers {
		s.seen[k] = true
	}
	return true
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
