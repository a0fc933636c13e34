package mime

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestDecodeWords(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"=?utf-8?B?U29jaWV0w6A=?=", "Società"},
		{"=?UTF-8?b?U29jaWV0w6A?=", "Società"}, // no padding
		{"=?iso-8859-1?Q?Societ=E0_=28x=29?=", "Società (x)"},
		{"=?windows-1252?Q?=80_=93x=94?=", "€ “x”"},
		{"=?iso-8859-1?Q?=93x=94?=", "“x”"},
		{"=?iso-8859-15?Q?=A4?=", "€"},
		{"=?utf-16be?B?AEEAQg==?=", "AB"},
		{"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"},
		{"=?koi8-r?B?8NLJ18XU?=", "Привет"},
		{"=?utf-8*it?Q?a?=", "a"},
		{"=?no-such-set?Q?=E0?=", "à"},
		{"=?no-such-set?B?w6A=?=", "à"},
		{"a =?utf-8?Q?b?= c", "a b c"},
		{"a=?utf-8?Q?b?=c", "abc"},
		{"=?utf-8?Q?a?= =?utf-8?Q?b?=", "ab"},
		{"=?utf-8?Q?a?=\r\n\t=?utf-8?Q?b?=", "ab"},
		{"=?utf-8?Q?a?=\r\n c", "a c"},
		{"=?utf-8?B?4oI=?= =?utf-8?B?rA==?=", "€"}, // one character in two words
		{"=?utf-8?Q?=C3?= =?iso-8859-1?Q?=E0?=", "Ãà"},
		{"=?utf-8?Q?what??=", "what?"},
		{"=?utf-8?Q?a b?=", "a b"},
		{"=?utf-8?Q?a=0D=0ABcc:=20x=00y?=", "a  Bcc: x y"},
		{"a\rb\x00c\x7f", "a b c "},
		{"=?utf-8?Q?=", "="},
		{"=?utf-8?Q?", "=?utf-8?Q?"},
		{"=?utf-8?B?w6A", "à"}, // cut off
		{"=?utf-8?B?w6A= x =?utf-8?B?w6A=?", "à x à"},
		{"=?utf-7?Q?citt+AOA-,+-+AFs-x+AF0?=", "città,+[x]"},
		{"=?utf-8?B?!!!?=", "=?utf-8?B?!!!?="},
		{"=?utf-8?B?YQ==YQ==?=", "aa"},
		{"=?utf-8?X?a?=", "=?utf-8?X?a?="},
		{"=??Q?a?=", "=??Q?a?="},
		{"=?utf-8?Q?open =?utf-8?Q?a?=", "opena"},
		{"=?utf-8?Q?=?=", "="},
		{"caff\xe8", "caffè"},
		{"caffè", "caffè"},
		{"=?utf-8?Q??=", ""},
	}
	for _, tt := range tests {
		if got := DecodeWords(tt.in); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
	if got := DecodeWords(strings.Repeat("x", 2<<20)); len(got) != 1<<20 {
		t.Errorf("%d bytes", len(got))
	}
}

// Bombs of beginnings and of small words take one pass each.
func TestF4_EncodedWordBombs(t *testing.T) {
	for _, s := range []string{"=?a?Q?x ", "=?a?B?", "=?utf-16?Q?a?= ", "=?a?Q?x =?a?B?! ", "=?iso-2022-jp?Q?a?= =?koi8-r?Q?a?= ", "=?"} {
		for _, tail := range []string{"", "?="} {
			if got := DecodeWords(strings.Repeat(s, (256<<10)/len(s)) + tail); !utf8.ValidString(got) {
				t.Errorf("%q: not UTF-8", s)
			}
		}
	}
}

func FuzzDecodeWords(f *testing.F) {
	for _, s := range []string{"=?utf-8?B?U29jaWV0w6A=?=", "=?iso-8859-1?Q?a=E0?= =?utf-8?Q?=0D=0A?=", "=?utf-16?B?////?=", "a =?x?q?_?=\r\n b", "=?utf-8?Q?open =?utf-8?B?YQ?="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := DecodeWords(s)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") {
			t.Fatalf("%q", got)
		}
		if len(got) > 10*len(s)+10 {
			t.Fatalf("%d bytes out of %d", len(got), len(s))
		}
		// What is shown can be written and read again.
		text := strings.TrimSpace(got)
		enc := string(encodeText(9, text, "\r\n"))
		if back := DecodeWords(enc); back != text {
			t.Fatalf("%q written as %q reads %q", text, enc, back)
		}
		checkFolded(t, "Subject: "+enc)
		AddressList(s)
		ParseDate(s)
		parseParams(s)
	})
}

