package providersim

import (
	"bytes"
	"fmt"
	"strings"
)

// incoming is mail that reached a PEC mailbox and is no valid PEC.
type incoming struct {
	raw        []byte
	sender     string // as the envelope's From shows it
	returnPath string // empty for failure reports
	why        string // for the cover text
}

// Ordinary lets ordinary mail, or whatever else is no valid PEC, arrive for a
// mailbox: it comes wrapped as an anomaly (kind 6). Line ends become CRLF, as
// they do on the way through SMTP; nothing else of raw is changed.
func (p *Provider) Ordinary(mailbox string, raw []byte) error {
	a := p.account(mailbox)
	if a == nil {
		return fmt.Errorf("ordinary mail: no mailbox %s at the simulated provider", mailbox)
	}
	fields, _, _ := split(raw)
	in := incoming{raw: raw, why: "non è un messaggio di posta certificata"}
	if from := fieldAddresses(fields, "From"); len(from) > 0 && compliant(from[0]) {
		in.sender, in.returnPath = from[0], from[0]
	}
	return p.wrap(a, in)
}

// wrap makes a busta di anomalia (RFC 6109 3.2.2) and delivers it. It bears no
// daticert.xml and quotes no id of a client.
func (p *Provider) wrap(a *account, in incoming) error {
	raw := wholeLines(in.raw)
	fields, _, _ := split(raw)
	n := Notice{
		Kind: Anomaly, At: p.now(), Provider: p.o.Name, Sender: orElse(in.sender, "mittente-sconosciuto@"+p.o.Domain),
		Subject: decodeText(firstValue(fields, "Subject")), Identifier: p.identifier(6), Why: in.why,
		Header: headerOf(raw), Attached: raw,
	}
	signed, err := p.compose(n, false, false)
	if err != nil {
		return fmt.Errorf("wrap as anomaly: %w", err)
	}
	p.put(a, delivered{kind: Anomaly, number: 6, raw: signed, returnPath: in.returnPath, about: a.Address})
	return nil
}

// wholeLines gives every line a CRLF, the last one too.
func wholeLines(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	raw = bytes.ReplaceAll(raw, []byte("\r"), []byte("\n"))
	if n := len(raw); n > 0 && raw[n-1] != '\n' {
		raw = append(raw, '\n')
	}
	return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
}

// bounce: a mail server outside PEC refuses the envelope, and its report comes
// back to the sender as the ordinary mail that it is.
func (w *passage) bounce(r route) {
	envelope := w.signedEnvelope()
	if envelope == nil {
		return
	}
	report, err := w.failureReport(r, envelope)
	if err == nil {
		err = w.p.wrap(w.from, incoming{raw: report, sender: "MAILER-DAEMON@" + domainOf(r.address), why: "non è un messaggio di posta certificata"})
	}
	if err != nil {
		w.p.log.Error("failure report not made", "id", w.sub.ID, "error", err)
	}
}

// maxReturned is up to which size a failure report returns the whole message;
// beyond, its header.
const maxReturned = 256 << 10

// failureReport is a DSN (RFC 3464). Its subject is that of the envelope, as some
// servers do, so that the anomaly's own prefix nests.
func (w *passage) failureReport(r route, envelope []byte) ([]byte, error) {
	boundary, err := freshBoundary(envelope, func(random string) string { return "=_" + random })
	if err != nil {
		return nil, err
	}
	host := "mx." + domainOf(r.address)
	var b bytes.Buffer
	b.Grow(min(len(envelope), maxReturned) + 2048)
	fmt.Fprintf(&b, "Received: by %s id %d; %s\r\n", host, w.p.seq.Add(1), date(w.p.now(), StyleOld))
	fmt.Fprintf(&b, "Date: %s\r\nFrom: MAILER-DAEMON@%s (Mail Delivery System)\r\nTo: %s\r\n", date(w.p.now(), StyleOld), domainOf(r.address), w.sub.From)
	b.WriteString(textField("Subject", "POSTA CERTIFICATA: ", w.base.Subject))
	fmt.Fprintf(&b, "Auto-Submitted: auto-replied\r\nMessage-ID: <%d.%05d@%s>\r\nMIME-Version: 1.0\r\n", w.p.seq.Add(1), w.p.instance, host)
	fmt.Fprintf(&b, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n\r\n", boundary)
	fmt.Fprintf(&b, "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", boundary)
	fmt.Fprintf(&b, "This is the mail system at host %s.\r\n\r\nYour message could not be delivered to <%s>:\r\n550 5.1.1 mailbox unavailable\r\n\r\n", host, r.address)
	fmt.Fprintf(&b, "--%s\r\nContent-Type: message/delivery-status\r\n\r\n", boundary)
	fmt.Fprintf(&b, "Reporting-MTA: dns; %s\r\nArrival-Date: %s\r\n\r\n", host, date(w.base.At, StyleOld))
	fmt.Fprintf(&b, "Final-Recipient: rfc822; %s\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 mailbox unavailable\r\n\r\n", r.address)
	if len(envelope) <= maxReturned {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: %s\r\n\r\n", boundary, encodingOf(envelope))
		b.Write(envelope)
	} else {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: text/rfc822-headers\r\n\r\n", boundary)
		b.Write(headerOf(envelope))
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes(), nil
}

// ServiceNotice puts an ordinary, unsigned mail of the provider's own into a
// mailbox: about is quota, renewal or password.
func (p *Provider) ServiceNotice(mailbox, about string) error {
	a := p.account(mailbox)
	if a == nil {
		return fmt.Errorf("service notice: no mailbox %s at the simulated provider", mailbox)
	}
	var subject, body string
	switch about {
	case "quota":
		subject = "Avviso: la casella PEC " + a.Address + " è quasi piena"
		body = "Gentile cliente,\n\nla casella " + a.Address + " ha raggiunto il 90% dello spazio disponibile.\nSuperato il limite i messaggi in arrivo saranno rifiutati.\n"
	case "renewal":
		subject = "Rinnovo della casella PEC " + a.Address
		body = "Gentile cliente,\n\nla casella " + a.Address + " scade tra 30 giorni.\nSenza rinnovo non sarà più possibile inviare e ricevere messaggi.\n"
	case "password":
		subject = "La password della casella PEC " + a.Address + " sta per scadere"
		body = "Gentile cliente,\n\nla password per i programmi di posta della casella " + a.Address + " scade tra 7 giorni.\n"
	default:
		return fmt.Errorf("service notice: %q is not quota, renewal or password", about)
	}
	from := "assistenza@" + p.o.Domain
	raw := p.letter("Assistenza PEC <"+from+">", a.Address, subject, strings.TrimSpace(body)+"\n\n"+p.o.Name+"\n")
	p.put(a, delivered{kind: Plain, raw: raw, returnPath: from, about: a.Address})
	return nil
}

// alternateNotice tells of quota and of renewal in turn.
func (p *Provider) alternateNotice(a *account) {
	about := "quota"
	if p.notices.Add(1)%2 == 0 {
		about = "renewal"
	}
	if err := p.ServiceNotice(a.Address, about); err != nil {
		p.log.Error("service notice not made", "error", err)
	}
}
