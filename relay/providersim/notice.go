package providersim

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"strings"
	"time"
)

// Kind is the kind of a message that a provider puts out. The words are those
// of `pecgate verify`.
type Kind string

const (
	Transport       Kind = "transport"
	Acceptance      Kind = "acceptance"
	NonAcceptance   Kind = "non-acceptance"
	TakenInCharge   Kind = "taken-in-charge"
	Anomaly         Kind = "anomaly"
	VirusDetected   Kind = "virus-detected"
	Delivery        Kind = "delivery"
	DeliveryError   Kind = "delivery-error"
	DeliveryWarning Kind = "delivery-warning"
	Plain           Kind = "ordinary" // of the provider itself, no PEC and not signed
	Injected        Kind = "injected" // put into a mailbox by Inject, whatever it is
)

// kindRow is one line of the table of pec-format section 1.
type kindRow struct {
	number     int
	prefix     string // of the subject, before ": "
	marker     string // X-Trasporto or X-Ricevuta
	value      string // of the marker
	tipo       string // of postacert; empty: no daticert.xml
	virus      bool   // X-VerificaSicurezza: errore
	hasReceipt bool   // may bear <ricevuta>
}

func (r kindRow) envelope() bool { return r.marker == "X-Trasporto" }

// row finds the line for a kind; virus tells 4 from 3 and 8 from 10. The 12 h
// and 24 h warnings (11, 12) differ in their text only.
func (n *Notice) row() kindRow {
	receipt := func(number int, prefix, tipo string) kindRow {
		return kindRow{number: number, prefix: prefix, marker: "X-Ricevuta", value: tipo, tipo: tipo}
	}
	var r kindRow
	switch n.Kind {
	case Acceptance:
		r = receipt(2, "ACCETTAZIONE", "accettazione")
	case NonAcceptance:
		r = receipt(3, "AVVISO DI NON ACCETTAZIONE", "non-accettazione")
		if n.Virus {
			r = receipt(4, "AVVISO DI NON ACCETTAZIONE PER VIRUS", "non-accettazione")
			r.virus = true
		}
	case TakenInCharge:
		r = receipt(5, "PRESA IN CARICO", "presa-in-carico")
	case Anomaly:
		r = kindRow{number: 6, prefix: "ANOMALIA MESSAGGIO", marker: "X-Trasporto", value: "errore"}
	case VirusDetected:
		r = receipt(7, "PROBLEMA DI SICUREZZA", "rilevazione-virus")
	case Delivery:
		r = receipt(9, "CONSEGNA", "avvenuta-consegna")
		r.hasReceipt = true
	case DeliveryError:
		r = receipt(10, "AVVISO DI MANCATA CONSEGNA", "errore-consegna")
		if n.Virus {
			r = receipt(8, "AVVISO DI MANCATA CONSEGNA PER VIRUS", "errore-consegna")
			r.virus = true
		}
	case DeliveryWarning:
		r = receipt(11, "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO", "preavviso-errore-consegna")
		if n.Final {
			r.number = 12
		}
	default:
		r = kindRow{number: 1, prefix: "POSTA CERTIFICATA", marker: "X-Trasporto", value: "posta-certificata", tipo: "posta-certificata", hasReceipt: true}
	}
	return r
}

// Recipient is one destination as daticert.xml lists it.
type Recipient struct {
	Address  string
	External bool // esterno: outside PEC
}

// Notice holds all that a PEC message of any kind says; Compose writes it.
type Notice struct {
	Kind          Kind
	Virus, Final  bool // kinds 4 and 8; kind 12
	At            time.Time
	Provider      string // gestore-emittente
	Sender        string // reverse path of the submission
	Recipients    []Recipient
	ReplyTo       string // risposte
	Subject       string // decoded
	Identifier    string // of the transport envelope, no brackets
	MsgID         string // the client's Message-ID with brackets; empty if it sent none
	Receipt       string // completa, breve, sintetica
	Asked         string // X-TipoRicevuta as the client wrote it, empty if not
	Recipient     string // consegna
	TakenInCharge []string
	Errore        string // default nessuno
	ErroreEsteso  string
	To            string // mailbox that a notification is addressed to; default Sender
	ID            string // Message-ID of a notification, no brackets; default one derived from Identifier
	Header        []byte // for kinds 1 and 6: header of the original, whose To, Cc, Received and Reply-To are inherited
	Attached      []byte // postacert.eml; nil: none
	Why           string // for the text of kind 6: what is wrong with the message
	Quirks        Quirks // ways in which engines differ, or lie
}

// Compose writes and signs a PEC message without Return-Path and delivery trace:
// the whole of what the signature needs is inside. Any signer may be given, so
// that tests can forge.
func Compose(n Notice, by *Signer, o SignOptions) ([]byte, error) {
	if o.At.IsZero() {
		o.At = n.At
	}
	if err := n.prepare(o); err != nil {
		return nil, fmt.Errorf("compose %s: %w", n.Kind, err)
	}
	entity, err := n.entity(o)
	if err != nil {
		return nil, fmt.Errorf("compose %s: %w", n.Kind, err)
	}
	// From is what the message claims; a forger signs with something else.
	from := by.Address
	if !strings.HasPrefix(from, "posta-certificata@") {
		from = serviceAddress(domainOf(from))
	}
	raw, err := by.SignMultipart(n.header(from, o.Style), entity, o)
	if err != nil {
		return nil, fmt.Errorf("compose %s: %w", n.Kind, err)
	}
	if raw, err = n.afterSigning(raw, o); err != nil {
		return nil, fmt.Errorf("compose %s: %w", n.Kind, err)
	}
	return raw, nil
}

