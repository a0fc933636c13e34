package mime

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	// Writing encoded words as other clients would.
	"golang.org/x/text/encoding/charmap"
)

var (
	pinMark   = regexp.MustCompile(`\[PIN:[^\]]*\]`)
	pinFields = []string{"Subject", "Thread-Topic"}
)

func bWord(charset, s string) string {
	return "=?" + charset + "?B?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

// qWord encodes every byte, or only what must be.
func qWord(charset, s string, all bool) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if all || c >= 0x80 || c < ' ' || strings.IndexByte("=?_", c) >= 0 {
			fmt.Fprintf(&b, "=%02X", c)
		} else if c == ' ' {
			b.WriteByte('_')
		} else {
			b.WriteByte(c)
		}
	}
	return "=?" + charset + "?Q?" + b.String() + "?="
}

// A wrapped value of a field and what must come of it. want is the raw field
// value when it must be exactly that; text is its decoded form.
func TestCutMark(t *testing.T) {
	utf := func(s string) string { return bWord("utf-8", s) }
	tests := []struct{ name, in, want, text, found string }{
		{"no mark", " foo", " foo", "foo", ""},
		{"no mark, encoded", " " + utf("è"), " " + utf("è"), "è", ""},
		{"start", " [PIN:123456] foo", " foo", "foo", "[PIN:123456]"},
		{"middle", " foo [PIN:123456] bar", " foo bar", "foo bar", "[PIN:123456]"},
		{"end", " foo [PIN:123456]", " foo", "foo", "[PIN:123456]"},
		{"alone", " [PIN:123456]", " ", "", "[PIN:123456]"},
		{"no space before", "[PIN:1]foo", "foo", "foo", "[PIN:1]"},
		{"glued", " foo[PIN:1]bar", " foobar", "foobar", "[PIN:1]"},
		{"several", " [PIN:1] a [PIN:2] b [PIN:3]", " a b", "a b", "[PIN:1],[PIN:2],[PIN:3]"},
		{"nested", " [PI[PIN:1]N:2] a", " a", "a", "[PIN:1],[PIN:2]"},
		{"two spaces", " foo  [PIN:1]  bar", " foo   bar", "foo   bar", "[PIN:1]"},
		{"raw 8 bit", " caff\xe8 [PIN:1] \xc3\xa8", " caff\xe8 \xc3\xa8", "caffè Ã¨", "[PIN:1]"},
		{"tab", "\t[PIN:1]\tfoo", "\tfoo", "foo", "[PIN:1]"},
		{"colon at once", "[PIN:1]", "", "", "[PIN:1]"},
		{"wrong case is no mark", " [pin:1] x", " [pin:1] x", "[pin:1] x", ""},
		{"open is no mark", " [PIN:1 x", " [PIN:1 x", "[PIN:1 x", ""},
		{"empty mark", " [PIN:] x", " x", "x", "[PIN:]"},
		// folding
		{"own line", " foo\r\n [PIN:1]\r\n bar", " foo\r\n bar", "foo bar", "[PIN:1]"},
		{"own last line", " foo\r\n [PIN:1]", " foo", "foo", "[PIN:1]"},
		{"own first line", " [PIN:1]\r\n foo", " foo", "foo", "[PIN:1]"},
		{"line begins with it", " foo\r\n [PIN:1] bar", " foo\r\n bar", "foo bar", "[PIN:1]"},
		{"line begins with it, glued", " foo\r\n [PIN:1]bar", " foo\r\n bar", "foo bar", "[PIN:1]"},
		{"line ends with it", " foo [PIN:1]\r\n bar", " foo\r\n bar", "foo bar", "[PIN:1]"},
		{"over two lines", " foo [PIN:1\r\n 2] bar", " foo bar", "foo bar", "[PIN:1 2]"},
		{"over three lines", " [PIN:\r\n 1\r\n 2]\r\n bar", " bar", "bar", "[PIN: 1 2]"},
		{"all of a folded value", "\r\n [PIN:1]", "", "", "[PIN:1]"},
		{"folded value", "\r\n [PIN:1] foo", "\r\n foo", "foo", "[PIN:1]"},
		{"two own lines", " a\r\n [PIN:1]\r\n [PIN:2]\r\n b", " a\r\n b", "a b", "[PIN:1],[PIN:2]"},
		{"broken by folding", " foo [PI\r\n N:12] bar", " foo bar", "foo bar", "[PIN:12]"},
		{"line of space behind", " [PIN:1]\r\n ", "", "", "[PIN:1]"},
		// encoded words
		{"B", " " + utf("è [PIN:1] fine"), " =?utf-8?B?w6g=?= fine", "è fine", "[PIN:1]"},
		{"B alone", " " + utf("[PIN:1]"), " ", "", "[PIN:1]"},
		{"Q plain inside", " =?utf-8?Q?[PIN:123]_=C3=A8?=", " =?utf-8?B?w6g=?=", "è", "[PIN:123]"},
		{"Q all", " " + qWord("utf-8", "x [PIN:1] y", true), " x y", "x y", "[PIN:1]"},
		{"latin 1 B", " " + bWord("iso-8859-1", "citt\xe0 [PIN:1]"), " =?utf-8?B?Y2l0dMOg?=", "città", "[PIN:1]"},
		{"latin 1 Q", " " + qWord("ISO-8859-1", "citt\xe0 [PIN:1]", false), " =?utf-8?B?Y2l0dMOg?=", "città", "[PIN:1]"},
		{"windows-1252 Q", " " + qWord("Windows-1252", "\x80 [PIN:1] \x93", true), " " + utf("€ “"), "€ “", "[PIN:1]"},
		{"windows-1252 B", " " + bWord("windows-1252", "\x80 [PIN:1]"), " " + utf("€"), "€", "[PIN:1]"},
		{"utf-16", " " + bWord("utf-16be", "\x00[\x00P\x00I\x00N\x00:\x001\x00]"), " ", "", "[PIN:1]"},
		{"unknown set", " " + bWord("x-mine", "a [PIN:1]"), " a", "a", "[PIN:1]"},
		{"language", " " + bWord("utf-8*it", "a [PIN:1]"), " a", "a", "[PIN:1]"},
		{"lower-case b, no padding", " =?UTF-8?b?W1BJTjoxMl0?=", " ", "", "[PIN:12]"},
		{"split over two words", " " + utf("è [PI") + " " + utf("N:1] x"), " =?utf-8?B?w6g=?= x", "è x", "[PIN:1]"},
		{"split, folded", " " + utf("è [PIN:12") + "\r\n " + qWord("iso-8859-1", "34] \xe0", false), " " + utf("è à"), "è à", "[PIN:1234]"},
		{"split over five words", " " + utf("[P") + " " + utf("IN") + "\r\n\t" + qWord("utf-8", ":1", true) + " " + utf("2") + " " + utf("]è"), " " + utf("è"), "è", "[PIN:12]"},
		{"half plain", " [PIN:1" + utf("2]") + " x", " x", "x", "[PIN:12]"},
		{"half plain, other side", " " + utf("è [PIN:1") + "2] x", " =?utf-8?B?w6g=?= x", "è x", "[PIN:12]"},
		{"plain mark beside a word", " [PIN:1] " + utf("è"), " " + utf("è"), "è", "[PIN:1]"},
		{"plain mark between words", " " + utf("è") + " [PIN:1] " + utf("à"), " " + utf("è") + " " + utf("à"), "èà", "[PIN:1]"},
		{"plain and encoded", " [PIN:1] " + utf("[PIN:2] è"), " " + utf("è"), "è", "[PIN:1],[PIN:2]"},
		{"cutting makes a word", " =?utf-8[PIN:1]?B?W1BJTjoyXQ==?= x", " x", "x", "[PIN:1],[PIN:2]"},
		{"folded inside a word", " =?utf-8?B?W1BJ\r\n TjoxXQ==?= x", " x", "x", "[PIN:1]"},
		{"CR LF encoded", " " + utf("è\r\nBcc: evil@example.org\r\n\r\n[PIN:1]body"), " =?utf-8?B?w6g=?=  Bcc: evil@example.org   body", "è  Bcc: evil@example.org   body", "[PIN:1]"},
		{"CR LF in the mark", " " + utf("[PIN:1\r\nX-A: b]") + " y", " y", "y", "[PIN:1  X-A: b]"},
		{"NUL encoded", " " + utf("a\x00b [PIN:1]"), " a b", "a b", "[PIN:1]"},
		{"word in a word", " " + utf(utf("[PIN:2]")+" [PIN:1]"), " " + utf(utf("[PIN:2]")), utf("[PIN:2]"), "[PIN:1]"},
		{"word cut off", " x =?utf-8?B?W1BJTjoxXQ", " x", "x", "[PIN:1]"},
		{"word cut off before another", " =?utf-8?B?W1BJTjoxXQ== =?utf-8?Q?=C3=A8?=", " " + utf("è"), "è", "[PIN:1]"},
		{"utf-7", " =?utf-7?Q?x_+AFs-PIN:1+AF0-?=", " x", "x", "[PIN:1]"},
		{"mark in a set that hides it", " =?utf-16be?Q?[PIN:1]?=", "", "", "[PIN:1]"},
	}
	for _, tt := range tests {
		for _, name := range []string{"Subject", "subject", "THREAD-TOPIC", "Thread-Topic ", "SuBjEcT\t"} {
			for _, frame := range [][2]string{{"From: a@b\r\nX: [PIN:9]\r\n", "\r\nTo: c@d\r\n\r\n"}, {"", "\r\n\r\n"}, {"A: b\r\n", ""}} {
				in := frame[0] + name + ":" + tt.in + frame[1]
				got, found, err := CutMark([]byte(in), pinFields, pinMark)
				if err != nil {
					t.Errorf("%s: %v", tt.name, err)
					continue
				}
				if strings.Join(found, ",") != tt.found {
					t.Errorf("%s: found %q, want %q", tt.name, found, tt.found)
				}
				if tt.want == "" && tt.found != "" && strings.TrimSpace(tt.in) != tt.in && tt.text == "" {
					// Only what is left matters.
				} else if want := frame[0] + name + ":" + tt.want + frame[1]; string(got) != want {
					t.Errorf("%s: got  %q\nwant %q", tt.name, got, want)
				}
				checkCut(t, []byte(in), got, pinFields, pinMark)
				if len(frame[0]) > 6 && tt.text != "" {
					if f := Fields(got)[2]; DecodeWords(f.Body()) != tt.text {
						t.Errorf("%s: text %q, want %q", tt.name, DecodeWords(f.Body()), tt.text)
					}
				}
			}
		}
	}
}

