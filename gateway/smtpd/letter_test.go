package smtpd

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/gateway/auth"
	"pecgate/mailbox/mime"
)

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
		_, err := readLetter([]byte(from+tt.fields+"\r\n"), tt.to, "")
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
		l, err := readLetter([]byte(h), []string{"a@pec.example.net"}, "")
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
	const done = "Date: x\r\nMessage-ID: <1@c>\r\n"
	tests := []struct {
		name, fields, kind string
		want               string // <id> stands for one made here
		edits              []string
		choice             bool
		replyTo            string
	}{
		{name: "nothing to do", fields: "X-TipoRicevuta: breve\r\nDate: x\r\nMessage-ID: <1@c>\r\n", kind: "brief", want: "X-TipoRicevuta: breve\r\nDate: x\r\nMessage-ID: <1@c>\r\n"},
		{name: "all missing", fields: "Subject: a  b\r\n\tc\r\n", kind: "complete", replyTo: "risposte@example.org",
			want:  "Subject: a  b\r\n\tc\r\nX-TipoRicevuta: completa\r\nReply-To: risposte@example.org\r\nMessage-ID: <id>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n",
			edits: []string{"X-TipoRicevuta set", "Reply-To set", "Message-ID added", "Date added"}},
		{name: "another kind", fields: done + "x-tiporicevuta: breve\r\n", kind: "synthetic", want: done + "X-TipoRicevuta: sintetica\r\n", edits: []string{"X-TipoRicevuta set"}},
		{name: "kind twice", fields: "X-TipoRicevuta: breve\r\n" + done + "X-TipoRicevuta: breve\r\n", kind: "brief", want: done + "X-TipoRicevuta: breve\r\n", edits: []string{"X-TipoRicevuta set"}},
		{name: "the sender's kind", fields: done + "X-Tiporicevuta:  Breve\r\n", kind: "complete", choice: true, want: done + "X-Tiporicevuta:  Breve\r\n"},
		{name: "no kind of the sender's", fields: done, kind: "synthetic", choice: true, want: done + "X-TipoRicevuta: sintetica\r\n", edits: []string{"X-TipoRicevuta set"}},
		{name: "a kind that nobody knows", fields: done + "X-TipoRicevuta: breve, completa\r\n", kind: "complete", choice: true, want: done + "X-TipoRicevuta: completa\r\n", edits: []string{"X-TipoRicevuta set"}},
		{name: "two kinds of the sender's", fields: "X-TipoRicevuta: breve\r\n" + done + "X-TipoRicevuta: completa\r\n", kind: "complete", choice: true, want: done + "X-TipoRicevuta: completa\r\n", edits: []string{"X-TipoRicevuta set"}},
		{name: "Reply-To as the mailbox says", fields: done + "Reply-To: Risposte\r\n <Risposte@Example.org>\r\nX-TipoRicevuta: breve\r\n", kind: "brief", replyTo: "risposte@example.org",
			want: done + "Reply-To: Risposte\r\n <Risposte@Example.org>\r\nX-TipoRicevuta: breve\r\n"},
		{name: "another Reply-To", fields: done + "Reply-To: Mario <mario@example.org>\r\nX-TipoRicevuta: breve\r\n", kind: "brief", replyTo: "risposte@example.org",
			want: done + "X-TipoRicevuta: breve\r\nReply-To: risposte@example.org\r\n", edits: []string{"Reply-To set"}},
		{name: "the sender's Reply-To", fields: done + "Reply-To: Mario <mario@example.org>\r\nX-TipoRicevuta: breve\r\n", kind: "brief",
			want: done + "Reply-To: Mario <mario@example.org>\r\nX-TipoRicevuta: breve\r\n"},
		{name: "PIN", fields: "Subject: [PIN:1] a\r\n" + done + "X-TipoRicevuta: completa\r\n", kind: "complete", want: "Subject: a\r\n" + done + "X-TipoRicevuta: completa\r\n", edits: []string{"PIN cut"}},
	}
	for _, tt := range tests {
		l, err := readLetter([]byte(start+tt.fields+"\r\n"), nil, "")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if err := l.edit(house{receipt: tt.kind, choice: tt.choice, replyTo: tt.replyTo, hostname: "pecgate.example.org", now: now}); err != nil {
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
	if err := l.edit(house{receipt: "mostly", hostname: "x", now: now}); err == nil {
		t.Error("an unknown kind of receipt")
	}
}

func FuzzG7_Header(f *testing.F) {
	for _, r := range headerRows(f) {
		f.Add([]byte(r.header))
	}
	f.Add([]byte(header + "\r\n"))
	f.Add([]byte("From: " + office + "\r\nTo: a@pec.example.net\r\nSubject: =?utf-8?q?[PIN:1]=0D=0ABcc:_b@x.it?=\r\nThread-Topic: [PIN:1]\r\n\r\n"))
	f.Add([]byte("From: " + office + "\r\nTo: a@pec.example.net\r\nX-TipoRicevuta: x\r\nSubject:\r\n [PIN:12]\r\n x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, h []byte) {
		end := headerEnd(h, 0)
		if end != len(h) || dirty(h) {
			return // such a header does not reach the reader
		}
		l, err := readLetter(h, nil, "")
		if err != nil {
			if _, ok := err.(*refusal); !ok {
				t.Errorf("not a refusal: %v", err)
			}
			return
		}
		if err := l.edit(house{receipt: "complete", hostname: "pecgate.example.org", now: time.Unix(0, 0)}); err != nil {
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
			if auth.MeansPIN(mime.DecodeWords(a.Body())) {
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
