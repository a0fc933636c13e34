package pec

import (
	"strings"

	"pecgate/mailbox/mime"
)

// compose makes the Report out of the claim, the signature, daticert.xml and
// the message inside.
func (rd *Reader) compose(m *message, s *signedBy, cert *daticert, certErr error, inner *Inner) *Report {
	if s.verdict == "" {
		rd.judge(m, s, cert)
	}
	rep := &Report{Kind: m.claim.kind, Verdict: s.verdict, Relayed: m.relayed, Inner: inner, Recipients: []Recipient{}}
	if m.relayed {
		rep.note(checkStructure, textRelayed)
	}
	for _, n := range s.notes {
		rep.note(n[0], n[1])
	}
	rep.Issuer, rep.Signer, rep.SignedAt = s.issuer, s.signer, s.signedAt
	if cert != nil {
		rep.certified(m, cert)
	} else if f := rep.uncertified(m, s, certErr); f != "" {
		s.failed = f
	}
	if rep.Kind == Unknown || rep.Kind == Inconsistent {
		rep.Word = m.claim.value
		if cert != nil {
			rep.Word = hint(cert.tipo)
		}
	}
	if rep.good() {
		for _, n := range inner.notes(cert, rep.Kind) {
			rep.note(checkInner, n)
		}
	}
	if !rep.good() {
		rep.Check = s.failed
	}
	if a := advice(rep, s.failed); a != "" {
		rep.note(checkAdvice, a)
	}
	return rep
}

// good reports whether signature, chain and sender are right.
func (r *Report) good() bool { return r.Verdict == Valid || r.Verdict == ValidHistoric }

// certified completes the report of a message with a daticert.xml.
func (r *Report) certified(m *message, cert *daticert) {
	r.fromXML(cert)
	if !r.good() {
		// Nothing is proved. The header's word stays, unless it says nothing.
		if r.Kind == Ordinary {
			r.Kind = cert.kind()
		}
		r.Final = r.Kind == DeliveryWarning && r.Final
		return
	}
	r.Kind = cert.kind()
	for _, odd := range oddHeaders(m.claim, cert) {
		r.note(checkHeader, odd)
	}
	if why := cert.contradiction(); why != "" {
		r.Kind, r.Final = Inconsistent, false
		r.note(checkDaticert, why)
	}
	if r.Kind == Unknown {
		r.note(checkDaticert, textWord("tipo "+clip(cert.tipo)))
	}
	if cert.unknownRecipient {
		r.note(checkDaticert, textUnknownBox)
	}
}

// uncertified completes the report of a message without a daticert.xml that
// could be used. It returns the check that failed here, if one did.
func (r *Report) uncertified(m *message, s *signedBy, certErr error) (failed string) {
	good := r.good()
	switch {
	case certErr != nil:
		r.note(checkDaticert, "daticert.xml: "+certErr.Error())
		failed = checkDaticert
	case !good:
		if r.Kind == Ordinary && s.issuer != "" && !s.provider {
			r.note(checkSender, textPerson(s.issuer))
		}
	case r.Kind == Anomaly:
	case m.wraps():
		r.Kind = Anomaly
		r.note(checkHeader, m.claim.says()+", but what was signed is an anomaly envelope: a whole message without daticert.xml")
	case r.Kind == Ordinary:
		r.note(checkStructure, textProvider)
	default:
		r.note(checkDaticert, textNoXML(m.claim.word))
		failed = checkDaticert
	}
	if r.Kind == Unknown {
		r.note(checkHeader, textWord(m.claim.word))
	}
	if failed != "" && good {
		r.Verdict = Unverifiable
	}
	if !good {
		failed = ""
	}
	r.fromHeader(m.claim)
	if r.Kind == Anomaly {
		r.fromInner()
	}
	return failed
}

// fromXML copies what daticert.xml says.
func (r *Report) fromXML(d *daticert) {
	r.Receipt, r.At, r.Zone = d.ricevuta, d.data, d.zona
	r.MsgID, r.Identifier = d.msgid, d.identificativo
	r.Recipient = d.consegna
	if d.errore != "nessuno" {
		r.Error = d.errore
	}
	r.ErrorText, r.ErrorCode = d.erroreEsteso, errorCode(d.erroreEsteso)
	r.Final = d.final()
	r.Subject, r.Sender = d.oggetto, d.mittente
	r.Recipients = d.destinatari
	r.Provider, r.ReplyTo, r.TakenInCharge = d.gestore, d.risposte, d.ricezione
}

// fromHeader copies hints from the outer header, for people and searches.
func (r *Report) fromHeader(c claim) {
	r.MsgID = hint(c.riferim)
	if r.Kind == Transport {
		r.Identifier = NormalizeID(hint(c.msgID))
	}
	if r.Kind == Transport {
		r.Receipt = receiptWord(c.tipoRic)
	}
	_, r.Subject = cutPrefix(c.subject)
	r.Subject = hint(r.Subject)
	from := c.from
	if (r.Kind == Anomaly || r.Kind == Transport) && c.replyTo != "" {
		from = []string{c.replyTo}
	}
	switch r.Kind {
	case Anomaly, Transport, Ordinary:
	default:
		// A notification goes to whom it is about.
		from = []string{c.to}
	}
	if len(from) > 0 {
		r.Sender = someAddress(from[0])
	}
}

// fromInner gives an anomaly the sender and subject of the message it wraps.
// Nobody vouches for them; but they are those that the provider received, while
// the header outside may have changed since. Where a provider's mailbox sent the
// wrapped message, as with PEC in an anomaly, the header outside knows better
// whose it is.
func (r *Report) fromInner() {
	if r.Inner == nil {
		return
	}
	if a := someAddress(r.Inner.From); a != "" && (!providerAddress(a) || r.Sender == "") {
		r.Sender = a
	}
	if s := hint(r.Inner.Subject); s != "" {
		r.Subject = s
	}
}

// someAddress takes the first address out of an address field, "" if there is
// none. It is lenient on purpose: what it finds decides nothing.
func someAddress(field string) string {
	if list := mime.AddressList(field); len(list) > 0 && list[0].Domain != "" {
		return hint(list[0].Local + "@" + list[0].Domain)
	}
	return ""
}

// providerAddress reports whether an address is that of a provider's own
// mailbox, whose local part RFC 6109 fixes.
func providerAddress(a string) bool {
	local, domain, ok := strings.Cut(trimAddress(a), "@")
	return ok && domain != "" && asciiEqualFold(local, "posta-certificata")
}
