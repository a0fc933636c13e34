package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const sep = "From a@alfa.example Fri Jul  3 09:15:42 2026\n"

func splitText(t testing.TB, text string) (out []string, quoted []int) {
	t.Helper()
	check(t, split(context.Background(), strings.NewReader(text), int64(len(text)), func(s span) error {
		out = append(out, text[s.off:s.off+s.size])
		quoted = append(quoted, s.quoted)
		return nil
	}))
	return out, quoted
}

func TestSplit(t *testing.T) {
	one, two := letter(1, "one"), letter(2, "two")
	cl := func(m string) string {
		head, body, _ := strings.Cut(m, "\n\n")
		return fmt.Sprintf("%s\nContent-Length: %d\n\n%s", head, len(body), body)
	}
	tricky := letter(3, "text\n\nFrom: the beginning\nFrom here on\nAll: is text\n\nFrom now on\nthere is none")
	fake := letter(4, "text\n\nFrom here on\nDate: a line like a field of every message")
	prose := letter(5, "text\n\nFrom here on\nnote: a line like a field\n\nFrom Monday on\nSubject: work\n\n"+
		"From 10:30 on in the year 2026\nthere is none\n\nFrom him\n>From her\nnote: a third")
	// A header of many fields before one that is known.
	long := "X-Label: " + strings.Repeat("x", 70) + "\n\t" + strings.Repeat(strings.Repeat("y", 70)+"\n\t", 100) + "z\n" + one
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"one":                                {sep + one + "\n", []string{one}},
		"two":                                {sep + one + "\n" + sep + two + "\n", []string{one, two}},
		"no blank line at the end":           {sep + one + "\n" + sep + two, []string{one, two}},
		"no line end at the end":             {sep + one + "\n" + sep + strings.TrimSuffix(two, "\n"), []string{one, strings.TrimSuffix(two, "\n")}},
		"body ends with blank line":          {sep + one + "\n\n" + sep + two + "\n\n", []string{one + "\n", two + "\n"}},
		"CRLF":                               {crlf(sep + one + "\n" + sep + two + "\n"), []string{crlf(one), crlf(two)}},
		"CRLF in an LF file":                 {sep + crlf(one) + "\n" + sep + crlf(two) + "\n", []string{crlf(one), crlf(two)}},
		"bare separator":                     {"From \n" + one + "\nFrom \n" + two + "\n", []string{one, two}},
		"separator without a date":           {"From - \n" + one + "\nFrom - \n" + two + "\n", []string{one, two}},
		"text that only begins like one":     {sep + tricky + "\n" + sep + two + "\n", []string{tricky, two}},
		"no blank line before":               {sep + letter(1, "x\n"+sep+"Subject: y") + "\n", []string{letter(1, "x\n"+sep+"Subject: y")}},
		"message without a header":           {sep + one + "\n" + sep + "\nonly text\n\n" + sep + two, []string{one, "\nonly text\n", two}},
		"message of nothing":                 {sep, []string{""}},
		"older separator inside, quoted":     {sep + ">" + sep + one + "\n", []string{">" + sep + one}},
		"header only":                        {sep + "Subject: a\n\n" + sep + two, []string{"Subject: a\n", two}},
		"unquoted text splits where it must": {sep + fake + "\n", []string{letter(4, "text"), "Date: a line like a field of every message\n"}},
		"prose that begins with From":        {sep + prose + "\n" + sep + two + "\n", []string{prose, two}},
		"prose with CRLF":                    {crlf(sep + prose + "\n" + sep + two + "\n"), []string{crlf(prose), crlf(two)}},
		"undated, an older separator inside": {"From -\n" + one + "\nFrom -\n>" + sep + one + "\n", []string{one, ">" + sep + one}},
		"undated, a long header":             {"From -\n" + one + "\nFrom -\n" + long + "\n", []string{one, long}},
		"dated in other ways": {sep + one + "\nFrom 1234567890@xxx Fri Jul 03 09:15:42 +0000 2026\nX-GM-THRID: 1\n\nx\n" +
			"\nFrom a@alfa.example Fri, 3 Jul 2026 9:15:42 +0200\nX-A: 1\n\ny\n\nFrom - Fri Jul  3 09:15 2026\nX-Mozilla-Status: 0001\n\nz\n",
			[]string{one, "X-GM-THRID: 1\n\nx\n", "X-A: 1\n\ny\n", "X-Mozilla-Status: 0001\n\nz\n"}},
		"dated in another language":            {sep + one + "\nFrom - ven lug  3 09:15:42 2026\n" + two + "\n", []string{one, two}},
		"mboxcl2 needs no quoting":             {sep + cl(fake) + "\n" + sep + cl(two) + "\n", []string{cl(fake), cl(two)}},
		"mboxcl2 at once":                      {sep + cl(fake) + sep + cl(two), []string{cl(fake), cl(two)}},
		"mboxcl2 with CRLF between":            {sep + cl(fake) + "\r\n" + sep + cl(two) + "\r\n", []string{cl(fake), cl(two)}},
		"a length too long is not believed":    {sep + "Content-Length: 9999\n" + one + "\n" + sep + two, []string{"Content-Length: 9999\n" + one, two}},
		"one length among none hides nothing":  {sep + swallow(one, sep+two) + sep + two + "\n" + sep + one, []string{strings.TrimSuffix(swallow(one, sep+two), "\n"), two, one}},
		"two lengths in a message are no sign": {sep + "Content-Length: 4\n" + cl(one) + "\n", []string{"Content-Length: 4\n" + cl(one)}},
		"a negative length":                    {sep + "Content-Length: -1\n" + one, []string{"Content-Length: -1\n" + one}},
	} {
		got, _ := splitText(t, c.text)
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, c.want)
		}
	}
}

