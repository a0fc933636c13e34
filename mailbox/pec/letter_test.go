package pec

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/mime"
)

// letter describes a PEC message of the tests; the zero value of a field is
// what a genuine delivery receipt of provider beta has.
type letter struct {
	old     bool   // shape of the old engine, else of the new one
	mark    string // the X-Ricevuta or X-Trasporto line; "-" for none
	subject string
	from    string
	msgID   string
	riferim string
	header  []string // further outer header lines
	xml     string   // daticert.xml; "-" for none
	inner   string   // postacert.eml; empty for none
	parts   []string // further parts of multipart/mixed, whole
	cms     cmsSpec

	mixed   string                     // the whole signed part, in place of all above
	p7s     []byte                     // in place of the signature
	changed func(signed string) string // change the signed part once it is signed
}

const (
	ourBox   = "ufficio@pec.alfa.example"
	theirBox = "protocollo@pec.beta.example"
	ourID    = "<pg.01J1ZK8T@pec.alfa.example>"
	pecID    = "gw77.20260703091542.01234.5.1@pec.gestore-alfa.example"
)

// cert describes a daticert.xml.
type cert struct {
	tipo, errore string
	mittente     string
	tail         string // what stands in dati after msgid
	msgid        string // "-" for none
}

func (c cert) String() string {
	or := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	or(&c.errore, "nessuno")
	or(&c.mittente, ourBox)
	or(&c.msgid, "&lt;"+strings.Trim(ourID, "<>")+"&gt;")
	msgid := "<msgid>" + c.msgid + "</msgid>"
	if c.msgid == "-" {
		msgid = ""
	}
	return `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<postacert tipo="` + c.tipo + `" errore="` + c.errore + `">` + "\n" +
		`    <intestazione>` + "\n" +
		`        <mittente>` + c.mittente + `</mittente>` + "\n" +
		`        <destinatari tipo="certificato">` + theirBox + `</destinatari>` + "\n" +
		`        <destinatari tipo="esterno">info@gamma.example</destinatari>` + "\n" +
		`        <risposte>` + c.mittente + `</risposte>` + "\n" +
		`        <oggetto>Diffida n. 7/2026 – sollecito</oggetto>` + "\n" +
		`    </intestazione>` + "\n" +
		`    <dati>` + "\n" +
		`        <gestore-emittente>Gestore di prova S.p.A.</gestore-emittente>` + "\n" +
		`        <data zona="+0200"><giorno>03/07/2026</giorno><ora>09:15:42</ora></data>` + "\n" +
		`        <identificativo>` + pecID + `</identificativo>` + "\n" +
		`        ` + msgid + "\n" +
		`        ` + c.tail + "\n" +
		`    </dati>` + "\n" +
		`</postacert>` + "\r\n\r\n"
}

const consegna = "<consegna>" + theirBox + "</consegna>"

// dated is deliveryXML of another time.
func dated(at time.Time) string {
	at = at.UTC()
	return strings.NewReplacer("03/07/2026", at.Format("02/01/2006"), "09:15:42", at.Format(time.TimeOnly), "+0200", "+0000").Replace(deliveryXML)
}

var deliveryXML = cert{tipo: "avvenuta-consegna", tail: `<ricevuta tipo="completa"/>` + consegna}.String()

// wrap64 is base64 in lines of 76.
func wrap64(b []byte) string {
	s := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	for len(s) > 76 {
		out.WriteString(s[:76] + "\r\n")
		s = s[76:]
	}
	out.WriteString(s + "\r\n")
	return out.String()
}

// postacert is the original as a provider hands it on.
const postacert = "Message-ID: <" + pecID + ">\r\n" +
	"From: " + ourBox + "\r\n" +
	"To: " + theirBox + "\r\n" +
	"Subject: =?utf-8?Q?Diffida_n=2E_7/2026_=E2=80=93_sollecito?=\r\n" +
	"X-Riferimento-Message-ID: " + ourID + "\r\n" +
	"\r\n" +
	"Si diffida.\r\n"

func xmlPart(xml string) string {
	return "Content-Type: application/xml; name=\"daticert.xml\"\r\n" +
		"Content-Transfer-Encoding: base64\r\n" +
		"Content-Disposition: inline; filename=\"daticert.xml\"\r\n\r\n" + wrap64([]byte(xml))
}

func eml(inner string) string {
	return "Content-Type: message/rfc822; name=\"postacert.eml\"\r\n" +
		"Content-Transfer-Encoding: 7bit\r\n" +
		"Content-Disposition: inline; filename=\"postacert.eml\"\r\n\r\n" + inner
}

