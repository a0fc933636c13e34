package relay

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what strangers write, in characters.
const (
	maxWords   = 300 // a provider's words about one recipient
	maxAddress = 320
	maxSubject = 200
	maxID      = 400 // of an id, in bytes: a longer one is left out
)

// plain makes one line of a stranger's text, of at most most characters: without
// control characters and without those that turn the direction of what follows.
func plain(s string, most int) string {
	var b strings.Builder
	n, space := 0, false
	for _, r := range s {
		switch {
		case r == utf8.RuneError || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Co, r):
			continue
		case unicode.IsSpace(r) || unicode.IsControl(r):
			space = b.Len() > 0
			continue
		}
		if n++; n > most {
			b.WriteRune('…')
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// reportWords are the words of a report in one language.
type reportWords struct {
	lang, title, subject, box, user, at, accepted, id, identifier, answer string

	counts                                            string // of D, A, C and E
	recipients, more, ordinary, doubt, provider, none string
	resent, twice                                     string // sentences
	someAgain                                         string // the same, of a batch
	resentTo, twiceTo                                 string // at its recipients

	states map[string]string // of the whole; see Submission.headline
	to     map[RecipientState]string

	messages string            // of a batch
	batch    map[string]string // headlines of its own
	places   map[where]string  // of its recipients
}

func wordsOf(language string) reportWords {
	if language == "en" {
		return englishReport()
	}
	return italianReport()
}

func italianReport() reportWords {
	return reportWords{
		lang: "it", title: "Esito PEC", subject: "Oggetto", box: "Casella PEC", user: "Inviato da", at: "Presentato il",
		accepted: "Accettato il", id: "Message-ID", identifier: "Identificativo PEC", answer: "Risposta del gestore",
		counts:     "D = destinatari, A = accettazioni, C = consegne, E = errori",
		recipients: "Destinatari", more: "altri destinatari non elencati", ordinary: "nessuna ricevuta di consegna",
		doubt:     "Il messaggio forse è già partito: non inviarlo di nuovo prima che l'amministratore abbia controllato.",
		provider:  "Quadro scritto da pecgate in base alle ricevute firmate, che sono nelle cartelle Ricevute e che sole fanno fede.",
		none:      "(senza oggetto)",
		resent:    "Consegnata al gestore una seconda volta dal gateway, perché della prima non era giunta alcuna ricevuta: forse è partita due volte.",
		twice:     "È partita due volte: il gestore l'ha accettata con due identificativi, e tutte le ricevute sono conservate.",
		someAgain: "Alcuni messaggi di questo invio sono stati consegnati al gestore una seconda volta: i loro destinatari sono indicati sotto.",
		resentTo:  "consegnata al gestore una seconda volta, forse partita due volte", twiceTo: "partita due volte",
		states: map[string]string{
			"queued": "in attesa di invio", "handed-over": "inviata, in attesa di accettazione", "uncertain": "incerta, si attende una ricevuta",
			"held":           "in sospeso",
			"held-uncertain": "in sospeso, forse già inviata", "held-restored": "in sospeso dopo un ripristino, forse già inviata",
			"held-operator": "trattenuta dall'amministratore",
			"not-accepted":  "non accettata, non inviata a nessuno", "not-accepted-refused": "rifiutata dal gestore, non inviata a nessuno",
			"not-accepted-formal": "non accettata per errori formali, non inviata a nessuno", "not-accepted-virus": "non accettata per virus, non inviata a nessuno",
			"not-accepted-expired": "scaduta, non inviata a nessuno",
			"cancelled":            "annullata prima dell'invio", "cancelled-uncertain": "abbandonata, forse già inviata",
			"accepted": "accettata, in attesa di consegna", "accepted-ordinary": "accettata, destinatari di posta ordinaria",
			"some": "consegnata in parte, si attende il resto", "delivered": "consegnata", "delivered-certified": "consegnata ai destinatari PEC, gli altri sono di posta ordinaria",
			"failed": "non consegnata", "some-failed": "consegnata solo in parte", "failing": "errori di consegna, si attende il resto",
			"late": "in ritardo, non ancora consegnata a tutti",
		},
		messages: "Messaggi", places: batchPlacesItalian(), batch: map[string]string{
			"batch-sending": "invio multiplo in corso", "batch-held": "inviata in parte, il resto è in sospeso", "batch-stopped": "inviata in parte, il resto è annullato",
			"batch-given-up": "inviata in parte, il resto abbandonato, forse già inviato",
		},
		to: map[RecipientState]string{
			Waiting: "in attesa", Delivered: "consegnata", Failed: "non consegnata", Late: "in ritardo", Uncertified: "posta ordinaria",
		},
	}
}

func englishReport() reportWords {
	return reportWords{
		lang: "en", title: "PEC outcome", subject: "Subject", box: "PEC mailbox", user: "Sent by", at: "Submitted at",
		accepted: "Accepted at", id: "Message-ID", identifier: "PEC identifier", answer: "The provider's words",
		counts:     "D = recipients, A = acceptances, C = deliveries, E = errors",
		recipients: "Recipients", more: "more recipients that are not listed", ordinary: "no receipt of delivery",
		doubt:     "The message may have left already: do not send it again before the administrator has looked.",
		provider:  "Written by pecgate from the signed receipts, which are in the folders of receipts and which alone are proof.",
		none:      "(no subject)",
		resent:    "Handed over a second time by the gateway, since no receipt of the first had come: it may have gone out twice.",
		twice:     "It went out twice: the provider accepted it under two identifiers, and all receipts are kept.",
		someAgain: "Some messages of this batch were handed over a second time: their recipients are named below.",
		resentTo:  "handed over a second time, may have gone out twice", twiceTo: "went out twice",
		states: map[string]string{
			"queued": "waiting to be sent", "handed-over": "sent, waiting for acceptance", "uncertain": "uncertain, waiting for a receipt",
			"held":           "on hold",
			"held-uncertain": "on hold, may have been sent", "held-restored": "on hold after a restore, may have been sent",
			"held-operator": "held by the administrator",
			"not-accepted":  "not accepted, sent to nobody", "not-accepted-refused": "refused by the provider, sent to nobody",
			"not-accepted-formal": "not accepted for formal errors, sent to nobody", "not-accepted-virus": "not accepted because of a virus, sent to nobody",
			"not-accepted-expired": "expired, sent to nobody",
			"cancelled":            "cancelled before it was sent", "cancelled-uncertain": "given up, may have been sent",
			"accepted": "accepted, waiting for delivery", "accepted-ordinary": "accepted, recipients of ordinary mail",
			"some": "delivered in part, waiting for the rest", "delivered": "delivered", "delivered-certified": "delivered to the PEC recipients, the others are of ordinary mail",
			"failed": "not delivered", "some-failed": "delivered in part only", "failing": "delivery errors, waiting for the rest",
			"late": "overdue, not delivered to all yet",
		},
		messages: "Messages", places: batchPlacesEnglish(), batch: map[string]string{
			"batch-sending": "batch under way", "batch-held": "sent in part, the rest is on hold", "batch-stopped": "sent in part, the rest is cancelled",
			"batch-given-up": "sent in part, the rest given up, may have been sent",
		},
		to: map[RecipientState]string{
			Waiting: "waiting", Delivered: "delivered", Failed: "not delivered", Late: "overdue", Uncertified: "ordinary mail",
		},
	}
}

// Counts are the four numbers of an outcome: recipients (destinatari), acceptances
// (accettazioni), deliveries (consegne), errors (errori).
type Counts struct {
	D int `json:"d"`
	A int `json:"a"`
	C int `json:"c"`
	E int `json:"e"`
}

func (s *Submission) counts() Counts {
	if s.batch() {
		to := s.places()
		return Counts{D: s.Tally.Recipients, A: s.Tally.States[Accepted], C: to[whereDelivered], E: to[whereFailed]}
	}
	c := Counts{D: len(s.Recipients)}
	if s.State == Accepted {
		c.A = 1
	}
	for _, r := range s.Recipients {
		switch r.State {
		case Delivered:
			c.C++
		case Failed:
			c.E++
		}
	}
	return c
}

// headline returns the words that sum the outcome up.
func (s *Submission) headline(w reportWords) string {
	state := string(s.State)
	if s.batch() && s.Tally.made() > 0 {
		key := s.batchHeadline()
		if words, ok := w.batch[key]; ok {
			return words
		}
		if words, ok := w.states[key]; ok {
			return words
		}
	}
	switch s.State {
	case Attempting:
		state = string(Queued)
	case ToApprove:
		state = string(Held)
	case Accepted, HandedOver:
		state = s.progress()
	case Cancelled:
		switch {
		case s.lost():
			state = "cancelled-uncertain"
		}
	case Held, NotAccepted:
		if _, ok := w.states[state+"-"+string(s.StateReason)]; ok {
			state += "-" + string(s.StateReason)
		}
		if s.State == Held && s.lost() && s.StateReason != ReasonRestored {
			state = "held-uncertain"
		}
	}
	return w.states[state]
}

// progress names how the deliveries stand.
func (s *Submission) progress() string {
	n := map[RecipientState]int{}
	for _, r := range s.Recipients {
		n[r.State]++
	}
	open, certified := n[Waiting]+n[Late], len(s.Recipients)-n[Uncertified]
	switch {
	case n[Failed] > 0 && open > 0:
		return "failing"
	case n[Failed] > 0 && n[Failed] == len(s.Recipients):
		return "failed"
	case n[Failed] > 0:
		return "some-failed"
	case n[Late] > 0:
		return "late"
	case n[Delivered] > 0 && open > 0:
		return "some"
	case n[Delivered] > 0 && n[Uncertified] > 0:
		return "delivered-certified"
	case n[Delivered] > 0:
		return "delivered"
	case s.State == HandedOver:
		return string(HandedOver)
	case certified == 0:
		return "accepted-ordinary"
	}
	return string(Accepted)
}
