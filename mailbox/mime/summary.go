package mime

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Summary is what an ENVELOPE says, for sorting and threading (RFC 5256).
type Summary struct {
	Date                 time.Time // zero if absent or unreadable
	Subject              string    // decoded
	From, To, Cc         string    // the first address' mailbox, without its domain
	InReplyTo, MessageID string    // as in the field
}

// ReadSummary reads the bytes of an Index's Envelope. What is no such thing
// yields what was read up to there.
func ReadSummary(envelope []byte) Summary {
	r := wireReader{b: envelope}
	r.open()
	s := Summary{Date: ParseDate(r.text()), Subject: DecodeWords(r.text())}
	s.From = r.mailbox()
	r.mailbox() // Sender
	r.mailbox() // Reply-To
	s.To, s.Cc = r.mailbox(), r.mailbox()
	r.mailbox() // Bcc
	s.InReplyTo, s.MessageID = r.text(), r.text()
	return s
}

// EnvelopeField gives what an ENVELOPE says of Subject, From, To, Cc or Bcc
// (lower case), folded as a search compares it: the decoded subject, or the
// addresses as "name <local@domain>". ok is false where the ENVELOPE does not
// show such a field.
func EnvelopeField(envelope []byte, name string) (folded []byte, ok bool) {
	r := wireReader{b: envelope}
	r.open()
	r.skipText() // Date
	if name == "subject" {
		r.skip()
		ok = !bytes.HasPrefix(r.b, []byte("NIL"))
		return appendFold(nil, DecodeWords(r.text())), ok
	}
	r.skipText()
	for _, list := range []string{"from", "sender", "reply-to", "to", "cc", "bcc"} {
		if list == name {
			return r.people()
		}
		r.skipMailboxes()
	}
	return nil, false
}

// SummaryMarks are the characters by which an address field and what an ENVELOPE
// shows of it may differ though both say the same.
const SummaryMarks = "\"\\<>,;:() \t"

// Summarises tells whether an ENVELOPE shows all that the fields of a header say
// that EnvelopeField knows: it cuts long ones, shows the first of several, and
// has no comments.
func Summarises(envelope, header []byte) bool {
	var met []string
	whole := true
	eachField(header, func(name, raw []byte, off int) bool {
		for _, known := range []string{"subject", "from", "to", "cc", "bcc"} {
			if len(known) != len(name) || !equalFold(known, name) {
				continue
			}
			shown, ok := EnvelopeField(envelope, known)
			whole = ok && !slices.Contains(met, known) && sameLetters(shown, appendFold(nil, DecodeWords(fieldBody(raw, true))))
			met = append(met, known)
		}
		return whole
	})
	return whole
}

// sameLetters compares without SummaryMarks.
func sameLetters(a, b []byte) bool {
	for {
		a, b = bytes.TrimLeft(a, SummaryMarks), bytes.TrimLeft(b, SummaryMarks)
		if len(a) == 0 || len(b) == 0 {
			return len(a) == len(b)
		}
		if a[0] != b[0] {
			return false
		}
		a, b = a[1:], b[1:]
	}
}

// EnvelopeDate gives the Date field of an ENVELOPE; zero if it is absent or
// unreadable.
func EnvelopeDate(envelope []byte) time.Time {
	r := wireReader{b: envelope}
	r.open()
	return ParseDate(r.text())
}

// people reads a list of addresses.
func (r *wireReader) people() (folded []byte, ok bool) {
	if !r.open() {
		return nil, false
	}
	var out []byte
	for len(r.b) > 0 && !r.take(')') {
		if !r.open() {
			break
		}
		name := r.text()
		r.text()
		local, domain := r.text(), r.text()
		if !r.take(')') {
			break
		}
		if local == "" && name == "" && domain == "" {
			continue // the end of a group
		}
		if len(out) > 0 {
			out = append(out, ", "...)
		}
		if name != "" {
			out = append(appendFold(out, DecodeWords(name)), " <"...)
		}
		out = appendFold(out, local)
		if domain != "" {
			out = appendFold(append(out, '@'), domain)
		}
		if name != "" {
			out = append(out, '>')
		}
	}
	return out, true
}

// skipText passes over what text would read.
func (r *wireReader) skipText() {
	r.skip()
	if len(r.b) > 0 && r.b[0] == '"' {
		for i := 1; i < len(r.b); i++ {
			switch r.b[i] {
			case '"':
				r.b = r.b[i+1:]
				return
			case '\\':
				i++
			}
		}
		r.b = nil
		return
	}
	r.text()
}