// checkCut is the promise of CutMark, tested without its help.
func checkCut(t testing.TB, before, after []byte, fields []string, mark *regexp.Regexp) {
	t.Helper()
	hit := func(s string) bool {
		for _, m := range mark.FindAllString(s, -1) {
			if m != "" {
				return true
			}
		}
		return false
	}
	a, b := Fields(before), Fields(after)
	if len(a) != len(b) {
		t.Fatalf("%d fields became %d\nin  %q\nout %q", len(a), len(b), before, after)
	}
	end := [2]int{}
	for i := range a {
		end = [2]int{a[i].Off + len(a[i].Raw), b[i].Off + len(b[i].Raw)}
		if a[i].Name != b[i].Name {
			t.Fatalf("name %q became %q", a[i].Name, b[i].Name)
		}
		mine := false
		for _, f := range fields {
			mine = mine || strings.EqualFold(f, a[i].Name)
		}
		if !mine {
			if !bytes.Equal(a[i].Raw, b[i].Raw) {
				t.Fatalf("%q became %q", a[i].Raw, b[i].Raw)
			}
			continue
		}
		body := b[i].Body()
		for _, view := range []string{body, DecodeWords(body), strings.TrimLeft(string(b[i].Raw[bytes.IndexByte(b[i].Raw, ':')+1:]), " \t\r\n")} {
			if hit(view) {
				t.Fatalf("left in %q (%q)", view, b[i].Raw)
			}
		}
		if bytes.Equal(a[i].Raw, b[i].Raw) {
			continue
		}
		for k, l := range bytes.Split(bytes.TrimRight(b[i].Raw, "\r\n"), []byte("\n")) {
			if k > 0 && len(bytes.Trim(l, " \t\r")) == 0 && !bytes.Contains(a[i].Raw, append([]byte("\n"), l...)) {
				t.Fatalf("line of space in %q", b[i].Raw)
			}
		}
		if len(b[i].Raw) > 2*len(a[i].Raw)+100 && len(a[i].Raw) > 0 && !bytes.Contains(a[i].Raw, []byte("?")) {
			t.Fatalf("grew from %d to %d bytes", len(a[i].Raw), len(b[i].Raw))
		}
	}
	if !bytes.Equal(before[end[0]:], after[end[1]:]) {
		t.Fatalf("rest %q became %q", before[end[0]:], after[end[1]:])
	}
}

