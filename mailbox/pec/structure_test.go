package pec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestRelayed: an envelope in a multipart that somebody made round it is
// verified and shown like another, but never believed.
func TestRelayed(t *testing.T) {
	lf := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
	for _, s := range twelve() {
		for _, old := range []bool{true, false} {
			msg := styled(s, old).build()
			want := read(t, msg)
			for name, b := range map[string][]byte{"CRLF": relay(msg, ""), "LF": lf(relay(msg, ""))} {
				rep := read(t, b)
				if !rep.Relayed || rep.Kind != want.Kind || rep.Verdict != want.Verdict || !strings.HasPrefix(rep.Reason, "structure: relayed: ") {
					t.Errorf("%s, %s: %s, %s, relayed %v (%s)", s.name, name, rep.Kind, rep.Verdict, rep.Relayed, rep.Reason)
				}
				if _, ok := rep.About(Sent{Box: ourBox, MsgID: ourID, Recipients: []string{theirBox}}); ok || rep.Believed() {
					t.Errorf("%s, %s: believed", s.name, name)
				}
				var again Report
				if err := json.Unmarshal(must(json.Marshal(rep)), &again); err != nil || again.Believed() || !again.Relayed {
					t.Errorf("%s, %s: after JSON believed (%v)", s.name, name, err)
				}
				if rep.Inner != nil && string(b[rep.Inner.Off:rep.Inner.Off+rep.Inner.Size]) != string(map[bool][]byte{true: []byte(s.l.inner), false: lf([]byte(s.l.inner))}[name == "CRLF"]) {
					t.Errorf("%s, %s: inner range", s.name, name)
				}
			}
		}
	}
}

// TestRelayedForms: which wrappings are looked into, and what the sender's
// check says.
func TestRelayedForms(t *testing.T) {
	genuine := envelope(postacert).build()
	signed := func(typ string) []byte { // another multipart, the signed part behind a text
		head, body, _ := strings.Cut(string(genuine), "\r\n\r\n")
		i := strings.Index(head, "Content-Type:")
		j := strings.Index(head, "X-Trasporto:")
		return []byte(head[:i] + head[j:] + "\r\nContent-Type: " + typ + "; boundary=q\r\n\r\n--q\r\nContent-Type: text/plain\r\n\r\ntesto\r\n--q\r\n" +
			head[i:j] + "\r\n" + body + "\r\n--q--\r\n")
	}
	for _, c := range []struct {
		name    string
		msg     []byte
		relayed bool
		verdict string
		reason  string
	}{
		{"a list", relay(genuine, ""), true, Valid, "relayed"},
		{"a list that tags the Subject", relay(bytes.Replace(genuine, []byte("Subject: "), []byte("Subject: [lista] "), 1), ""), true, Valid, "relayed"},
		{"another multipart, text first", signed("multipart/related"), true, Valid, "relayed"},
		{"a multipart nobody knows", signed("multipart/x-boh"), true, Valid, "relayed"},
		{"a multipart/signed of OpenPGP", signed("multipart/signed; protocol=application/pgp-signature"), false, NotSigned, "application/pgp-signature"},
		{"From of the list", relay(bytes.Replace(genuine, []byte("<"+alfa+">"), []byte("<lista@lista.example>"), 1), ""), true, Invalid, "sender: From is lista@lista.example"},
		{"From of another provider", relay(bytes.Replace(genuine, []byte("<"+alfa+">"), []byte("<"+beta+">"), 1), ""), true, Invalid, "sender: "},
		{"no From", relay(bytes.Replace(genuine, []byte("\r\nFrom: "), []byte("\r\nX-From: "), 1), ""), true, Invalid, "sender: 0 From"},
		{"trailing blanks lost", relay(bytes.Replace(genuine, []byte("gestito.\r\n"), []byte("gestito. \r\n"), 1), ""), true, Invalid, "digest: "},
		{"with a genuine receipt beside it", relay(genuine, string(letter{}.build())), false, NotSigned, "2 signed parts"},
		{"forwarded as a message", relay([]byte("Content-Type: message/rfc822\r\n\r\n"+string(genuine)), ""), false, NotSigned, "no S/MIME signature"},
		{"two levels", relay(relay(genuine, ""), ""), false, NotSigned, "no S/MIME signature"},
		{"a header too long", relay(edit(envelope(postacert), func(h string) string {
			return h + "\r\n" + strings.TrimSuffix(strings.Repeat("X-Riempimento: "+strings.Repeat("x", 900)+"\r\n", 300), "\r\n")
		}), ""), false, NotSigned, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := read(t, c.msg)
			if rep.Relayed != c.relayed || rep.Verdict != c.verdict || rep.Believed() || !strings.Contains(rep.Reason, c.reason) {
				t.Errorf("relayed %v, %s (%s)", rep.Relayed, rep.Verdict, rep.Reason)
			}
			if strings.Contains(rep.Subject, "POSTA CERTIFICATA") {
				t.Errorf("subject %q", rep.Subject)
			}
		})
	}
	// An original with thousands of parts does not hide the signature here either.
	var in strings.Builder
	in.WriteString("From: " + ourBox + "\r\nContent-Type: multipart/mixed; boundary=\"m\"\r\n\r\n")
	for i := range 3000 {
		fmt.Fprintf(&in, "--m\r\nContent-Type: text/plain; name=\"parte-%d.txt\"\r\n\r\nx\r\n", i)
	}
	rep := read(t, relay(envelope(in.String()+"--m--\r\n").build(), ""))
	if !rep.Relayed || rep.Verdict != Valid || rep.Inner == nil || rep.Inner.From != ourBox {
		t.Errorf("many parts: %+v", rep)
	}
}

