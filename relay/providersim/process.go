package providersim

import (
	"bytes"
	"fmt"
)

const outsideName = "Altro Gestore S.r.l."

// accept takes a submission into the ledger and starts what a provider does with
// it. From here on it counts as taken, whatever the client gets to see.
func (p *Provider) accept(a *account, from string, recipients []string, raw []byte) int {
	fields, _, _ := split(raw)
	s := Submission{
		ID: fmt.Sprintf("%05d%08d", p.instance, p.seq.Add(1)), At: p.o.Now(),
		Username: a.Username, From: from, Recipients: recipients,
		MessageID: firstValue(fields, "Message-ID"),
		Raw:       raw, Size: int64(len(raw)), SHA256: sum(raw),
	}
	p.mu.Lock()
	p.ledger = append(p.ledger, s)
	at := len(p.ledger) - 1
	// Under the lock: whoever sees the submission in the ledger must not find
	// the provider settled before its receipts.
	p.jobs.after(0, func() { p.process(a, s) })
	p.mu.Unlock()
	p.notify()
	p.log.Info("submission accepted", "id", s.ID, "mailbox", a.Address, "size", s.Size, "recipients", len(recipients))
	return at
}

// answered marks in the ledger that the client was sent its 250.
func (p *Provider) answered(at int) {
	p.mu.Lock()
	p.ledger[at].Answered = true
	p.mu.Unlock()
	p.notify()
}

// identifier makes a PEC identifier; ids of notifications differ in the last number.
func (p *Provider) identifier(last int) string {
	engine := "opec"
	if p.o.Style == StyleNew {
		engine = "jpec"
	}
	return fmt.Sprintf("%s99.%s.%05d.%d.1.%d@%s", engine, p.now().Format("20060102150405"), p.instance, p.seq.Add(1), last, p.o.Domain)
}

// process makes the receipts of one submission.
func (p *Provider) process(a *account, s Submission) {
	f := readFacts(s.Raw, s.From)
	base := Notice{
		At: p.now(), Provider: p.o.Name, Sender: s.From, ReplyTo: f.replyTo, Subject: f.subject,
		Identifier: p.identifier(9), MsgID: f.msgID, Asked: f.asked,
	}
	for _, r := range s.Recipients {
		base.Recipients = append(base.Recipients, Recipient{Address: r, External: !p.certified(r)})
	}
	quiet := p.faults.NoReceipts.fires()
	copies := 1
	if p.faults.DuplicateReceipts.fires() {
		copies = 2
	}
	give := func(n Notice, outside bool) {
		if quiet {
			return
		}
		n.ID = p.identifier(n.row().number)
		p.notifySender(a, n, outside, copies)
	}
	if fault := formalFault(s.Raw, s.From, s.Recipients, p.o.MaxProduct); fault != "" {
		n := base
		n.Kind, n.Errore = NonAcceptance, "altro"
		n.ErroreEsteso = "5.6.0 - " + p.o.Name + " - " + fault
		give(n, false)
		return
	}
	accepted := func() {
		n := base
		n.Kind = Acceptance
		give(n, false)
	}
	delivered := func() { p.deliverAll(base, f, s, give) }
	delay := p.o.Delay
	if d := p.faults.Delay.Get(); d > 0 {
		delay = d
	}
	if p.faults.ReverseOrder.fires() {
		delivered()
		p.jobs.after(delay, accepted)
		return
	}
	accepted()
	p.jobs.after(delay, delivered)
}

// certified tells whether an address counts as PEC.
func (p *Provider) certified(address string) bool {
	return p.external[fold(address)] || p.domains[domainOf(address)]
}

// deliverAll brings the transport envelope to every recipient and gives one
// receipt for each.
func (p *Provider) deliverAll(base Notice, f facts, s Submission, give func(Notice, bool)) {
	full := postacert(s.Raw, base.Identifier)
	var envelope []byte
	for _, r := range s.Recipients {
		local := p.account(r)
		switch {
		case local != nil:
			if envelope == nil {
				var err error
				if envelope, err = p.envelope(base, full, headerOf(s.Raw), false); err != nil {
					p.log.Error("transport envelope not made", "id", s.ID, "error", err)
					return
				}
			}
			p.put(local, Transport, envelope, s.From, base.MsgID, local.Address)
			p.deliveryReceipt(base, f, r, full, false, give)
		case p.external[fold(r)]:
			p.deliveryReceipt(base, f, r, full, true, give)
		case p.certified(r):
			p.errorReceipt(base, r, !p.own[domainOf(r)], give)
		}
		// Everybody else is outside PEC: no receipt, ever.
	}
}

