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
	to := map[string]*string{
		"x-ricevuta":               &ricevuta,
		"x-trasporto":              &trasporto,
		"x-riferimento-message-id": &c.riferim,
		"x-tiporicevuta":           &c.tipoRic,
		"x-verificasicurezza":      &c.security,
		"x-mittente":               &c.mittente,
		"message-id":               &c.msgID,
		"reply-to":                 &c.replyTo,
		"subject":                  &c.subject,
	}
	seen := make(map[string]bool, len(to))
	for _, f := range fields {
		name := strings.ToLower(f.Name)
		if name == "from" {
			c.from = append(c.from, f.Body())
			continue
		}
		v, wanted := to[name]
		switch {
		case !wanted:
		case !seen[name]:
			*v, seen[name] = f.Body(), true
		case c.repeated == "":
			c.repeated = clip(f.Name)
		}
	}
	c.subject = oneLine(mime.DecodeWords(c.subject))
	switch {
	case seen["x-ricevuta"]:
		c.kind, c.value, c.word = receiptKind(ricevuta), hint(ricevuta), "X-Ricevuta: "+clip(ricevuta)
	case seen["x-trasporto"]:
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
	if c.riferim != "" && !SameID(c.riferim, d.msgid) {
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
