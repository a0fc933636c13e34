package policy

import (
	"errors"
	"strings"
)

// Sizes of an address in octets (RFC 5321 section 4.5.3.1, RFC 1035 section 2.3.4).
const (
	maxAddress = 254
	maxLocal   = 64
	maxLabel   = 63
)

// ErrAddress says that a text is not one plain address. It never carries the text.
var ErrAddress = errors.New("not a plain address like name@example.org")

// ParseAddress reads one strict addr-spec and returns it with its domain in lower case.
//
// Accepted is the plain form that every mail system understands alike: a dot-string local part (RFC 5321 section 4.1.2)
// of 1 to 64 octets, `@`, and a host name of at least two labels; 254 octets in all, ASCII only. Refused are quoted local
// parts, comments, source routes, address literals, display names, angle brackets, blanks, a trailing dot, and every octet
// outside ASCII. What two readers could understand differently must not be relayed (libraries.md, quoted local parts
// inject parameters). The error is ErrAddress.
func ParseAddress(s string) (string, error) {
	if len(s) > maxAddress {
		return "", ErrAddress
	}
	at := strings.IndexByte(s, '@')
	if at < 1 || at > maxLocal {
		return "", ErrAddress
	}
	local, domain := s[:at], s[at+1:]
	if !dotString(local) || !hostName(domain) {
		return "", ErrAddress
	}
	return local + "@" + lower(domain), nil
}

func dotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '.' && !atext(s[i]) {
			return false
		}
	}
	return true
}

// atext of RFC 5322 section 3.2.3.
func atext(c byte) bool {
	return alnum(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func alnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func hostName(s string) bool {
	labels := strings.Split(s, ".")
	if len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > maxLabel || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for i := 0; i < len(l); i++ {
			if !alnum(l[i]) && l[i] != '-' {
				return false
			}
		}
	}
	// A last label of digits only is an IP address without its brackets.
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// lower folds ASCII only. Unicode folding would make the Kelvin sign equal to k.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// same compares without regard to ASCII case.
func same(a, b string) bool {
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
