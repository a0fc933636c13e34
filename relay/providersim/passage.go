package providersim

import (
	"bytes"
	"fmt"
	"sync"
	"time"
)

const outsideName = "Altro Gestore S.r.l."

// Times of RFC 6109 3.3.5 in the provider's hours, counted from the dispatch.
const (
	firstWarning = 12
	lastWarning  = 24
	lateDelivery = 13 // of the behaviour Late
)

// passage is one accepted submission on its way to its recipients. Its parts may
// run at the same time; only the envelope is shared and it is made once.
type passage struct {
	p      *Provider
	from   *account
	sub    Submission
	facts  facts
	base   Notice
	routes []route
	quiet  bool   // nothing is told to anybody
	twice  bool   // what the sender is told comes twice
	full   []byte // postacert.eml

	once     sync.Once
	envelope []byte // signed; nil if that failed
}

func (p *Provider) newPassage(a *account, s Submission) *passage {
	w := &passage{p: p, from: a, sub: s, facts: readFacts(s.Raw, s.From), routes: p.routes(s.Recipients)}
	w.quiet, w.twice = p.faults.NoReceipts.fires(), p.faults.DuplicateReceipts.fires()
	w.base = Notice{
		At: p.now(), Provider: p.o.Name, Sender: s.From, ReplyTo: w.facts.replyTo, Subject: w.facts.subject,
		Identifier: p.identifier(9), MsgID: w.facts.msgID, Asked: w.facts.asked,
	}
	for _, r := range w.routes {
		w.base.Recipients = append(w.base.Recipients, Recipient{Address: r.address, External: !r.certified})
	}
	w.full = postacert(s.Raw, w.base.Identifier)
	return w
}

// dispatch sends the envelope on: at once or after delay to those that answer,
// and by the clock to those that do not. Each chain of steps starts the next
// when it is done, so the order of a recipient's notices never depends on how
// long a step takes.
func (w *passage) dispatch(delay time.Duration) {
	hour := w.p.o.Hour
	var prompt []route
	for _, r := range w.routes {
		slow := r.certified && r.behaviour != NoDomain && delay >= firstWarning*hour
		switch {
		case r.behaviour == Silent:
			w.p.jobs.after(firstWarning*hour, func() { w.overdue(r, -1) })
		case r.behaviour == Late:
			w.p.jobs.after(firstWarning*hour, func() { w.overdue(r, max(delay, lateDelivery*hour)) })
		case slow:
			w.p.jobs.after(firstWarning*hour, func() { w.overdue(r, delay) })
		default:
			prompt = append(prompt, r)
		}
	}
	switch {
	case len(prompt) == 0:
	case delay == 0:
		w.arrive(prompt, 0) // now, so that what the caller does next comes after it
	default:
		w.p.jobs.after(delay, func() { w.arrive(prompt, delay) })
	}
}

// overdue runs 12 hours after the dispatch for a recipient of whom nothing was
// heard. arrival is counted from the dispatch; below 0 it never comes.
func (w *passage) overdue(r route, arrival time.Duration) {
	hour := w.p.o.Hour
	w.warn(r, false)
	if arrival >= 0 && arrival < lastWarning*hour {
		w.p.jobs.after(arrival-firstWarning*hour, func() { w.arrive([]route{r}, arrival) })
		return
	}
	w.p.jobs.after((lastWarning-firstWarning)*hour, func() {
		w.warn(r, true)
		if arrival >= 0 {
			w.p.jobs.after(arrival-lastWarning*hour, func() { w.arrive([]route{r}, arrival) })
		}
	})
}

// arrive is the incoming and the delivery point: one receipt of taking in charge
// from each of the two providers for all it serves, then recipient by recipient.
func (w *passage) arrive(list []route, after time.Duration) {
	for _, outside := range []bool{false, true} {
		n := w.notice(TakenInCharge, outside)
		for _, r := range list {
			if r.certified && r.outside == outside && r.behaviour != NoDomain {
				n.TakenInCharge = append(n.TakenInCharge, r.address)
			}
		}
		if len(n.TakenInCharge) > 0 {
			w.tellService(n, outside)
		}
	}
	for _, r := range list {
		w.settle(r, after)
	}
}

// settle does what a recipient's address is set to.
func (w *passage) settle(r route, after time.Duration) {
	switch r.behaviour {
	case Delivered, Late:
		if r.local != nil {
			envelope := w.signedEnvelope()
			if envelope == nil {
				return
			}
			w.p.put(r.local, delivered{kind: Transport, number: 1, raw: envelope, returnPath: w.sub.From, msgID: w.base.MsgID, about: r.address})
		}
		w.deliveryReceipt(r)
	case UnknownTo:
		// Old engines told an unknown mailbox as no-dest, newer ones as altro.
		errore := "no-dest"
		if w.p.o.Style == StyleNew {
			errore = "altro"
		}
		w.failed(r, r.outside, errore, "5.1.1", "indirizzo non valido")
	case NoDomain:
		w.failed(r, false, "no-dominio", "5.1.2", "dominio non valido")
	case Full:
		w.failed(r, r.outside, "altro", "5.2.2", "casella piena")
	case Virus:
		w.virusFound(r)
	case TakenOnly:
		w.p.jobs.after(max(lastWarning*w.p.o.Hour-after, 0), func() { w.warn(r, true) })
	case Bounce:
		w.bounce(r)
	}
	// Everybody else is outside PEC: no receipt, ever.
}

