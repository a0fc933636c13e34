package smtpd

import (
	"strings"
	"testing"
)

// TestSplitOf: who is blind, and as what a message leaves.
func TestSplitOf(t *testing.T) {
	const from = "From: a@pec.example.net\r\n"
	for _, c := range []struct{ rule, header, envelope, want string }{
		{"never", "To: x@e.example\r\nCc: y@e.example", "x@e.example y@e.example", ""},
		{"never", "To: x@e.example", "x@e.example y@e.example", "refused"},
		{"never", "To: x@e.example\r\nBcc:", "x@e.example", "refused"},
		{"blind", "To: x@e.example\r\nCc: y@e.example", "y@e.example x@e.example", ""},
		{"blind", "To: x@e.example", "y@e.example X@e.example", "blind 1 X@e.example y@e.example"},
		{"blind", "To: x@e.example\r\nBcc: y@e.example", "x@e.example", "blind 1 x@e.example"},
		{"blind", "To: x@e.example, y@e.example\r\nBcc: y@e.example", "x@e.example y@e.example", "blind 1 x@e.example y@e.example"},
		{"blind", "Bcc: y@e.example", "y@e.example", "blind 0 y@e.example"},
		{"blind", "Cc: x@e.example", "x@e.example y@e.example", "refused"}, // somebody must stand in To
		{"blind", "To: x@e.example\r\nBcc: nobody", "x@e.example", "refused"},
		{"blind", "To: x@e.example\r\nResent-Bcc: y@e.example", "x@e.example", "refused"},
		{"always", "To: x@e.example", "x@e.example", ""},
		{"always", "To: x@e.example\r\nCc: y@e.example", "x@e.example", "always 0 x@e.example"},
		{"always", "To: undisclosed-recipients:;", "x@e.example y@e.example", "always 0 x@e.example y@e.example"},
		{"always", "Bcc: x@e.example", "x@e.example", "always 0 x@e.example"},
	} {
		got := ""
		l, err := readLetter([]byte(from+c.header+"\r\n\r\n"), strings.Fields(c.envelope), c.rule)
		switch {
		case err != nil:
			got = "refused"
		case l.leaves.how != "":
			got = strings.Join(append([]string{l.leaves.how, string('0' + rune(l.leaves.visible))}, l.leaves.to...), " ")
		}
		if got != c.want {
			t.Errorf("%s, %q to %s: %q, not %q (%v)", c.rule, c.header, c.envelope, got, c.want, err)
		}
	}
}