func TestCutMarkHeaders(t *testing.T) {
	head := "Received: x\r\n\ty\r\nSubject: a [PIN:1]\r\nno colon [PIN:3]\r\nsubject: " + bWord("utf-8", "è [PIN:2]") + "\r\nX-Subject: [PIN:4]\r\nThread-Topic: [PIN:1] a\r\nDate: now\r\n\r\nSubject: [PIN:5]\r\n"
	want := "Received: x\r\n\ty\r\nSubject: a\r\nno colon [PIN:3]\r\nsubject: =?utf-8?B?w6g=?=\r\nX-Subject: [PIN:4]\r\nThread-Topic: a\r\nDate: now\r\n\r\nSubject: [PIN:5]\r\n"
	got, found, err := CutMark([]byte(head), pinFields, pinMark)
	if err != nil || string(got) != want || strings.Join(found, ",") != "[PIN:1],[PIN:2],[PIN:1]" {
		t.Errorf("%v %q\n%q", err, found, got)
	}
	// The header given is never written to.
	if !strings.Contains(head, "Subject: a [PIN:1]") {
		t.Error("input changed")
	}
	// No match: the very same bytes.
	in := []byte("Subject: =?utf-8?Q?odd_?= \r\n\r\n")
	if got, found, err := CutMark(in, pinFields, pinMark); err != nil || found != nil || &got[0] != &in[0] {
		t.Errorf("%q %q %v", got, found, err)
	}
	// Bare LF stays bare LF.
	got, _, err = CutMark([]byte("A: b\nSubject: "+bWord("utf-8", "[PIN:1] "+strings.Repeat("è", 100))+"\nC: d\n\n"), pinFields, pinMark)
	if err != nil || bytes.Contains(got, []byte("\r")) {
		t.Errorf("%q %v", got, err)
	}
}

