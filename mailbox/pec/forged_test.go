package pec

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/mime"
)

// acceptanceXML and the like are what other genuine messages carry.
var (
	acceptanceXML = cert{tipo: "accettazione"}.String()
	transportXML  = cert{tipo: "posta-certificata", tail: `<ricevuta tipo="completa"/>`}.String()
)

// unsigned is a receipt without any signature: its signed part, on its own.
func unsigned() []byte {
	return []byte("From: " + beta + "\r\nTo: " + ourBox + "\r\nSubject: CONSEGNA: Diffida n. 7/2026\r\n" +
		"X-Ricevuta: avvenuta-consegna\r\nX-Riferimento-Message-ID: " + ourID + "\r\nMIME-Version: 1.0\r\n" +
		letter{xml: deliveryXML}.signedPart())
}

// wrapIn puts a whole message into another as message/rfc822 or as it stands.
func wrapIn(msg []byte, head, partHead string) []byte {
	return []byte("From: amico@esempio.example\r\nTo: " + ourBox + "\r\nSubject: CONSEGNA: Diffida n. 7/2026\r\n" + head +
		"X-Ricevuta: avvenuta-consegna\r\nX-Riferimento-Message-ID: " + ourID + "\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=\"involucro\"\r\n\r\n--involucro\r\n" + partHead + string(msg) + "\r\n--involucro--\r\n")
}

// relay is what a mailing list makes of a message: its header, but a new
// multipart round its content, with a footer. more is a further part.
func relay(msg []byte, more string) []byte {
	head, body, _ := strings.Cut(string(msg), "\r\n\r\n")
	var keep, typ []string
	for _, f := range mime.Fields([]byte(head + "\r\n\r\n")) {
		if strings.HasPrefix(strings.ToLower(f.Name), "content-") {
			typ = append(typ, string(f.Raw))
		} else {
			keep = append(keep, string(f.Raw))
		}
	}
	if more != "" {
		more = "--lista\r\n" + more + "\r\n"
	}
	return []byte(strings.Join(keep, "") + "Content-Type: multipart/mixed; boundary=\"lista\"\r\n\r\n" +
		"This is an S/MIME signed message\r\n--lista\r\n" + strings.Join(typ, "") + "\r\n" + body + "\r\n" + more +
		"--lista\r\nContent-Type: text/plain; charset=\"us-ascii\"\r\n\r\n_____\r\nlista@lista.example\r\n--lista--\r\n")
}

