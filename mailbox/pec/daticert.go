package pec

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	// The registry of character sets beyond UTF-8 that daticert.xml may declare.
	"golang.org/x/text/encoding/charmap"
)

// Bounds of daticert.xml. A real one is under 2 KiB plus one line for each
// recipient.
const (
	maxDaticert = 1 << 20 // bytes, decoded
	maxTokens   = 100_000
	maxDepth    = 8    // the DTD needs 4
	maxValue    = 1000 // bytes of an id or address; a header line has at most 998
	maxText     = 2000 // bytes kept of free text
)

// daticert is the content of daticert.xml, values trimmed, otherwise as
// written (DTD of RFC 6109 section 7.4; the element names are the provider's).
type daticert struct {
	tipo, errore     string
	mittente         string
	destinatari      []Recipient
	risposte         string
	oggetto          string
	gestore          string
	data             time.Time
	zona             string // +hhmm
	identificativo   string
	msgid            string
	ricevuta         string
	consegna         string
	hasConsegna      bool
	ricezione        []string
	erroreEsteso     string
	hasErroreEsteso  bool
	unknownRecipient bool // consegna is not among destinatari
}

// node is one element while it is read.
type node struct {
	name string
	text strings.Builder
	leaf bool // #PCDATA or EMPTY: no child element allowed
	skip bool // an element that the DTD does not know, or one below it
}

// rule says of a known element its parent and whether it may stand more than
// once; required says which must be there.
type rule struct {
	parent string
	many   bool
	leaf   bool
}

// ruleOf is the DTD. The order of elements is not looked at.
func ruleOf(name string) (r rule, known bool) {
	switch name {
	case "postacert":
		return rule{}, true
	case "intestazione", "dati":
		return rule{parent: "postacert"}, true
	case "mittente", "risposte":
		return rule{parent: "intestazione", leaf: true}, true
	case "destinatari":
		return rule{parent: "intestazione", many: true, leaf: true}, true
	case "oggetto":
		return rule{parent: "intestazione", leaf: true}, true
	case "gestore-emittente", "identificativo":
		return rule{parent: "dati", leaf: true}, true
	case "data":
		return rule{parent: "dati"}, true
	case "giorno", "ora":
		return rule{parent: "data", leaf: true}, true
	case "msgid", "ricevuta", "consegna", "errore-esteso":
		return rule{parent: "dati", leaf: true}, true
	case "ricezione":
		return rule{parent: "dati", many: true, leaf: true}, true
	}
	return rule{}, false
}

// required are the elements that must be there, in the order of the DTD.
func required() [10]string {
	return [...]string{
		"intestazione", "mittente", "destinatari", "risposte",
		"dati", "gestore-emittente", "data", "giorno", "ora", "identificativo",
	}
}