// notice begins a notification by one of the two providers.
func (w *passage) notice(kind Kind, outside bool) Notice {
	n := w.base
	n.Kind, n.At = kind, w.p.now()
	if outside {
		n.Provider = outsideName
	}
	return n
}

func (w *passage) deliveryReceipt(r route) {
	n := w.notice(Delivery, r.outside)
	n.Recipient, n.Receipt = r.address, w.facts.receiptFor(r.address)
	switch n.Receipt {
	case "completa":
		n.Attached = w.full
	case "breve":
		n.Attached = brief(w.full)
	}
	w.tellSender(n, r.outside)
}

func (w *passage) failed(r route, outside bool, errore, code, reason string) {
	n := w.notice(DeliveryError, outside)
	n.Recipient, n.Errore = r.address, errore
	n.ErroreEsteso = code + " - " + n.Provider + " - " + reason
	w.tellSender(n, outside)
}

// virusFound: the recipient's provider tells ours, ours tells the sender (RFC
// 6109 3.2.3 and 3.1.6).
func (w *passage) virusFound(r route) {
	n := w.notice(VirusDetected, r.outside)
	n.Recipient, n.Errore = r.address, "virus"
	n.ErroreEsteso = "5.5.1 - " + n.Provider + " - rilevato virus " + testVirusName
	w.tellService(n, r.outside)
	n = w.notice(DeliveryError, false)
	n.Recipient, n.Errore, n.Virus = r.address, "virus", true
	n.ErroreEsteso = "5.5.1 - " + n.Provider + " - virus nel messaggio"
	w.tellSender(n, false)
}

func (w *passage) warn(r route, final bool) {
	n := w.notice(DeliveryWarning, false)
	n.Recipient, n.Errore, n.Final = r.address, "altro", final
	n.ErroreEsteso = "4.4.1 - " + n.Provider + " - messaggio non consegnato nelle prime 12 ore"
	if final {
		n.ErroreEsteso = "5.4.1 - " + n.Provider + " - messaggio non consegnato entro 24 ore"
	}
	w.tellSender(n, false)
}

// tellSender signs a notification and puts it into the sender's mailbox.
func (w *passage) tellSender(n Notice, outside bool) {
	if w.quiet {
		return
	}
	n.ID, n.To = w.p.identifier(n.row().number), w.from.Address
	w.emit([]*account{w.from}, n, outside, false)
}

// tellService does the same with what goes from provider to provider. With the
// LeakService fault the sender gets to see it too.
func (w *passage) tellService(n Notice, outside bool) {
	if w.quiet {
		return
	}
	n.ID, n.To = w.p.identifier(n.row().number), w.p.ServiceAddress()
	if w.p.faults.LeakService.fires() {
		w.emit([]*account{w.p.service, w.from}, n, outside, false)
		return
	}
	w.emit([]*account{w.p.service}, n, outside, true)
}

// emit signs once and stores the bytes in each mailbox, twice in the sender's
// where the fault asks for that.
func (w *passage) emit(to []*account, n Notice, outside, plain bool) {
	raw, err := w.p.compose(n, outside, plain)
	if err != nil {
		w.p.log.Error("notification not made", "kind", string(n.Kind), "error", err)
		return
	}
	domain := w.p.o.Domain
	if outside {
		domain = OutsideDomain
	}
	about := n.Recipient
	if n.Kind == TakenInCharge && len(n.TakenInCharge) == 1 {
		about = n.TakenInCharge[0]
	}
	for _, a := range to {
		d := delivered{kind: n.Kind, number: n.row().number, returnPath: serviceAddress(domain), msgID: n.MsgID, about: about}
		d.raw = w.p.trace(a, raw, d.returnPath)
		w.p.store(a, d)
		if a == w.from && w.twice {
			w.p.store(a, d)
		}
	}
}

// signedEnvelope is the transport envelope, the same for all recipients.
func (w *passage) signedEnvelope() []byte {
	w.once.Do(func() {
		var err error
		if w.envelope, err = w.p.transport(w.base, w.full, w.submittedHeader(), false); err != nil {
			w.p.log.Error("transport envelope not made", "id", w.sub.ID, "error", err)
		}
	})
	return w.envelope
}

// submittedHeader is the header of the original under the trace of the submission.
func (w *passage) submittedHeader() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Received: from client (localhost [127.0.0.1])\r\n\tby smtps.%s with ESMTPSA id %s\r\n\tfor <%s>; %s\r\n",
		w.p.o.Domain, w.sub.ID, w.sub.Recipients[0], date(w.base.At, StyleOld))
	b.Write(headerOf(w.sub.Raw))
	return b.Bytes()
}
