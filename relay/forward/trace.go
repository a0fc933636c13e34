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

// Check is what tells that a message must not go further.
type Check struct {
	Hostname string // ours
	Address  string // where our notices come from
	Machines bool   // what a machine wrote, too (RFC 3834)
	Answers  bool   // of that only answers, and what a rule of a mailbox sent on
	// Own is asked of what refers to a message and says all the same that it is none's
	// answer (auto-generated, RFC 3834 section 5), as the mail of ticket systems: why it
	// must not leave, or nothing. Some machines answer so. nil: it is an answer.
	Own func(header []byte) string
}

// Marked tells why a message must not be forwarded, or nothing: by the header of
// length octets at an offset it came through this gateway before, has travelled too
// far or, with Machines or Answers, was written by a machine.
func (c Check) Marked(r io.ReaderAt, off, length int64) (string, error) {
	header := make([]byte, min(length, maxHeader))
	if _, err := r.ReadAt(header, off); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return c.Header(header), nil
}

// Header is Marked for a header that is at hand.
func (c Check) Header(header []byte) string {
	hops, answers, refers, own, written := 0, false, false, false, ""
	var precedence string
	suppress := false
	for _, f := range mime.Fields(header) {
		value := strings.Join(strings.Fields(f.Body()), " ")
		low := strings.ToLower(value)
		switch strings.ToLower(f.Name) {
		case "received":
			if hops++; strings.Contains(low, strings.ToLower(mark(c.Hostname))) {
				return "it was forwarded from here before"
			}
		case "x-loop":
			if strings.EqualFold(value, c.Address) {
				return "it is a notice of ours"
			}
		case "in-reply-to", "references":
			refers = refers || value != ""
		case "auto-submitted": // RFC 3834 section 5
			word := low[:len(low)-len(strings.TrimLeft(low, "abcdefghijklmnopqrstuvwxyz-"))]
			if word != "no" {
				written = "it was written by a machine (Auto-Submitted)"
			}
			answers = answers || word == "auto-replied" || word == "auto-notified"
			own = word == "auto-generated"
		case "x-auto-response-suppress": // Exchange writes it into its answers, which it calls auto-generated
			suppress = true
		case "precedence":
			precedence, _, _ = strings.Cut(low, " ")
		case "x-autoreply", "x-autorespond", "x-autoreply-from", "x-auto-reply-from", "x-mail-autoreply", "x-ms-exchange-inbox-rules-loop":
			if low != "no" && low != "false" {
				written, answers = "it was written by a machine ("+f.Name+")", true
			}
		case "content-type": // notices of failure, of reading (RFC 6522)
			if strings.HasPrefix(low, "multipart/report") {
				written, answers = "it is a report", true
			}
		case "return-path":
			if value == "<>" {
				written, suppress = "it has a null return path", true
			}
		}
	}
	switch precedence {
	case "auto_reply", "auto-reply":
		written, answers = "it was written by a machine (Precedence)", true
	case "bulk", "junk":
		if (answers || refers) && written == "" {
			written = "it was written by a machine (Precedence)"
		}
		suppress = true
	}
	if refers && own && !answers && !suppress && c.Answers && c.Own != nil && hops <= maxHops {
		return c.Own(header)
	}
	answers = answers || refers
	switch {
	case hops > maxHops:
		return fmt.Sprintf("it has %d Received fields", hops)
	case c.Machines, c.Answers && answers:
		return written
	}
	return ""
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
