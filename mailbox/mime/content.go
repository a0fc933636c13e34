package mime

import (
	"bufio"
	"encoding/base64"
	"io"
)

// Content reads the body of a part with its transfer encoding undone (RFC 2045
// section 6), leniently: stray characters in base64 are passed over, a '=' that
// encodes nothing in quoted-printable is itself. Unknown encodings are read as
// they stand. It fails only when r does, and never gives more bytes than the
// body has.
func Content(r io.ReaderAt, p *Part) io.Reader {
	body := &bodyReader{io.NewSectionReader(r, p.BodyOff, p.BodyLen), p.BodyLen}
	switch p.Encoding {
	case "base64":
		return &base64Reader{src: bufio.NewReaderSize(body, 16<<10)}
	case "quoted-printable":
		return &quotedReader{src: bufio.NewReaderSize(body, 16<<10)}
	}
	return body
}

// bodyReader tells a body that ends too early from one that ends.
type bodyReader struct {
	r    io.Reader
	left int64
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if err == io.EOF && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

type base64Reader struct {
	src   *bufio.Reader
	group [4]byte
	have  int    // characters in group
	out   []byte // decoded, not yet given
	buf   [3]byte
}

func (b *base64Reader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(b.out) > 0 {
			k := copy(p[n:], b.out)
			b.out = b.out[k:]
			n += k
			continue
		}
		c, err := b.src.ReadByte()
		if err != nil {
			if err == io.EOF && b.have > 1 {
				b.decode()
				continue
			}
			return n, err
		}
		switch {
		case isBase64(c):
			b.group[b.have] = c
			if b.have++; b.have == 4 {
				b.decode()
			}
		case c == '=':
			b.decode()
		}
	}
	return n, nil
}

// decode ends a group, full or padded.
func (b *base64Reader) decode() {
	k, _ := base64.RawStdEncoding.Decode(b.buf[:], b.group[:b.have])
	b.have = 0
	b.out = b.buf[:k]
}

// maxTrail bounds the spaces held back to see whether a line ends behind them.
const maxTrail = 1000

type quotedReader struct {
	src   *bufio.Reader
	trail []byte // white space that counts only if the line goes on
	out   []byte
}

func (q *quotedReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(q.out) > 0 {
			k := copy(p[n:], q.out)
			q.out = q.out[k:]
			n += k
			continue
		}
		c, err := q.src.ReadByte()
		if err != nil {
			return n, err
		}
		switch {
		case (c == ' ' || c == '\t') && len(q.trail) < maxTrail:
			q.trail = append(q.trail, c)
		case c == '\n', c == '\r':
			q.trail = q.trail[:0]
			q.give(c)
		case c == '=':
			q.escape()
		default:
			q.give(c)
		}
	}
	return n, nil
}

func (q *quotedReader) give(c byte) {
	q.out = append(append(q.out[:0], q.trail...), c)
	q.trail = q.trail[:0]
}

// escape reads what follows a '=': two digits, or the end of the line.
func (q *quotedReader) escape() {
	next, _ := q.src.Peek(2)
	if len(next) == 2 && hex(next[0]) >= 0 && hex(next[1]) >= 0 {
		q.give(byte(hex(next[0])<<4 | hex(next[1])))
		q.skip(2)
		return
	}
	// A soft line break may have space before its end (RFC 2045 section 6.7).
	for k := 0; k < maxTrail; k++ {
		next, _ = q.src.Peek(k + 2)
		switch {
		case len(next) > k && (next[k] == ' ' || next[k] == '\t'):
			continue
		case len(next) > k && next[k] == '\n':
			q.skip(k + 1)
			q.soft()
			return
		case len(next) > k+1 && next[k] == '\r' && next[k+1] == '\n':
			q.skip(k + 2)
			q.soft()
			return
		case len(next) == 0:
			return // a '=' at the very end
		}
		break
	}
	q.give('=')
}

// soft keeps the space before a soft break, which joins lines.
func (q *quotedReader) soft() {
	q.out = append(q.out[:0], q.trail...)
	q.trail = q.trail[:0]
}

func (q *quotedReader) skip(n int) {
	// What Peek has shown is there.
	_, _ = q.src.Discard(n)
}
