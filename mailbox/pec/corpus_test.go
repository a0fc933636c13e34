package pec

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/pec and testdata/hostile/pec anew")

const (
	goldenDir  = "../../testdata/pec"
	hostileDir = "../../testdata/hostile/pec"
)

// stored is a Reader with the CA that signed the stored samples.
func stored(t testing.TB) *Reader {
	t.Helper()
	return NewReader(Options{Trust: must(NewTrust(must(os.ReadFile(filepath.Join(goldenDir, "ca.pem"))))), Now: clock})
}

// storedFiles returns the messages of a folder by name.
func storedFiles(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, f := range must(filepath.Glob(filepath.Join(dir, "*.eml"))) {
		files[filepath.Base(f)] = must(os.ReadFile(f))
	}
	return files
}

// TestGolden reads the stored samples, which were signed once, and compares
// with the reports beside them.
func TestGolden(t *testing.T) {
	if *update {
		writeStored(t)
	}
	rd := stored(t)
	files := storedFiles(t, goldenDir)
	if len(files) < 2*12 {
		t.Fatalf("%d samples", len(files))
	}
	for f, msg := range files {
		got := append(must(json.MarshalIndent(readWith(t, rd, msg), "", "  ")), '\n')
		name := filepath.Join(goldenDir, strings.TrimSuffix(f, ".eml")+".json")
		if *update {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := must(os.ReadFile(name)); !bytes.Equal(got, want) {
			t.Errorf("%s: got %s\nwant %s", f, got, want)
		}
	}
}

// writeStored signs all stored samples anew, with one CA.
func writeStored(t *testing.T) {
	t.Helper()
	write := func(dir, name string, b []byte) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(goldenDir, "ca.pem", pemOf(rootCert(), pecCA()))
	for _, s := range twelve() {
		write(goldenDir, s.name+"-old.eml", styled(s, true).build())
		write(goldenDir, s.name+"-new.eml", styled(s, false).build())
	}
	for _, h := range hostileFiles() {
		write(hostileDir, h.name+".eml", h.msg())
	}
}

// hostileFile is one message of testdata/hostile/pec, named for what it shows.
type hostileFile struct {
	name     string
	msg      func() []byte
	kind     Kind
	verdict  string
	believed bool
	reason   string // a piece of it; "" for an empty reason
}

// envelope is a transport envelope of provider alfa.
func envelope(inner string) letter {
	return letter{mark: "X-Trasporto: posta-certificata", subject: "POSTA CERTIFICATA: Diffida n. 7/2026", xml: transportXML, inner: inner,
		msgID: pecID, cms: cmsSpec{by: alfaLeaf(), ber: true}, from: `"Per conto di: ` + ourBox + `" <` + alfa + `>`}
}

// anomaly is an anomaly envelope of provider beta round a whole message.
func anomaly(inner, subject string) letter {
	return letter{mark: "X-Trasporto: errore", subject: "ANOMALIA MESSAGGIO: " + subject, xml: "-", inner: inner, riferim: "-",
		from: `"Per conto di: qualcuno@esempio.example" <` + beta + `>`, header: []string{"Reply-To: qualcuno@esempio.example"}}
}

// withXMLPart is a delivery receipt whose daticert.xml part is as given.
func withXMLPart(head, body string) letter {
	return letter{xml: "-", inner: postacert, parts: []string{head + "\r\n\r\n" + body}}
}

// crlf gives a text the line ends in which it is signed.
func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

// edit changes the outer header of a letter, as text without its blank line.
func edit(l letter, change func(head string) string) []byte {
	head, body, _ := strings.Cut(string(l.build()), "\r\n\r\n")
	return []byte(change(head) + "\r\n\r\n" + body)
}

// personal is a mail that a person signed with a certificate of their own.
func personal() []byte {
	ca := issue(caTemplate("Prova Client CA"), evilKey(), nil)
	leaf := issue(x509.Certificate{Subject: pkix.Name{CommonName: "Mario Rossi"}, EmailAddresses: []string{"mario@esempio.example"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}, rsaKey(), ca)
	return letter{mark: "-", subject: "Preventivo", from: "Mario Rossi <mario@esempio.example>", riferim: "-",
		mixed: "Content-Type: text/plain; charset=utf-8\r\n\r\nEcco il preventivo.\r\n", cms: cmsSpec{by: leaf, certs: []*identity{leaf, ca}}}.build()
}

func hostileFiles() []hostileFile {
	of := func(l letter) func() []byte { return l.build }
	lf := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
	const xmlHead = "Content-Type: application/xml; name=\"daticert.xml\"\r\nContent-Transfer-Encoding: "
	latin := func(decl, text string) string {
		s := strings.NewReplacer("UTF-8", decl, "–", text).Replace(deliveryXML)
		return s
	}
	return []hostileFile{
		{"unsigned-receipt", unsigned, Delivery, NotSigned, false, "advice: a genuine PEC message bears"},
		{"signature-is-noise", of(letter{p7s: []byte("firmato digitalmente")}), Delivery, Unverifiable, false, "cms: "},
		{"unknown-ca", func() []byte {
			root := issue(caTemplate("Prova PEC CA1"), evilKey(), nil)
			leaf := issue(leafTemplate(beta), evilKey(), root)
			return letter{cms: cmsSpec{by: leaf, certs: []*identity{leaf, root}}}.build()
		}, Delivery, Unverifiable, false, "provider_trust"},
		{"another-provider-signed", of(letter{cms: cmsSpec{by: alfaLeaf()}}), Delivery, Invalid, false, "sender: "},
		{"two-from", of(letter{header: []string{"From: mario@esempio.example"}}), Delivery, Invalid, false, "sender: 2 From"},
		{"text-changed", of(letter{changed: func(s string) string { return strings.Replace(s, "gestito", "perduto", 1) }}), Delivery, Invalid, false, "advice: the message was changed"},
		{"two-daticert", of(letter{parts: []string{xmlPart(acceptanceXML)}}), Delivery, Unverifiable, false, "two of them"},
		{"consegna-twice", of(letter{xml: strings.Replace(deliveryXML, consegna, consegna+consegna, 1)}), Delivery, Unverifiable, false, "consegna twice"},
		{"no-daticert", of(letter{xml: "-"}), Delivery, Unverifiable, false, "daticert: no daticert.xml in the signed part, but the header says X-Ricevuta: avvenuta-consegna"},
		{"daticert-in-postacert", of(envelope(string(unsigned()))), Transport, Valid, true, "inner: "},
		{"daticert-external-entity", of(letter{xml: strings.Replace(strings.Replace(deliveryXML, "<postacert ", `<!DOCTYPE postacert [<!ENTITY x SYSTEM "file:///etc/hostname">]><postacert `, 1), "Diffida", "&x;", 1)}),
			Delivery, Unverifiable, false, "not well-formed"},
		{"daticert-doctype-and-stylesheet", of(letter{xml: strings.Replace(deliveryXML, "<postacert ",
			"<?xml-stylesheet type=\"text/xsl\" href=\"http://gestore.example/x.xsl\"?>\r\n<!DOCTYPE postacert PUBLIC \"-//PEC//IT\" \"http://gestore.example/postacert.dtd\">\r\n<postacert ", 1), inner: postacert}), Delivery, Valid, true, ""},
		{"daticert-iso-8859-1", of(letter{xml: latin("ISO-8859-1", "\xe8"), inner: strings.Replace(postacert, "=E2=80=93", "=C3=A8", 1)}), Delivery, Valid, true, ""},
		{"daticert-windows-1252", of(letter{xml: latin("windows-1252", "\x96"), inner: postacert}), Delivery, Valid, true, ""},
		{"daticert-utf-16", of(letter{xml: "\xff\xfe" + strings.Join(strings.Split(latin("UTF-16", "-"), ""), "\x00") + "\x00"}), Delivery, Unverifiable, false, "UTF-16"},
		{"daticert-8bit", of(withXMLPart(xmlHead+"8bit", crlf(deliveryXML))), Delivery, Valid, true, ""},
		{"daticert-quoted-printable", of(withXMLPart(xmlHead+"quoted-printable", crlf(strings.NewReplacer("=", "=3D", "–", "=E2=80=93").Replace(deliveryXML)))), Delivery, Valid, true, ""},
		{"daticert-upper-case-name", of(withXMLPart("CONTENT-TYPE: APPLICATION/XML; NAME=DATICERT.XML\r\nCONTENT-TRANSFER-ENCODING: BASE64", wrap64([]byte(deliveryXML)))), Delivery, Valid, true, ""},
		{"daticert-name-rfc2231", of(withXMLPart("Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename*0*=utf-8''dati; filename*1=cert.xml\r\nContent-Transfer-Encoding: base64",
			wrap64([]byte(deliveryXML)))), Delivery, Valid, true, ""},
		{"relayed-by-a-list", func() []byte {
			return lf(relay(bytes.Replace(envelope(postacert).build(), []byte("Subject: "), []byte("Subject: [lista] "), 1), ""))
		}, Transport, Valid, false, "structure: relayed: "},
		{"relayed-from-rewritten", func() []byte {
			return relay(edit(envelope(postacert), func(h string) string { return strings.Replace(h, "<"+alfa+">", "<lista@lista.example>", 1) }), "")
		}, Transport, Invalid, false, "advice: whoever passed the message on"},
		{"relayed-twice", func() []byte { return relay(relay(letter{}.build(), ""), "") }, Delivery, NotSigned, false, "no S/MIME signature round"},
		{"relayed-two-receipts", func() []byte { return relay(letter{}.build(), string(letter{}.build())) }, Delivery, NotSigned, false, "2 signed parts"},
		{"forwarded-receipt", func() []byte { return wrapIn(letter{}.build(), "", "Content-Type: message/rfc822\r\n\r\n") }, Delivery, NotSigned, false, "no S/MIME signature round"},
		{"anomaly-round-a-receipt", of(anomaly(string(letter{old: true}.build()), "CONSEGNA: Diffida")), Anomaly, Valid, false, ""},
		{"anomaly-round-an-envelope", func() []byte {
			l := envelope(postacert)
			l.old = true
			return anomaly(string(l.build()), "POSTA CERTIFICATA: Diffida n. 7/2026").build()
		}, Anomaly, Valid, false, ""},
		{"anomaly-relabelled-as-receipt", of(letter{xml: "-", inner: string(unsigned())}), Anomaly, Valid, false, "header: X-Ricevuta: avvenuta-consegna, but what was signed is an anomaly"},
		{"anomaly-with-daticert", func() []byte {
			l := anomaly(postacert, "Diffida")
			l.xml = deliveryXML
			return l.build()
		}, Delivery, Valid, true, "header: X-Trasporto: errore, but daticert.xml says avvenuta-consegna"},
		{"unknown-kind", of(letter{mark: "X-Ricevuta: ricevuta-di-domani", xml: cert{tipo: "ricevuta-di-domani"}.String()}), Unknown, Valid, false, "ricevuta-di-domani"},
		{"delivery-with-error", of(letter{xml: cert{tipo: "avvenuta-consegna", errore: "no-dest", tail: consegna}.String()}), Inconsistent, Valid, false, "errore no-dest"},
		{"personal-signature", personal, Ordinary, Unverifiable, false, "no PEC provider"},
		{"opaque-signature", func() []byte { return opaque("signed-data") }, Delivery, Unverifiable, false, "application/pkcs7-mime"},
		{"openpgp", func() []byte {
			return []byte("From: mario@esempio.example\r\nSubject: CONSEGNA: chiavi\r\nContent-Type: multipart/signed; protocol=\"application/pgp-signature\"; micalg=pgp-sha256; boundary=b\r\n\r\n" +
				"--b\r\nContent-Type: text/plain\r\n\r\nciao\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n-----END PGP SIGNATURE-----\r\n--b--\r\n")
		}, Ordinary, NotSigned, false, "application/pgp-signature"},
		{"service-notice", func() []byte {
			return []byte("From: \"Assistenza PEC\" <assistenza@pec.gestore-beta.example>\r\nTo: " + ourBox + "\r\nSubject: =?iso-8859-1?Q?Casella_piena_al_90_=25=3A_libera_spazio?=\r\nContent-Type: text/html\r\n\r\n<p>Casella quasi piena</p>\r\n")
		}, Ordinary, NotSigned, false, "no S/MIME signature"},
		{"signed-notice-of-a-provider", of(letter{mark: "-", riferim: "-", subject: "Manutenzione", mixed: "Content-Type: text/plain\r\n\r\nDomenica il servizio si ferma.\r\n"}), Ordinary, Valid, false, "of the provider's own"},
		{"headers-prepended", func() []byte {
			return edit(letter{}, func(h string) string {
				return "From mario Fri Jul  3 09:15:42 2026\r\nX-Spam-Status: No,\r\n\tscore=0\r\nReceived: from a by b;\r\n\tFri, 3 Jul 2026 09:15:50 +0200\r\n" + h
			})
		}, Delivery, Valid, true, ""},
		{"header-names-in-any-case-and-folded", func() []byte {
			return edit(letter{}, func(h string) string {
				return strings.NewReplacer("X-Ricevuta: avvenuta-consegna", "x-RICEVUTA:\r\n\tavvenuta-consegna ", "From: ", "FROM:\r\n\t", "Content-Type: ", "content-type:\r\n ",
					"X-Riferimento-Message-ID: <pg.", "X-RIFERIMENTO-MESSAGE-ID:\r\n <pg.\r\n\t").Replace(h)
			})
		}, Delivery, Valid, true, ""},
		{"eight-bit-headers", func() []byte {
			return edit(letter{subject: "CONSEGNA: Perch\xe9 no"}, func(h string) string {
				return strings.Replace(h, "From: "+beta, "From: Citt\xe0 <"+beta+">", 1) + "\r\nX-Nota: \xff\xfe\x80"
			})
		}, Delivery, Valid, true, ""},
		{"x-ricevuta-twice", of(letter{header: []string{"X-Ricevuta: accettazione"}}), Delivery, Valid, true, "X-Ricevuta stands more than once"},
		{"line-feeds-only", func() []byte { return lf(envelope(postacert).build()) }, Transport, Valid, true, ""},
		{"bare-cr", of(letter{changed: nil, mixed: strings.Replace(letter{xml: deliveryXML, inner: postacert}.signedPart(), "gestito", "gest\rito", 1)}), Delivery, Valid, true, ""},
		{"carriage-returns-only", func() []byte { return bytes.ReplaceAll(letter{}.build(), []byte("\r\n"), []byte("\r")) }, Ordinary, NotSigned, false, "no S/MIME signature"},
		{"no-final-boundary", func() []byte { b := letter{}.build(); return b[:bytes.LastIndex(b, []byte("\r\n--"))] }, Delivery, Valid, true, ""},
		{"epilogue", func() []byte { return append(letter{}.build(), "\r\nepilogo\r\n--altro\r\n"...) }, Delivery, Valid, true, ""},
		{"winmail-and-calendar", of(envelope("Message-ID: <" + pecID + ">\r\nFrom: " + ourBox + "\r\nX-Ricevuta: avvenuta-consegna\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n" +
			"--o\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\neJ8+Ig==\r\n" +
			"--o\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n--o--\r\n")), Transport, Valid, true, ""},
		{"messages-in-messages", of(envelope("Message-ID: <" + pecID + ">\r\nFrom: " + ourBox + "\r\nContent-Type: message/rfc822\r\n\r\n" +
			"Content-Type: message/rfc822\r\n\r\n" + string(letter{old: true}.build()))), Transport, Valid, true, ""},
	}
}

// TestHostileCorpus: each stored file has the verdict of the table, and each has
// a line in it.
func TestHostileCorpus(t *testing.T) {
	rd := stored(t)
	files := storedFiles(t, hostileDir)
	for _, h := range hostileFiles() {
		t.Run(h.name, func(t *testing.T) {
			msg, ok := files[h.name+".eml"]
			if !ok {
				t.Fatal("no such file")
			}
			delete(files, h.name+".eml")
			rep := readWith(t, rd, msg)
			if rep.Kind != h.kind || rep.Verdict != h.verdict || rep.Believed() != h.believed {
				t.Errorf("%s, %s, believed %v (%s)", rep.Kind, rep.Verdict, rep.Believed(), rep.Reason)
			}
			if !strings.Contains(rep.Reason, h.reason) || h.reason == "" && rep.Reason != "" {
				t.Errorf("reason %q, want %q in it", rep.Reason, h.reason)
			}
			if rep.Relayed != (strings.HasPrefix(h.name, "relayed-") && rep.Verdict != NotSigned) {
				t.Errorf("relayed: %v", rep.Relayed)
			}
		})
	}
	for name := range files {
		t.Errorf("%s is in no table", name)
	}
}

// TestCorpusNames: no name twice.
func TestCorpusNames(t *testing.T) {
	var names []string
	for _, h := range hostileFiles() {
		if slices.Contains(names, h.name) {
			t.Errorf("%s twice", h.name)
		}
		names = append(names, h.name)
	}
}
