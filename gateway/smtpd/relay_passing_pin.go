package smtpd

import (
	"errors"
	"slices"
	"strings"

	"pecgate/mailbox/mime"
)

// Ordinary mail passes on as it is, but not with a PIN: an automatic answer repeats the
// Subject that it answers, or the whole message, and somebody who wrote a PIN and forgot
// the mark of PEC would show it to the world. Of what a person writes only the header is
// looked at; the text is theirs.

var errPINInside = errors.New("smtpd: a PIN is in what passes on")

// passingLook looks for a PIN in what passes on.
type passingLook struct {
	pinLook
	machine bool // the whole of it is looked at
}

// newPassingLook begins with what was read of a message, its header at least.
func newPassingLook(from string, read []byte) *passingLook {
	l := new(passingLook)
	header := read[:max(headerEnd(read, 0), 0)]
	if l.machine = from == "" || ofMachine(header); l.machine {
		header = read
	}
	l.add(header)
	return l
}

func (l *passingLook) more(piece []byte) {
	if l.machine {
		l.add(piece)
	}
}

// ofMachine tells whether a header says that no person wrote the message: wider than what
// must not leave as PEC, since here it only says how far is looked.
func ofMachine(header []byte) bool {
	for _, f := range mime.Fields(header) {
		v := strings.ToLower(strings.TrimSpace(f.Body()))
		switch strings.ToLower(f.Name) {
		case "auto-submitted":
			if v != "no" {
				return true
			}
		case "precedence":
			if slices.Contains([]string{"bulk", "junk", "list", "auto_reply", "auto-reply"}, v) {
				return true
			}
		case "content-type":
			if strings.HasPrefix(v, "multipart/report") {
				return true
			}
		case "x-autoreply", "x-autorespond", "x-autoreply-from", "x-auto-reply-from", "x-mail-autoreply", "x-auto-response-suppress", "x-ms-exchange-inbox-rules-loop", "list-id":
			return true
		}
	}
	return false
}

func pinInside() *refusal {
	return refuse(550, "5.7.1", "Nel messaggio, che partirebbe come posta ordinaria, si legge un PIN ([PIN:...]): toglierlo, o segnare il messaggio come PEC, e inviare di nuovo.",
		"A PIN ([PIN:...]) can be read in the message, which would leave as ordinary mail: take it out, or mark the message as PEC, and send again.", "pin-inside")
}
