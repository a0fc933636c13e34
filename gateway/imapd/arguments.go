package imapd

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// arguments are the words behind the name of a command that the library does
// not parse.
type arguments struct {
	t   tokens
	bad bool
}

// readArguments stands behind the tag and the name of a command.
func readArguments(text []byte, name string) *arguments {
	a := &arguments{t: tokens{b: text}}
	for range 2 + strings.Count(name, " ") {
		a.t.next()
	}
	return a
}

// more tells whether anything is left.
func (a *arguments) more() bool { return len(bytes.Trim(a.t.b[a.t.pos:], " ()")) > 0 }

// astring reads an atom, a quoted string or a literal (RFC 9051 section 9).
func (a *arguments) astring() string {
	w := a.t.next()
	if w == nil {
		a.bad = true
		return ""
	}
	s, ok := unquote(w)
	if !ok || !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\r\n") {
		a.bad = true
	}
	return s
}

// mailbox reads the name of a folder.
func (a *arguments) mailbox() string {
	s, ok := decodeName(a.astring())
	if !ok {
		a.bad = true
	}
	if strings.EqualFold(s, "INBOX") {
		s = "INBOX"
	}
	return s
}

// end is the error of arguments that are missing, malformed or too many.
func (a *arguments) end() error {
	if a.bad || a.more() {
		return badCommand("Syntax error")
	}
	return nil
}

// unquote gives the value of one word of a command.
func unquote(w []byte) (string, bool) {
	switch w[0] {
	case '"':
		if len(w) < 2 || w[len(w)-1] != '"' {
			return "", false
		}
		var b []byte
		for i := 1; i < len(w)-1; i++ {
			if w[i] == '\\' {
				if i++; i == len(w)-1 || w[i] != '"' && w[i] != '\\' {
					return "", false
				}
			} else if w[i] == '"' {
				return "", false
			}
			b = append(b, w[i])
		}
		return string(b), true
	case '{':
		_, data, ok := bytes.Cut(w, []byte("\r\n"))
		return string(data), ok
	}
	return string(w), !bytes.ContainsAny(w, "\"{\\*%")
}

// quote writes a value as a quoted string. It must hold no CR, LF or NUL.
func quote(s string) string {
	if strings.ContainsAny(s, `"\`) {
		s = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
	}
	return `"` + s + `"`
}

// quoteName writes the name of a folder as this client wants it: in UTF-8 once
// it has said that it reads that (RFC 6855, RFC 9051), else in modified UTF-7.
func (s *session) quoteName(name string) string {
	if caps := s.conn.EnabledCaps(); !caps.Has("IMAP4rev2") && !caps.Has("UTF8=ACCEPT") {
		name = encodeName(name)
	}
	return quote(name)
}
