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
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\n", from, to)
	b.WriteString(textField("Subject", "", strings.NewReplacer("\r", " ", "\n", " ").Replace(subject)))
	fmt.Fprintf(&b, "Date: %s\r\nMessage-ID: <%d.%05d@%s>\r\n", date(p.now(), StyleOld), p.seq.Add(1), p.instance, domainOf(from))
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	writeBase64(&b, []byte(body), 76)
	return p.SendRawFromOutside(from, []string{to}, b.Bytes())
}

// SendRawFromOutside does the same with a message of the caller's making. Every
// recipient must be a mailbox of this provider; raw is not checked.
func (p *Provider) SendRawFromOutside(from string, to []string, raw []byte) error {
	f := readFacts(raw, from)
	base := Notice{
		At: p.now(), Provider: outsideName, Sender: from, ReplyTo: f.replyTo, Subject: f.subject,
		MsgID: f.msgID, Asked: f.asked,
		Identifier: strings.TrimSuffix(p.identifier(9), p.o.Domain) + OutsideDomain,
	}
	var boxes []*account
	for _, r := range to {
		a := p.account(r)
		if a == nil {
			return fmt.Errorf("send from outside: no mailbox %s here", r)
		}
		boxes = append(boxes, a)
		base.Recipients = append(base.Recipients, Recipient{Address: r})
	}
	if len(boxes) == 0 {
		return errors.New("send from outside: no recipient given")
	}
	envelope, err := p.envelope(base, postacert(raw, base.Identifier), headerOf(raw), true)
	if err != nil {
		return fmt.Errorf("send from outside: %w", err)
	}
	for _, a := range boxes {
		p.put(a, Transport, envelope, from, base.MsgID, a.Address)
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
	p.store(a, Injected, bytes.Clone(raw), firstValue(fields, "X-Riferimento-Message-ID"), "")
	return nil
}
