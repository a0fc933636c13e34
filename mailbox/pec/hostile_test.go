package pec

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/mime"
)

// countingReader counts what is read of a message.
type countingReader struct {
	r     io.ReaderAt
	bytes int64
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.bytes += int64(n)
	return n, err
}

// work reads a message and returns the report and how many bytes were read for
// it, without those of the index.
func work(t testing.TB, msg []byte) (*Report, int64) {
	t.Helper()
	ix := must(mime.Parse(bytes.NewReader(msg), int64(len(msg)), mime.Limits{}))
	c := &countingReader{r: bytes.NewReader(msg)}
	return must(testReader(t).Read(context.Background(), c, int64(len(msg)), ix)), c.bytes
}

// ofType is an original with the fields that agree with daticert.xml, of the
// given type and body.
func ofType(typ, body string) string {
	return strings.Replace(postacert, "\r\n\r\nSi diffida.\r\n", "\r\nContent-Type: "+typ+"\r\n\r\n"+body, 1)
}

// TestF1_HostileStructure: originals with endless parts and levels hide neither
// signature nor daticert.xml, and each byte is read a few times at most.
func TestF1_HostileStructure(t *testing.T) {
	var deep, many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for range 100_000 {
		many.WriteString("--m\r\n\r\nx\r\n")
	}
	for _, c := range []struct{ name, inner string }{
		{"10,000 levels", ofType("multipart/mixed; boundary=a", "--a\r\n"+deep.String())},
		{"100,000 parts", ofType("multipart/mixed; boundary=m", many.String()+"--m--\r\n")},
		{"100,000 parts, never closed", ofType("multipart/mixed; boundary=m", many.String())},
		{"a boundary of 1 MB", ofType("multipart/mixed; boundary=\""+strings.Repeat("b", 1<<20)+"\"", "x\r\n")},
		{"the envelope's boundary as a prefix", ofType("multipart/mixed; boundary=\"----=_Part_122_455.17830629420001\"",
			"------=_Part_122_455.17830629420001\r\n\r\nx\r\n------=_Part_122_455.17830629420001--\r\n")},
		{"5,000 messages in messages", ofType("message/rfc822", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 5000))},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, order := range []letter{
				envelope(crlf(c.inner)),
				func() letter { // postacert.eml before daticert.xml
					l := envelope("")
					l.xml, l.parts = "-", []string{eml(crlf(c.inner)), xmlPart(transportXML)}
					return l
				}(),
			} {
				msg := order.build()
				rep, read := work(t, msg)
				if rep.Kind != Transport || !rep.Believed() {
					t.Errorf("%s, %s (%s)", rep.Kind, rep.Verdict, rep.Reason)
				}
				// The digest once, the structure anew twice at most, and the small parts.
				if most := 4*int64(len(msg)) + 1<<20; read > most {
					t.Errorf("%d bytes read of %d", read, len(msg))
				}
			}
		})
	}
}

