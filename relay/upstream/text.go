package upstream

import (
	"strings"
	"unicode"
)

// maxText bounds what is kept of a provider's words, in bytes.
const maxText = 512

// Clean makes a provider's words fit to be kept and shown: one line, valid
// UTF-8, no control characters, at most 512 bytes, and none of the given
// secrets (a server may quote the login it refuses).
func Clean(s string, secrets ...string) string {
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "[...]")
		}
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.TrimSpace(s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}
