package smtpd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// Bounds of the conversation.
const (
	maxLine      = 2048  // octets of a command with CRLF; RFC 5321 section 4.5.3.1.4 asks for 512 and room for extensions
	maxAuthLine  = 16384 // octets of AUTH and what follows it; RFC 4954 section 4 asks for 12288
	maxUnknown   = 50    // commands before login
	block        = 32 << 10
	writeAt      = 8 << 10 // gathered answers are sent at the latest
	idle         = 5 * time.Minute
	farewell     = 5 * time.Second // for the last answer to somebody who may not read
	commandPace  = 64              // octets a second once a command has begun
	commandGrace = 30 * time.Second
	dataPace     = 512 // octets a second of a message; a bad home line has sixty times that
	dataGrace    = 2 * time.Minute
)

// link is what the filter needs of the connection below it; *gate.Conn is one.
type link interface {
	net.Conn
	Remote() string
	Upgraded() bool // the client has had its greeting before STARTTLS
	LoggedIn()
	Expect(rate int64, grace time.Duration)
	Draining() bool
	OnDrain(func())
	Interrupt()
}

// conn stands between the line and go-smtp. The library is handed one command
// for each Read, so that when Read is called all answers to the one before are
// known and nothing of what follows is in the library's buffer.
type conn struct {
	link
	srv *Server

	in       []byte // what came and is not used yet: in[r:w]
	r, w     int
	rest     []byte // of the command that is being handed over
	partial  bool   // a command has begun; its pace is being asked
	sasl     bool   // the next line answers a challenge
	endMark  bool   // the next line is the end mark of a message
	swallow  bool   // the greeting that the client has had already
	hangUp   string // reply to send, and then the end
	commands int    // before login
	woken    bool   // the soft stop has interrupted a wait

	// The raw path of the last MAIL or RCPT, which the library unquotes before
	// the session sees it.
	path   string
	pathOK bool
	rcpts  int // RCPT commands in this transaction, also those that the library refuses
	ses    *session

	chunks  *chunks // the message comes by BDAT; nil: by DATA
	chatter int     // commands between two chunks

	mu     sync.Mutex
	out    []byte // answers not sent yet
	outErr error
	closed bool
}

func (s *Server) filter(l link) *conn {
	c := &conn{link: l, srv: s, swallow: l.Upgraded(), in: make([]byte, 4<<10)}
	s.enter(c)
	l.OnDrain(l.Interrupt)
	return c
}

// Read gives the library the next command, or the rest of it.
func (c *conn) Read(p []byte) (n int, err error) {
	// The library handles a panic of a command, not one of what it reads from.
	defer func() {
		if recover() != nil {
			c.srv.opt.Events.Panic("smtp", string(debug.Stack()))
			c.cut()
			n, err = 0, errLost
		}
	}()
	for len(c.rest) == 0 {
		line, err := c.command()
		if err != nil {
			return 0, err
		}
		c.rest = line
	}
	n = copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// command returns the next line that the library shall see. Lines that it must
// not see are answered here.
func (c *conn) command() ([]byte, error) {
	for {
		if c.hangUp != "" {
			return nil, c.end(c.hangUp)
		}
		if c.chunks != nil {
			if !c.endMark {
				return nil, c.end(silence) // the library refused our DATA: the chunk would be run as commands
			}
			// It waits for the end mark of what it takes for DATA.
			c.chunks, c.endMark = nil, false
			return []byte(".\r\n"), nil
		}
		if c.Draining() && !c.busy() {
			return nil, c.end("421 4.3.2 Il server si sta fermando, riprovare tra poco / shutting down, try again soon")
		}
		line, err := c.line()
		if err != nil {
			return nil, err
		}
		if line == nil {
			continue
		}
		answer, ok := c.judge(line)
		if ok && c.chunks != nil {
			return []byte("DATA\r\n"), nil
		}
		if ok {
			return plainORCPT(line), nil
		}
		if answer != "" {
			c.say(answer)
		}
	}
}

// busy says that something is under way which a soft stop lets end.
func (c *conn) busy() bool { return c.sasl || c.endMark || c.ses != nil && c.ses.open }

// line reads a line with its end. It returns nothing where the wait was
// interrupted.
func (c *conn) line() ([]byte, error) {
	for seen := c.r; ; {
		limit := maxLine
		if c.sasl || hasVerb(c.in[c.r:c.w], "AUTH") {
			limit = maxAuthLine
		}
		i := bytes.IndexByte(c.in[seen:c.w], '\n')
		if i < 0 && c.w-c.r >= limit || i >= 0 && seen+i+1-c.r > limit {
			return nil, c.end("500 5.5.2 Comando troppo lungo / line too long")
		}
		if i >= 0 {
			line := c.in[c.r : seen+i+1]
			c.r = seen + i + 1
			if c.partial {
				c.partial = false
				c.Expect(0, 0)
			}
			return line, nil
		}
		if c.r < c.w && !c.partial {
			// Begun is to be ended: a byte every few minutes keeps no place.
			c.partial = true
			c.Expect(commandPace, commandGrace)
		}
		before := c.w - c.r
		if err := c.fill(limit); err != nil {
			if err == errInterrupted {
				return nil, nil
			}
			// Half a command at the end is dropped: the library would run it.
			return nil, err
		}
		seen = c.r + before
	}
}

// fill reads more into the buffer, which holds at least limit, after sending
// all answers.
func (c *conn) fill(limit int) error {
	if err := c.flush(); err != nil {
		return err
	}
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if len(c.in)-c.r < limit || c.w == len(c.in) {
		to := c.in
		if len(to) < limit {
			to = make([]byte, limit)
		}
		c.w = copy(to, c.in[c.r:c.w])
		c.r, c.in = 0, to
	}
	for {
		n, err := c.link.Read(c.in[c.w:])
		c.w += n
		if n > 0 {
			return nil
		}
		if c.woken || !errors.Is(err, os.ErrDeadlineExceeded) || !c.Draining() {
			return err
		}
		// The soft stop has interrupted the wait; a later timeout is a real one.
		c.woken = true
		if !c.busy() {
			return errInterrupted
		}
		if err := c.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return err
		}
	}
}

