package forward

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"pecgate/mailbox/mime"
)

// LoopHeader stands in the notices that the gateway writes; its value is the
// address that they come from.
const LoopHeader = "X-Loop"

// maxHops is how many Received fields a message may have that is still forwarded.
const maxHops = 30

// mark is what tells our own trace field.
func mark(hostname string) string { return "by " + hostname + " (pecgate)" }

// trace is the one field that is put above a message (RFC 5321 section 4.4).
func trace(hostname, id, to string, at time.Time) string {
	return fmt.Sprintf("Received: %s id %s\r\n\tfor <%s>; %s\r\n", mark(hostname), id, to, at.Format(time.RFC1123Z))
}

// maxHeader bounds how much of a header is looked at for marks.
const maxHeader = 1 << 18

// Check is what tells that a message must not be forwarded.
type Check struct {
	Hostname string // ours
	Address  string // where our notices come from
	Machines bool   // what a machine wrote, too (RFC 3834)
}

// Marked tells why a message must not be forwarded, or nothing: by the header of
// length octets at an offset it came through this gateway before, has travelled too
// far or, with Machines, was written by a machine.
func (c Check) Marked(r io.ReaderAt, off, length int64) (string, error) {
	header := make([]byte, min(length, maxHeader))
	if _, err := r.ReadAt(header, off); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	hops := 0
	for _, f := range mime.Fields(header) {
		value := strings.Join(strings.Fields(f.Body()), " ")
		switch strings.ToLower(f.Name) {
		case "received":
			if hops++; strings.Contains(strings.ToLower(value), strings.ToLower(mark(c.Hostname))) {
				return "it was forwarded from here before", nil
			}
		case "x-loop":
			if strings.EqualFold(value, c.Address) {
				return "it is a notice of ours", nil
			}
		case "auto-submitted": // RFC 3834 section 2
			if word, _, _ := strings.Cut(value, ";"); c.Machines && !strings.EqualFold(strings.TrimSpace(word), "no") {
				return "it was written by a machine (Auto-Submitted)", nil
			}
		case "return-path":
			if c.Machines && value == "<>" {
				return "it has a null return path", nil
			}
		}
	}
	if hops > maxHops {
		return fmt.Sprintf("it has %d Received fields", hops), nil
	}
	return "", nil
}

// traced is a stored message under its trace field.
type traced struct {
	field string
	body  io.ReaderAt
	size  int64 // of the body
}

func (t *traced) Size() int64 { return int64(len(t.field)) + t.size }

// ReadAt reads across the seam of field and body.
func (t *traced) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("forward: negative offset")
	}
	if off < int64(len(t.field)) {
		n = copy(p, t.field[off:])
		off = int64(len(t.field))
	}
	if n == len(p) {
		return n, nil
	}
	rest := p[n:]
	at := off - int64(len(t.field))
	if at >= t.size {
		return n, io.EOF
	}
	short := false
	if int64(len(rest)) > t.size-at {
		rest, short = rest[:t.size-at], true
	}
	m, err := t.body.ReadAt(rest, at)
	n += m
	if m == len(rest) {
		err = nil
		if short {
			err = io.EOF
		}
	}
	return n, err
}
