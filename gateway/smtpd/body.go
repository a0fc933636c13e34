package smtpd

import (
	"bytes"
	"errors"
	"io"
)

// Errors of a body.
var (
	errLost  = errors.New("connection lost inside a message")
	errFlood = errors.New("message far beyond the limit")
)

// over tells whether nothing more of a message comes after an error.
func over(err error) bool {
	return errors.Is(err, errLost) || errors.Is(err, errFlood) || err == errReset || err == errQuit
}

// body reads one message from the connection in blocks: it finds the end mark
// (RFC 5321 section 4.1.1.4), takes away the dots of transparency (section
// 4.5.2), and looks for bytes that must not be there. The last `.CRLF` is left
// for the library, which waits for it.
type body struct {
	c     *conn
	src   *inner // where the message is inside another one; nil: it comes from the connection
	start bool   // at the beginning of a line, that is after CRLF or at the very beginning
	done  bool   // the end mark was seen
	n     int64  // octets of the message so far
	raw   int64  // octets on the wire so far
	dirty bool   // bare CR, bare LF or NUL was seen
	leak  *leak  // gets all that comes; nil: nothing is looked for

	// By BDAT only: see relay_bdat.go.
	held  bool // a CR waits for what follows it
	ended bool // the last line got its end here
}

func (c *conn) message() *body { return &body{c: c, start: true} }

// next returns the next piece of the message, which is valid until the call
// after. The end is io.EOF, and only that: errLost where the connection ended
// before the end mark, errFlood where more came than is worth reading.
func (b *body) next() ([]byte, error) {
	if b.done {
		return nil, io.EOF
	}
	if b.src != nil {
		return b.nextInner()
	}
	if b.c.chunks != nil {
		piece, err := b.nextChunked()
		if err == io.EOF || err == errReset || err == errQuit {
			b.c.endMark = true
		}
		return piece, err
	}
	for {
		in := b.c.in[b.c.r:b.c.w]
		if b.start && len(in) > 0 && in[0] == '.' {
			if len(in) >= 3 {
				if in[1] == '\r' && in[2] == '\n' {
					b.done, b.c.endMark = true, true
					return nil, io.EOF
				}
				b.c.r++
				b.start = false
				continue
			}
			// Two octets tell only what cannot be the end mark.
			if len(in) == 2 && in[1] != '\r' {
				b.c.r++
				b.start = false
				continue
			}
		} else if piece := b.piece(in); len(piece) > 0 {
			b.c.r += len(piece)
			b.n += int64(len(piece))
			b.raw += int64(len(piece)) + 1 // with a dot, at the most
			if b.raw > b.c.srv.flood() {
				return nil, errFlood
			}
			b.look(piece)
			return piece, nil
		}
		if err := b.c.fill(block); err != nil {
			return nil, errLost
		}
	}
}

// piece is what of the buffer can be given out: up to the end of a line that a
// dot follows, else all, except a CR at the end whose LF is not there yet.
func (b *body) piece(in []byte) []byte {
	if i := bytes.Index(in, []byte("\r\n.")); i >= 0 {
		b.start = true
		return in[:i+2]
	}
	if n := len(in); n > 0 && in[n-1] == '\r' {
		in = in[:n-1]
	}
	if len(in) > 0 {
		b.start = bytes.HasSuffix(in, []byte("\r\n"))
	}
	return in
}

// look notes bare CR, bare LF and NUL, and what must not leave. A piece never ends between CR and LF.
func (b *body) look(p []byte) {
	b.leak.add(p)
	if b.dirty {
		return
	}
	if bytes.IndexByte(p, 0) >= 0 {
		b.dirty = true
		return
	}
	lines := 0
	for i := 0; ; {
		j := bytes.IndexByte(p[i:], '\n')
		if j < 0 {
			break
		}
		if i += j; i == 0 || p[i-1] != '\r' {
			b.dirty = true
			return
		}
		lines++
		i++
	}
	// Each LF has its CR; more CR than that are bare.
	b.dirty = bytes.Count(p, []byte{'\r'}) != lines
}

// drain reads to the end mark. It returns nil when that was seen.
func (b *body) drain() error {
	for {
		if _, err := b.next(); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

// whole reads what is left of a message and tells what is wrong with all of it; where
// nothing is, fault is what went wrong before.
func (s *Server) whole(b *body, fault error) error {
	if err := b.drain(); err != nil {
		return err
	}
	switch {
	case b.n > s.opt.MaxSize:
		return s.tooLarge()
	case b.dirty:
		return badBytes()
	}
	return fault
}
