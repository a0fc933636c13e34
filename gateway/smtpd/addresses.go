package smtpd

import (
	"strings"

	"pecgate/policy"
)

// addresses reads To or Cc (RFC 5322 section 3.4): mailboxes and groups, with
// names, quotes, comments and empty places. Names may hold any bytes; every
// address must be plain. Domains come in lower case.
func addresses(v string) ([]string, error) {
	var out []string
	var item strings.Builder // the current mailbox without comments and quoted text
	quoted, group := false, false
	put := func() error {
		s := strings.Trim(item.String(), " \t")
		item.Reset()
		named := quoted
		quoted = false
		if s == "" {
			if named {
				return errAddress // a name without an address
			}
			return nil
		}
		if open := strings.IndexByte(s, '<'); open >= 0 {
			end := strings.IndexByte(s, '>')
			if end != len(s)-1 || strings.ContainsAny(s[:open], "@>") {
				return errAddress
			}
			s = s[open+1 : end]
		} else if named {
			return errAddress // a quoted local part, or text beside an address
		}
		a, err := policy.ParseAddress(s)
		if err != nil {
			return err
		}
		out = append(out, a)
		return nil
	}
	angle := false
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case c == 0x7f || c < ' ' && c != '\t':
			return nil, errAddress
		case angle:
			// Nothing but the address stands between the brackets: quotes and
			// comments there are refused with it.
			angle = c != '>'
			item.WriteByte(c)
		case c == '"':
			end := quotedEnd(v, i)
			if end < 0 {
				return nil, errAddress
			}
			i, quoted = end, true
		case c == '(':
			end := commentEnd(v, i)
			if end < 0 {
				return nil, errAddress
			}
			i = end
			item.WriteByte(' ')
		case c == ',', c == ';' && group:
			if err := put(); err != nil {
				return nil, err
			}
			group = group && c == ','
		case c == ':' && !group && !strings.ContainsAny(item.String(), "<@"):
			item.Reset() // the group's name
			quoted, group = false, true
		case strings.IndexByte(")>[]:;\\", c) >= 0:
			return nil, errAddress
		default:
			angle = c == '<'
			item.WriteByte(c)
		}
	}
	if angle || group {
		return nil, errAddress
	}
	if err := put(); err != nil {
		return nil, err
	}
	return out, nil
}

// maxComment bounds how deep comments lie in each other.
const maxComment = 8

// commentEnd is the place of the bracket that closes the comment at i, -1
// where none does.
func commentEnd(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			if depth++; depth > maxComment {
				return -1
			}
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}
