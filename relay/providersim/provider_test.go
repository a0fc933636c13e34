package providersim

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The judge must share no code with the gateway.
func TestImportsNothingOfTheModule(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			if strings.HasPrefix(i.Path.Value, `"pecgate`) {
				t.Errorf("%s imports %s", f.Name(), i.Path.Value)
			}
		}
	}
}

func TestWholeCycle(t *testing.T) {
	for name, style := range map[string]Style{"old": StyleOld, "new": StyleNew} {
		t.Run(name, func(t *testing.T) {
			p := start(t, func(o *Options) { o.Style = style })
			raw := message("Received: from qui by la; oggi", "From: Ufficio <"+alice+">",
				"To: "+bob+", "+ghost+",\r\n "+remote, "Cc: "+plainR, "Subject: =?utf-8?q?Perch=C3=A9_no_=E2=80=93?= \"<&>\"",
				"Message-ID:\r\n <pg.1@pec.alfa.example>", "X-Strano:  due  spazi ")
			submit(t, p, raw, bob, ghost, remote, plainR)

			ledger := p.Ledger()
			if len(ledger) != 1 || string(ledger[0].Raw) != raw || ledger[0].SHA256 != sum([]byte(raw)) || !ledger[0].Answered ||
				ledger[0].MessageID != "<pg.1@pec.alfa.example>" || ledger[0].Username != alice || len(ledger[0].Recipients) != 4 {
				t.Fatalf("ledger: %+v", ledger)
			}
			acceptance := takeApart(t, one(t, p, Acceptance).Raw)
			d := acceptance.daticert
			if d.Tipo != "accettazione" || d.Errore != "nessuno" || len(d.To) != 4 || d.Oggetto != "Perché no – \"<&>\"" || d.MsgID != "<pg.1@pec.alfa.example>" {
				t.Errorf("acceptance: %+v", d)
			}
			for i, want := range []string{"certificato", "certificato", "certificato", "esterno"} {
				if d.To[i].Tipo != want {
					t.Errorf("recipient %s is %s, want %s", d.To[i].Address, d.To[i].Tipo, want)
				}
			}
			envelope := one(t, p, Transport)
			m := takeApart(t, envelope.Raw)
			if envelope.Mailbox != bob || m.daticert.Identifier != d.Identifier || m.header.Get("Message-Id") != "<"+d.Identifier+">" || m.header.Get("X-Trasporto") != "posta-certificata" {
				t.Errorf("envelope: %s %v", envelope.Mailbox, m.header)
			}
			if got := m.header.Get("Return-Path"); got != "<"+alice+">" {
				t.Errorf("Return-Path %s", got)
			}
			if got := decodeText(m.header.Get("Subject")); got != "POSTA CERTIFICATA: Perché no – \"<&>\"" {
				t.Errorf("Subject %q", got)
			}
			wantOriginal := strings.Replace(raw, "Message-ID:\r\n <pg.1@pec.alfa.example>", "Message-ID: <"+d.Identifier+">", 1)
			wantOriginal = strings.Replace(wantOriginal, "due  spazi \r\n", "due  spazi \r\nX-Riferimento-Message-ID: <pg.1@pec.alfa.example>\r\n", 1)
			if string(m.original) != wantOriginal {
				t.Errorf("postacert.eml\n%q\nwant\n%q", m.original, wantOriginal)
			}
			deliveries := of(p.Emitted(), Delivery)
			if len(deliveries) != 2 {
				t.Fatalf("%d deliveries, want 2", len(deliveries))
			}
			for _, e := range deliveries {
				m := takeApart(t, e.Raw)
				if e.Mailbox != alice || m.daticert.Consegna != e.About || m.daticert.Ricevuta.Tipo != "completa" || string(m.original) != wantOriginal {
					t.Errorf("delivery for %s: %+v", e.About, m.daticert)
				}
			}
			e := takeApart(t, one(t, p, DeliveryError).Raw).daticert
			wantErrore := map[Style]string{StyleOld: "no-dest", StyleNew: "altro"}[style]
			if e.Tipo != "errore-consegna" || e.Errore != wantErrore || e.Consegna != ghost || e.Esteso != "5.1.1 - Gestore Prova S.p.A. - indirizzo non valido" {
				t.Errorf("error receipt: %+v", e)
			}
			ids := map[string]bool{}
			for _, e := range p.Emitted() {
				m := takeApart(t, e.Raw)
				if err := m.check(p.CAPEM()); err != nil {
					t.Errorf("%s: %v", e.Kind, err)
				}
				if m.der() != (style == StyleOld) {
					t.Errorf("%s: DER is %v", e.Kind, m.der())
				}
				if sum(e.Raw) != e.SHA256 {
					t.Errorf("%s: hash differs", e.Kind)
				}
				if id := m.header.Get("Message-Id"); id == "" || ids[id] {
					t.Errorf("%s: Message-ID %q missing or used twice", e.Kind, id)
				} else {
					ids[id] = true
				}
				if m.header.Get("X-Riferimento-Message-Id") != "<pg.1@pec.alfa.example>" {
					t.Errorf("%s: X-Riferimento-Message-ID %q", e.Kind, m.header.Get("X-Riferimento-Message-Id"))
				}
			}
		})
	}
}

