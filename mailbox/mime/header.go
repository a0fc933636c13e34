package mime

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// ErrHeaderTooBig is returned for a header block above 1 MiB.
var ErrHeaderTooBig = errors.New("mime: header too big")

// ReadHeader reads the header block of a part as it stands, blank line
// included. It holds at most 1 MiB; Parse never makes a longer one.
func ReadHeader(r io.ReaderAt, p *Part) ([]byte, error) {
	if p.HeaderLen < 0 || p.HeaderLen > maxHeader {
		return nil, ErrHeaderTooBig
	}
	b := make([]byte, p.HeaderLen)
	if err := readFull(r, b, p.HeaderOff); err != nil {
		return nil, err
	}
	return b, nil
}

// Field is one header field. Name is as written, without space before the
// colon; it is empty for lines that are no field (no colon, a name that RFC
// 5322 section 2.2 does not allow), which are kept so that nothing is lost.
type Field struct {
	Name string
	Raw  []byte // the whole field with folding and final line end; part of the header given
	Off  int    // of Raw in the header
}

// Body is the value of the field, unfolded (RFC 5322 section 2.2.3) and
// trimmed, otherwise as written: encoded words stay.
func (f Field) Body() string {
	return fieldBody(f.Raw, f.Name != "")
}

func fieldBody(raw []byte, named bool) string {
	if named {
		raw = raw[bytes.IndexByte(raw, ':')+1:]
	}
	return unfold(string(bytes.Trim(raw, " \t\r\n")))
}

// Fields cuts a header block into its fields, in order, up to the blank line or
// the end. Joined, all Raw give the block without its blank line.
func Fields(header []byte) []Field {
	var list []Field
	eachField(header, func(name, raw []byte, off int) bool {
		list = append(list, Field{Name: string(name), Raw: raw, Off: off})
		return true
	})
	return list
}

// eachField calls fn for each field until it returns false.
func eachField(header []byte, fn func(name, raw []byte, off int) bool) {
	for start := 0; start < len(header); {
		end, blank := lineEnd(header, start)
		if blank {
			return
		}
		first := header[start:end]
		for end < len(header) && (header[end] == ' ' || header[end] == '\t') {
			end, _ = lineEnd(header, end)
		}
		if !fn(fieldName(first), header[start:end:end], start) {
			return
		}
		start = end
	}
}

// lineEnd is the offset behind the line that begins at start, and whether the
// line is blank, that is nothing but its end.
func lineEnd(b []byte, start int) (end int, blank bool) {
	i := bytes.IndexByte(b[start:], '\n')
	if i < 0 {
		return len(b), false
	}
	return start + i + 1, i == 0 || (i == 1 && b[start] == '\r')
}

func fieldName(first []byte) []byte {
	i := bytes.IndexByte(first, ':')
	if i < 0 {
		return nil
	}
	name := bytes.TrimRight(first[:i], " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return nil
		}
	}
	return name
}

// SelectFields gives the fields that HEADER.FIELDS (not: HEADER.FIELDS.NOT) asks
// for, byte for byte and in order, and the final CRLF (RFC 9051 section 6.4.5).
// Names are compared without regard to case. Lines that are no field belong to
// HEADER.FIELDS.NOT.
func SelectFields(header []byte, names []string, not bool) []byte {
	want := nameSet(names)
	out := make([]byte, 0, min(len(header)+2, 1024))
	eachField(header, func(name, raw []byte, _ int) bool {
		if want(name) != not {
			out = append(out, raw...)
			if raw[len(raw)-1] != '\n' {
				out = append(out, "\r\n"...)
			}
		}
		return true
	})
	return append(out, "\r\n"...)
}

// nameSet tests names without regard to case. A client asks for a dozen, which
// are compared one by one; more go into a map, so that nobody buys a product of
// names and fields.
func nameSet(names []string) func(name []byte) bool {
	if len(names) <= 32 {
		return func(name []byte) bool {
			for _, n := range names {
				if len(n) == len(name) && n != "" && equalFold(n, name) {
					return true
				}
			}
			return false
		}
	}
	want := make(map[string]bool, len(names))
	for _, n := range names {
		if n != "" {
			want[strings.ToLower(n)] = true
		}
	}
	return func(name []byte) bool {
		var low [64]byte
		return want[string(appendLower(low[:0], name))]
	}
}

func equalFold(a string, b []byte) bool {
	for i := range b {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func appendLower(dst, s []byte) []byte {
	for _, c := range s {
		dst = append(dst, lower(c))
	}
	return dst
}

// unfold drops each line end; the space that begins the next line stays.
func unfold(s string) string {
	if strings.IndexByte(s, '\n') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for {
		i := strings.IndexByte(s, '\n')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(strings.TrimSuffix(s[:i], "\r"))
		s = s[i+1:]
	}
}
