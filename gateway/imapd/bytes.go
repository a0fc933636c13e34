package imapd

import (
	"bytes"
	"strconv"
	"time"
)

// What was read from the client and is not used yet.

func (f *filter) buffered() []byte { return f.unread[f.rpos:] }

func (f *filter) use(n int) {
	f.rpos += n
	if f.rpos == len(f.unread) {
		f.rpos = 0
		if cap(f.unread) > maxKeepUnread {
			f.unread = nil
		}
		f.unread = f.unread[:0]
	}
}

// more reads from the client behind what is there.
func (f *filter) more(until time.Time) error {
	if f.rpos > 0 {
		f.unread = f.unread[:copy(f.unread, f.buffered())]
		f.rpos = 0
	}
	if cap(f.unread)-len(f.unread) < readBlock/2 {
		f.unread = append(make([]byte, 0, 2*len(f.unread)+readBlock), f.unread...)
	}
	n, err := f.fill(f.unread[len(f.unread):cap(f.unread)], until)
	f.unread = f.unread[:len(f.unread)+n]
	return err
}

// waitByte waits until something is there.
func (f *filter) waitByte(until time.Time) error {
	for len(f.buffered()) == 0 {
		if err := f.more(until); err != nil {
			return err
		}
	}
	return nil
}

// line takes the next line without its end, at most limit bytes.
func (f *filter) line(limit int, until time.Time) ([]byte, error) {
	for seen := 0; ; {
		b := f.buffered()
		i := bytes.IndexByte(b[seen:], '\n')
		if i >= 0 {
			i += seen
		}
		if i > limit || i < 0 && len(b) > limit {
			return nil, errTooLong
		}
		if i >= 0 {
			line := bytes.TrimSuffix(bytes.Clone(b[:i]), []byte("\r"))
			f.use(i + 1)
			return line, nil
		}
		seen = len(b)
		if err := f.more(until); err != nil {
			return nil, err
		}
	}
}

// full takes exactly len(p) bytes.
func (f *filter) full(p []byte, until time.Time) error {
	for len(p) > 0 {
		if err := f.waitByte(until); err != nil {
			return err
		}
		n := copy(p, f.buffered())
		f.use(n)
		p = p[n:]
	}
	return nil
}

// skip passes over n bytes.
func (f *filter) skip(n int64) error {
	for n > 0 {
		if err := f.waitByte(time.Now().Add(literalTime)); err != nil {
			return err
		}
		k := min(n, int64(len(f.buffered())))
		f.use(int(k))
		n -= k
	}
	return nil
}

// mark is the {n} or {n+} at the end of a line (RFC 9051 section 4.3).
type mark struct {
	size int64
	sync bool
	at   int // of the brace
}

func endsWithLiteral(line []byte) (mark, bool) {
	if len(line) < 3 || line[len(line)-1] != '}' {
		return mark{}, false
	}
	m := mark{at: bytes.LastIndexByte(line, '{'), sync: true}
	if m.at < 0 {
		return mark{}, false
	}
	digits := line[m.at+1 : len(line)-1]
	if bytes.HasSuffix(digits, []byte("+")) {
		digits, m.sync = digits[:len(digits)-1], false
	}
	if len(digits) == 0 || len(digits) > 18 {
		return mark{}, false
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	m.size = n
	return m, err == nil && digits[0] != '-' && digits[0] != '+'
}

// readNames reads the tag and the name of a command: "UID FETCH" for both
// words, in upper case.
func readNames(line []byte) (tag, name string, ok bool) {
	tag, rest := word(line)
	if tag == "" || len(tag) > maxTag || bytes.IndexByte([]byte(tag), '+') >= 0 {
		return "", "", false
	}
	name, rest = word(rest)
	name = upper(name)
	if name == "UID" {
		sub, _ := word(rest)
		name += " " + upper(sub)
	}
	return tag, name, name != "" && len(name) <= 64
}

// word cuts the atom at the start of b and the space behind it.
func word(b []byte) (string, []byte) {
	i := 0
	for i < len(b) && atomChar(b[i]) {
		i++
	}
	w := string(b[:i])
	if i < len(b) && b[i] == ' ' {
		i++
	}
	return w, b[i:]
}

func atomChar(c byte) bool {
	switch c {
	case '(', ')', '{', ' ', '%', '*', '"', '\\', ']':
		return false
	}
	return c > ' ' && c < 0x7f
}

func upper(s string) string { return string(bytes.ToUpper([]byte(s))) }

// goodLine tells whether a piece of a command between literals holds no control
// characters and no quoted string that is left open, which would run on into
// the next command.
func goodLine(line []byte) bool {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c < ' ' && c != '\t', c == 0x7f:
			return false
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
			if i == len(line) {
				return false
			}
		}
	}
	return !quoted
}

// isMessage tells whether the literal that line announces is the message of an
// APPEND and not the folder's name. before is what came of the command earlier.
func isMessage(before, line []byte) bool {
	if len(before) > 0 {
		return true // the name was a literal
	}
	_, rest := word(line)
	_, rest = word(rest)
	return len(rest) > 0 && rest[0] != '{'
}
