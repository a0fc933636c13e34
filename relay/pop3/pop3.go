// Package pop3 is a strict client of POP3 (RFC 1939, 2449, 2595, 3206, 5034,
// 6856), for the maildrop of a PEC provider.
//
// It owns the dialog on one connection and nothing else: no address, no
// certificate check, no cursor, no storage, no retry. A Client belongs to one
// goroutine at a time.
//
// Invariants:
//   - No login before Options.Secure has returned: STLS is never given up, and
//     nothing said before TLS is used after it.
//   - A message is handed out byte for byte: dots are unstuffed at the beginning
//     of lines only, lines end at CRLF only, it ends at CRLF.CRLF only; bare CR,
//     bare LF and NUL are bytes like others, and lines have any length.
//   - Its reader ends in io.EOF only after the final dot and only when the bytes
//     are as many as LIST said. Whatever else ends it is an error, and the
//     connection is not used again: what follows might be the rest of a message
//     that poses as answers.
//   - Answers are taken one by one: bytes that nobody asked for end the session.
//   - Nothing is deleted but by Dele, and that only by a good answer to Quit.
//   - Everything the server sends is bounded: lines, lists, messages, time.
//   - No password in an error.
//
// It uses the standard library only. Its tests have their own scripted servers.
package pop3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Limits of what a server may send.
const (
	// MaxList is the largest maildrop, in messages.
	MaxList = 200_000
	// maxLine bounds a line that is not of a message, in bytes. RFC 2449
	// section 4 allows 512.
	maxLine = 2 << 10
	// maxCaps bounds the lines of an answer to CAPA.
	maxCaps = 200
	// maxID is the longest unique-id (RFC 1939 section 7).
	maxID = 70
)

const (
	defaultTimeout    = 2 * time.Minute
	defaultMaxMessage = 160 << 20
	// pace is how many bytes a second a server must send on the whole while it
	// answers, so that one byte now and then does not last for ever.
	pace = 500
)

// What the methods fail with, for errors.Is. Any other error is temporary: the
// line, the server, or the context. See also ReplyError.
var (
	// ErrAuthRefused: the login was refused without a code that says that it will
	// pass. ReplyError tells code and words.
	ErrAuthRefused = errors.New("login refused")
	// ErrTLS: TLS was refused or tampered with. No login was sent.
	ErrTLS = errors.New("no trustworthy TLS")
	// ErrNoUIDL: the server has no unique-ids, so that messages cannot be told
	// from each other without fetching them all.
	ErrNoUIDL = errors.New("the provider offers no UIDL")
	// ErrTooLarge: a message above Options.MaxMessage.
	ErrTooLarge = errors.New("message too large")
	// ErrSize: the message has not the size that LIST said.
	ErrSize = errors.New("message size differs from the listed one")
	// ErrTooMany: a maildrop of more than MaxList messages.
	ErrTooMany = errors.New("the maildrop holds more messages than can be listed")
	// ErrProtocol: what came is no POP3, or was not asked for.
	ErrProtocol = errors.New("not an answer of POP3")
	// ErrOver: the session ended before.
	ErrOver = errors.New("the session is over")
)

// ReplyError is an -ERR. The session goes on.
type ReplyError struct {
	Command string // the keyword
	Code    string // response code (RFC 2449 section 8, RFC 3206), upper case; often empty
	Text    string // the server's words, made fit to be shown
}

func (e *ReplyError) Error() string {
	code := ""
	if e.Code != "" {
		code = "[" + e.Code + "] "
	}
	return fmt.Sprintf("%s: the provider answered -ERR %s%s", e.Command, code, e.Text)
}

// Options say how to log in and how much to take.
type Options struct {
	Security string // "tls": from the first byte; "starttls": STLS before anything else
	// Secure runs TLS on the connection and checks the server. Required.
	Secure   func(ctx context.Context, conn net.Conn) (net.Conn, error)
	Username string
	Password string
	Token    string // OAuth 2.0 access token, in place of Password (XOAUTH2)
	// Timeout is how long the server may be silent while an answer is due; 0 is
	// 2 minutes.
	Timeout time.Duration
	// MaxMessage is the largest message taken, in bytes; 0 is 160 MiB.
	MaxMessage int64
	// BeforeLogin is asked right before the login is sent; an error ends the
	// connection without it. nil: nobody.
	BeforeLogin func(ctx context.Context) error
}