// opaque is a receipt whose header says that all of it is S/MIME.
func opaque(typ string) []byte {
	return []byte("From: " + beta + "\r\nX-Ricevuta: avvenuta-consegna\r\nX-Riferimento-Message-ID: " + ourID + "\r\n" +
		"Content-Type: application/pkcs7-mime; smime-type=" + typ + "; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		wrap64(signCMS([]byte(letter{xml: deliveryXML}.signedPart()), cmsSpec{by: betaLeaf(), embed: true})))
}

// TestH1_ForgedReceipts: each is made to look like the delivery receipt we wait
// for. None may be believed, each says why, and none matches our submission.
func TestH1_ForgedReceipts(t *testing.T) {
	genuine := letter{}.build()
	if rep := read(t, genuine); !rep.Believed() {
		t.Fatalf("the genuine receipt is not believed: %s (%s)", rep.Verdict, rep.Reason)
	}

	evilRoot := issue(caTemplate("Prova Root CA"), evilKey(), nil)
	evilCA := issue(caTemplate("Prova PEC CA1"), evilKey(), evilRoot)
	shopCA := issue(caTemplate("Prova Client CA"), evilKey(), rootCert())
	person := func(by *identity, address string) *identity {
		tpl := leafTemplate(address)
		tpl.Subject = pkix.Name{CommonName: "Mario Rossi"}
		return issue(tpl, evilKey(), by)
	}
	leaf := func(change func(*x509.Certificate)) *identity {
		tpl := leafTemplate(beta)
		change(&tpl)
		return issue(tpl, rsaKey(), pecCA())
	}
	other := signCMS([]byte(letter{xml: acceptanceXML}.signedPart()), cmsSpec{by: betaLeaf()})
	swapTipo := func(s string) string {
		return strings.Replace(s, wrap64([]byte(deliveryXML)), wrap64([]byte(acceptanceXML)), 1)
	}
	nestedReceipt := eml(string(genuine))

	for _, c := range []struct {
		name    string
		msg     []byte
		verdict string
		check   string
	}{
		{"unsigned with daticert", unsigned(), NotSigned, "structure"},
		{"headers only", []byte("From: " + beta + "\r\nX-Ricevuta: avvenuta-consegna\r\nX-Riferimento-Message-ID: " + ourID + "\r\n\r\nConsegnato.\r\n"), NotSigned, "structure"},
		{"unknown CA of the same names", letter{cms: cmsSpec{by: person(evilCA, beta), certs: []*identity{person(evilCA, beta), evilCA, evilRoot}}}.build(), Unverifiable, "cms"},
		{"unknown CA", func() []byte {
			l := person(evilCA, beta)
			return letter{cms: cmsSpec{by: l, certs: []*identity{l, evilCA, evilRoot}}}.build()
		}(), Unverifiable, "chain"},
		{"self-signed", func() []byte {
			l := issue(leafTemplate(beta), evilKey(), nil)
			return letter{cms: cmsSpec{by: l, certs: []*identity{l}}}.build()
		}(), Unverifiable, "chain"},
		{"a person's certificate of a commercial CA under the same root", func() []byte {
			l := person(shopCA, "mario@esempio.example")
			return letter{from: "mario@esempio.example", cms: cmsSpec{by: l, certs: []*identity{l, shopCA, rootCert()}}}.build()
		}(), Unverifiable, "chain"},
		{"a commercial certificate with the provider's address", func() []byte {
			l := person(shopCA, beta)
			return letter{cms: cmsSpec{by: l, certs: []*identity{l, shopCA}}}.build()
		}(), Unverifiable, "chain"},
		{"a certificate of the root itself", func() []byte {
			l := person(rootCert(), beta)
			return letter{cms: cmsSpec{by: l, certs: []*identity{l}}}.build()
		}(), Unverifiable, "chain"},
		{"a certificate issued by a provider's certificate", func() []byte {
			l := person(betaLeaf(), beta)
			return letter{cms: cmsSpec{by: l, certs: []*identity{l, betaLeaf(), pecCA()}}}.build()
		}(), Unverifiable, "chain"},
		{"a person's certificate of the PEC CA, own From", letter{from: "mario@pec.gestore-beta.example",
			cms: cmsSpec{by: person(pecCA(), "mario@pec.gestore-beta.example")}}.build(), Invalid, "sender"},
		{"a person's certificate of the PEC CA, the provider's From", letter{
			cms: cmsSpec{by: person(pecCA(), "mario@pec.gestore-beta.example")}}.build(), Invalid, "sender"},
		{"another provider's From", letter{from: alfa}.build(), Invalid, "sender"},
		{"another provider's signature", letter{cms: cmsSpec{by: alfaLeaf()}}.build(), Invalid, "sender"},
		{"the provider in the display name only", letter{from: `"` + beta + `" <mario@esempio.example>`}.build(), Invalid, "sender"},
		{"two addresses in From", letter{from: beta + ", mario@esempio.example"}.build(), Invalid, "sender"},
		{"two From fields", letter{header: []string{"From: mario@esempio.example"}}.build(), Invalid, "sender"},
		{"no rfc822Name in the certificate", letter{cms: cmsSpec{by: issue(nameless(), rsaKey(), pecCA())}}.build(), Invalid, "sender"},
		{"outside of the CA's name constraints", letter{from: "posta-certificata@pec.gestore-gamma.example",
			cms: cmsSpec{by: person(pecCA(), "posta-certificata@pec.gestore-gamma.example")}}.build(), Invalid, "chain"},
		{"expired when it signed", letter{cms: cmsSpec{by: leaf(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = signTime.AddDate(-3, 0, 0), signTime.AddDate(0, 0, -1)
		})}}.build(), Invalid, "validity"},
		{"not yet valid when it signed", letter{cms: cmsSpec{by: leaf(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = signTime.AddDate(0, 0, 1), signTime.AddDate(3, 0, 0)
		})}}.build(), Invalid, "validity"},
		{"no extended key usage", letter{cms: cmsSpec{by: leaf(func(c *x509.Certificate) { c.ExtKeyUsage = nil })}}.build(), Invalid, "usage"},
		{"for clients only", letter{cms: cmsSpec{by: leaf(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})}}.build(), Invalid, "usage"},
		{"key for encryption only", letter{cms: cmsSpec{by: leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })}}.build(), Invalid, "usage"},
		{"daticert.xml replaced", letter{xml: acceptanceXML, changed: func(s string) string {
			return strings.Replace(s, wrap64([]byte(acceptanceXML)), wrap64([]byte(deliveryXML)), 1)
		}}.build(), Invalid, "digest"},
		{"text changed", letter{changed: func(s string) string { return strings.Replace(s, "gestito", "perduto", 1) }}.build(), Invalid, "digest"},
		{"a part added", letter{xml: "-", changed: func(s string) string {
			return strings.Replace(s, "\r\n\r\n--", "\r\n\r\n------=_Part_122_455.1783062942000\r\n"+xmlPart(deliveryXML)+"\r\n--", 1)
		}}.build(), Invalid, "digest"},
		{"signature over another receipt", letter{p7s: other}.build(), Invalid, "digest"},
		{"tipo swapped", letter{changed: swapTipo}.build(), Invalid, "digest"},
		{"messageDigest replaced", func() []byte {
			now := []byte(letter{xml: deliveryXML}.signedPart())
			old := []byte(letter{xml: acceptanceXML}.signedPart())
			return letter{xml: deliveryXML, cms: cmsSpec{by: betaLeaf(), sum: sumOf(crypto.SHA256, old), afterSign: func(p *cmsParts) {
				p.attrs = bytes.Replace(p.attrs, sumOf(crypto.SHA256, old), sumOf(crypto.SHA256, now), 1)
			}}}.build()
		}(), Invalid, "signature"},
		{"signing time moved", letter{cms: cmsSpec{by: betaLeaf(), afterSign: func(p *cmsParts) {
			p.attrs = bytes.Replace(p.attrs, []byte("260703"), []byte("260702"), 1)
		}}}.build(), Invalid, "signature"},
		{"signature value damaged", letter{cms: cmsSpec{by: betaLeaf(), afterSign: func(p *cmsParts) { p.signature[9] ^= 1 }}}.build(), Invalid, "signature"},
		{"signed by another key under the provider's certificate", letter{cms: cmsSpec{by: &identity{betaLeaf().cert, evilKey()}}}.build(), Invalid, "signature"},
		{"nested whole in a mail", wrapIn(genuine, "", "Content-Type: message/rfc822\r\n\r\n"), NotSigned, "structure"},
		{"its multipart/signed below a mail's", wrapIn(genuine, "", ""), Invalid, "sender"},
		{"its multipart/signed below a mail's, From as if it were the provider's", relay(genuine, ""), Valid, "structure"},
		{"two of them below a mail's", relay(genuine, string(genuine)), NotSigned, "structure"},
		{"two levels below a mail's", relay(relay(genuine, ""), ""), NotSigned, "structure"},
		{"below a mail's as an attachment", relay([]byte(eml(string(genuine))), ""), NotSigned, "structure"},
		{"below a mail's, changed on the way", relay(bytes.Replace(genuine, []byte("gestito"), []byte("perduto"), 1), ""), Invalid, "digest"},
		// What was signed here is an anomaly, and says nothing of a delivery.
		{"in an anomaly relabelled", letter{xml: "-", inner: string(genuine)}.build(), Valid, "header"},
		{"forwarded by a provider's mailbox holder", letter{xml: "-", parts: []string{nestedReceipt}}.build(), Valid, "header"},
		{"in an anomaly, with its daticert.xml beside it but damaged", letter{xml: "<postacert/>", inner: string(genuine)}.build(), Unverifiable, "daticert"},
		{"in a signed envelope relabelled", letter{mark: "X-Ricevuta: avvenuta-consegna", xml: transportXML, inner: string(unsigned())}.build(), Valid, "header"},
		{"inside of postacert.eml, whole and genuine", letter{xml: transportXML, inner: string(genuine)}.build(), Valid, "header"},
		{"daticert.xml hidden in the text part", letter{xml: "-", parts: []string{
			"Content-Type: multipart/alternative; boundary=\"t\"\r\n\r\n--t\r\n" + xmlPart(deliveryXML) + "\r\n--t--\r\n"}}.build(), Unverifiable, "daticert"},
		{"opaque signature", opaque("signed-data"), Unverifiable, "structure"},
		{"encrypted", opaque("enveloped-data"), NotSigned, "structure"},
		{"daticert.xml one level too deep", letter{xml: "-", parts: []string{
			"Content-Type: multipart/mixed; boundary=\"giu\"\r\n\r\n--giu\r\n" + xmlPart(deliveryXML) + "\r\n--giu--\r\n"}}.build(), Unverifiable, "daticert"},
		{"signed part not multipart/mixed", letter{mixed: strings.Replace(letter{xml: deliveryXML}.signedPart(), "multipart/mixed", "multipart/related", 1)}.build(), Unverifiable, "daticert"},
		{"signed part is a bare daticert.xml", letter{mixed: xmlPart(deliveryXML)}.build(), Unverifiable, "daticert"},
		{"two daticert.xml", letter{parts: []string{xmlPart(acceptanceXML)}}.build(), Unverifiable, "daticert"},
		{"consegna twice", letter{xml: strings.Replace(deliveryXML, consegna, consegna+consegna, 1)}.build(), Unverifiable, "daticert"},
		{"two signers", letter{cms: cmsSpec{by: betaLeaf(), signers: 2}}.build(), Unverifiable, "cms"},
		{"MD5", letter{cms: cmsSpec{by: betaLeaf(), hash: crypto.MD5}}.build(), Unverifiable, "algorithm"},
		{"RSA-PSS named, PKCS #1 made", letter{cms: cmsSpec{by: betaLeaf(), sigOID: oidRSAPSS}}.build(), Unverifiable, "algorithm"},
		{"ECDSA named over an RSA key", letter{cms: cmsSpec{by: betaLeaf(), sigOID: oidECDSASHA256}}.build(), Unverifiable, "algorithm"},
		{"certificate stripped", letter{cms: cmsSpec{by: betaLeaf(), noCerts: true}}.build(), Unverifiable, "cms"},
		{"no signed attributes", letter{cms: cmsSpec{by: betaLeaf(), noAttrs: true}}.build(), Unverifiable, "cms"},
		{"contentType of something else", letter{cms: cmsSpec{by: betaLeaf(), contentType: oidSigned}}.build(), Unverifiable, "cms"},
		{"messageDigest twice", letter{cms: cmsSpec{by: betaLeaf(), double: true}}.build(), Unverifiable, "cms"},
		{"content inside of the signature", letter{cms: cmsSpec{by: betaLeaf(), embed: true}, changed: swapTipo}.build(), Unverifiable, "cms"},
		{"signature is noise", letter{p7s: []byte("firmato digitalmente")}.build(), Unverifiable, "cms"},
		{"signature is empty", letter{p7s: []byte{}}.build(), Unverifiable, "cms"},
		{"signature missing", bytes.Replace(genuine, []byte("name=\"smime.p7s\""), []byte("name=\"x.txt\""), 1)[:bytes.Index(genuine, []byte("\r\nContent-Type: application/pkcs7-signature; name"))], Unverifiable, "structure"},
		{"OpenPGP", bytes.Replace(genuine, []byte(`protocol="application/pkcs7-signature"`), []byte(`protocol="application/pgp-signature"`), 1), NotSigned, "structure"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := read(t, c.msg)
			if rep.Believed() && rep.Kind != Transport {
				t.Fatalf("believed: %+v", rep)
			}
			if _, ok := rep.About(Sent{Box: ourBox, MsgID: ourID, Recipients: []string{theirBox}}); ok {
				t.Fatal("matches our submission")
			}
			if rep.Verdict != c.verdict || !strings.Contains(rep.Reason, c.check+": ") {
				t.Fatalf("verdict %q, reason %q; want %q and check %q", rep.Verdict, rep.Reason, c.verdict, c.check)
			}
		})
	}
}

