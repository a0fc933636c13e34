package imapd

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2" // the answer of APPEND

	"pecgate/gateway/auth"
	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
)

// Append takes a message from the client (RFC 9051 section 6.3.12) into a
// folder of the person's own or, as the client's copy of what it sent, into the
// sent folder of a mailbox. A message that the gateway itself has taken from
// this person for sending is not stored again: the answer names the sent copy.
func (s *session) Append(name string, r imap.LiteralReader, o *imap.AppendOptions) (*imap.AppendData, error) {
	data, err := s.append(name, r, o)
	if err != nil {
		return nil, s.reply("APPEND", err)
	}
	return data, nil
}

var errHeaderBig = errors.New("imapd: header above the limit")

func (s *session) append(name string, r imap.LiteralReader, o *imap.AppendOptions) (*imap.AppendData, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	n, err := s.target(name)
	if err != nil {
		return nil, err
	}
	if n.key.Role == mailbox.RoleApproved {
		return nil, s.errNotOwn(n) // nothing is released by what a client brings, be it the copy of a submission
	}
	flags, err := flagNames(o.Flags)
	if err != nil {
		return nil, err
	}
	if r.Size() == 0 {
		return nil, no(imap.ResponseCodeCannot, "An empty message cannot be stored")
	}
	in := &counted{r: r}
	header, body, err := readHeader(in)
	if errors.Is(err, errHeaderBig) {
		return nil, errLimit("The header of this message is too long")
	}
	if err != nil {
		return nil, err
	}
	if header, err = withoutPIN(header, s.srv.pin); err != nil {
		return nil, no(imap.ResponseCodeCannot, "The PIN cannot be taken out of this message's header")
	}
	if id := messageID(header); id != "" {
		validity, uid, err := s.srv.opt.Store.SentCopy(s.ctx, n.key, s.person, id)
		if err == nil {
			if _, err := io.Copy(io.Discard, in); err != nil {
				return nil, err
			}
			if in.n != r.Size() {
				return nil, s.truncated()
			}
			return &imap.AppendData{UIDValidity: validity, UID: imap.UID(uid)}, nil
		}
		if !errors.Is(err, mailbox.ErrNotFound) {
			return nil, err
		}
	}
	// The sent folder is shared; what is put there is this person's to see only.
	if !n.own() && n.key.Role != mailbox.RoleSent {
		return nil, s.errNotOwn(n)
	}
	if short, ok := withoutReply(header); ok {
		if _, err := io.Copy(io.Discard, in); err != nil {
			return nil, err
		}
		return s.take(n.key, bytes.NewReader(short), in, r.Size(), flags, o)
	}
	return s.take(n.key, io.MultiReader(bytes.NewReader(header), bytes.NewReader(body), in), in, r.Size(), flags, o)
}

// take stores the message once all announced bytes have come.
func (s *session) take(k mailbox.FolderKey, whole io.Reader, in *counted, size int64, flags []string, o *imap.AppendOptions) (*imap.AppendData, error) {
	w, err := s.srv.opt.Store.Begin(s.ctx)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, whole); err != nil {
		w.Abort()
		return nil, err
	}
	// The library's reader ends without an error also when the line broke.
	if in.n != size {
		w.Abort()
		return nil, s.truncated()
	}
	date := o.Time
	if date.IsZero() {
		date = s.srv.now()
	}
	validity, uid, err := s.srv.opt.Store.Append(s.ctx, k, s.person, w, flags, date)
	if err != nil {
		w.Abort()
		return nil, err
	}
	return &imap.AppendData{UIDValidity: validity, UID: imap.UID(uid)}, nil
}

// truncated ends a connection in the middle of a message; nobody reads the
// answer.
func (s *session) truncated() error {
	s.f.sayBye("The message was cut off")
	return no(imap.ResponseCodeClientBug, "The message was cut off")
}

// counted counts what a client really sent.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// maxAppendHeader bounds the header that is held in memory, in bytes: that of
// the index. A longer one could hide a PIN where it is not looked for.
const maxAppendHeader = 256 << 10

// readHeader reads up to the blank line, which belongs to the header; body is
// what was read behind it.
func readHeader(r io.Reader) (header, body []byte, err error) {
	var b []byte
	for {
		if end, ok := headerEnd(b); ok {
			return b[:end:end], b[end:], nil
		}
		if len(b) >= maxAppendHeader {
			return nil, nil, errHeaderBig
		}
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(max(2*cap(b), 4<<10), maxAppendHeader))
			copy(grown, b)
			b = grown
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			if end, ok := headerEnd(b); ok {
				return b[:end:end], b[end:], nil
			}
			return b, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// headerEnd is the offset behind the blank line that ends a header.
func headerEnd(b []byte) (int, bool) {
	for start := 0; ; {
		i := bytes.IndexByte(b[start:], '\n')
		if i < 0 {
			return 0, false
		}
		if line := b[start : start+i]; len(line) == 0 || len(line) == 1 && line[0] == '\r' {
			return start + i + 1, true
		}
		start += i + 1
	}
}

// pinMark is whatever auth.MeansPIN takes for a PIN, with blanks and what nobody
// sees between its signs. One that is not closed yet, as in a draft that is saved
// while it is typed, goes to the field's end.
func pinMark() *regexp.Regexp {
	const blank = `[\s\pZ\p{Cf}\x{85}\x{FFFD}]*`
	digits := strings.Repeat(`\p{Nd}`+blank, 4)
	return regexp.MustCompile(`(?i)[\[\x{FF3B}]` + blank + `P` + blank + `I` + blank + `N` + blank +
		`(?:[:\x{FF1A}]|(?:[^\pL\p{Nd}\]\x{FF3D}]` + blank + `){0,3}` + digits + `)[^\]\x{FF3D}]*(?:[\]\x{FF3D}]|$)`)
}

var errPINStays = errors.New("imapd: what may be a PIN cannot be cut")

// withoutPIN cuts the PIN out of whatever a client puts into a folder: drafts
// and copies of what was sent (interface.md, "The only edits"). Outlook copies
// the subject into Thread-Topic; any other field that holds a mark is cut too.
// The body stays as it is.
func withoutPIN(header []byte, mark *regexp.Regexp) ([]byte, error) {
	means := func(f mime.Field) bool {
		body := f.Body()
		return mark.MatchString(body) || auth.MeansPIN(body) ||
			strings.Contains(body, "=?") && (mark.MatchString(mime.DecodeWords(body)) || auth.MeansPIN(mime.DecodeWords(body)))
	}
	names := []string{"Subject", "Thread-Topic"}
	for _, f := range mime.Fields(header) {
		if f.Name != "" && means(f) {
			names = append(names, f.Name)
		}
	}
	header, _, err := mime.CutMark(header, names, mark)
	if err != nil {
		return nil, err
	}
	for _, f := range slices.Backward(mime.Fields(header)) {
		if strings.EqualFold(f.Name, "X-Pecgate-PIN") {
			header = append(header[:f.Off:f.Off], header[f.Off+len(f.Raw):]...)
		} else if means(f) {
			return nil, errPINStays
		}
	}
	return header, nil
}

func messageID(header []byte) string {
	for _, f := range mime.Fields(header) {
		if strings.EqualFold(f.Name, "Message-ID") {
			return pec.NormalizeID(f.Body())
		}
	}
	return ""
}
