package pop3

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"
)

// wire is the connection with rolling deadlines: each read may last as long as
// the server may be silent, and all reads of one answer together no longer than
// its bytes are worth (pace).
type wire struct {
	conn    net.Conn
	r       *bufio.Reader // of the wire itself
	timeout time.Duration

	since time.Time // the answer is due since then
	got   int64     // bytes of the answer so far

	mu   sync.Mutex
	gone bool // cut by the context: no deadline may be set any more
}

func newWire(conn net.Conn, timeout time.Duration) *wire {
	w := &wire{conn: conn, timeout: timeout}
	w.r = bufio.NewReaderSize(w, 64<<10)
	return w
}

// begin says that an answer is due from now on.
func (w *wire) begin() { w.since, w.got = time.Now(), 0 }

// arm sets a deadline, unless the wire was cut.
func (w *wire) arm(set func(time.Time) error, t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return net.ErrClosed
	}
	return set(t)
}

// cut ends what waits, now and later. It may be called from any goroutine.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	_ = w.conn.SetDeadline(time.Unix(1, 0)) // closed: then nothing waits
}

// Read is for the buffered reader only.
func (w *wire) Read(p []byte) (int, error) {
	now := time.Now()
	deadline := now.Add(w.timeout)
	if worth := w.since.Add(2*w.timeout + time.Duration(w.got/pace)*time.Second); worth.Before(deadline) {
		deadline = worth
	}
	if err := w.arm(w.conn.SetReadDeadline, deadline); err != nil {
		return 0, err
	}
	n, err := w.conn.Read(p)
	w.got += int64(n)
	if errors.Is(err, io.EOF) {
		err = errors.New("the provider closed the connection")
	}
	return n, err
}

func (w *wire) write(line string) error {
	if err := w.arm(w.conn.SetWriteDeadline, time.Now().Add(w.timeout)); err != nil {
		return err
	}
	_, err := io.WriteString(w.conn, line)
	return err
}

// line reads a line that is not of a message, without its CRLF. It may not hold
// a bare CR, a bare LF or a NUL: no honest answer does.
func (w *wire) line() (string, error) {
	var whole []byte
	for {
		part, err := w.r.ReadSlice('\n')
		if len(whole)+len(part) > maxLine {
			return "", fmt.Errorf("%w: a line above %d bytes", ErrProtocol, maxLine)
		}
		whole = append(whole, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return "", err
		}
		break
	}
	line, ok := bytes.CutSuffix(whole, []byte("\r\n"))
	if !ok || bytes.ContainsAny(line, "\r\x00") {
		return "", fmt.Errorf("%w: a line does not end as it must", ErrProtocol)
	}
	return string(line), nil
}

// command sends one command and reads the first line of its answer: the text
// after +OK, or a *ReplyError. Any other error ends the session.
func (c *Client) command(ctx context.Context, keyword string, args ...string) (string, error) {
	if err := c.send(ctx, keyword, args...); err != nil {
		return "", err
	}
	text, err := c.reply(keyword)
	return text, c.because(ctx, err)
}

// because names the context as the reason where it ended the session.
func (c *Client) because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && c.err != nil && cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

func (c *Client) send(ctx context.Context, keyword string, args ...string) error {
	if c.err != nil {
		return fmt.Errorf("%s: %w: %w", keyword, ErrOver, c.err)
	}
	if err := context.Cause(ctx); err != nil {
		return c.end(fmt.Errorf("%s: %w", keyword, err))
	}
	if c.w.r.Buffered() > 0 {
		return c.end(fmt.Errorf("%s: %w: bytes that nobody asked for", keyword, ErrProtocol))
	}
	c.w.begin()
	if err := c.w.write(strings.Join(append([]string{keyword}, args...), " ") + "\r\n"); err != nil {
		return c.end(fmt.Errorf("%s: %w", keyword, err))
	}
	return nil
}

// reply reads the status line of an answer (RFC 1939 section 3: the indicators
// are in capitals).
func (c *Client) reply(keyword string) (string, error) {
	line, err := c.w.line()
	if err != nil {
		return "", c.end(fmt.Errorf("%s: %w", keyword, err))
	}
	status, text, _ := cut(line)
	switch status {
	case "+OK":
		return text, nil
	case "-ERR":
		e := &ReplyError{Command: keyword, Text: text}
		if rest, ok := strings.CutPrefix(text, "["); ok {
			if code, words, ok := strings.Cut(rest, "]"); ok && len(code) <= 64 {
				e.Code, e.Text = upper(c.clean(code)), words
			}
		}
		e.Text = c.clean(e.Text)
		return "", e
	}
	return "", c.end(fmt.Errorf("%s: %w: the provider said %q", keyword, ErrProtocol, c.clean(line)))
}

// lines reads a list until its final dot and gives each line to fn, unstuffed.
func (c *Client) lines(most int, fn func(line string) error) error {
	for n := 0; ; n++ {
		line, err := c.w.line()
		if err != nil {
			return err
		}
		if line == "." {
			return nil
		}
		if n == most {
			return fmt.Errorf("%w: more than %d lines", ErrProtocol, most)
		}
		if err := fn(strings.TrimPrefix(line, ".")); err != nil {
			return err
		}
	}
}

// maxText bounds what is kept of a server's words, in bytes.
const maxText = 512

// clean makes a server's words fit to be kept and shown: one line, valid UTF-8,
// bounded, without a login that the server quotes.
func (c *Client) clean(s string) string {
	for _, secret := range c.secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "[...]")
		}
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.TrimSpace(s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}

func cut(line string) (word, rest string, found bool) { return strings.Cut(line, " ") }
func upper(s string) string                           { return strings.ToUpper(s) }
