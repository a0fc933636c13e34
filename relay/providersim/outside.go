package providersim

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// SendFromOutside lets a PEC user of the other simulated provider write to one
// of our mailboxes: a transport envelope signed by that provider arrives.
func (p *Provider) SendFromOutside(from, to, subject, body string) error {
	if !compliant(from) || !compliant(to) {
		return fmt.Errorf("send from outside: %q or %q is no address", from, to)
	}
	return p.SendRawFromOutside(from, []string{to}, p.letter(from, to, subject, body))
}

// letter writes a plain message.
func (p *Provider) letter(from, to, subject, body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\n", from, to)
	b.WriteString(textField("Subject", "", strings.NewReplacer("\r", " ", "\n", " ").Replace(subject)))
	fmt.Fprintf(&b, "Date: %s\r\nMessage-ID: <%d.%05d@%s>\r\n", date(p.now(), StyleOld), p.seq.Add(1), p.instance, domainOf(strings.TrimRight(from, ">")))
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	writeBase64(&b, []byte(body), 76)
	return b.Bytes()
}

// SendRawFromOutside does the same with a message of the caller's making. Every
// recipient must be a mailbox of this provider; raw is not checked. With the
// FailedChecks fault the signature is wrong and our incoming point wraps the
// envelope as an anomaly.
func (p *Provider) SendRawFromOutside(from string, to []string, raw []byte) error {
	f := readFacts(raw, from)
	base := Notice{
		At: p.now(), Provider: outsideName, Sender: from, ReplyTo: f.replyTo, Subject: f.subject,
		MsgID: f.msgID, Asked: f.asked,
		Identifier: strings.TrimSuffix(p.identifier(9), p.o.Domain) + OutsideDomain,
	}
	boxes, err := p.boxes(to)
	if err != nil {
		return fmt.Errorf("send from outside: %w", err)
	}
	for _, a := range boxes {
		base.Recipients = append(base.Recipients, Recipient{Address: a.Address})
	}
	full := postacert(raw, base.Identifier)
	if p.faults.FailedChecks.fires() {
		return p.failedEnvelope(base, full, headerOf(raw), boxes)
	}
	envelope, err := p.transport(base, full, headerOf(raw), true)
	if err != nil {
		return fmt.Errorf("send from outside: %w", err)
	}
	for _, a := range boxes {
		p.put(a, delivered{kind: Transport, number: 1, raw: envelope, returnPath: from, msgID: base.MsgID, about: a.Address})
	}
	return nil
}

func (p *Provider) boxes(addresses []string) ([]*account, error) {
	var boxes []*account
	for _, r := range addresses {
		a := p.account(r)
		if a == nil {
			return nil, fmt.Errorf("no mailbox %s here", r)
		}
		boxes = append(boxes, a)
	}
	if len(boxes) == 0 {
		return nil, errors.New("no recipient given")
	}
	return boxes, nil
}

// failedEnvelope delivers an envelope of the other provider whose signature is
// wrong, as what our checks make of it.
func (p *Provider) failedEnvelope(base Notice, full, header []byte, boxes []*account) error {
	n := base
	n.Kind, n.Receipt, n.Header, n.Attached = Transport, "completa", header, full
	by, err := p.ca.identity(identityKey{domain: OutsideDomain, ecdsa: p.o.ECDSA})
	if err != nil {
		return fmt.Errorf("send from outside: %w", err)
	}
	envelope, err := Compose(n, by, SignOptions{Style: p.o.Style, Digest: p.o.Digest, Broken: true})
	if err != nil {
		return fmt.Errorf("send from outside: %w", err)
	}
	for _, a := range boxes {
		if err := p.wrap(a, incoming{raw: envelope, sender: base.Sender, why: "la firma non è valida"}); err != nil {
			return err
		}
	}
	return nil
}

// Inject puts raw into a mailbox's INBOX as it is: nothing is added or checked.
func (p *Provider) Inject(mailbox string, raw []byte) error {
	a := p.account(mailbox)
	if a == nil {
		return fmt.Errorf("inject: no mailbox %s at the simulated provider", mailbox)
	}
	fields, _, _ := split(raw)
	p.store(a, delivered{kind: Injected, raw: bytes.Clone(raw), msgID: firstValue(fields, "X-Riferimento-Message-ID")})
	return nil
}
