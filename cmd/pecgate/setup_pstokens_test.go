package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// psToken is one token of PowerShell. What is not known is a fault: setup prints a small part of the language only.
type psToken struct {
	kind  string // word, param, operator, var, splat, string, expandable, number, type, punct, newline
	text  string // of a string: its value; of a param: without hyphen and colon
	colon bool   // of a param: its value follows a colon
	tight bool   // nothing stands between it and the token before
	pos   int    // octet
	line  int
}

type psFault struct {
	line int
	text string
}

func (f psFault) Error() string { return fmt.Sprintf("line %d: %s", f.line, f.text) }

var (
	psWord   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*(?:\.[A-Za-z_][A-Za-z0-9_]*)*`)
	psName   = regexp.MustCompile(`^(?:(?:script|env):)?[A-Za-z_][A-Za-z0-9_]*`)
	psNumber = regexp.MustCompile(`^-?(?:0x[0-9A-Fa-f]{1,8}|[0-9]+)`)
	psType   = regexp.MustCompile(`^\[[A-Za-z][A-Za-z0-9.]*\]`)
	psParam  = regexp.MustCompile(`^-[A-Za-z][A-Za-z0-9]*:?`)
)

// psOperators are those that setup uses.
func psOperators() []string {
	return []string{"eq", "ne", "not", "and", "or", "match", "notcontains", "notmatch"}
}

// psTokens cuts a script into tokens. Only what PowerShell itself takes literally may hold a quote; a string ends on its line.
func psTokens(src string) (out []psToken, err error) {
	line := 1
	tight := false
	fault := func(format string, args ...any) error { return psFault{line, fmt.Sprintf(format, args...)} }
	for i := 0; i < len(src); {
		rest := src[i:]
		add := func(kind, text string, n int) {
			out = append(out, psToken{kind: kind, text: text, tight: tight, pos: i, line: line})
			i, tight = i+n, true
		}
		switch c := rest[0]; {
		case c == ' ' || c == '\t' || c == '\r':
			i, tight = i+1, false
		case c == '\n':
			add("newline", "", 1)
			line, tight = line+1, false
		case c == '`' && strings.HasPrefix(rest[1:], "\n"): // continuation
			i, line, tight = i+2, line+1, false
		case strings.HasPrefix(rest, "<#"):
			end := strings.Index(rest, "#>")
			if end < 0 {
				return nil, fault("a comment does not end")
			}
			line += strings.Count(rest[:end], "\n")
			i, tight = i+end+2, false
		case c == '#':
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			i, tight = i+end, false
		case strings.HasPrefix(rest, "@'\n") || strings.HasPrefix(rest, "@\"\n"):
			end := strings.Index(rest, "\n"+rest[1:2]+"@")
			if end < 0 {
				return nil, fault("a here-string does not end")
			}
			text := rest[min(3, end):end]
			add(map[byte]string{'\'': "string", '"': "expandable"}[rest[1]], text, end+3)
			line += strings.Count(text, "\n") + 2
		case c == '\'':
			text, n := psLiteral(rest)
			if n == 0 {
				return nil, fault("a string does not end on its line")
			}
			add("string", text, n)
		case c == '"':
			text, n, err := psExpandable(rest)
			if err != nil {
				return nil, fault("%v", err)
			}
			add("expandable", text, n)
		case c == '$':
			name := psName.FindString(rest[1:])
			if name == "" {
				return nil, fault("$ without a name")
			}
			add("var", name, 1+len(name))
		case strings.HasPrefix(rest, "@{") || strings.HasPrefix(rest, "@("):
			add("punct", rest[:2], 2)
		case c == '@':
			name := psName.FindString(rest[1:])
			if name == "" {
				return nil, fault("@ without a name")
			}
			add("splat", name, 1+len(name))
		case c == '[' && !tight && psType.MatchString(rest), c == '[' && psType.MatchString(rest) && len(out) > 0 && out[len(out)-1].text == "(":
			text := psType.FindString(rest)
			add("type", text, len(text))
		case psNumber.MatchString(rest):
			text := psNumber.FindString(rest)
			add("number", text, len(text))
		case c == '-' && psParam.MatchString(rest):
			text := psParam.FindString(rest)
			name := strings.TrimSuffix(text[1:], ":")
			kind := "param"
			if slices.Contains(psOperators(), name) {
				kind = "operator"
			}
			add(kind, name, len(text))
			out[len(out)-1].colon = strings.HasSuffix(text, ":")
		case psWord.MatchString(rest):
			text := psWord.FindString(rest)
			if len(out) > 0 && out[len(out)-1].text == "." { // a member has no dots of its own
				text, _, _ = strings.Cut(text, ".")
			}
			add("word", text, len(text))
		case strings.HasPrefix(rest, "+="):
			add("punct", "+=", 2)
		case strings.IndexByte("{}()[]|;,=.+", c) >= 0:
			add("punct", string(c), 1)
		default:
			return nil, fault("%q is not known", string([]rune(rest)[0]))
		}
	}
	return out, nil
}

// psLiteral reads a string in single quotes: its value and length, or 0. As PowerShell does, it takes typographic quotes for
// single ones.
func psLiteral(s string) (text string, n int) {
	quotes := "'\u2018\u2019\u201a\u201b"
	var b strings.Builder
	s, _, _ = strings.Cut(s, "\n")
	runes := []rune(s)
	for i := 1; i < len(runes); i++ {
		switch {
		case !strings.ContainsRune(quotes, runes[i]):
			b.WriteRune(runes[i])
		case i+1 < len(runes) && strings.ContainsRune(quotes, runes[i+1]):
			i++
			b.WriteRune(runes[i])
		default:
			return b.String(), len(string(runes[:i+1]))
		}
	}
	return "", 0
}

// psExpandable reads a string in double quotes. What stands in it as $(...) has to be a whole expression.
func psExpandable(s string) (text string, n int, err error) {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\n':
			return "", 0, fmt.Errorf("a string does not end on its line")
		case s[i] == '`':
			i++
		case s[i] == '"' && i+1 < len(s) && s[i+1] == '"':
			i++
		case s[i] == '"':
			return s[1:i], i + 1, nil
		case strings.HasPrefix(s[i:], "$("):
			end := strings.IndexByte(s[i:], ')')
			if end < 0 || strings.ContainsAny(s[i+2:i+end], "(\"'\n") {
				return "", 0, fmt.Errorf("an expression in a string does not end")
			}
			i += end
		}
	}
	return "", 0, fmt.Errorf("a string does not end")
}

// psInside are the variables that a string in double quotes names.
func psInside(text string) (names []string) {
	for _, m := range regexp.MustCompile("(`?)\\$\\(?((?:script:|env:)?[A-Za-z_][A-Za-z0-9_]*)").FindAllStringSubmatch(text, -1) {
		if m[1] == "" {
			names = append(names, m[2])
		}
	}
	return names
}
