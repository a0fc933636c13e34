package pec

import (
	"strings"
	"unicode/utf8"
)

// NormalizeID brings a Message-ID or PEC identifier to the form in which ids
// are compared: XML escapes undone, folding and every other blank taken out (long
// ids get folded in the middle), angle brackets round it dropped. What is normal
// stays as it is. Case and percent escapes are not touched: compare exactly
// first, then with SameID.
func NormalizeID(id string) string {
	// Each round makes the id shorter, so this ends; an id that is wrapped more
	// often than this is none.
	for range 8 {
		plain := normalizeOnce(id)
		if plain == id {
			return id
		}
		id = plain
	}
	return ""
}

func normalizeOnce(id string) string {
	id = undoEscapes(id)
	if strings.ContainsAny(id, " \t\r\n") {
		id = strings.Map(func(r rune) rune {
			switch r {
			case ' ', '\t', '\r', '\n':
				return -1
			}
			return r
		}, id)
	}
	if len(id) >= 2 && id[0] == '<' && id[len(id)-1] == '>' {
		id = id[1 : len(id)-1]
	}
	return id
}

// undoEscapes undoes the escapes that XML and HTML make of what stands in ids, once
// and whatever their case: IDKey would else find one that NormalizeID has left.
func undoEscapes(id string) string {
	const longest = len("&quot;")
	var b strings.Builder
	for {
		plain, behind, found := strings.Cut(id, "&")
		if !found {
			if b.Len() == 0 {
				return id
			}
			b.WriteString(id)
			return b.String()
		}
		b.WriteString(plain)
		end := strings.IndexByte(behind[:min(len(behind), longest-1)], ';')
		c := byte('&')
		switch asciiLower(behind[:end+1]) {
		case "lt;", "#60;", "#x3c;":
			c = '<'
		case "gt;", "#62;", "#x3e;":
			c = '>'
		case "quot;":
			c = '"'
		case "apos;":
			c = '\''
		case "amp;":
		default:
			end = -1
		}
		b.WriteByte(c)
		id = behind[end+1:]
	}
}

// UnescapeID is the last resort for an id that is known nowhere: NormalizeID
// with the percent escapes undone that some software makes of "<", "@" or "+".
// ok is false where there are none, or where the result could not be an id.
func UnescapeID(id string) (plain string, ok bool) {
	id = NormalizeID(id)
	if strings.IndexByte(id, '%') < 0 {
		return "", false
	}
	b := make([]byte, 0, len(id))
	for i := 0; i < len(id); i++ {
		c := id[i]
		if c == '%' {
			if i+2 >= len(id) || hexDigit(id[i+1]) < 0 || hexDigit(id[i+2]) < 0 {
				return "", false
			}
			c = byte(hexDigit(id[i+1])<<4 | hexDigit(id[i+2]))
			i += 2
		}
		if c < ' ' || c == 0x7f {
			return "", false
		}
		b = append(b, c)
	}
	if !utf8.Valid(b) {
		return "", false
	}
	plain = NormalizeID(string(b))
	return plain, plain != "" && plain != id
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// SameID reports whether two ids are the same after NormalizeID, whatever
// their case; if they are not, whether they are once percent escapes of one of
// them are undone. An empty id is the same as no other.
func SameID(a, b string) bool {
	a, b = NormalizeID(a), NormalizeID(b)
	if a == "" || b == "" {
		return false
	}
	if asciiEqualFold(a, b) {
		return true
	}
	if plain, ok := UnescapeID(a); ok && asciiEqualFold(plain, b) {
		return true
	}
	plain, ok := UnescapeID(b)
	return ok && asciiEqualFold(a, plain)
}

// SameAddress reports whether two addr-specs are the same, whatever their
// case. RFC 5321 section 2.4 leaves the case of a local part to its server, but
// PEC providers do not tell mailboxes apart by it and change it in receipts.
// An empty address is the same as no other.
func SameAddress(a, b string) bool {
	a, b = trimAddress(a), trimAddress(b)
	return a != "" && asciiEqualFold(a, b)
}

// trimAddress drops blanks and one pair of angle brackets.
func trimAddress(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && s[0] == '<' && s[len(s)-1] == '>' {
		s = s[1 : len(s)-1]
	}
	return s
}

// asciiEqualFold compares without regard to the case of ASCII letters only:
// Unicode folding would let the Kelvin sign pass as the letter k in an address.
func asciiEqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if 'A' <= y && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}

// oneLine trims s and turns line breaks and tabs, with the blanks around them,
// into one space.
func oneLine(s string) string {
	s = strings.TrimSpace(s)
	if !strings.ContainsAny(s, "\r\n\t") {
		return s
	}
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\r' || r == '\n' || r == '\t' })
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	return strings.Join(lines, " ")
}

// cut bounds s to n bytes of valid UTF-8.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}

// hint makes a value of an unsigned header fit to be shown and stored: one line
// of valid UTF-8 without control characters, at most maxValue bytes.
func hint(s string) string {
	return cut(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, oneLine(s)), maxValue)
}
