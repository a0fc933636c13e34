package relay

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// inside is what a provider puts into postacert.eml.
func inside(raw string) string {
	return strings.Replace(raw, "Message-ID: <"+testMsgID+">\r\n", "Message-ID: <"+pecID+">\r\nX-Riferimento-Message-ID: <"+testMsgID+">\r\n", 1)
}

// TestReceiptsAreCompared: a delivery receipt with another content than was sent
// is told in the story and the log; the outcome is what the receipt says.
func TestReceiptsAreCompared(t *testing.T) {
	const pdf = "JVBERi0xLjcK"
	withPart := func(part string) string {
		return "From: " + testBox + "\r\nTo: a@pec.example\r\nMessage-ID: <" + testMsgID + ">\r\nSubject: prova\r\n" +
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\ntesto\r\n--b\r\n" + part + "\r\n--b--\r\n"
	}
	sent := withPart("Content-Type: application/pdf; name=atto.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + pdf)
	brief := func(of string) string {
		return withPart(fmt.Sprintf("Content-Type: text/plain; name=atto.pdf.hash\r\n\r\n%x", sha1.Sum([]byte(of))))
	}
	for name, c := range map[string]struct {
		receipt string
		carried string
		differs string // "" for none
	}{
		"complete":              {"completa", sent, ""},
		"complete, a header":    {"completa", "X-New: 1\r\n" + sent, ""},
		"complete, changed":     {"completa", strings.Replace(sent, "testo", "altro", 1), "the body is another"},
		"brief":                 {"breve", brief(pdf), ""},
		"brief, another file":   {"breve", brief("x"), "(atto.pdf): the hash is of other bytes"},
		"brief, another text":   {"breve", strings.Replace(brief(pdf), "testo", "altro", 1), "part 1 is another"},
		"synthetic, with a lie": {"sintetica", strings.Replace(sent, "testo", "altro", 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIntake(t)
			i.send("s1", testMsgID, sent, "a@pec.example")
			raw := i.receipt(providersim.Delivery, func(n *providersim.Notice) { n.Receipt, n.Attached = c.receipt, []byte(inside(c.carried)) })
			i.take(raw)
			i.take(raw)
			s := i.shown("s1")
			if s.Recipients[0].State != Delivered || s.State != HandedOver {
				t.Errorf("%s, %s", s.State, s.Recipients[0].State)
			}
			want := "submitted delivery"
			if c.differs != "" {
				want += " differs"
			}
			if words(s) != want {
				t.Fatalf("events %s\n%s", words(s), i.log)
			}
			logged := strings.Count(i.log.String(), "another content")
			if last := s.Events[len(s.Events)-1].Text; !strings.Contains(last, c.differs) || logged != strings.Count(want, "differs") {
				t.Errorf("%q, logged %d times", last, logged)
			}
			if strings.Contains(i.log.String(), "atto.pdf") || strings.Contains(i.log.String(), "level=ERROR") {
				t.Errorf("log:\n%s", i.log)
			}
		})
	}
}

// TestComparedWhenClaimed: also a receipt that waited for its submission is held
// against what was sent.
func TestComparedWhenClaimed(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, sentText, "a@pec.example")
	changed := strings.Replace(inside(sentText), "testo", "altro", 1)
	i.take(i.receipt(providersim.Delivery, func(n *providersim.Notice) {
		noMsgID(n)
		n.Receipt, n.Attached = "completa", []byte(strings.Replace(changed, "X-Riferimento-Message-ID: <"+testMsgID+">\r\n", "", 1))
	}))
	if s := i.shown("s1"); words(s) != "submitted" {
		t.Fatalf("%s", words(s))
	}
	i.take(i.receipt(providersim.Acceptance, nil))
	if s := i.shown("s1"); words(s) != "submitted acceptance delivery differs" || s.Recipients[0].State != Delivered {
		t.Errorf("%s\n%s", words(s), i.log)
	}
}