// TestH2_OuterHeadersProveNothing: on a genuine receipt whose outer headers
// were changed after signing, kind and ids still come from the XML, and the
// reason names the odd header.
func TestH2_OuterHeadersProveNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		l    letter
		kind Kind
		odd  string
	}{
		{"nothing changed", letter{}, Delivery, ""},
		{"X-Ricevuta says acceptance", letter{mark: "X-Ricevuta: accettazione"}, Delivery, "X-Ricevuta: accettazione"},
		{"X-Ricevuta says error", letter{mark: "X-Ricevuta: errore-consegna"}, Delivery, "X-Ricevuta: errore-consegna"},
		{"X-Ricevuta unknown", letter{mark: "X-Ricevuta: boh"}, Delivery, "X-Ricevuta: boh"},
		{"no mark at all", letter{mark: "-"}, Delivery, "no X-Ricevuta"},
		{"X-Trasporto in its place", letter{mark: "X-Trasporto: posta-certificata"}, Delivery, "X-Trasporto"},
		{"anomaly in its place", letter{mark: "X-Trasporto: errore"}, Delivery, "X-Trasporto: errore"},
		{"X-Ricevuta twice", letter{header: []string{"X-Ricevuta: accettazione"}}, Delivery, "X-Ricevuta stands more than once"},
		{"reference of another message", letter{riferim: "<altro@pec.alfa.example>"}, Delivery, "X-Riferimento-Message-ID"},
		{"no reference", letter{riferim: "-"}, Delivery, ""},
		{"Subject of another kind", letter{subject: "ACCETTAZIONE: Diffida n. 7/2026"}, Delivery, "Subject begins with ACCETTAZIONE"},
		{"Subject of another kind, encoded", letter{subject: "=?utf-8?q?ACCETTAZIONE=3A?= Diffida"}, Delivery, "Subject begins with ACCETTAZIONE"},
		{"Subject tagged on the way", letter{subject: "[EXT] CONSEGNA: Diffida n. 7/2026"}, Delivery, ""},
		{"an acceptance dressed as delivery", letter{xml: acceptanceXML}, Acceptance, "X-Ricevuta: avvenuta-consegna"},
		{"an envelope dressed as delivery", letter{xml: transportXML, inner: postacert, msgID: pecID}, Transport, "X-Ricevuta: avvenuta-consegna"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := read(t, c.l.build())
			if rep.Kind != c.kind || rep.Verdict != Valid || !rep.Believed() {
				t.Fatalf("kind %q, verdict %q (%s)", rep.Kind, rep.Verdict, rep.Reason)
			}
			if rep.MsgID != ourID || rep.Identifier != pecID {
				t.Errorf("msgid %q, identifier %q", rep.MsgID, rep.Identifier)
			}
			if c.odd == "" && rep.Reason != "" || !strings.Contains(rep.Reason, c.odd) {
				t.Errorf("reason %q, want %q in it", rep.Reason, c.odd)
			}
			_, ok := rep.About(Sent{Box: ourBox, MsgID: ourID, Recipients: []string{theirBox}})
			if ok != (c.kind == Delivery || c.kind == Acceptance) {
				t.Errorf("matches: %v", ok)
			}
		})
	}
}

