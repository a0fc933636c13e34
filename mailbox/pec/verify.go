package pec

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime/quotedprintable"
	"strings"
	"time"

	"pecgate/mailbox/mime"
)

// digestBlock is the size of one read of the signed part.
const digestBlock = 64 << 10

// digestPart streams length bytes at off through the hash, with every line end
// as CRLF (RFC 8551 section 3.1.1): a stored message keeps the CRLF it was
// signed with, but one that went through a Maildir has bare LF.
func digestPart(ctx context.Context, r io.ReaderAt, off, length int64, h crypto.Hash, buf []byte) ([]byte, error) {
	w := canonical{h: h.New()}
	for length > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(int64(len(buf)), length)
		if err := readFull(r, buf[:n], off); err != nil {
			return nil, fmt.Errorf("read signed part: %w", err)
		}
		w.write(buf[:n])
		off, length = off+n, length-n
	}
	return w.h.Sum(nil), nil
}

// readFull fills p from off. A short file is an error of the storage: the
// offsets came from the same bytes.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// canonical hashes what is written to it with a CR before each bare LF.
type canonical struct {
	h  hash.Hash
	cr bool // the last byte written was CR
}

func (c *canonical) write(p []byte) {
	start := 0
	for from := 0; from < len(p); {
		i := bytes.IndexByte(p[from:], '\n')
		if i < 0 {
			break
		}
		i += from
		from = i + 1
		if i == 0 && c.cr || i > 0 && p[i-1] == '\r' {
			continue
		}
		c.h.Write(p[start:i])
		c.h.Write([]byte("\r\n"))
		start = from
	}
	c.h.Write(p[start:])
	if len(p) > 0 {
		c.cr = p[len(p)-1] == '\r'
	}
}

// partError says why a part cannot be had: a finding about the message, not an
// I/O error.
type partError string

func (e partError) Error() string { return string(e) }

// readPart returns the decoded body of a small part, at most limit bytes.
func readPart(r io.ReaderAt, p *mime.Part, limit int64) ([]byte, error) {
	// Base64 with its line ends takes 1.4 times the room, quoted-printable three.
	if p.BodyLen > 3*limit+1024 {
		return nil, partError(fmt.Sprintf("larger than %d KiB", limit>>10))
	}
	raw := make([]byte, p.BodyLen)
	if err := readFull(r, raw, p.BodyOff); err != nil {
		return nil, fmt.Errorf("read part: %w", err)
	}
	out := raw
	switch strings.ToLower(p.Encoding) {
	case "base64":
		var err error
		if out, err = decodeBase64(raw); err != nil {
			return nil, partError("not readable as base64")
		}
	case "quoted-printable":
		var err error
		if out, err = io.ReadAll(quotedprintable.NewReader(strings.NewReader(string(raw)))); err != nil {
			return nil, partError("not readable as quoted-printable")
		}
	case "", "7bit", "8bit", "binary":
	default:
		return nil, partError("transfer encoding " + clip(p.Encoding))
	}
	if int64(len(out)) > limit {
		return nil, partError(fmt.Sprintf("larger than %d KiB", limit>>10))
	}
	return out, nil
}

// decodeBase64 decodes in place, leaving blanks and line ends aside. Padding
// may be missing; anything else that is not of the alphabet is an error.
func decodeBase64(b []byte) ([]byte, error) {
	n, pad := 0, 0
	for _, c := range b {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '=':
			pad++
			continue
		}
		if pad > 0 {
			return nil, errors.New("text after the padding")
		}
		b[n] = c
		n++
	}
	if pad > 2 {
		return nil, errors.New("too much padding")
	}
	m, err := base64.RawStdEncoding.Decode(b, b[:n])
	return b[:m], err
}

// senderFault checks the outer From against the leaf's addresses: exactly one
// From with one plain address that the certificate bears (rfc822Name). The local
// part is fixed by RFC 6109: the certificate of a person, even one issued by the
// same CA for their own From, signs no PEC.
func senderFault(leaf *x509.Certificate, from []string) *fault {
	if len(from) != 1 {
		return &fault{Invalid, "sender", fmt.Sprintf("%d From fields", len(from))}
	}
	spec, err := fromAddress(from[0])
	if err != nil {
		return &fault{Invalid, "sender", err.Error()}
	}
	bears := false
	for _, a := range leaf.EmailAddresses {
		bears = bears || SameAddress(a, spec)
	}
	if !bears {
		return &fault{Invalid, "sender", "From is " + clip(spec) + ", the certificate is for " + clip(strings.Join(leaf.EmailAddresses, ", "))}
	}
	if local, _, _ := strings.Cut(spec, "@"); !asciiEqualFold(local, "posta-certificata") {
		return &fault{Invalid, "sender", clip(spec) + " is not the address of a provider"}
	}
	return nil
}

// issuerName names the provider as its certificate does.
func issuerName(leaf *x509.Certificate) string {
	name := leaf.Subject.CommonName
	if len(leaf.Subject.Organization) > 0 {
		name = leaf.Subject.Organization[0]
	}
	if len(leaf.EmailAddresses) > 0 {
		name += " <" + leaf.EmailAddresses[0] + ">"
	}
	return clip(strings.TrimSpace(name))
}

// maxTimeGap is how far the signing time may lie from the date in daticert.xml
// before the reason names it. Real ones differ by a second.
const maxTimeGap = 24 * time.Hour