// checkFolded tests one written field: short lines, ASCII, no line of space.
func checkFolded(t testing.TB, field string) {
	t.Helper()
	for i, l := range strings.Split(field, "\r\n") {
		if len(l) > 76 || i > 0 && (strings.Trim(l, " \t") == "" || !isSpace(l[0])) {
			t.Fatalf("line %d of %q", i, field)
		}
		for _, c := range []byte(l) {
			if c < ' ' && c != '\t' || c >= 0x7f {
				t.Fatalf("byte %#x in %q", c, l)
			}
		}
	}
}

func TestEncodeText(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", ""},
		{"plain text", "plain text"},
		{"caffè nero", "=?utf-8?B?Y2FmZsOo?= nero"},
		{"è è x", "=?utf-8?B?w6ggw6g=?= x"},
		{"a =?utf-8?Q?b?= c", "a =?utf-8?B?PT91dGYtOD9RP2I/PQ==?= c"},
		{strings.TrimSpace(strings.Repeat("word ", 20)), strings.TrimSpace(strings.Repeat("word ", 13)) + "\r\n" + strings.TrimRight(strings.Repeat(" word", 7), " ")},
	}
	for _, tt := range tests {
		if got := string(encodeText(9, tt.text, "\r\n")); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
	for _, text := range []string{strings.Repeat("x", 10_000), strings.Repeat("€", 5000), strings.Repeat("a è ", 2000) + "a", "a" + strings.Repeat(" ", 500) + "b", strings.Repeat("𝄞", 100) + "x"} {
		for col := 2; col < 100; col += 7 {
			enc := string(encodeText(col, text, "\r\n"))
			if got := DecodeWords(strings.TrimPrefix(enc, "\r\n ")); got != text {
				t.Errorf("column %d: %.40q changed", col, text)
			}
			if col < 76 {
				checkFolded(t, strings.Repeat("n", col)+enc)
			}
		}
	}
}

