package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
)

const (
	lineHead = 256      // bytes of a line that are looked at
	lineLook = 16 << 10 // bytes seen of what follows
	lineBuf  = 64 << 10 // bytes held at once
)

// lines reads ranges of a file line by line, of which it shows no more than the
// beginning. One buffer serves all ranges, and what it holds is not read again.
type lines struct {
	ctx      context.Context
	r        io.ReaderAt
	size     int64 // of the file
	off, end int64 // of the next line; of the range
	count    int   // lines, to look at ctx now and then
	head     [lineHead]byte
	buf      []byte // the bytes of the file from at
	at       int64
	jumped   bool // the buffer begins where a range does: little of it may be wanted
}

func newLines(ctx context.Context, r io.ReaderAt, size int64) *lines {
	return &lines{ctx: ctx, r: r, size: size, buf: make([]byte, 0, min(lineBuf, size))}
}

// seek makes the range from off to end the one that is read.
func (l *lines) seek(off, end int64) {
	l.off, l.end = off, end
	if off < l.at || off > l.at+int64(len(l.buf)) {
		l.at, l.buf, l.jumped = off, l.buf[:0], true
	}
}

// window shows what comes next: at least least bytes, fewer only at the end of
// the range or with an error. It is good until the next call.
func (l *lines) window(least int) ([]byte, error) {
	for {
		have := l.buf[l.off-l.at:]
		if int64(len(have)) >= l.end-l.off {
			return have[:l.end-l.off], nil
		}
		if len(have) >= least {
			return have, nil
		}
		l.buf, l.at = l.buf[:copy(l.buf[:cap(l.buf)], have)], l.off
		into := l.buf[len(l.buf):cap(l.buf)]
		if l.jumped {
			into = into[:min(len(into), headSize)]
			l.jumped = false
		}
		n, err := l.r.ReadAt(into[:min(int64(len(into)), l.size-l.at-int64(len(l.buf)))], l.at+int64(len(l.buf)))
		l.buf = l.buf[:len(l.buf)+n]
		if n == 0 {
			if errors.Is(err, io.EOF) {
				err = nil // the file became shorter
			}
			return l.buf, err
		}
	}
}

// line is one line. head is good until the next one is read.
type line struct {
	off, next int64
	head      []byte // the first bytes without the line's end
	blank     bool
}

// next gives the next line, io.EOF behind the last.
func (l *lines) next() (line, error) {
	if l.count++; l.count&0xfff == 0 {
		if err := l.ctx.Err(); err != nil {
			return line{}, err
		}
	}
	ln := line{off: l.off}
	b, err := l.window(lineHead)
	if err != nil {
		return ln, err
	}
	if len(b) == 0 {
		return ln, io.EOF
	}
	ln.head = l.head[:copy(l.head[:], b)]
	for len(b) > 0 {
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			l.off += int64(i) + 1
			break
		}
		l.off += int64(len(b))
		if err := l.ctx.Err(); err != nil {
			return ln, err
		}
		if b, err = l.window(1); err != nil {
			return ln, err
		}
	}
	ln.next = l.off
	ln.head = ln.head[:min(int64(len(ln.head)), ln.next-ln.off)]
	if n := len(ln.head); n > 0 && ln.next-ln.off == int64(n) && ln.head[n-1] == '\n' {
		ln.head = ln.head[:n-1]
		if n > 1 && ln.head[n-2] == '\r' {
			ln.head = ln.head[:n-2]
		}
	}
	ln.blank = len(ln.head) == 0
	return ln, nil
}

// ahead shows the beginning of what comes next.
func (l *lines) ahead() []byte {
	b, _ := l.window(lineLook) // an error comes again when the line is read
	return b[:min(len(b), lineLook)]
}