// errInterrupted ends a wait for a command when a soft stop begins.
var errInterrupted = errors.New("interrupted by a soft stop")

// judge decides about a line: ok means that the library may have it; else the
// answer, if any, is ours.
func (c *conn) judge(line []byte) (answer string, ok bool) {
	if c.endMark {
		c.endMark = false
		return "", true
	}
	text, crlf := bytes.CutSuffix(line, []byte("\r\n"))
	if !crlf || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
		// Peers that disagree about where a line ends disagree about everything
		// that follows.
		c.hangUp = "500 5.5.2 I comandi terminano con CRLF / commands end with CRLF"
		return "", false
	}
	if c.sasl {
		c.sasl = false
		return "", true
	}
	verb, arg, _ := strings.Cut(string(text), " ")
	verb = strings.ToUpper(verb)
	if verb == "RCPT" {
		c.rcpts++
	}
	for _, b := range text {
		if b < ' ' || b > '~' {
			if bytes.EqualFold(text[:min(4, len(text))], []byte("BDAT")) {
				c.hangUp = noChunkLength // its chunk would be run as commands
				return "", false
			}
			return "500 5.5.2 Nei comandi solo caratteri ASCII / commands are printable ASCII", false
		}
	}
	if !c.loggedIn() {
		if c.commands++; c.commands > maxUnknown {
			c.hangUp = "421 4.7.0 Troppi comandi senza accesso / too many commands without login"
			return "", false
		}
	}
	switch verb {
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "TRACE", "PATCH", "PRI":
		c.hangUp = silence
		return "", false
	case "BDAT":
		if c.srv.opt.Relay != nil {
			return c.bdat(arg)
		}
		// The chunk follows whatever is answered, and would be run as commands.
		c.hangUp = "502 5.5.1 BDAT non disponibile / BDAT is not offered"
		return "", false
	case "STARTTLS":
		return "503 5.5.1 TLS e' gia' attivo / TLS is on already", false
	case "EHLO", "HELO":
		if len(arg) > 255 {
			return "501 5.5.4 Nome troppo lungo / name too long", false
		}
	case "MAIL":
		c.path, c.pathOK = rawPath(arg, "FROM:")
		if c.tooLarge(arg) {
			r := c.srv.tooLarge()
			if c.ses != nil && c.ses.who.User != "" {
				c.srv.opt.Events.SubmissionRefused(c.ses.who.User, c.ses.sender(), c.Remote(), r.code, r.enhanced, r.reason, r.where)
			}
			return r.line(), false
		}
	case "RCPT":
		c.path, c.pathOK = rawPath(arg, "TO:")
	case "DATA":
		if c.r < c.w {
			// RFC 2920 section 3.1: DATA ends a group. If it were refused, the
			// message that came along would be run as commands.
			c.hangUp = "503 5.5.0 Dati inviati prima della risposta a DATA / data sent before the answer to DATA"
			return "", false
		}
		if c.ses != nil && c.ses.open && c.rcpts > c.ses.accepted {
			return spoiled().line(), false
		}
	}
	return "", true
}

