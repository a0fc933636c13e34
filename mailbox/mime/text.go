package mime

import (
	"bytes"
	"html"
	"io"
	"strings"
	"unicode/utf8"

	// A reader that decodes a character set.
	"golang.org/x/text/transform"
)

// Texts walks through what a search looks at in a message, decoded and folded
// (see Fold), in pieces. One piece is one header field ("NAME: value", encoded
// words undone), one parameter of Content-Type or Content-Disposition (RFC 2231
// undone), or a stretch of a text part without its transfer encoding and
// character set. A search and an index that both walk so see the same.
type Texts struct {
	R io.ReaderAt
	// Overlap is how many bytes of a text are shown again with the next stretch
	// of it, so that nothing is missed between two.
	Overlap int
	// Spend is asked before so many bytes of the message are read; nil: nobody.
	Spend func(n int64) error
	// Piece gets a piece, which is valid only during the call, and tells whether
	// to go on.
	Piece func(folded []byte) bool

	buf, raw      []byte
	plain, marked stretch
	over          bool
	err           error
}

// textBlock is how much of a text is looked at in one go.
const textBlock = 64 << 10

// Header walks through the header of a part. It fails only when reading or
// Spend does.
func (t *Texts) Header(p *Part) error {
	if header := t.read(p); header != nil {
		t.Fields(header)
	}
	return t.end()
}

// Fields walks through a header.
func (t *Texts) Fields(header []byte) {
	t.over = false
	t.fields(header)
}

// Body walks through the body of a part: its texts, its parts with their
// headers, also those of messages inside it.
func (t *Texts) Body(p *Part) error {
	t.body(p)
	return t.end()
}

func (t *Texts) end() error {
	err := t.err
	t.over, t.err = false, nil
	return err
}

func (t *Texts) give(folded []byte) {
	if !t.over && !t.Piece(folded) {
		t.over = true
	}
}

func (t *Texts) fail(err error) { t.err, t.over = err, true }

func (t *Texts) spend(n int64) bool {
	if t.Spend != nil && !t.over {
		if err := t.Spend(n); err != nil {
			t.fail(err)
		}
	}
	return !t.over
}

func (t *Texts) read(p *Part) []byte {
	if !t.spend(p.HeaderLen) {
		return nil
	}
	header, err := ReadHeader(t.R, p)
	if err != nil {
		t.fail(err)
		return nil
	}
	return header
}

func (t *Texts) fields(header []byte) {
	eachField(header, func(name, raw []byte, off int) bool {
		f := Field{Name: string(name), Raw: raw, Off: off}
		t.buf = t.buf[:0]
		if f.Name != "" {
			t.buf = append(appendFold(t.buf, name), ": "...)
		}
		t.buf = appendFold(t.buf, DecodeWords(f.Body()))
		t.give(t.buf)
		for _, v := range f.values() {
			t.buf = appendFold(t.buf[:0], v)
			t.give(t.buf)
		}
		return !t.over
	})
}

// Folded gives what a search compares of a field's value: the value, then its
// parameters where it is one of the fields that have some.
func (f Field) Folded() []string {
	out := []string{Fold(DecodeWords(f.Body()))}
	for _, v := range f.values() {
		out = append(out, Fold(v))
	}
	return out
}

// values are the parameters of a field as text, those that its value does not
// show as they are.
func (f Field) values() []string {
	if !strings.EqualFold(f.Name, "Content-Type") && !strings.EqualFold(f.Name, "Content-Disposition") {
		return nil
	}
	// Only what is written in one of the ways of encoding looks otherwise.
	value := f.Body()
	if !strings.ContainsAny(value, "*\\") && !strings.Contains(value, "=?") {
		return nil
	}
	shown := DecodeWords(value)
	_, wire, decoded := parseParams(value)
	var out []string
	for _, p := range wire { // in the order of the field
		if v := decoded[strings.TrimSuffix(p.name, "*")]; v != "" && !strings.Contains(shown, v) {
			out = append(out, v)
		}
	}
	return out
}

func (t *Texts) body(p *Part) {
	for i := range p.Children {
		if t.over {
			return
		}
		c := &p.Children[i]
		if header := t.read(c); header != nil {
			t.fields(header)
			t.body(c)
		}
	}
	switch {
	case t.over || len(p.Children) > 0:
	case p.Message != nil:
		if header := t.read(p.Message); header != nil {
			t.fields(header)
			t.body(p.Message)
		}
	case p.Type == "text" || p.Type == "message":
		t.text(p)
	}
}

// text shows a text part, one in HTML also with its entities written out.
func (t *Texts) text(p *Part) {
	if !t.spend(p.BodyLen) {
		return
	}
	d := decoded(p.Params["charset"], Content(t.R, p))
	if block := int(min(p.BodyLen+16, textBlock)); cap(t.raw) < block {
		t.raw = make([]byte, 0, block)
	}
	raw := t.raw[:0]
	t.plain, t.marked = t.plain[:0], t.marked[:0]
	for !t.over {
		n, err := fill(d, raw[len(raw):cap(raw)])
		raw = raw[:len(raw)+n]
		last := err == io.EOF
		if err != nil && !last {
			t.fail(err)
			return
		}
		ready := raw
		if !last {
			ready = raw[:foldable(raw)]
		}
		t.give(t.plain.add(ready, t.Overlap))
		if p.Subtype == "html" && bytes.IndexByte(ready, '&') >= 0 {
			t.give(t.marked.add([]byte(html.UnescapeString(string(ready))), t.Overlap))
		}
		if last {
			return
		}
		raw = raw[:copy(raw, raw[len(ready):])]
	}
}

// fill reads until b is full. Unlike io.ReadFull it tells a text that ends from
// one of which a part is missing.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	return n, err
}

// foldable is how much of b may be folded before the rest is known.
func foldable(b []byte) int {
	for i := len(b); i > 0 && len(b)-i < 1024; i-- {
		if b[i-1] < utf8.RuneSelf {
			return i
		}
	}
	// Nobody writes so much without a space in one of these alphabets; a
	// character must stay whole all the same.
	for i := len(b) - 1; i > 0 && len(b)-i < utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			return i
		}
	}
	return len(b)
}

// stretch is a text whose pieces overlap: the last piece.
type stretch []byte

func (s *stretch) add(raw []byte, overlap int) []byte {
	b := *s
	keep := copy(b, b[max(0, len(b)-overlap):])
	*s = appendFold(b[:keep], raw)
	return *s
}

// maxUTF7 bounds a text in UTF-7, which is decoded whole.
const maxUTF7 = 1 << 20

// decoded reads a text as UTF-8, by what its character set is said to be. What
// is UTF-8 already, or of no known set, is left for Fold to see through.
func decoded(label string, r io.Reader) io.Reader {
	label = charsetName(label)
	switch label {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return r
	case "utf-7", "unicode-1-1-utf-7":
		b, err := io.ReadAll(io.LimitReader(r, maxUTF7))
		if err != nil {
			return brokenText{err}
		}
		return strings.NewReader(decodeUTF7(b))
	}
	enc := findCharset(label)
	if enc == nil {
		return r
	}
	src := &source{r: r}
	return lenient{transform.NewReader(src, enc.NewDecoder()), src}
}

// brokenText is a text whose reading has failed already.
type brokenText struct{ err error }

func (b brokenText) Read([]byte) (int, error) { return 0, b.err }

// source remembers how reading ended.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// lenient ends a text where its character set cannot be read on: only a failure
// of reading itself is one.
type lenient struct {
	io.Reader
	src *source
}

func (l lenient) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if err != nil && l.src.err == nil {
		err = io.EOF
	}
	return n, err
}