func TestNoMessageIDFromClient(t *testing.T) {
	p := start(t, nil)
	submit(t, p, message("From: "+alice, "To: "+bob, "Subject: x"), bob)
	for _, e := range p.Emitted() {
		m := takeApart(t, e.Raw)
		if m.daticert.MsgID != "" || m.header.Get("X-Riferimento-Message-Id") != "" {
			t.Errorf("%s quotes an id that nobody sent", e.Kind)
		}
		if m.original != nil && !bytes.Contains(m.original, []byte("Subject: x\r\nMessage-ID: <"+m.daticert.Identifier+">\r\n\r\n")) {
			t.Errorf("%s: original %q", e.Kind, m.original)
		}
	}
}

func TestReceiptForms(t *testing.T) {
	attached := "From: " + alice + "\r\nTo: " + bob + "\r\nCc: " + remote + "\r\nSubject: allegato\r\nMessage-ID: <1@x>\r\nX-TipoRicevuta: %\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreambolo\r\n--b\r\nContent-Type: text/plain\r\n\r\nciao\r\n" +
		"--b\r\nContent-Type: application/pdf; name=\"atto.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n" +
		"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: dentro\r\n\r\ncorpo\r\n--b--\r\nepilogo\r\n"
	for _, form := range []string{"completa", "breve", "sintetica"} {
		t.Run(form, func(t *testing.T) {
			p := start(t, nil)
			raw := strings.Replace(attached, "%", form, 1)
			submit(t, p, raw, bob, remote)
			for _, e := range of(p.Emitted(), Delivery) {
				m := takeApart(t, e.Raw)
				want := form
				if e.About == remote {
					want = "sintetica"
				}
				if m.daticert.Ricevuta.Tipo != want {
					t.Errorf("%s got %s, want %s", e.About, m.daticert.Ricevuta.Tipo, want)
				}
				if (m.original == nil) != (want == "sintetica") {
					t.Errorf("%s %s: original there is %v", e.About, want, m.original != nil)
				}
				full := string(postacert([]byte(raw), m.daticert.Identifier))
				if want == "completa" && string(m.original) != full {
					t.Errorf("original differs")
				}
				if want != "breve" {
					continue
				}
				hash := func(name, encoded string) string {
					return "Content-Type: text/plain; charset=us-ascii; name=" + name + "\r\nContent-Disposition: attachment; filename=" + name +
						"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + fmt.Sprintf("%x", sha1.Sum([]byte(encoded)))
				}
				full = strings.Replace(full, "Content-Type: application/pdf; name=\"atto.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD", hash("atto.pdf.hash", "QUJD"), 1)
				nested := base64.StdEncoding.EncodeToString([]byte("Subject: dentro\r\n\r\ncorpo"))
				full = strings.Replace(full, "Content-Type: message/rfc822\r\n\r\nSubject: dentro\r\n\r\ncorpo", hash("messaggio.eml.hash", nested), 1)
				if string(m.original) != full {
					t.Errorf("brief original\n%s\nwant\n%s", m.original, full)
				}
			}
		})
	}
}

func TestNonAcceptance(t *testing.T) {
	for name, c := range map[string]struct {
		raw        string
		recipients []string
		reason     string
	}{
		"bcc field":       {ordinary(bob, "Bcc: "+remote), []string{bob, remote}, "Bcc presente"},
		"blind recipient": {ordinary(bob), []string{bob, remote}, remote + " non compare"},
		"other From":      {message("From: "+bob, "To: "+bob), []string{bob}, "non coincide"},
		"two From":        {message("From: "+alice+", "+bob, "To: "+bob), []string{bob}, "un solo indirizzo"},
		"no From":         {message("To: " + bob), []string{bob}, "un solo indirizzo"},
		"no To":           {message("From: "+alice, "Cc: "+bob), []string{bob}, "campo To"},
		"undisclosed":     {message("From: "+alice, "To: undisclosed-recipients:;", "Cc: "+bob), []string{bob}, "campo To"},
		"size by count":   {ordinary(bob+", "+remote) + strings.Repeat("x", 3000) + "\r\n", []string{bob, remote}, "dimensione"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, func(o *Options) { o.MaxProduct = 5000 })
			submit(t, p, c.raw, c.recipients...)
			list := p.Emitted()
			if len(list) != 1 || list[0].Kind != NonAcceptance || list[0].Mailbox != alice {
				t.Fatalf("emitted %d messages: %+v", len(list), list)
			}
			m := takeApart(t, list[0].Raw)
			if err := m.check(p.CAPEM()); err != nil {
				t.Error(err)
			}
			if m.daticert.Tipo != "non-accettazione" || m.daticert.Errore != "altro" || !strings.Contains(m.daticert.Esteso, c.reason) || m.original != nil {
				t.Errorf("%+v", m.daticert)
			}
		})
	}
}