// TestTieByTheOriginal: a complete receipt without msgid whose signed original
// bears identificativo and our Message-ID needs no acceptance. But it does not
// tell the identifier: it is not of the sender's provider.
func TestTieByTheOriginal(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	i.take(i.receipt(providersim.DeliveryError, func(n *providersim.Notice) { noMsgID(n); n.Recipient = "b@pec.example" })) // waits
	i.take(i.receipt(providersim.Delivery, func(n *providersim.Notice) {
		noMsgID(n)
		n.Receipt, n.Attached = "completa", []byte(inside(sentText))
	}))
	if s := i.shown("s1"); words(s) != "submitted delivery" || s.State != HandedOver || s.Identifier != "" {
		t.Errorf("%s, %s\n%s", s.State, words(s), i.log)
	}
	i.take(i.receipt(providersim.Acceptance, nil))
	if s := i.shown("s1"); words(s) != "submitted delivery acceptance delivery-error" || s.State != Accepted || s.Identifier != pecID {
		t.Errorf("%s, %s\n%s", s.State, words(s), i.log)
	}
}

// TestWhereThingsGo takes one message of every kind in and looks where it lies
// and who sees it.
func TestWhereThingsGo(t *testing.T) {
	const capo, other = 1, 2
	relayed := func(n *providersim.Notice) { n.Quirks.Relayed = true }
	i := newIntake(t)
	foreign, err := i.sim.Variant(providersim.Foreign)
	if err != nil {
		t.Fatal(err)
	}
	real := i.sim.Signer()
	made := func(k providersim.Kind, change func(*providersim.Notice)) func(*intake) []byte {
		return func(i *intake) []byte { return i.receipt(k, change) }
	}
	strange := func(k providersim.Kind) func(*intake) []byte {
		return func(i *intake) []byte {
			raw, err := providersim.Compose(providersim.Notice{
				Kind: k, At: time.Now(), Sender: "x@pec.example", Subject: "prova", Identifier: pecID, MsgID: "<1@x>", Receipt: "completa",
				Recipients: []providersim.Recipient{{Address: testBox}}, TakenInCharge: []string{testBox}, Attached: []byte(sentText), Header: []byte(sentText),
			}, foreign, providersim.SignOptions{Style: providersim.StyleNew})
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
	}
	noise := func(header string) []byte {
		return []byte("From: posta-certificata@pec.gestore.example\r\nSubject: POSTA CERTIFICATA: fattura\r\n" + header + "\r\nMIME-Version: 1.0\r\n" +
			"Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nciao\r\n" +
			"--b\r\nContent-Type: application/pkcs7-signature\r\n\r\nnoise\r\n--b--\r\n")
	}
	envelope := func(n *providersim.Notice) {
		n.Receipt, n.Attached, n.Header = "completa", []byte(inside(sentText)), []byte(sentText)
	}
	for name, c := range map[string]struct {
		raw   func(*intake) []byte
		role  mailbox.Role
		admin bool // the administrator alone sees it
	}{
		"envelope":                    {made(providersim.Transport, envelope), mailbox.RoleInbox, false},
		"envelope of an unknown CA":   {strange(providersim.Transport), mailbox.RoleInbox, false},
		"envelope with noise for one": {func(*intake) []byte { return noise("X-Trasporto: posta-certificata") }, mailbox.RoleAnomalies, false},
		"receipt with noise for one":  {func(*intake) []byte { return noise("X-Ricevuta: accettazione") }, mailbox.RoleAnomalies, false},
		"envelope whose times disagree": {func(i *intake) []byte {
			return i.compose(i.sim.Signer(), providersim.Transport, envelope, providersim.SignOptions{At: time.Now().Add(-3 * 24 * time.Hour)})
		}, mailbox.RoleAnomalies, false},
		"relayed envelope": {made(providersim.Transport, func(n *providersim.Notice) { envelope(n); relayed(n) }),
			mailbox.RoleAnomalies, false},
		"acceptance": {made(providersim.Acceptance, nil), mailbox.RoleAcceptance, false},
		"acceptance outside PEC": {made(providersim.Acceptance, func(n *providersim.Notice) {
			n.Recipients = []providersim.Recipient{{Address: "a@x.example", External: true}}
		}), mailbox.RoleOrdinaryAcceptance, false},
		"delivery":                    {made(providersim.Delivery, nil), mailbox.RoleDelivery, false},
		"non-acceptance":              {made(providersim.NonAcceptance, func(n *providersim.Notice) { n.Errore, n.ErroreEsteso = "altro", "Bcc" }), mailbox.RoleErrors, false},
		"error":                       {made(providersim.DeliveryError, nil), mailbox.RoleErrors, false},
		"warning":                     {made(providersim.DeliveryWarning, nil), mailbox.RoleErrors, false},
		"relayed receipt":             {made(providersim.Delivery, relayed), mailbox.RoleAnomalies, false},
		"receipt of an unknown CA":    {strange(providersim.Acceptance), mailbox.RoleAnomalies, false},
		"anomaly":                     {made(providersim.Anomaly, nil), mailbox.RoleAnomalies, false},
		"taken in charge":             {made(providersim.TakenInCharge, nil), mailbox.RoleAnomalies, true},
		"virus":                       {made(providersim.VirusDetected, nil), mailbox.RoleAnomalies, true},
		"taken in charge, unbelieved": {strange(providersim.TakenInCharge), mailbox.RoleAnomalies, false},
		"ordinary mail": {func(*intake) []byte {
			return []byte("From: assistenza@gestore.example\r\nSubject: Quota\r\n\r\nciao\r\n")
		},
			mailbox.RoleAnomalies, false},
		"unknown kind": {func(i *intake) []byte {
			return bytes.Replace(i.receipt(providersim.Acceptance, nil), []byte("X-Ricevuta: accettazione"), []byte("X-Ricevuta: novita"), 1)
		}, mailbox.RoleAcceptance, false}, // the signed XML decides
		"unknown and unsigned": {func(*intake) []byte { return []byte("From: x@y.example\r\nX-Ricevuta: novita\r\n\r\nciao\r\n") }, mailbox.RoleAnomalies, false},
		"nothing at all":       {func(*intake) []byte { return []byte("\r\n") }, mailbox.RoleAnomalies, false},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIntake(t)
			for _, login := range []string{"capo", "mario"} {
				err := i.store.Update(t.Context(), func(tx *mailbox.Tx) error { _, err := tx.EnsurePerson(login); return err })
				if err != nil {
					t.Fatal(err)
				}
			}
			i.take(c.raw(i))
			sees := func(p mailbox.Person) (all map[mailbox.Role]int) {
				all = map[mailbox.Role]int{}
				for _, r := range []mailbox.Role{mailbox.RoleInbox, mailbox.RoleAcceptance, mailbox.RoleOrdinaryAcceptance,
					mailbox.RoleDelivery, mailbox.RoleErrors, mailbox.RoleAnomalies} {
					if n := i.inFolder(r, p, mailbox.ScopeOwnOrCommon); n > 0 {
						all[r] = n
					}
				}
				return all
			}
			want, none := fmt.Sprint(map[mailbox.Role]int{c.role: 1}), fmt.Sprint(map[mailbox.Role]int{})
			if got := fmt.Sprint(sees(capo)); got != want {
				t.Errorf("the administrator sees %s instead of %s\n%s", got, want, i.log)
			}
			if c.admin {
				want = none
			}
			if got := fmt.Sprint(sees(other)); got != want {
				t.Errorf("others see %s instead of %s", got, want)
			}
		})
	}
	if real == foreign {
		t.Error("the foreign authority is the real one")
	}
}
