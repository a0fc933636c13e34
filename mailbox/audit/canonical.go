package audit

import (
	"maps"
	"slices"
	"strconv"
)

// object writes a JSON object as RFC 8785 wants it. The caller gives the keys
// in ascending order; encoding/json cannot be told not to escape U+2028.
type object struct {
	b    []byte
	some bool
}

func (o *object) key(k string) {
	before := byte(',')
	if !o.some {
		before = '{'
	}
	o.some = true
	o.b = append(appendString(append(o.b, before), k), ':')
}

func (o *object) str(k, v string) {
	o.key(k)
	o.b = appendString(o.b, v)
}

func (o *object) optional(k, v string) {
	if v != "" {
		o.str(k, v)
	}
}

func (o *object) number(k string, n int64) {
	o.key(k)
	o.b = strconv.AppendInt(o.b, n, 10)
}

// strs writes an object of strings. Its keys are ASCII, whose order is the
// same in bytes as in the UTF-16 of RFC 8785 section 3.2.3.
func (o *object) strs(k string, m map[string]string) {
	o.key(k)
	in := object{b: o.b}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		in.str(name, m[name])
	}
	o.b = in.end()
}

func (o *object) end() []byte { return append(o.b, '}') }

// appendString writes a string (RFC 8785 section 3.2.2.2).
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case short(c) != 0:
			b = append(b, '\\', short(c))
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}

// short is the letter of a control character that has a short escape, or 0.
func short(c byte) byte {
	switch c {
	case '\b':
		return 'b'
	case '\t':
		return 't'
	case '\n':
		return 'n'
	case '\f':
		return 'f'
	case '\r':
		return 'r'
	}
	return 0
}

// width is the number of bytes that appendString writes for r.
func width(r rune) int {
	switch {
	case r == '"' || r == '\\' || r < 0x20 && short(byte(r)) != 0:
		return 2
	case r < 0x20:
		return 6
	case r < 0x80:
		return 1
	case r < 0x800:
		return 2
	case r < 0x10000:
		return 3
	}
	return 4
}
