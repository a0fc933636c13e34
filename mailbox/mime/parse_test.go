package mime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func crlf(lines ...string) string { return strings.Join(lines, "\r\n") }

func mustParse(t testing.TB, msg string, lim Limits) *Index {
	t.Helper()
	ix, err := Parse(strings.NewReader(msg), int64(len(msg)), lim)
	if err != nil {
		t.Fatal(err)
	}
	checkIndex(t, msg, ix)
	return ix
}

// checkIndex tests what holds for every message.
func checkIndex(t testing.TB, msg string, ix *Index) {
	t.Helper()
	size := int64(len(msg))
	if ix.Size != size || ix.Root.HeaderOff != 0 || ix.Root.BodyOff+ix.Root.BodyLen != size {
		t.Fatalf("root does not cover the message: %+v", ix.Root)
	}
	checkPart(t, &ix.Root, 0, size, 0)
	for what, err := range map[string]error{
		"ENVELOPE":      checkEnvelope(ix.Envelope),
		"BODYSTRUCTURE": checkBody(ix.BodyStructure, true),
		"BODY":          checkBody(ix.Body, false),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	rec, err := ix.MarshalBinary()
	if err != nil {
		t.Fatalf("record of %d bytes: %v", len(ix.encode()), err)
	}
	var back Index
	if err := back.UnmarshalBinary(rec); err != nil {
		t.Fatal(err)
	}
	want := *ix
	want.Envelope, want.BodyStructure, want.Body = nil, nil, nil
	if !back.Date.Equal(want.Date) {
		t.Fatalf("date %v, want %v", back.Date, want.Date)
	}
	back.Date = want.Date
	if !reflect.DeepEqual(back, want) {
		t.Fatalf("record changed:\n%+v\n%+v", back, want)
	}
}

func checkPart(t testing.TB, p *Part, from, to int64, depth int) {
	t.Helper()
	if depth > maxDepth {
		t.Fatal("too deep")
	}
	if p.HeaderOff < from || p.HeaderLen < 0 || p.BodyLen < 0 || p.Lines < 0 ||
		p.BodyOff != p.HeaderOff+p.HeaderLen || p.BodyOff+p.BodyLen > to {
		t.Fatalf("range outside [%d,%d): %+v", from, to, p)
	}
	if p.Lines > p.BodyLen || p.BodyLen > 0 && p.Type == "text" && p.Lines == 0 {
		t.Fatalf("%d lines in %d bytes", p.Lines, p.BodyLen)
	}
	from, to = p.BodyOff, p.BodyOff+p.BodyLen
	for i := range p.Children {
		checkPart(t, &p.Children[i], from, to, depth+1)
		_, n := p.Children[i].Raw()
		from = p.Children[i].HeaderOff + n
	}
	if p.Message != nil {
		checkPart(t, p.Message, from, to, depth+1)
		if off, n := p.Message.Raw(); off != p.BodyOff || n != p.BodyLen {
			t.Fatalf("message %d+%d in body %d+%d", off, n, p.BodyOff, p.BodyLen)
		}
	}
	if (p.Type == "multipart") != (len(p.Children) > 0) {
		t.Fatalf("%s/%s with %d children", p.Type, p.Subtype, len(p.Children))
	}
}

// dump shows a tree with the bytes of each leaf.
func dump(msg string, p *Part) string {
	head := fmt.Sprintf("%s/%s", p.Type, p.Subtype)
	switch {
	case p.Message != nil:
		return fmt.Sprintf("%s %d{%s}", head, p.Lines, dump(msg, p.Message))
	case len(p.Children) > 0:
		var kids []string
		for i := range p.Children {
			kids = append(kids, dump(msg, &p.Children[i]))
		}
		return head + "[" + strings.Join(kids, " ") + "]"
	}
	return fmt.Sprintf("%s %d %q", head, p.Lines, msg[p.BodyOff:p.BodyOff+p.BodyLen])
}

func multi(boundary string, body ...string) string {
	return crlf(append([]string{`Content-Type: multipart/mixed; boundary="` + boundary + `"`, ""}, body...)...)
}

func TestParse(t *testing.T) {
	tests := []struct{ name, msg, want string }{
		{"empty", "", `text/plain 0 ""`},
		{"header only", "Subject: x\r\n", `text/plain 0 ""`},
		{"no line end", "Subject: x", `text/plain 0 ""`},
		{"blank line only", "\r\n", `text/plain 0 ""`},
		{"plain", "Subject: x\r\n\r\nhello\r\n", `text/plain 1 "hello\r\n"`},
		{"plain, no last end", "Subject: x\r\n\r\none\r\ntwo", `text/plain 2 "one\r\ntwo"`},
		{"bare LF", "Subject: x\n\none\ntwo\n", `text/plain 2 "one\ntwo\n"`},
		{"type and charset broken", "Content-Type: text/plain; charset=\"x\r\n\r\na", `text/plain 1 "a"`},
		{"type nonsense", "Content-Type: %%%\r\n\r\na", `text/plain 1 "a"`},
		{"type nonsense, base64", "Content-Type: pdf\r\nContent-Transfer-Encoding: BASE64\r\n\r\nYQ==", `application/octet-stream 1 "YQ=="`},
		{"one part", multi("b", "--b", "", "hello", "--b--", ""), `multipart/mixed[text/plain 1 "hello"]`},
		{"two parts, preamble, epilogue", multi("b", "pre", "--b", "", "a", "", "--b", "Content-Type: text/html", "", "b", "--b--", "epi", "--b", "no part", ""),
			`multipart/mixed[text/plain 1 "a\r\n" text/html 1 "b"]`},
		{"bare LF parts", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\na\nb\n\n--b\n\nc\n--b--\n",
			`multipart/mixed[text/plain 2 "a\nb\n" text/plain 1 "c"]`},
		{"unclosed", multi("b", "--b", "", "a", "--b", "", "rest", ""), `multipart/mixed[text/plain 1 "a" text/plain 1 "rest\r\n"]`},
		{"no boundary", crlf("Content-Type: multipart/mixed", "", "--b", "", "a", ""), `text/plain 3 "--b\r\n\r\na\r\n"`},
		{"boundary never seen", multi("b", "text", ""), `text/plain 1 "text\r\n"`},
		{"closed, never opened", multi("b", "--b--", ""), `text/plain 1 "--b--\r\n"`},
		{"space behind boundary", multi("b", "--b \t", "", "a", "--b--  ", ""), `multipart/mixed[text/plain 1 "a"]`},
		{"boundary is a prefix of the line", multi("b", "--b", "", "a", "--bb", "--b-", "--b--x", "--b--", ""),
			`multipart/mixed[text/plain 4 "a\r\n--bb\r\n--b-\r\n--b--x"]`},
		{"inner boundary begins like the outer", multi("b", "--b", `Content-Type: multipart/mixed; boundary="bb"`, "", "--bb", "", "x", "--bb--", "--b", "", "y", "--b--", ""),
			`multipart/mixed[multipart/mixed[text/plain 1 "x"] text/plain 1 "y"]`},
		{"outer boundary begins like the inner", multi("bb", "--bb", `Content-Type: multipart/mixed; boundary="b"`, "", "--b", "", "x", "--b--", "--bb", "", "y", "--bb--", ""),
			`multipart/mixed[multipart/mixed[text/plain 1 "x"] text/plain 1 "y"]`},
		{"inner unclosed", multi("b", "--b", "Content-Type: multipart/mixed; boundary=i", "", "--i", "", "x", "--b", "", "y", "--b--", ""),
			`multipart/mixed[multipart/mixed[text/plain 1 "x"] text/plain 1 "y"]`},
		{"part without header", multi("b", "--b", "", "--b", "", "", "a", "--b--", ""),
			`multipart/mixed[text/plain 0 "" text/plain 2 "\r\na"]`},
		{"part without blank line", multi("b", "--b", "Content-Type: text/html", "--b", "Content-Type: message/rfc822", "--b--", ""),
			`multipart/mixed[text/html 0 "" message/rfc822 0{text/plain 0 ""}]`},
		{"boundaries in a row", multi("b", "--b", "--b", "--b--", ""), `multipart/mixed[text/plain 0 "" text/plain 0 ""]`},
		{"digest", crlf("Content-Type: multipart/digest; boundary=b", "", "--b", "", "Subject: s", "", "t", "--b", "Content-Type: text/plain", "", "u", "--b--", ""),
			`multipart/digest[message/rfc822 3{text/plain 1 "t"} text/plain 1 "u"]`},
		{"message in base64 is a file", crlf("Content-Type: message/rfc822", "Content-Transfer-Encoding: base64", "", "YQ==", ""),
			`application/octet-stream 1 "YQ==\r\n"`},
		{"message at the top", crlf("Content-Type: message/rfc822", "", "Subject: i", "", "t", ""), `message/rfc822 3{text/plain 1 "t\r\n"}`},
		{"message cut by a boundary in its header", multi("b", "--b", "Content-Type: message/rfc822", "", "Subject: i", "--b--", ""),
			`multipart/mixed[message/rfc822 1{text/plain 0 ""}]`},
		{"message empty", multi("b", "--b", "Content-Type: message/rfc822", "", "--b--", ""), `multipart/mixed[message/rfc822 0{text/plain 0 ""}]`},
		{"CR alone is no line end", "A: b\r\r\n\r\nx\ry\r\n", `text/plain 1 "x\ry\r\n"`},
		{"comment and case", "CONTENT-type: Text (a) / HTML ; charset=x\r\n\r\na", `text/plain 1 "a"`},
		{"comment behind", "Content-Type: TEXT/HTML (x;y); charset=x\r\n\r\na", `text/html 1 "a"`},
		{"boundary as RFC 2231 pieces", crlf("Content-Type: multipart/mixed; boundary*0=\"a\"; boundary*1=\"b\"", "", "--ab", "", "x", "--ab--"), `multipart/mixed[text/plain 1 "x"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ix := mustParse(t, tt.msg, Limits{})
			if got := dump(tt.msg, &ix.Root); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// pecMessage has the shape of a transport envelope.
func pecMessage() string {
	return crlf(
		"From: \"Per conto di: a@pec.alfa.example\" <posta-certificata@pec.gestore.example>",
		"Reply-To: a@pec.alfa.example", "To: b@pec.beta.example", "Subject: POSTA CERTIFICATA: Diffida \"7\"",
		"Date: Fri, 3 Jul 2026 09:15:42 +0200 (CEST)", "Message-ID: <opec77@pec.gestore.example>",
		"MIME-Version: 1.0", `Content-Type: multipart/signed; protocol="application/x-pkcs7-signature"; micalg="sha-256"; boundary="----S"`,
		"", "This is an S/MIME signed message", "",
		"------S", `Content-Type: multipart/mixed; boundary="M"`, "",
		"--M", "Content-Type: text/plain; charset=\"iso-8859-1\"", "Content-Transfer-Encoding: quoted-printable", "", "Messaggio", "", "--M",
		`Content-Type: application/xml; name="daticert.xml"`, "Content-Transfer-Encoding: base64", `Content-Disposition: inline; filename="daticert.xml"`, "", "PHg+", "", "--M",
		`Content-Type: message/rfc822; name="postacert.eml"`, `Content-Disposition: inline; filename="postacert.eml"`, "",
		"From: a@pec.alfa.example", "To: b@pec.beta.example", "Subject: Diffida", "Content-Type: multipart/mixed; boundary=I", "",
		"--I", "", "testo", "--I", "Content-Type: application/pdf; name=x.pdf", "Content-Transfer-Encoding: base64", "", "AAAA", "--I--", "",
		"--M--", "", "------S", `Content-Type: application/x-pkcs7-signature; name="smime.p7s"`, "Content-Transfer-Encoding: base64", "", "MIIB", "",
		"------S--", "")
}

func TestPECNesting(t *testing.T) {
	msg := pecMessage()
	ix := mustParse(t, msg, Limits{})
	want := `multipart/signed[multipart/mixed[text/plain 1 "Messaggio\r\n" application/xml 1 "PHg+\r\n" message/rfc822 14{` +
		`multipart/mixed[text/plain 1 "testo" application/pdf 1 "AAAA"]}] application/x-pkcs7-signature 1 "MIIB\r\n"]`
	if got := dump(msg, &ix.Root); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	signed := &ix.Root.Children[0]
	off, n := signed.Raw()
	raw := msg[off : off+n]
	if !strings.HasPrefix(raw, "Content-Type: multipart/mixed") || !strings.HasSuffix(raw, "--M--\r\n") {
		t.Errorf("signed bytes %q ... %q", raw[:30], raw[len(raw)-10:])
	}
	if ix.MessageID != "<opec77@pec.gestore.example>" || ix.Subject != `POSTA CERTIFICATA: Diffida "7"` || ix.Date.Unix() != 1783062942 {
		t.Errorf("%q %q %v %d", ix.MessageID, ix.Subject, ix.Date, ix.Date.Unix())
	}
	if p, ok := ix.Part([]int{1, 2}); !ok || p.FileName != "daticert.xml" || p.Encoding != "base64" || p.Disposition != "inline" {
		t.Errorf("daticert: %+v", p)
	}
	if p := ix.Root.Params; p["protocol"] != "application/x-pkcs7-signature" || p["micalg"] != "sha-256" {
		t.Errorf("params %v", p)
	}
	wantEnv := `("Fri, 3 Jul 2026 09:15:42 +0200 (CEST)" "POSTA CERTIFICATA: Diffida \"7\"" ` +
		`(("Per conto di: a@pec.alfa.example" NIL "posta-certificata" "pec.gestore.example")) ` +
		`(("Per conto di: a@pec.alfa.example" NIL "posta-certificata" "pec.gestore.example")) ` +
		`((NIL NIL "a" "pec.alfa.example")) ((NIL NIL "b" "pec.beta.example")) NIL NIL NIL "<opec77@pec.gestore.example>")`
	if got := string(ix.Envelope); got != wantEnv {
		t.Errorf("ENVELOPE\ngot  %s\nwant %s", got, wantEnv)
	}
	wantBS := `((("text" "plain" ("charset" "iso-8859-1") NIL NIL "quoted-printable" 11 1 NIL NIL NIL NIL)` +
		`("application" "xml" ("name" "daticert.xml") NIL NIL "base64" 6 NIL ("inline" ("filename" "daticert.xml")) NIL NIL)` +
		`("message" "rfc822" ("name" "postacert.eml") NIL NIL "7bit" 225 (NIL "Diffida" ((NIL NIL "a" "pec.alfa.example")) ((NIL NIL "a" "pec.alfa.example")) ((NIL NIL "a" "pec.alfa.example")) ((NIL NIL "b" "pec.beta.example")) NIL NIL NIL NIL) ` +
		`(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 5 1 NIL NIL NIL NIL)` +
		`("application" "pdf" ("name" "x.pdf") NIL NIL "base64" 4 NIL NIL NIL NIL) "mixed" ("boundary" "I") NIL NIL NIL) 14 NIL ("inline" ("filename" "postacert.eml")) NIL NIL) ` +
		`"mixed" ("boundary" "M") NIL NIL NIL)` +
		`("application" "x-pkcs7-signature" ("name" "smime.p7s") NIL NIL "base64" 6 NIL NIL NIL NIL) ` +
		`"signed" ("protocol" "application/x-pkcs7-signature" "micalg" "sha-256" "boundary" "----S") NIL NIL NIL)`
	if got := string(ix.BodyStructure); got != wantBS {
		t.Errorf("BODYSTRUCTURE\ngot  %s\nwant %s", got, wantBS)
	}
	if want := `((("text" "plain" ("charset" "iso-8859-1") NIL NIL "quoted-printable" 11 1)("application" "xml" `; !strings.HasPrefix(string(ix.Body), want) {
		t.Errorf("BODY %s", ix.Body)
	}
}

func TestSection(t *testing.T) {
	msg := pecMessage()
	ix := mustParse(t, msg, Limits{})
	single := "Subject: x\r\n\r\nhello\r\n"
	six := mustParse(t, single, Limits{})
	nested := crlf("Content-Type: message/rfc822", "", "Subject: i", "", "t", "")
	nix := mustParse(t, nested, Limits{})
	tests := []struct {
		msg  string
		ix   *Index
		path []int
		spec string
		want string // "-" for not there
	}{
		{single, six, nil, "", single},
		{single, six, nil, "header", "Subject: x\r\n\r\n"},
		{single, six, nil, "TEXT", "hello\r\n"},
		{single, six, nil, "MIME", "-"},
		{single, six, []int{1}, "", "hello\r\n"},
		{single, six, []int{1}, "MIME", "Subject: x\r\n\r\n"},
		{single, six, []int{1}, "HEADER", "-"},
		{single, six, []int{1, 1}, "", "-"},
		{single, six, []int{2}, "", "-"},
		{single, six, []int{0}, "", "-"},
		{single, six, []int{1}, "FOO", "-"},
		{msg, ix, []int{1, 1}, "", "Messaggio\r\n"},
		{msg, ix, []int{1, 1}, "TEXT", "-"},
		{msg, ix, []int{2}, "MIME", "Content-Type: application/x-pkcs7-signature; name=\"smime.p7s\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"},
		{msg, ix, []int{1, 3}, "HEADER", "From: a@pec.alfa.example\r\nTo: b@pec.beta.example\r\nSubject: Diffida\r\nContent-Type: multipart/mixed; boundary=I\r\n\r\n"},
		{msg, ix, []int{1, 3, 1}, "", "testo"},
		{msg, ix, []int{1, 3, 2}, "MIME", "Content-Type: application/pdf; name=x.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"},
		{msg, ix, []int{1, 3, 3}, "", "-"},
		{msg, ix, []int{3}, "", "-"},
		{nested, nix, []int{1}, "", "Subject: i\r\n\r\nt\r\n"},
		{nested, nix, []int{1}, "HEADER", "Subject: i\r\n\r\n"},
		{nested, nix, []int{1}, "TEXT", "t\r\n"},
		{nested, nix, []int{1, 1}, "", "t\r\n"},
		{nested, nix, []int{1, 1, 1}, "", "-"},
		{nested, nix, []int{1, 2}, "", "-"},
	}
	for _, tt := range tests {
		off, n, ok := tt.ix.Section(tt.path, tt.spec)
		got := "-"
		if ok {
			got = tt.msg[off : off+n]
		}
		if got != tt.want {
			t.Errorf("%v %s: %q, want %q", tt.path, tt.spec, got, tt.want)
		}
	}
}

// The same answers whatever the size of the pieces that reading returns, and
// with lines around the size of a block.
func TestLinesAcrossBlocks(t *testing.T) {
	for _, n := range []int{0, 1, blockSize - 3, blockSize - 2, blockSize - 1, blockSize, blockSize + 1, 2*blockSize - 1, 2 * blockSize, 3*blockSize + 7} {
		long := strings.Repeat("x", n)
		msg := multi("b", long, "--b", "", long, "--b", "", long+"\r", "a", "--b--", long)
		ix := mustParse(t, msg, Limits{})
		if len(ix.Root.Children) != 2 {
			t.Fatalf("%d: %s", n, ix.Body)
		}
		a, b := ix.Root.Children[0], ix.Root.Children[1]
		if got := msg[a.BodyOff : a.BodyOff+a.BodyLen]; got != long {
			t.Errorf("%d: first part has %d bytes", n, len(got))
		}
		if got := msg[b.BodyOff : b.BodyOff+b.BodyLen]; got != long+"\r\r\na" || b.Lines != 2 {
			t.Errorf("%d: second part has %d bytes, %d lines", n, len(got), b.Lines)
		}
	}
	// A CR LF pair on the border of two blocks.
	for pad := blockSize - 80; pad < blockSize+2; pad++ {
		msg := multi("b", "--b", "", strings.Repeat("y", pad), "--b--", "")
		if ix := mustParse(t, msg, Limits{}); len(ix.Root.Children) != 1 || ix.Root.Children[0].BodyLen != int64(pad) {
			t.Fatalf("pad %d: %s", pad, ix.Body)
		}
	}
}

type failing struct{ after int64 }

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.after {
		return 0, errDisk
	}
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

var errDisk = errors.New("disk")

func TestReadErrors(t *testing.T) {
	if _, err := Parse(failing{100}, 100_000, Limits{}); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	if _, err := Parse(failing{100_000}, 200_000, Limits{}); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	// A message shorter than it was said to be must not look whole.
	if _, err := Parse(strings.NewReader("A: b\r\n"), 100, Limits{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, err := Parse(strings.NewReader(""), -1, Limits{}); err == nil {
		t.Error("negative size accepted")
	}
}

// Each file of the hostile corpus is listed, readable in every part, and its
// wire bytes keep the grammar.
func TestD7_HostileCorpus(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "hostile", "mime")
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, lim := range []Limits{{}, {Parts: 2, Depth: 1, Header: 64, Fields: 2}} {
			ix := mustParse(t, string(b), lim)
			if got, err := ReadHeader(bytes.NewReader(b), &ix.Root); err != nil || !bytes.HasPrefix(b, got) {
				t.Errorf("%s: header: %v", f.Name(), err)
			}
		}
	}
}
