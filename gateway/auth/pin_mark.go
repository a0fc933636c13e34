package auth

import (
	"regexp"
	"strings"
	"unicode"
)

// pinBegin is of text without blanks and what nobody sees, and takes anything for
// the colon, and nothing before digits. What closes the bracket is no part of a
// mark: "[PIN] 2026" is a subject.
var pinBegin = regexp.MustCompile(`(?i)[\[\x{FF3B}]PIN(?:[:\x{FF1A}]|[^\pL\p{Nd}\]\x{FF3D}]{0,3}\p{Nd}{4})`)

// MeansPIN reports whether text holds what a person may have meant as a PIN mark,
// [PIN:123456]: such text is neither sent nor stored.
func MeansPIN(text string) bool {
	return pinBegin.MatchString(strings.Map(func(r rune) rune {
		// What is no UTF-8 may be a blank of another charset.
		if unicode.IsSpace(r) || unicode.In(r, unicode.Z, unicode.Cf) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text))
}
