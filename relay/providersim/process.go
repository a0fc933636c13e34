package providersim

import (
	"fmt"
)

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
	p.jobs.after(p.faults.AcceptanceDelay.Get(), func() { p.process(a, s) })
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

// process is the access point: the checks of RFC 6109 3.1, then the acceptance
// and the way to the recipients, or the notice that nothing was accepted.
func (p *Provider) process(a *account, s Submission) {
	w := p.newPassage(a, s)
	if p.faults.ServiceNotices.fires() {
		defer p.alternateNotice(a)
	}
	if fault := formalFault(s.Raw, s.From, s.Recipients, p.o.MaxProduct); fault != "" {
		n := w.base
		n.Kind, n.Errore = NonAcceptance, "altro"
		n.ErroreEsteso = "5.6.0 - " + p.o.Name + " - " + fault
		w.tellSender(n, false)
		return
	}
	if virus := infected(s.Raw); virus != "" {
		n := w.base
		n.Kind, n.Virus, n.Errore = NonAcceptance, true, "virus"
		n.ErroreEsteso = "5.5.1 - " + p.o.Name + " - rilevato virus " + virus
		w.tellSender(n, false)
		return
	}
	accepted := func() {
		n := w.base
		n.Kind = Acceptance
		w.tellSender(n, false)
	}
	delay := p.o.Delay
	if d := p.faults.Delay.Get(); d > 0 {
		delay = d
	}
	if p.faults.ReverseOrder.fires() {
		w.dispatch(0)
		p.jobs.after(delay, accepted)
		return
	}
	accepted()
	w.dispatch(delay)
}