func TestAddressList(t *testing.T) {
	tests := []struct {
		in   string
		want []Address
	}{
		{"", nil},
		{"a@b.example", []Address{{"", "a", "b.example"}}},
		{"Mario Rossi <m@x.example>, \"Rossi, L.\" <l@x.example>", []Address{{"Mario Rossi", "m", "x.example"}, {"Rossi, L.", "l", "x.example"}}},
		{"=?utf-8?Q?Citt=C3=A0?= <c@x.example>", []Address{{"Città", "c", "x.example"}}},
		{"a@b.example (Real Name)", []Address{{"Real Name", "a", "b.example"}}},
		{"undisclosed-recipients:;", nil},
		{"Team: a@b, C <c@d>; e@f", []Address{{"", "a", "b"}, {"C", "c", "d"}, {"", "e", "f"}}},
		{"bad, <worse, fine@x.example", []Address{{"", "bad", ""}, {"", "worse", ""}, {"", "fine", "x.example"}}},
		{"\"a b\"@x.example", []Address{{"", "a b", "x.example"}}},
		{"X <\"a@b\"@x.example>", []Address{{"X", "a@b", "x.example"}}},
		{"<@r1,@r2:a@b>", []Address{{"", "a", "b"}}},
		{"<a (x)@ (y (z)) b.example>, (only a comment) , T:; (x)", []Address{{"", "a", "b.example"}}},
		{"<a(b@c.example>, d@e", []Address{{"", "a(b", "c.example"}, {"", "d", "e"}}},
		{"\"Per conto di: a@pec.example\"\r\n <p@g.example>", []Address{{"Per conto di: a@pec.example", "p", "g.example"}}},
		{"a @ b . example", []Address{{"", "a", "b.example"}}},
		{"a@b;c@d", []Address{{"", "a", "b"}, {"", "c", "d"}}},
		{"\"=?utf-8?Q?a=0D=0ABcc:?=\" <a@b>", []Address{{"a  Bcc:", "a", "b"}}},
	}
	for _, tt := range tests {
		if got := AddressList(tt.in); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
	if n := len(AddressList(strings.Repeat("a@b,", 50_000))); n != maxAddresses {
		t.Errorf("%d addresses", n)
	}
}

func TestEnvelope(t *testing.T) {
	tests := []struct{ header, want string }{
		{"", `(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"Subject:\r\n", `(NIL "" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"From: a@b\r\nSender:\r\nReply-To: , \r\n", `(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL)`},
		{"From: a@b\r\nSender: c@d\r\n", `(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "c" "d")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL)`},
		{"To: T: a@b, c@d;, e@f\r\nTo: g@h\r\n", `(NIL NIL NIL NIL NIL ((NIL NIL "T" NIL)(NIL NIL "a" "b")(NIL NIL "c" "d")(NIL NIL NIL NIL)(NIL NIL "e" "f")(NIL NIL "g" "h")) NIL NIL NIL NIL)`},
		{"To: undisclosed-recipients:;\r\n", `(NIL NIL NIL NIL NIL ((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL)) NIL NIL NIL NIL)`},
		{"To: open: a@b\r\n", `(NIL NIL NIL NIL NIL ((NIL NIL "open" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL)) NIL NIL NIL NIL)`},
		{"To: <@r1,@r2:a@b>, G: (x);\r\n", `(NIL NIL NIL NIL NIL ((NIL "@r1,@r2" "a" "b")(NIL NIL "G" NIL)(NIL NIL NIL NIL)) NIL NIL NIL NIL)`},
		{"From: root\r\n", `(NIL NIL ((NIL NIL "root" "")) ((NIL NIL "root" "")) ((NIL NIL "root" "")) NIL NIL NIL NIL NIL)`},
		{"Subject: caff\xe8\r\n", "(NIL {5}\r\ncaff\xe8 NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"Subject: a\rb\r\n", "(NIL {3}\r\na\rb NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"Subject: a\x00b\r\n\tc\r\n", "(NIL \"ab\tc\" NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"Subject: one\r\nSubject: two\r\nIn-Reply-To: <x> <y>\r\n", `(NIL "one" NIL NIL NIL NIL NIL NIL "<x> <y>" NIL)`},
		{"Subject: =?utf-8?Q?a?=\r\n", `(NIL "=?utf-8?Q?a?=" NIL NIL NIL NIL NIL NIL NIL NIL)`},
	}
	for _, tt := range tests {
		ix := mustParse(t, tt.header+"\r\n", Limits{})
		if got := string(ix.Envelope); got != tt.want {
			t.Errorf("%q\ngot  %s\nwant %s", tt.header, got, tt.want)
		}
	}
}

func TestParams(t *testing.T) {
	tests := []struct{ in, value, name, file string }{
		{`text/plain; charset=UTF-8; name="a b.txt"`, "text/plain", "a b.txt", ""},
		{`x/y; name=my file.pdf; filename="C:\dir\file.txt"`, "x/y", "my file.pdf", `C:\dir\file.txt`},
		{`x/y; name="a\"b\\c"`, "x/y", `a"b\c`, ""},
		{`x/y; name="open`, "x/y", "open", ""},
		{`x/y; name==?utf-8?Q?citt=C3=A0?=`, "x/y", "città", ""},
		{`x/y; name*=utf-8''citt%C3%A0; name=worse`, "x/y", "città", ""},
		{`x/y; name=worse; name*=iso-8859-1'it'citt%e0`, "x/y", "città", ""},
		{`x/y; name*1*=%C3%A0; name*0*=utf-8''citt; name*2=".pdf"`, "x/y", "città.pdf", ""},
		{`x/y; name*0=a; name*0=no; name*1=b`, "x/y", "ab", ""},
		{`x/y (c) ; NAME = a (1).pdf`, "x/y", "a (1).pdf", ""},
		{`; name=a`, "", "a", ""},
		{"", "", "", ""},
		{`x/y; =; ; name; "=`, "x/y", "", ""},
		{"x/y; name=\"a\x00\r\nb\"", "x/y", "ab", ""},
	}
	for _, tt := range tests {
		value, _, m := parseParams(tt.in)
		if value != tt.value || m["name"] != tt.name || m["filename"] != tt.file {
			t.Errorf("%q: %q %q", tt.in, value, m)
		}
	}
}

func TestParseDate(t *testing.T) {
	cet := time.FixedZone("", 3600)
	tests := []struct {
		in   string
		want time.Time
	}{
		{"Tue, 7 Jan 2025 09:15:42 +0100 (CET)", time.Date(2025, 1, 7, 9, 15, 42, 0, cet)},
		{"7 Jan 2025 09:15 +0100", time.Date(2025, 1, 7, 9, 15, 0, 0, cet)},
		{"Tue 7 jan 25 09:15:42 GMT", time.Date(2025, 1, 7, 9, 15, 42, 0, time.UTC)},
		{"7-Jan-2025 09:15:42 -0530", time.Date(2025, 1, 7, 14, 45, 42, 0, time.UTC)},
		{"Tue, 07 January 2025 09:15:42", time.Date(2025, 1, 7, 9, 15, 42, 0, time.UTC)},
		{"31 Dec 99 23:59:60 EST", time.Date(2000, 1, 1, 5, 0, 0, 0, time.UTC)},
		{"", time.Time{}}, {"soon", time.Time{}}, {"99 Jan 2025 09:15:42 +0100", time.Time{}}, {"7 Foo 2025 09:15:42", time.Time{}}, {"7 Jan 2025 25:00", time.Time{}},
	}
	for _, tt := range tests {
		if got := ParseDate(tt.in); !got.Equal(tt.want) {
			t.Errorf("%q: %v", tt.in, got)
		}
	}
}

func TestFields(t *testing.T) {
	header := "A: 1\r\nb : 2\r\n\tmore\r\nno colon\r\n: none\r\nC:3\n \n\r\nD: body\r\n"
	var got []string
	joined := ""
	for _, f := range Fields([]byte(header)) {
		got = append(got, f.Name+"|"+f.Body())
		if !strings.HasPrefix(header[f.Off:], string(f.Raw)) {
			t.Errorf("%q not at %d", f.Raw, f.Off)
		}
		joined += string(f.Raw)
	}
	want := []string{"A|1", "b|2\tmore", "|no colon", "|: none", "C|3"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	if joined+"\r\nD: body\r\n" != header {
		t.Errorf("%q", joined)
	}
	if got := string(SelectFields([]byte(header), []string{"B", "c", "x", ""}, false)); got != "b : 2\r\n\tmore\r\nC:3\n \n\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(SelectFields([]byte(header), []string{"B", "c"}, true)); got != "A: 1\r\nno colon\r\n: none\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(SelectFields([]byte("A: 1"), []string{"a"}, false)); got != "A: 1\r\n\r\n" {
		t.Errorf("%q", got)
	}
	many := append(make([]string, 100), "X", "B", "c")
	if got := string(SelectFields([]byte(header), many, true)); got != "A: 1\r\nno colon\r\n: none\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(SelectFields(nil, []string{"a"}, false)); got != "\r\n" {
		t.Errorf("%q", got)
	}
}

func TestContent(t *testing.T) {
	long := strings.Repeat("Lorem ipsum = \x00\xff\r\n", 5000)
	tests := []struct{ encoding, body, want string }{
		{"7bit", "a=20\r\n", "a=20\r\n"},
		{"base64", "aGVs\r\nbG8=\r\n", "hello"},
		{"base64", "aGVsbG8", "hello"},
		{"base64", "a!G.Vs bG8==\x00", "hello"},
		{"base64", "YQ==YQ==", "aa"},
		{"base64", "Y", ""},
		{"base64", base64.StdEncoding.EncodeToString([]byte(long)), long},
		{"quoted-printable", "a=3Db=\r\nc  \r\nd =\r\ne=\n=e8=zz=", "a=b" + "c\r\nd e\xe8=zz"},
		{"quoted-printable", "x = \t\r\ny", "x y"},
	}
	for _, tt := range tests {
		msg := "Content-Transfer-Encoding: " + tt.encoding + "\r\n\r\n" + tt.body
		ix := mustParse(t, msg, Limits{})
		var b strings.Builder
		buf := make([]byte, 7)
		r := Content(strings.NewReader(msg), &ix.Root)
		for {
			n, err := r.Read(buf)
			b.Write(buf[:n])
			if err != nil {
				break
			}
		}
		if got := b.String(); got != tt.want {
			t.Errorf("%s %.40q: %.60q, want %.60q", tt.encoding, tt.body, got, tt.want)
		}
	}
	if _, err := Content(strings.NewReader("short"), &Part{BodyLen: 10, Encoding: "base64"}).Read(make([]byte, 100)); err == nil {
		t.Error("short body read without error")
	}
}
