package mime

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
)

// parseWork parses and gives the bytes that were looked at.
func parseWork(t *testing.T, msg string, lim Limits) (*Index, int64) {
	t.Helper()
	p := &parser{lr: newLineReader(strings.NewReader(msg), int64(len(msg))), lim: lim.withDefaults()}
	root, err := p.run()
	if err != nil {
		t.Fatal(err)
	}
	ix := p.index(root)
	ix.Size = int64(len(msg))
	checkIndex(t, msg, ix)
	return ix, p.lr.work
}

func nestedMultiparts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\n--b%d\r\n", i, i)
	}
	b.WriteString("\r\nend\r\n")
	return b.String()
}

func nestedMessages(n int) string {
	return strings.Repeat("Content-Type: message/rfc822\r\nSubject: x\r\n\r\n", n) + "end\r\n"
}

func manyParts(n int) string {
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for i := range n {
		fmt.Fprintf(&b, "--b\r\nContent-Type: application/pdf; name=\"file-%d.pdf\"\r\nContent-Disposition: attachment; filename=\"file-%d.pdf\"\r\n\r\n%d\r\n", i, i, i)
	}
	b.WriteString("--b--\r\n")
	return b.String()
}

func TestF1_Nesting(t *testing.T) {
	t.Run("10,000 multiparts", func(t *testing.T) {
		ix, _ := parseWork(t, nestedMultiparts(10_000), Limits{})
		p, depth := &ix.Root, 0
		for len(p.Children) > 0 {
			p, depth = &p.Children[0], depth+1
		}
		if depth != 32 || p.Type != "application" || p.Subtype != "octet-stream" {
			t.Errorf("depth %d, then %s/%s", depth, p.Type, p.Subtype)
		}
	})
	t.Run("10,000 messages", func(t *testing.T) {
		ix, _ := parseWork(t, nestedMessages(10_000), Limits{})
		p, depth := &ix.Root, 0
		for p.Message != nil {
			p, depth = p.Message, depth+1
		}
		if depth != 32 || p.Type != "application" {
			t.Errorf("depth %d, then %s/%s", depth, p.Type, p.Subtype)
		}
	})
	t.Run("100,000 parts", func(t *testing.T) {
		msg := manyParts(100_000)
		ix, _ := parseWork(t, msg, Limits{})
		n := len(ix.Root.Children)
		last := ix.Root.Children[n-1]
		if n < 100 || last.Type != "application" || last.Subtype != "octet-stream" {
			t.Fatalf("%d parts, last %+v", n, last)
		}
		// The last one holds all that is left.
		body := msg[last.BodyOff : last.BodyOff+last.BodyLen]
		if !strings.Contains(body, "file-99999.pdf") || ix.Root.Children[3].FileName != "file-3.pdf" {
			t.Errorf("rest begins %q", body[:60])
		}
	})
	t.Run("ordinary number of parts stays", func(t *testing.T) {
		ix, _ := parseWork(t, manyParts(250), Limits{})
		if len(ix.Root.Children) != 250 {
			t.Errorf("%d parts", len(ix.Root.Children))
		}
	})
	t.Run("boundary of 1 MB", func(t *testing.T) {
		b := strings.Repeat("b", 1<<20)
		ix, _ := parseWork(t, multi(b, "--"+b, "", "x", "--"+b+"--", ""), Limits{})
		if ix.Root.Subtype != "octet-stream" || !ix.HeaderCut {
			t.Errorf("%s", ix.Body)
		}
		b = b[:100_000]
		ix, _ = parseWork(t, multi(b, "--"+b, "", "x", "--"+b+"--", ""), Limits{})
		if ix.Root.Subtype != "plain" || ix.HeaderCut {
			t.Errorf("%s", ix.Body)
		}
	})
	t.Run("preamble line of 1 MB", func(t *testing.T) {
		ix, _ := parseWork(t, multi("b", strings.Repeat("-", 1<<20), "--b", "", "x", "--b--", ""), Limits{})
		if len(ix.Root.Children) != 1 {
			t.Errorf("%s", ix.Body)
		}
	})
	t.Run("many messages with long envelopes", func(t *testing.T) {
		var b strings.Builder
		b.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
		for i := range 40 {
			fmt.Fprintf(&b, "--b\r\nContent-Type: message/rfc822\r\n\r\nTo: %s\r\nSubject: %s\r\n\r\nx\r\n",
				strings.Repeat("person@example.org, ", 1000), strings.Repeat("s", 5000)+fmt.Sprint(i))
		}
		ix, _ := parseWork(t, b.String()+"--b--\r\n", Limits{})
		if len(ix.Root.Children) != 40 {
			t.Errorf("%d messages left", len(ix.Root.Children))
		}
	})
}