func TestCutMarkOtherMarks(t *testing.T) {
	tests := []struct{ mark, in, want string }{
		{`^\[PEC(:[^\]]*)?\]`, "Subject: [PEC:prot] foo\r\n", "Subject: foo\r\n"},
		{`^\[PEC(:[^\]]*)?\]`, "Subject: foo [PEC]\r\n", "Subject: foo [PEC]\r\n"},
		{`^\[PEC(:[^\]]*)?\]`, "Subject: " + bWord("utf-8", "[PEC] è") + "\r\n", "Subject: " + bWord("utf-8", "è") + "\r\n"},
		{`(?i)\[pin:\d+\]`, "Subject: [Pin:12] a\r\n", "Subject: a\r\n"},
		{`\s\[PIN:1\]`, "Subject: foo\r\n [PIN:1]bar\r\n", "Subject: foo\r\n bar\r\n"},
		{`\[PIN:.*?\]`, "Subject: a [PIN:1\r\n 2] b\r\n", "Subject: a b\r\n"},
		{``, "Subject: a\r\n", "Subject: a\r\n"},
		{`x*`, "Subject: axxb\r\n", "Subject: ab\r\n"},
	}
	for _, tt := range tests {
		got, _, err := CutMark([]byte(tt.in), pinFields, regexp.MustCompile(tt.mark))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %q %v, want %q", tt.mark, got, err, tt.want)
		}
	}
	// What cannot be taken out is refused, with nothing given back.
	for in, mark := range map[string]string{
		"Subject: " + bWord("utf-8", "è") + "\r\n":                           `[Bb]`,
		"Subject: " + strings.Repeat("[PIN:1]", 50) + "\r\n":                 `\[PIN:1\]`,
		"Subject: " + bWord("utf-8", strings.Repeat("[PIN:1]", 50)) + "\r\n": `\[PIN:1\]`,
	} {
		if got, found, err := CutMark([]byte(in), pinFields, regexp.MustCompile(mark)); !errors.Is(err, ErrMark) || got != nil || found != nil {
			t.Errorf("%s: %q %q %v", mark, got, found, err)
		}
	}
	if _, _, err := CutMark(make([]byte, 1<<20+1), pinFields, pinMark); !errors.Is(err, ErrHeaderTooBig) {
		t.Error(err)
	}
}

