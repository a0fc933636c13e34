package smtpd

import (
	"strings"
)

// plain is the mechanism PLAIN (RFC 4616) without authorization identities
// other than the user's own.
type plain struct {
	login func(name, password string) error
	asked bool
}

// Next takes the response.
func (p *plain) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && !p.asked {
		p.asked = true
		return []byte{}, false, nil
	}
	f := strings.Split(string(response), "\x00")
	if len(f) != 3 || f[0] != "" && f[0] != f[1] || !typed(f[1]) || !typed(f[2]) {
		return nil, false, p.login("", "")
	}
	return nil, true, p.login(f[1], f[2])
}

// login is the mechanism LOGIN (draft-murchison-sasl-login), which Outlook and
// devices use.
type login struct {
	login func(name, password string) error
	name  string
	step  int // 0: nothing asked, 1: name asked, 2: password asked
}

// Next takes the name, then the password. The name may come with AUTH.
func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case l.step == 0 && response == nil:
		l.step = 1
		return []byte("Username:"), false, nil
	case l.step < 2:
		l.name, l.step = string(response), 2
		return []byte("Password:"), false, nil
	}
	if !typed(l.name) || !typed(string(response)) {
		return nil, false, l.login("", "")
	}
	return nil, true, l.login(l.name, string(response))
}

// typed reports that a value could have been typed into a line: what holds line
// ends or NUL is no name and no password.
func typed(s string) bool { return s != "" && !strings.ContainsAny(s, "\x00\r\n") }
