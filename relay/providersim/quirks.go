package providersim

import (
	"bytes"
	"fmt"
	"strings"
)

// Quirks are ways in which the form of a message differs from what most engines
// write. Some are seen at real providers, some only a forger does.
type Quirks struct {
	ErroreAltro   bool // every errore is altro
	EmptyRisposte bool // <risposte/> without an address
	NoMsgID       bool // no <msgid> although the client sent a Message-ID
	NoReference   bool // no X-Riferimento-Message-ID
	BareIDs       bool // the client's id is quoted without brackets
	FoldedIDs     bool // X-Riferimento-Message-ID folded in the middle, outside and inside
	Doctype       bool // xml-stylesheet and DOCTYPE before the root
	DaticertLast  bool // daticert.xml after postacert.eml
	ExtraParts    bool // an unknown part, X-Namirial-* fields outside and inside

	HeaderDisagrees bool // X-Ricevuta of another kind than daticert.xml says
	NestedDaticert  bool // a false daticert.xml attached to the original inside
	SecondDaticert  bool // a second daticert.xml in the signed part, of another kind
	ForgedPart      bool // an unsigned daticert.xml after the signature
	Relayed         bool // the whole in a multipart/mixed with a footer
	BareLF          bool // LF in place of CRLF; the signature is over CRLF
}

// quirks uses each switch once that can act on n.
func (f *Faults) quirks(n *Notice) Quirks {
	attached, certified := n.Attached != nil, n.row().tipo != ""
	quoted := n.MsgID != "" && n.Kind != Anomaly
	return Quirks{
		ErroreAltro:     n.Errore != "" && f.ErroreAltro.fires(),
		EmptyRisposte:   certified && f.EmptyRisposte.fires(),
		NoMsgID:         quoted && f.NoMsgID.fires(),
		NoReference:     quoted && f.NoReference.fires(),
		BareIDs:         quoted && f.BareIDs.fires(),
		FoldedIDs:       quoted && f.FoldedIDs.fires(),
		Doctype:         certified && f.Doctype.fires(),
		DaticertLast:    certified && attached && f.DaticertLast.fires(),
		ExtraParts:      f.ExtraParts.fires(),
		HeaderDisagrees: f.HeaderDisagrees.fires(),
		NestedDaticert:  attached && f.NestedDaticert.fires(),
		SecondDaticert:  certified && f.SecondDaticert.fires(),
		ForgedPart:      f.ForgedPart.fires(),
		Relayed:         f.Relayed.fires(),
		BareLF:          f.BareLF.fires(),
	}
}

// id is the client's Message-ID as it is quoted.
func (q Quirks) id(id string) string {
	if q.BareIDs {
		return strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">")
	}
	return id
}

// referenceField is X-Riferimento-Message-ID, with its line end.
func (q Quirks) referenceField(id string) string {
	const name = "X-Riferimento-Message-ID: "
	id = q.id(id)
	if middle := len(id) / 2; q.FoldedIDs && middle > 0 {
		return name + id[:middle] + "\r\n\t" + id[middle:] + "\r\n"
	}
	return name + id + "\r\n"
}

// prepare changes what goes into the signed part as postacert.eml.
func (n *Notice) prepare(o SignOptions) error {
	if n.Attached == nil {
		return nil
	}
	if n.Quirks.FoldedIDs && n.Kind != Anomaly {
		n.Attached = bytes.Replace(n.Attached, []byte(Quirks{}.referenceField(n.MsgID)), []byte(Quirks{FoldedIDs: true}.referenceField(n.MsgID)), 1)
	}
	if n.Quirks.NestedDaticert {
		var err error
		if n.Attached, err = n.withFalseDaticert(o.Style); err != nil {
			return err
		}
	}
	if extra := n.extraHeader(); extra != "" {
		n.Attached = append([]byte(extra), n.Attached...)
	}
	return nil
}

// withFalseDaticert is the attached message as if its author had written it to
// be taken for a receipt: a daticert.xml among its attachments and the header of
// a receipt.
func (n *Notice) withFalseDaticert(style Style) ([]byte, error) {
	fields, _, body := split(n.Attached)
	boundary, err := freshBoundary(n.Attached, func(random string) string { return "falso-" + random })
	if err != nil {
		return nil, err
	}
	var head, content bytes.Buffer
	for _, f := range fields {
		switch {
		case f.is("MIME-Version"):
		case strings.HasPrefix(strings.ToLower(f.name), "content-"):
			content.Write(f.raw)
		default:
			head.Write(f.raw)
		}
	}
	fmt.Fprintf(&head, "X-Ricevuta: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n--%s\r\n", n.otherValue(n.row()), boundary, boundary)
	head.Write(content.Bytes())
	head.WriteString("\r\n")
	head.Write(n.Attached[body:])
	fmt.Fprintf(&head, "\r\n--%s\r\n", boundary)
	daticertPart(&head, n.falseDaticert(style))
	fmt.Fprintf(&head, "\r\n--%s--\r\n", boundary)
	return head.Bytes(), nil
}

