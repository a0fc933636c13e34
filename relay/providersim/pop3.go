package providersim

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

const (
	maxPOP3Line = 255   // bytes of a command with its line end (RFC 2449 4)
	maxSASLLine = 12288 // bytes of an answer in a SASL exchange (RFC 5034 4, RFC 4954 4)
)

// pop3Session is one connection for POP3 (RFC 1939, RFC 2449) over implicit TLS.
// It shows INBOX as it was at login: what comes, goes or is moved to a folder
// afterwards is seen at the next login. It is written here because a judge of
// POP3 clients must be able to cut and to lie at every byte.
type pop3Session struct {
	p    *Provider
	conn *clientConn
	br   *bufio.Reader
	bw   *bufio.Writer

	name      string // of USER, until PASS
	user      *account
	drop      maildrop // once user is set
	bad       int      // faulty commands
	badLogins int
}

func (p *Provider) servePOP3(c *clientConn) {
	defer c.Close()
	s := &pop3Session{p: p, conn: c, br: bufio.NewReaderSize(c, maxSASLLine), bw: bufio.NewWriter(c)}
	// However it ends: without QUIT nothing is deleted (RFC 1939 6).
	defer s.leave()
	s.ok("%s POP3 ready", p.o.Domain)
	for {
		// Answers to pipelined commands go out together.
		if s.br.Buffered() == 0 && s.bw.Flush() != nil {
			return
		}
		line, err := s.readLine(maxPOP3Line)
		if err == nil {
			err = s.command(line)
		}
		if err != nil {
			s.bw.Flush()
			return
		}
	}
}

var errLine = errors.New("line too long")

// readLine reads a line of at most limit bytes; a longer one ends the session.
func (s *pop3Session) readLine(limit int) (string, error) {
	line, err := s.br.ReadSlice('\n')
	if len(line) > limit {
		err = errLine
	}
	switch {
	case errors.Is(err, errLine), errors.Is(err, bufio.ErrBufferFull):
		s.err("", "line too long")
		return "", errQuit
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// ok queues a good answer. A write error shows at the next Flush.
func (s *pop3Session) ok(format string, args ...any) {
	fmt.Fprintf(s.bw, "+OK "+format+"\r\n", args...)
}

// err queues a bad answer, with a response code (RFC 2449 8, RFC 3206) if one fits.
func (s *pop3Session) err(code, text string) {
	if code != "" {
		text = "[" + code + "] " + text
	}
	fmt.Fprintf(s.bw, "-ERR %s\r\n", text)
}

// fail answers a faulty command and ends the session after too many.
func (s *pop3Session) fail(text string) error {
	s.err("", text)
	s.bad++
	if s.bad > maxBad {
		return errQuit
	}
	return nil
}

func (s *pop3Session) command(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	// PASS takes all that follows, blanks too (RFC 1939 7).
	if verb != "PASS" {
		arg = strings.TrimSpace(arg)
	}
	switch verb {
	case "CAPA":
		s.capa()
		return nil
	case "QUIT":
		return s.quit()
	case "USER", "PASS", "AUTH":
		return s.authorize(verb, arg)
	case "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "NOOP", "RSET":
	default:
		return s.fail("command not known")
	}
	if s.user == nil {
		return s.fail("log in first")
	}
	switch verb {
	case "STAT":
		n, size := s.drop.total()
		s.ok("%d %d", n, size)
	case "LIST":
		return s.list(arg)
	case "UIDL":
		return s.uidl(arg)
	case "RETR":
		return s.retr(arg)
	case "TOP":
		return s.top(arg)
	case "DELE":
		return s.dele(arg)
	case "NOOP":
		s.ok("nothing done")
	case "RSET":
		s.drop.restore()
		n, size := s.drop.total()
		s.ok("%d messages (%d octets)", n, size)
	}
	return nil
}

// capa lists what is offered (RFC 2449 5). UTF8 (RFC 6856) is not.
func (s *pop3Session) capa() {
	list := []string{"TOP", "USER", "SASL PLAIN", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"}
	if s.user != nil && !s.drop.noUIDL || s.user == nil && !s.p.faults.NoUIDL.Active() {
		list = append(list, "UIDL")
	}
	s.ok("capabilities follow")
	for _, c := range list {
		fmt.Fprintf(s.bw, "%s\r\n", c)
	}
	fmt.Fprint(s.bw, ".\r\n")
}
