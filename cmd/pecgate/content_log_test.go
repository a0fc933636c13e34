package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// TestS5_LogHoldsNoContent: at level debug, no subject, no text, no attachment's name, no PIN, no password and no SASL blob
// of anybody is in the log: not of what is taken, refused, held, searched, appended, fetched or refused by the provider, and
// in none of the encodings that protocols use.
func TestS5_LogHoldsNoContent(t *testing.T) {
	const pin, subject, body, file, search, draft = "840215", "OggettoRiservato", "CorpoRiservato", "allegato-riservato.pdf", "RicercaRiservata", "BozzaRiservata"
	h := newHouse(t, mailboxText(boxA, true, "    pin_methods: [subject, header, password, reply]\n", "mario"), mailboxText(boxB, false, "", "lucia"))
	text := h.policy
	start := strings.Index(text, "    pin: ")
	h.writePolicy(text[:start] + "    pin: " + cheapHash(t, pin) + text[start+strings.IndexByte(text[start:], '\n'):])
	h.start()
	letter := func(id, mark string) string {
		m := mail(boxA, boxB, subject+" "+mark, id)
		m = strings.Replace(m, "Content-Type: text/plain", "Content-Type: multipart/mixed; boundary=b", 1)
		return m + "--b\r\n\r\n" + body + "\r\n--b\r\nContent-Type: application/pdf; name=" + file + "\r\n\r\nx\r\n--b--\r\n"
	}
	id := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, letter("uno@alfa.example", "[PIN:"+pin+"]")))
	accepted(t, h.send("mario", "mariomario "+pin, boxA, []string{boxB}, letter("due@alfa.example", "")))
	accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, strings.Replace(letter("tre@alfa.example", ""), "MIME-Version", "X-Pecgate-PIN: "+pin+"\r\nMIME-Version", 1)))
	accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, letter("quattro@alfa.example", ""))) // held
	h.send("mario", "mariomario", boxA, []string{boxB}, letter("cinque@alfa.example", "[PIN:999888]"))
	if r := h.send("mario", "SbagliataLunga", boxA, []string{boxB}, letter("sei@alfa.example", "")); r.Class != submit.AuthRefused {
		t.Errorf("%+v", r)
	}
	if r := h.send("lucia", "lucialucia", boxA, []string{boxB}, letter("sette@alfa.example", "")); r.Class != submit.Permanent {
		t.Errorf("%+v", r)
	}
	h.provider.Faults().RejectAtDot.Next(1)
	accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, letter("otto@alfa.example", "[PIN:"+pin+"]")))
	h.settled(id, relay.Accepted)
	h.until("one is refused", func() bool { return h.status().Queue[relay.NotAccepted] == 1 })
	h.until("it is read by its receiver", func() bool { return len(h.folder("lucia", treeB+"Posta in arrivo")) > 0 })
	h.imap("mario", `SELECT "Posta inviata"`, `SEARCH SUBJECT "`+search+`"`, `UID SEARCH BODY "`+search+`"`, `FETCH 1 BODY[]`)
	h.append("mario", `"Bozze"`, mail(boxA, boxB, draft, "bozza@alfa.example"))
	w, err := dialWire(h.imaps, h.roots())
	if err != nil {
		t.Fatal(err)
	}
	if status, err := w.imapLogin("mario", "SbagliataLunga"); err != nil || status != "NO" {
		t.Errorf("%s, %v", status, err)
	}
	w.close()
	h.provider.Faults().RefuseLogin.Next(1)
	h.until("it is fetched", func() bool { return strings.Contains(h.log.String(), `"kind":"delivery"`) })
	h.stop()

	log := h.log.String()
	if !strings.Contains(log, id) || strings.Count(log, "\n") < 20 {
		t.Fatalf("a log that tells nothing:\n%s", tail(log, 2000))
	}
	secrets := []string{pin, "999888", "mariomario", "lucialucia", "SbagliataLunga", "provider-a", "provider-b", subject, body, file, search, draft}
	for _, l := range []struct{ login, password string }{{"mario", "mariomario"}, {"mario", "mariomario " + pin}, {boxA, "provider-a"}, {boxB, "provider-b"}} {
		secrets = append(secrets, base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "\x00%s\x00%s", l.login, l.password)))
	}
	tr := newTracer(secrets)
	for line := range strings.Lines(log) {
		if found := tr.in([]byte(line)); found != "" {
			t.Errorf("the log holds %q: %s", found, line)
		}
	}
}
