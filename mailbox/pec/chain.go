package pec

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"time"

	"pecgate/mailbox/mime"
)

// Signed is what a message was signed with and what was signed about it, for those
// who check it with other programs.
type Signed struct {
	// Chain is the signer's certificate, its issuer and so on. Where Proven it ends
	// at a trusted CA; else it is what the message bears, and nothing vouches for it.
	Chain  []*x509.Certificate
	Proven bool
	At     time.Time // as of which the chain was judged; zero: no time is known
	SHA1   bool      // SHA-1 vouches for the content or the attributes
	// Daticert is daticert.xml, decoded, nil where there is none that can be used, and
	// Encoding its transfer encoding in lower case ("7bit" where none is named).
	Daticert []byte
	Encoding string
}

// Signed reads what a message was signed with; its signature is judged by Read.
// ix must be the index of the same bytes. An error is an I/O error or that of ctx.
func (rd *Reader) Signed(ctx context.Context, r io.ReaderAt, size int64, ix *mime.Index) (*Signed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := openMessage(r, size, ix)
	if err != nil {
		return nil, err
	}
	room := rd.rooms.Get().(*room)
	defer rd.rooms.Put(room)
	by, err := rd.verify(ctx, m, room)
	if err != nil {
		return nil, err
	}
	out := new(Signed)
	cert, _, err := m.daticert(nil)
	if err != nil {
		return nil, err
	}
	if p, _ := m.daticertPart(); p != nil {
		raw, err := readPart(r, p, maxDaticert, nil)
		if bad := partError(""); err != nil && !errors.As(err, &bad) {
			return nil, err
		} else if err == nil {
			out.Daticert, out.Encoding = raw, encodingOf(p)
		}
	}
	if by.sig == nil {
		return out, nil
	}
	out.At, out.SHA1 = by.sig.SignedAt, by.sig.SHA1()
	if out.At.IsZero() && cert != nil {
		out.At = cert.data
	}
	if by.verdict == "" && !out.At.IsZero() {
		if path, f := rd.paths.find(by.sig, out.At); f == nil {
			out.Chain, out.Proven = slices.Clone(path.certs), true
			return out, nil
		}
	}
	out.Chain = append([]*x509.Certificate{by.sig.Leaf}, by.sig.Others...)
	return out, nil
}

// At is the same reader with another clock.
func (rd *Reader) At(now func() time.Time) *Reader {
	other := &Reader{now: now, anchors: rd.anchors, certificates: rd.certificates, paths: rd.paths}
	other.rooms.New = rd.rooms.New
	return other
}
