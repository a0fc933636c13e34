package pec

import (
	"strings"

	"pecgate/mailbox/mime"
)

// claim is what the outer header says of a message. Nothing of it is signed.
type claim struct {
	kind     Kind
	word     string // header field and value that chose kind, for reasons
	riferim  string // X-Riferimento-Message-ID
	msgID    string // Message-ID
	from     []string
	replyTo  string
	subject  string // decoded
	tipoRic  string // X-TipoRicevuta
	repeated string // a PEC header that stands more than once
}

// readClaim reads the outer header in the classifier's order: X-Ricevuta makes
// it a notification, else X-Trasporto an envelope, else it is ordinary mail.
// A header that stands twice is taken the first time and named.
func readClaim(fields []mime.Field) claim {
	c := claim{kind: Ordinary}
	var ricevuta, trasporto string
	set := func(to *string, name, v string, seen *bool) {
		if *seen && c.repeated == "" {
			c.repeated = name
		}
		if !*seen {
			*to, *seen = v, true
		}
	}
	var hasRic, hasTra, hasRif, hasID, hasReply, hasSubj, hasTipo bool
	for _, f := range fields {
		switch strings.ToLower(f.Name) {
		case "x-ricevuta":
			set(&ricevuta, f.Name, f.Body(), &hasRic)
		case "x-trasporto":
			set(&trasporto, f.Name, f.Body(), &hasTra)
		case "x-riferimento-message-id":
			set(&c.riferim, f.Name, f.Body(), &hasRif)
		case "x-tiporicevuta":
			set(&c.tipoRic, f.Name, f.Body(), &hasTipo)
		case "message-id":
			set(&c.msgID, f.Name, f.Body(), &hasID)
		case "reply-to":
			set(&c.replyTo, f.Name, f.Body(), &hasReply)
		case "subject":
			set(&c.subject, f.Name, f.Body(), &hasSubj)
		case "from":
			c.from = append(c.from, f.Body())
		}
	}
	c.subject = oneLine(mime.DecodeWords(c.subject))
	switch {
	case hasRic:
		c.kind, c.word = receiptKind(ricevuta), "X-Ricevuta: "+clip(ricevuta)
	case hasTra:
		c.kind, c.word = transportKind(trasporto), "X-Trasporto: "+clip(trasporto)
	}
	return c
}

// receiptKind maps a value of X-Ricevuta, or tipo of a notification.
func receiptKind(v string) Kind {
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "accettazione":
		return Acceptance
	case "non-accettazione":
		return NonAcceptance
	case "presa-in-carico":
		return TakenInCharge
	case "avvenuta-consegna":
		return Delivery
	case "errore-consegna", "mancata-consegna":
		return DeliveryError
	case "preavviso-errore-consegna":
		return DeliveryWarning
	case "rilevazione-virus":
		return VirusDetected
	}
	return Unknown
}

// transportKind maps a value of X-Trasporto.
func transportKind(v string) Kind {
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "posta-certificata":
		return Transport
	case "errore":
		return Anomaly
	}
	return Unknown
}

// prefixKind maps a subject prefix, "" if it is none of PEC. Only a known prefix
// of another kind is worth a word; a tag set in front by somebody on the way is
// not.
func prefixKind(prefix string) Kind {
	switch strings.ToUpper(strings.TrimSpace(prefix)) {
	case "POSTA CERTIFICATA":
		return Transport
	case "ACCETTAZIONE":
		return Acceptance
	case "AVVISO DI NON ACCETTAZIONE", "AVVISO DI NON ACCETTAZIONE PER VIRUS":
		return NonAcceptance
	case "PRESA IN CARICO":
		return TakenInCharge
	case "ANOMALIA MESSAGGIO":
		return Anomaly
	case "PROBLEMA DI SICUREZZA":
		return VirusDetected
	case "CONSEGNA":
		return Delivery
	case "AVVISO DI MANCATA CONSEGNA", "AVVISO DI MANCATA CONSEGNA PER VIRUS":
		return DeliveryError
	case "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO":
		return DeliveryWarning
	}
	return ""
}

// oddHeaders names each outer header that disagrees with the signed
// daticert.xml. The XML decides; the names are for people and for the alarm.
func oddHeaders(c claim, d *daticert) []string {
	var odd []string
	kind := d.kind()
	if c.kind != kind {
		what := c.word
		if what == "" {
			what = "no X-Ricevuta or X-Trasporto"
		}
		odd = append(odd, what+", but daticert.xml says "+clip(d.tipo))
	}
	if c.repeated != "" {
		odd = append(odd, c.repeated+" stands more than once")
	}
	if c.riferim != "" && !SameID(c.riferim, d.msgid) {
		odd = append(odd, "X-Riferimento-Message-ID is not the msgid of daticert.xml")
	}
	if kind == Transport && c.msgID != "" && !SameID(c.msgID, d.identificativo) {
		odd = append(odd, "Message-ID is not the identificativo of daticert.xml")
	}
	if kind == Transport && c.tipoRic != "" && d.ricevuta != "" && receiptWord(c.tipoRic) != d.ricevuta {
		odd = append(odd, "X-TipoRicevuta: "+clip(c.tipoRic)+", but daticert.xml says "+d.ricevuta)
	}
	if prefix, _, ok := strings.Cut(c.subject, ":"); ok {
		if k := prefixKind(prefix); k != "" && k != kind {
			odd = append(odd, "Subject begins with "+clip(prefix)+", but daticert.xml says "+clip(d.tipo))
		}
	}
	return odd
}

// receiptWord maps a value of X-TipoRicevuta.
func receiptWord(v string) string {
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "completa":
		return Complete
	case "breve":
		return Brief
	case "sintetica":
		return Synthetic
	}
	return ""
}
