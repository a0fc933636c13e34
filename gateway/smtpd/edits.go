package smtpd

import (
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"pecgate/mailbox/mime"
)

// edit makes the edits that remain after the PIN was cut: X-TipoRicevuta as the
// mailbox says, Message-ID and Date where missing. New fields stand at the end
// of the header; all other bytes stay as they are.
func (l *letter) edit(receipt, hostname string, now time.Time) error {
	kind, ok := map[string]string{"complete": "completa", "brief": "breve", "synthetic": "sintetica", "": "completa"}[receipt]
	if !ok {
		return errReceiptKind
	}
	var add strings.Builder
	if !l.onlyKind(kind) {
		l.dropKind()
		add.WriteString("X-TipoRicevuta: " + kind + "\r\n")
		l.edits = append(l.edits, "X-TipoRicevuta set")
	}
	if l.messageID == "" {
		l.messageID = "<pg." + strings.ToLower(rand.Text()) + "@" + hostname + ">"
		add.WriteString("Message-ID: " + l.messageID + "\r\n")
		l.edits = append(l.edits, "Message-ID added")
	}
	if !l.dated {
		add.WriteString("Date: " + now.Format("Mon, 02 Jan 2006 15:04:05 -0700") + "\r\n")
		l.edits = append(l.edits, "Date added")
	}
	if add.Len() > 0 {
		end := len(l.header) - 2 // before the blank line
		out := make([]byte, 0, len(l.header)+add.Len())
		out = append(append(out, l.header[:end]...), add.String()...)
		l.header = append(out, l.header[end:]...)
	}
	return nil
}

const kindField = "X-TipoRicevuta"

// onlyKind reports that the client has asked, once, for what the mailbox says.
func (l *letter) onlyKind(kind string) bool {
	n, same := 0, false
	for _, f := range mime.Fields(l.header) {
		if strings.EqualFold(f.Name, kindField) {
			n++
			same = value(f) == kind
		}
	}
	return n == 1 && same
}

// dropKind takes every wish of the client for a kind of receipt out.
func (l *letter) dropKind() {
	var out []byte
	kept := 0
	for _, f := range mime.Fields(l.header) {
		if strings.EqualFold(f.Name, kindField) {
			out = append(out, l.header[kept:f.Off]...)
			kept = f.Off + len(f.Raw)
		}
	}
	if kept > 0 {
		l.header = append(out, l.header[kept:]...)
	}
}

// errReceiptKind is a mistake of who builds the policy.
var errReceiptKind = errors.New("mailbox with an unknown kind of receipt")
