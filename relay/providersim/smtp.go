package providersim

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	maxCommand  = 8 << 10 // bytes of a command line; RFC 4954 asks for 12288 only with large tokens
	maxBad      = 20      // faulty commands before the connection ends
	maxBadLogin = 5
)

// smtpSession is one connection for submission (RFC 6409 over implicit TLS).
// It is written here and not taken from a library because the judge must see
// every byte as it came.
type smtpSession struct {
	p    *Provider
	conn *clientConn
	br   *bufio.Reader
	bw   *bufio.Writer

	helo       bool
	user       *account
	badLogins  int
	bad        int
	from       string
	inMail     bool
	recipients []string
}

var errQuit = errors.New("connection ends")

func (p *Provider) serveSMTP(c *clientConn) {
	defer c.Close()
	s := &smtpSession{p: p, conn: c, br: bufio.NewReaderSize(c, 64<<10), bw: bufio.NewWriter(c)}
	s.reply(220, "", p.o.Domain+" ESMTP")
	for {
		if s.br.Buffered() == 0 {
			if s.bw.Flush() != nil {
				return
			}
		}
		line, err := s.readLine()
		if err != nil {
			s.bw.Flush()
			return
		}
		if err := s.command(line); err != nil {
			s.bw.Flush()
			return
		}
	}
}

// readLine reads a line of at most maxCommand bytes; a longer one ends the session.
func (s *smtpSession) readLine() (string, error) {
	line, err := s.br.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	if len(line) > maxCommand {
		s.reply(500, "5.5.6", "line too long")
		return "", errQuit
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// reply queues an answer; lines go out when no further command waits.
func (s *smtpSession) reply(code int, enhanced, text string) {
	if enhanced != "" {
		text = enhanced + " " + text
	}
	// A write error shows at the next Flush.
	fmt.Fprintf(s.bw, "%d %s\r\n", code, text)
}

func (s *smtpSession) fail(code int, enhanced, text string) error {
	s.reply(code, enhanced, text)
	s.bad++
	if s.bad > maxBad {
		s.reply(421, "4.7.0", "too many errors")
		return errQuit
	}
	return nil
}

func (s *smtpSession) command(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		s.reset()
		s.helo = true
		s.ehlo()
	case "HELO":
		s.reset()
		s.helo = true
		s.reply(250, "", s.p.o.Domain)
	case "AUTH":
		return s.auth(arg)
	case "MAIL":
		return s.mail(arg)
	case "RCPT":
		return s.rcpt(arg)
	case "DATA":
		return s.data(arg)
	case "RSET":
		s.reset()
		s.reply(250, "2.0.0", "ok")
	case "NOOP":
		s.reply(250, "2.0.0", "ok")
	case "VRFY":
		s.reply(252, "2.1.5", "send and see")
	case "QUIT":
		s.reply(221, "2.0.0", "bye")
		return errQuit
	default:
		return s.fail(500, "5.5.1", "command not known")
	}
	return nil
}

func (s *smtpSession) ehlo() {
	lines := []string{
		s.p.o.Domain, "PIPELINING", "SIZE " + strconv.FormatInt(s.p.o.MaxSize, 10),
		"AUTH PLAIN LOGIN", "ENHANCEDSTATUSCODES", "8BITMIME",
	}
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		fmt.Fprintf(s.bw, "250%s%s\r\n", sep, l)
	}
}

func (s *smtpSession) reset() {
	s.from, s.inMail, s.recipients = "", false, nil
}

func (s *smtpSession) mail(arg string) error {
	address, params, ok := path(arg, "FROM:")
	switch {
	case !ok:
		return s.fail(501, "5.5.4", "MAIL FROM:<address> expected")
	case !s.helo:
		return s.fail(503, "5.5.1", "EHLO first")
	case s.user == nil:
		return s.fail(530, "5.7.0", "log in first")
	case s.inMail:
		return s.fail(503, "5.5.1", "a message is open already")
	}
	for _, param := range params {
		key, value, _ := strings.Cut(param, "=")
		switch strings.ToUpper(key) {
		case "SIZE":
			if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < 0 {
				return s.fail(501, "5.5.4", "SIZE is no number")
			} else if n > s.p.o.MaxSize {
				return s.fail(552, "5.3.4", "message too large")
			}
		case "BODY", "AUTH":
		default:
			return s.fail(555, "5.5.4", "parameter not known")
		}
	}
	if s.p.faults.RejectMail.fires() || !s.p.withinRate(s.user) {
		return s.fail(550, "", `MAIL from: blocked "Class Of Service" - Too much traffic from this sender`)
	}
	if fold(address) != fold(s.user.Address) {
		return s.fail(550, "5.7.1", "Sender address rejected: not logged in with this mailbox")
	}
	s.from, s.inMail = address, true
	s.reply(250, "2.1.0", "sender ok")
	return nil
}

func (s *smtpSession) rcpt(arg string) error {
	address, params, ok := path(arg, "TO:")
	switch {
	case !ok:
		return s.fail(501, "5.5.4", "RCPT TO:<address> expected")
	case !s.inMail:
		return s.fail(503, "5.5.1", "MAIL first")
	case !compliant(address):
		return s.fail(553, "5.1.3", "address not valid")
	case len(params) > 0:
		return s.fail(555, "5.5.4", "parameter not known")
	case s.p.faults.RejectRecipient.fires():
		return s.fail(550, "5.1.1", "indirizzo non valido")
	case len(s.recipients) >= s.p.o.MaxRecipients:
		return s.fail(452, "4.5.3", "too many recipients")
	}
	for _, r := range s.recipients {
		if fold(r) == fold(address) {
			s.reply(250, "2.1.5", "recipient ok")
			return nil
		}
	}
	s.recipients = append(s.recipients, address)
	s.reply(250, "2.1.5", "recipient ok")
	return nil
}

// path reads FROM:<address> or TO:<address> and what follows. The address ends
// at the first '>' outside quotes, whatever a sender meant by a later one.
func path(arg, prefix string) (address string, params []string, ok bool) {
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return "", nil, false
	}
	rest := strings.TrimLeft(arg[len(prefix):], " ")
	if !strings.HasPrefix(rest, "<") {
		return "", nil, false
	}
	quoted := false
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			tail := rest[i+1:]
			if tail != "" && tail[0] != ' ' {
				return "", nil, false
			}
			return rest[1:i], strings.Fields(tail), true
		}
	}
	return "", nil, false
}

// withinRate counts the submission of a mailbox against the PerMinute fault.
func (p *Provider) withinRate(a *account) bool {
	limit := p.faults.PerMinute.Get()
	if limit <= 0 {
		return true
	}
	now := p.o.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var kept []time.Time
	for _, t := range p.recent[a.Address] {
		if now.Sub(t) < time.Minute {
			kept = append(kept, t)
		}
	}
	if int64(len(kept)) >= limit {
		p.recent[a.Address] = kept
		return false
	}
	p.recent[a.Address] = append(kept, now)
	return true
}