func TestHeaderLimit(t *testing.T) {
	long := strings.Repeat("X-A: "+strings.Repeat("a", 93)+"\r\n", 3000) // 300 kB
	msg := "Subject: first\r\n" + long + "\r\nbody\r\n"
	ix := mustParse(t, msg, Limits{})
	if !ix.HeaderCut || ix.Subject != "first" || ix.Root.Subtype != "octet-stream" || ix.Root.HeaderLen > 256<<10 || ix.Root.HeaderLen < 255<<10 {
		t.Errorf("%v %q %+v", ix.HeaderCut, ix.Subject, ix.Root)
	}
	if off, n, _ := ix.Section(nil, "TEXT"); !strings.HasPrefix(msg[off:off+n], "X-A: ") {
		t.Error("not cut at a line")
	}
	// A part's long header does not touch its neighbours.
	msg = multi("b", "--b", strings.TrimSuffix(long, "\r\n"), "", "x", "--b", "", "y", "--b--", "")
	ix = mustParse(t, msg, Limits{})
	if ix.HeaderCut || len(ix.Root.Children) != 2 || ix.Root.Children[0].Subtype != "octet-stream" || ix.Root.Children[1].Subtype != "plain" {
		t.Errorf("%s", ix.Body)
	}
	// Fields beyond the limit are not looked at.
	ix = mustParse(t, strings.Repeat("a:\r\n", 1500)+"Subject: late\r\n\r\nx", Limits{})
	if ix.Subject != "" || ix.HeaderCut {
		t.Error(ix.Subject)
	}
}

// Growth is counted in bytes looked at, never in time: at twice the size at
// most 2^1.1 times the work.
func TestF2_WorkGrowsLinearly(t *testing.T) {
	many := func(s string) func(int) string { return func(n int) string { return strings.Repeat(s, n) } }
	tests := map[string]func(n int) string{
		"header of empty fields": many("a:\r\n"),
		"one header line":        func(n int) string { return "Subject: " + strings.Repeat("x", n*10) },
		"addresses":              func(n int) string { return "To: " + strings.Repeat("a@b.example,", n) + "\r\n\r\n" },
		"nested comments":        func(n int) string { return "From: " + strings.Repeat("(", n*10) + "\r\n\r\n" },
		"multiparts":             nestedMultiparts,
		"messages":               nestedMessages,
		"parts":                  manyParts,
		"boundary-like lines": func(n int) string {
			var b strings.Builder
			same := strings.Repeat("b", 69)
			for i := range 30 {
				fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"%s%c\"\r\n\r\n--%s%c\r\n", same, 'A'+i, same, 'A'+i)
			}
			return b.String() + strings.Repeat("\r\n--"+same+"0", n)
		},
		"lines of one byte": many("\n"),
	}
	for name, gen := range tests {
		t.Run(name, func(t *testing.T) {
			var last float64
			for _, n := range []int{20_000, 40_000, 80_000} {
				msg := gen(n)
				_, work := parseWork(t, msg, Limits{})
				// Lines once, each header once more, boundaries against each level.
				if work > 35*int64(len(msg))+1000 {
					t.Errorf("%d bytes looked at in %d", work, len(msg))
				}
				if exp := math.Log2(float64(work) / last); last > 0 && exp > 1.1 {
					t.Errorf("growth exponent %.2f", exp)
				}
				last = float64(work)
			}
		})
	}
}

