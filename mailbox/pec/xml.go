package pec

import (
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// xmlReader splits a document that is whole in memory into tokens. It reads what
// XML 1.0 calls well-formed of the little that daticert.xml needs: elements,
// attributes, text, CDATA, the five entities and character references. Comments,
// processing instructions and a DOCTYPE are stepped over unread; so no entity is
// ever declared, and there is nothing it could fetch. Whatever it accepts,
// encoding/xml accepts and splits in the same way, at a tenth of the speed; a fuzz
// target compares them.
//
// Nothing recurses, and no token is larger than the document.
type xmlReader struct {
	s    string
	off  int
	open []string // names of the open elements
	// decode turns what follows the XML declaration into UTF-8. It is called with
	// the encoding that the declaration names, at most once.
	decode   func(encoding, rest string) (string, error)
	declared bool
	root     bool // the root element began
	closing  bool // the element that began last has ended in the same tag
	attrs    []xmlAttr
}

type xmlKind byte

const (
	xmlStart xmlKind = iota + 1
	xmlEnd
	xmlText
)

// xmlToken is a start tag, an end tag or a piece of text, which may be empty.
// attrs is good until the next token.
type xmlToken struct {
	kind  xmlKind
	name  string // as written, with its prefix
	attrs []xmlAttr
	text  string // references resolved, line ends as \n
}

type xmlAttr struct{ name, value string }

// maxAttributes bounds the attributes of one element; a schema's take four.
const maxAttributes = 16

var errXMLEnd = errors.New("it ends too early")

// next returns the next token, io.EOF after the last one.
func (x *xmlReader) next() (xmlToken, error) {
	if x.closing {
		x.closing = false
		return x.pop()
	}
	for x.off < len(x.s) {
		if x.s[x.off] != '<' {
			n := strings.IndexByte(x.s[x.off:], '<')
			if n < 0 {
				n = len(x.s) - x.off
			}
			raw := x.s[x.off : x.off+n]
			x.off += n
			text, err := xmlValue(raw, false)
			return xmlToken{kind: xmlText, text: text}, err
		}
		rest := x.s[x.off:]
		switch {
		case strings.HasPrefix(rest, "</"):
			return x.endTag()
		case strings.HasPrefix(rest, "<?"):
			if err := x.instruction(); err != nil {
				return xmlToken{}, err
			}
		case strings.HasPrefix(rest, "<!--"):
			n := strings.Index(rest[4:], "--")
			if n < 0 || !strings.HasPrefix(rest[4+n:], "-->") {
				return xmlToken{}, errors.New("a comment without its end")
			}
			x.off += 4 + n + 3
		case strings.HasPrefix(rest, "<![CDATA["):
			n := strings.Index(rest, "]]>")
			if n < 0 {
				return xmlToken{}, errXMLEnd
			}
			x.off += n + 3
			text := rest[9:n]
			if !xmlChars(text) {
				return xmlToken{}, errors.New("a character that XML has not")
			}
			return xmlToken{kind: xmlText, text: xmlLines(text)}, nil
		case strings.HasPrefix(rest, "<!"):
			if err := x.doctype(); err != nil {
				return xmlToken{}, err
			}
		default:
			return x.startTag()
		}
	}
	if len(x.open) > 0 {
		return xmlToken{}, errXMLEnd
	}
	return xmlToken{}, io.EOF
}

func (x *xmlReader) pop() (xmlToken, error) {
	name := x.open[len(x.open)-1]
	x.open = x.open[:len(x.open)-1]
	return xmlToken{kind: xmlEnd, name: name}, nil
}

func (x *xmlReader) endTag() (xmlToken, error) {
	x.off += 2
	name := x.name()
	x.space()
	if !x.take('>') {
		return xmlToken{}, errors.New("an end tag that is none")
	}
	if len(x.open) == 0 || x.open[len(x.open)-1] != name {
		return xmlToken{}, errors.New("tags that do not match")
	}
	return x.pop()
}

func (x *xmlReader) startTag() (xmlToken, error) {
	x.off++
	name := x.name()
	if name == "" {
		return xmlToken{}, errors.New("a tag without a name")
	}
	if x.attrs == nil {
		x.attrs, x.open = make([]xmlAttr, 0, 4), make([]string, 0, 8)
	}
	x.attrs = x.attrs[:0]
	for {
		spaced := x.space()
		if x.take('/') {
			x.closing = true
			if !x.take('>') {
				return xmlToken{}, errors.New("a start tag that is none")
			}
			break
		}
		if x.take('>') {
			break
		}
		a, err := x.attribute()
		if err != nil || !spaced {
			return xmlToken{}, errors.New("an attribute that is none")
		}
		if len(x.attrs) == maxAttributes {
			return xmlToken{}, errors.New("too many attributes")
		}
		x.attrs = append(x.attrs, a)
	}
	x.open = append(x.open, name)
	x.root = true
	return xmlToken{kind: xmlStart, name: name, attrs: x.attrs}, nil
}

func (x *xmlReader) attribute() (xmlAttr, error) {
	a := xmlAttr{name: x.name()}
	x.space()
	if a.name == "" || !x.take('=') {
		return a, errXMLEnd
	}
	x.space()
	for _, quote := range []byte{'"', '\''} {
		if !x.take(quote) {
			continue
		}
		n := strings.IndexByte(x.s[x.off:], quote)
		if n < 0 {
			return a, errXMLEnd
		}
		var err error
		a.value, err = xmlValue(x.s[x.off:x.off+n], true)
		x.off += n + 1
		return a, err
	}
	return a, errXMLEnd
}

// instruction steps over a processing instruction. The XML declaration stands
// before the root element, once.
func (x *xmlReader) instruction() error {
	n := strings.Index(x.s[x.off:], "?>")
	if n < 0 {
		return errXMLEnd
	}
	end := x.off + n + 2
	x.off += 2
	name := x.name()
	if name == "" || x.off > end-2 {
		return errors.New("a processing instruction without a name")
	}
	content := x.s[x.off : end-2]
	if content != "" && strings.TrimLeft(content[:1], " \t\r\n") != "" {
		return errors.New("a processing instruction without a name")
	}
	x.off = end
	if name != "xml" {
		return nil
	}
	if x.declared || x.root {
		return errors.New("a second XML declaration")
	}
	x.declared = true
	in := xmlReader{s: content}
	encoding := ""
	for in.space(); in.off < len(in.s); in.space() {
		a, err := in.attribute()
		if err != nil {
			return errors.New("an XML declaration that is none")
		}
		switch {
		case a.name == "version" && a.value != "1.0":
			return errors.New("an XML version that is not 1.0")
		case a.name == "encoding":
			encoding = a.value
		case a.name == "version", a.name == "standalone" && (a.value == "yes" || a.value == "no"):
		default:
			return errors.New("an XML declaration that is none")
		}
	}
	if encoding == "" {
		return nil
	}
	rest, err := x.decode(encoding, x.s[x.off:])
	x.s, x.off = rest, 0
	return err
}

// doctype steps over <!DOCTYPE ...> with its internal subset: quoted text,
// comments and declarations in angle brackets.
func (x *xmlReader) doctype() error {
	if !strings.HasPrefix(x.s[x.off:], "<!DOCTYPE") || x.root {
		return errors.New("a declaration where none belongs")
	}
	depth := 0
	for x.off < len(x.s) {
		rest := x.s[x.off:]
		skip := 1
		switch c := rest[0]; c {
		case '<':
			if strings.HasPrefix(rest, "<!--") {
				n := strings.Index(rest[4:], "-->")
				if n < 0 {
					return errXMLEnd
				}
				skip = 4 + n + 3
			} else {
				depth++
			}
		case '>':
			if depth--; depth == 0 {
				x.off++
				return nil
			}
		case '"', '\'':
			n := strings.IndexByte(rest[1:], c)
			if n < 0 {
				return errXMLEnd
			}
			skip = n + 2
		}
		x.off += skip
	}
	return errXMLEnd
}

// space steps over blanks and says whether there were any.
func (x *xmlReader) space() bool {
	start := x.off
	for x.off < len(x.s) {
		switch x.s[x.off] {
		case ' ', '\t', '\r', '\n':
			x.off++
			continue
		}
		break
	}
	return x.off > start
}

func (x *xmlReader) take(c byte) bool {
	if x.off < len(x.s) && x.s[x.off] == c {
		x.off++
		return true
	}
	return false
}

// name reads a name, "" if none stands there. Names beyond ASCII are none of
// ours and no XML that provider software writes; they are refused.
func (x *xmlReader) name() string {
	start := x.off
	for x.off < len(x.s) {
		c := x.s[x.off]
		first := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':'
		if !first && (x.off == start || !(c >= '0' && c <= '9' || c == '-' || c == '.')) {
			break
		}
		x.off++
	}
	name := x.s[start:x.off]
	if strings.Count(name, ":") > 1 {
		return ""
	}
	return name
}

// xmlValue resolves the references of text or an attribute's value.
func xmlValue(s string, attribute bool) (string, error) {
	if !xmlChars(s) {
		return "", errors.New("a character that XML has not")
	}
	if attribute && strings.IndexByte(s, '<') >= 0 || !attribute && strings.Contains(s, "]]>") {
		return "", errors.New("a character that must be escaped")
	}
	s = xmlLines(s)
	amp := strings.IndexByte(s, '&')
	if amp < 0 {
		return s, nil
	}
	var out strings.Builder
	for ; amp >= 0; amp = strings.IndexByte(s, '&') {
		out.WriteString(s[:amp])
		s = s[amp+1:]
		end := strings.IndexByte(s, ';')
		if end < 0 || end > 10 {
			return "", errors.New("an entity that is not known")
		}
		c, ok := xmlReference(s[:end])
		if !ok {
			return "", errors.New("an entity that is not known: " + clip(s[:end]))
		}
		out.WriteRune(c)
		s = s[end+1:]
	}
	out.WriteString(s)
	return out.String(), nil
}

// xmlReference resolves what stands between & and ;.
func xmlReference(s string) (rune, bool) {
	switch s {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "apos":
		return '\'', true
	case "quot":
		return '"', true
	}
	digits, ok := strings.CutPrefix(s, "#")
	if !ok {
		return 0, false
	}
	base := rune(10)
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = hex, 16
	}
	if digits == "" || len(digits) > 7 {
		return 0, false
	}
	var n rune
	for _, c := range []byte(digits) {
		var d rune
		switch {
		case c >= '0' && c <= '9':
			d = rune(c - '0')
		case base == 16 && c >= 'a' && c <= 'f':
			d = rune(c-'a') + 10
		case base == 16 && c >= 'A' && c <= 'F':
			d = rune(c-'A') + 10
		default:
			return 0, false
		}
		n = n*base + d
	}
	return n, xmlChar(n)
}

// xmlChars reports whether s is UTF-8 of characters that XML 1.0 has.
func xmlChars(s string) bool {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || !xmlChar(r) {
			return false
		}
		i += n
	}
	return true
}

func xmlChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= 0x10ffff
}

// xmlLines makes every line end \n.
func xmlLines(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}
