package mime

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
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
		f.Add(b, uint8(0))
		f.Add(b, uint8(3))
	}
	f.Add([]byte(pecMessage()), uint8(0))
	f.Fuzz(func(t *testing.T, msg []byte, small uint8) {
		lim := Limits{}
		if small > 0 {
			lim = Limits{Header: int64(small) * 4, Fields: int(small), Parts: int(small), Depth: int(small)%5 + 1, Record: 1}
		}
		ix := mustParse(t, string(msg), lim)
		var walk func(p *Part, path []int)
		walk = func(p *Part, path []int) {
			if len(path) > 0 {
				off, n, ok := ix.Section(path, "")
				if !ok || off != p.BodyOff || n != p.BodyLen {
					t.Fatalf("section %v: %d %d %v, part %+v", path, off, n, ok, p)
				}
				if n, err := io.Copy(io.Discard, Content(bytes.NewReader(msg), p)); err != nil || n > p.BodyLen {
					t.Fatalf("content %d %v", n, err)
				}
			}
			if _, err := ReadHeader(bytes.NewReader(msg), p); err != nil {
				t.Fatal(err)
			}
			root := p
			if p.Message != nil && len(path) > 0 {
				root = p.Message
				if off, _, ok := ix.Section(path, "HEADER"); !ok || off != root.HeaderOff {
					t.Fatalf("header of %v", path)
				}
			}
			if len(root.Children) == 0 && root != p {
				walk(root, append(path[:len(path):len(path)], 1))
			}
			for i := range root.Children {
				walk(&root.Children[i], append(path[:len(path):len(path)], i+1))
			}
		}
		walk(&ix.Root, nil)
		head, err := ReadHeader(bytes.NewReader(msg), &ix.Root)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, field := range Fields(head) {
			n += len(field.Raw)
			_ = field.Body()
		}
		if rest := head[n:]; len(rest) > 0 && string(rest) != "\n" && string(rest) != "\r\n" {
			t.Fatalf("behind the fields: %q", rest)
		}
	})
}

// FuzzHeader reads one header block in every way that there is: nothing is
// lost, what is cut out is a range of it, and values are one line.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"Subject: a\r\n b\r\nTo: x@y.example\r\n\r\n", "X-Ricevuta : accettazione\nX-TRASPORTO:errore\n\n", ": no name\r\n folded\r\n",
		"From: \"Per conto di: a@b.example\"\r\n\t<posta-certificata@c.example>\r\nFrom:\r\n\r\nbody", " begins folded\r\nA:\x00b\rC: d\r\n", "\r\nA: b\r\n", "",
		"To: a@b (c(d\\)e)), \"x\\\"y\"@z; group: q@r;, <@route:s@t>\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		keep := bytes.Clone(head)
		at := 0
		var names []string
		for _, field := range Fields(head) {
			if field.Off != at || !bytes.Equal(field.Raw, head[at:at+len(field.Raw)]) || len(field.Raw) == 0 {
				t.Fatalf("field at %d, want %d: %q", field.Off, at, field.Raw)
			}
			at += len(field.Raw)
			if strings.ContainsAny(field.Name, " \t\r\n:") {
				t.Fatalf("name %q", field.Name)
			}
			if v := field.Body(); strings.Contains(v, "\n") {
				t.Fatalf("value %q of more than one line", v)
			}
			AddressList(field.Body())
			names = append(names, field.Name)
		}
		if rest := head[at:]; len(rest) > 0 && rest[0] != '\n' && !bytes.HasPrefix(rest, []byte("\r\n")) {
			t.Fatalf("behind the fields: %q", rest)
		}
		// Every field is in one of the two selections, once; each adds a CRLF.
		some := names[:len(names)/2]
		with, without := SelectFields(head, some, false), SelectFields(head, some, true)
		if n := len(with) + len(without) - 4; n != at && n != at+2 {
			t.Fatalf("%d bytes selected of %d", n, at)
		}
		if !bytes.Equal(head, keep) {
			t.Fatal("input written to")
		}
	})
}

func FuzzUnmarshal(f *testing.F) {
	rec, err := mustParse(f, pecMessage(), Limits{}).MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rec)
	f.Fuzz(func(t *testing.T, b []byte) {
		var ix Index
		if ix.UnmarshalBinary(b) != nil {
			return
		}
		inside(t, &ix.Root, ix.Size)
		again, err := ix.MarshalBinary()
		var back Index
		if err == nil && back.UnmarshalBinary(again) != nil {
			t.Fatal("own record refused")
		}
	})
}

func benchmarkParse(b *testing.B, size int) {
	body := bytes.Repeat([]byte("JVBERi0xLjQKJcfsj6IKNSAwIG9iago8PC9MZW5ndGggNiAwIFIvRmlsdGVyIC9GbGF0ZURlY29\r\n"), size/78)
	msg := []byte(pecMessage())
	msg = bytes.Replace(msg, []byte("AAAA\r\n"), body, 1)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	r := bytes.NewReader(msg)
	for b.Loop() {
		if _, err := Parse(r, int64(len(msg)), Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse20KB(b *testing.B) { benchmarkParse(b, 20_000) }
func BenchmarkParse2MB(b *testing.B)  { benchmarkParse(b, 2_000_000) }

func BenchmarkSelectFields(b *testing.B) {
	msg := []byte(pecMessage())
	head := msg[:bytes.Index(msg, []byte("\r\n\r\n"))+4]
	names := []string{"From", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID", "Priority", "X-Priority", "References", "Newsgroups", "In-Reply-To", "Content-Type", "Reply-To"}
	b.ReportAllocs()
	for b.Loop() {
		SelectFields(head, names, false)
	}
}

func BenchmarkCutMark(b *testing.B) {
	head := []byte("From: a@b\r\nSubject: =?utf-8?Q?Perch=C3=A9_[PIN:123456]_no?=\r\nThread-Topic: [PIN:123456] x\r\nTo: c@d\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := CutMark(head, pinFields, pinMark); err != nil {
			b.Fatal(err)
		}
	}
}
