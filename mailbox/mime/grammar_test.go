package mime

import (
	"bytes"
	"fmt"
	"strconv"
)

// grammar is a strict reader of the wire bytes, written from the formal syntax
// of RFC 9051 section 9 and sharing nothing with the writer.
type grammar struct {
	b    []byte
	i    int
	err  error
	ext  bool
	deep int
}

func checkEnvelope(b []byte) error {
	g := &grammar{b: b}
	g.envelope()
	return g.end()
}

func checkBody(b []byte, ext bool) error {
	g := &grammar{b: b, ext: ext}
	g.body()
	return g.end()
}

func (g *grammar) fail(what string) {
	if g.err == nil {
		lo, hi := max(0, g.i-30), min(len(g.b), g.i+30)
		g.err = fmt.Errorf("at %d: want %s near %q", g.i, what, g.b[lo:hi])
	}
	g.i = len(g.b)
}

func (g *grammar) end() error {
	if g.err == nil && g.i != len(g.b) {
		g.fail("end")
	}
	if g.err == nil && len(g.b) >= 60<<10 {
		return fmt.Errorf("%d bytes", len(g.b))
	}
	return g.err
}

func (g *grammar) peek() byte {
	if g.i < len(g.b) {
		return g.b[g.i]
	}
	return 0
}

func (g *grammar) eat(s string) {
	if !bytes.HasPrefix(g.b[g.i:], []byte(s)) {
		g.fail(strconv.Quote(s))
		return
	}
	g.i += len(s)
}

func (g *grammar) isNil() bool { return bytes.HasPrefix(g.b[g.i:], []byte("NIL")) }

func (g *grammar) str() string {
	var out []byte
	switch g.peek() {
	case '"':
		g.i++
		for {
			c := g.peek()
			switch {
			case c == '"':
				g.i++
				return string(out)
			case c == '\\':
				g.i++
				if c = g.peek(); c != '"' && c != '\\' {
					g.fail("quoted special")
					return ""
				}
			case c == 0 || c == '\r' || c == '\n' || c >= 0x80:
				g.fail("text character")
				return ""
			}
			out = append(out, c)
			g.i++
		}
	case '{':
		g.i++
		n := g.number()
		g.eat("}\r\n")
		if g.err != nil || n > int64(len(g.b)-g.i) {
			g.fail("literal")
			return ""
		}
		out = g.b[g.i : g.i+int(n)]
		if bytes.IndexByte(out, 0) >= 0 {
			g.fail("no NUL")
			return ""
		}
		g.i += int(n)
		return string(out)
	}
	g.fail("string")
	return ""
}

func (g *grammar) nstring() (string, bool) {
	if g.isNil() {
		g.eat("NIL")
		return "", false
	}
	return g.str(), true
}

func (g *grammar) number() int64 {
	start := g.i
	for g.peek() >= '0' && g.peek() <= '9' {
		g.i++
	}
	n, err := strconv.ParseUint(string(g.b[start:g.i]), 10, 32)
	if err != nil {
		g.fail("number")
	}
	return int64(n)
}

func (g *grammar) envelope() {
	g.eat("(")
	g.nstring()
	g.eat(" ")
	g.nstring()
	for range 6 {
		g.eat(" ")
		g.addresses()
	}
	g.eat(" ")
	g.nstring()
	g.eat(" ")
	g.nstring()
	g.eat(")")
}

func (g *grammar) addresses() {
	if g.isNil() {
		g.eat("NIL")
		return
	}
	g.eat("(")
	group := false
	for first := true; first || g.peek() == '('; first = false {
		g.eat("(")
		_, name := g.nstring()
		g.eat(" ")
		_, adl := g.nstring()
		g.eat(" ")
		_, mailbox := g.nstring()
		g.eat(" ")
		_, host := g.nstring()
		g.eat(")")
		switch {
		case host && !mailbox, adl && !host, !host && name:
			g.fail("address")
		case !host && mailbox && group, !host && !mailbox && !group:
			g.fail("group in order")
		case !host:
			group = mailbox
		}
		if g.err != nil {
			return
		}
	}
	if group {
		g.fail("end of group")
	}
	g.eat(")")
}

func (g *grammar) params() {
	if g.isNil() {
		g.eat("NIL")
		return
	}
	g.eat("(")
	for {
		g.str()
		g.eat(" ")
		g.str()
		if g.err != nil || g.peek() != ' ' {
			break
		}
		g.eat(" ")
	}
	g.eat(")")
}

func (g *grammar) tail() {
	g.eat(" ")
	if g.isNil() {
		g.eat("NIL")
	} else {
		g.eat("(")
		g.str()
		g.eat(" ")
		g.params()
		g.eat(")")
	}
	g.eat(" ")
	if g.peek() == '(' {
		g.eat("(")
		g.str()
		for g.err == nil && g.peek() == ' ' {
			g.eat(" ")
			g.str()
		}
		g.eat(")")
	} else {
		g.nstring()
	}
	g.eat(" ")
	g.nstring()
}

func (g *grammar) body() {
	if g.deep++; g.deep > 100 {
		g.fail("bounded depth")
	}
	defer func() { g.deep-- }()
	if g.err != nil {
		return
	}
	g.eat("(")
	if g.peek() == '(' {
		for g.err == nil && g.peek() == '(' {
			g.body()
		}
		g.eat(" ")
		g.str()
		if g.ext {
			g.eat(" ")
			g.params()
			g.tail()
		}
		g.eat(")")
		return
	}
	typ := g.str()
	g.eat(" ")
	subtype := g.str()
	g.eat(" ")
	g.params()
	g.eat(" ")
	g.nstring()
	g.eat(" ")
	g.nstring()
	g.eat(" ")
	g.str()
	g.eat(" ")
	g.number()
	switch {
	case typ == "message" && subtype == "rfc822":
		g.eat(" ")
		g.envelope()
		g.eat(" ")
		g.body()
		g.eat(" ")
		g.number()
	case typ == "text":
		g.eat(" ")
		g.number()
	case typ == "multipart":
		g.fail("no basic multipart")
	}
	if g.ext {
		g.eat(" ")
		g.nstring()
		g.tail()
	}
	g.eat(")")
}
