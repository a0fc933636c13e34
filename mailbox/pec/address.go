package pec

import (
	"errors"
	"strings"
)

// fromAddress takes the one addr-spec out of the body of a From field
// (RFC 5322 section 3.6.2), unfolded. It is strict, since the address decides
// whose certificate is accepted: no group, no second address, no quoted local
// part, no route. The display name may be anything; providers write
// "Per conto di: somebody@x" there.
func fromAddress(body string) (string, error) {
	rest, angle, err := splitAngle(body)
	if err != nil {
		return "", err
	}
	spec := rest
	if angle != "" {
		spec = angle
	}
	spec = strings.Trim(spec, " \t")
	local, domain, ok := strings.Cut(spec, "@")
	if !ok || !dotAtom(local) || !dotAtom(domain) {
		return "", errors.New("From holds no plain address")
	}
	return spec, nil
}

// splitAngle walks over a mailbox, leaves quoted strings and comments aside,
// and returns what stands outside and inside of the angle brackets.
func splitAngle(s string) (outside, inside string, err error) {
	var out strings.Builder
	depth, seen := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case depth > 0 && c == '\\':
			i++
		case c == '(':
			if depth++; depth > 16 {
				return "", "", errors.New("From nests comments too deeply")
			}
		case depth > 0 && c == ')':
			depth--
		case depth > 0:
		case c == '"':
			j := i + 1
			for j < len(s) && s[j] != '"' {
				if s[j] == '\\' {
					j++
				}
				j++
			}
			if j >= len(s) {
				return "", "", errors.New("From has an open quoted string")
			}
			i = j
			// Something stood here: an address glued to a quoted string is not
			// plain any more.
			out.WriteByte('"')
		case c == '<':
			end := strings.IndexByte(s[i:], '>')
			if end < 0 || seen {
				return "", "", errors.New("From has odd angle brackets")
			}
			inside, seen = s[i+1:i+end], true
			if strings.TrimSpace(inside) == "" {
				return "", "", errors.New("From holds no plain address")
			}
			i += end
		case c == ',' || c == ';':
			return "", "", errors.New("From holds more than one address")
		case seen && c != ' ' && c != '\t':
			return "", "", errors.New("From has text after the address")
		default:
			out.WriteByte(c)
		}
	}
	if depth > 0 {
		return "", "", errors.New("From has an open comment")
	}
	return out.String(), inside, nil
}

// dotAtom reports whether s is a dot-atom-text (RFC 5322 section 3.2.3).
func dotAtom(s string) bool {
	if s == "" || len(s) > 255 || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) >= 0:
		default:
			return false
		}
	}
	return true
}
