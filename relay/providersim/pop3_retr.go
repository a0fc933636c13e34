package providersim

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// retr sends a whole message.
func (s *pop3Session) retr(arg string) error {
	m := s.drop.pick(arg)
	if m == nil {
		return s.fail("no such message")
	}
	if n := s.p.faults.CutRetr.n.Load(); n > 0 && s.p.faults.CutRetr.n.CompareAndSwap(n, 0) {
		// Counted are the bytes of this answer, not those that wait before it.
		if err := s.bw.Flush(); err != nil {
			return err
		}
		s.conn.cutAfter(n)
	}
	s.ok("%d octets", m.size)
	return writeStuffed(s.bw, m.raw)
}

// top sends the header and the first lines of the body (RFC 1939 7).
func (s *pop3Session) top(arg string) error {
	number, count, _ := strings.Cut(arg, " ")
	lines, err := strconv.ParseUint(strings.TrimSpace(count), 10, 31)
	if err != nil {
		return s.fail("TOP needs a message number and a number of lines")
	}
	m := s.drop.pick(number)
	if m == nil {
		return s.fail("no such message")
	}
	s.ok("top of message follows")
	return writeStuffed(s.bw, topOf(m.raw, int(lines)))
}

// topOf is the header with its blank line and so many lines of the body.
func topOf(raw []byte, lines int) []byte {
	_, _, pos := split(raw)
	for ; lines > 0 && pos < len(raw); lines-- {
		pos = lineEnd(raw, pos)
	}
	return raw[:pos]
}

// writeStuffed writes a multi-line answer (RFC 1939 3): a dot before each line
// that begins with one, then the line with a single dot. Lines end with CRLF
// and nothing else, so the client gets the very bytes back; only a CRLF is
// added to a message that does not end with one, which POP3 cannot express.
func writeStuffed(w io.Writer, raw []byte) error {
	for len(raw) > 0 {
		line := raw
		if i := bytes.Index(raw, []byte("\r\n")); i >= 0 {
			line = raw[:i+2]
		}
		raw = raw[len(line):]
		if line[0] == '.' {
			if _, err := io.WriteString(w, "."); err != nil {
				return err
			}
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
		if !bytes.HasSuffix(line, []byte("\r\n")) {
			if _, err := io.WriteString(w, "\r\n"); err != nil {
				return err
			}
		}
	}
	_, err := io.WriteString(w, ".\r\n")
	return err
}
