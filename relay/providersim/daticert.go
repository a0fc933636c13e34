package providersim

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

// daticert writes daticert.xml after the DTD of RFC 6109 (pec-format section 2),
// elements in the order of the DTD, UTF-8.
func (n *Notice) daticert(style Style) []byte {
	row := n.row()
	// New engines write without indentation and leave line ends behind the root.
	nl, pad, end := "\n", "    ", "\n"
	if style == StyleNew {
		nl, pad, end = "", "", "\r\n\r\n"
	}
	var b bytes.Buffer
	line := func(depth int, format string, args ...any) {
		b.WriteString(strings.Repeat(pad, depth))
		fmt.Fprintf(&b, format, args...)
		b.WriteString(nl)
	}
	text := func(depth int, name, value string) {
		line(depth, "<%s>%s</%s>", name, escape(value), name)
	}
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	errore := n.Errore
	switch {
	case errore == "":
		errore = "nessuno"
	case n.Quirks.ErroreAltro:
		errore = "altro"
	}
	if n.Quirks.Doctype {
		b.WriteString(doctype)
	}
	line(0, `<postacert tipo="%s" errore="%s">`, row.tipo, escape(errore))
	line(1, "<intestazione>")
	text(2, "mittente", n.Sender)
	for _, r := range n.Recipients {
		kind := "certificato"
		if r.External {
			kind = "esterno"
		}
		line(2, `<destinatari tipo="%s">%s</destinatari>`, kind, escape(r.Address))
	}
	replies := n.ReplyTo
	if n.Quirks.EmptyRisposte {
		replies = ""
	}
	text(2, "risposte", replies)
	text(2, "oggetto", n.Subject)
	line(1, "</intestazione>")
	line(1, "<dati>")
	text(2, "gestore-emittente", n.Provider)
	line(2, `<data zona="%s"><giorno>%s</giorno><ora>%s</ora></data>`, n.At.Format("-0700"), n.At.Format("02/01/2006"), n.At.Format(time.TimeOnly))
	text(2, "identificativo", n.Identifier)
	if n.MsgID != "" && !n.Quirks.NoMsgID {
		text(2, "msgid", n.Quirks.id(n.MsgID))
	}
	if n.Receipt != "" && row.hasReceipt {
		line(2, `<ricevuta tipo="%s"/>`, escape(n.Receipt))
	}
	if n.Recipient != "" {
		text(2, "consegna", n.Recipient)
	}
	for _, r := range n.TakenInCharge {
		text(2, "ricezione", r)
	}
	if n.ErroreEsteso != "" {
		text(2, "errore-esteso", n.ErroreEsteso)
	}
	line(1, "</dati>")
	b.WriteString("</postacert>" + end)
	return b.Bytes()
}

// doctype is how the daticert.xml of one provider begins. Nobody may fetch what
// it names.
const doctype = `<?xml-stylesheet type="text/xsl" href="http://gestore.example/daticert.xsl"?>
<!DOCTYPE postacert PUBLIC "-//GESTORE//DTD POSTACERT//IT" "http://gestore.example/postacert.dtd">
`

func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return ""
	}
	return b.String()
}