// TestF2_HostileHeader: header fields of any size are read within bounds, and a
// From that cannot be judged is no provider's.
func TestF2_HostileHeader(t *testing.T) {
	addresses := strings.TrimSuffix(strings.Repeat("a@b.example,\r\n ", 12_000), ",\r\n ")
	for _, c := range []struct {
		name string
		msg  []byte
		ok   bool
	}{
		{"5,000 fields", edit(letter{}, func(h string) string { return strings.Repeat("X-Y: z\r\n", 5000) + h }), false},
		{"900 fields", edit(letter{}, func(h string) string { return strings.Repeat("X-Y: z\r\n", 900) + h }), true},
		{"a line of 200 KB", edit(letter{}, func(h string) string { return h + "\r\nX-Y: " + strings.Repeat("z", 200_000) }), true},
		{"a header of 2 MB", edit(letter{}, func(h string) string { return h + strings.Repeat("\r\nX-Y: "+strings.Repeat("z", 1000), 2000) }), false},
		{"12,000 addresses in To", edit(letter{}, func(h string) string { return strings.Replace(h, "To: ", "To: "+addresses+", ", 1) }), true},
		{"12,000 addresses in From", edit(letter{}, func(h string) string { return strings.Replace(h, "From: ", "From: "+addresses+", ", 1) }), false},
		{"comments nested in From", edit(letter{}, func(h string) string {
			return strings.Replace(h, "From: ", "From: "+strings.Repeat("(", 50_000)+strings.Repeat(")", 50_000)+"\r\n ", 1)
		}), false},
		{"an endless quoted string in From", edit(letter{}, func(h string) string {
			return strings.Replace(h, "From: ", "From: \""+strings.Repeat(`\"`, 50_000)+"\r\n ", 1)
		}), false},
		{"a Subject of 100 KB", letter{subject: "CONSEGNA: " + strings.Repeat("=?utf-8?q?=C3=A8?= ", 5000)}.build(), true},
		{"brackets without end in Subject", letter{subject: strings.Repeat("[", 100_000) + ": x"}.build(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep, read := work(t, c.msg)
			if rep.Believed() != c.ok {
				t.Errorf("%s, %s (%s)", rep.Kind, rep.Verdict, rep.Reason)
			}
			if read > 4*int64(len(c.msg)) || len(rep.Reason) > 2000 {
				t.Errorf("%d bytes read of %d, a reason of %d", read, len(c.msg), len(rep.Reason))
			}
		})
	}
}

// TestF3_NothingIsUnpacked: archives, documents and images inside are bytes. No
// file of this package imports what could open one, and the work does not depend
// on what an attachment would become.
func TestF3_NothingIsUnpacked(t *testing.T) {
	for _, name := range append(must(filepath.Glob("*.go")), must(filepath.Glob("cms/*.go"))...) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, i := range must(parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)).Imports {
			path := must(strconv.Unquote(i.Path.Value))
			for _, bad := range []string{"archive", "compress", "image", "html", "text/template", "plugin"} {
				if path == bad || strings.HasPrefix(path, bad+"/") {
					t.Errorf("%s imports %s", name, path)
				}
			}
		}
	}
	bomb := "PK\x03\x04" + strings.Repeat("\x00", 40_000) // the head of a zip file is all that a reader could go by
	msg := envelope(ofType("application/zip; name=42.zip\r\nContent-Transfer-Encoding: base64", wrap64([]byte(bomb)))).build()
	rep, read := work(t, msg)
	if !rep.Believed() || read > 3*int64(len(msg)) {
		t.Errorf("%s (%s), %d bytes read of %d", rep.Verdict, rep.Reason, read, len(msg))
	}
}

// TestF4_Garbage: whatever words and parameters hold, a Report can be stored and
// shown on one line.
func TestF4_Garbage(t *testing.T) {
	for _, v := range []string{
		"=?utf-8?b?////?=", "=?x-boh?q?=ff=fe?=", "=?utf-16?b?/v8A?=", "=?utf-8?q?=0d=0aX-Ricevuta:_accettazione?=", "=?utf-8?b?" + strings.Repeat("A", 90_000) + "?=",
		strings.Repeat("=?utf-8?q?a?=", 5000), "=?utf-8?q?=00=07=1b[31m?=", "\xff\xfe\x00a", "=?iso-8859-1?q?=A0=AD?=", "\u202emoc.elpmaxe@oiram\u202c", "=?", "=?=?=?=", "a\rb\rc",
	} {
		l := letter{subject: v, riferim: v, from: v, mark: "X-Ricevuta: " + v, header: []string{"X-TipoRicevuta: " + v, "Reply-To: " + v}, xml: "-"}
		for name, msg := range map[string][]byte{"signed": l.build(), "bare": edit(l, func(h string) string { return strings.Replace(h, "Content-Type", "X-Type", 1) })} {
			rep := read(t, msg)
			if rep.Believed() || len(rep.Reason) > 2000 {
				t.Errorf("%q, %s: %+v", v, name, rep)
			}
			for _, s := range []string{rep.Reason, rep.Subject, rep.Sender, rep.MsgID, rep.Word, rep.Identifier} {
				if strings.ContainsAny(s, "\r\n\x00\x1b\x07") || len(s) > 2000 {
					t.Errorf("%q, %s: %q", v, name, s)
				}
			}
			if _, err := json.Marshal(rep); err != nil {
				t.Errorf("%q, %s: %v", v, name, err)
			}
		}
	}
}

