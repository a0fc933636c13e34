package smtpd

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"pecgate/mailbox/mime"
	"pecgate/mailbox/planted"
	"pecgate/policy"
)

// letter is the header of a submission.
type letter struct {
	header    []byte // the whole block with its blank line
	from      string // the one address of From, domain in lower case
	messageID string // with angle brackets
	clientID  string // the same as it came; empty where there was none
	dated     bool
	edits     []string

	pin       string // as given in the Subject; may be empty
	pinNeeded bool
}

// once lists the fields of which a second would be read by some and not by
// others (RFC 5322 section 3.6, RFC 2045).
var once = []string{"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "MIME-Version",
	"Content-Type", "Content-Transfer-Encoding"}

// readLetter judges a header block against the envelope and takes the PIN out.
// Its errors are refusals.
func readLetter(header []byte, recipients []string, pinNeeded bool) (letter, error) {
	l := letter{pinNeeded: pinNeeded}
	fields := mime.Fields(header)
	seen := make(map[string][]mime.Field, len(fields))
	for _, f := range fields {
		if !wellFormed(f) {
			return l, malformed("Una riga dell'intestazione non e' valida.", "A line of the header is not valid.")
		}
		k := strings.ToLower(f.Name)
		seen[k] = append(seen[k], f)
	}
	for _, name := range once {
		if len(seen[strings.ToLower(name)]) > 1 {
			return l, malformed("Il campo "+name+" compare piu' volte.", "The field "+name+" occurs more than once.")
		}
	}
	for _, check := range []func(map[string][]mime.Field) error{l.sender, forbidden, l.identifier,
		func(s map[string][]mime.Field) error { return visible(s, recipients) }} {
		if err := check(seen); err != nil {
			return l, err
		}
	}
	l.dated = len(seen["date"]) > 0
	return l, l.cutPIN(header)
}

func malformed(italian, english string) *refusal {
	return refuse(550, "5.6.0", italian, english, "header")
}

