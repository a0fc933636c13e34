package main

import (
	"fmt"
	"slices"
	"strings"
)

// subjectChecks are patterns of Postfix's regexp tables, which see a Subject as it is sent, that find [WORD] and [WORD:...]
// in plain text and in encoded words (RFC 2047): in the Q encoding each character may be written by number, in base64 the
// tag looks different at each of three offsets. Base64 is compared with its case, for the tag as it is written and in capital
// and small letters.
func subjectChecks(word string) ([]string, error) {
	for _, r := range word {
		if r < ' ' || r > '~' || r == '/' {
			return nil, fmt.Errorf("trigger: %q has a character that Postfix cannot look for in a Subject: use ASCII letters, digits and signs but /", word)
		}
	}
	var text, q strings.Builder
	for i := range len(word) {
		c := word[i]
		text.WriteString(posixQuote(string(c)))
		q.WriteString(quotedChar(c))
	}
	const blank, qblank = `[[:space:]]*`, `(_|=20| )*`
	out := []string{
		`/^Subject:.*\[` + blank + text.String() + blank + `[]:]/`,
		`/^Subject:.*=\?[^?]+\?Q\?[^?]*` + quotedChar('[') + qblank + q.String() + qblank + `(` + quotedChar(']') + `|` + quotedChar(':') + `)/`,
	}
	var b64 []string
	for _, w := range []string{word, strings.ToUpper(word), strings.ToLower(word)} {
		for _, end := range []string{"]", ":"} {
			for offset := range 3 {
				if x := base64Pattern([]byte("["+w+end), offset); !slices.Contains(b64, x) {
					b64 = append(b64, x)
				}
			}
		}
	}
	return append(out, `/^[Ss][Uu][Bb][Jj][Ee][Cc][Tt]:.*=\?[^?]+\?[Bb]\?[^?]*(`+strings.Join(b64, "|")+`)/i`), nil
}

// quotedChar is a character as the Q encoding may write it.
func quotedChar(c byte) string { return fmt.Sprintf("(%s|=%02X)", posixQuote(string(c)), c) }

// posixQuote takes the meaning in an extended regular expression away.
func posixQuote(s string) string {
	if strings.Contains(`\.[]()*+?{}|^$`, s) {
		return `\` + s
	}
	return s
}

// base64Pattern is what octets look like in base64 when so many octets stand before them in a group of three. At both ends a
// character also holds bits of the neighbours: then it is one of several.
func base64Pattern(b []byte, offset int) string {
	// RFC 4648 section 4.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	bits, known := []bool{}, []bool{}
	add := func(c byte, sure bool) {
		for i := 7; i >= 0; i-- {
			bits, known = append(bits, c>>i&1 == 1), append(known, sure)
		}
	}
	for range offset {
		add(0, false)
	}
	for _, c := range b {
		add(c, true)
	}
	for len(bits)%6 != 0 {
		bits, known = append(bits, false), append(known, false)
	}
	var out strings.Builder
	for i := 0; i < len(bits); i += 6 {
		if !slices.Contains(known[i:i+6], true) {
			continue
		}
		var fits []byte
		for v := range 64 {
			ok := true
			for j := range 6 {
				ok = ok && (!known[i+j] || bits[i+j] == (v>>(5-j)&1 == 1))
			}
			if ok {
				fits = append(fits, alphabet[v])
			}
		}
		if len(fits) == 1 {
			out.WriteString(posixQuote(string(fits)))
		} else {
			out.WriteString("[" + string(fits) + "]")
		}
	}
	return strings.ReplaceAll(out.String(), "/", `\/`)
}
