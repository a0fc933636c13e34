package providersim

import (
	"bytes"
	"fmt"
	"mime/quotedprintable"
	"strings"
	"time"
)

// header writes the outer header, which no signature covers (pec-format 1.1).
func (n *Notice) header(from string, style Style) []byte {
	row := n.row()
	original, _, _ := split(n.Header)
	var b bytes.Buffer
	subject := textField("Subject", row.prefix+": ", n.Subject)
	ref := ""
	if n.MsgID != "" && n.Kind != Anomaly {
		ref = "X-Riferimento-Message-ID: " + n.MsgID + "\r\n"
	}
	marker := row.marker + ": " + row.value + "\r\n"
	if row.virus {
		marker += "X-VerificaSicurezza: errore\r\n"
	}
	if n.Kind == VirusDetected {
		marker += "X-Mittente: " + n.Sender + "\r\n"
	}
	if row.envelope() {
		n.inherit(&b, original, "Received")
	}
	if style == StyleNew {
		b.WriteString("Date: " + date(n.At, style) + "\r\n")
		n.writeFrom(&b, row, from)
		n.writeTo(&b, row, original)
		b.WriteString("Message-ID: " + n.messageID(row, original) + "\r\n")
		b.WriteString(subject)
		b.WriteString(marker)
		b.WriteString(ref)
		if n.Kind == Transport {
			b.WriteString("X-TipoRicevuta: " + orElse(n.Asked, "completa") + "\r\n")
		}
		if rem := n.remEvent(); rem != "" {
			b.WriteString(textField("X-REM-Subject", "REM "+rem+": ", n.Subject))
		}
		return b.Bytes()
	}
	b.WriteString(subject)
	b.WriteString(ref)
	b.WriteString("Date: " + date(n.At, style) + "\r\n")
	n.writeTo(&b, row, original)
	b.WriteString(marker)
	n.writeFrom(&b, row, from)
	if n.Kind == Transport && n.Asked != "" {
		b.WriteString("X-Tiporicevuta: " + n.Asked + "\r\n")
	}
	b.WriteString("Message-ID: " + n.messageID(row, original) + "\r\n")
	return b.Bytes()
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func date(t time.Time, style Style) string {
	s := t.Format("Mon, 2 Jan 2006 15:04:05 -0700")
	if zone, _ := t.Zone(); style == StyleNew && zone != "" && !strings.ContainsAny(zone, "+-0123456789") {
		s += " (" + zone + ")"
	}
	return s
}

func (n *Notice) writeFrom(b *bytes.Buffer, row kindRow, from string) {
	if row.envelope() {
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(n.Sender)
		fmt.Fprintf(b, "From: \"Per conto di: %s\" <%s>\r\n", quoted, from)
		return
	}
	b.WriteString("From: " + from + "\r\n")
}

// writeTo writes To, and for envelopes what they inherit and Reply-To.
func (n *Notice) writeTo(b *bytes.Buffer, row kindRow, original []field) {
	if !row.envelope() {
		b.WriteString("To: " + orElse(n.To, n.Sender) + "\r\n")
		return
	}
	if f, ok := first(original, "Reply-To"); ok {
		b.Write(crlf(f.raw))
	} else {
		b.WriteString("Reply-To: " + n.Sender + "\r\n")
	}
	n.inherit(b, original, "To")
	n.inherit(b, original, "Cc")
}

func (n *Notice) inherit(b *bytes.Buffer, original []field, name string) {
	for _, f := range original {
		if f.is(name) {
			b.Write(crlf(f.raw))
		}
	}
}

// messageID: an envelope bears the PEC identifier, an anomaly inherits the id of
// what it wraps, a notification has an id of its own.
func (n *Notice) messageID(row kindRow, original []field) string {
	switch {
	case n.ID != "":
		return "<" + n.ID + ">"
	case n.Kind == Transport:
		return "<" + n.Identifier + ">"
	case n.Kind == Anomaly:
		if id := firstValue(original, "Message-ID"); id != "" {
			return id
		}
	}
	local, host, _ := strings.Cut(n.Identifier, "@")
	return fmt.Sprintf("<%s.r%d.%d@%s>", local, row.number, n.At.UnixNano()%1e9, host)
}

func (n *Notice) remEvent() string {
	switch n.Kind {
	case Acceptance:
		return "SubmissionAcceptance"
	case NonAcceptance:
		return "SubmissionRejection"
	case Delivery:
		return "ContentConsignment"
	case DeliveryError:
		return "ContentConsignmentFailure"
	}
	return ""
}

// text is the cover sheet in Italian; machines read the XML only.
func (n *Notice) text(row kindRow) string {
	var b strings.Builder
	when := n.At.Format("Il giorno 02/01/2006 alle ore 15:04:05 (-0700)")
	about := fmt.Sprintf("il messaggio \"%s\"\nproveniente da \"%s\"", n.Subject, n.Sender)
	to := fmt.Sprintf("ed indirizzato a \"%s\"", n.Recipient)
	switch n.Kind {
	case Transport:
		fmt.Fprintf(&b, "Messaggio di posta certificata\n\n%s %s\n", when, about)
		n.listRecipients(&b, "è stato inviato a:")
		b.WriteString("Il messaggio originale è incluso in allegato.\n")
	case Acceptance:
		fmt.Fprintf(&b, "Ricevuta di accettazione\n\n%s %s\n", when, about)
		n.listRecipients(&b, "ed indirizzato a:")
		b.WriteString("è stato accettato dal sistema ed inoltrato.\n")
	case NonAcceptance:
		fmt.Fprintf(&b, "Avviso di non accettazione\n\n%s %s\n", when, about)
		n.listRecipients(&b, "ed indirizzato a:")
		fmt.Fprintf(&b, "non è stato accettato: %s\n", n.ErroreEsteso)
	case TakenInCharge:
		fmt.Fprintf(&b, "Ricevuta di presa in carico\n\n%s %s\nè stato accettato dal sistema per: %s\n", when, about, strings.Join(n.TakenInCharge, ", "))
	case Anomaly:
		fmt.Fprintf(&b, "Anomalia nel messaggio\n\n%s è stato ricevuto %s\nche non è un messaggio di posta certificata valido.\nIl messaggio è incluso in allegato.\n", when, about)
	case VirusDetected:
		fmt.Fprintf(&b, "Avviso di rilevazione virus\n\n%s %s\n%s contiene un virus: %s\n", when, about, to, n.ErroreEsteso)
	case Delivery:
		fmt.Fprintf(&b, "Ricevuta di avvenuta consegna\n\n%s %s\n%s\nè stato consegnato nella casella di destinazione.\n", when, about, to)
	case DeliveryError, DeliveryWarning:
		fmt.Fprintf(&b, "%s\n\n%s %s\n%s\nnon è stato consegnato: %s\n", "Avviso di mancata consegna", when, about, to, n.ErroreEsteso)
	}
	fmt.Fprintf(&b, "\nIdentificativo messaggio: %s\n", n.Identifier)
	return b.String()
}

func (n *Notice) listRecipients(b *strings.Builder, head string) {
	b.WriteString(head + "\n")
	for _, r := range n.Recipients {
		kind := "posta certificata"
		if r.External {
			kind = "posta ordinaria"
		}
		fmt.Fprintf(b, "%s (\"%s\")\n", r.Address, kind)
	}
}

// quotedPrintable writes text as ISO-8859-1; what that cannot hold becomes '?'.
// Its result ends with CRLF.
func quotedPrintable(b *bytes.Buffer, text string) {
	latin := make([]byte, 0, len(text))
	for _, r := range text {
		if r > 0xff {
			r = '?'
		}
		latin = append(latin, byte(r))
	}
	w := quotedprintable.NewWriter(b)
	// A bytes.Buffer takes every write.
	_, _ = w.Write(latin)
	_ = w.Close()
}
