package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
)

// maxHeader bounds the header of a stored submission: what smtpd takes, with the
// fields that it adds.
const maxHeader = 512 << 10

// childHeader is the header of a child, made from that of its batch: Bcc is gone
// in any case; with to, To is that one address and Cc is gone; with msgid,
// Message-ID is that. Every other byte stays. The same header and arguments make
// the same bytes.
func childHeader(header []byte, to, msgid string) []byte {
	out := make([]byte, 0, len(header)+len(to)+len(msgid)+32)
	fields := mime.Fields(header)
	has := func(name string) bool {
		for _, f := range fields {
			if strings.EqualFold(f.Name, name) {
				return true
			}
		}
		return false
	}
	instead := map[string]string{"bcc": ""} // of the first field of a name; the others go
	var behind string                       // fields that the header had not
	if to != "" {
		line := "To: " + to + "\r\n"
		instead["to"], instead["cc"] = line, ""
		switch {
		case has("to"):
		case has("cc"):
			instead["cc"] = line
		default:
			behind += line
		}
	}
	if msgid != "" {
		line := "Message-ID: <" + msgid + ">\r\n"
		if instead["message-id"] = line; !has("message-id") {
			behind += line
		}
	}
	at := 0
	for _, f := range fields {
		line, other := instead[strings.ToLower(f.Name)]
		if !other {
			continue
		}
		out = append(append(out, header[at:f.Off]...), line...)
		instead[strings.ToLower(f.Name)] = ""
		at = f.Off + len(f.Raw)
	}
	end := len(header)
	if behind != "" && bytes.HasSuffix(header, []byte("\r\n")) {
		end -= 2 // before the blank line
	}
	return append(append(append(out, header[at:end]...), behind...), header[end:]...)
}

// Content is the bytes of a submission as they are relayed.
type Content struct {
	stored interface {
		io.ReaderAt
		io.Closer
		Size() int64
	}
	header []byte // in place of the first skip bytes of what is stored
	skip   int64
}

// Size is the number of bytes.
func (c *Content) Size() int64 { return c.stored.Size() - c.skip + int64(len(c.header)) }

// Close ends the use of the stored bytes.
func (c *Content) Close() error { return c.stored.Close() }

// ReadAt reads as io.ReaderAt says.
func (c *Content) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("relay: negative offset")
	}
	if off < int64(len(c.header)) {
		n = copy(p, c.header[off:])
		if n == len(p) {
			return n, nil
		}
	}
	m, err := c.stored.ReadAt(p[n:], off+int64(n)-int64(len(c.header))+c.skip)
	return n + m, err
}

// sum is the SHA-256 of the bytes, in hexadecimal.
func (c *Content) sum() (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(c, 0, c.Size())); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// content opens the bytes of a submission as they leave: what is stored, or for
// a child of a batch the batch's message with the child's header.
func content(ctx context.Context, store *mailbox.Store, s *Submission) (*Content, error) {
	m, err := store.Message(ctx, s.Message)
	if err != nil {
		return nil, err
	}
	stored, err := store.Open(m)
	if err != nil {
		return nil, err
	}
	c := &Content{stored: stored}
	if !s.child() {
		return c, nil
	}
	header, err := headerOf(stored, stored.Size())
	if err == nil {
		to, msgid := s.Recipients[0].Address, s.MsgID
		if own := childMsgID(s.Box, s.ID); msgid != own {
			to, msgid = "", "" // the one for those whom everybody sees
		}
		c.header, c.skip = childHeader(header, to, msgid), int64(len(header))
		return c, nil
	}
	return nil, errors.Join(err, stored.Close())
}

// headerOf reads the header of a stored submission with its blank line.
func headerOf(r io.ReaderAt, size int64) ([]byte, error) {
	for n := int64(8 << 10); ; n *= 4 {
		n = min(n, size, maxHeader)
		b := make([]byte, n)
		if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if bytes.HasPrefix(b, []byte("\r\n")) {
			return b[:2], nil
		}
		if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
			return b[:i+4], nil
		}
		if n == size || n == maxHeader {
			return nil, errors.New("relay: a stored submission without the end of its header")
		}
	}
}

// ErrOtherBytes says that the bytes of a message of a batch do not come to the
// hash that is on record of what was handed over.
var ErrOtherBytes = errors.New("relay: what is stored does not give the bytes that were handed over")

// Bytes opens the bytes of the submission with an id, Message-ID or PEC
// identifier: those that were or will be relayed. Those of a child of a batch are
// made anew and compared with the hash of what was handed over, if it was. The
// caller closes them. Errors: ErrNotFound, ErrOtherBytes, and those of the store.
func Bytes(ctx context.Context, store *mailbox.Store, name string) (*Content, error) {
	var sub *Submission
	err := store.View(ctx, func(tx *mailbox.Tx) (err error) { sub, err = Find(tx, name); return err })
	if err != nil {
		return nil, err
	}
	c, err := content(ctx, store, sub)
	if err != nil || !sub.child() || sub.SHA256 == "" {
		return c, err
	}
	sum, err := c.sum()
	if err == nil && sum != sub.SHA256 {
		err = fmt.Errorf("%w: message %s", ErrOtherBytes, sub.ID)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
