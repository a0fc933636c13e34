package main

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// webmail sends a message past the gateway, as a person in the provider's webmail
// does.
func (h *house) webmail(box, password, to, message string) {
	h.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.provider.CAPEM())
	r := sendTo(h.t, strings.Replace(h.provider.SMTPAddr(), "127.0.0.1", "localhost", 1), roots, box, password, box, []string{to}, message)
	if r.Class != submit.HandedOver {
		h.t.Fatalf("%+v", r)
	}
}

// inSent puts a message into the provider's folder of sent mail, before the
// gateway sees it in INBOX.
func (h *house) inSent(box, message string) {
	h.t.Helper()
	if err := h.provider.Inject(box, []byte(message)); err != nil {
		h.t.Fatal(err)
	}
	in, err := h.provider.Folder(box, "INBOX")
	if err == nil {
		err = h.provider.Move(box, in[len(in)-1].UID, h.provider.SentFolder())
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestOriginalIsRecovered: what was sent by webmail stands once among what the
// mailbox sent, byte for byte as the complete receipt has it, for those who
// receive; its receipts are tied to it, and it has no report, register number or
// sender.
func TestOriginalIsRecovered(t *testing.T) {
	for _, protocol := range []string{"imap", "pop3"} {
		t.Run(protocol, func(t *testing.T) {
			a := mailboxText(boxA, false, "", "mario, receive: false", "anna")
			if protocol == "pop3" {
				a = byPOP3(a)
			}
			h := newHouse(t, a, mailboxText(boxB, false, "", "lucia"))
			h.start()
			const id = "web1@alfa.example"
			h.until("both were met", func() bool { return h.fetched(boxA) && h.fetched(boxB) })
			h.webmail(boxA, "provider-a", boxB, mail(boxA, boxB, "Diffida", id))
			var s relay.Shown
			h.until("the original is there with its receipts", func() bool {
				var err error
				s, err = h.shown(id)
				return err == nil && s.State == relay.Accepted && s.Recipients[0].State == relay.Delivered
			})
			if s.Recovered != "receipt" || s.User != "" || len(s.Receipts) != 1 || len(s.Recipients[0].Receipts) != 1 || s.Identifier == "" {
				t.Errorf("%+v", s)
			}
			sent := h.folder("anna", treeA+"Posta inviata")
			delivered := h.folder("anna", treeA+"Ricevute/Consegna")
			if len(sent) != 1 || len(delivered) != 1 || !strings.Contains(delivered[0], sent[0]) || !strings.Contains(sent[0], "Si trasmette Diff.") {
				t.Errorf("%d sent, %d delivered: %q", len(sent), len(delivered), sent)
			}
			if n := len(h.folder("anna", treeA+"Esiti")) + len(h.folder("anna", "INBOX")) + len(h.folder("mario", treeA+"Posta inviata")) +
				len(h.folder("mario", "INBOX")); n != 0 {
				t.Errorf("%d messages that nobody asked for", n)
			}
			w := h.reading("anna", treeA+"Posta inviata")
			flags, _, err := w.imap("FETCH 1 FLAGS")
			w.close()
			if err != nil || !strings.Contains(flags, "$PecRecovered") || !strings.Contains(flags, "$PecDelivered") {
				t.Errorf("flags %s", flags)
			}
			// Later receipts find it: nothing is recovered a second time.
			h.webmail(boxA, "provider-a", "assente@pec.gestore.example", mail(boxA, "assente@pec.gestore.example", "Altro", "web2@alfa.example"))
			h.until("another acceptance", func() bool {
				return len(h.folder("anna", treeA+"Ricevute/Accettazione"))+len(h.folder("anna", treeA+"Ricevute/Accettazione ordinaria")) == 2
			})
			h.stop()
			h.start()
			h.until("it was fetched again", func() bool { return h.fetched(boxA) })
			if n := len(h.folder("anna", treeA+"Posta inviata")); n != 1 {
				t.Errorf("%d originals", n)
			}
			h.stop()
			if state, out, errs := program(t, "", "--config", h.config(), "fsck"); state != exitGood {
				t.Errorf("fsck: %d %s %s", state, out, errs)
			}
			// From the segments alone it is what it was.
			records := filepath.Join(h.dir, "data", "records")
			if err := os.Rename(records, records+".away"); err != nil {
				t.Fatal(err)
			}
			if state, _, errs := program(t, "", "--config", h.config(), "fsck", "--rebuild"); state != exitGood {
				t.Fatalf("fsck --rebuild: %d %s", state, errs)
			}
			h.start()
			if s, err := h.shown(id); err != nil || s.Recovered != "receipt" || s.State != relay.Accepted || len(h.folder("anna", treeA+"Posta inviata")) != 1 {
				t.Errorf("after the records were made anew: %+v, %v", s, err)
			}
		})
	}
}

// TestOriginalComesWithALaterReceipt: the acceptance was looked at in vain; the
// complete receipt that follows it is looked at when it comes, not an hour later.
func TestOriginalComesWithALaterReceipt(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "anna"), mailboxText(boxB, false, "", "lucia"))
	h.provider.Faults().Delay.Set(time.Second)
	h.start()
	const id = "web1@alfa.example"
	h.until("both were met", func() bool { return h.fetched(boxA) && h.fetched(boxB) })
	h.webmail(boxA, "provider-a", boxB, mail(boxA, boxB, "Diffida", id))
	h.until("the original is there with both receipts", func() bool {
		s, err := h.shown(id)
		return err == nil && s.Recovered == "receipt" && s.State == relay.Accepted && s.Recipients[0].State == relay.Delivered
	})
}

// TestOriginalIsFoundAtTheProvider: a synthetic receipt carries no original; the
// one in the provider's folder of sent mail is taken, and not one whose Message-ID
// only begins so.
func TestOriginalIsFoundAtTheProvider(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	const id = "web1@alfa.example"
	message := strings.Replace(mail(boxA, boxB, "Diffida", id), "MIME-Version", "X-TipoRicevuta: sintetica\r\nMIME-Version", 1)
	h.inSent(boxA, strings.Replace(message, id, "x."+id, 1))
	h.inSent(boxA, message)
	h.start()
	h.until("both were met", func() bool { return h.fetched(boxA) && h.fetched(boxB) })
	h.webmail(boxA, "provider-a", boxB, message)
	var s relay.Shown
	h.until("the original is there with its receipts", func() bool {
		var err error
		s, err = h.shown(id)
		return err == nil && s.State == relay.Accepted && s.Recipients[0].State == relay.Delivered
	})
	sent := h.folder("mario", treeA+"Posta inviata")
	if s.Recovered != "provider" || len(sent) != 1 || sent[0] != message {
		t.Errorf("%s: %q", s.Recovered, sent)
	}
}

// fetched tells whether a mailbox was fetched since the gateway started.
func (h *house) fetched(box string) bool {
	for _, b := range h.status().Mailboxes {
		if b.Address == box {
			return !b.LastFetch.IsZero()
		}
	}
	h.t.Error(errors.New("no mailbox " + box))
	return true
}