// silence is a hangUp without a word.
const silence = "\x00"

func (c *conn) loggedIn() bool { return c.ses != nil && (c.ses.who.User != "" || c.ses.vouched) }

// tooLarge looks at SIZE= (RFC 1870): the library cannot read more than 32 bits
// and would call it a syntax error.
func (c *conn) tooLarge(arg string) bool {
	for _, f := range strings.Fields(arg)[min(1, len(strings.Fields(arg))):] {
		if len(f) > 5 && strings.EqualFold(f[:5], "SIZE=") {
			d := strings.TrimLeft(f[5:], "0")
			if d == "" || strings.Trim(d, "0123456789") != "" {
				return false // not a number: the library's matter
			}
			if len(d) > 18 || atoi(d) > c.srv.opt.MaxSize {
				return true
			}
		}
	}
	return false
}

// atoi reads at most 18 digits.
func atoi(d string) (n int64) {
	for i := range len(d) {
		n = n*10 + int64(d[i]-'0')
	}
	return n
}

func hasVerb(b []byte, verb string) bool {
	return len(b) > len(verb) && b[len(verb)] == ' ' && strings.EqualFold(string(b[:len(verb)]), verb)
}

// Write takes the library's answers. They are gathered until it waits for the
// client, so that a group of commands is answered at once.
func (c *conn) Write(p []byte) (int, error) {
	switch {
	case c.swallow && bytes.HasPrefix(p, []byte("220 ")):
		c.swallow = false
		return len(p), nil
	case string(p) == "250-CHUNKING\r\n" && c.srv.opt.Relay == nil:
		return len(p), nil // cannot be switched off, and takes cut chunks for whole ones
	case c.chunks != nil && bytes.HasPrefix(p, []byte("354 ")):
		return len(p), nil // BDAT has no intermediate reply
	case string(p) == "454 4.7.0 Invalid base64 data\r\n":
		p = []byte("501 5.5.2 Invalid base64 data\r\n") // RFC 4954 section 4; a client would try again for ever
	case bytes.HasPrefix(p, []byte("334 ")):
		c.sasl = true
	}
	c.mu.Lock()
	c.out = append(c.out, p...)
	n, err := len(c.out), c.outErr
	c.mu.Unlock()
	if err == nil && n >= writeAt {
		err = c.flush()
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *conn) say(answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(append(c.out, answer...), "\r\n"...)
}

// flush sends what was gathered.
func (c *conn) flush() error {
	c.mu.Lock()
	out, err := c.out, c.outErr
	c.out = nil
	c.mu.Unlock()
	if err != nil || len(out) == 0 {
		return err
	}
	if _, err = c.link.Write(out); err != nil {
		c.mu.Lock()
		c.outErr = err
		c.mu.Unlock()
	}
	return err
}

// end says a last word and is the end of the commands.
func (c *conn) end(answer string) error {
	if answer != silence {
		c.say(answer)
		_ = c.SetWriteDeadline(time.Now().Add(farewell))
		_ = c.flush() // the connection ends in any case
	}
	c.hangUp = silence
	return io.EOF
}

// SetReadDeadline is called by the library before each command, also after the
// end.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	return c.link.SetReadDeadline(t)
}

// Close ends the connection, after the answers that wait. Only the first call
// does anything.
func (c *conn) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return nil
	}
	_ = c.SetWriteDeadline(time.Now().Add(farewell))
	_ = c.flush() // nobody to tell
	err := c.link.Close()
	c.srv.leave(c)
	return err
}

// cut breaks the connection without a word; for use in its own goroutine.
func (c *conn) cut() {
	c.mu.Lock()
	c.out, c.outErr = nil, net.ErrClosed
	c.mu.Unlock()
	c.hangUp = silence
	c.r, c.w = 0, 0
	_ = c.link.Close() // broken already, or to be broken
}
