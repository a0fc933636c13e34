package pec

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
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

// rules says for each known element its parent and how often it may occur.
// A minimum of 1 makes it required.
type rule struct {
	parent   string
	min, max int
	leaf     bool
}

func rules() map[string]rule {
	const many = maxTokens
	return map[string]rule{
		"postacert":         {"", 1, 1, false},
		"intestazione":      {"postacert", 1, 1, false},
		"mittente":          {"intestazione", 1, 1, true},
		"destinatari":       {"intestazione", 1, many, true},
		"risposte":          {"intestazione", 1, 1, true},
		"oggetto":           {"intestazione", 0, 1, true},
		"dati":              {"postacert", 1, 1, false},
		"gestore-emittente": {"dati", 1, 1, true},
		"data":              {"dati", 1, 1, false},
		"giorno":            {"data", 1, 1, true},
		"ora":               {"data", 1, 1, true},
		"identificativo":    {"dati", 1, 1, true},
		"msgid":             {"dati", 0, 1, true},
		"ricevuta":          {"dati", 0, 1, true},
		"consegna":          {"dati", 0, 1, true},
		"ricezione":         {"dati", 0, many, true},
		"errore-esteso":     {"dati", 0, 1, true},
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
	p := &daticertReader{
		dec:   xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")))),
		rules: rules(),
		count: make(map[string]int),
	}
	p.dec.CharsetReader = p.charset
	for range maxTokens {
		// RawToken would be cheaper but does not check that tags match.
		tok, err := p.dec.Token()
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

// charset serves the encodings that are read besides UTF-8. The decoder calls
// it at every XML declaration, wherever it stands, and each call would wrap the
// reader once more: one is enough.
func (p *daticertReader) charset(label string, in io.Reader) (io.Reader, error) {
	if p.encoded || p.rootSeen {
		return nil, errors.New("a second XML declaration")
	}
	p.encoded = true
	switch strings.ToLower(strings.TrimSpace(label)) {
	case "utf-8", "utf8", "us-ascii", "ascii":
		return in, nil
	case "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1":
		return charmap.ISO8859_1.NewDecoder().Reader(in), nil
	}
	return nil, fmt.Errorf("encoding %q is not read", clip(label))
}

// daticertReader holds the state of parseDaticert.
type daticertReader struct {
	dec         *xml.Decoder
	rules       map[string]rule
	count       map[string]int
	stack       []*node
	d           daticert
	zona        string
	giorno, ora string
	rootSeen    bool
	encoded     bool // an encoding was declared
}

func (p *daticertReader) token(tok xml.Token) error {
	switch t := tok.(type) {
	case xml.StartElement:
		return p.start(t)
	case xml.EndElement:
		return p.end()
	case xml.CharData:
		return p.chars(t)
	}
	// Comment, ProcInst, Directive (a DOCTYPE with whatever it declares).
	return nil
}

func (p *daticertReader) start(t xml.StartElement) error {
	if len(p.stack) >= maxDepth {
		return errors.New("elements nested too deeply")
	}
	name, parent := t.Name.Local, ""
	n := &node{name: name}
	if len(p.stack) > 0 {
		top := p.stack[len(p.stack)-1]
		if top.leaf && !top.skip {
			return fmt.Errorf("element %s inside %s", clip(name), top.name)
		}
		parent, n.skip = top.name, top.skip
	} else if p.rootSeen {
		return errors.New("a second root element")
	}
	if t.Name.Space != "" {
		return fmt.Errorf("element %s in a namespace", clip(name))
	}
	for i := range t.Attr {
		for j := range i {
			if t.Attr[i].Name == t.Attr[j].Name {
				return fmt.Errorf("attribute %s twice", clip(t.Attr[i].Name.Local))
			}
		}
		if i > 16 {
			return errors.New("too many attributes")
		}
	}
	if !n.skip {
		r, known := p.rules[name]
		switch {
		case parent == "" && name != "postacert":
			return fmt.Errorf("root element is %s", clip(name))
		case !known:
			n.skip = true
		case r.parent != parent:
			return fmt.Errorf("element %s inside %s", name, clip(parent))
		default:
			if p.count[name]++; p.count[name] > r.max {
				return fmt.Errorf("element %s twice", name)
			}
			n.leaf = r.leaf
			if err := p.attributes(name, t.Attr); err != nil {
				return err
			}
		}
	}
	p.rootSeen = true
	p.stack = append(p.stack, n)
	return nil
}

// attributes takes the attributes of the known elements; others are passed
// over.
func (p *daticertReader) attributes(name string, attrs []xml.Attr) error {
	get := func(key string) (string, bool) {
		for _, a := range attrs {
			if a.Name.Space == "" && a.Name.Local == key {
				return strings.TrimSpace(a.Value), true
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

func (p *daticertReader) chars(t xml.CharData) error {
	if len(p.stack) == 0 {
		if len(bytes.TrimSpace(t)) > 0 {
			return errors.New("text outside of the root element")
		}
		return nil
	}
	top := p.stack[len(p.stack)-1]
	switch {
	case top.skip:
	case top.leaf:
		top.text.Write(t)
	case len(bytes.TrimSpace(t)) > 0:
		return fmt.Errorf("text in %s", top.name)
	}
	return nil
}

func (p *daticertReader) end() error {
	n := p.stack[len(p.stack)-1]
	p.stack = p.stack[:len(p.stack)-1]
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
	for _, name := range []string{
		"intestazione", "mittente", "destinatari", "risposte",
		"dati", "gestore-emittente", "data", "giorno", "ora", "identificativo",
	} {
		if p.count[name] < p.rules[name].min {
			return nil, fmt.Errorf("element %s is missing", name)
		}
	}
	when, err := time.Parse("2/1/2006 15:04:05 -0700", p.giorno+" "+p.ora+" "+p.zona)
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
	return &p.d, nil
}

// plausible reports whether a time may stand in a PEC message, which began in
// 2005. The zero time would mean "now" to crypto/x509, and a year above 9999
// cannot be written as JSON.
func plausible(t time.Time) bool { return t.Year() >= 2000 && t.Year() < 9000 }

// kind maps tipo to a Kind. mancata-consegna is no value of the standard, but
// occurs.
func (d *daticert) kind() Kind {
	if d.tipo == "posta-certificata" {
		return Transport
	}
	return receiptKind(d.tipo)
}

// contradiction says how the document contradicts itself, or "" if it does
// not: what its tipo needs and does not find, or an errore that cannot be. It
// is lenient where providers differ: any errore but nessuno will do for an
// error, an additional element does no harm, and errore-esteso became
// compulsory only in 2016.
func (d *daticert) contradiction() string {
	fine := d.errore == "nessuno"
	switch k := d.kind(); k {
	case Transport, Acceptance:
		if !fine {
			return "tipo " + d.tipo + " with errore " + clip(d.errore)
		}
	case TakenInCharge:
		if !fine {
			return "tipo " + d.tipo + " with errore " + clip(d.errore)
		}
		if len(d.ricezione) == 0 {
			return "tipo " + d.tipo + " without ricezione"
		}
	case Delivery:
		if !fine {
			return "tipo " + d.tipo + " with errore " + clip(d.errore)
		}
		if !d.hasConsegna {
			return "tipo " + d.tipo + " without consegna"
		}
	case NonAcceptance:
		if fine {
			return "tipo " + d.tipo + " with errore nessuno"
		}
	case DeliveryError:
		if fine {
			return "tipo " + d.tipo + " with errore nessuno"
		}
		if !d.hasConsegna {
			return "tipo " + d.tipo + " without consegna"
		}
	case DeliveryWarning, VirusDetected:
		if !d.hasConsegna {
			return "tipo " + d.tipo + " without consegna"
		}
	}
	return ""
}

// errorCode takes the RFC 3463 status code from the start of errore-esteso,
// where it is compulsory since 2016. The errore attribute is unreliable: the
// same provider wrote no-dest in one year and altro in another.
func errorCode(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(s)
	}
	code := strings.TrimRight(s[:end], ".")
	part := strings.Split(code, ".")
	if len(part) != 3 {
		return ""
	}
	for i, p := range part {
		if p == "" || len(p) > 3 {
			return ""
		}
		if i == 0 && p != "2" && p != "4" && p != "5" {
			return ""
		}
	}
	return code
}

// final tells the 24 h notice from the 12 h one, which has the same subject,
// header and tipo. Only the code at the start of errore-esteso says it; where
// it does not, the notice counts as the earlier one and the gateway's own clock
// decides.
func (d *daticert) final() bool {
	return d.kind() == DeliveryWarning && errorCode(d.erroreEsteso) == "5.4.1" &&
		!strings.Contains(strings.ToLower(d.erroreEsteso), "12 ore")
}
