package providersim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// header writes the outer header, which no signature covers (pec-format 1.1).
func (n *Notice) header(from string, style Style) []byte {
	row := n.row()
	original, _, _ := split(n.Header)
	var top bytes.Buffer
	if row.envelope() {
		n.inherit(&top, original, "Received", style)
	}
	subject := textField("Subject", row.prefix+": ", n.Subject)
	when := "Date: " + date(n.At, style) + "\r\n"
	id := "Message-ID: " + n.messageID(row, original) + "\r\n"
	sender, to := n.fromField(row, from), n.toFields(row, original, style)
	var lines []string // each is one field, or several that stay together
	if style == StyleNew {
		lines = []string{when, sender, to, id, subject, n.marker(row), n.reference()}
		if n.Kind == Transport {
			lines = append(lines, "X-TipoRicevuta: "+orElse(n.Asked, "completa")+"\r\n")
		}
		if rem := n.remEvent(); rem != "" {
			lines = append(lines, textField("X-REM-Subject", "REM "+rem+": ", n.Subject))
		}
		lines = append(lines, n.extraHeader())
	} else {
		lines = []string{subject, n.reference(), when, to, n.marker(row), sender}
		if n.Kind == Transport && n.Asked != "" {
			lines = append(lines, "X-Tiporicevuta: "+n.Asked+"\r\n")
		}
		lines = append(lines, n.extraHeader(), id)
		n.shuffle(lines)
	}
	return append(top.Bytes(), strings.Join(lines, "")...)
}

// shuffle orders the fields as old engines do: differently from message to
// message, because they keep them in a hash, Message-ID most often last.
func (n *Notice) shuffle(lines []string) {
	seed := n.seed()
	r := rand.New(rand.NewPCG(seed, seed>>7))
	if r.IntN(4) > 0 {
		lines = lines[:len(lines)-1]
	}
	r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
}

// marker is the field that tells the kind, with those that go with it.
func (n *Notice) marker(row kindRow) string {
	m := row.marker + ": " + row.value + "\r\n"
	if n.Quirks.HeaderDisagrees {
		m = "X-Ricevuta: " + n.otherValue(row) + "\r\n"
	}
	if row.virus {
		m += "X-VerificaSicurezza: errore\r\n"
	}
	if n.Kind == VirusDetected {
		m += "X-Mittente: " + n.Sender + "\r\n"
	}
	return m
}

// reference quotes the client's Message-ID.
func (n *Notice) reference() string {
	if n.MsgID == "" || n.Kind == Anomaly || n.Quirks.NoReference {
		return ""
	}
	return n.Quirks.referenceField(n.MsgID)
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

func (n *Notice) fromField(row kindRow, from string) string {
	if !row.envelope() {
		return "From: " + from + "\r\n"
	}
	fold := ""
	if n.Quirks.ExtraParts {
		fold = "\r\n" // as Namirial folds it
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(n.Sender)
	return fmt.Sprintf("From: \"Per conto di: %s\"%s <%s>\r\n", quoted, fold, from)
}

// toFields writes To, and for envelopes what they inherit and Reply-To.
func (n *Notice) toFields(row kindRow, original []field, style Style) string {
	if !row.envelope() {
		return "To: " + orElse(n.To, n.Sender) + "\r\n"
	}
	var b bytes.Buffer
	if f, ok := first(original, "Reply-To"); ok {
		b.Write(crlf(f.raw))
	} else {
		b.WriteString("Reply-To: " + n.Sender + "\r\n")
	}
	n.inherit(&b, original, "To", style)
	n.inherit(&b, original, "Cc", style)
	return b.String()
}

func (n *Notice) inherit(b *bytes.Buffer, original []field, name string, style Style) {
	for _, f := range original {
		switch {
		case !f.is(name):
		case style == StyleOld && f.is("Received"):
			b.WriteString(refolded(f))
		default:
			b.Write(crlf(f.raw))
		}
	}
}

// refolded writes a trace field as old engines do, whatever its folds were: lines
// of at most 76 that begin with a tab.
func refolded(f field) string {
	var b strings.Builder
	b.WriteString(f.name + ":")
	col := b.Len()
	for i, word := range strings.Fields(f.value()) {
		if i > 0 && col+1+len(word) > 76 {
			b.WriteString("\r\n\t" + word)
			col = 8 + len(word)
			continue
		}
		b.WriteString(" " + word)
		col += 1 + len(word)
	}
	b.WriteString("\r\n")
	return b.String()
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
	case TakenInCharge:
		return "RelayAcceptance"
	case DeliveryWarning:
		if n.Final {
			return "RelayFailure"
		}
	case Anomaly:
		return "ReceivedFromNonERDS"
	}
	return ""
}
