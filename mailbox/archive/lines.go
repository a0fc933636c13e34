package archive

import (
	"bufio"
	"context"
	"errors"
	"io"
)

const (
	lineHead = 256      // bytes of a line that are looked at
	lineLook = 4 << 10  // bytes seen of the line that follows
	lineBuf  = 64 << 10 // bytes read at once
)

// lines reads a file line by line, of which it shows no more than the beginning.
type lines struct {
	ctx  context.Context
	br   *bufio.Reader
	off  int64 // of the next line
	read int   // lines, to look at ctx now and then
	head [lineHead]byte
}

func newLines(ctx context.Context, r io.ReaderAt, off, size int64, buf int) *lines {
	return &lines{ctx: ctx, br: bufio.NewReaderSize(io.NewSectionReader(r, off, size-off), buf), off: off}
}

// line is one line. head is good until the next one is read.
type line struct {
	off, next int64
	head      []byte // the first bytes without the line's end
	blank     bool
}

// next gives the next line, io.EOF behind the last.
func (l *lines) next() (line, error) {
	if l.read++; l.read&0xfff == 0 {
		if err := l.ctx.Err(); err != nil {
			return line{}, err
		}
	}
	ln := line{off: l.off}
	b, err := l.br.ReadSlice('\n')
	if len(b) == 0 && err != nil {
		return ln, err
	}
	ln.head = l.head[:copy(l.head[:], b)]
	l.off += int64(len(b))
	for errors.Is(err, bufio.ErrBufferFull) {
		if err = l.ctx.Err(); err == nil {
			b, err = l.br.ReadSlice('\n')
			l.off += int64(len(b))
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return ln, err
	}
	ln.next = l.off
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
	b, _ := l.br.Peek(lineLook) // an error comes again when the line is read
	return b
}