// skipMailboxes passes over what mailbox would read.
func (r *wireReader) skipMailboxes() {
	if !r.open() {
		r.skipText()
		return
	}
	for len(r.b) > 0 && !r.take(')') {
		if !r.open() {
			r.b = nil
			return
		}
		for range 4 {
			r.skipText()
		}
		if !r.take(')') {
			r.b = nil
		}
	}
}

// wireReader reads strings and lists of them (RFC 9051 section 9).
type wireReader struct{ b []byte }

func (r *wireReader) skip() { r.b = bytes.TrimLeft(r.b, " ") }

// take takes one character, if it comes next.
func (r *wireReader) take(c byte) bool {
	r.skip()
	if len(r.b) == 0 || r.b[0] != c {
		return false
	}
	r.b = r.b[1:]
	return true
}

func (r *wireReader) open() bool { return r.take('(') }

// text reads a quoted string, a literal or NIL.
func (r *wireReader) text() string {
	r.skip()
	switch {
	case len(r.b) == 0:
		return ""
	case r.b[0] == '"':
		var out []byte
		for i := 1; i < len(r.b); i++ {
			switch c := r.b[i]; {
			case c == '"':
				r.b = r.b[i+1:]
				return string(out)
			case c == '\\' && i+1 < len(r.b):
				i++
				out = append(out, r.b[i])
			default:
				out = append(out, c)
			}
		}
	case r.b[0] == '{':
		head, rest, ok := bytes.Cut(r.b[1:], []byte("}\r\n"))
		n, err := strconv.Atoi(string(head))
		if ok && err == nil && n >= 0 && n <= len(rest) {
			r.b = rest[n:]
			return string(rest[:n])
		}
	case bytes.HasPrefix(r.b, []byte("NIL")):
		r.b = r.b[3:]
		return ""
	}
	r.b = nil
	return ""
}

// mailbox reads a list of addresses and returns the first one's mailbox.
func (r *wireReader) mailbox() string {
	if !r.open() {
		r.text() // NIL
		return ""
	}
	first, any := "", false
	for len(r.b) > 0 && !r.take(')') {
		if !r.open() {
			r.b = nil
			break
		}
		r.text()
		r.text()
		if box := r.text(); !any {
			first, any = box, true
		}
		r.text()
		if !r.take(')') {
			r.b = nil
		}
	}
	return first
}

// BaseSubject takes from a decoded subject what replies, forwarding and lists
// put around it (RFC 5256 section 2.1). changed tells that something of a reply
// or of forwarding was taken.
func BaseSubject(subject string) (base string, changed bool) {
	s := strings.Join(strings.Fields(subject), " ")
	for range len(s) + 1 { // each round takes something away
		before := s
		for {
			t := strings.TrimRight(s, " ")
			if cut, ok := cutSuffixFold(t, "(fwd)"); ok {
				t, changed = cut, true
			}
			if t == s {
				break
			}
			s = t
		}
		for {
			t := strings.TrimLeft(s, " ")
			if rest, ok := cutLeader(t); ok {
				t, changed = rest, true
			} else if rest, ok := cutBlob(t); ok && rest != "" {
				t = rest
			}
			if t == s {
				break
			}
			s = t
		}
		if len(s) >= len("[fwd:]") && strings.EqualFold(s[:5], "[fwd:") && s[len(s)-1] == ']' {
			s, changed = s[5:len(s)-1], true
		}
		if s == before {
			break
		}
	}
	return s, changed
}

func cutSuffixFold(s, suffix string) (string, bool) {
	if n := len(s) - len(suffix); n >= 0 && strings.EqualFold(s[n:], suffix) {
		return s[:n], true
	}
	return s, false
}

// cutLeader takes "Re:", "Fwd[2]:" and the like, with the blobs before it.
func cutLeader(s string) (string, bool) {
	for {
		rest, ok := cutBlob(s)
		if !ok {
			break
		}
		s = rest
	}
	end := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsLetter(r) })
	if end < 0 {
		return s, false
	}
	switch strings.ToLower(s[:end]) {
	case "re", "fw", "fwd":
	default:
		return s, false
	}
	rest := strings.TrimLeft(s[end:], " ")
	if after, ok := cutBlob(rest); ok {
		rest = after
	}
	return strings.CutPrefix(rest, ":")
}

// cutBlob takes "[...] " from the start.
func cutBlob(s string) (string, bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]")
	if end < 0 || s[1+end] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[end+2:], " "), true
}