// parseDaticert reads a daticert.xml. It asks for well-formed XML with exactly
// one of each required element at its place, and never reaches outside of b: a
// DOCTYPE, a processing instruction and a comment are passed over unread, so an
// external entity is unknown text and thereby an error. Elements that the DTD
// does not know are passed over with all they hold.
func parseDaticert(b []byte) (*daticert, error) {
	if len(b) > maxDaticert {
		return nil, errors.New("larger than 1 MiB")
	}
	text := string(b)
	if utf16(text) {
		return nil, errors.New("written in UTF-16, which is not read")
	}
	p := &daticertReader{
		xml:  xmlReader{s: strings.TrimPrefix(text, "\xef\xbb\xbf"), decode: decodeXML},
		seen: make([]string, 0, 24),
	}
	for range maxTokens {
		tok, err := p.xml.next()
		if err == io.EOF {
			return p.finish()
		}
		if err != nil {
			return nil, fmt.Errorf("not well-formed: %s", clip(err.Error()))
		}
		if err := p.token(tok); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("too many elements")
}

// utf16 reports whether b begins like XML in UTF-16 or UTF-32, whatever it
// declares: the byte order mark, or "<" with a zero byte.
func utf16(s string) bool {
	return strings.HasPrefix(s, "\xff\xfe") || strings.HasPrefix(s, "\xfe\xff") ||
		strings.HasPrefix(s, "<\x00") || strings.HasPrefix(s, "\x00")
}

// decodeXML serves the encodings that are read besides UTF-8.
func decodeXML(label, rest string) (string, error) {
	var set *charmap.Charmap
	switch strings.ToLower(strings.TrimSpace(label)) {
	case "utf-8", "utf8", "us-ascii", "ascii":
		return rest, nil
	case "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1":
		set = charmap.ISO8859_1
	case "iso-8859-15", "iso8859-15", "latin9":
		set = charmap.ISO8859_15
	case "windows-1252", "cp1252":
		set = charmap.Windows1252
	default:
		return "", fmt.Errorf("encoding %q is not read", clip(label))
	}
	return set.NewDecoder().String(rest)
}

// daticertReader holds the state of parseDaticert.
type daticertReader struct {
	xml         xmlReader
	seen        []string // the known elements that have come, each once
	stack       [maxDepth]node
	depth       int // nodes in stack
	d           daticert
	zona        string
	giorno, ora string
	rootSeen    bool
}

// top is the innermost open element.
func (p *daticertReader) top() *node { return &p.stack[p.depth-1] }

func (p *daticertReader) token(t xmlToken) error {
	switch t.kind {
	case xmlStart:
		return p.start(t)
	case xmlEnd:
		return p.end()
	}
	return p.chars(t.text)
}

func (p *daticertReader) start(t xmlToken) error {
	if p.depth >= maxDepth {
		return errors.New("elements nested too deeply")
	}
	name, parent := t.name, ""
	skip := false
	if p.depth > 0 {
		top := p.top()
		if top.leaf && !top.skip {
			return fmt.Errorf("element %s inside %s", clip(name), top.name)
		}
		parent, skip = top.name, top.skip
	} else if p.rootSeen {
		return errors.New("a second root element")
	}
	if strings.Contains(name, ":") {
		return fmt.Errorf("element %s in a namespace", clip(name))
	}
	for i, a := range t.attrs {
		if a.name == "xmlns" && a.value != "" {
			return fmt.Errorf("element %s in a namespace", clip(name))
		}
		for _, b := range t.attrs[:i] {
			if a.name == b.name {
				return fmt.Errorf("attribute %s twice", clip(a.name))
			}
		}
	}
	leaf := false
	if !skip {
		r, known := ruleOf(name)
		switch {
		case parent == "" && name != "postacert":
			return fmt.Errorf("root element is %s", clip(name))
		case !known:
			skip = true
		case r.parent != parent:
			return fmt.Errorf("element %s inside %s", name, clip(parent))
		default:
			if !slices.Contains(p.seen, name) {
				p.seen = append(p.seen, name)
			} else if !r.many {
				return fmt.Errorf("element %s twice", name)
			}
			leaf = r.leaf
			if err := p.attributes(name, t.attrs); err != nil {
				return err
			}
		}
	}
	p.rootSeen = true
	n := &p.stack[p.depth]
	p.depth++
	n.name, n.leaf, n.skip = name, leaf, skip
	n.text.Reset()
	return nil
}

// attributes takes the attributes of the known elements; others are passed
// over.
func (p *daticertReader) attributes(name string, attrs []xmlAttr) error {
	get := func(key string) (string, bool) {
		for _, a := range attrs {
			if a.name == key {
				return strings.Clone(strings.TrimSpace(a.value)), true
			}
		}
		return "", false
	}
	switch name {
	case "postacert":
		tipo, _ := get("tipo")
		if tipo == "" {
			return errors.New("postacert without tipo")
		}
		p.d.tipo, p.d.errore = tipo, "nessuno" // the DTD's default
		if e, ok := get("errore"); ok && e != "" {
			p.d.errore = e
		}
		if len(p.d.tipo) > maxValue || len(p.d.errore) > maxValue {
			return errors.New("an attribute of postacert is too long")
		}
	case "destinatari":
		typ := Certified // the DTD's default
		switch v, _ := get("tipo"); v {
		case "", "certificato":
		case "esterno":
			typ = External
		default:
			return fmt.Errorf("destinatari with tipo %q", clip(v))
		}
		p.d.destinatari = append(p.d.destinatari, Recipient{Type: typ})
	case "data":
		p.zona, _ = get("zona")
	case "ricevuta":
		switch v, _ := get("tipo"); v {
		case "completa":
			p.d.ricevuta = Complete
		case "breve":
			p.d.ricevuta = Brief
		case "sintetica":
			p.d.ricevuta = Synthetic
		default:
			return fmt.Errorf("ricevuta with tipo %q", clip(v))
		}
	}
	return nil
}

func (p *daticertReader) chars(t string) error {
	if p.depth == 0 {
		if strings.TrimSpace(t) != "" {
			return errors.New("text outside of the root element")
		}
		return nil
	}
	top := p.top()
	switch {
	case top.skip:
	case top.leaf:
		top.text.WriteString(t)
	case strings.TrimSpace(t) != "":
		return fmt.Errorf("text in %s", top.name)
	}
	return nil
}

func (p *daticertReader) end() error {
	n := p.top()
	p.depth--
	if n.skip || !n.leaf {
		return nil
	}
	v := oneLine(n.text.String())
	switch n.name {
	case "oggetto", "errore-esteso", "gestore-emittente":
		v = cut(v, maxText)
	default:
		if len(v) > maxValue {
			return fmt.Errorf("%s is too long", n.name)
		}
	}
	switch n.name {
	case "mittente":
		p.d.mittente = trimAddress(v)
	case "destinatari":
		if v = trimAddress(v); v == "" {
			return errors.New("destinatari is empty")
		}
		p.d.destinatari[len(p.d.destinatari)-1].Address = v
	case "risposte":
		p.d.risposte = trimAddress(v)
	case "oggetto":
		p.d.oggetto = v
	case "gestore-emittente":
		p.d.gestore = v
	case "giorno":
		p.giorno = v
	case "ora":
		p.ora = v
	case "identificativo":
		if v == "" {
			return errors.New("identificativo is empty")
		}
		p.d.identificativo = v
	case "msgid":
		p.d.msgid = v
	case "ricevuta":
		if v != "" {
			return errors.New("text in ricevuta")
		}
	case "consegna":
		p.d.consegna, p.d.hasConsegna = trimAddress(v), v != ""
	case "ricezione":
		p.d.ricezione = append(p.d.ricezione, trimAddress(v))
	case "errore-esteso":
		p.d.erroreEsteso, p.d.hasErroreEsteso = v, v != ""
	}
	return nil
}

// finish checks what only the whole document shows.
func (p *daticertReader) finish() (*daticert, error) {
	if !p.rootSeen {
		return nil, errors.New("no root element")
	}
	for _, name := range required() {
		if !slices.Contains(p.seen, name) {
			return nil, fmt.Errorf("element %s is missing", name)
		}
	}
	var ok bool
	if p.d.zona, ok = zone(p.zona); !ok {
		return nil, fmt.Errorf("data with zona %q", clip(p.zona))
	}
	ora, leap := strings.CutSuffix(p.ora, ":60") // a leap second: no time.Time has one
	if leap {
		ora += ":59"
	}
	when, err := time.Parse("2/1/2006 15:04:05 -0700", p.giorno+" "+ora+" "+p.d.zona)
	if leap {
		when = when.Add(time.Second)
	}
	if err != nil || !plausible(when) {
		return nil, fmt.Errorf("data is %q", clip(p.giorno+" "+p.ora+" "+p.zona))
	}
	p.d.data = when.UTC()
	if p.d.hasConsegna {
		p.d.unknownRecipient = true
		for _, r := range p.d.destinatari {
			if SameAddress(r.Address, p.d.consegna) {
				p.d.unknownRecipient = false
				break
			}
		}
	}
	d := p.d // on its own: the reader holds the whole text
	return &d, nil
}

// zone reads the zona attribute: +hhmm, and +hh:mm as ISO 8601 has it. Any other
// form, or none at all, leaves it open when the event happened by up to a day,
// and the attribute is required: then the document cannot be used.
func zone(s string) (string, bool) {
	if len(s) == 6 && s[3] == ':' {
		s = s[:3] + s[4:]
	}
	if len(s) != 5 || s[0] != '+' && s[0] != '-' {
		return "", false
	}
	for _, c := range s[1:] {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	return s, s[1:3] <= "14" && s[3:] < "60"
}