// TestF7_OnlyTheTopLevel: TNEF, calendars and messages in messages pass as they
// are; whatever they hold, only the top level can be a receipt.
func TestF7_OnlyTheTopLevel(t *testing.T) {
	genuine := string(letter{}.build())
	nested := genuine
	for range 5 {
		nested = "Content-Type: message/rfc822\r\n\r\n" + nested
	}
	tnef := "\x78\x9f\x3e\x22" + deliveryXML
	for _, c := range []struct{ name, typ, body string }{
		{"winmail.dat", "application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64", wrap64([]byte(tnef))},
		{"winmail.dat named daticert.xml", "application/ms-tnef; name=daticert.xml\r\nContent-Transfer-Encoding: base64", wrap64([]byte(tnef))},
		{"calendar", "text/calendar; method=REQUEST; name=daticert.xml", "BEGIN:VCALENDAR\r\nDESCRIPTION:" + ourID + "\r\nEND:VCALENDAR\r\n"},
		{"message in messages", "message/rfc822", nested},
		{"a genuine receipt's content", strings.TrimSuffix(strings.SplitN(genuine[strings.Index(genuine, "multipart/signed"):], "X-Ricevuta", 2)[0], "\r\n"),
			genuine[strings.Index(genuine, "\r\n\r\n")+4:]},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := ofType(c.typ, c.body)
			for _, l := range []letter{envelope(inner), anomaly(inner, "x")} {
				msg := l.build()
				keep := bytes.Clone(msg)
				rep := read(t, msg)
				if rep.Kind != Transport && rep.Kind != Anomaly || rep.Verdict != Valid || rep.Recipient != "" {
					t.Errorf("%s, %s (%s)", rep.Kind, rep.Verdict, rep.Reason)
				}
				if _, ok := rep.About(Sent{Box: ourBox, MsgID: ourID, Recipients: []string{theirBox}}); ok {
					t.Error("matches")
				}
				if rep.Inner == nil || string(msg[rep.Inner.Off:rep.Inner.Off+rep.Inner.Size]) != inner || !bytes.Equal(msg, keep) {
					t.Error("the message inside is not as it was")
				}
			}
			if rep := read(t, []byte(inner)); rep.Believed() {
				t.Errorf("alone: %+v", rep)
			}
		})
	}
}

// TestF8_VirusPassesAsItIs: nothing is cleaned, for that would alter it.
func TestF8_VirusPassesAsItIs(t *testing.T) {
	// In two pieces, so that no scanner takes this file away.
	eicar := `X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR` + `-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`
	for _, inner := range []string{ofType("text/plain", eicar+"\r\n"), ofType("application/octet-stream; name=a.com\r\nContent-Transfer-Encoding: base64", wrap64([]byte(eicar)))} {
		msg := envelope(inner).build()
		rep := read(t, msg)
		if rep.Kind != Transport || !rep.Believed() || rep.Reason != "" || string(msg[rep.Inner.Off:rep.Inner.Off+rep.Inner.Size]) != inner {
			t.Errorf("%+v", rep)
		}
	}
}

