package pop3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Entry is one message of the maildrop as it was at login.
type Entry struct {
	Number int    // of this session only
	Size   int64  // as LIST says, in bytes
	ID     string // unique-id, 1 to 70 printable characters; empty: none that can be used
}

// List returns all messages, by number. An id that is missing, badly formed or
// given twice is left out of the entries (RFC 1939 section 7 allows none of
// these): it tells no message from another. Errors: ErrNoUIDL, ErrTooMany.
func (c *Client) List(ctx context.Context) ([]Entry, error) {
	defer c.watch(ctx)()
	if _, err := c.command(ctx, "LIST"); err != nil {
		return nil, err
	}
	var list []Entry
	err := c.numbered(func(n int, rest string) error {
		// A server may add words behind the size.
		word, _, _ := cut(rest)
		size, ok := number(word)
		if !ok {
			return fmt.Errorf("%w: message %d has the size %q", ErrProtocol, n, c.clean(rest))
		}
		list = append(list, Entry{Number: n, Size: size})
		return nil
	})
	if err != nil {
		return nil, c.because(ctx, c.end(fmt.Errorf("LIST: %w", err)))
	}
	slices.SortFunc(list, func(a, b Entry) int { return a.Number - b.Number })
	for i := 1; i < len(list); i++ {
		if list[i].Number == list[i-1].Number {
			return nil, c.end(fmt.Errorf("LIST: %w: message %d stands there twice", ErrProtocol, list[i].Number))
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list, c.ids(ctx, list)
}

// ids fills in the unique-ids.
func (c *Client) ids(ctx context.Context, list []Entry) error {
	_, err := c.command(ctx, "UIDL")
	var no *ReplyError
	if errors.As(err, &no) {
		return fmt.Errorf("%w: %w", ErrNoUIDL, err)
	}
	if err != nil {
		return err
	}
	seen := make(map[string]int, len(list)) // index of the entry; -1: given twice
	err = c.numbered(func(n int, id string) error {
		i, ok := slices.BinarySearchFunc(list, n, func(e Entry, n int) int { return e.Number - n })
		if !ok || !usable(id) {
			return nil
		}
		if _, twice := seen[id]; twice || list[i].ID != "" {
			if at := seen[id]; twice && at >= 0 {
				list[at].ID = ""
			}
			seen[id] = -1
			if old := list[i].ID; old != "" { // two ids for one message
				seen[old], list[i].ID = -1, ""
			}
			return nil
		}
		seen[id], list[i].ID = i, id
		return nil
	})
	if err != nil {
		return c.because(ctx, c.end(fmt.Errorf("UIDL: %w", err)))
	}
	return nil
}

// numbered reads a list whose lines begin with a message number.
func (c *Client) numbered(fn func(n int, rest string) error) error {
	count := 0
	return c.lines(MaxList+1, func(line string) error {
		if count++; count > MaxList {
			return fmt.Errorf("%w: more than %d", ErrTooMany, MaxList)
		}
		word, rest, _ := cut(line)
		n, ok := number(word)
		if !ok || n < 1 || n > 1<<31-1 {
			return fmt.Errorf("%w: %q is no line of a list", ErrProtocol, c.clean(line))
		}
		return fn(int(n), rest)
	})
}

// number reads digits and nothing else.
func number(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// usable tells whether s has the form of a unique-id.
func usable(s string) bool {
	if len(s) < 1 || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Stat returns how many messages there are and how many bytes they have, by
// the server's count.
func (c *Client) Stat(ctx context.Context) (messages int, bytes int64, err error) {
	defer c.watch(ctx)()
	text, err := c.command(ctx, "STAT")
	if err != nil {
		return 0, 0, err
	}
	a, rest, _ := cut(text)
	b, _, _ := cut(rest)
	n, ok1 := number(a)
	size, ok2 := number(b)
	if !ok1 || !ok2 || n > 1<<31-1 {
		return 0, 0, c.end(fmt.Errorf("STAT: %w: %q", ErrProtocol, c.clean(text)))
	}
	return int(n), size, nil
}

// Dele marks a message. It goes when Quit has a good answer, and not before.
func (c *Client) Dele(ctx context.Context, e Entry) error {
	defer c.watch(ctx)()
	_, err := c.command(ctx, "DELE", strconv.Itoa(e.Number))
	return err
}

// Rset takes all marks away.
func (c *Client) Rset(ctx context.Context) error {
	defer c.watch(ctx)()
	_, err := c.command(ctx, "RSET")
	return err
}

// Noop asks for a sign of life.
func (c *Client) Noop(ctx context.Context) error {
	defer c.watch(ctx)()
	_, err := c.command(ctx, "NOOP")
	return err
}

// Quit ends the session in order and closes the connection. nil is the server's
// word that all that was marked is gone; after any error some of it may be there
// still (RFC 1939 section 6).
func (c *Client) Quit(ctx context.Context) error {
	defer c.watch(ctx)()
	_, err := c.command(ctx, "QUIT")
	_ = c.end(ErrOver)
	return err
}