// signedPart is the multipart/mixed that the provider signs, without the line
// end before the boundary.
func (l letter) signedPart() string {
	if l.mixed != "" {
		return l.mixed
	}
	b, encoding := "----=_Part_122_455.1783062942000", ""
	if l.old {
		b, encoding = "----------=_1783062942-1234-7", "Content-Transfer-Encoding: binary\r\n"
	}
	var s strings.Builder
	fmt.Fprintf(&s, "Content-Type: multipart/mixed; boundary=\"%s\"\r\n%s\r\n", b, encoding)
	add := func(part string) { fmt.Fprintf(&s, "--%s\r\n%s\r\n", b, part) }
	add("Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
		"Il messaggio =E8 stato gestito.\r\n")
	if l.xml != "-" {
		add(xmlPart(l.xml))
	}
	if l.inner != "" {
		add(eml(l.inner))
	}
	for _, p := range l.parts {
		add(p)
	}
	fmt.Fprintf(&s, "--%s--\r\n", b)
	return s.String()
}

// build makes the message.
func (l letter) build() []byte {
	or := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	or(&l.mark, "X-Ricevuta: avvenuta-consegna")
	or(&l.subject, "CONSEGNA: Diffida n. 7/2026")
	or(&l.from, beta)
	or(&l.msgID, "jpec77.20260703091542.01234.5.1.2@pec.gestore-beta.example")
	or(&l.riferim, ourID)
	if l.xml == "" && l.inner == "" {
		l.inner = postacert // of a complete receipt
	}
	or(&l.xml, deliveryXML)
	if l.cms.by == nil {
		l.cms.by = betaLeaf()
	}
	signed := l.signedPart()
	p7s := l.p7s
	if p7s == nil {
		p7s = signCMS([]byte(signed), l.cms)
	}
	if l.changed != nil {
		signed = l.changed(signed)
	}
	mark := l.mark + "\r\n"
	if l.mark == "-" {
		mark = ""
	}
	var s strings.Builder
	proto, boundary, preamble, micalg := "application/pkcs7-signature", "----=_Part_123_456.1783062942000", "", "sha-256"
	if l.old {
		proto, boundary = "application/x-pkcs7-signature", "----5A0C5A0C5A0C5A0C5A0C5A0C5A0C5A0C"
		preamble, micalg = "This is an S/MIME signed message\r\n\r\n", `"sha1"`
	}
	s.WriteString("Return-Path: <" + beta + ">\r\n")
	s.WriteString("Date: Fri, 3 Jul 2026 09:15:42 +0200 (CEST)\r\n")
	s.WriteString("From: " + l.from + "\r\nTo: " + ourBox + "\r\n")
	s.WriteString("Subject: " + l.subject + "\r\nMIME-Version: 1.0\r\n")
	fmt.Fprintf(&s, "Content-Type: multipart/signed; protocol=\"%s\"; micalg=%s; \r\n\tboundary=\"%s\"\r\n", proto, micalg, boundary)
	s.WriteString(mark)
	if l.riferim != "-" {
		s.WriteString("X-Riferimento-Message-ID: " + l.riferim + "\r\n")
	}
	for _, h := range l.header {
		s.WriteString(h + "\r\n")
	}
	s.WriteString("Message-ID: <" + strings.Trim(l.msgID, "<>") + ">\r\n\r\n")
	fmt.Fprintf(&s, "%s--%s\r\n%s\r\n--%s\r\n", preamble, boundary, signed, boundary)
	fmt.Fprintf(&s, "Content-Type: %s; name=\"smime.p7s\"\r\nContent-Transfer-Encoding: base64\r\n"+
		"Content-Disposition: attachment; filename=\"smime.p7s\"\r\n\r\n%s\r\n--%s--\r\n", proto, wrap64(p7s), boundary)
	return []byte(s.String())
}

// read reads a message with the tests' trust and clock.
func read(t testing.TB, msg []byte) *Report {
	t.Helper()
	return readWith(t, testReader(t), msg)
}

func testReader(t testing.TB) *Reader {
	return NewReader(Options{Trust: testTrust(t), Now: clock})
}

func readWith(t testing.TB, rd *Reader, msg []byte) *Report {
	t.Helper()
	r := bytes.NewReader(msg)
	ix, err := mime.Parse(r, int64(len(msg)), mime.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	rep, err := rd.Read(context.Background(), r, int64(len(msg)), ix)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}
