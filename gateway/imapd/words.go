package imapd

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// What the library's parser does not keep of a command's text.

// asked is what the text of a FETCH says beyond its parsed form.
type asked struct {
	body, full bool     // BODY without section, BODYSTRUCTURE
	sections   []string // in order: "" for BODY[...], the name to answer for an obsolete item
}

// fetchWords reads the items of a FETCH that the library has parsed without
// fault.
func fetchWords(text []byte) asked {
	var a asked
	skip := 3 // tag, FETCH, set
	if _, name, _ := readNames(text); strings.HasPrefix(name, "UID ") {
		skip++
	}
	t := tokens{b: text, brackets: true}
	for range skip {
		t.next()
	}
	for {
		w := t.next()
		if w == nil {
			return a
		}
		switch name := upper(string(w)); {
		case name == "BODYSTRUCTURE":
			a.full = true
		case name == "BODY", name == "FULL":
			a.body = true
		case strings.HasPrefix(name, "BODY[") || strings.HasPrefix(name, "BODY.PEEK["):
			a.sections = append(a.sections, "")
		case name == "RFC822", name == "RFC822.PEEK":
			// RFC822.PEEK is of RFC 1176, and some clients still ask for it;
			// it is answered under the name of what it reads.
			a.sections = append(a.sections, "RFC822")
		case name == "RFC822.HEADER", name == "RFC822.TEXT":
			a.sections = append(a.sections, name)
		}
	}
}

// tokens cuts a command into words; what stands in quotes and literals is part
// of its word. Parentheses outside them separate like spaces.
type tokens struct {
	b        []byte
	pos      int  // behind the last word
	brackets bool // spaces in brackets belong to the word
}

func (t *tokens) next() []byte {
	for t.pos < len(t.b) && (t.b[t.pos] == ' ' || t.b[t.pos] == '(' || t.b[t.pos] == ')') {
		t.pos++
	}
	start, depth := t.pos, 0
	for t.pos < len(t.b) {
		switch c := t.b[t.pos]; {
		case c == '"':
			t.quoted()
			continue
		case c == '{':
			t.literal()
			continue
		case c == '[' && t.brackets:
			depth++
		case c == ']' && depth > 0:
			depth--
		case depth == 0 && (c == ' ' || c == '(' || c == ')'):
			return t.b[start:t.pos]
		}
		t.pos++
	}
	if start == t.pos {
		return nil
	}
	return t.b[start:t.pos]
}

func (t *tokens) quoted() {
	for t.pos++; t.pos < len(t.b); t.pos++ {
		switch t.b[t.pos] {
		case '\\':
			t.pos++
		case '"':
			t.pos++
			return
		}
	}
	t.pos = len(t.b)
}

// literal steps over {n+}, the line end and n bytes.
func (t *tokens) literal() {
	end := bytes.IndexByte(t.b[t.pos:], '\n')
	if end < 0 {
		t.pos = len(t.b)
		return
	}
	head := bytes.TrimRight(t.b[t.pos:t.pos+end], "\r")
	if m, ok := endsWithLiteral(head); ok && m.at == 0 {
		t.pos = min(t.pos+end+1+int(min(m.size, maxCommand)), len(t.b))
		return
	}
	t.pos += end + 1
}

// searchWords writes a search as the library understands it. "SMALLER n" becomes
// "NOT LARGER n-1", since the library drops SMALLER when a date or another size
// is asked for in the same search (SearchCriteria.And takes the other side's 0
// for the smaller number). "YOUNGER n" and "OLDER n" (RFC 5032), which it does
// not know, become keywords that nobody can set; see within.
func searchWords(text []byte) []byte {
	var out []byte
	done := 0
	t := tokens{b: text}
	t.next() // the tag
	for w := t.next(); w != nil; w = t.next() {
		name := upper(string(w))
		if name != "SMALLER" && name != "YOUNGER" && name != "OLDER" {
			for range values(name) {
				t.next()
			}
			continue
		}
		at := t.pos - len(w)
		n, err := strconv.ParseUint(string(t.next()), 10, 32)
		if err != nil || n == 0 && name != "SMALLER" {
			continue // the library says what is wrong
		}
		out = append(out, text[done:at]...)
		switch {
		case name != "SMALLER":
			out = append(out, "KEYWORD "+withinMark+name+"."...)
			out = strconv.AppendUint(out, n, 10)
		case n == 0:
			out = append(out, "NOT ALL"...)
		default:
			out = append(out, "NOT LARGER "...)
			out = strconv.AppendUint(out, n-1, 10)
		}
		done = t.pos
	}
	return append(out, text[done:]...)
}

// withinMark begins the keywords that stand for ages. Keywords of this beginning
// belong to the gateway, which sets none of this name.
const withinMark = "$Pecgate.Within."

// within reads an age that searchWords wrote as a keyword.
func within(keyword string) (word string, age time.Duration, ok bool) {
	if len(keyword) < len(withinMark) || !strings.EqualFold(keyword[:len(withinMark)], withinMark) {
		return "", 0, false
	}
	word, number, ok := strings.Cut(upper(keyword[len(withinMark):]), ".")
	n, err := strconv.ParseUint(number, 10, 32)
	return word, time.Duration(n) * time.Second, ok && err == nil
}

// values is how many words follow a word of SEARCH as its value. UID is both
// the command's first word and a key; what follows it is never SMALLER.
func values(word string) int {
	switch word {
	case "HEADER":
		return 2
	case "SUBJECT", "FROM", "TO", "CC", "BCC", "BODY", "TEXT", "KEYWORD", "UNKEYWORD", "CHARSET", "LARGER", "UID",
		"SINCE", "BEFORE", "ON", "SENTSINCE", "SENTBEFORE", "SENTON":
		return 1
	}
	return 0
}
