package pec

import "strings"

// NormalizeID brings a Message-ID or PEC identifier to the form in which ids
// are compared: XML escapes undone once, folding and every other blank taken
// out (long ids get folded in the middle), one pair of angle brackets dropped.
// Case stays as it is: compare exactly first, then with SameID.
func NormalizeID(id string) string {
	if strings.IndexByte(id, '&') >= 0 {
		id = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(id)
	}
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

// SameID reports whether two ids are the same after NormalizeID, whatever
// their case. An empty id is the same as no other.
func SameID(a, b string) bool {
	a, b = NormalizeID(a), NormalizeID(b)
	return a != "" && asciiEqualFold(a, b)
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