// entity is the signed part: multipart/mixed of text, daticert.xml and, where
// the kind has it, the attached message.
func (n *Notice) entity(o SignOptions) ([]byte, error) {
	boundary, err := n.boundary(o)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(len(n.Attached) + 8192)
	if o.Style == StyleNew {
		b.WriteString("Content-Type: multipart/mixed; \r\n\tboundary=\"" + boundary + "\"\r\n\r\n")
	} else {
		b.WriteString("Content-Type: multipart/mixed; boundary=\"" + boundary + "\"\r\n" +
			"Content-Transfer-Encoding: binary\r\nMIME-Version: 1.0\r\n\r\n" +
			"This is a multi-part message in MIME format...\r\n\r\n")
	}
	delimiter := "--" + boundary + "\r\n"
	if err := n.cover(&b, delimiter, o); err != nil {
		return nil, err
	}
	if !n.Quirks.DaticertLast {
		n.writeDaticert(&b, delimiter, o.Style)
	}
	if n.Attached != nil {
		b.WriteString(delimiter)
		fmt.Fprintf(&b, "Content-Type: message/rfc822; name=\"postacert.eml\"\r\nContent-Disposition: inline; filename=\"postacert.eml\"\r\nContent-Transfer-Encoding: %s\r\n\r\n", encodingOf(n.Attached))
		b.Write(n.Attached)
		b.WriteString("\r\n")
	}
	if n.Quirks.DaticertLast {
		n.writeDaticert(&b, delimiter, o.Style)
	}
	n.writeExtra(&b, delimiter, o.Style)
	b.WriteString("--" + boundary + "--\r\n")
	return b.Bytes(), nil
}

// boundary is of the outer level; old engines put time and process into theirs.
func (n *Notice) boundary(o SignOptions) (string, error) {
	if o.Style == StyleNew {
		return newStyleBoundary(n.Attached, o)
	}
	pid := n.seed() % 30000
	return freshBoundary(n.Attached, func(random string) string {
		// The last number counts up in a real engine; here it must not be guessed.
		return fmt.Sprintf("----------=_%d-%d-%d", n.At.Unix(), 1000+pid, digits(random))
	})
}

// cover writes the text for people: old engines plain, new ones plain and HTML.
func (n *Notice) cover(b *bytes.Buffer, delimiter string, o SignOptions) error {
	text := n.text(n.row(), o.Style)
	b.WriteString(delimiter)
	if o.Style != StyleNew {
		b.WriteString("Content-Type: text/plain; charset=\"iso-8859-1\"\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
		quotedPrintable(b, text)
		b.WriteString("\r\n")
		return nil
	}
	boundary, err := newStyleBoundary(n.Attached, o)
	if err != nil {
		return err
	}
	b.WriteString("Content-Type: multipart/alternative; \r\n\tboundary=\"" + boundary + "\"\r\n\r\n")
	for _, part := range []struct{ kind, body string }{
		{"text/plain; charset=iso-8859-1", text},
		{"text/html; charset=iso-8859-1", "<html><body><p>" + strings.ReplaceAll(escape(text), "&#xA;", "<br>\n") + "</p></body></html>\n"},
	} {
		b.WriteString("--" + boundary + "\r\nContent-Type: " + part.kind + "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
		quotedPrintable(b, part.body)
		b.WriteString("\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n\r\n")
	return nil
}

func (n *Notice) writeDaticert(b *bytes.Buffer, delimiter string, style Style) {
	if n.row().tipo == "" {
		return
	}
	b.WriteString(delimiter)
	daticertPart(b, n.daticert(style))
	b.WriteString("\r\n")
}

// daticertPart writes daticert.xml as a part, without the line end before the
// next delimiter.
func daticertPart(b *bytes.Buffer, xml []byte) {
	b.WriteString("Content-Type: application/xml; name=\"daticert.xml\"\r\nContent-Disposition: inline; filename=\"daticert.xml\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	writeBase64(b, xml, 76)
}

func encodingOf(raw []byte) string {
	for _, c := range raw {
		if c >= 0x80 {
			return "8bit"
		}
	}
	return "7bit"
}

// seed is a number that is the same for the same notice: what varies from
// message to message in real engines varies with it.
func (n *Notice) seed() uint64 {
	h := fnv.New64a()
	for _, s := range []string{string(n.Kind), n.Identifier, n.ID, n.Recipient, n.MsgID} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// digits makes a number of 12 digits at most from random hex digits.
func digits(random string) uint64 {
	var v uint64
	for _, c := range []byte(random) {
		v = v*16 + uint64(strings.IndexByte("0123456789abcdef", c))
	}
	return v % 1e12
}
