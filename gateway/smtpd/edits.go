package smtpd

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox/mime"
)

// house is what a mailbox's rules and this server say about the header of what
// leaves.
type house struct {
	receipt  string // complete, brief, synthetic
	choice   bool   // the sender's own X-TipoRicevuta counts, where it is a word that providers know
	replyTo  string // address; empty: none
	hostname string // of Message-IDs made here
	now      time.Time
}

// Fields that are set here.
const (
	kindField  = "X-TipoRicevuta"
	replyField = "Reply-To"
)

// edit makes the edits that remain after the PIN was cut: X-TipoRicevuta and
// Reply-To as the mailbox says, Message-ID and Date where missing. New fields
// stand at the end of the header; all other bytes stay as they are. Each edit is
// named in l.edits.
func (l *letter) edit(h house) error {
	kind, ok := map[string]string{"complete": "completa", "brief": "breve", "synthetic": "sintetica", "": "completa"}[h.receipt]
	if !ok {
		return errReceiptKind
	}
	var add strings.Builder
	set := func(name, text string, good func(string) bool) {
		if l.only(name, good) {
			return
		}
		l.drop(name)
		add.WriteString(name + ": " + text + "\r\n")
		l.edits = append(l.edits, name+" set")
	}
	set(kindField, kind, func(v string) bool {
		return v == kind || h.choice && slices.Contains([]string{"completa", "breve", "sintetica"}, strings.ToLower(v))
	})
	if h.replyTo != "" {
		set(replyField, h.replyTo, func(v string) bool {
			a, err := plainAddress(v)
			return err == nil && strings.EqualFold(a, h.replyTo)
		})
	}
	if l.messageID == "" {
		l.messageID = "<pg." + strings.ToLower(rand.Text()) + "@" + h.hostname + ">"
		add.WriteString("Message-ID: " + l.messageID + "\r\n")
		l.edits = append(l.edits, "Message-ID added")
	}
	if !l.dated {
		add.WriteString("Date: " + h.now.Format("Mon, 02 Jan 2006 15:04:05 -0700") + "\r\n")
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

// only reports that the client wrote a field once, and well.
func (l *letter) only(name string, good func(string) bool) bool {
	n, well := 0, false
	for _, f := range mime.Fields(l.header) {
		if strings.EqualFold(f.Name, name) {
			n++
			well = good(value(f))
		}
	}
	return n == 1 && well
}

// drop takes every field of a name out.
func (l *letter) drop(name string) {
	var out []byte
	kept := 0
	for _, f := range mime.Fields(l.header) {
		if strings.EqualFold(f.Name, name) {
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
