package pop3

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxCommand is the longest command with its CRLF (RFC 2449 section 4); a SASL
// answer that does not fit goes on a line of its own (RFC 5034 section 4).
const maxCommand = 255

// login sends the login, once: XOAUTH2 with a token, else AUTH PLAIN (RFC 4616)
// where it is offered, since it takes every character, else USER and PASS.
func (c *Client) login(ctx context.Context) error {
	user, password, token := c.opt.Username, c.opt.Password, c.opt.Token
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	plain := b64("\x00" + user + "\x00" + password)
	bearer := b64("user=" + user + "\x01auth=Bearer " + token + "\x01\x01")
	c.secrets = []string{plain, bearer, b64(password), b64(token), password, token}
	if user == "" || password == "" && token == "" || strings.ContainsAny(user+password+token, "\x00\x01\r\n") {
		return fmt.Errorf("%w: no usable user name and password", ErrAuthRefused)
	}
	// UTF8 comes before the login (RFC 6856 section 2). Without it a server may
	// rewrite headers that hold UTF-8, and what it gives would not be the message.
	if c.Offers("UTF8") {
		var no *ReplyError
		if _, err := c.command(ctx, "UTF8"); err != nil && !errors.As(err, &no) {
			return err
		}
	}
	mechanisms := strings.Fields(upper(c.caps["SASL"]))
	var err error
	switch {
	case token != "" && !slices.Contains(mechanisms, "XOAUTH2"):
		return errors.New("login: the provider does not offer XOAUTH2")
	case token != "":
		err = c.sasl(ctx, "XOAUTH2", bearer)
	case slices.Contains(mechanisms, "PLAIN"):
		err = c.sasl(ctx, "PLAIN", plain)
	case c.caps != nil && !c.Offers("USER"):
		return errors.New("login: the provider offers neither USER nor PLAIN")
	case strings.Contains(user, " ") || len("PASS ")+len(password)+2 > maxCommand:
		return errors.New("login: the user name or the password does not fit into USER and PASS, and the provider offers no PLAIN")
	default:
		if _, err = c.command(ctx, "USER", user); err == nil {
			_, err = c.command(ctx, "PASS", password)
		}
	}
	var no *ReplyError
	if errors.As(err, &no) && !slices.Contains(passing(), no.Code) {
		return fmt.Errorf("%w: %w", ErrAuthRefused, err)
	}
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	return nil
}

// passing are the codes of a refusal that passes by itself (RFC 2449 section 8.1,
// RFC 3206 section 4). SYS/PERM is no such: it is not about the password either, but
// somebody has to mend it.
func passing() []string { return []string{"IN-USE", "LOGIN-DELAY", "SYS/TEMP"} }

// sasl runs AUTH with one answer.
func (c *Client) sasl(ctx context.Context, mechanism, answer string) error {
	const keyword = "AUTH"
	if len(keyword)+1+len(mechanism)+1+len(answer)+2 <= maxCommand {
		if err := c.send(ctx, keyword, mechanism, answer); err != nil {
			return err
		}
	} else {
		if err := c.send(ctx, keyword, mechanism); err != nil {
			return err
		}
		if more, err := c.challenge(keyword); err != nil || !more {
			return err
		}
		if err := c.answer(keyword, answer); err != nil {
			return err
		}
	}
	// XOAUTH2 tells its refusal in a challenge, which an empty answer ends.
	for range 2 {
		if more, err := c.challenge(keyword); err != nil || !more {
			return err
		}
		if err := c.answer(keyword, ""); err != nil {
			return err
		}
	}
	return c.end(fmt.Errorf("%s: %w: one challenge after the other", keyword, ErrProtocol))
}

func (c *Client) answer(keyword, text string) error {
	if c.w.r.Buffered() > 0 {
		return c.end(fmt.Errorf("%s: %w: bytes that nobody asked for", keyword, ErrProtocol))
	}
	c.w.begin()
	if err := c.w.write(text + "\r\n"); err != nil {
		return c.end(fmt.Errorf("%s: %w", keyword, err))
	}
	return nil
}

// challenge reads the next line of a SASL exchange; more tells that the server
// wants an answer.
func (c *Client) challenge(keyword string) (more bool, err error) {
	b, err := c.w.r.Peek(2)
	if err != nil {
		return false, c.end(fmt.Errorf("%s: %w", keyword, err))
	}
	if string(b) != "+ " && string(b) != "+\r" {
		_, err := c.reply(keyword)
		return false, err
	}
	if _, err := c.w.line(); err != nil {
		return false, c.end(fmt.Errorf("%s: %w", keyword, err))
	}
	return true, nil
}
