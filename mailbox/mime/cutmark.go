package mime

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
)

// ErrMark is returned when a mark cannot be taken out for certain: more than 32
// cuts would be needed, or the result does not stand the final check. The
// message must then be refused; the header given back is nil.
var ErrMark = errors.New("mime: mark cannot be cut")

// maxCuts bounds the cuts in one header. People write one mark; each cut costs a
// pass over its field.
const maxCuts = 32

// CutMark takes every match of mark out of the named fields (compared without
// regard to case; all of them where a field is repeated) and gives the edited
// header and the marks found, decoded, in the order they were cut.
//
// A match in the raw text is dropped as a byte range, with one space beside it;
// a line of folding that held nothing else goes with it. A match inside or
// across encoded words, or one that folding broke apart, makes that one field
// be written anew: UTF-8 encoded words folded at 76 columns, plain ASCII as
// plain text. Everything else is byte-identical, and never is a field added or
// removed. When CutMark returns without error, no named field matches in its
// raw, unfolded or decoded form. Without a match the header itself is returned.
//
// The match is made on the value without the white space around it. Empty
// matches do not count. A header above 1 MiB is ErrHeaderTooBig.
func CutMark(header []byte, fields []string, mark *regexp.Regexp) (edited []byte, found []string, err error) {
	if len(header) > maxHeader {
		return nil, nil, ErrHeaderTooBig
	}
	c := cutter{mark: mark, left: maxCuts}
	var out []byte
	kept := 0
	for _, f := range Fields(header) {
		if !named(f.Name, fields) {
			continue
		}
		raw, err := c.field(f)
		if err != nil {
			return nil, nil, err
		}
		if raw != nil {
			out = append(out, header[kept:f.Off]...)
			out = append(out, raw...)
			kept = f.Off + len(f.Raw)
		}
	}
	if kept == 0 {
		return header, nil, nil
	}
	out = append(out, header[kept:]...)
	if !c.check(header, out, fields) {
		return nil, nil, ErrMark
	}
	return out, c.found, nil
}

func named(name string, fields []string) bool {
	for _, f := range fields {
		if name != "" && strings.EqualFold(name, f) {
			return true
		}
	}
	return false
}

type cutter struct {
	mark  *regexp.Regexp
	left  int // cuts that may still be made
	found []string
}

// field gives the edited field, nil where nothing matched.
func (c *cutter) field(f Field) ([]byte, error) {
	v := splitField(f)
	changed := false
	for turn := 0; !c.once(&v); turn++ {
		if c.left < 0 || turn > maxCuts {
			return nil, ErrMark
		}
		changed = true
	}
	if !changed {
		return nil, nil
	}
	return v.join(), nil
}

// once makes one cut, or a field anew; done when nothing matches any more.
func (c *cutter) once(v *fieldValue) (done bool) {
	words := wordRanges(v.text)
	hidden := "" // a match in raw text that touches encoded words
	for _, m := range c.matches(string(v.text)) {
		text := string(v.text[m[0]:m[1]])
		if overlaps(words, m) {
			if hidden == "" {
				hidden = text
			}
			continue
		}
		c.note(text)
		v.drop(m[0], m[1])
		return false
	}
	views := []string{unfold(string(v.text))}
	if bytes.IndexByte(v.text, '\n') >= 0 {
		// A sender that folds within words may have broken the mark apart.
		views = append(views, squeeze(string(v.text)))
	}
	for _, view := range views {
		text := DecodeWords(view)
		if len(c.matches(text)) > 0 {
			v.set(c.cutAll(text))
			return false
		}
		if m := c.matches(view); len(m) > 0 && hidden == "" {
			hidden = view[m[0][0]:m[0][1]]
		}
	}
	if hidden != "" {
		// Seen only by who does not decode, such as a search in raw bytes.
		c.note(hidden)
		v.set(strings.TrimSpace(DecodeWords(views[0])))
		return false
	}
	return true
}

// note counts a cut and keeps the mark that was found.
func (c *cutter) note(mark string) {
	c.left--
	c.found = append(c.found, strings.TrimSpace(DecodeWords(mark)))
}

// cutAll takes the marks out of decoded text, as many as may still be cut.
func (c *cutter) cutAll(text string) string {
	text = strings.TrimSpace(text)
	for c.left >= 0 {
		list := c.matches(text)
		if len(list) == 0 {
			break
		}
		from, to := list[0][0], list[0][1]
		c.left--
		c.found = append(c.found, strings.TrimSpace(text[from:to]))
		switch {
		case to < len(text) && isSpace(text[to]):
			to++
		case from > 0 && isSpace(text[from-1]):
			from--
		}
		text = strings.TrimSpace(text[:from] + text[to:])
	}
	return text
}

// matches gives the places of all matches that are not empty.
func (c *cutter) matches(s string) [][]int {
	list := c.mark.FindAllStringIndex(s, maxCuts+1)
	keep := list[:0]
	for _, m := range list {
		if m[1] > m[0] {
			keep = append(keep, m)
		}
	}
	return keep
}

