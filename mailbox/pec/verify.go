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
	"slices"
	"strings"
	"time"

	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec/cms"
)

// digestBlock is the size of one read of the signed part.
const digestBlock = 64 << 10

// sameContent reports whether length bytes at off are what was signed: as they
// stand or, where they do not fit so, with every line end as CRLF (RFC 8551
// section 3.1.1). Nearly every message is stored with the bytes that were signed,
// and looking for line ends would cost a sixth of the digest; one that went
// through a Maildir has bare LF.
func sameContent(ctx context.Context, r io.ReaderAt, off, length int64, s *cms.Signature, buf []byte) (bool, error) {
	h := s.Digest.New()
	if err := stream(ctx, r, off, length, buf, func(p []byte) { h.Write(p) }); err != nil {
		return false, err
	}
	if s.SameContent(h.Sum(nil)) {
		return true, nil
	}
	sum, err := digestPart(ctx, r, off, length, s.Digest, buf)
	return err == nil && s.SameContent(sum), err
}

// digestPart streams length bytes at off through the hash, with every line end
// as CRLF.
func digestPart(ctx context.Context, r io.ReaderAt, off, length int64, h crypto.Hash, buf []byte) ([]byte, error) {
	w := canonical{h: h.New()}
	if err := stream(ctx, r, off, length, buf, w.write); err != nil {
		return nil, err
	}
	return w.h.Sum(nil), nil
}

// stream reads length bytes at off in blocks of the size of buf.
func stream(ctx context.Context, r io.ReaderAt, off, length int64, buf []byte, block func([]byte)) error {
	for length > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(int64(len(buf)), length)
		if err := readFull(r, buf[:n], off); err != nil {
			return fmt.Errorf("read signed part: %w", err)
		}
		block(buf[:n])
		off, length = off+n, length-n
	}
	return nil
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
// It lies in room where that is large enough.
func readPart(r io.ReaderAt, p *mime.Part, limit int64, room []byte) ([]byte, error) {
	// Base64 with its line ends takes 1.4 times the room, quoted-printable three.
	if p.BodyLen > 3*limit+1024 {
		return nil, partError(fmt.Sprintf("larger than %d KiB", limit>>10))
	}
	raw := room[:0]
	if int64(cap(raw)) < p.BodyLen {
		raw = make([]byte, p.BodyLen)
	}
	raw = raw[:p.BodyLen]
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
	if bytes.IndexByte(b, ' ') >= 0 || bytes.IndexByte(b, '\t') >= 0 {
		n := 0
		for _, c := range b {
			if c != ' ' && c != '\t' {
				b[n] = c
				n++
			}
		}
		b = b[:n]
	}
	n := 0
	for rest := b; len(rest) > 0; {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		n += copy(b[n:], bytes.TrimSuffix(line, []byte{'\r'}))
	}
	data := b[:n]
	for len(data) > 0 && data[len(data)-1] == '=' {
		data = data[:len(data)-1]
	}
	if n-len(data) > 2 {
		return nil, errors.New("too much padding")
	}
	m, err := base64.RawStdEncoding.Decode(b, data)
	return b[:m], err
}

// senderOf checks the outer From against the leaf's addresses: exactly one From
// with one plain address that the certificate bears (rfc822Name). The local part
// is fixed by RFC 6109: the certificate of a person, even one issued by the same
// CA for their own From, signs no PEC. It returns that address in lower case.
func senderOf(leaf *x509.Certificate, from []string) (string, *fault) {
	if len(from) != 1 {
		return "", &fault{Invalid, checkSender, fmt.Sprintf("%d From fields", len(from))}
	}
	spec, err := fromAddress(from[0])
	if err != nil {
		return "", &fault{Invalid, checkSender, err.Error()}
	}
	if !slices.ContainsFunc(leaf.EmailAddresses, func(a string) bool { return SameAddress(a, spec) }) {
		return "", &fault{Invalid, checkSender, "From is " + clip(spec) + ", the certificate is for " + clip(strings.Join(leaf.EmailAddresses, ", "))}
	}
	if !providerAddress(spec) {
		return "", &fault{Invalid, checkSender, clip(spec) + " is not the address of a provider"}
	}
	return AddressKey(spec), nil
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
