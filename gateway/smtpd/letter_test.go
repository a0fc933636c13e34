package smtpd

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"bufio"

	message "github.com/emersion/go-message/mail" // another reader of From, to disagree with

	"pecgate/mailbox/mime"
)

// tail is the header after From.
const tail = "To: a@pec.example.net\r\nSubject: x\r\n\r\n"

// judged tells how a header of office to a@pec.example.net is judged: nil, or
// a refusal. The policy's part, that From is the reverse path, is done as well.
func judged(header string) (letter, error) {
	l, err := readLetter([]byte(header), []string{"a@pec.example.net"}, false)
	if err == nil && l.from != office {
		err = refuse(550, "5.7.1", "", "", "from-differs")
	}
	return l, err
}

// forgedFrom are values and whole fields that must not pass.
func forgedFrom() []string {
	values := []string{
		"", " ", "mario", "@", "@pec.example.org", "ufficio@", "ufficio", "<>", "<ufficio>", "< " + office + ">", "<" + office + " >",
		"altro@pec.example.org", "<altro@pec.example.org>", "Ufficio <altro@pec.example.org>",
		office + ", " + office, office + ", altro@example.org", office + ",", "," + office, office + ";", ": " + office,
		"<" + office + ">, <altro@example.org>", "<" + office + "> <altro@example.org>", "<altro@example.org> <" + office + ">",
		"Group: " + office + ";", "Group: " + office + ", altro@example.org;", "undisclosed-recipients:;", "Group:;" + office,
		"\"ufficio\"@pec.example.org", "\"ufficio@pec.example.org\"", "\"a b\"@pec.example.org", "<\"ufficio\"@pec.example.org>",
		"\"" + office + "\" <altro@example.org>", "\"altro@example.org\" <" + office + ">", "altro@example.org <" + office + ">",
		"=?utf-8?q?altro=40example.org?= <" + office + ">", "=?utf-8?b?YWx0cm9AZXhhbXBsZS5vcmc=?= <" + office + ">",
		"=?utf-8?q?ufficio=40pec.example.org?=", "<=?utf-8?q?ufficio?=@pec.example.org>", "=?utf-8?q?altro=EF=BC=A0example.org?= <" + office + ">",
		"(altro@example.org) " + office, office + " (Ufficio)", "<" + office + "> (Ufficio)", "<ufficio(c)@pec.example.org>", "ufficio@(c)pec.example.org",
		"\"altro@example.org\\\" <" + office + ">", "\"x\" \"<altro@example.org>\" <altro@example.org>", "\"unclosed <" + office + ">",
		"<@relay.example.org:" + office + ">", "<@a,@b:" + office + ">", "@relay.example.org:" + office,
		"ufficio@pec.example.org.", "<ufficio@pec.example.org.>", "ufficio@.pec.example.org", "ufficio@pec..example.org", ".ufficio@pec.example.org",
		"ufficio.@pec.example.org", "uff..icio@pec.example.org", "ufficio@@pec.example.org", "ufficio@pec@example.org",
		"ufficio@[192.0.2.1]", "ufficio@192.0.2.1", "ufficio@pec_example.org", "ufficio@-pec.example.org", "ufficio@localhost",
		"uff\u200bicio@pec.example.org", "ufficio@pec.ex\u00adample.org", "uffici\u043e@pec.example.org", "ufficio@pec.exampl\u0435.org",
		"ufficio@xn--pec-example.org", "ufficio+tag@pec.example.org", "<ufficio+x@pec.example.org>", "ufficio@pec.example.org\u00a0",
		"Ufficio\u00e8 <" + office + ">", "\xff <" + office + ">", "ufficio@pec.example.org\x80", "ufficio\x01@pec.example.org", "\x1b[31m <" + office + ">", "\x7f<" + office + ">",
		"ufficio@pec.example.org\x00", "ufficio@pec.example.org\x00.evil.example", "ufficio\x00@pec.example.org",
		"ufficio@pec.example.org\rTo: x@example.org", "ufficio@pec.example.org\nTo: x@example.org", "altro@example.org\r <" + office + ">",
		"ufficio @pec.example.org", "ufficio@ pec.example.org", "ufficio@pec .example.org", "<ufficio\t@pec.example.org>", "<ufficio@pec.example.org\r\n >",
		"<uff\r\n icio@pec.example.org>", "ufficio\r\n @pec.example.org", "ufficio@pec.example.org\r\n altro@example.org", "<\r\n " + office + ">",
		"Ufficio, PEC <" + office + ">", "Ufficio: PEC <" + office + ">", "Uff;icio <" + office + ">", "Uff[icio] <" + office + ">", "Uff(icio) <" + office + ">",
		"Uff\\icio <" + office + ">", "Uff>icio <" + office + ">", "<x> <" + office + ">", "<<" + office + ">>", "<" + office + ">>", "<" + office, office + ">",
		"mailto:" + office, "<mailto:" + office + ">", "SMTP:" + office, "\"Ufficio\" <" + office + "> x", "'altro@example.org' <" + office + ">",
	}
	var out []string
	for _, v := range values {
		out = append(out, "From: "+v+"\r\n", "from:"+v+"\r\n")
	}
	good := "From: " + office + "\r\n"
	return append(out,
		"", "X-From: "+office+"\r\n", "From : "+office+"\r\n", "From\t: "+office+"\r\n", " From: "+office+"\r\n", "From\x00: "+office+"\r\n",
		"Fr\u200bom: "+office+"\r\n", "From\r\n : "+office+"\r\n", "From: \r\n\r\n"+office+"\r\n", ": "+office+"\r\n", "From "+office+"\r\n",
		"From ufficio@pec.example.org Sat Nov 21 10:00:00 2026\r\n"+good, ">From: x@example.org\r\n"+good, "no colon\r\n"+good,
		good+good, good+"from: altro@example.org\r\n", good+"FROM: "+office+"\r\n", "From: altro@example.org\r\n"+good, good+"From : altro@example.org\r\n",
		good+" \r\n", good+"\t\r\n", good+" \r\nFrom: altro@example.org\r\n", good+"X: a\r\n \r\n b\r\n", good+"X\x01: a\r\n",
		good+"From\u00a0: altro@example.org\r\n", good+"\r\nFrom: altro@example.org\r\n",
		// G2: somebody else beside From.
		good+"Sender: altro@example.org\r\n", good+"Sender: "+office+", altro@example.org\r\n", good+"sender:\r\n",
		good+"Sender: "+office+"\r\nSender: "+office+"\r\n", good+"Resent-From: altro@example.org\r\n", good+"Resent-Sender: altro@example.org\r\n",
		good+"Resent-From: "+office+"\r\nResent-From: altro@example.org\r\n", good+"Return-Path: <"+office+">\r\n", good+"return-path: <>\r\n",
		// G3: words of the provider.
		good+"X-Ricevuta: accettazione\r\n", good+"x-ricevuta: x\r\n", good+"X-Trasporto: posta-certificata\r\n", good+"X-TRASPORTO: errore\r\n",
		good+"X-Riferimento-Message-ID: <x@y>\r\n", good+"X-riferimento-message-id:\r\n", good+"X-VerificaSicurezza: errore\r\n",
		good+"X-Ricevuta : x\r\n", good+"X-Ricevuta:\r\n x\r\n",
		// Other fields that only one reader of two would see.
		good+"To: a@pec.example.net\r\n", good+"Subject: y\r\n", good+"Message-ID: <1@x>\r\nMessage-ID: <2@x>\r\n", good+"Message-ID: 1@x\r\n",
		good+"Message-ID: <1@x> <2@x>\r\n", good+"Message-ID:\r\n", good+"Message-ID: <1 2@x>\r\n", good+"Message-ID: <>\r\n",
		good+"Date: x\r\nDate: y\r\n", good+"Content-Type: text/plain\r\nContent-Type: text/html\r\n", good+"MIME-Version: 1.0\r\nMime-Version: 1.0\r\n",
		good+"Content-Type: application/ms-tnef; name=winmail.dat\r\n", good+"X-Pecgate-PIN: 123456\r\n",
	)
}

