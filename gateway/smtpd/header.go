package smtpd

import (
	"bytes"
	"strings"

	"pecgate/mailbox/mime"
)

// maxFields bounds how many fields one header has. Readers give up somewhere;
// what stands behind that place is seen by some only.
const maxFields = 1000

// once lists the fields of which a second would be read by some and not by
// others (RFC 5322 section 3.6, RFC 2045, RFC 2183).
var once = []string{"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition"}

// fields are those of one header, by name in lower case, each in its order.
type fields map[string][]mime.Field

// readFields cuts a header block with its blank line into fields. It refuses
// what another reader could cut otherwise, and repeated fields that must not be.
func readFields(header []byte) (fields, error) {
	list := mime.Fields(header)
	if len(list) > maxFields {
		return nil, tooManyFields()
	}
	seen := make(fields, len(list))
	for _, f := range list {
		if !wellFormed(f) {
			return nil, badLine()
		}
		k := strings.ToLower(f.Name)
		seen[k] = append(seen[k], f)
	}
	for _, name := range once {
		if len(seen[strings.ToLower(name)]) > 1 {
			return nil, repeated(name)
		}
	}
	return seen, nil
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
		for _, c := range line {
			// Vertical tab, form feed and the separators end lines for some readers;
			// no control character has a meaning in a header (RFC 5322 section 2.2).
			if c < ' ' && c != '\t' || c == 0x7f {
				return false
			}
		}
	}
	return true
}

// value is what follows the colon, unfolded as RFC 5322 section 2.2.3 says:
// line ends go, the blanks behind them stay.
func value(f mime.Field) string {
	return strings.Trim(strings.ReplaceAll(string(f.Raw[len(f.Name)+1:]), "\r\n", ""), " \t")
}
