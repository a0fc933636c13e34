package relay

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/relay/dsn"
)

// statusWriter writes one notification from the state of a submission.
type statusWriter struct {
	s        *Service
	sub      *Submission
	to       string
	header   []byte
	number   int
	at       time.Time
	asked    []wanted
	deciding map[int]lastReceipt
	answer   string // the provider's words, or why it was cancelled
	report   *dsn.Report
}

func (w *statusWriter) of(i int) wanted {
	if i < len(w.asked) {
		return w.asked[i]
	}
	return wanted{}
}

// words looks up why a submission did not leave.
func (w *statusWriter) words(tx *mailbox.Tx) (err error) {
	if w.sub.State == NotAccepted {
		w.answer, err = answerOf(tx, w.sub, w.deciding)
		return err
	}
	if w.sub.State != Cancelled {
		return nil
	}
	events, err := Story(tx, w.sub.ID)
	for _, e := range slices.Backward(events) {
		if e.What == string(Cancelled) {
			w.answer = e.Text
			break
		}
	}
	return err
}

// bytes is a notification about as many of the recipients as fit.
func (w *statusWriter) bytes(of []int) (raw []byte, took int, err error) {
	took = min(len(of), dsn.MaxRecipients)
	for {
		w.report = w.make(of[:took])
		raw, err = w.report.Bytes()
		if err != nil || len(raw) <= maxNotification || took == 1 {
			return raw, took, err
		}
		took /= 2
	}
}

// make is the notification about some recipients.
func (w *statusWriter) make(of []int) *dsn.Report {
	s, opt := w.sub, w.s.opt
	r := &dsn.Report{
		From: opt.Address, FromName: "pecgate", To: w.to, Date: w.at.In(opt.Location), English: opt.Language == "en",
		MessageID: fmt.Sprintf("dsn.%s.%d@%s", s.ID, w.number, domainOf(opt.Address)),
		Refers:    []string{s.clientMsgID()}, Loop: opt.Address, Reporter: opt.Hello, EnvID: s.EnvID,
		Arrived: s.SubmittedAt.In(opt.Location), Headers: w.header,
	}
	if r.Reporter == "" {
		r.Reporter = domainOf(opt.Address)
	}
	for _, f := range mime.Fields(w.header) {
		if strings.EqualFold(f.Name, "Subject") {
			r.Title = plain(mime.DecodeWords(f.Body()), maxSubject)
		}
	}
	whole := false
	for _, i := range of {
		_, all := s.end(i)
		whole = whole || all
		r.Recipients = append(r.Recipients, w.recipient(i))
	}
	if it, en := w.why(whole); it != "" {
		r.Said, r.SaidEN = []string{it}, []string{en}
	}
	return r
}

// recipient is what is told about one of them.
func (w *statusWriter) recipient(i int) dsn.Recipient {
	s, r := w.sub, w.sub.Recipients[i]
	a, whole := s.end(i)
	to := dsn.Recipient{Final: dsn.Address{Addr: r.Address}, Action: a, Status: statusOf(a)}
	if kind, addr, ok := strings.Cut(w.of(i).Original, ";"); ok {
		to.Original = dsn.Address{Type: strings.ToLower(kind), Addr: addr}
	}
	if s.Identifier != "" && !whole {
		to.LogID = s.Identifier
	}
	at := i
	if !s.batch() { // receipts stand under the first of equal addresses
		at = slices.IndexFunc(s.Recipients, func(x Recipient) bool { return pec.AddressKey(x.Address) == pec.AddressKey(r.Address) })
	}
	d, known := w.deciding[at]
	words, kind := d.Error, "x-pec"
	if known && !d.At.IsZero() {
		to.At = d.At.In(w.s.opt.Location)
	}
	if whole {
		if words == "" {
			words = w.answer
		}
		if s.StateReason == ReasonRefused {
			kind = "smtp"
		}
		to.Status = w.statusOfWhole(words)
	} else if own := statusIn(words, a); own != "" {
		to.Status = own
	}
	if words != "" {
		to.DiagType, to.Diagnostic, to.Said = kind, plain(words, maxWords), plain(words, maxWords)
	}
	return to
}

// statusOf is the status of an action of which nothing more is known (RFC 3463
// section 3; 2.1.9 by RFC 3886 section 3.3.4).
func statusOf(a dsn.Action) string {
	switch a {
	case dsn.Delivered:
		return "2.1.5"
	case dsn.Relayed:
		return "2.1.9"
	case dsn.Delayed:
		return "4.4.7"
	}
	return "5.0.0"
}

// statusOfWhole is the status of a submission that did not leave.
func (w *statusWriter) statusOfWhole(words string) string {
	if own := statusIn(words, dsn.Failed); own != "" {
		return own
	}
	switch w.sub.StateReason {
	case ReasonExpired:
		if w.sub.State == Cancelled {
			return "5.7.0" // nobody confirmed it
		}
		return "5.4.7"
	case ReasonFormal:
		return "5.6.0"
	case ReasonVirus:
		return "5.7.0"
	case ReasonApproval:
		return "5.7.1"
	}
	return "5.0.0"
}

var enhanced = regexp.MustCompile(`\b[45]\.[0-9]{1,3}\.[0-9]{1,3}\b`) // read only

// statusIn is the status that words name, where it can stand beside the action.
func statusIn(words string, a dsn.Action) string {
	got := enhanced.FindString(words)
	if class := dsn.Class(got); a == dsn.Failed && class == 5 || a == dsn.Delayed && class == 4 {
		return got
	}
	return ""
}

// why is the sentence about the whole.
func (w *statusWriter) why(whole bool) (it, en string) {
	s := w.sub
	switch {
	case !whole && len(s.Recipients) > 0:
		return "", ""
	case s.batch():
		return "È un invio multiplo: il dettaglio di ogni destinatario è nell'esito, in Esiti.", "It is a batch: the report in Outcomes tells of each recipient."
	case s.mayHaveLeft() && s.State == Cancelled:
		return "Il gateway non invierà più questo messaggio. Forse era già partito: se arriva una ricevuta, vale quella.",
			"The gateway will not send this message any more. It may have left before: if a receipt comes, that one counts."
	case s.State == NotAccepted && s.StateReason == ReasonExpired:
		return "Il gestore non ha preso in carico il messaggio in tempo: non viene più riprovato e nessun destinatario lo ha ricevuto.",
			"The provider did not take the message in time: it is not tried any more, and no recipient has received it."
	case s.State == NotAccepted && s.StateReason == ReasonVirus:
		return "Il gestore ha trovato un virus (avviso di non accettazione per virus): nessun destinatario ha ricevuto il messaggio.",
			"The provider has found a virus (non-acceptance): no recipient has received the message."
	case s.State == NotAccepted:
		return "Il gestore non ha accettato il messaggio: nessun destinatario lo ha ricevuto. Correggere e inviare di nuovo.",
			"The provider did not take the message: no recipient has received it. Correct it and send it again."
	case s.StateReason == ReasonApproval:
		return "Il messaggio non è stato autorizzato: non è partito.", "The message was not approved: it did not leave."
	case s.StateReason == ReasonExpired && strings.Contains(w.answer, "approve"):
		return "Nessuno ha autorizzato il messaggio in tempo: non è partito.", "Nobody approved the message in time: it did not leave."
	case s.StateReason == ReasonExpired:
		return "Il messaggio non è stato confermato con il PIN in tempo: non è partito.", "The message was not confirmed with the PIN in time: it did not leave."
	}
	return "L'invio è stato annullato: il messaggio non è partito.", "The sending was cancelled: the message did not leave."
}