// swallow gives m a Content-Length that takes in what follows.
func swallow(m, next string) string {
	head, body, _ := strings.Cut(m, "\n\n")
	return fmt.Sprintf("%s\nContent-Length: %d\n\n%s\n", head, len(body)+1+len(next), body)
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// writers of mbox, as the variants do it.
func quoteRD(m string) string {
	head, body, _ := strings.Cut(m, "\n\n")
	lines := strings.Split(body, "\n")
	for i, l := range lines {
		if strings.HasPrefix(strings.TrimLeft(l, ">"), "From ") {
			lines[i] = ">" + l
		}
	}
	return head + "\n\n" + strings.Join(lines, "\n")
}

func quoteO(m string) string {
	head, body, _ := strings.Cut(m, "\n\n")
	lines := strings.Split(body, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "From ") {
			lines[i] = ">" + l
		}
	}
	return head + "\n\n" + strings.Join(lines, "\n")
}

func TestUnquoted(t *testing.T) {
	plain := letter(1, "Hello")
	flat := letter(2, "From one\nx\nFrom two\n\nFrom three")
	deep := letter(3, "From one\n>From two\n>>From three\n>Fromage\n> From\nx >From y")
	already := letter(4, ">>From one")
	for _, c := range []struct {
		text, want string
		by         Unquoting
		quoted     int
		ways       int
	}{
		{plain, plain, "", 0, 0},
		{quoteRD(flat), flat, Mboxrd, 3, 1},
		{quoteO(flat), flat, Mboxrd, 3, 1},
		{quoteRD(deep), deep, Mboxrd, 3, 2},
		{quoteO(letter(5, "From one\n>>From two")), letter(5, "From one\n>>From two"), Mboxo, 2, 2},
		{quoteRD(already), already, Mboxrd, 1, 1},
	} {
		for _, ends := range []func(string) string{func(s string) string { return s }, crlf} {
			p := filepath.Join(t.TempDir(), "box")
			check(t, os.WriteFile(p, []byte(ends(sep+c.text+"\n"+sep+plain)), 0o600))
			n := 0
			check(t, Walk(context.Background(), p, Options{}, func(it Item) error {
				defer it.Close()
				if n++; n > 1 {
					return nil
				}
				if got := readAll(t, it, it.Size); got != ends(c.text) {
					t.Errorf("raw bytes %q\nwant %q", got, ends(c.text))
				}
				ways := it.Unquotings()
				if it.Quoted != c.quoted || len(ways) != c.ways {
					t.Errorf("%q: %d quoted, ways %v", c.text, it.Quoted, ways)
				}
				if c.ways == 0 {
					return nil
				}
				r, size := it.Unquoted(c.by)
				if got := readAll(t, r, size); got != ends(c.want) {
					t.Errorf("%s: got %q\nwant %q", c.by, got, ends(c.want))
				}
				return nil
			}))
			if n != 2 {
				t.Errorf("%d messages", n)
			}
		}
	}
}

// Any range of what is read with gaps is that of the whole.
func TestUnquotedRanges(t *testing.T) {
	const body = "From a\nxx\nFrom b\nFrom c\ny"
	text := letter(1, body)
	quoted := quoteRD(text)
	var it Item
	check(t, split(context.Background(), strings.NewReader(sep+quoted), int64(len(sep+quoted)), func(s span) error {
		it = Item{ReaderAt: strings.NewReader(quoted), Size: s.size, quotes: s.quotes}
		return nil
	}))
	r, size := it.Unquoted(Mboxrd)
	if size != int64(len(text)) {
		t.Fatalf("size %d, want %d", size, len(text))
	}
	for off := range len(text) + 1 {
		for n := range len(text) - off + 2 {
			b := make([]byte, n)
			got, err := r.ReadAt(b, int64(off))
			want := text[off:min(off+n, len(text))]
			if string(b[:got]) != want || (err == nil) != (got == n) {
				t.Fatalf("at %d, %d bytes: %q, %v, want %q", off, n, b[:got], err, want)
			}
		}
	}
}

