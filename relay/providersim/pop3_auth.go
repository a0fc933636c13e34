package providersim

import "strings"

// authorize does USER and PASS (RFC 1939 7) and AUTH PLAIN (RFC 5034), the
// commands of the AUTHORIZATION state.
func (s *pop3Session) authorize(verb, arg string) error {
	if s.user != nil {
		return s.fail("logged in already")
	}
	switch verb {
	case "USER":
		if arg == "" {
			return s.fail("USER needs a name")
		}
		// Names are not told apart here, so that nobody can learn them.
		s.name = arg
		s.ok("password?")
		return nil
	case "PASS":
		if s.name == "" {
			return s.fail("USER first")
		}
		name := s.name
		s.name = ""
		return s.login(name, arg)
	}
	mechanism, initial, hasInitial := strings.Cut(arg, " ")
	switch {
	case mechanism == "":
		// The form of RFC 1734 clients: the list of mechanisms.
		s.ok("mechanisms follow\r\nPLAIN\r\n.")
		return nil
	case !strings.EqualFold(mechanism, "PLAIN"):
		return s.fail("mechanism not known")
	}
	if !hasInitial {
		s.bw.WriteString("+ \r\n")
		if err := s.bw.Flush(); err != nil {
			return err
		}
		var err error
		if initial, err = s.readLine(maxSASLLine); err != nil {
			return err
		}
		if initial == "*" {
			return s.fail("given up")
		}
	}
	text, ok := response(initial)
	parts := strings.Split(text, "\x00")
	if !ok || len(parts) != 3 {
		return s.fail("response not understood")
	}
	return s.login(parts[1], parts[2])
}

// login opens the mailbox for this session alone.
func (s *pop3Session) login(name, password string) error {
	a, text := s.p.login("pop3", name, password)
	if a == nil {
		s.badLogins++
		s.err("AUTH", text)
		if s.badLogins >= maxBadLogin {
			return errQuit
		}
		return nil
	}
	if !a.popOpen.CompareAndSwap(false, true) {
		s.err("IN-USE", "mailbox is open in another POP3 session")
		return nil
	}
	s.user = a
	s.drop = s.p.openMaildrop(a)
	n, size := s.drop.total()
	s.ok("%d messages (%d octets)", n, size)
	return nil
}

// leave gives the mailbox free for the next session.
func (s *pop3Session) leave() {
	if s.user != nil {
		s.user.popOpen.Store(false)
		s.user = nil
		s.p.notify()
	}
}