// envelope composes and signs the transport envelope.
func (p *Provider) envelope(base Notice, full, header []byte, outside bool) ([]byte, error) {
	n := base
	n.Kind = Transport
	n.Receipt = "completa"
	if asked := fold(n.Asked); asked == "breve" || asked == "sintetica" {
		n.Receipt = asked
	}
	n.Header, n.Attached = header, full
	return p.compose(n, outside)
}

func (p *Provider) deliveryReceipt(base Notice, f facts, recipient string, full []byte, outside bool, give func(Notice, bool)) {
	n := base
	n.Kind, n.At, n.Recipient = Delivery, p.now(), recipient
	n.Receipt = f.receiptFor(recipient)
	switch n.Receipt {
	case "completa":
		n.Attached = full
	case "breve":
		n.Attached = brief(full)
	}
	if outside {
		n.Provider = outsideName
	}
	give(n, outside)
}

func (p *Provider) errorReceipt(base Notice, recipient string, outside bool, give func(Notice, bool)) {
	n := base
	n.Kind, n.At, n.Recipient = DeliveryError, p.now(), recipient
	if outside {
		n.Provider = outsideName
	}
	// Old engines told an unknown mailbox as no-dest, newer ones as altro.
	n.Errore = "no-dest"
	if p.o.Style == StyleNew {
		n.Errore = "altro"
	}
	n.ErroreEsteso = "5.1.1 - " + n.Provider + " - indirizzo non valido"
	give(n, outside)
}

// notifySender signs a notification and puts it into the sender's mailbox.
func (p *Provider) notifySender(a *account, n Notice, outside bool, copies int) {
	n.To = a.Address
	raw, err := p.compose(n, outside)
	if err != nil {
		p.log.Error("notification not made", "kind", string(n.Kind), "error", err)
		return
	}
	domain := p.o.Domain
	if outside {
		domain = OutsideDomain
	}
	stored := p.trace(a, raw, serviceAddress(domain))
	for range copies {
		p.store(a, n.Kind, stored, n.MsgID, n.Recipient)
	}
}

// compose signs n with the identity that the faults ask for.
func (p *Provider) compose(n Notice, outside bool) ([]byte, error) {
	o := SignOptions{Style: p.o.Style, At: n.At, Digest: p.o.Digest, Broken: p.faults.WrongSignature.fires()}
	v := Genuine
	if p.faults.ExpiredLeaf.fires() {
		v = Expired
	}
	if p.faults.ForeignCA.fires() {
		v = Foreign
	}
	by, err := p.ca.identity(v, outside)
	if err != nil {
		return nil, err
	}
	return Compose(n, by, o)
}

// put delivers a signed message: trace fields on top, then into INBOX.
func (p *Provider) put(a *account, kind Kind, raw []byte, returnPath, msgID, about string) {
	p.store(a, kind, p.trace(a, raw, returnPath), msgID, about)
}

// trace adds what a delivery point adds above the message.
func (p *Provider) trace(a *account, raw []byte, returnPath string) []byte {
	var b bytes.Buffer
	b.Grow(len(raw) + 256)
	fmt.Fprintf(&b, "Return-Path: <%s>\r\n", returnPath)
	fmt.Fprintf(&b, "Received: from service.%s (localhost [127.0.0.1])\r\n\tby delivery.%s with LMTP id %05d.%d\r\n\tfor <%s>; %s\r\n",
		p.o.Domain, p.o.Domain, p.instance, p.seq.Add(1), a.Address, date(p.now(), StyleOld))
	b.Write(raw)
	return b.Bytes()
}

// store puts bytes as they are into INBOX and into the list of the emitted.
func (p *Provider) store(a *account, kind Kind, raw []byte, msgID, about string) {
	now := p.now()
	e := Emitted{Mailbox: a.Address, Kind: kind, At: now, Raw: raw, SHA256: sum(raw), MsgID: msgID, About: about}
	p.mu.Lock()
	// Listed before a client can see it, so that nothing is served unlisted.
	e.UID, _ = a.folder("INBOX").add(raw, now, nil)
	p.emitted = append(p.emitted, e)
	p.mu.Unlock()
	p.notify()
	p.log.Info("message emitted", "mailbox", a.Address, "kind", string(kind), "uid", e.UID, "size", len(raw))
}
