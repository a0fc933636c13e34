package smtpd

import (
	"bytes"
	"io"
	"strings"
)

// BDAT (RFC 3030) is offered to groupware servers: Exchange 2007 damages parts of
// messages where CHUNKING is missing. The library never sees it, since it takes a
// chunk that was cut off for a whole one. To the library the first BDAT of a message
// is DATA; the chunks are counted here, and the message has ended only when all
// octets of the chunk with LAST are there. BINARYMIME is not offered, so a message
// has lines like any other.

// chunks is a message that comes by BDAT.
type chunks struct {
	left int64 // octets of the present chunk still to come
	last bool  // the present chunk is the last
}

const noChunkLength = "501 5.5.4 BDAT vuole una lunghezza e al piu' LAST / BDAT takes a length and LAST at most"

// bdat begins a message, or passes over a chunk that belongs to none. What it
// returns is as of judge.
func (c *conn) bdat(arg string) (answer string, ok bool) {
	ch, good := chunkOf(arg)
	if !good {
		// Where the chunk ends nobody knows.
		c.hangUp = noChunkLength
		return "", false
	}
	refused := ""
	switch {
	case c.ses == nil || !c.ses.open || c.ses.accepted == 0:
		refused = "503 5.5.1 Prima MAIL e RCPT / MAIL and RCPT come first"
	case c.rcpts > c.ses.accepted:
		refused = spoiled().line()
	}
	if refused != "" {
		if ch.left > c.srv.flood() {
			c.hangUp = c.srv.tooLarge().line()
			return "", false
		}
		c.Expect(dataPace, dataGrace)
		defer c.Expect(0, 0)
		if err := c.skip(ch.left); err != nil {
			c.hangUp = silence
			return "", false
		}
		return refused, false
	}
	c.chunks = ch
	return "", true
}

// chunkOf reads the argument of BDAT.
func chunkOf(arg string) (*chunks, bool) {
	f := strings.Fields(arg)
	if len(f) == 0 || len(f) > 2 || len(f[0]) > 18 || strings.Trim(f[0], "0123456789") != "" {
		return nil, false
	}
	if len(f) == 2 && !strings.EqualFold(f[1], "LAST") {
		return nil, false
	}
	return &chunks{left: atoi(f[0]), last: len(f) == 2}, true
}

// skip passes over octets that belong to no message.
func (c *conn) skip(n int64) error {
	for n > 0 {
		if c.r == c.w {
			if err := c.fill(block); err != nil && err != errInterrupted {
				return err
			}
		}
		k := min(n, int64(c.w-c.r))
		c.r += int(k)
		n -= k
	}
	return nil
}

// Errors that end a message which comes by BDAT without a fault of the line.
var (
	errReset = chunkEnd("reset by the client")
	errQuit  = chunkEnd("given up by the client")
)

type chunkEnd string

func (e chunkEnd) Error() string { return string(e) }

// nextChunked is next for a message that comes by BDAT.
func (b *body) nextChunked() ([]byte, error) {
	ch := b.c.chunks
	for {
		if ch.left == 0 {
			if ch.last {
				return b.chunksEnd()
			}
			if err := b.another(ch); err != nil {
				return nil, err
			}
			continue
		}
		in := b.c.in[b.c.r:b.c.w]
		in = in[:min(int64(len(in)), ch.left)]
		if len(in) == 0 {
			if err := b.c.fill(block); err != nil {
				return nil, errLost
			}
			continue
		}
		b.c.r += len(in)
		ch.left -= int64(len(in))
		if b.raw += int64(len(in)); b.raw > b.c.srv.flood() {
			return nil, errFlood
		}
		// A CR at the end of a chunk may have its LF in the next one: it waits for it.
		piece := in
		if b.held {
			piece = append([]byte{'\r'}, in...)
		}
		if b.held = piece[len(piece)-1] == '\r'; b.held {
			piece = piece[:len(piece)-1]
		}
		if len(piece) > 0 {
			return b.give(piece), nil
		}
	}
}

// give counts a piece and looks at it.
func (b *body) give(piece []byte) []byte {
	b.n += int64(len(piece))
	b.start = bytes.HasSuffix(piece, []byte("\r\n"))
	b.look(piece)
	return piece
}

// chunksEnd is the end of a message that came whole. A last line without its end
// gets it, as DATA has no other (RFC 5321 section 4.1.1.4).
func (b *body) chunksEnd() ([]byte, error) {
	switch {
	case b.held:
		b.held, b.dirty = false, true // a CR alone
	case !b.start && !b.dirty:
		b.ended = true
		return b.give([]byte("\r\n")), nil
	}
	b.done = true
	return nil, io.EOF
}

// another answers a chunk and waits for the next one.
func (b *body) another(ch *chunks) error {
	c := b.c
	c.say("250 2.0.0 Continuare / go on")
	for c.chatter = 0; c.chatter < maxUnknown; c.chatter++ {
		line, err := c.line()
		if err != nil {
			return errLost
		}
		c.Expect(dataPace, dataGrace) // line asks for the pace of commands
		if line == nil {
			continue // a soft stop lets the message end
		}
		text, crlf := bytes.CutSuffix(line, []byte("\r\n"))
		if !crlf || bytes.ContainsAny(text, "\r\x00") {
			return errLost
		}
		verb, arg, _ := strings.Cut(string(text), " ")
		switch strings.ToUpper(verb) {
		case "BDAT":
			next, ok := chunkOf(arg)
			if !ok {
				return errLost // where the chunk ends nobody knows
			}
			*ch = *next
			return nil
		case "NOOP":
			c.say("250 2.0.0 OK")
		case "RSET":
			return errReset
		case "QUIT":
			return errQuit
		default:
			c.say("503 5.5.1 Un messaggio e' in corso: BDAT o RSET / a message is under way: BDAT or RSET")
		}
	}
	return errLost
}