// A random PIN, in every way that clients write subjects, is in no byte of the
// result: plain, base64 at three alignments, quoted, over two words.
func TestG6_NoTraceOfThePIN(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	texts := []string{"", "Diffida", "Perché no", "€uro “x”", strings.Repeat("lungo ", 40), strings.Repeat("però ", 60)}
	for i := range 10_000 {
		pin := fmt.Sprintf("%06d", rnd.IntN(1_000_000))
		mark := "[PIN:" + pin + "]"
		before, after := texts[rnd.IntN(len(texts))], texts[rnd.IntN(len(texts))]
		value := writeLike(rnd, strings.TrimSpace(before+" "+mark+" "+after))
		head := "From: a@b\r\nSubject: " + value + "\r\nThread-Topic: " + writeLike(rnd, mark) + "\r\n\r\n"
		got, found, err := CutMark([]byte(head), pinFields, pinMark)
		if err != nil {
			t.Fatalf("%d: %v %q", i, err, head)
		}
		if len(found) != 2 || found[0] != mark || found[1] != mark {
			t.Fatalf("%d: found %q in %q", i, found, head)
		}
		checkCut(t, []byte(head), got, pinFields, pinMark)
		for _, needle := range traces(mark, pin) {
			if bytes.Contains(got, []byte(needle)) {
				t.Fatalf("%d: %q in %q", i, needle, got)
			}
		}
		want := strings.Join(strings.Fields(before+" "+after), " ")
		if text := strings.Join(strings.Fields(DecodeWords(Fields(got)[1].Body())), " "); text != want {
			t.Fatalf("%d: text %q, want %q\n%q", i, text, want, head)
		}
	}
}

// writeLike writes text as one of many clients would.
func writeLike(rnd *rand.Rand, text string) string {
	charset, data := "utf-8", []byte(text)
	if rnd.IntN(2) == 0 {
		if latin, err := charmap.Windows1252.NewEncoder().Bytes(data); err == nil {
			charset, data = []string{"windows-1252", "ISO-8859-1"}[rnd.IntN(2)], latin
		}
	}
	switch rnd.IntN(5) {
	case 0: // plain, folded at spaces, 8 bit
		return strings.ReplaceAll(text, " ", []string{" ", "\r\n ", " "}[rnd.IntN(3)])
	case 1:
		return qWord(charset, string(data), rnd.IntN(2) == 0)
	}
	// Words of random length, cut anywhere, also inside a character.
	var out []string
	for len(data) > 0 {
		n := min(1+rnd.IntN(45), len(data))
		if rnd.IntN(2) == 0 {
			out = append(out, bWord(charset, string(data[:n])))
		} else {
			out = append(out, qWord(charset, string(data[:n]), rnd.IntN(2) == 0))
		}
		data = data[n:]
	}
	return strings.Join(out, []string{" ", "\r\n ", "\r\n\t"}[rnd.IntN(3)])
}

func traces(mark, pin string) []string {
	list := []string{mark, pin, qWord("utf-8", pin, true)[10:28]}
	for shift := range 3 {
		enc := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + mark))
		// Without the characters that depend on what stands around.
		list = append(list, enc[(shift*8+5)/6:len(enc)-4])
	}
	return list
}