// TestDaticertPart: forms of the part that holds daticert.xml. They all say the
// same.
func TestDaticertPart(t *testing.T) {
	b64 := wrap64([]byte(deliveryXML))
	const enc = "\r\nContent-Transfer-Encoding: base64"
	for _, c := range []struct {
		name, head, body string
		ok               bool
	}{
		{"as providers do", "Content-Type: application/xml; name=\"daticert.xml\"" + enc + "\r\nContent-Disposition: inline; filename=\"daticert.xml\"", b64, true},
		{"name only in Content-Type", "Content-Type: application/xml; name=daticert.xml" + enc, b64, true},
		{"name only in Content-Disposition", "Content-Type: application/xml" + enc + "\r\nContent-Disposition: inline; filename=daticert.xml", b64, true},
		{"two names, ours in Content-Type", "Content-Type: application/xml; name=daticert.xml" + enc + "\r\nContent-Disposition: inline; filename=dati.xml", b64, true},
		{"text/xml", "Content-Type: text/xml; charset=\"UTF-8\"; name=\"daticert.xml\"" + enc, b64, true},
		{"octet-stream", "Content-Type: application/octet-stream; name=\"daticert.xml\"" + enc, b64, true},
		{"upper case", "CONTENT-TYPE: APPLICATION/XML; NAME=\"DATICERT.XML\"\r\nCONTENT-TRANSFER-ENCODING: BASE64", b64, true},
		{"folded with tabs", "Content-Type: application/xml; \r\n\tname=\"daticert.xml\"\r\nContent-Transfer-Encoding:\r\n\tbase64", b64, true},
		{"RFC 2231", "Content-Type: application/xml" + enc + "\r\nContent-Disposition: inline; filename*=UTF-8''dati%63ert.xml", b64, true},
		{"RFC 2231 in pieces", "Content-Type: application/xml; name*0=\"dati\"; name*1=\"cert.xml\"" + enc, b64, true},
		{"RFC 2047", "Content-Type: application/xml; name=\"=?us-ascii?Q?daticert=2Exml?=\"" + enc, b64, true},
		{"a blank in the name", "Content-Type: application/xml; name=\" daticert.xml \"" + enc, b64, true},
		{"base64 on one line", "Content-Type: application/xml; name=daticert.xml" + enc, strings.ReplaceAll(b64, "\r\n", "") + "\r\n", true},
		{"base64 with noise behind", "Content-Type: application/xml; name=daticert.xml" + enc, b64 + "\r\n \r\n", true},
		{"7bit", "Content-Type: application/xml; name=daticert.xml\r\nContent-Transfer-Encoding: 7bit", crlf(strings.ReplaceAll(deliveryXML, "–", "&#x2013;")), true},
		{"no encoding", "Content-Type: application/xml; name=daticert.xml", crlf(deliveryXML), true},
		{"binary", "Content-Type: application/xml; name=daticert.xml\r\nContent-Transfer-Encoding: binary", crlf(deliveryXML), true},
		{"quoted-printable, soft breaks", "Content-Type: application/xml; name=daticert.xml\r\nContent-Transfer-Encoding: quoted-printable",
			strings.ReplaceAll(crlf(strings.NewReplacer("=", "=3D", "–", "=E2=80=93").Replace(deliveryXML)), "mittente>", "mitt=\r\nente>"), true},
		{"uuencode", "Content-Type: application/xml; name=daticert.xml\r\nContent-Transfer-Encoding: x-uuencode", b64, false},
		{"base64 said, none there", "Content-Type: application/xml; name=daticert.xml" + enc, crlf(deliveryXML), false},
		{"another name", "Content-Type: application/xml; name=dati-cert.xml" + enc, b64, false},
		{"a longer name", "Content-Type: application/xml; name=daticert.xml.txt" + enc, b64, false},
		{"empty", "Content-Type: application/xml; name=daticert.xml" + enc, "", false},
		{"no name", "Content-Type: application/xml" + enc, b64, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := read(t, withXMLPart(c.head, c.body).build())
			if !c.ok {
				if rep.Verdict != Unverifiable || rep.Believed() || !strings.Contains(rep.Reason, "daticert: ") {
					t.Errorf("%s, %s (%s)", rep.Kind, rep.Verdict, rep.Reason)
				}
				return
			}
			if rep.Kind != Delivery || !rep.Believed() || rep.Reason != "" || rep.Subject != "Diffida n. 7/2026 – sollecito" || rep.Recipient != theirBox {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestOrdinary: mail that is no PEC, with what is known of it.
func TestOrdinary(t *testing.T) {
	for _, c := range []struct {
		name, msg       string
		verdict         string
		subject, sender string
		reason          string
	}{
		{"plain", "From: Mario <mario@esempio.example>\r\nSubject: ciao\r\n\r\nx\r\n", NotSigned, "ciao", "mario@esempio.example", textNoSignature},
		{"a provider's notice", "From: =?utf-8?q?Casella_PEC?= <no-reply@pec.gestore-beta.example>\r\nSubject: =?utf-8?q?La_casella_=C3=A8_piena?=\r\n\r\nx\r\n", NotSigned, "La casella è piena", "no-reply@pec.gestore-beta.example", ""},
		{"renewal, with a receipt's Subject", "From: rinnovi@gestore-beta.example\r\nSubject: ACCETTAZIONE: rinnovo\r\n\r\nx\r\n", NotSigned, "rinnovo", "rinnovi@gestore-beta.example", ""},
		{"X-Riferimento-Message-ID alone", "From: a@b.example\r\nX-Riferimento-Message-ID: " + ourID + "\r\n\r\nx\r\n", NotSigned, "", "a@b.example", ""},
		{"from a provider's mailbox, unsigned", "From: " + beta + "\r\nSubject: Avviso\r\n\r\nx\r\n", NotSigned, "Avviso", beta, ""},
		{"8-bit header", "From: Citt\xe0 <a@b.example>\r\nSubject: Perch\xe9\r\n\r\nx\r\n", NotSigned, "Perché", "a@b.example", ""},
		{"nothing", "", NotSigned, "", "", ""},
		{"no header", "\r\nciao\r\n", NotSigned, "", "", ""},
		{"no body", "From: a@b.example", NotSigned, "", "a@b.example", ""},
		{"a subject with a colon", "From: a@b.example\r\nSubject: Re: CONSEGNA: x\r\n\r\n", NotSigned, "Re: CONSEGNA: x", "a@b.example", ""},
		{"a person's signature", string(personal()), Unverifiable, "Preventivo", "mario@esempio.example", "who is no PEC provider"},
		{"a person's signature, through a list", string(relay(personal(), "")), Unverifiable, "Preventivo", "mario@esempio.example", "who is no PEC provider"},
		{"a person's signature, changed", strings.Replace(string(personal()), "Ecco", "Eccolo", 1), Invalid, "Preventivo", "mario@esempio.example", "digest: "},
		{"encrypted", "From: a@b.example\r\nSubject: x\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\nMIA=\r\n", NotSigned, "x", "a@b.example", textEncrypted},
		{"opaque", "From: a@b.example\r\nSubject: x\r\nContent-Type: application/x-pkcs7-mime; smime-type=signed-data\r\n\r\nMIA=\r\n", Unverifiable, "x", "a@b.example", textOpaque},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := read(t, []byte(c.msg))
			if rep.Kind != Ordinary || rep.Verdict != c.verdict || rep.Believed() || !strings.Contains(rep.Reason, c.reason) {
				t.Errorf("%s, %s (%s)", rep.Kind, rep.Verdict, rep.Reason)
			}
			if rep.Subject != c.subject || rep.Sender != c.sender || rep.Recipients == nil {
				t.Errorf("subject %q, sender %q", rep.Subject, rep.Sender)
			}
			if strings.Contains(rep.Reason, "advice") {
				t.Errorf("advice about ordinary mail: %s", rep.Reason)
			}
		})
	}
}

// TestUnknownKind: a kind that nobody knows is kept with its own word.
func TestUnknownKind(t *testing.T) {
	for _, c := range []struct {
		l             letter
		word, verdict string
	}{
		{letter{mark: "X-Ricevuta: Ricevuta Nuova", xml: cert{tipo: "ricevuta-nuova"}.String()}, "ricevuta-nuova", Valid},
		{letter{mark: "X-Ricevuta: Ricevuta Nuova", xml: "-"}, "Ricevuta Nuova", Unverifiable},
		{letter{mark: "X-Trasporto: busta-nuova", xml: "-"}, "busta-nuova", Unverifiable},
		{letter{mark: "X-Ricevuta:", xml: "-"}, "", Unverifiable},
		{letter{mark: "X-Ricevuta: n\x01u\xe8va", xml: "-", p7s: []byte("x")}, "nu\ufffdva", Unverifiable},
		{letter{mark: "X-Ricevuta: " + strings.Repeat("x", 5000), xml: "-"}, strings.Repeat("x", maxValue), Unverifiable},
	} {
		rep := read(t, c.l.build())
		if rep.Kind != Unknown || rep.Word != c.word || rep.Verdict != c.verdict || rep.Believed() {
			t.Errorf("%s, %q, %s (%s)", rep.Kind, rep.Word, rep.Verdict, rep.Reason)
		}
		if c.word != "" && !strings.Contains(rep.Reason, "is not a kind that is known") {
			t.Errorf("reason %s", rep.Reason)
		}
	}
	rep := read(t, letter{xml: cert{tipo: "avvenuta-consegna", errore: "altro", tail: consegna}.String()}.build())
	if rep.Kind != Inconsistent || rep.Word != "avvenuta-consegna" {
		t.Errorf("%s, %q", rep.Kind, rep.Word)
	}
}

// TestOddHeaders: each header that disagrees with the XML is named, and only
// those.
func TestOddHeaders(t *testing.T) {
	virus := twelve()[6].l.xml
	for _, c := range []struct {
		name string
		l    letter
		odd  string
	}{
		{"envelope as it should be", envelope(postacert), ""},
		{"another person's name", func() letter {
			l := envelope(postacert)
			l.from = `"Per conto di: direttore@banca.example" <` + alfa + `>`
			return l
		}(), "From speaks for direttore@banca.example, but daticert.xml says " + ourBox},
		{"the name encoded", func() letter {
			l := envelope(postacert)
			l.from = `=?utf-8?q?Per_conto_di=3A_direttore=40banca=2Eexample?= <` + alfa + `>`
			return l
		}(), "From speaks for direttore@banca.example"},
		{"the name in other case", func() letter {
			l := envelope(postacert)
			l.from = `"PER CONTO DI: ` + strings.ToUpper(ourBox) + `" <` + alfa + `>`
			return l
		}(), ""},
		{"no name", func() letter { l := envelope(postacert); l.from = alfa; return l }(), ""},
		{"another form asked", func() letter {
			l := envelope(postacert)
			l.header = []string{"X-Tiporicevuta: breve"}
			return l
		}(), "X-TipoRicevuta: breve, but daticert.xml says complete"},
		{"another id", func() letter { l := envelope(postacert); l.msgID = "altro@x.example"; return l }(), "Message-ID is not the identificativo"},
		{"a virus said of a delivery", letter{header: []string{"X-VerificaSicurezza: errore"}}, "X-VerificaSicurezza: errore, but"},
		{"X-Mittente of another", letter{mark: "X-Ricevuta: rilevazione-virus", subject: "PROBLEMA DI SICUREZZA: x", xml: virus, header: []string{"X-Mittente: <x@y.example>"}}, "X-Mittente: x@y.example"},
		{"X-Mittente right", letter{mark: "X-Ricevuta: rilevazione-virus", subject: "PROBLEMA DI SICUREZZA: x", xml: virus, header: []string{"X-Mittente: <" + ourBox + ">"}}, ""},
		{"Subject tagged, of another kind", letter{subject: "[a] [b]ACCETTAZIONE : x"}, "Subject begins with [a] [b]ACCETTAZIONE"},
		{"an invoice's words in the Subject", func() letter {
			l := envelope(strings.Replace(postacert, "=?utf-8?Q?Diffida_n=2E_7/2026_=E2=80=93_sollecito?=", "", 1))
			l.subject = "POSTA CERTIFICATA: Notifica di mancata consegna 7"
			return l
		}(), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := read(t, c.l.build())
			if !rep.Believed() {
				t.Fatalf("%s, %s", rep.Verdict, rep.Reason)
			}
			if c.odd == "" && rep.Reason != "" || !strings.Contains(rep.Reason, c.odd) {
				t.Errorf("reason %q, want %q in it", rep.Reason, c.odd)
			}
		})
	}
}

// TestAnomaly: what an anomaly envelope tells of the message it wraps.
func TestAnomaly(t *testing.T) {
	plain := "From: Ditta <ditta@esempio.example>\r\nReply-To: altri@esempio.example\r\nSubject: =?utf-8?q?offerta_=C3=A8?=\r\n\r\nx\r\n"
	for _, c := range []struct {
		name            string
		l               letter
		subject, sender string
	}{
		{"ordinary mail", anomaly(plain, "cambiato"), "offerta è", "ditta@esempio.example"},
		{"without any header", anomaly("\r\nx\r\n", "offerta"), "offerta", "qualcuno@esempio.example"},
		{"an envelope", anomaly(string(envelope(postacert).build()), "POSTA CERTIFICATA: Diffida n. 7/2026"), "POSTA CERTIFICATA: Diffida n. 7/2026", "qualcuno@esempio.example"},
		{"a receipt", anomaly(string(letter{}.build()), "CONSEGNA: x"), "CONSEGNA: Diffida n. 7/2026", "qualcuno@esempio.example"},
		{"a bounce", anomaly("From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered Mail Returned to Sender\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=r\r\n\r\n"+
			"--r\r\n\r\nx\r\n--r\r\nContent-Type: message/delivery-status\r\n\r\nx: y\r\n--r--\r\n", "x"), "Undelivered Mail Returned to Sender", "MAILER-DAEMON@mx.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := read(t, c.l.build())
			if rep.Kind != Anomaly || rep.Verdict != Valid || rep.Believed() || rep.Reason != "" || rep.Identifier != "" || !rep.At.IsZero() {
				t.Errorf("%+v", rep)
			}
			if rep.Subject != c.subject || rep.Sender != c.sender || rep.Inner == nil {
				t.Errorf("subject %q, sender %q, inner %v", rep.Subject, rep.Sender, rep.Inner)
			}
		})
	}
	// An envelope inside of an envelope stays what the outer one is.
	rep := read(t, envelope(string(envelope(postacert).build())).build())
	if rep.Kind != Transport || !rep.Believed() || rep.Identifier != pecID {
		t.Errorf("envelope in an envelope: %+v", rep)
	}
}

