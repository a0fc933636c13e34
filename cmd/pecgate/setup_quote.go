package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// psQuote writes a value as a PowerShell expression that is that string and nothing else: single quotes, in which only a
// single quote has a meaning. PowerShell takes typographic quotes (U+2018 to U+201B) for single quotes too, and Windows
// PowerShell reads a file without a byte order mark in the system's code page, in which parts of other characters become
// such quotes. So all that is not ASCII is written by number, and the script is ASCII only.
func psQuote(s string) string {
	var parts []string
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			parts = append(parts, "'"+strings.ReplaceAll(plain.String(), "'", "''")+"'")
			plain.Reset()
		}
	}
	for _, r := range s {
		if r >= ' ' && r <= '~' {
			plain.WriteRune(r)
			continue
		}
		flush()
		for _, unit := range utf16.Encode([]rune{r}) {
			parts = append(parts, fmt.Sprintf("[char]0x%04X", unit))
		}
	}
	flush()
	switch {
	case len(parts) == 0:
		return "''"
	case len(parts) == 1 && parts[0][0] == '\'':
		return parts[0]
	case parts[0][0] == '[': // a number of characters would be added, not joined
		parts = append([]string{"''"}, parts...)
	}
	return "(" + strings.Join(parts, " + ") + ")"
}

// psList is an array of strings.
func psList(values []string) string {
	quoted := make([]string, 0, len(values))
	for _, v := range values {
		quoted = append(quoted, psQuote(v))
	}
	return "@(" + strings.Join(quoted, ", ") + ")"
}

// psDomains is an array of objects by name, each made of base and a domain.
func psDomains(base string, domains []string) string {
	var b strings.Builder
	b.WriteString("@{")
	for i, d := range domains {
		if i > 0 {
			b.WriteString(";")
		}
		b.WriteString(" " + psQuote(objectName(base+" "+d)) + " = " + psQuote(d))
	}
	b.WriteString(" }")
	return b.String()
}

// shQuote writes a value for a POSIX shell.
func shQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// objectName cuts a name to 64 characters, the most that rules and remote domains may have, and keeps it different from
// others that begin alike.
func objectName(name string) string {
	const most = 64
	if len(utf16.Encode([]rune(name))) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	short := []rune(name)
	for len(utf16.Encode(short)) > most-9 {
		short = short[:len(short)-1]
	}
	return string(short) + "~" + hex.EncodeToString(sum[:4])
}

// slug is a name for files and services: small letters, digits and hyphens, different for different names.
func slug(name string) string {
	kept := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(name), "-")
	kept = strings.Trim(kept, "-")
	if kept == name && len(kept) <= 40 {
		return kept
	}
	sum := sha256.Sum256([]byte(name))
	return strings.Trim(kept[:min(len(kept), 30)]+"-"+hex.EncodeToString(sum[:4]), "-")
}

// plainText is a value inside a comment or a sheet: one line of printable ASCII.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// clean refuses what cannot stand in one line: control and invisible characters, and text that is no UTF-8.
func clean(what, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %q is no UTF-8", what, s)
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("%s %q has a control or invisible character, which no configuration of a mail server should have", what, s)
		}
	}
	return nil
}

// tagPattern is the regular expression, as Exchange's rules read it, for the tag of a Subject with or without a mailbox.
func tagPattern(trigger string) string {
	return `\[\s*` + regexp.QuoteMeta(tagWord(trigger)) + `\s*(\]|:)`
}

func tagWord(trigger string) string {
	return strings.TrimSuffix(strings.TrimPrefix(trigger, "["), "]")
}

// exactly is a regular expression that an address matches and nothing else.
func exactly(addresses []string) []string {
	var out []string
	for _, a := range addresses {
		out = append(out, "^"+regexp.QuoteMeta(a)+"$")
	}
	return out
}