// falseDaticert says of the same message what is not so.
func (n *Notice) falseDaticert(style Style) []byte {
	lie := Notice{
		Kind: Delivery, At: n.At, Provider: n.Provider, Sender: n.Sender, Recipients: n.Recipients, ReplyTo: n.ReplyTo, Subject: n.Subject,
		Identifier: n.Identifier, MsgID: n.MsgID, Receipt: "completa", Recipient: n.Recipient,
	}
	if lie.Recipient == "" && len(n.Recipients) > 0 {
		lie.Recipient = n.Recipients[0].Address
	}
	if n.Kind == Delivery {
		lie.Kind, lie.Receipt, lie.Errore, lie.ErroreEsteso = DeliveryError, "", "no-dest", "5.1.1 - "+n.Provider+" - indirizzo non valido"
	}
	return lie.daticert(style)
}

// otherValue is a value of X-Ricevuta that this message must not have.
func (n *Notice) otherValue(row kindRow) string {
	if row.value == "avvenuta-consegna" {
		return "errore-consegna"
	}
	return "avvenuta-consegna"
}

// writeExtra adds parts of the signed multipart that no rule asks for.
func (n *Notice) writeExtra(b *bytes.Buffer, delimiter string, style Style) {
	if n.Quirks.SecondDaticert {
		b.WriteString(delimiter)
		daticertPart(b, n.falseDaticert(style))
		b.WriteString("\r\n")
	}
	if n.Quirks.ExtraParts {
		b.WriteString(delimiter + "Content-Type: application/octet-stream; name=\"dettagli.bin\"\r\nContent-Disposition: attachment; filename=\"dettagli.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		writeBase64(b, []byte("dati interni del gestore"), 76)
		b.WriteString("\r\n")
	}
}

// extraHeader is what some engines add to the outer and to the inner header.
func (n *Notice) extraHeader() string {
	if !n.Quirks.ExtraParts {
		return ""
	}
	return "X-Namirial-Details: ver=2; esito=ok\r\nX-Namirial-Checker-Version: 1.2.3\r\nX-Attachment: false\r\n"
}

// afterSigning does what happens to a message on its way, outside the signature.
func (n *Notice) afterSigning(raw []byte, o SignOptions) ([]byte, error) {
	if n.Quirks.ForgedPart {
		raw = n.withForgedPart(raw, o.Style)
	}
	if n.Quirks.Relayed {
		var err error
		if raw, err = relayed(raw); err != nil {
			return nil, err
		}
	}
	if n.Quirks.BareLF {
		raw = bareLF(raw)
	}
	return raw, nil
}

// withForgedPart puts a third part before the end of the multipart/signed.
func (n *Notice) withForgedPart(raw []byte, style Style) []byte {
	boundary := readParts(raw).params["boundary"]
	at := bytes.LastIndex(raw, []byte("--"+boundary+"--"))
	if boundary == "" || at < 0 {
		return raw
	}
	var b bytes.Buffer
	b.Write(raw[:at])
	b.WriteString("--" + boundary + "\r\n")
	daticertPart(&b, n.falseDaticert(style))
	b.WriteString("\r\n")
	b.Write(raw[at:])
	return b.Bytes()
}

// relayed is the message as a mailing list passes it on: the signed multipart as
// it stands, one level down, and a footer after it. The header stays on top.
func relayed(raw []byte) ([]byte, error) {
	fields, _, body := split(raw)
	boundary, err := freshBoundary(raw, func(random string) string { return "===============" + random + "==" })
	if err != nil {
		return nil, err
	}
	var head, content bytes.Buffer
	for _, f := range fields {
		if strings.HasPrefix(strings.ToLower(f.name), "content-") {
			content.Write(f.raw)
			continue
		}
		head.Write(f.raw)
	}
	fmt.Fprintf(&head, "List-Id: <pec.lista.example>\r\nPrecedence: list\r\nContent-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n--%s\r\n", boundary, boundary)
	head.Write(content.Bytes())
	head.WriteString("\r\n")
	head.Write(raw[body:])
	fmt.Fprintf(&head, "\r\n--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n-- \r\nLista pec@lista.example\r\n\r\n--%s--\r\n", boundary, boundary)
	return head.Bytes(), nil
}

func bareLF(raw []byte) []byte { return bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")) }
