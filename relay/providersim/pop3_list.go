package providersim

import "fmt"

// list answers LIST with or without a message number (RFC 1939 5).
func (s *pop3Session) list(arg string) error {
	return s.scan(arg, func(m *dropped) string { return fmt.Sprint(m.size) })
}

// uidl answers UIDL (RFC 1939 7). An id stays the same as long as the message
// stays in INBOX and the folder is not renumbered.
func (s *pop3Session) uidl(arg string) error {
	if s.drop.noUIDL {
		return s.fail("command not known")
	}
	return s.scan(arg, func(m *dropped) string { return m.id })
}

func (s *pop3Session) scan(arg string, what func(*dropped) string) error {
	if arg != "" {
		m := s.drop.pick(arg)
		if m == nil {
			return s.fail("no such message")
		}
		s.ok("%s %s", arg, what(m))
		return nil
	}
	n, size := s.drop.total()
	s.ok("%d messages (%d octets)", n, size)
	for i := range s.drop.messages {
		if m := &s.drop.messages[i]; !m.deleted {
			fmt.Fprintf(s.bw, "%d %s\r\n", i+1, what(m))
		}
	}
	fmt.Fprint(s.bw, ".\r\n")
	return nil
}

// dele marks a message; QUIT removes it.
func (s *pop3Session) dele(arg string) error {
	m := s.drop.pick(arg)
	if m == nil {
		return s.fail("no such message")
	}
	m.deleted = true
	s.ok("message %s marked", arg)
	return nil
}

// quit ends the session; what is marked is removed now and only now.
func (s *pop3Session) quit() error {
	done := s.user == nil || s.drop.update()
	s.leave() // the next session may begin before the client reads this
	if done {
		s.ok("bye")
	} else {
		s.err("SYS/TEMP", "some messages were not removed: the mailbox was made anew")
	}
	return errQuit
}