// TestH4_NestedIsNeverRead: a fake receipt inside of a genuine envelope's
// postacert.eml leaves the envelope what it is, and an anomaly that holds a
// genuine receipt stays an anomaly.
func TestH4_NestedIsNeverRead(t *testing.T) {
	fake := string(unsigned())
	rep := read(t, letter{mark: "X-Trasporto: posta-certificata", subject: "POSTA CERTIFICATA: x", xml: transportXML, inner: fake,
		msgID: pecID, cms: cmsSpec{by: alfaLeaf()}, from: `"Per conto di: ` + ourBox + `" <` + alfa + `>`}.build())
	if rep.Kind != Transport || !rep.Believed() || rep.Recipient != "" || !strings.HasPrefix(rep.Reason, "inner: From of postacert.eml") {
		t.Errorf("envelope: %+v", rep)
	}
	if _, ok := rep.About(Sent{Box: ourBox, MsgID: ourID, Recipients: []string{theirBox}}); ok {
		t.Error("an envelope matches as a receipt")
	}
	rep = read(t, letter{mark: "X-Trasporto: errore", subject: "ANOMALIA MESSAGGIO: CONSEGNA: x", xml: "-",
		inner: string(letter{}.build()), header: []string{"Reply-To: qualcuno@esempio.example"}}.build())
	if rep.Kind != Anomaly || rep.Verdict != Valid || rep.Believed() {
		t.Errorf("anomaly: %+v", rep)
	}
	// The wrapped message's own subject; its sender is a provider, so that of the
	// anomaly's header is of more use.
	if rep.Subject != "CONSEGNA: Diffida n. 7/2026" || rep.Sender != "qualcuno@esempio.example" || rep.Identifier != "" {
		t.Errorf("anomaly: subject %q, sender %q, identifier %q", rep.Subject, rep.Sender, rep.Identifier)
	}
}