// Client is one session, logged in.
type Client struct {
	opt     Options
	w       *wire
	caps    map[string]string // by keyword: the rest of the line
	secrets []string          // never to appear in what is reported
	err     error             // why the session is over
}

// New logs in over conn and owns it from then on; on error it is closed. Errors:
// ErrTLS, ErrAuthRefused, those of Options.Secure, otherwise temporary. ctx
// bounds only the login.
func New(ctx context.Context, conn net.Conn, o Options) (*Client, error) {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = defaultMaxMessage
	}
	c := &Client{opt: o}
	if err := c.open(ctx, conn); err != nil {
		conn.Close()
		if c.w != nil {
			c.w.conn.Close()
		}
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause) // of Options.Secure too
		}
		return nil, err
	}
	return c, nil
}

// open goes from the open connection to an accepted login.
func (c *Client) open(ctx context.Context, conn net.Conn) error {
	if c.opt.Secure == nil {
		return fmt.Errorf("%w: nothing checks the server", ErrTLS)
	}
	switch c.opt.Security {
	case "tls":
	case "starttls":
		if err := c.askTLS(ctx, conn); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: security %q is neither tls nor starttls", ErrTLS, c.opt.Security)
	}
	secured, err := c.opt.Secure(ctx, conn)
	if err != nil {
		return err
	}
	c.w = newWire(secured, c.opt.Timeout)
	defer c.watch(ctx)()
	if c.opt.Security == "tls" {
		if err := c.greeting(); err != nil {
			return err
		}
	}
	if err := c.capabilities(ctx); err != nil {
		return err
	}
	if ask := c.opt.BeforeLogin; ask != nil {
		if err := ask(ctx); err != nil {
			return fmt.Errorf("login: %w", err)
		}
	}
	if err := c.login(ctx); err != nil {
		return err
	}
	// What is offered may be more now, and what was said before is forgotten.
	return c.capabilities(ctx)
}

// askTLS runs what comes before TLS in plain text: the greeting and STLS (RFC
// 2595 section 4). Nothing of it is used later.
func (c *Client) askTLS(ctx context.Context, conn net.Conn) error {
	c.w = newWire(conn, c.opt.Timeout)
	defer c.watch(ctx)()
	if err := c.greeting(); err != nil {
		return err
	}
	_, err := c.command(ctx, "STLS")
	var no *ReplyError
	if errors.As(err, &no) {
		return fmt.Errorf("%w: %w", ErrTLS, err)
	}
	if err == nil && c.w.r.Buffered() > 0 {
		err = fmt.Errorf("%w: plain text after the answer to STLS", ErrTLS)
	}
	if err == nil {
		err = c.w.arm(conn.SetDeadline, time.Time{}) // the handshake has its own
	}
	return err
}

func (c *Client) greeting() error {
	c.w.begin()
	_, err := c.reply("greeting")
	return err
}

// capabilities asks what the server offers (RFC 2449 section 5). One that does
// not know the question offers what RFC 1939 has.
func (c *Client) capabilities(ctx context.Context) error {
	c.caps = nil
	_, err := c.command(ctx, "CAPA")
	var no *ReplyError
	if errors.As(err, &no) {
		return nil
	}
	if err != nil {
		return err
	}
	caps := map[string]string{}
	err = c.lines(maxCaps, func(line string) error {
		word, rest, _ := cut(line)
		caps[upper(word)] = rest
		return nil
	})
	if err != nil {
		return c.end(fmt.Errorf("CAPA: %w", err))
	}
	c.caps = caps
	return nil
}

// Offers tells whether the server said that it has a capability, such as TOP.
func (c *Client) Offers(capability string) bool {
	_, ok := c.caps[upper(capability)]
	return ok
}

// Over tells that the session has ended.
func (c *Client) Over() bool { return c.err != nil }

// watch cuts what waits when ctx ends, until the returned function is called.
func (c *Client) watch(ctx context.Context) (stop func() bool) {
	w := c.w
	return context.AfterFunc(ctx, func() { w.cut() })
}

// end notes why the session is over and closes the connection.
func (c *Client) end(err error) error {
	if c.err == nil {
		c.err = err
		c.w.conn.Close()
	}
	return err
}

// Close ends the connection without QUIT: nothing that was marked is deleted.
// After Quit it does nothing.
func (c *Client) Close() error {
	if c.err == nil {
		_ = c.end(ErrOver)
	}
	return nil
}