// TestWordsForOrdinaryMail: what people often save in place of the envelope is
// ordinary mail, and the reason says what to check instead.
func TestWordsForOrdinaryMail(t *testing.T) {
	genuine := string(envelope(postacert).build())
	forwarded := "From: amico@esempio.example\r\nSubject: I: ricevuta\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n" +
		"--q\r\nContent-Type: text/plain\r\n\r\nVedi sotto\r\n--q\r\nContent-Type: message/rfc822\r\n\r\n" + genuine + "\r\n--q--\r\n"
	for _, c := range []struct{ name, msg, word string }{
		{"a receipt forwarded as attachment", forwarded, "a signed message is attached"},
		{"the original without its envelope", postacert, "only the envelope is signed"},
		{"mail", "From: a@esempio.example\r\nSubject: ciao\r\n\r\nciao\r\n", textNoSignature},
	} {
		rep := read(t, []byte(c.msg))
		if rep.Kind != Ordinary || rep.Verdict != NotSigned || rep.Receipt != "" || !strings.Contains(rep.Reason, c.word) || strings.Contains(rep.Reason, "advice") {
			t.Errorf("%s: %s, %s (%s)", c.name, rep.Kind, rep.Verdict, rep.Reason)
		}
	}
}

// TestSenderOfANotification: without a daticert.xml that can be read, the hint
// is whom the notification went to, not the provider.
func TestSenderOfANotification(t *testing.T) {
	rep := read(t, unsigned())
	if rep.Verdict != NotSigned || rep.Sender != ourBox {
		t.Errorf("%s, sender %q", rep.Verdict, rep.Sender)
	}
}