// TestH6_ManyRecipients: receipts about 50 recipients, of each kind and form:
// each names its one recipient and nobody else.
func TestH6_ManyRecipients(t *testing.T) {
	var to []string
	var list strings.Builder
	for i := range 50 {
		to = append(to, fmt.Sprintf("casella%d@pec.beta.example", i))
		fmt.Fprintf(&list, "<destinatari tipo=\"certificato\">%s</destinatari>", strings.ToUpper(to[i]))
	}
	xml := func(c cert) string {
		return strings.Replace(c.String(), `<destinatari tipo="certificato">`+theirBox+`</destinatari>`, list.String(), 1)
	}
	seen := map[Kind]int{}
	for i, r := range to {
		tail := "<consegna>" + r + "</consegna>"
		for _, c := range []struct {
			cert
			kind    Kind
			receipt string
			final   bool
		}{
			{cert{tipo: "avvenuta-consegna", tail: `<ricevuta tipo="completa"/>` + tail}, Delivery, Complete, false},
			{cert{tipo: "avvenuta-consegna", tail: `<ricevuta tipo="breve"/>` + tail}, Delivery, Brief, false},
			{cert{tipo: "avvenuta-consegna", tail: `<ricevuta tipo="sintetica"/>` + tail}, Delivery, Synthetic, false},
			{cert{tipo: "errore-consegna", errore: "altro", tail: tail + "<errore-esteso>5.1.1 - x - y</errore-esteso>"}, DeliveryError, "", false},
			{cert{tipo: "errore-consegna", errore: "virus", tail: tail + "<errore-esteso>5.5.1 - x - y</errore-esteso>"}, DeliveryError, "", false},
			{cert{tipo: "preavviso-errore-consegna", errore: "altro", tail: tail + "<errore-esteso>4.4.1 - x - 12 ore</errore-esteso>"}, DeliveryWarning, "", false},
			{cert{tipo: "preavviso-errore-consegna", errore: "altro", tail: tail + "<errore-esteso>5.4.1 - x - 24 ore</errore-esteso>"}, DeliveryWarning, "", true},
		} {
			if i%10 != 0 && c.receipt == "" {
				continue // every tenth recipient has the failures too
			}
			rep := read(t, letter{xml: xml(c.cert)}.build())
			got, ok := rep.About(Sent{Box: ourBox, MsgID: ourID, Recipients: to})
			if !ok || got != r || rep.Kind != c.kind || rep.Receipt != c.receipt || rep.Final != c.final || len(rep.Recipients) != 51 {
				t.Fatalf("%s about %s: %q, %v, %+v", c.tipo, r, got, ok, rep)
			}
			others := append(append([]string{}, to[:i]...), to[i+1:]...)
			if got, ok := rep.About(Sent{Box: ourBox, MsgID: ourID, Recipients: others}); ok {
				t.Fatalf("%s about %s matches %s", c.tipo, r, got)
			}
			seen[rep.Kind]++
		}
	}
	if seen[Delivery] != 150 || seen[DeliveryError] != 10 || seen[DeliveryWarning] != 10 {
		t.Errorf("%v", seen)
	}
}

