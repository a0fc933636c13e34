package pop3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Retr gives a message to fn. The reader ends in io.EOF only when the message is
// whole: up to its final dot, and as large as e.Size says. It is valid until fn
// returns.
//
// An error of fn is returned as it is; when fn stopped in the middle the session
// is over. Errors: *ReplyError (the session goes on), ErrTooLarge, ErrSize.
func (c *Client) Retr(ctx context.Context, e Entry, fn func(io.Reader) error) error {
	if e.Size > c.opt.MaxMessage {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, e.Size, c.opt.MaxMessage)
	}
	return c.body(ctx, e.Size, fn, "RETR", strconv.Itoa(e.Number))
}

// Top gives the header of a message and the first lines of its body to fn, as
// Retr does, of any size up to Options.MaxMessage. The server may not know TOP:
// a *ReplyError.
func (c *Client) Top(ctx context.Context, e Entry, lines int, fn func(io.Reader) error) error {
	return c.body(ctx, -1, fn, "TOP", strconv.Itoa(e.Number), strconv.Itoa(max(lines, 0)))
}

func (c *Client) body(ctx context.Context, size int64, fn func(io.Reader) error, keyword string, args ...string) error {
	defer c.watch(ctx)()
	if _, err := c.command(ctx, keyword, args...); err != nil {
		return err
	}
	b := &body{w: c.w, size: size, most: c.opt.MaxMessage, start: true}
	said := fn(b)
	if said == nil && b.err == nil {
		_, _ = io.Copy(io.Discard, b) // b.err has it
	}
	switch {
	case b.err == nil: // fn stopped in the middle
		_ = c.end(fmt.Errorf("%s: ended in the middle of a message", keyword))
	case !errors.Is(b.err, io.EOF):
		// fn may have taken it for a whole message; it is not.
		return c.because(ctx, c.end(fmt.Errorf("%s: %w", keyword, b.err)))
	}
	return said
}

// body is a multi-line answer on its way, an io.Reader.
//
// A CRLF is held back until it is clear that it is not the one that belongs to
// the final dot of a message that does not end with a line end: POP3 has to add
// one there, and only the size tells.
type body struct {
	w    *wire
	size int64 // by LIST; -1: not known
	most int64

	out   []byte // unstuffed, not read yet
	buf   []byte // the array below out
	start bool   // at the beginning of a line
	held  bool   // a CRLF is held back
	n     int64  // bytes of the message so far, with a CRLF that is held back
	lines int64  // CRLFs among them
	err   error  // sticky
}

// Read reads the message. It ends in io.EOF only after the final dot.
func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(b.out) == 0 && b.err == nil {
		b.out = b.buf[:0]
		b.err = b.fill()
		b.buf = b.out[:0]
		if b.n > b.most {
			b.out, b.err = nil, fmt.Errorf("%w: above %d bytes", ErrTooLarge, b.most)
		}
	}
	if len(b.out) == 0 {
		return 0, b.err
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// fill takes what is there up to the end of a line, at least one byte, or
// finds the end.
func (b *body) fill() error {
	if b.start {
		first, err := b.w.r.Peek(1)
		if err != nil {
			return broken(err)
		}
		if first[0] == '.' {
			// Behind a dot there are at least two bytes more, the end or not.
			mark, err := b.w.r.Peek(3)
			if err != nil {
				return broken(err)
			}
			if bytes.Equal(mark, []byte(".\r\n")) {
				_, _ = b.w.r.Discard(3) // they are there
				return b.finish()
			}
			_, _ = b.w.r.Discard(1)
		}
		b.start = false
		if b.held {
			b.out, b.held = append(b.out, "\r\n"...), false
		}
	}
	if _, err := b.w.r.Peek(1); err != nil {
		return broken(err)
	}
	have, _ := b.w.r.Peek(b.w.r.Buffered())
	i := bytes.Index(have, []byte("\r\n"))
	switch {
	case i >= 0:
		b.out = append(b.out, have[:i]...)
		b.n, b.lines = b.n+int64(i)+2, b.lines+1
		b.start, b.held = true, true
		_, _ = b.w.r.Discard(i + 2)
	case have[len(have)-1] != '\r':
		b.take(have)
	case len(have) > 1:
		b.take(have[:len(have)-1])
	default: // a CR alone: what comes behind it decides
		two, err := b.w.r.Peek(2)
		if err != nil {
			return broken(err)
		}
		if two[1] != '\n' {
			b.take(two[:1])
		}
	}
	return nil
}

func (b *body) take(p []byte) {
	b.out = append(b.out, p...)
	b.n += int64(len(p))
	_, _ = b.w.r.Discard(len(p)) // they are there
}

// finish compares the size at the final dot. Servers that store lines with one
// byte at their end and count those are exact in their way.
func (b *body) finish() error {
	switch {
	case b.size < 0 || b.n == b.size:
	case b.held && b.n-2 == b.size:
		b.held, b.n = false, b.n-2 // the message ends without a line end
	case b.n-b.lines == b.size:
	default:
		return fmt.Errorf("%w: %d bytes instead of %d", ErrSize, b.n, b.size)
	}
	if b.held {
		b.out, b.held = append(b.out, "\r\n"...), false
	}
	return io.EOF
}

// broken is the error of a message that ends without its dot.
func broken(err error) error { return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err) }
