package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
)

// maxQuotes bounds the quoted lines of one message that are kept; a message with
// more has no unquoted form.
const maxQuotes = 100_000

// maxChained bounds the header that is searched for a Content-Length.
const maxChained = 1 << 20

// span is a message in an mbox, without its "From " line and the blank line
// that the writer put behind it.
type span struct {
	off, size int64
	quoted    int
	quotes    []quote // nil where there are more than maxQuotes
}

// split finds the messages of an mbox (RFC 4155 appendix A and its variants):
//
//   - Where every message has a Content-Length that leads to the next one
//     exactly, the file is mboxcl or mboxcl2 and those lengths hold. One message
//     of a stranger that claims a length can so not hide those that follow.
//   - Else a message begins at a line "From " at the start of the file, and at
//     one behind a blank line that bears a date or is followed by a header in
//     which one of the fields stands that every message has. People begin lines
//     with "From " as well.
//
// Lines may end in LF or CRLF.
func split(ctx context.Context, r io.ReaderAt, size int64, fn func(span) error) error {
	s := &splitter{ctx: ctx, size: size, fn: fn, lines: newLines(ctx, r, size)}
	chained, err := s.chained()
	if err != nil {
		return err
	}
	if chained {
		return s.chain(s.measured)
	}
	return s.scan()
}

// errSecond ends the look of single.
var errSecond = errors.New("a second message")

// single reports whether an mbox holds one message only.
func single(ctx context.Context, r io.ReaderAt, size int64) (bool, error) {
	n := 0
	err := split(ctx, r, size, func(span) error {
		if n++; n > 1 {
			return errSecond
		}
		return nil
	})
	if errors.Is(err, errSecond) {
		return false, nil
	}
	return true, err
}

type splitter struct {
	ctx   context.Context
	size  int64
	fn    func(span) error
	lines *lines // one for all: an mbox may hold a message every hundred bytes
}

// scan finds the messages of a file by its lines.
func (s *splitter) scan() error {
	l := s.lines
	l.seek(0, s.size)
	m := message{}
	for {
		ln, err := l.next()
		if errors.Is(err, io.EOF) {
			return m.end(s.size, s.fn)
		}
		if err != nil {
			return err
		}
		if (ln.off == 0 || m.blank) && bytes.HasPrefix(ln.head, []byte("From ")) &&
			(ln.off == 0 || dated(ln.head) || headerFollows(l.ahead())) {
			if err := m.end(ln.off, s.fn); err != nil {
				return err
			}
			m = message{open: true, span: span{off: ln.next}}
			continue
		}
		m.line(ln)
	}
}

// message is a message of an mbox while its lines are read.
type message struct {
	span
	open, body bool
	blank      bool  // the last line was blank
	blankOff   int64 // and began here
}

func (m *message) line(ln line) {
	if m.blank = ln.blank; ln.blank {
		m.blankOff = ln.off
		m.body = true
		return
	}
	if !m.body || ln.head[0] != '>' {
		return
	}
	depth := len(ln.head) - len(bytes.TrimLeft(ln.head, ">"))
	if !bytes.HasPrefix(ln.head[depth:], []byte("From ")) {
		return
	}
	if m.quoted++; m.quoted <= maxQuotes {
		m.quotes = append(m.quotes, quote{ln.off - m.off, depth > 1})
	} else {
		m.quotes = nil
	}
}

// end closes the message before off, where the next one begins.
func (m *message) end(off int64, fn func(span) error) error {
	if !m.open {
		return nil
	}
	if m.blank {
		off = m.blankOff
	}
	m.size = off - m.off
	return fn(m.span)
}

// dated reports whether a "From " line bears a time, a month and a year, as those
// of asctime do.
func dated(head []byte) bool {
	var clock, month, year bool
	for _, word := range strings.Fields(string(head)) {
		h, rest, colon := strings.Cut(word, ":")
		if colon && digits(h) && len(h) <= 2 && len(rest) >= 2 && digits(rest[:2]) {
			clock = true
		}
		month = month || len(word) == 3 && strings.Contains(months, word)
		year = year || len(word) == 4 && digits(word) && (word[:2] == "19" || word[:2] == "20")
	}
	return clock && month && year
}

const months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// headerFollows reports whether b begins with the header of a message. Some
// writers put the "From " line of an older mailbox there, quoted.
func headerFollows(b []byte) bool {
	if bytes.HasPrefix(b, []byte(">From ")) {
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	return messageHeader(b)
}

// chained reports whether every message has a Content-Length that leads to the
// next one.
func (s *splitter) chained() (bool, error) {
	err := s.chain(func(int64, int64) error { return nil })
	if errors.Is(err, errNoChain) {
		return false, nil
	}
	return err == nil, err
}

// errNoChain says that the lengths do not lead from message to message.
var errNoChain = errors.New("no chain of Content-Length")

// chain goes from message to message by their lengths.
func (s *splitter) chain(fn func(off, end int64) error) error {
	for off := int64(0); off < s.size; {
		start, end, err := s.lengthOf(off)
		if err != nil {
			return err
		}
		if err := fn(start, end); err != nil {
			return err
		}
		if off, err = s.link(end); err != nil {
			return err
		}
	}
	return nil
}

// lengthOf reads the header behind the "From " line at off.
func (s *splitter) lengthOf(off int64) (start, end int64, err error) {
	l := s.lines
	l.seek(off, s.size)
	if err := s.ctx.Err(); err != nil {
		return 0, 0, err
	}
	for length := int64(-1); l.off-off <= maxChained; {
		ln, err := l.next()
		switch {
		case errors.Is(err, io.EOF):
			return 0, 0, errNoChain
		case err != nil:
			return 0, 0, err
		case ln.off == off:
			if !bytes.HasPrefix(ln.head, []byte("From ")) {
				return 0, 0, errNoChain
			}
			start = ln.next
		case ln.blank:
			if length < 0 || length > s.size-ln.next {
				return 0, 0, errNoChain
			}
			return start, ln.next + length, nil
		case strings.EqualFold(fieldName(ln.head), "Content-Length"):
			_, value, _ := strings.Cut(string(ln.head), ":")
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil || n < 0 || length >= 0 {
				return 0, 0, errNoChain // twice is a stranger's and the writer's
			}
			length = n
		}
	}
	return 0, 0, errNoChain
}

// link finds the next message behind end: at once or after one blank line, or
// after the end of the last line and one blank line.
func (s *splitter) link(end int64) (int64, error) {
	s.lines.seek(end, s.size)
	b, err := s.lines.window(len("\r\n\r\nFrom "))
	if err != nil {
		return 0, err
	}
	for skipped := 0; skipped <= 2; skipped++ {
		if len(b) == 0 || bytes.HasPrefix(b, []byte("From ")) {
			return end, nil
		}
		n := 1
		if b[0] == '\r' {
			n = 2
		}
		if len(b) < n || b[n-1] != '\n' {
			break
		}
		b, end = b[n:], end+int64(n)
	}
	return 0, errNoChain
}

// measured hands over the message from off to end, whose lines are only looked
// at for their quoting.
func (s *splitter) measured(off, end int64) error {
	l := s.lines
	l.seek(off, end)
	m := message{open: true, span: span{off: off}}
	for {
		ln, err := l.next()
		if errors.Is(err, io.EOF) {
			m.blank = false // the length says what belongs to the message
			return m.end(end, s.fn)
		}
		if err != nil {
			return err
		}
		m.line(ln)
	}
}
