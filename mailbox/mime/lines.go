package mime

import (
	"bytes"
	"fmt"
	"io"
)

const blockSize = 64 << 10

// lineReader walks a message line by line through one block of memory. A line
// ends with LF or CRLF; a CR alone is an ordinary byte.
type lineReader struct {
	r    io.ReaderAt
	size int64
	buf  []byte
	base int64 // offset of buf[0] in the message
	n    int   // bytes of buf that are filled
	pos  int   // next unread byte in buf
	err  error
	work int64 // bytes looked at, for tests of linearity
}

// line is one line. text is without its end and valid until the next call; a
// line longer than the block is marked long and has no text: it can be neither
// a boundary nor blank.
type line struct {
	off  int64
	next int64
	text []byte
	eol  int // bytes of the line end: 0 (end of message), 1 (LF), 2 (CRLF)
	long bool
}

func (l line) blank() bool { return !l.long && len(l.text) == 0 }

func newLineReader(r io.ReaderAt, size int64) *lineReader {
	return &lineReader{r: r, size: size, buf: make([]byte, min(size, blockSize))}
}

// next gives the next line; false at the end or after a read error.
func (l *lineReader) next() (line, bool) {
	seen := 0
	for {
		i := bytes.IndexByte(l.buf[l.pos+seen:l.n], '\n')
		if i >= 0 {
			end := l.pos + seen + i
			ln := line{off: l.base + int64(l.pos), next: l.base + int64(end) + 1, text: l.buf[l.pos:end], eol: 1}
			if end > l.pos && l.buf[end-1] == '\r' {
				ln.text, ln.eol = ln.text[:len(ln.text)-1], 2
			}
			l.work += int64(end + 1 - l.pos)
			l.pos = end + 1
			return ln, true
		}
		seen = l.n - l.pos
		if l.base+int64(l.n) >= l.size {
			if seen == 0 {
				return line{}, false
			}
			ln := line{off: l.base + int64(l.pos), next: l.size, text: l.buf[l.pos:l.n]}
			l.work += int64(seen)
			l.pos = l.n
			return ln, true
		}
		if l.pos == 0 && l.n == len(l.buf) {
			return l.longLine()
		}
		if !l.fill() {
			return line{}, false
		}
	}
}

// longLine passes over a line that does not fit into the block.
func (l *lineReader) longLine() (line, bool) {
	ln := line{off: l.base, long: true}
	cr := l.buf[l.n-1] == '\r'
	l.pos = l.n
	for l.base+int64(l.n) < l.size {
		l.work += int64(l.n)
		if !l.fill() {
			return line{}, false
		}
		i := bytes.IndexByte(l.buf[:l.n], '\n')
		if i < 0 {
			cr = l.buf[l.n-1] == '\r'
			l.pos = l.n
			continue
		}
		if i > 0 {
			cr = l.buf[i-1] == '\r'
		}
		ln.eol = 1
		if cr {
			ln.eol = 2
		}
		l.pos = i + 1
		break
	}
	ln.next = l.base + int64(l.pos)
	return ln, true
}

// fill moves what is unread to the front and reads on behind it.
func (l *lineReader) fill() bool {
	copy(l.buf, l.buf[l.pos:l.n])
	l.base += int64(l.pos)
	l.n -= l.pos
	l.pos = 0
	want := min(int64(len(l.buf)-l.n), l.size-l.base-int64(l.n))
	if err := readFull(l.r, l.buf[l.n:l.n+int(want)], l.base+int64(l.n)); err != nil {
		l.err = err
		return false
	}
	l.n += int(want)
	return true
}

// slice gives length bytes at off, from the block where it still holds them.
// The result is valid until the next call of next or slice.
func (l *lineReader) slice(off, length int64) ([]byte, error) {
	l.work += length
	if off >= l.base && off+length <= l.base+int64(l.n) {
		return l.buf[off-l.base : off-l.base+length], nil
	}
	p := make([]byte, length)
	if err := readFull(l.r, p, off); err != nil {
		return nil, err
	}
	return p, nil
}

// readFull reads exactly p; a message that is shorter than it was said to be is
// an error, never a short answer.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("mime: read %d bytes at %d: %w", len(p), off, err)
}
