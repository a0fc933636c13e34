package providersim

import (
	"bytes"
	"fmt"
)

// delivered is one message on its way into a mailbox.
type delivered struct {
	kind       Kind
	number     int
	raw        []byte
	returnPath string
	msgID      string
	about      string
}

// transport composes and signs the transport envelope.
func (p *Provider) transport(base Notice, full, header []byte, outside bool) ([]byte, error) {
	n := base
	n.Kind = Transport
	n.Receipt = "completa"
	if asked := fold(n.Asked); asked == "breve" || asked == "sintetica" {
		n.Receipt = asked
	}
	n.Header, n.Attached = header, full
	return p.compose(n, outside, false)
}

// compose signs n with the identity and in the form that the faults ask for;
// plain leaves the faults alone.
func (p *Provider) compose(n Notice, outside, plain bool) ([]byte, error) {
	o := SignOptions{Style: p.o.Style, At: n.At, Digest: p.o.Digest}
	key := identityKey{domain: p.ca.domain, ecdsa: p.o.ECDSA}
	if outside {
		key.domain = OutsideDomain
	}
	if !plain {
		n.Quirks = p.faults.quirks(&n)
		o.Broken = p.faults.WrongSignature.fires()
		if p.faults.ExpiredLeaf.fires() {
			key.variant = Expired
		}
		if p.faults.ForeignCA.fires() {
			key.variant = Foreign
		}
	}
	by, err := p.ca.identity(key)
	if err != nil {
		return nil, err
	}
	return Compose(n, by, o)
}

// put delivers a message: trace fields on top, then into INBOX.
func (p *Provider) put(a *account, d delivered) {
	d.raw = p.trace(a, d.raw, d.returnPath)
	p.store(a, d)
}

// trace adds what a delivery point adds above the message, with the line ends
// that the message has.
func (p *Provider) trace(a *account, raw []byte, returnPath string) []byte {
	var b bytes.Buffer
	b.Grow(len(raw) + 256)
	fmt.Fprintf(&b, "Return-Path: <%s>\r\n", returnPath)
	fmt.Fprintf(&b, "Received: from service.%s (localhost [127.0.0.1])\r\n\tby delivery.%s with LMTP id %05d.%d\r\n\tfor <%s>; %s\r\n",
		p.o.Domain, p.o.Domain, p.instance, p.seq.Add(1), a.Address, date(p.now(), StyleOld))
	if end := bytes.IndexByte(raw, '\n'); end == 0 || end > 0 && raw[end-1] != '\r' {
		top := bareLF(b.Bytes())
		b.Reset()
		b.Write(top)
	}
	b.Write(raw)
	return b.Bytes()
}

// store puts bytes as they are into INBOX and into the list of the emitted.
func (p *Provider) store(a *account, d delivered) {
	now := p.now()
	e := Emitted{Mailbox: a.Address, Kind: d.kind, Number: d.number, At: now, Raw: d.raw, SHA256: sum(d.raw), MsgID: d.msgID, About: d.about}
	p.mu.Lock()
	// Listed before a client can see it, so that nothing is served unlisted.
	e.UID, _ = a.folder("INBOX").add(d.raw, now, nil)
	p.emitted = append(p.emitted, e)
	p.mu.Unlock()
	p.notify()
	p.log.Info("message emitted", "mailbox", a.Address, "kind", string(d.kind), "uid", e.UID, "size", len(d.raw))
}
