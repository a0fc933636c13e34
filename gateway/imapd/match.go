package imapd

import "strings"

// matcher is a LIST pattern (RFC 9051 section 6.3.9): * stands for anything, %
// for anything within one level. Matching takes time proportional to the
// product of both lengths, whatever the pattern.
type matcher struct {
	pattern string // without wildcards that change nothing
	letters int
}

func newMatcher(pattern string) matcher {
	var b strings.Builder
	m := matcher{}
	for i := 0; i < len(pattern); {
		if c := pattern[i]; c != '*' && c != '%' {
			b.WriteByte(c)
			m.letters++
			i++
			continue
		}
		// A run of wildcards is one: * if there is a * in it.
		w := byte('%')
		for i < len(pattern) && (pattern[i] == '*' || pattern[i] == '%') {
			if pattern[i] == '*' {
				w = '*'
			}
			i++
		}
		b.WriteByte(w)
	}
	m.pattern = b.String()
	return m
}

func (m matcher) match(name string) bool {
	if m.letters > len(name) {
		return false
	}
	if name == "INBOX" && strings.EqualFold(m.pattern, name) {
		return true
	}
	// at[i]: what was read of the pattern matches the first i bytes of name.
	at := make([]bool, len(name)+1)
	at[0] = true
	for k := range len(m.pattern) {
		switch c := m.pattern[k]; c {
		case '*', '%':
			for i := range len(name) {
				if at[i] && (c == '*' || name[i] != delim[0]) {
					at[i+1] = true
				}
			}
		default:
			for i := len(name); i > 0; i-- {
				at[i] = at[i-1] && name[i-1] == c
			}
			at[0] = false
		}
	}
	return at[len(name)]
}
