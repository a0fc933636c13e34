package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// blockSize is how much of the body is read and written at once.
const blockSize = 32 << 10

// errBody marks a body that must not be sent as it is.
var errBody = errors.New("the message cannot be sent unchanged")

// lineCheck follows the line ends of a body. Only CRLF may end a line, and CR,
// LF and NUL may not stand for themselves: what one server reads as text,
// another may read as the end of the message (B15).
type lineCheck struct {
	offset int64 // bytes seen
	cr     bool  // the last byte was a CR
	crlf   bool  // the last two bytes were CRLF
	high   byte  // all bytes, or-ed
}

// block takes the next bytes and tells dot of every one that begins a line.
func (c *lineCheck) block(p []byte, dot func(i int) error) error {
	cr, start, high := c.cr, c.crlf || c.offset == 0, c.high
	for i, b := range p {
		switch {
		case b == '\n':
			if !cr {
				return fmt.Errorf("%w: line feed without carriage return at byte %d", errBody, c.offset+int64(i))
			}
			cr, start = false, true
			continue
		case cr:
			return fmt.Errorf("%w: carriage return without line feed at byte %d", errBody, c.offset+int64(i)-1)
		case b == '\r':
			cr = true
		case b == 0:
			return fmt.Errorf("%w: NUL at byte %d", errBody, c.offset+int64(i))
		case b == '.' && start:
			if err := dot(i); err != nil {
				return err
			}
		}
		high |= b
		start = false
	}
	c.offset += int64(len(p))
	c.cr, c.crlf, c.high = cr, start && c.offset > 0, high
	return nil
}

// end checks how the body ended.
func (c *lineCheck) end() error {
	if !c.crlf {
		return fmt.Errorf("%w: it does not end in CRLF", errBody)
	}
	return nil
}

// blocks reads the whole body in blocks. A body shorter than its Size is an
// error of reading, not an end.
func blocks(ctx context.Context, body Body, fn func(p []byte) error) error {
	buf := make([]byte, blockSize)
	for off, size := int64(0), body.Size(); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), size-off)]
		n, err := body.ReadAt(p, off)
		if n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read the message at byte %d: %w", off, err)
		}
		if err := fn(p); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// inspect reads the body once before anything is sent.
func inspect(ctx context.Context, body Body) (eightBit bool, err error) {
	var c lineCheck
	err = blocks(ctx, body, func(p []byte) error {
		return c.block(p, func(int) error { return nil })
	})
	if err == nil {
		err = c.end()
	}
	return c.high >= 0x80, err
}

// writeDots writes the body to w with a dot before every line that begins with
// one (RFC 5321 4.5.2), without the final dot. It checks again what it writes,
// so that not even a body that changed after inspect can end the message.
func writeDots(ctx context.Context, w io.Writer, body Body) error {
	var c lineCheck
	err := blocks(ctx, body, func(p []byte) error {
		from := 0
		err := c.block(p, func(i int) error {
			if _, err := w.Write(p[from:i]); err != nil {
				return err
			}
			from = i
			_, err := io.WriteString(w, ".")
			return err
		})
		if err != nil {
			return err
		}
		_, err = w.Write(p[from:])
		return err
	})
	if err != nil {
		return err
	}
	return c.end()
}