func TestG7_NoNewHeader(t *testing.T) {
	for _, inner := range []string{"\r\nBcc: x@y", "\nBcc: x@y", "\rBcc: x@y", "\r\n\r\nbody", "\x00", "\x0b\x0c\u0085\u2028", strings.Repeat("A", 10_000), strings.Repeat("\r\n", 3000), "a] [PIN:", "=?utf-8?Q?=0D=0ABcc:_x?="} {
		for _, form := range []string{"[PIN:%s]", "[PIN:1]%s", "%s[PIN:1]", "%s [PIN:1%s] %s"} {
			text := strings.ReplaceAll(form, "%s", inner)
			for _, value := range []string{bWord("utf-8", text), qWord("utf-8", text, true), qWord("iso-8859-1", text, false), bWord("utf-8", text[:len(text)/2]) + "\r\n\t" + bWord("utf-8", text[len(text)/2:])} {
				head := "From: a@b\r\nSubject: " + value + "\r\nTo: c@d\r\n\r\n"
				got, found, err := CutMark([]byte(head), pinFields, pinMark)
				if err != nil || len(found) == 0 {
					t.Fatalf("%.60q: %q %v", text, found, err)
				}
				checkCut(t, []byte(head), got, pinFields, pinMark)
				f := Fields(got)[1]
				checkFolded(t, strings.TrimSuffix(string(f.Raw), "\r\n"))
				if !strings.HasSuffix(string(got), "\r\nTo: c@d\r\n\r\n") || len(Fields(got)) != 3 {
					t.Fatalf("%q", got)
				}
			}
		}
	}
	// 10 kB of plain text keeps its bytes, whatever the folding.
	long := strings.Repeat("parola\r\n ", 1200)
	head := "Subject: " + long + "[PIN:123456] fine\r\n\r\n"
	got, _, err := CutMark([]byte(head), pinFields, pinMark)
	if want := "Subject: " + long + "fine\r\n\r\n"; err != nil || string(got) != want {
		t.Errorf("%v", err)
	}
}

func FuzzCutMark(f *testing.F) {
	for _, s := range []string{
		"Subject: a [PIN:1] b\r\n\r\n", "Subject: =?utf-8?B?W1BJTjoxXQ==?=\r\nThread-Topic: [PIN:2]\r\n\r\n",
		"subject:\r\n [PIN:1]\r\n x\r\n\r\nbody", "Subject: =?utf-8?Q?[PI?=\r\n =?utf-8?Q?N:1]=0D=0AX:y?=\r\n", "Subject: [PI\r\n N:1]\n x\r\n",
		"SUBJECT : =?iso-8859-1?Q?=5BPIN:1=5D_\xe0?= [PIN:\r\n\t]\r\n \r\n", "Subject: =?utf-8[PIN:1]?B?W1BJTjoyXQ==?=", "Subject: =?utf-16be?Q?[PIN:1]?=\r\n",
		"Subject: [PIN:=?utf-8?Q?=5D?= x]\r\n",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(2))
	}
	marks := []*regexp.Regexp{pinMark, regexp.MustCompile(`(?i)\[PIN:\d+\]`), regexp.MustCompile(`^\[P.*?\]`)}
	f.Fuzz(func(t *testing.T, head []byte, which uint8) {
		mark := marks[int(which)%len(marks)]
		keep := bytes.Clone(head)
		got, found, err := CutMark(head, pinFields, mark)
		if !bytes.Equal(head, keep) {
			t.Fatal("input written to")
		}
		if err != nil {
			// Refusing is for hostile heaps of marks only.
			if bytes.Count(head, []byte("[")) < 20 && len(head) < 500 {
				t.Fatalf("%v", err)
			}
			return
		}
		if (len(found) == 0) != bytes.Equal(got, head) {
			t.Fatalf("found %q, changed %v", found, !bytes.Equal(got, head))
		}
		checkCut(t, head, got, pinFields, mark)
		again, found, err := CutMark(got, pinFields, mark)
		if err != nil || len(found) != 0 || !bytes.Equal(again, got) {
			t.Fatalf("not stable: %q %q %v", got, found, err)
		}
	})
}