// wellFormed refuses what some readers take for a field, a continuation or the
// end of the header, and others do not.
func wellFormed(f mime.Field) bool {
	if f.Name == "" || len(f.Raw) <= len(f.Name) || f.Raw[len(f.Name)] != ':' || !bytes.HasSuffix(f.Raw, []byte("\r\n")) {
		return false
	}
	for i := range len(f.Name) {
		// RFC 5322 allows more, which only forgers use (>From, (From).
		if c := f.Name[i]; c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	for i, line := range bytes.Split(bytes.TrimSuffix(f.Raw, []byte("\r\n")), []byte("\r\n")) {
		if i > 0 && len(bytes.Trim(line, " \t")) == 0 {
			return false // a folded line of blanks
		}
	}
	return true
}

// sender wants one plain address in From, and nothing that names another
// sender.
func (l *letter) sender(seen map[string][]mime.Field) error {
	bad := refuse(550, "5.7.1",
		"Il campo From deve contenere un solo indirizzo semplice, quello della casella PEC.",
		"The From field must hold exactly one plain address, that of the PEC mailbox.", policy.BadAddress)
	f := seen["from"]
	if len(f) != 1 {
		return bad
	}
	var err error
	if l.from, err = plainAddress(value(f[0])); err != nil {
		return bad
	}
	for _, name := range []string{"sender", "resent-from", "resent-sender"} {
		for _, f := range seen[name] {
			if a, err := plainAddress(value(f)); err != nil || !strings.EqualFold(a, l.from) {
				return refuse(550, "5.7.1", "Il campo "+f.Name[:min(len(f.Name), 20)]+" indica un altro mittente.",
					"The field "+f.Name[:min(len(f.Name), 20)]+" names another sender.", policy.FromDiffers)
			}
		}
	}
	return nil
}

// forbidden refuses fields that a client must not set.
func forbidden(seen map[string][]mime.Field) error {
	for _, name := range []string{"bcc", "resent-bcc"} {
		if len(seen[name]) > 0 {
			return blind()
		}
	}
	// The provider's own words (RFC 6109 section 4.1.1 and appendix), and the path
	// that only a final delivery writes.
	for _, name := range []string{"x-ricevuta", "x-trasporto", "x-riferimento-message-id", "x-verificasicurezza", "return-path"} {
		if f := seen[name]; len(f) > 0 {
			return refuse(550, "5.7.1", "Il campo "+f[0].Name+" e' riservato al gestore PEC.",
				"The field "+f[0].Name+" is reserved to the PEC provider.", "control-header")
		}
	}
	if len(seen["x-pecgate-pin"]) > 0 {
		return refuse(550, "5.7.1", "Il PIN va scritto nell'oggetto come [PIN:...], non nel campo X-Pecgate-PIN.",
			"Write the PIN into the subject as [PIN:...], not into the field X-Pecgate-PIN.", "pin-method")
	}
	if f := seen["content-type"]; len(f) > 0 && strings.HasPrefix(strings.ToLower(value(f[0])), "application/ms-tnef") {
		return refuse(550, "5.6.1", "Il formato winmail.dat non e' ammesso: inviare come HTML o testo semplice.",
			"The format winmail.dat is not allowed: send as HTML or plain text.", "tnef")
	}
	return nil
}

func blind() *refusal {
	return refuse(550, "5.7.1", "La PEC non ammette destinatari in copia nascosta (Ccn): indicarli tutti in A o Cc (RFC 6109, 3.1.1).",
		"PEC allows no blind copies (Bcc): name every recipient in To or Cc (RFC 6109, 3.1.1).", "blind-copy")
}

// visible wants somebody in To, and every recipient of the envelope in To or
// Cc.
func visible(seen map[string][]mime.Field, recipients []string) error {
	var shown []string
	for _, name := range []string{"To", "Cc"} {
		for _, f := range seen[strings.ToLower(name)] {
			list, err := addresses(value(f))
			if err != nil {
				return malformed("Il campo "+name+" non contiene solo indirizzi semplici.", "The field "+name+" holds more than plain addresses.")
			}
			shown = append(shown, list...)
		}
		if name == "To" && len(shown) == 0 {
			return refuse(550, "5.7.1", "La PEC richiede almeno un destinatario nel campo A (RFC 6109, 3.1.1).",
				"PEC requires at least one recipient in the To field (RFC 6109, 3.1.1).", "no-to")
		}
	}
	set := make(map[string]bool, len(shown))
	for _, a := range shown {
		set[strings.ToLower(a)] = true
	}
	if slices.ContainsFunc(recipients, func(r string) bool { return !set[strings.ToLower(r)] }) {
		return blind()
	}
	return nil
}

// identifier reads Message-ID. Receipts quote it and nothing else, so it must be
// one that survives quoting.
func (l *letter) identifier(seen map[string][]mime.Field) error {
	f := seen["message-id"]
	if len(f) == 0 {
		return nil
	}
	v := value(f[0])
	inner := strings.TrimSuffix(strings.TrimPrefix(v, "<"), ">")
	if len(v) != len(inner)+2 || inner == "" || len(inner) > 250 ||
		strings.ContainsFunc(inner, func(r rune) bool { return r <= ' ' || r > '~' || r == '<' || r == '>' }) {
		return malformed("Il campo Message-ID non e' valido.", "The field Message-ID is not valid.")
	}
	l.messageID, l.clientID = v, v
	return nil
}

// A PIN mark. Case and blanks do not matter: what a person meant as a PIN must
// not leave the house.
var (
	pinMark  = regexp.MustCompile(`(?i)\[\s*PIN\s*:\s*([^\]]*)\]`)
	pinBegin = regexp.MustCompile(`(?i)\[\s*PIN\s*:`)
)

// cutPIN takes every mark out of Subject and Thread-Topic (Outlook copies the
// subject there). Only the Subject gives the PIN, and marks that disagree give
// a wrong one.
func (l *letter) cutPIN(header []byte) error {
	unclear := refuse(550, "5.7.1", "Il PIN va scritto una sola volta, nell'oggetto, nella forma [PIN:...].",
		"Write the PIN once, in the subject, in the form [PIN:...].", "pin-form")
	edited, marks, err := mime.CutMark(header, []string{"Subject"}, pinMark)
	if err != nil {
		return unclear
	}
	whole := edited
	edited, copies, err := mime.CutMark(edited, []string{"Thread-Topic"}, pinMark)
	if err != nil {
		return unclear
	}
	for _, m := range marks {
		v := pinMark.FindStringSubmatch(m)
		if v == nil {
			return unclear
		}
		given := strings.TrimSpace(v[1])
		if l.pin != "" && given != l.pin {
			return unclear
		}
		l.pin = given
	}
	if len(marks)+len(copies) > 0 {
		l.edits = append(l.edits, "PIN cut")
	}
	// A mark without its end, or in another field, would be sent with the PIN.
	for _, f := range mime.Fields(edited) {
		body := f.Body()
		if pinBegin.MatchString(body) || strings.Contains(body, "=?") && pinBegin.MatchString(mime.DecodeWords(body)) {
			return unclear
		}
	}
	l.header = edited
	if planted.Is(planted.PINInThreadTopic) {
		l.header = whole
	}
	return nil
}

// value is what follows the colon, unfolded as RFC 5322 section 2.2.3 says:
// line ends go, the blanks behind them stay.
func value(f mime.Field) string {
	return strings.Trim(strings.ReplaceAll(string(f.Raw[len(f.Name)+1:]), "\r\n", ""), " \t")
}
