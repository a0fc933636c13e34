package providersim

import (
	"encoding/base64"
	"strings"
)

// auth does AUTH PLAIN (RFC 4616) and LOGIN, each with or without an initial
// response.
func (s *smtpSession) auth(arg string) error {
	switch {
	case !s.helo:
		return s.fail(503, "5.5.1", "EHLO first")
	case s.user != nil:
		return s.fail(503, "5.5.1", "logged in already")
	}
	mechanism, initial, hasInitial := strings.Cut(arg, " ")
	switch strings.ToUpper(mechanism) {
	case "PLAIN":
		if !hasInitial {
			var err error
			if initial, err = s.ask(""); err != nil {
				return err
			}
		}
		text, ok := response(initial)
		parts := strings.Split(text, "\x00")
		if !ok || len(parts) != 3 {
			return s.fail(501, "5.5.2", "response not understood")
		}
		return s.login(parts[1], parts[2])
	case "LOGIN":
		if !hasInitial {
			var err error
			if initial, err = s.ask("Username:"); err != nil {
				return err
			}
		}
		name, ok := response(initial)
		if !ok {
			return s.fail(501, "5.5.2", "response not understood")
		}
		second, err := s.ask("Password:")
		if err != nil {
			return err
		}
		password, ok := response(second)
		if !ok {
			return s.fail(501, "5.5.2", "response not understood")
		}
		return s.login(name, password)
	}
	return s.fail(504, "5.5.4", "mechanism not known")
}

// ask sends a challenge and reads the answer.
func (s *smtpSession) ask(challenge string) (string, error) {
	s.reply(334, "", base64.StdEncoding.EncodeToString([]byte(challenge)))
	if err := s.bw.Flush(); err != nil {
		return "", err
	}
	return s.readLine()
}

func response(s string) (string, bool) {
	if s == "=" {
		return "", true
	}
	b, err := base64.StdEncoding.DecodeString(s)
	return string(b), err == nil
}

func (s *smtpSession) login(name, password string) error {
	var text string
	if s.user, text = s.p.login("smtp", name, password); s.user != nil {
		s.reply(235, "2.7.0", "authentication successful")
		return nil
	}
	s.badLogins++
	s.reply(535, "5.7.8", text)
	if s.badLogins >= maxBadLogin {
		s.reply(421, "4.7.0", "too many failed logins")
		return errQuit
	}
	return nil
}
