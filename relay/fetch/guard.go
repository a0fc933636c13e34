package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

const (
	// maxLine bounds one line outside of literals. The longest honest ones are
	// answers to SEARCH.
	maxLine = 256 << 10
	// maxLiteral bounds every literal but the body of a message.
	maxLiteral = 64 << 10
	// maxAnswer bounds all that comes for one command, message bodies aside:
	// a list of about 300,000 messages.
	maxAnswer = 24 << 20
)

var errFlood = errors.New("the provider sends more than an answer needs")

// guard is the connection that the library reads from, above TLS. The library
// has no limits on what it reads and no time limit on a silent server; guard
// has both, and passes the bytes on unchanged.
type guard struct {
	net.Conn          // TLS
	socket   net.Conn // the connection below it
	timeout  time.Duration
	answer   int64  // maxAnswer
	head     []byte // read before Conn: a greeting in place of the one already read
	in       io.Reader

	// Of the goroutine that reads:
	line      []byte // the line so far
	isFetch   bool   // the response is * n FETCH
	isText    bool   // the response ends in free text, where no literal can stand
	continued bool   // a literal of the response came before this line
	literal   int64  // bytes of a literal still to come

	mu      sync.Mutex
	open    int   // commands that wait for an answer
	left    int64 // of answer
	maxBody int64 // largest body literal that is expected now
	err     error // why the connection ended, the first one
}

// begin says that a command is about to be sent: from now on silence counts.
func (g *guard) begin(maxBody int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open++
	g.left, g.maxBody = g.answer, maxBody
	// A Read may already be waiting, without a limit. A connection that is
	// closed reports that to the Read.
	_ = g.Conn.SetReadDeadline(time.Now().Add(g.timeout))
}

// end says that a command was answered.
func (g *guard) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open--; g.open == 0 {
		_ = g.Conn.SetReadDeadline(time.Time{})
	}
}

// abort ends the connection at once, for the given reason.
func (g *guard) abort(err error) {
	g.note(err)
	g.socket.Close()
}

func (g *guard) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
}

// failure is why the connection ended, nil while it lives.
func (g *guard) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// The library's own deadlines are ignored: they limit a whole message to 5
// minutes and a waiting command not at all.

func (g *guard) SetDeadline(time.Time) error      { return nil }
func (g *guard) SetReadDeadline(time.Time) error  { return nil }
func (g *guard) SetWriteDeadline(time.Time) error { return nil }

func (g *guard) Write(p []byte) (int, error) {
	g.mu.Lock()
	err := g.Conn.SetWriteDeadline(time.Now().Add(g.timeout))
	g.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := g.Conn.Write(p)
	if err != nil {
		g.note(err)
	}
	return n, err
}

func (g *guard) Read(p []byte) (int, error) {
	if len(g.head) > 0 {
		n := copy(p, g.head)
		g.head = g.head[n:]
		return n, nil
	}
	if err := g.arm(); err != nil {
		g.note(err)
		return 0, err
	}
	n, err := g.in.Read(p)
	if e := g.scan(p[:n]); e != nil {
		// What is over a limit, the library must not get to see.
		g.abort(e)
		return 0, e
	}
	if errors.Is(err, io.EOF) {
		g.note(errors.New("the provider closed the connection"))
	} else if err != nil {
		g.note(err)
	}
	return n, err
}

// arm sets the time limit of one Read. What failed once has failed: the library
// tries again several times after an error.
func (g *guard) arm() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	var deadline time.Time
	if g.open > 0 {
		deadline = time.Now().Add(g.timeout)
	}
	return g.Conn.SetReadDeadline(deadline)
}

// scan follows lines and literals (RFC 9051 section 4.3) in what passes.
func (g *guard) scan(p []byte) error {
	for len(p) > 0 {
		if g.literal > 0 {
			n := min(int64(len(p)), g.literal)
			p, g.literal = p[n:], g.literal-n
			continue
		}
		i := bytes.IndexByte(p, '\n') + 1
		if i == 0 {
			i = len(p)
		}
		if len(g.line)+i > maxLine {
			return fmt.Errorf("%w: a line above %d bytes", errFlood, maxLine)
		}
		g.line = append(g.line, p[:i]...)
		p = p[i:]
		if g.line[len(g.line)-1] != '\n' {
			return nil
		}
		if err := g.endLine(); err != nil {
			return err
		}
		g.line = g.line[:0]
	}
	return nil
}

// endLine looks at a whole line and finds out whether a literal follows.
func (g *guard) endLine() error {
	if err := g.spend(int64(len(g.line))); err != nil {
		return err
	}
	line := bytes.TrimRight(g.line, "\r\n")
	if !g.continued {
		g.isFetch, g.isText = classify(line)
	}
	g.continued = false
	if g.isText {
		return nil
	}
	if openQuote(line) {
		// The library would go on collecting the string over all lines to come.
		return fmt.Errorf("%w: a line ends inside quotes", errFlood)
	}
	before, size, ok := literalAt(line)
	if !ok {
		return nil
	}
	body := g.isFetch && endsFold(before, "BODY[] ")
	g.mu.Lock()
	limit := int64(maxLiteral)
	if body {
		limit = max(limit, g.maxBody)
	}
	g.mu.Unlock()
	if size < 0 || size > limit {
		if body {
			return fmt.Errorf("%w: a literal of %s bytes", ErrTooLarge, clip(line[len(before):]))
		}
		return fmt.Errorf("%w: a literal above %d bytes", errFlood, limit)
	}
	if !body {
		if err := g.spend(size); err != nil {
			return err
		}
	}
	g.literal, g.continued = size, true
	return nil
}

// spend counts what comes for one command.
func (g *guard) spend(n int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left -= n; g.left < 0 {
		return fmt.Errorf("%w: above %d bytes", errFlood, g.answer)
	}
	return nil
}

// classify looks at the beginning of a response.
func classify(line []byte) (isFetch, isText bool) {
	rest, untagged := bytes.CutPrefix(line, []byte("* "))
	if !untagged {
		return false, true // tagged, or a continuation request
	}
	word, rest, _ := bytes.Cut(rest, []byte(" "))
	if len(word) > 0 && word[0] >= '0' && word[0] <= '9' {
		return len(rest) >= 5 && bytes.EqualFold(rest[:5], []byte("FETCH")), false
	}
	switch string(bytes.ToUpper(word[:min(len(word), 8)])) {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		return false, true
	}
	return false, false
}

// openQuote says whether a quoted string is open at the end of line.
func openQuote(line []byte) bool {
	in := false
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '"':
			in = !in
		case '\\':
			if in {
				i++
			}
		}
	}
	return in
}

// literalAt finds {n} at the end of line. A number too large to read is -1.
func literalAt(line []byte) (before []byte, size int64, ok bool) {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return nil, 0, false
	}
	i := bytes.LastIndexByte(line, '{')
	if i < 0 {
		return nil, 0, false
	}
	digits := line[i+1 : len(line)-1]
	if len(digits) == 0 || len(bytes.Trim(digits, "0123456789")) > 0 {
		return nil, 0, false
	}
	size, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		size = -1
	}
	return line[:i], size, true
}

func endsFold(b []byte, suffix string) bool {
	return len(b) >= len(suffix) && bytes.EqualFold(b[len(b)-len(suffix):], []byte(suffix))
}

func clip(b []byte) string { return string(bytes.Trim(b[:min(len(b), 32)], "{}")) }
