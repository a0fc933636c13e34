package smtpd

import (
	"errors"
	"strings"

	"pecgate/mailbox/mime"
	"pecgate/policy"
)

// errAddress says that a field does not hold what it must. It carries no text
// of the field.
var errAddress = errors.New("not what this field must hold")

// plainAddress reads a field that must hold one address that every reader sees
// alike: `local@domain`, or a name before `<local@domain>`. ASCII only; no
// comments, groups, lists, routes or quoted local parts; and no name that shows
// another address.
func plainAddress(v string) (string, error) {
	for i := range len(v) {
		if v[i] != '\t' && (v[i] < ' ' || v[i] > '~') {
			return "", errAddress
		}
	}
	if !strings.HasSuffix(v, ">") {
		return policy.ParseAddress(v)
	}
	open := strings.LastIndexByte(v, '<')
	if open < 0 {
		return "", errAddress
	}
	addr, err := policy.ParseAddress(v[open+1 : len(v)-1])
	if err != nil {
		return "", err
	}
	name, err := phrase(v[:open])
	if err != nil {
		return "", err
	}
	shown := strings.TrimSpace(mime.DecodeWords(name))
	if strings.ContainsAny(shown, "@\uff20\ufe6b") && !strings.EqualFold(shown, addr) {
		return "", errAddress
	}
	return addr, nil
}

// phrase reads a display name (RFC 5322 section 3.4, with the dots of the
// obsolete form, which everybody writes) and returns it without quotes.
func phrase(s string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			end := quotedEnd(s, i)
			if end < 0 {
				return "", errAddress
			}
			for j := i + 1; j < end; j++ {
				if s[j] == '\\' {
					j++
				}
				out.WriteByte(s[j])
			}
			i = end
		case strings.IndexByte("()<>[]:;@\\,", c) >= 0:
			return "", errAddress
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), nil
}

// quotedEnd is the place of the quote that closes the one at i, -1 where none
// does.
func quotedEnd(s string, i int) int {
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case '"':
			return j
		}
	}
	return -1
}
