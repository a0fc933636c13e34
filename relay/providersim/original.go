package providersim

import (
	"bytes"
	"fmt"
	"strings"
)

// postacert is the original as it goes into postacert.eml: every byte as
// submitted, except that the Message-ID is replaced by the PEC identifier and
// the client's, if there was one, is appended as X-Riferimento-Message-ID, the
// last header field (pec-format section 3).
func postacert(raw []byte, identifier string) []byte {
	fields, headerEnd, _ := split(raw)
	id := []byte("Message-ID: <" + identifier + ">\r\n")
	out := make([]byte, 0, len(raw)+2*len(id)+64)
	client := ""
	for _, f := range fields {
		switch {
		case !f.is("Message-ID"):
			out = append(out, f.raw...)
		case client == "":
			out = append(out, id...)
			client = f.value()
		}
	}
	if n := len(out); n > 0 && out[n-1] != '\n' {
		out = append(out, '\r', '\n') // a message that ends inside its header
	}
	if client == "" {
		out = append(out, id...)
	} else {
		out = append(out, "X-Riferimento-Message-ID: "+client+"\r\n"...)
	}
	if headerEnd < len(raw) && raw[headerEnd] != '\r' && raw[headerEnd] != '\n' {
		out = append(out, '\r', '\n') // no blank line: the body would join the header
	}
	return append(out, raw[headerEnd:]...)
}

// facts is what the provider reads from a submitted header.
type facts struct {
	subject string // decoded
	msgID   string // with brackets, as written; empty if none
	replyTo string
	asked   string // X-TipoRicevuta as written
	to, cc  map[string]bool
}

func readFacts(raw []byte, sender string) facts {
	fields, _, _ := split(raw)
	f := facts{
		subject: decodeText(firstValue(fields, "Subject")),
		msgID:   firstValue(fields, "Message-ID"),
		replyTo: sender,
		asked:   firstValue(fields, "X-TipoRicevuta"),
		to:      map[string]bool{},
		cc:      map[string]bool{},
	}
	if list := fieldAddresses(fields, "Reply-To"); len(list) > 0 && compliant(list[0]) {
		f.replyTo = list[0]
	}
	for _, a := range fieldAddresses(fields, "To") {
		f.to[fold(a)] = true
	}
	for _, a := range fieldAddresses(fields, "Cc") {
		f.cc[fold(a)] = true
	}
	return f
}

// receiptFor is the form of delivery receipt for one recipient: copy recipients
// get the short form; who stands in both To and Cc counts as To.
func (f facts) receiptFor(recipient string) string {
	if f.cc[fold(recipient)] && !f.to[fold(recipient)] {
		return "sintetica"
	}
	switch strings.ToLower(f.asked) {
	case "breve":
		return "breve"
	case "sintetica":
		return "sintetica"
	}
	return "completa"
}

// formalFault applies the formal checks of RFC 6109 3.1.1 that a provider makes
// after its 250; empty means the message passes. product is the limit of size
// times recipients in bytes.
func formalFault(raw []byte, sender string, recipients []string, product int64) string {
	fields, _, _ := split(raw)
	from := fieldAddresses(fields, "From")
	switch {
	case len(from) != 1 || !compliant(from[0]):
		return "il campo From non contiene un solo indirizzo valido"
	case fold(from[0]) != fold(sender):
		return "il campo From non coincide con il mittente"
	}
	for _, f := range fields {
		if f.is("Bcc") && len(addresses(f.value())) > 0 {
			return "Bcc presente nel messaggio"
		}
	}
	to := fieldAddresses(fields, "To")
	named := map[string]bool{}
	good := 0
	for _, a := range to {
		if compliant(a) {
			good++
		}
		named[fold(a)] = true
	}
	if good == 0 {
		return "il campo To non contiene alcun indirizzo valido"
	}
	for _, a := range fieldAddresses(fields, "Cc") {
		named[fold(a)] = true
	}
	for _, r := range recipients {
		if !named[fold(r)] {
			return fmt.Sprintf("il destinatario %s non compare nei campi To e Cc", r)
		}
	}
	if product > 0 && int64(len(raw))*int64(len(recipients)) > product {
		return "dimensione per numero di destinatari oltre il limite"
	}
	return ""
}

// headerOf is the header block of a message, for what envelopes inherit.
func headerOf(raw []byte) []byte {
	_, end, _ := split(raw)
	return bytes.Clone(raw[:end])
}
