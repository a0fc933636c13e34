package imapd

import (
	"bufio"
	"errors"
	"io"
)

// Readers that undo a transfer encoding (RFC 2045 section 6). They never fail
// because of what a message holds: characters that do not belong are passed
// over, so that whatever a stranger sent can be read and searched.

var errUnknownEncoding = errors.New("imapd: unknown transfer encoding")

func identity(encoding string) bool {
	switch encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

func decoder(encoding string, r io.Reader) (io.Reader, error) {
	switch {
	case identity(encoding):
		return r, nil
	case encoding == "base64":
		return &base64Reader{r: bufio.NewReaderSize(r, 16<<10)}, nil
	case encoding == "quoted-printable":
		return &quotedReader{r: bufio.NewReaderSize(r, 16<<10)}, nil
	}
	return nil, errUnknownEncoding
}

type base64Reader struct {
	r    *bufio.Reader
	bits uint32
	n    int    // sextets in bits
	rest []byte // decoded, not given yet
	buf  [3]byte
}

func (d *base64Reader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(d.rest) > 0 {
			k := copy(p[n:], d.rest)
			d.rest = d.rest[k:]
			n += k
			continue
		}
		c, err := d.r.ReadByte()
		if err != nil {
			if d.group(); err == io.EOF && (n > 0 || len(d.rest) > 0) {
				if len(d.rest) > 0 {
					continue
				}
				return n, nil
			}
			return n, err
		}
		if c == '=' {
			d.group()
			continue
		}
		v := sextet(c)
		if v < 0 {
			continue
		}
		d.bits = d.bits<<6 | uint32(v)
		if d.n++; d.n == 4 {
			d.group()
		}
	}
	return n, nil
}

// group gives the bytes of a group that has ended, whole or by padding.
func (d *base64Reader) group() {
	bits := d.bits << (6 * uint(4-d.n))
	d.buf = [3]byte{byte(bits >> 16), byte(bits >> 8), byte(bits)}
	if d.n > 1 {
		d.rest = d.buf[:d.n-1]
	}
	d.bits, d.n = 0, 0
}

func sextet(c byte) int {
	switch {
	case 'A' <= c && c <= 'Z':
		return int(c - 'A')
	case 'a' <= c && c <= 'z':
		return int(c-'a') + 26
	case '0' <= c && c <= '9':
		return int(c-'0') + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	}
	return -1
}

type quotedReader struct {
	r     *bufio.Reader
	space int // blanks that belong to the text only if something follows on the line
	blank []byte
}

// maxBlank is how many blanks at the end of a line are held back; a line may
// have 76 characters in all.
const maxBlank = 998

func (d *quotedReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if d.space > 0 {
			k := copy(p[n:], d.blank[:d.space])
			d.blank = append(d.blank[:0], d.blank[k:]...)
			d.space -= k
			n += k
			continue
		}
		c, err := d.r.ReadByte()
		if err != nil {
			if n > 0 && err == io.EOF {
				return n, nil
			}
			return n, err
		}
		switch c {
		case ' ', '\t':
			if d.blank = append(d.blank, c); len(d.blank) >= maxBlank {
				d.space = len(d.blank)
			}
			continue
		case '\r', '\n':
			d.blank = d.blank[:0]
		case '=':
			if len(d.blank) > 0 {
				d.space = len(d.blank)
				_ = d.r.UnreadByte() // it was just read
				continue
			}
			var ok bool
			if c, ok = d.escaped(); !ok {
				continue
			}
		default:
			if len(d.blank) > 0 {
				d.space = len(d.blank)
				_ = d.r.UnreadByte()
				continue
			}
		}
		p[n] = c
		n++
	}
	return n, nil
}

// escaped reads what follows a "=": two digits, or a line end that the text
// does not have.
func (d *quotedReader) escaped() (byte, bool) {
	ahead, _ := d.r.Peek(2)
	if len(ahead) == 2 {
		if hi, lo := hexDigit(ahead[0]), hexDigit(ahead[1]); hi >= 0 && lo >= 0 {
			_, _ = d.r.Discard(2)
			return byte(hi<<4 | lo), true
		}
	}
	// Blanks may stand between the sign and the line end (RFC 2045 section 6.7).
	for range maxBlank {
		c, err := d.r.ReadByte()
		switch {
		case err != nil, c == '\n':
			return 0, false
		case c == ' ', c == '\t', c == '\r':
			continue
		}
		_ = d.r.UnreadByte()
		break
	}
	return '=', true
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
