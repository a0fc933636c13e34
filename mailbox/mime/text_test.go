package mime

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "",
		"Perché":                      "PERCHE\u0301",
		"PERCHE\u0301":                "PERCHE\u0301",
		"citt\xe0":                    "CITTA\u0300",
		"ﬁne":                         "FINE",
		"a\u00a0b":                    "A B",
		"ǆ ß €":                       "D\u017dž"[:1] + "Z\u030c ß €",
		"x\u0323\u0307 x\u0307\u0323": "X\u0323\u0307 X\u0323\u0307",
		"\xff\xfe\x00":                "Y\u0308\u00de"[:0] + "Y\u0308\u00de\x00",
	} {
		if got := Fold(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	// The table gives what the long way gives.
	for r := rune(0x80); r < 0x3000; r++ {
		if got, want := Fold(string(r)), string(foldAny(nil, []byte(string(r)))); got != want {
			t.Errorf("%U: %q, want %q", r, got, want)
		}
	}
}

// shownPieces walks through a message and copies what it is shown.
func shownPieces(t testing.TB, msg string, overlap int) []string {
	t.Helper()
	ix := mustParse(t, msg, Limits{})
	var out []string
	x := Texts{R: strings.NewReader(msg), Overlap: overlap, Piece: func(b []byte) bool { out = append(out, string(b)); return true }}
	if err := errors.Join(x.Header(&ix.Root), x.Body(&ix.Root)); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTextsAcrossBlocks(t *testing.T) {
	for _, charset := range []string{"utf-8", "iso-2022-jp", "utf-16", "windows-1252", "utf-7", "none"} {
		// Whatever stands at a block's end, what is looked for is found.
		for shift := range 5 {
			body := strings.Repeat("x", textBlock-3+shift) + "àèìòù trovato " + strings.Repeat("è", textBlock/2+shift) + "fine"
			msg := "Content-Type: text/plain; charset=" + charset + "\r\n\r\n" + body
			got := shownPieces(t, msg, 64)
			switch charset {
			case "utf-8", "none":
				for _, want := range []string{Fold("xàèìòù trovato è"), Fold("èfine")} {
					if !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, want) }) {
						t.Errorf("%s, shift %d: %q is not shown", charset, shift, want)
					}
				}
			}
		}
	}
}

func TestTextsStopAndFail(t *testing.T) {
	msg := "A: 1\r\nB: 2\r\nContent-Type: text/plain\r\n\r\ncorpo"
	ix := mustParse(t, msg, Limits{})
	n := 0
	x := Texts{R: strings.NewReader(msg), Piece: func([]byte) bool { n++; return n < 2 }}
	if err := x.Header(&ix.Root); err != nil || n != 2 {
		t.Errorf("%d pieces, %v", n, err)
	}
	limit := errors.New("limit")
	x = Texts{R: strings.NewReader(msg), Spend: func(int64) error { return limit }, Piece: func([]byte) bool { t.Error("a piece"); return true }}
	if err := x.Body(&ix.Root); !errors.Is(err, limit) {
		t.Error(err)
	}
	x = Texts{R: strings.NewReader(msg[:len(msg)-2]), Piece: func([]byte) bool { return true }}
	if err := x.Body(&ix.Root); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a message that is cut off: %v", err)
	}
}

func TestEnvelopeField(t *testing.T) {
	msg := "From: =?utf-8?q?Nicol=C3=B2?= <n@a.example>\r\nTo: a@b.example, Gruppo: c@d.example;\r\nSubject: \"Titolo\" {3}\r\nDate: Thu, 05 Mar 2026 11:00:00 +0100\r\n\r\n"
	ix := mustParse(t, msg, Limits{})
	for name, want := range map[string]string{
		"from": "NICOLO\u0300 <N@A.EXAMPLE>", "to": "A@B.EXAMPLE, GRUPPO, C@D.EXAMPLE", "subject": `"TITOLO" {3}`, "cc": "", "bcc": "", "x": "",
	} {
		got, ok := EnvelopeField(ix.Envelope, name)
		if string(got) != want || ok != (want != "") {
			t.Errorf("%s: %q %v", name, got, ok)
		}
	}
	if got := EnvelopeDate(ix.Envelope); !got.Equal(ix.Date) || got.IsZero() {
		t.Error(got)
	}
	for header, want := range map[string]bool{
		"Subject: a\r\nFrom: b@c.example\r\n\r\n":                               true,
		"Subject: a\r\nSubject: b\r\n\r\n":                                      false,
		"From: b@c.example (Ufficio)\r\n\r\n":                                   false,
		"From: \"U, V\" <b@c.example>, d@e.example\r\n\r\n":                     true,
		"Cc: a@b.example\r\nCc: d@e.example\r\n\r\n":                            false,
		"Subject: " + strings.Repeat("a", 9<<10) + "\r\n\r\n":                   false,
		"To: " + strings.Repeat("aaaaaaaaaa@b.example, ", 2000) + "x@y\r\n\r\n": false,
	} {
		ix := mustParse(t, header, Limits{})
		if got := Summarises(ix.Envelope, []byte(header)); got != want {
			t.Errorf("%.60q: %v", header, got)
		}
	}
}

// FuzzTexts: every message can be walked through, the pieces are bounded by its
// size, and a larger overlap hides nothing.
func FuzzTexts(f *testing.F) {
	dir := filepath.Join("..", "..", "testdata", "hostile", "mime")
	files, err := os.ReadDir(dir)
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(pecMessage()))
	f.Add([]byte("Content-Type: text/html; charset=utf-7\r\n\r\n+AOg-&egrave;"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		ix := mustParse(t, string(msg), Limits{})
		size := 0
		x := Texts{R: bytes.NewReader(msg), Overlap: 3, Piece: func(b []byte) bool { size += len(b); return true }}
		if err := errors.Join(x.Header(&ix.Root), x.Body(&ix.Root)); err != nil {
			t.Fatal(err)
		}
		if size > 40*len(msg)+1000 {
			t.Fatalf("%d bytes of %d", size, len(msg))
		}
		for _, name := range []string{"subject", "from", "to", "cc", "bcc"} {
			EnvelopeField(ix.Envelope, name)
			EnvelopeField(msg, name) // whatever is given
		}
		Summarises(ix.Envelope, msg)
		EnvelopeDate(msg)
	})
}