// TestH3_SomebodyElsesReceipt: a genuine receipt that quotes our Message-ID.
func TestH3_SomebodyElsesReceipt(t *testing.T) {
	to := []string{"Protocollo@PEC.beta.example", "info@gamma.example"}
	for _, c := range []struct {
		name string
		xml  string
		box  string
		id   string
		want string
		ok   bool
	}{
		{"ours", deliveryXML, ourBox, ourID, to[0], true},
		{"ours, other case and no brackets", deliveryXML, "Ufficio@pec.alfa.example", strings.ToUpper(strings.Trim(ourID, "<>")), to[0], true},
		{"another mailbox of ours", deliveryXML, "altra@pec.alfa.example", ourID, "", false},
		{"no mailbox", deliveryXML, "", ourID, "", false},
		{"another sender's", cert{tipo: "avvenuta-consegna", mittente: "altri@pec.delta.example", tail: consegna}.String(), ourBox, ourID, "", false},
		{"another id", deliveryXML, ourBox, "<altro@pec.alfa.example>", "", false},
		{"no id asked", deliveryXML, ourBox, "", "", false},
		{"no msgid in it", cert{tipo: "avvenuta-consegna", msgid: "-", tail: consegna}.String(), ourBox, ourID, "", false},
		{"a recipient we never had", cert{tipo: "avvenuta-consegna", tail: "<consegna>terzo@pec.beta.example</consegna>"}.String(), ourBox, ourID, "", false},
		{"acceptance", acceptanceXML, ourBox, ourID, "", true},
		{"acceptance for others", strings.NewReplacer(theirBox, "x@y.example", "info@gamma.example", "z@y.example").Replace(acceptanceXML), ourBox, ourID, "", false},
		{"taken in charge", cert{tipo: "presa-in-carico", tail: "<ricezione>" + theirBox + "</ricezione>"}.String(), ourBox, ourID, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := read(t, letter{xml: c.xml}.build())
			if !rep.Believed() {
				t.Fatalf("not believed: %s", rep.Reason)
			}
			got, ok := rep.About(Sent{Box: c.box, MsgID: c.id, Recipients: to})
			if got != c.want || ok != c.ok {
				t.Errorf("got %q, %v; want %q, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

// TestSigningTime: the signing time against daticert.xml and the clock.
func TestSigningTime(t *testing.T) {
	far := strings.Replace(deliveryXML, "03/07/2026", "01/07/2026", 1)
	if rep := read(t, letter{xml: far}.build()); rep.Verdict != Unverifiable || rep.Check != checkTime || !strings.Contains(rep.Reason, "time: signed at 2026-07-03T07:15:42Z, but daticert.xml says 2026-07-01") {
		t.Errorf("gap: %s, %s", rep.Verdict, rep.Reason)
	}
	if rep := read(t, letter{cms: cmsSpec{by: betaLeaf(), noTime: true}}.build()); rep.Verdict != Valid || !strings.Contains(rep.Reason, "no signing time") {
		t.Errorf("no time: %s, %s", rep.Verdict, rep.Reason)
	}
	if rep := read(t, letter{mark: "X-Trasporto: errore", xml: "-", inner: postacert, cms: cmsSpec{by: betaLeaf(), noTime: true}}.build()); rep.Verdict != Unverifiable {
		t.Errorf("no time at all: %s, %s", rep.Verdict, rep.Reason)
	}
	late := cmsSpec{by: betaLeaf(), at: testNow.AddDate(1, 0, 0)}
	if rep := read(t, letter{xml: dated(late.at), cms: late}.build()); rep.Verdict != Unverifiable || !strings.Contains(rep.Reason, "in the future") {
		t.Errorf("future: %s, %s", rep.Verdict, rep.Reason)
	}
	// Whoever got hold of the key of an expired certificate can sign today as of
	// its day, but what is certified bears the day of the event.
	tpl := leafTemplate(beta)
	tpl.NotBefore, tpl.NotAfter = signTime.AddDate(-5, 0, 0), signTime.AddDate(-3, 0, 0)
	stolen := cmsSpec{by: issue(tpl, rsaKey(), pecCA()), at: signTime.AddDate(-4, 0, 0)}
	if rep := read(t, letter{cms: stolen}.build()); rep.Verdict != Unverifiable || rep.Check != checkTime {
		t.Errorf("an old key: %s, %s", rep.Verdict, rep.Reason)
	}
	tpl = leafTemplate(beta)
	tpl.NotBefore, tpl.NotAfter = signTime.AddDate(-1, 0, 0), signTime.Add(time.Hour)
	since := letter{cms: cmsSpec{by: issue(tpl, rsaKey(), pecCA())}}.build()
	if rep := read(t, since); rep.Verdict != ValidHistoric || !rep.Believed() || !strings.Contains(rep.Reason, "expired on") {
		t.Errorf("expired since: %s, %s", rep.Verdict, rep.Reason)
	}
	if rep := read(t, letter{old: true, cms: cmsSpec{by: betaLeaf(), hash: crypto.SHA1}}.build()); rep.Verdict != ValidHistoric || !rep.Believed() || !strings.Contains(rep.Reason, "SHA-1") {
		t.Errorf("SHA-1: %s, %s", rep.Verdict, rep.Reason)
	}
}