func TestG1_G2_G3_ForgedHeaders(t *testing.T) {
	forged := forgedFrom()
	if len(forged) < 200 {
		t.Errorf("only %d forged headers", len(forged))
	}
	for _, h := range forged {
		if l, err := judged(h + tail); err == nil {
			t.Errorf("%q passed as %s", h, l.from)
		} else if _, ok := err.(*refusal); !ok {
			t.Errorf("%q: not a refusal but %v", h, err)
		}
	}
}

func TestG1_GoodHeaders(t *testing.T) {
	good := []string{
		"From: " + office, "from:" + office, "FROM: <" + office + ">", "From: Ufficio <" + office + ">", "From: \"Ufficio, Protocollo\" <" + office + ">",
		"From: \"" + office + "\" <" + office + ">", "From: =?utf-8?q?Citt=C3=A0?= <" + office + ">", "From: Ufficio\r\n\tProtocollo\r\n <" + office + ">",
		"From: U. S. L. <ufficio@PEC.Example.ORG>", "From: \"a \\\" b\" <" + office + ">",
		"From: " + office + "\r\nSender: Ufficio <" + office + ">", "From: " + office + "\r\nReply-To: altro@example.org",
		"From: " + office + "\r\nDisposition-Notification-To: " + office, "From: " + office + "\r\nX-TipoRicevuta: breve",
		"From: " + office + "\r\nResent-From: " + office, "From: " + office + "\r\nMessage-ID:\r\n <very-long@client.example.org>",
	}
	for _, h := range good {
		l, err := judged(h + "\r\n" + tail)
		if err != nil {
			t.Errorf("%q: %v", h, err)
			continue
		}
		agree(t, h, l)
	}
}

