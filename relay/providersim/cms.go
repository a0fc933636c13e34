package providersim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"
)

// A writer of detached CMS SignedData (RFC 5652) of its own, so that a fault in
// a library that also reads signatures in the gateway cannot cancel itself out.

// SignOptions says how a signature is made.
type SignOptions struct {
	Style  Style       // StyleNew: BER with indefinite lengths, sha256WithRSAEncryption, algorithm protection
	At     time.Time   // signingTime
	Digest crypto.Hash // SHA-256 (default), SHA-384, SHA-512 or SHA-1 (as providers signed until 2024)
	Broken bool        // the digest is taken over other bytes: the signature must not verify
}

var errDigest = fmt.Errorf("digest not supported for signing")

func oid(arcs ...int) asn1.ObjectIdentifier { return arcs }

func oidData() asn1.ObjectIdentifier       { return oid(1, 2, 840, 113549, 1, 7, 1) }
func oidSignedData() asn1.ObjectIdentifier { return oid(1, 2, 840, 113549, 1, 7, 2) }

func digestOID(h crypto.Hash) (asn1.ObjectIdentifier, error) {
	switch h {
	case crypto.SHA1:
		return oid(1, 3, 14, 3, 2, 26), nil
	case crypto.SHA256:
		return oid(2, 16, 840, 1, 101, 3, 4, 2, 1), nil
	case crypto.SHA384:
		return oid(2, 16, 840, 1, 101, 3, 4, 2, 2), nil
	case crypto.SHA512:
		return oid(2, 16, 840, 1, 101, 3, 4, 2, 3), nil
	}
	return nil, errDigest
}

// signatureAlgorithm is the whole AlgorithmIdentifier in DER.
func signatureAlgorithm(key crypto.Signer, h crypto.Hash, style Style) ([]byte, error) {
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		id := oid(1, 2, 840, 10045, 4, 1) // RFC 3279 2.2.3, with SHA-1
		switch h {                        // RFC 5758 3.2
		case crypto.SHA256:
			id = oid(1, 2, 840, 10045, 4, 3, 2)
		case crypto.SHA384:
			id = oid(1, 2, 840, 10045, 4, 3, 3)
		case crypto.SHA512:
			id = oid(1, 2, 840, 10045, 4, 3, 4)
		}
		return sequence(mustDER(id)), nil
	}
	id := oid(1, 2, 840, 113549, 1, 1, 1)
	if style == StyleNew {
		switch h {
		case crypto.SHA1:
			id = oid(1, 2, 840, 113549, 1, 1, 5)
		case crypto.SHA256:
			id = oid(1, 2, 840, 113549, 1, 1, 11)
		case crypto.SHA384:
			id = oid(1, 2, 840, 113549, 1, 1, 12)
		case crypto.SHA512:
			id = oid(1, 2, 840, 113549, 1, 1, 13)
		}
	}
	return sequence(mustDER(id), []byte{5, 0}), nil
}

// CMS makes the detached signature of content: leaf and intermediate inside, no
// root, signed attributes contentType, signingTime, messageDigest and
// sMIMECapabilities.
func (s *Signer) CMS(content []byte, o SignOptions) ([]byte, error) {
	if o.Digest == 0 {
		o.Digest = crypto.SHA256
	}
	digestID, err := digestOID(o.Digest)
	if err != nil {
		return nil, err
	}
	digestAlg := sequence(mustDER(digestID), []byte{5, 0})
	sigAlg, err := signatureAlgorithm(s.key, o.Digest, o.Style)
	if err != nil {
		return nil, err
	}
	h := o.Digest.New()
	h.Write(content)
	if o.Broken {
		h.Write([]byte("other content"))
	}
	attrs, err := signedAttributes(h.Sum(nil), digestAlg, sigAlg, o)
	if err != nil {
		return nil, err
	}
	// RFC 5652 5.4: signed is the DER of an explicit SET OF, not the [0] form.
	h = o.Digest.New()
	h.Write(tlv(0x31, attrs))
	sig, err := s.key.Sign(rand.Reader, h.Sum(nil), o.Digest)
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", s.Address, err)
	}
	leaf := s.Chain[0]
	info := sequence(
		mustDER(1),
		sequence(leaf.RawIssuer, mustDER(leaf.SerialNumber)),
		digestAlg,
		tlv(0xA0, attrs),
		sigAlg,
		tlv(0x04, sig),
	)
	var certs []byte
	for _, c := range s.Chain {
		certs = append(certs, c.Raw...)
	}
	wrap := tlv
	if o.Style == StyleNew {
		wrap = indefinite
	}
	signed := wrap(0x30, join(
		mustDER(1),
		tlv(0x31, digestAlg),
		wrap(0x30, mustDER(oidData())),
		tlv(0xA0, certs),
		tlv(0x31, info),
	))
	return wrap(0x30, join(mustDER(oidSignedData()), wrap(0xA0, signed))), nil
}

// signedAttributes returns the attributes sorted as DER wants a SET OF.
func signedAttributes(digest, digestAlg, sigAlg []byte, o SignOptions) ([]byte, error) {
	when, err := asn1.Marshal(o.At.UTC())
	if err != nil {
		return nil, fmt.Errorf("signing time: %w", err)
	}
	attr := func(value []byte, arcs ...int) []byte {
		return sequence(mustDER(oid(arcs...)), tlv(0x31, value))
	}
	list := [][]byte{
		attr(mustDER(oidData()), 1, 2, 840, 113549, 1, 9, 3),
		attr(when, 1, 2, 840, 113549, 1, 9, 5),
		attr(tlv(0x04, digest), 1, 2, 840, 113549, 1, 9, 4),
		attr(sequence(
			sequence(mustDER(oid(2, 16, 840, 1, 101, 3, 4, 1, 42))), // AES-256-CBC
			sequence(mustDER(oid(2, 16, 840, 1, 101, 3, 4, 1, 2))),  // AES-128-CBC
		), 1, 2, 840, 113549, 1, 9, 15),
	}
	if o.Style == StyleNew {
		// RFC 6211: the signature algorithm carries the implicit tag [1].
		implicit := slices.Clone(sigAlg)
		implicit[0] = 0xA1
		list = append(list, attr(sequence(digestAlg, implicit), 1, 2, 840, 113549, 1, 9, 52))
	}
	slices.SortFunc(list, bytes.Compare)
	return join(list...), nil
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func sequence(parts ...[]byte) []byte { return tlv(0x30, join(parts...)) }

// tlv writes one element with a definite length (DER).
func tlv(tag byte, content []byte) []byte {
	out := []byte{tag}
	n := len(content)
	switch {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	case n < 0x10000:
		out = append(out, 0x82, byte(n>>8), byte(n))
	default:
		out = append(out, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(out, content...)
}

// indefinite writes one element with BER's indefinite length.
func indefinite(tag byte, content []byte) []byte {
	return append(append([]byte{tag, 0x80}, content...), 0, 0)
}

// mustDER is for identifiers, integers and the like, which cannot fail; an
// empty result would make every signature test fail at once.
func mustDER(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}