// TestH7_JudgedAsOfTheSigning: SHA-1 and a certificate that has expired since
// leave a receipt believed, as what it was then.
func TestH7_JudgedAsOfTheSigning(t *testing.T) {
	then := time.Date(2012, 3, 5, 10, 0, 0, 0, time.UTC)
	tpl := leafTemplate(beta)
	tpl.NotBefore, tpl.NotAfter = then.AddDate(-1, 0, 0), then.AddDate(2, 0, 0)
	ca := caTemplate("Prova PEC CA 2010")
	ca.NotBefore, ca.NotAfter = then.AddDate(-2, 0, 0), then.AddDate(6, 0, 0)
	issuer := issue(ca, evilKey(), nil)
	leaf := issue(tpl, rsaKey(), issuer)
	xml := strings.Replace(deliveryXML, "03/07/2026", "05/03/2012", 1)
	spec := cmsSpec{by: leaf, certs: []*identity{leaf, issuer}, hash: crypto.SHA1, at: then}
	trust := must(NewTrust(pemOf(issuer)))
	rep := readWith(t, NewReader(Options{Trust: trust, Now: clock}), letter{old: true, xml: xml, cms: spec}.build())
	if rep.Verdict != ValidHistoric || !rep.Believed() || !strings.Contains(rep.Reason, "SHA-1") || !strings.Contains(rep.Reason, "expired on 2014-03-05") ||
		strings.Contains(rep.Reason, "advice") {
		t.Errorf("%s (%s)", rep.Verdict, rep.Reason)
	}
	// While its certificate was good, with a better digest, it was just valid.
	spec.hash = crypto.SHA256
	at := NewReader(Options{Trust: trust, Now: func() time.Time { return then.AddDate(0, 0, 1) }})
	if rep := readWith(t, at, letter{xml: xml, cms: spec}.build()); rep.Verdict != Valid {
		t.Errorf("then: %s (%s)", rep.Verdict, rep.Reason)
	}
	// Signed after it had expired.
	spec.at = then.AddDate(3, 0, 0)
	if rep := readWith(t, at, letter{xml: xml, cms: spec}.build()); rep.Verdict != Invalid || !strings.Contains(rep.Reason, "validity: ") {
		t.Errorf("later: %s (%s)", rep.Verdict, rep.Reason)
	}
}

// TestH8_NoListIsNoTrust: without the CA at hand nothing is trusted; the answer
// is "cannot verify" and what to do, and it changes once the CA is there.
func TestH8_NoListIsNoTrust(t *testing.T) {
	other := must(NewTrust(pemOf(issue(caTemplate("Altra CA"), evilKey(), nil))))
	for name, trust := range map[string]*Trust{"none": nil, "another": other} {
		rd := NewReader(Options{Trust: trust, Now: clock})
		for _, s := range twelve() {
			rep := readWith(t, rd, styled(s, false).build())
			if rep.Verdict != Unverifiable || rep.Believed() || rep.Kind != s.want.Kind || !strings.Contains(rep.Reason, "provider_trust") {
				t.Errorf("%s, %s: %s, %s (%s)", name, s.name, rep.Kind, rep.Verdict, rep.Reason)
			}
		}
	}
}

// TestReasons: every reason says what failed and what to do, on one line that
// can be read.
func TestReasons(t *testing.T) {
	checks := map[string]bool{}
	for _, c := range []string{checkStructure, checkCMS, checkAlgorithm, checkDigest, checkSignature, checkChain, checkValidity,
		checkUsage, checkSender, checkDaticert, checkHeader, checkTime, checkInner, checkAdvice} {
		checks[c] = true
	}
	for _, h := range hostileFiles() {
		rep := read(t, h.msg())
		if (rep.Reason == "") != (h.reason == "") || len(rep.Reason) > 600 || strings.ContainsAny(rep.Reason, "\r\n\t") {
			t.Errorf("%s: %q", h.name, rep.Reason)
		}
		told := false
		for _, note := range strings.Split(rep.Reason, "; ") {
			check, text, ok := strings.Cut(note, ": ")
			if checks[check] && ok && text != "" {
				told = told || check == checkAdvice
			}
		}
		if check, _, _ := strings.Cut(rep.Reason, ":"); rep.Reason != "" && !checks[check] {
			t.Errorf("%s: no check in front of %q", h.name, rep.Reason)
		}
		if want := !rep.good() && rep.Kind != Ordinary; told != want {
			t.Errorf("%s: advice %v, want %v: %q", h.name, told, want, rep.Reason)
		}
	}
	for _, v := range []string{Invalid, Unverifiable, NotSigned} {
		for c := range checks {
			if advice(&Report{Kind: Delivery, Verdict: v}, c) == "" {
				t.Errorf("no advice for %s, %s", v, c)
			}
		}
	}
}
