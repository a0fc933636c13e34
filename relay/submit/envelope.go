package submit

import (
	"fmt"
	"strings"
)

// Envelope is a sender and recipients, with what the sender asked to be told of the
// delivery (RFC 3461). A server that does not offer DSN hears nothing of that.
type Envelope struct {
	From          string // empty: the null reverse path, for a smarthost only
	To            []Recipient
	EnvID, Return string // decoded; FULL or HDRS; empty: not said
	// Partial: the message goes to whom the server takes, and Result.Refused has the
	// others. Else one refusal ends the attempt.
	Partial bool
}

// Recipient is one of an envelope.
type Recipient struct {
	Address  string
	Notify   string // NEVER, or SUCCESS, FAILURE and DELAY with commas; empty: not said
	Original string // type;address, decoded; empty: not said
}

// addresses are those of the recipients.
func (e Envelope) addresses() []string {
	out := make([]string, len(e.To))
	for i, r := range e.To {
		out[i] = r.Address
	}
	return out
}

// Limits of RFC 3461 sections 4.2 and 4.4, of what is encoded.
const (
	maxEnvID    = 100
	maxOriginal = 500
)

// asked are the parameters of MAIL. What cannot be said by the rules is not said.
func (e Envelope) asked() (out string) {
	if e.Return == "FULL" || e.Return == "HDRS" {
		out = " RET=" + e.Return
	}
	if id, ok := xtext(e.EnvID); ok && len(id) <= maxEnvID {
		out += " ENVID=" + id
	}
	return out
}

// asked are the parameters of RCPT.
func (r Recipient) asked() (out string) {
	if r.Notify != "" && strings.Trim(r.Notify, "NEVERSUCCESSFAILUREDELAY,") == "" {
		out = " NOTIFY=" + r.Notify
	}
	kind, address, ok := strings.Cut(r.Original, ";")
	if address, plain := xtext(address); ok && plain && kind != "" && len(kind)+1+len(address) <= maxOriginal &&
		strings.Trim(strings.ToLower(kind), "abcdefghijklmnopqrstuvwxyz0123456789-") == "" {
		out += " ORCPT=" + kind + ";" + address
	}
	return out
}

// xtext encodes printable ASCII (RFC 3461 section 4); false: it is empty, or has
// something else.
func xtext(s string) (string, bool) {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c < ' ' || c > '~':
			return "", false
		case c == ' ' || c == '+' || c == '=':
			fmt.Fprintf(&b, "+%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), s != ""
}