// check looks at the result once more, from outside: the same fields in the
// same order, all others untouched, and no match left in the named ones.
func (c *cutter) check(before, after []byte, fields []string) bool {
	a, b := Fields(before), Fields(after)
	if len(a) != len(b) {
		return false
	}
	endA, endB := 0, 0
	for i := range a {
		endA, endB = a[i].Off+len(a[i].Raw), b[i].Off+len(b[i].Raw)
		if a[i].Name != b[i].Name {
			return false
		}
		if !named(a[i].Name, fields) {
			if !bytes.Equal(a[i].Raw, b[i].Raw) {
				return false
			}
			continue
		}
		if bytes.Equal(a[i].Raw, b[i].Raw) {
			continue // had no match, or it would differ
		}
		body := b[i].Body()
		for _, view := range []string{string(splitField(b[i]).text), body, DecodeWords(body)} {
			if len(c.matches(view)) > 0 {
				return false
			}
		}
	}
	return bytes.Equal(before[endA:], after[endB:])
}

// fieldValue is a field taken apart: head is name, colon and the white space up
// to the text, tail the white space and line end behind it.
type fieldValue struct {
	name string
	head []byte
	text []byte
	tail []byte
	eol  string
}

func splitField(f Field) fieldValue {
	colon := bytes.IndexByte(f.Raw, ':') + 1 // only fields with a name come here
	v := fieldValue{name: string(f.Raw[:colon]), eol: "\r\n"}
	rest := f.Raw[colon:]
	text := bytes.TrimLeft(rest, " \t\r\n")
	start := colon + len(rest) - len(text)
	text = bytes.TrimRight(text, " \t\r\n")
	v.head = f.Raw[:start:start]
	v.text = bytes.Clone(text)
	v.tail = f.Raw[start+len(text):]
	if bytes.HasSuffix(f.Raw, []byte("\n")) && !bytes.HasSuffix(f.Raw, []byte("\r\n")) {
		v.eol = "\n"
	}
	return v
}

func (v *fieldValue) join() []byte {
	head, tail := v.head, v.tail
	if len(v.text) == 0 {
		// Folding around nothing would leave lines of white space, which some
		// take for the end of the header.
		if i := bytes.IndexByte(head, '\n'); i >= 0 {
			head = bytes.TrimRight(head[:i], "\r")
		}
		if i := bytes.LastIndexByte(tail, '\n'); i >= 0 {
			tail = []byte(v.eol)
		}
	}
	out := append([]byte{}, head...)
	out = append(out, v.text...)
	return append(out, tail...)
}

// set replaces the whole value by text.
func (v *fieldValue) set(text string) {
	v.head = []byte(v.name + " ")
	v.text = encodeText(len(v.name)+1, text, v.eol)
	if bytes.HasPrefix(v.text, []byte(v.eol)) {
		v.head = []byte(v.name)
	}
	if bytes.HasSuffix(v.tail, []byte("\n")) {
		v.tail = []byte(v.eol)
	} else {
		v.tail = nil
	}
}

// drop takes [from,to) out of the text with one space beside it, and a folded
// line that is left with nothing.
func (v *fieldValue) drop(from, to int) {
	t := v.text
	lineStart := bytes.LastIndexByte(t[:from], '\n') + 1
	lineStop := len(t)
	if i := bytes.IndexByte(t[to:], '\n'); i >= 0 {
		lineStop = to + i
	}
	if from == lineStart && lineStart > 0 && to > from && isSpace(t[from]) {
		from++ // the space that makes the line a continuation stays
	}
	empty := len(bytes.Trim(t[lineStart:from], " \t\r")) == 0 && len(bytes.Trim(t[to:lineStop], " \t\r")) == 0
	switch {
	case empty && lineStart > 0:
		// From the line end before this line to before its own.
		from = lineStart - 1
		if from > 0 && t[from-1] == '\r' {
			from--
		}
		to = lineStop
		if to > from && lineStop < len(t) && t[lineStop-1] == '\r' {
			to--
		}
	case empty && lineStop < len(t):
		// The first line: the next takes its place.
		to = lineStop + 1
		for to < len(t) && isSpace(t[to]) {
			to++
		}
	case to < len(t) && isSpace(t[to]):
		to++
	case from > lineStart+1 && isSpace(t[from-1]), from == 1 && lineStart == 0 && isSpace(t[0]):
		// Not the space that makes a line a continuation.
		from--
	}
	t = append(t[:from:from], t[to:]...)
	// The ends of the text are without white space, as they were.
	left := bytes.TrimLeft(t, " \t\r\n")
	v.text = bytes.TrimRight(left, " \t\r\n")
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// squeeze drops each line end with the white space behind it.
func squeeze(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\n')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(strings.TrimSuffix(s[:i], "\r"))
		s = strings.TrimLeft(s[i+1:], " \t")
	}
}

// wordRanges gives the places of encoded words in raw text, which may be folded
// inside a word.
func wordRanges(text []byte) [][2]int {
	var list [][2]int
	eachWord(string(text), func(w word) { list = append(list, [2]int{w.start, w.end}) })
	return list
}

func overlaps(ranges [][2]int, m []int) bool {
	for _, r := range ranges {
		if m[0] < r[1] && r[0] < m[1] {
			return true
		}
	}
	return false
}