// What a stranger writes into a header cannot leave its string on the wire.
func TestD9_WireBytesStayParseable(t *testing.T) {
	values := []string{
		``, `"`, `\`, `a"b\c`, `(`, `)`, `) NIL NIL`, `{10}`, "{10}\r\n\tx", "a\rb", "a\x00b", "caff\xe8", "caffè", `=?utf-8?Q?=0D=0A_*_OK?=`,
		`"a\"b" <c@d>`, `"unclosed <a@b>`, `<`, `<>`, `@`, `a@`, `@b`, `a@b@c`, `<@r1,@r2:a@b>`, `<@r1 a@b, c@d>`, `g:;`, `g:a@b`, `g:a@b;,c@d`, `a:b:c@d;`, `;`, `,,,`, `:`,
		`(a(b)c) d@e`, `(unclosed a@b`, `"a b"@c`, `x <"a\)b"@c>`, "a\x7f\x01b", `text/plain; a="`, `text/plain; a="\"`, `a/b; ("="`, `inline; filename*=''%`, `a; b*0*=x; b*1=")`,
		strings.Repeat(`"`, 5000), strings.Repeat("é", 5000), strings.Repeat("a@b,", 5000), strings.Repeat("g:", 5000),
	}
	fields := []string{"Subject", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Date", "Message-ID", "In-Reply-To",
		"Content-Type", "Content-Disposition", "Content-ID", "Content-Description", "Content-Language", "Content-MD5", "Content-Location", "Content-Transfer-Encoding"}
	for _, v := range values {
		for _, f := range fields {
			mustParse(t, f+": "+v+"\r\nTo: x@y\r\n\r\nb\r\n", Limits{})
			mustParse(t, "Content-Type: message/rfc822\r\n\r\n"+f+": "+v+"\r\n\r\nb\r\n", Limits{})
		}
		all := ""
		for _, f := range fields {
			all += f + ": " + v + "\r\n"
		}
		mustParse(t, all+"\r\n", Limits{})
	}
}

// Every field at its longest: the records keep their bounds.
func TestD9_WireBytesAreBounded(t *testing.T) {
	var b strings.Builder
	for _, f := range []string{"From", "Sender", "Reply-To", "To", "Cc", "Bcc"} {
		fmt.Fprintf(&b, "%s: %s\r\n", f, strings.Repeat(`"\"\"\"" <a@b.example>, `, 1200))
	}
	for _, f := range []string{"Subject", "Date", "Message-ID", "In-Reply-To", "Content-ID", "Content-Description", "Content-Location"} {
		fmt.Fprintf(&b, "%s: %s\r\n", f, strings.Repeat(`"`, 10_000))
	}
	ix := mustParse(t, b.String()+"\r\n", Limits{})
	if len(ix.Envelope) < 40<<10 {
		t.Errorf("cut more than needed: %d", len(ix.Envelope))
	}
	var p strings.Builder
	p.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for range 900 {
		p.WriteString("--b\r\nContent-Type: application/x; ")
		for i := range 40 {
			fmt.Fprintf(&p, "p%d=\"%s\"; ", i, strings.Repeat(`\"`, 40))
		}
		fmt.Fprintf(&p, "\r\nContent-Description: %s\r\n\r\nx\r\n", strings.Repeat("d", 2000))
	}
	mustParse(t, p.String(), Limits{})
	// The smallest record that may be asked for.
	mustParse(t, manyParts(500), Limits{Record: 1})
	mustParse(t, pecMessage(), Limits{Record: 1})
}

func TestUnmarshalRefuses(t *testing.T) {
	ix := mustParse(t, pecMessage(), Limits{})
	rec, err := ix.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var out Index
	for i := range rec {
		if out.UnmarshalBinary(rec[:i]) == nil {
			t.Errorf("prefix of %d bytes accepted", i)
		}
		broken := bytes.Clone(rec)
		broken[i] ^= 0x41
		var maybe Index
		if maybe.UnmarshalBinary(broken) == nil {
			inside(t, &maybe.Root, maybe.Size)
		}
	}
	if out.UnmarshalBinary(append(bytes.Clone(rec), 0)) == nil {
		t.Error("trailing byte accepted")
	}
}

func inside(t *testing.T, p *Part, size int64) {
	if p.HeaderOff < 0 || p.HeaderLen < 0 || p.BodyLen < 0 || p.BodyOff+p.BodyLen > size {
		t.Fatalf("outside %d: %+v", size, p)
	}
	for i := range p.Children {
		inside(t, &p.Children[i], size)
	}
	if p.Message != nil {
		inside(t, p.Message, size)
	}
}