// agree wants two other readers to see the same sender in what passed.
func agree(t *testing.T, h string, l letter) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(l.header))
	if err != nil {
		t.Errorf("%q: net/mail: %v", h, err)
		return
	}
	if list, err := m.Header.AddressList("From"); err != nil || len(list) != 1 || !strings.EqualFold(list[0].Address, l.from) {
		t.Errorf("%q: net/mail sees %v, %v", h, list, err)
	}
	mr, err := message.CreateReader(bytes.NewReader(l.header))
	if err != nil {
		t.Errorf("%q: go-message: %v", h, err)
		return
	}
	if list, err := mr.Header.AddressList("From"); err != nil || len(list) != 1 || !strings.EqualFold(list[0].Address, l.from) {
		t.Errorf("%q: go-message sees %v, %v", h, list, err)
	}
	if err := mr.Close(); err != nil {
		t.Error(err)
	}
	f, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(l.header))).ReadMIMEHeader()
	if err != nil || len(f["From"]) != 1 {
		t.Errorf("%q: textproto sees %q, %v", h, f["From"], err)
	}
}

func TestA12_EveryRecipientIsVisible(t *testing.T) {
	from := "From: " + office + "\r\n"
	tests := []struct {
		name, fields string
		to           []string
		ok           bool
	}{
		{"plain", "To: a@x.it\r\n", []string{"a@x.it"}, true},
		{"in Cc", "To: a@x.it\r\nCc: B <b@x.it>\r\n", []string{"a@x.it", "b@x.it"}, true},
		{"other case", "To: A@X.it\r\n", []string{"a@x.it"}, true},
		{"many forms", "To: \"B, C\" <a@x.it>, (comment (inner)) b@x.it (c),,\r\n g: c@x.it, D <d@x.it>;, =?utf-8?q?=2C?= <e@x.it>, \xc3\xa8 <f@x.it>\r\n",
			[]string{"a@x.it", "b@x.it", "c@x.it", "d@x.it", "e@x.it", "f@x.it"}, true},
		{"fewer than shown", "To: a@x.it, b@x.it\r\n", []string{"a@x.it"}, true},
		{"Bcc", "To: a@x.it\r\nBcc: b@x.it\r\n", []string{"a@x.it"}, false},
		{"empty Bcc", "To: a@x.it\r\nbcc:\r\n", []string{"a@x.it"}, false},
		{"Resent-Bcc", "To: a@x.it\r\nResent-Bcc: b@x.it\r\n", []string{"a@x.it"}, false},
		{"not shown", "To: a@x.it\r\n", []string{"a@x.it", "b@x.it"}, false},
		{"no To", "", []string{"a@x.it"}, false},
		{"only Cc", "Cc: a@x.it\r\n", []string{"a@x.it"}, false},
		{"empty To", "To:\r\nCc: a@x.it\r\n", []string{"a@x.it"}, false},
		{"undisclosed", "To: undisclosed-recipients:;\r\n", []string{"a@x.it"}, false},
		{"in a comment", "To: b@x.it (a@x.it)\r\n", []string{"a@x.it"}, false},
		{"in a name", "To: \"a@x.it\" <b@x.it>\r\n", []string{"a@x.it"}, false},
		{"in a name without quotes", "To: a@x.it <b@x.it>\r\n", []string{"a@x.it"}, false},
		{"in an encoded word", "To: =?utf-8?q?a=40x.it?= <b@x.it>\r\n", []string{"a@x.it"}, false},
		{"in a broken list", "To: a@x.it, b@\r\n", []string{"a@x.it"}, false},
		{"quoted local part", "To: \"a\"@x.it\r\n", []string{"a@x.it"}, false},
		{"route", "To: <@r.it:a@x.it>\r\n", []string{"a@x.it"}, false},
		{"open bracket", "To: <a@x.it\r\n", []string{"a@x.it"}, false},
		{"open quote", "To: \"x <a@x.it>\r\n", []string{"a@x.it"}, false},
		{"open comment", "To: (x <a@x.it>\r\n", []string{"a@x.it"}, false},
		{"open group", "To: g: a@x.it\r\n", []string{"a@x.it"}, false},
		{"group in group", "To: g: h: a@x.it;;\r\n", []string{"a@x.it"}, false},
		{"quotes in brackets", "To: <\"a@x.it\">\r\n", []string{"a@x.it"}, false},
		{"name alone", "To: \"x\", a@x.it\r\n", []string{"a@x.it"}, false},
		{"two without comma", "To: a@x.it b@x.it\r\n", []string{"a@x.it"}, false},
		{"two brackets", "To: <a@x.it> <b@x.it>\r\n", []string{"a@x.it"}, false},
		{"8-bit in the address", "To: \xc3\xa8@x.it\r\n", []string{"a@x.it"}, false},
		{"control", "To: a@x.it\x01\r\n", []string{"a@x.it"}, false},
		{"deep comments", "To: " + strings.Repeat("(", 50) + strings.Repeat(")", 50) + "a@x.it\r\n", []string{"a@x.it"}, false},
	}
	for _, tt := range tests {
		_, err := readLetter([]byte(from+tt.fields+"\r\n"), tt.to, false)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if r, ok := err.(*refusal); err != nil && (!ok || r.code != 550) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestG4_G6_PIN(t *testing.T) {
	word := func(s string) string { return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?=" }
	tests := []struct {
		subject string // and further fields
		pin     string
		ok      bool
	}{
		{"Subject: x", "", true},
		{"Subject: [PIN:914273] x", "914273", true},
		{"Subject: x [PIN:914273]", "914273", true},
		{"Subject: x [pin: 914273 ] y", "914273", true},
		{"Subject: [ PIN : 914273]", "914273", true},
		{"Subject: [PIN:]", "", true},
		{"Subject: [PIN:914273] [PIN:914273]", "914273", true},
		{"Subject: [PIN:914273] [PIN:1]", "", false},
		{"Subject: [PIN:914273", "", false},
		{"Subject: " + word("perché [PIN:914273]"), "914273", true},
		{"Subject: " + word("perché [PI") + "\r\n " + word("N:914273] x"), "914273", true},
		{"Subject: " + word("[PIN:914") + " " + word("273] x"), "914273", true},
		{"Subject: =?utf-8?q?[PIN:914273]_x?=", "914273", true},
		{"Subject: =?utf-8?q?=5BPIN=3A914273=5D_x?=", "914273", true},
		{"Subject: =?utf-16?b?" + base64.StdEncoding.EncodeToString([]byte("\xfe\xff\x00[\x00P\x00I\x00N\x00:\x009\x001\x004\x002\x007\x003\x00]")) + "?=", "914273", true},
		{"Subject: [PIN:914273] x\r\nThread-Topic: [PIN:914273] x", "914273", true},
		{"Subject: x\r\nThread-Topic: [PIN:914273] x", "", true}, // not a PIN, but cut
		{"Subject: [PIN:914273] x\r\nX-Copy: [PIN:914273] x", "", false},
		{"Subject: [PIN:914273] x\r\nX-Copy: " + word("[PIN:914273] x"), "", false},
		{"Subject: [PIN:914273] x\r\nComments: y [PIN\r\n :914273]", "", false},
		{"Subject: [PIN:914\r\n 273] x", "914 273", true},
		{"Subject: [PIN:" + strings.Repeat("9", 10_000) + "] x", strings.Repeat("9", 10_000), true},
		{"Subject: " + strings.Repeat("[PIN:914273]", 100), "", false},
		{"Subject: =?utf-8?q?[PIN:914273=0D=0ABcc:_b@x.it]_x?=", "914273  Bcc: b@x.it", true},
		{"Subject: =?utf-8?q?[PIN:914273]=0D=0ABcc:_b@x.it?=", "914273", true},
	}
	for _, tt := range tests {
		h := "From: " + office + "\r\nTo: a@pec.example.net\r\n" + tt.subject + "\r\n\r\n"
		l, err := readLetter([]byte(h), []string{"a@pec.example.net"}, true)
		if (err == nil) != tt.ok || err == nil && l.pin != tt.pin {
			t.Errorf("%.60q: PIN %.30q, %v", tt.subject, l.pin, err)
		}
		if err != nil {
			continue
		}
		clean(t, tt.subject, l.header)
	}
}

// clean searches a header for the PIN in all the forms that G6 names.
func clean(t *testing.T, name string, header []byte) {
	t.Helper()
	const secret = "914273"
	texts := []string{string(header)}
	for _, f := range mime.Fields(header) {
		texts = append(texts, f.Body(), mime.DecodeWords(f.Body()))
		if strings.EqualFold(f.Name, "Bcc") {
			t.Errorf("%.60q: a field was injected", name)
		}
	}
	forms := []string{secret, "9=31", "=39"}
	for shift := range 3 { // base64 at each alignment, without the ends that depend on neighbours
		e := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		forms = append(forms, e[(shift*8+5)/6:len(e)-3])
	}
	for _, s := range texts {
		for _, f := range forms {
			if strings.Contains(s, f) {
				t.Errorf("%.60q: %q is left in %q", name, f, s)
			}
		}
	}
}

func TestEdits(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.FixedZone("", 3600))
	start := "From: " + office + "\r\nTo: a@pec.example.net\r\n"
	tests := []struct {
		name, fields, kind string
		want               string // <id> stands for one made here
		edits              []string
	}{
		{"nothing to do", "X-TipoRicevuta: breve\r\nDate: x\r\nMessage-ID: <1@c>\r\n", "brief", "X-TipoRicevuta: breve\r\nDate: x\r\nMessage-ID: <1@c>\r\n", nil},
		{"all missing", "Subject: a  b\r\n\tc\r\n", "complete",
			"Subject: a  b\r\n\tc\r\nX-TipoRicevuta: completa\r\nMessage-ID: <id>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n",
			[]string{"X-TipoRicevuta set", "Message-ID added", "Date added"}},
		{"another kind", "Date: x\r\nx-tiporicevuta: breve\r\nMessage-ID: <1@c>\r\n", "synthetic", "Date: x\r\nMessage-ID: <1@c>\r\nX-TipoRicevuta: sintetica\r\n", []string{"X-TipoRicevuta set"}},
		{"kind twice", "X-TipoRicevuta: breve\r\nDate: x\r\nMessage-ID: <1@c>\r\nX-TipoRicevuta: breve\r\n", "brief", "Date: x\r\nMessage-ID: <1@c>\r\nX-TipoRicevuta: breve\r\n", []string{"X-TipoRicevuta set"}},
		{"PIN", "Subject: [PIN:1] a\r\nDate: x\r\nMessage-ID: <1@c>\r\nX-TipoRicevuta: completa\r\n", "complete", "Subject: a\r\nDate: x\r\nMessage-ID: <1@c>\r\nX-TipoRicevuta: completa\r\n", []string{"PIN cut"}},
	}
	for _, tt := range tests {
		l, err := readLetter([]byte(start+tt.fields+"\r\n"), nil, false)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if err := l.edit(tt.kind, "pecgate.example.org", now); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		want := start + strings.Replace(tt.want, "<id>", l.messageID, 1) + "\r\n"
		if string(l.header) != want || !slices.Equal(l.edits, tt.edits) {
			t.Errorf("%s: %q, %q", tt.name, l.header, l.edits)
		}
		if l.clientID == "" && !strings.HasSuffix(l.messageID, "@pecgate.example.org>") {
			t.Errorf("%s: made %s", tt.name, l.messageID)
		}
	}
	l := letter{header: []byte("\r\n")}
	if err := l.edit("mostly", "x", now); err == nil {
		t.Error("an unknown kind of receipt")
	}
}

func FuzzG7_Header(f *testing.F) {
	for _, h := range forgedFrom()[:40] {
		f.Add([]byte(h + tail))
	}
	f.Add([]byte(header + "\r\n"))
	f.Add([]byte("From: " + office + "\r\nTo: a@pec.example.net\r\nSubject: =?utf-8?q?[PIN:1]=0D=0ABcc:_b@x.it?=\r\nThread-Topic: [PIN:1]\r\n\r\n"))
	f.Add([]byte("From: " + office + "\r\nTo: a@pec.example.net\r\nX-TipoRicevuta: x\r\nSubject:\r\n [PIN:12]\r\n x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, h []byte) {
		end := headerEnd(h, 0)
		if end != len(h) || bytes.IndexByte(h, 0) >= 0 || bytes.ContainsAny(bytes.ReplaceAll(h, []byte("\r\n"), nil), "\r\n") {
			return // such a header does not reach the reader
		}
		l, err := readLetter(h, nil, false)
		if err != nil {
			if _, ok := err.(*refusal); !ok {
				t.Errorf("not a refusal: %v", err)
			}
			return
		}
		if err := l.edit("complete", "pecgate.example.org", time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
		if headerEnd(l.header, 0) != len(l.header) {
			t.Fatalf("ends early: %q", l.header)
		}
		after := mime.Fields(l.header)
		i := 0
		for _, b := range mime.Fields(h) {
			if strings.EqualFold(b.Name, kindField) {
				if i < len(after) && bytes.Equal(after[i].Raw, b.Raw) {
					i++ // was as wanted
				}
				continue
			}
			cut := strings.EqualFold(b.Name, "Subject") || strings.EqualFold(b.Name, "Thread-Topic")
			if i >= len(after) || after[i].Name != b.Name || !cut && !bytes.Equal(after[i].Raw, b.Raw) {
				t.Fatalf("%q became %q", h, l.header)
			}
			i++
		}
		for _, a := range after[i:] {
			if !slices.Contains([]string{"X-TipoRicevuta", "Message-ID", "Date"}, a.Name) {
				t.Fatalf("%q was added", a.Raw)
			}
		}
		for _, a := range after {
			if pinBegin.MatchString(mime.DecodeWords(a.Body())) {
				t.Fatalf("a mark is left in %q", a.Raw)
			}
		}
	})
}

func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"a@x.it", "\"B, C\" <a@x.it>, (c) b@x.it, g: c@x.it;", "<a@x.it", "g: h: a@x.it;;", "a@x.it b@x.it"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := addresses(s)
		if err != nil {
			return
		}
		for _, a := range list {
			if !strings.Contains(strings.ToLower(s), strings.ToLower(a)) {
				t.Errorf("%q is not in %q", a, s)
			}
		}
		if one, err := plainAddress(s); err == nil && (len(list) != 1 || list[0] != one) {
			t.Errorf("%q: %q and %v", s, one, list)
		}
	})
}

func TestRawPath(t *testing.T) {
	for _, tt := range []struct {
		arg, want string
		ok        bool
	}{
		{"FROM:<a@b.it>", "a@b.it", true}, {"from: <a@b.it> SIZE=1", "a@b.it", true}, {"FROM:<>", "", true},
		{"FROM:a@b.it", "", false}, {"FROM:<a@b.it", "", false}, {"FROM:<a@b.it>x", "", false}, {"FROM", "", false}, {"TO:<a@b.it>", "", false},
		{`FROM:<"a> X"@b.it>`, `"a`, true}, // which is no address
	} {
		if got, ok := rawPath(tt.arg, "FROM:"); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s: %q, %v", tt.arg, got, ok)
		}
	}
	if got := fmt.Sprint(word("a b\r\n\x00è")); got != "ab" {
		t.Errorf("word %q", got)
	}
}