func TestFromOutside(t *testing.T) {
	p := start(t, nil)
	if err := p.SendFromOutside("avv.neri@pec.beta.example", bob, "Istanza – n. 1", "Testo à la carte\n"); err != nil {
		t.Fatal(err)
	}
	e := one(t, p, Transport)
	m := takeApart(t, e.Raw)
	if err := m.check(p.CAPEM()); err != nil {
		t.Error(err)
	}
	if e.Mailbox != bob || m.daticert.Sender != "avv.neri@pec.beta.example" || m.daticert.Oggetto != "Istanza – n. 1" ||
		m.header.Get("From") != "\"Per conto di: avv.neri@pec.beta.example\" <posta-certificata@"+OutsideDomain+">" {
		t.Errorf("%v %+v", m.header, m.daticert)
	}
	if err := p.SendFromOutside("a@b.example", ghost, "x", "y"); err == nil {
		t.Error("an unknown mailbox took a message")
	}
	if err := p.Inject(alice, []byte("anything\n at all")); err != nil {
		t.Fatal(err)
	}
	if e := one(t, p, Injected); string(e.Raw) != "anything\n at all" {
		t.Errorf("%q", e.Raw)
	}
}

// All twelve kinds can be composed, in both styles and with each digest.
func TestComposeTwelveKinds(t *testing.T) {
	p := start(t, nil)
	original := []byte(ordinary(bob))
	base := Notice{
		At: p.now(), Provider: "G", Sender: alice, Recipients: []Recipient{{bob, false}}, ReplyTo: alice, Subject: "x",
		Identifier: "i.1@pec.gestore.example", MsgID: "<1@x>", Recipient: bob, ErroreEsteso: "5.4.1 - G - prova", Errore: "altro",
		TakenInCharge: []string{bob}, Header: headerOf(original), Attached: original,
	}
	numbers := map[int]bool{}
	for _, k := range []struct {
		kind         Kind
		virus, final bool
	}{
		{Transport, false, false}, {Acceptance, false, false}, {NonAcceptance, false, false}, {NonAcceptance, true, false},
		{TakenInCharge, false, false}, {Anomaly, false, false}, {VirusDetected, false, false}, {DeliveryError, true, false},
		{Delivery, false, false}, {DeliveryError, false, false}, {DeliveryWarning, false, false}, {DeliveryWarning, false, true},
	} {
		n := base
		n.Kind, n.Virus, n.Final = k.kind, k.virus, k.final
		row := n.row()
		numbers[row.number] = true
		for _, o := range []SignOptions{{}, {Style: StyleNew}, {Digest: crypto.SHA512}, {Style: StyleNew, Digest: crypto.SHA1}} {
			raw, err := Compose(n, p.CA().Signer(), o)
			if err != nil {
				t.Fatal(err)
			}
			m := takeApart(t, raw)
			if err := m.check(p.CAPEM()); err != nil {
				t.Errorf("kind %d: %v", row.number, err)
			}
			if (m.daticert == nil) != (k.kind == Anomaly) || m.daticert != nil && m.daticert.Tipo != row.tipo {
				t.Errorf("kind %d: daticert %+v", row.number, m.daticert)
			}
			if m.header.Get(row.marker) != row.value || !strings.HasPrefix(m.header.Get("Subject"), row.prefix+": ") {
				t.Errorf("kind %d: %v", row.number, m.header)
			}
		}
	}
	if len(numbers) != 12 {
		t.Errorf("%d kinds, want 12", len(numbers))
	}
}

// The order of elements is that of the DTD in RFC 6109 7.4.
func TestDaticertOrder(t *testing.T) {
	dtd := regexp.MustCompile(`^postacert intestazione mittente( destinatari)+ risposte( oggetto)? dati gestore-emittente data giorno ora identificativo( msgid)?( ricevuta)?( consegna)?( ricezione)*( errore-esteso)? $`)
	n := Notice{Provider: "<G> & C.", Sender: alice, Recipients: []Recipient{{bob, false}, {plainR, true}}, Identifier: "1@x", MsgID: "<1@x>",
		Receipt: "breve", Recipient: bob, TakenInCharge: []string{bob, remote}, ErroreEsteso: "5.1.1", Subject: "a\x00<b>"}
	for _, n.Kind = range []Kind{Transport, Acceptance, Delivery, TakenInCharge} {
		for _, style := range []Style{StyleOld, StyleNew} {
			dec := xml.NewDecoder(bytes.NewReader(n.daticert(style)))
			names := ""
			for {
				tok, err := dec.Token()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if el, ok := tok.(xml.StartElement); ok {
					names += el.Name.Local + " "
				}
			}
			if !dtd.MatchString(names) || strings.Contains(names, "ricevuta") != (n.Kind == Transport || n.Kind == Delivery) {
				t.Errorf("%s: %s", n.Kind, names)
			}
		}
	}
}