// More quoted lines than are kept: counted, but there is no unquoted form.
func TestUnquotedTooMany(t *testing.T) {
	text := sep + letter(1, strings.Repeat(">From x\n", maxQuotes+5))
	check(t, split(context.Background(), strings.NewReader(text), int64(len(text)), func(s span) error {
		if s.quoted != maxQuotes+5 || s.quotes != nil {
			t.Errorf("%d quoted, %d kept", s.quoted, len(s.quotes))
		}
		return nil
	}))
}

// A line of any length and an error of the caller or of the context end well.
func TestSplitEnds(t *testing.T) {
	text := sep + letter(1, strings.Repeat("x", 5*lineBuf)+"\n\n"+strings.Repeat("y", lineBuf-1)) + "\n" + sep + letter(2, "two")
	got, _ := splitText(t, text)
	if len(got) != 2 {
		t.Errorf("%d messages", len(got))
	}
	ours := errors.New("ours")
	err := split(context.Background(), strings.NewReader(text), int64(len(text)), func(span) error { return ours })
	if !errors.Is(err, ours) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := split(ctx, strings.NewReader(text), int64(len(text)), func(span) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What a message costs does not depend on the buffer that its lines are read with.
func TestSplitTiny(t *testing.T) {
	const n = 2000
	for _, lengths := range []bool{false, true} {
		text := tinyBox(n, lengths)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := 0
		check(t, split(context.Background(), bytes.NewReader(text), int64(len(text)), func(span) error { got++; return nil }))
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / n; got != n || each > 1024 {
			t.Errorf("lengths %v: %d messages, %d bytes allocated for each", lengths, got, each)
		}
	}
}

// A file that becomes shorter while it is read ends the walk, not more.
func TestSplitShrinks(t *testing.T) {
	for _, lengths := range []bool{false, true} {
		text := tinyBox(1000, lengths)
		check(t, split(context.Background(), bytes.NewReader(text[:len(text)/2]), int64(len(text)), func(span) error { return nil }))
	}
}

// FuzzSplit feeds any bytes: the messages lie in order inside of the file,
// nothing is in two of them, and between them are only "From " lines and line
// ends. And what a writer of mboxrd makes of any bytes is read back.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{
		sep + letter(1, "one") + "\n" + sep + letter(2, ">From two\n"),
		crlf(sep + letter(1, "one") + "\n" + sep + letter(2, ">>From two")),
		"From x\nContent-Length: 5\n\n12345\nFrom y\nContent-Length: 1\n\n1",
		"From x\nContent-Length: 99999999999999999999\n\n1", "From \r\n\r\n\r\n\r\n", "\n\nFrom x\nA: b", ">From x\n\nFrom 19:00 2020",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		last := int64(0)
		check(t, split(context.Background(), bytes.NewReader(b), int64(len(b)), func(s span) error {
			if s.off < last || s.size < 0 || s.off+s.size > int64(len(b)) {
				t.Fatalf("%d bytes at %d, after %d, of %d", s.size, s.off, last, len(b))
			}
			if between := strings.TrimLeft(string(b[last:s.off]), "\r\n"); last > 0 && !strings.HasPrefix(between, "From ") {
				t.Fatalf("lost between messages: %q", between)
			}
			for _, q := range s.quotes {
				if b[s.off+q.off] != '>' {
					t.Fatalf("no quoting at %d", q.off)
				}
			}
			last = s.off + s.size
			return nil
		}))
		if rest := bytes.Trim(b[last:], "\r\n"); last > 0 && len(rest) > 0 && !bytes.HasPrefix(rest, []byte("From ")) {
			t.Fatalf("lost at the end: %q", rest)
		}

		m := "Subject: x\n\n" + string(b) + "\n"
		if strings.Contains(m, "\r") {
			return // the writer below knows lines of LF only
		}
		box := sep + quoteRD(m) + "\n" + sep + letter(2, "two") + "\n"
		n := 0
		check(t, split(context.Background(), strings.NewReader(box), int64(len(box)), func(s span) error {
			if n++; n > 1 {
				return nil
			}
			it := Item{ReaderAt: strings.NewReader(box[s.off:]), Size: s.size, quotes: s.quotes}
			r, size := it.Unquoted(Mboxrd)
			if got := readAll(t, r, size); got != m {
				t.Fatalf("read back %q\nwant %q", got, m)
			}
			return nil
		}))
		if n != 2 {
			t.Fatalf("%d messages", n)
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	text := []byte(strings.Repeat(sep+letter(1, strings.Repeat(strings.Repeat("x", 76)+"\n", 260))+"\n", 500))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		check(b, split(context.Background(), bytes.NewReader(text), int64(len(text)), func(span) error { return nil }))
	}
}
