package pec

import (
	"strings"

	"pecgate/mailbox/mime"
)

// claim is what the outer header says of a message. Nothing of it is signed.
type claim struct {
	kind     Kind
	word     string // header field and value that chose kind, for reasons
	value    string // that value as written, bounded
	riferim  string // X-Riferimento-Message-ID
	msgID    string // Message-ID
	from     []string
	to       string
	replyTo  string
	subject  string // decoded
	tipoRic  string // X-TipoRicevuta
	security string // X-VerificaSicurezza
	mittente string // X-Mittente
	repeated string // a PEC header that stands more than once
}

// readClaim reads the outer header in the classifier's order: X-Ricevuta makes
// it a notification, else X-Trasporto an envelope, else it is ordinary mail.
// A header that stands twice is taken the first time and named.
func readClaim(fields []mime.Field) claim {
	c := claim{kind: Ordinary}
	var ricevuta, trasporto string
	wanted := [...]struct {
		name string
		to   *string
		seen bool
	}{
		{name: "X-Ricevuta", to: &ricevuta},
		{name: "X-Trasporto", to: &trasporto},
		{name: "X-Riferimento-Message-ID", to: &c.riferim},
		{name: "To", to: &c.to},
		{name: "X-TipoRicevuta", to: &c.tipoRic},
		{name: "X-VerificaSicurezza", to: &c.security},
		{name: "X-Mittente", to: &c.mittente},
		{name: "Message-ID", to: &c.msgID},
		{name: "Reply-To", to: &c.replyTo},
		{name: "Subject", to: &c.subject},
	}
	for _, f := range fields {
		if strings.EqualFold(f.Name, "From") {
			c.from = append(c.from, f.Body())
			continue
		}
		for i := range wanted {
			w := &wanted[i]
			if len(f.Name) != len(w.name) || !strings.EqualFold(f.Name, w.name) {
				continue
			}
			switch {
			case !w.seen:
				*w.to, w.seen = f.Body(), true
			case c.repeated == "":
				c.repeated = clip(f.Name)
			}
			break
		}
	}
	c.subject = oneLine(mime.DecodeWords(c.subject))
	switch {
	case wanted[0].seen:
		c.kind, c.value, c.word = receiptKind(ricevuta), hint(ricevuta), "X-Ricevuta: "+clip(ricevuta)
	case wanted[1].seen:
		c.kind, c.value, c.word = transportKind(trasporto), hint(trasporto), "X-Trasporto: "+clip(trasporto)
	}
	return c
}

// says names the header that chose the kind, for a sentence that contradicts it.
func (c claim) says() string {
	if c.word == "" {
		return "no X-Ricevuta or X-Trasporto"
	}
	return c.word
}

// receiptKind maps a value of X-Ricevuta, or tipo of a notification.
// mancata-consegna is no value of the standard, but occurs.
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
// of another kind is worth a word; what else stands in front of a colon is not.
func prefixKind(prefix string) Kind {
	switch strings.ToUpper(strings.Join(strings.Fields(prefix), " ")) {
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

// cutPrefix takes the provider's prefix from a decoded subject, once: what an
// anomaly wraps keeps its own. Tags in brackets that a list or a server set in
// front ("[list] CONSEGNA: x") are passed over to find it, and go with it. kind
// is empty and rest the whole subject where there is no prefix.
func cutPrefix(subject string) (kind Kind, rest string) {
	prefix, rest, ok := strings.Cut(subject, ":")
	if !ok {
		return "", subject
	}
	for prefix = strings.TrimSpace(prefix); strings.HasPrefix(prefix, "["); {
		_, after, closed := strings.Cut(prefix, "]")
		if !closed {
			break
		}
		prefix = strings.TrimSpace(after)
	}
	if kind = prefixKind(prefix); kind == "" {
		return "", subject
	}
	return kind, strings.TrimSpace(rest)
}

// onBehalf is the address in the display name that a provider gives an
// envelope's From ("Per conto di: somebody@x"), "" where there is none.
func onBehalf(from []string) string {
	if len(from) != 1 {
		return ""
	}
	list := mime.AddressList(from[0])
	if len(list) != 1 {
		return ""
	}
	before, a, ok := strings.Cut(list[0].Name, ":")
	if a = trimAddress(a); !ok || !asciiEqualFold(strings.TrimSpace(before), "per conto di") || !strings.Contains(a, "@") {
		return ""
	}
	return a
}

// oddHeaders names each outer header that disagrees with the signed
// daticert.xml. The XML decides; the names are for people and for the alarm.
func oddHeaders(c claim, d *daticert) []string {
	var odd []string
	kind := d.kind()
	but := func(what, xml string) { odd = append(odd, what+", but daticert.xml says "+clip(xml)) }
	if c.kind != kind {
		but(c.says(), d.tipo)
	}
	if c.repeated != "" {
		odd = append(odd, c.repeated+" stands more than once")
	}
	if c.riferim != "" && d.msgid != "" && !SameID(c.riferim, d.msgid) {
		odd = append(odd, "X-Riferimento-Message-ID is not the msgid of daticert.xml")
	}
	switch kind {
	case Transport:
		if c.msgID != "" && !SameID(c.msgID, d.identificativo) {
			odd = append(odd, "Message-ID is not the identificativo of daticert.xml")
		}
		if c.tipoRic != "" && d.ricevuta != "" && receiptWord(c.tipoRic) != d.ricevuta {
			but("X-TipoRicevuta: "+clip(c.tipoRic), d.ricevuta)
		}
		// The name is what people see of the sender.
		if a := onBehalf(c.from); a != "" && !SameAddress(a, d.mittente) {
			but("From speaks for "+clip(a), d.mittente)
		}
	case VirusDetected:
		if a := someAddress(c.mittente); a != "" && !SameAddress(a, d.mittente) {
			but("X-Mittente: "+clip(a), d.mittente)
		}
	case NonAcceptance, DeliveryError:
	default:
		if c.security != "" {
			but("X-VerificaSicurezza: "+clip(c.security), d.tipo)
		}
	}
	if k, _ := cutPrefix(c.subject); k != "" && k != kind {
		prefix, _, _ := strings.Cut(c.subject, ":")
		but("Subject begins with "+clip(prefix), d.tipo)
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
