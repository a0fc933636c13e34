package providersim

import (
	"bytes"
	"crypto"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The shape of each engine, as pec-format 1.5 shows it.
func TestShapes(t *testing.T) {
	long := "Received: from mail.interno.alfa.example (mail.interno.alfa.example [192.0.2.7])\r\n    by posta.alfa.example with ESMTP id abcdef; Fri, 3 Jul 2026 09:15:00 +0200"
	for _, c := range []struct {
		style   Style
		want    []string // expressions for the envelope
		wantNot []string
	}{
		{StyleOld, []string{
			`(?m)^Content-Type: multipart/signed; protocol="application/x-pkcs7-signature"; micalg="sha1"; boundary="----[0-9A-F]{32}"\r$`,
			`\r\n\r\nThis is an S/MIME signed message\r\n\r\n------[0-9A-F]{32}\r\n`,
			`\r\nContent-Type: multipart/mixed; boundary="----------=_\d{9,}-\d{4,5}-\d{1,12}"\r\nContent-Transfer-Encoding: binary\r\n`,
			`\r\nX-Tiporicevuta: Breve\r\n`,
			`\r\nReceived: from mail\.interno\.alfa\.example \(mail[^\r]*\r\n\t[^\r]* by posta\.alfa\.example with ESMTP[^\r]*\r\n\t`,
			`Content-Type: application/x-pkcs7-signature; name="smime.p7s"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename="smime.p7s"\r\n\r\n[0-9A-Za-z+/]{64}\r\n`,
			`Content-Type: text/plain; charset="iso-8859-1"`,
		}, []string{`X-REM-Subject`, `X-TipoRicevuta`, `multipart/alternative`, `English|message identifier`}},
		{StyleNew, []string{
			`(?m)^Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; \r\n\tboundary="----=_Part_\d+_\w+\.\d{13}"\r$`,
			`\r\n\r\n------=_Part_`,
			`\r\nContent-Type: multipart/mixed; \r\n\tboundary="----=_Part_`,
			`\r\nX-TipoRicevuta: Breve\r\n`,
			`\r\nContent-Description: S/MIME Cryptographic Signature\r\n`,
			`Message identifier: `,
			`\r\nDate: [^\r]*\(CES?T\)\r\nFrom: [^\r]*\r\nReply-To: [^\r]*\r\nTo: [^\r]*\r\nMessage-ID: [^\r]*\r\nSubject: [^\r]*\r\nMIME-Version: 1.0\r\nContent-Type: [^\r]*\r\n\t[^\r]*\r\nX-Trasporto: `,
		}, []string{`This is an S/MIME`}},
	} {
		p := start(t, func(o *Options) { o.Style, o.Digest = c.style, c.style.Digest() })
		submit(t, p, ordinary(bob, "X-TipoRicevuta: Breve", long), bob)
		raw := one(t, p, Transport).Raw
		for _, e := range c.want {
			if !regexp.MustCompile(e).Match(raw) {
				t.Errorf("style %s: no %s in\n%.3000s", c.style, e, raw)
			}
		}
		for _, e := range c.wantNot {
			if regexp.MustCompile(e).Match(headerOf(raw)) || regexp.MustCompile(e).Match(takeApart(t, raw).signed[:500]) {
				t.Errorf("style %s: %s in\n%.3000s", c.style, e, raw)
			}
		}
		m := takeApart(t, raw)
		if m.der() != (c.style == StyleOld) {
			t.Errorf("style %s: DER is %v", c.style, m.der())
		}
		if err := m.check(p.CAPEM()); err != nil {
			t.Error(err)
		}
		noise := strings.HasSuffix(rawXML(t, m), "</postacert>\r\n\r\n")
		if noise != (c.style == StyleNew) {
			t.Errorf("style %s: line ends after the root: %v", c.style, noise)
		}
		rem := takeApart(t, one(t, p, Delivery).Raw).header.Get("X-REM-Subject")
		if want := map[Style]string{StyleNew: "REM ContentConsignment: Diffida n. 7"}[c.style]; rem != want {
			t.Errorf("style %s: X-REM-Subject %q", c.style, rem)
		}
	}
}

// Old engines order the header differently from message to message, new ones
// never; every field is there once.
func TestHeaderOrder(t *testing.T) {
	n := Notice{Kind: Delivery, Provider: "G", Sender: alice, Recipient: bob, MsgID: "<1@x>", Subject: "x"}
	for style, few := range map[Style]int{StyleOld: 20, StyleNew: 1} {
		orders, last := map[string]bool{}, 0
		for i := range 100 {
			n.Identifier = fmt.Sprintf("%d@x", i)
			fields, _, _ := split(n.header("a@b", style))
			var names []string
			for _, f := range fields {
				names = append(names, f.name)
			}
			if names[len(names)-1] == "Message-ID" {
				last++
			}
			orders[strings.Join(names, " ")] = true
			slices.Sort(names)
			want := "Date From Message-ID Subject To X-Ricevuta X-Riferimento-Message-ID"
			if got := strings.Join(names, " "); strings.Replace(got, " X-REM-Subject", "", 1) != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
		if len(orders) < few || style == StyleNew && len(orders) > 1 || style == StyleOld && (last < 60 || last == 100) {
			t.Errorf("style %s: %d orders, Message-ID last in %d of 100", style, len(orders), last)
		}
	}
}

// Both kinds of key and each digest make signatures that another reader takes,
// also as what the running provider uses.
func TestKeysAndDigests(t *testing.T) {
	p := start(t, func(o *Options) { o.ECDSA, o.Style = true, StyleNew })
	submit(t, p, ordinary(bob+", "+remote), bob, remote)
	if got := told(t, p, p.Emitted()); got != "2 5@service 5@service' 1@"+bob+" 9 9'" {
		t.Error(got)
	}
	for _, curve := range []bool{false, true} {
		by, err := p.CA().Issue(LeafOptions{Address: "posta-certificata@pec.gestore.example", ECDSA: curve})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			raw, err := Compose(Notice{Kind: Delivery, At: p.now(), Provider: "G", Sender: alice, Identifier: "1@x", Recipient: bob}, by, SignOptions{Digest: h})
			if err != nil {
				t.Fatal(err)
			}
			if err := takeApart(t, raw).check(p.CAPEM()); err != nil {
				t.Errorf("curve %v, %s: %v", curve, h, err)
			}
		}
		if _, err := Compose(Notice{Kind: Delivery}, by, SignOptions{Digest: crypto.MD5}); err == nil {
			t.Error("signed with MD5")
		}
	}
	for word, style := range map[string]Style{"old": StyleOld, "new": StyleNew} {
		if got, err := ParseStyle(word); err != nil || got != style || got.String() != word {
			t.Errorf("%s: %v, %v", word, got, err)
		}
	}
	if _, err := ParseStyle("newest"); err == nil {
		t.Error("a style of no name")
	}
}

func TestRefolded(t *testing.T) {
	for raw, want := range map[string]string{
		"Received: from a by b; date\r\n":                         "Received: from a by b; date\r\n",
		"received:\r\n from\r\n\t  a\r\n":                         "received: from a\r\n",
		"Received: " + strings.Repeat("parola ", 15) + "fine\r\n": "Received: " + strings.Repeat("parola ", 8) + "parola\r\n\t" + strings.Repeat("parola ", 6) + "fine\r\n",
		"Received: " + strings.Repeat("x", 200) + "\r\n":          "Received: " + strings.Repeat("x", 200) + "\r\n",
	} {
		fields, _, _ := split([]byte(raw + "\r\n"))
		if got := refolded(fields[0]); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

// Describe tells of every switch, with its value at that moment.
func TestDescribe(t *testing.T) {
	var f Faults
	list := f.Describe()
	if len(list) != len(f.Names()) {
		t.Errorf("%d described, %d named", len(list), len(f.Names()))
	}
	values := func() string {
		var out []string
		for _, i := range f.Describe() {
			if i.Value != "off" && i.Value != "0" && i.Value != "0s" {
				out = append(out, i.Name+"="+i.Value)
			}
		}
		return strings.Join(out, " ")
	}
	for _, i := range list {
		if i.Text == "" || strings.HasSuffix(i.Text, ".") || !slices.Contains([]string{"switch", "duration", "number"}, i.Kind) || len(i.Name) > 20 {
			t.Errorf("%+v", i)
		}
	}
	if got := values(); got != "" {
		t.Errorf("at first %s", got)
	}
	for name, value := range map[string]string{"relayed": "on", "delay": "90s", "per-minute": "6", "doctype": "3"} {
		if err := f.Set(name, value); err != nil {
			t.Error(err)
		}
	}
	if got := values(); got != "per-minute=6 delay=1m30s doctype=3 relayed=on" {
		t.Errorf("then %s", got)
	}
}

// A quirk acts on what it can act on only, so that "the next" is never wasted.
func TestQuirkNotWasted(t *testing.T) {
	p := start(t, nil)
	p.Faults().NestedDaticert.Next(1)
	submit(t, p, ordinary(bob), bob)
	if a := takeApart(t, one(t, p, Acceptance).Raw); a.original != nil {
		t.Error("the acceptance bears the original")
	}
	if m := takeApart(t, one(t, p, Transport).Raw); !bytes.Contains(m.original, []byte("daticert.xml")) {
		t.Error("the envelope came without")
	}
	if m := takeApart(t, one(t, p, Delivery).Raw); bytes.Contains(m.original, []byte("daticert.xml")) {
		t.Error("the receipt came with it too")
	}
}
