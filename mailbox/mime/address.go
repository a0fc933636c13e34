package mime

import "strings"

// Address is one address for display and search, never for policy: the parser
// makes something of everything. Domain is empty where there is no '@'.
type Address struct{ Name, Local, Domain string }

// maxAddresses bounds the result of AddressList.
const maxAddresses = 10_000

// AddressList reads the value of an address field (RFC 5322 section 3.4),
// leniently and in linear time. Names are decoded; group names and empty
// entries are dropped, members of groups kept. At most 10,000 addresses.
func AddressList(s string) []Address {
	var list []Address
	eachAddress(unfold(s), func(it addressItem) bool {
		if it.kind == itemAddress {
			list = append(list, Address{
				Name:   strings.TrimSpace(DecodeWords(it.name)),
				Local:  clean(guessString(it.local)),
				Domain: clean(guessString(it.domain)),
			})
		}
		return len(list) < maxAddresses
	})
	return list
}

type itemKind int

const (
	itemAddress itemKind = iota
	itemGroup            // a group opens; name holds its name
	itemEnd              // the group closes
)

// addressItem is one entry of an address field, as written: encoded words stay,
// quotes and backslashes are undone.
type addressItem struct {
	kind                itemKind
	name, local, domain string
	route               string // the obsolete source route, "@a,@b"
}

// eachAddress calls fn for each address and group mark until it returns false.
// A group that is never closed is closed at the end.
func eachAddress(s string, fn func(addressItem) bool) {
	p := addressParser{s: s, at: -1, fn: fn}
	p.run()
}

type addressParser struct {
	s       string
	i       int
	fn      func(addressItem) bool
	phrase  []byte // words so far, one space between them
	at      int    // place of the last '@' of phrase that stood outside quotes
	space   bool   // white space since the last word
	comment string // the first comment of the entry
	angle   string
	inAngle bool // an angle address was seen
	group   bool
	open    bool // a comment was not closed
	stop    bool
}

func (p *addressParser) run() {
	for p.i < len(p.s) && !p.stop {
		switch c := p.s[p.i]; c {
		case ' ', '\t', '\r', '\n', 0:
			p.space = true
			p.i++
		case '(':
			if text := p.takeComment(); p.comment == "" {
				p.comment = text
			}
			p.space = true
		case '"':
			p.word(p.takeQuoted())
		case '<':
			p.angle, p.inAngle = p.takeAngle(), true
			p.space = true
		case ',':
			p.i++
			p.flush()
		case ';':
			p.i++
			p.flush()
			p.endGroup()
		case ':':
			p.i++
			if p.group || p.inAngle || p.at >= 0 || len(p.phrase) == 0 {
				p.word(":")
				continue
			}
			p.emit(addressItem{kind: itemGroup, name: string(p.phrase)})
			p.group = true
			p.reset()
		case '@':
			p.i++
			p.word("@")
			p.at = len(p.phrase) - 1
		default:
			p.word(p.takeAtom())
		}
	}
	if !p.stop {
		p.flush()
	}
	// Also when fn has had enough: what it opened must be closed.
	p.stop = false
	p.endGroup()
}

func (p *addressParser) emit(it addressItem) {
	if !p.stop && !p.fn(it) {
		p.stop = true
	}
}

func (p *addressParser) endGroup() {
	if p.group {
		p.group = false
		p.emit(addressItem{kind: itemEnd})
	}
}

func (p *addressParser) word(w string) {
	if p.space && len(p.phrase) > 0 {
		p.phrase = append(p.phrase, ' ')
	}
	p.space = false
	p.phrase = append(p.phrase, w...)
}

func (p *addressParser) reset() {
	p.phrase, p.at, p.space, p.comment, p.angle, p.inAngle = p.phrase[:0], -1, false, "", "", false
}

// flush ends one entry.
func (p *addressParser) flush() {
	it := addressItem{kind: itemAddress}
	switch {
	case p.inAngle:
		it.route, it.local, it.domain = splitAngle(p.angle)
		it.name = string(p.phrase)
	case p.at >= 0:
		it.local = strings.TrimRight(string(p.phrase[:p.at]), " ")
		it.domain = strings.ReplaceAll(string(p.phrase[p.at+1:]), " ", "")
	default:
		it.local = string(p.phrase)
	}
	there := it.local != "" || it.domain != "" || it.name != "" // a comment alone is no address
	if it.name == "" {
		it.name = p.comment
	}
	p.reset()
	if there {
		p.emit(it)
	}
}

func (p *addressParser) takeAtom() string {
	start := p.i
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n\x00(\"<,;:@", p.s[p.i]) < 0 {
		p.i++
	}
	return p.s[start:p.i]
}

// takeQuoted reads a quoted string; an unclosed one runs to the end.
func (p *addressParser) takeQuoted() string {
	p.i++
	var b []byte
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		if c == '"' {
			break
		}
		if c == '\\' && p.i < len(p.s) {
			c = p.s[p.i]
			p.i++
		}
		b = append(b, c)
	}
	return string(b)
}

// takeComment reads a comment with those nested in it.
func (p *addressParser) takeComment() string {
	var b []byte
	depth := 0
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		switch c {
		case '(':
			if depth++; depth == 1 {
				continue
			}
		case ')':
			if depth--; depth == 0 {
				return strings.TrimSpace(string(b))
			}
		case '\\':
			if p.i < len(p.s) {
				c = p.s[p.i]
				p.i++
			}
		}
		b = append(b, c)
	}
	p.open = true
	return strings.TrimSpace(string(b))
}

// takeAngle reads what stands between '<' and '>'. An unclosed one ends at the
// next comma, unless a source route (which holds commas) was begun.
func (p *addressParser) takeAngle() string {
	p.i++
	start, quoted := p.i, false
	route := strings.HasPrefix(p.s[start:], "@")
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '\\' && quoted:
			p.i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ':':
			route = false
		case c == '>':
			p.i++
			return p.s[start : p.i-1]
		case c == ',' && !route:
			return p.s[start:p.i]
		}
	}
	p.i = len(p.s)
	return p.s[start:]
}

// splitAngle cuts "@route:local@domain", with quotes undone and without white
// space and comments.
func splitAngle(s string) (route, local, domain string) {
	s = strings.Trim(s, " \t\r\n")
	if strings.HasPrefix(s, "@") {
		if i := strings.IndexByte(s, ':'); i >= 0 {
			route, s = s[:i], s[i+1:]
		}
	}
	var b []byte
	at, quoted, open := -1, false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			quoted = !quoted
			continue
		case c == '\\' && quoted && i+1 < len(s):
			i++
			c = s[i]
		case quoted:
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			continue
		case c == '(' && !open:
			p := addressParser{s: s, i: i}
			if p.takeComment(); !p.open {
				i = p.i - 1
				continue
			}
			open = true // what is never closed is no comment
		case c == '@':
			at = len(b)
		}
		b = append(b, c)
	}
	if at < 0 {
		return route, string(b), ""
	}
	return route, string(b[:at]), string(b[at+1:])
}
