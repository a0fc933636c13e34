package cms

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

const (
	// maxCertificates bounds the certificates in one signature; a real one has two.
	maxCertificates = 32
	// maxPadding bounds the zeros and line ends after the signature that are
	// overlooked.
	maxPadding = 16
)

var errVerify = errors.New("verification error")

// Signature is a parsed detached SignedData with one signer. It refers to the
// bytes it was parsed from, which must not change while it is used.
type Signature struct {
	// Leaf is the signer's certificate. It may be shared with other signatures
	// and must not be changed.
	Leaf *x509.Certificate
	// Others are the further certificates of the message, in its order, without
	// those that crypto/x509 does not read. Nothing vouches for them.
	Others []*x509.Certificate
	// Set is a SHA-256 that names Leaf and Others by their bytes and order.
	Set [sha256.Size]byte
	// Digest is the digest of the content: SHA-1, SHA-256, SHA-384 or SHA-512.
	Digest crypto.Hash
	// SignedAt is the signingTime attribute in UTC, zero if there is none. It is
	// the signer's claim.
	SignedAt time.Time

	algorithm  algorithm
	attributes [][]byte // each whole, in the order of the message
	contentSum []byte   // the messageDigest attribute
	value      []byte   // the signature
}

// Parse reads the one SignedData (RFC 5652 section 5) that b holds, in BER or
// DER, at most MaxSize bytes. c keeps parsed certificates; nil parses anew.
//
// An error means "cannot be judged": what b holds is unreadable, exceeds a
// bound, or is not a detached signature by one signer whose certificate is
// inside. It is an AlgorithmError if an algorithm or key is the reason.
func Parse(b []byte, c *Certificates) (*Signature, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("larger than %d KiB", MaxSize>>10)
	}
	p := parser{reader: reader{b: b}, sig: &Signature{}}
	if err := p.contentInfo(); err != nil {
		return nil, err
	}
	if rest := b[p.off:]; len(rest) > maxPadding || len(bytes.Trim(rest, "\x00\r\n")) > 0 {
		return nil, errors.New("bytes after the end of the signature")
	}
	s := p.sig
	if err := p.readCertificates(c); err != nil {
		return nil, err
	}
	var err error
	if s.Digest, err = digestOf(p.digest); err != nil {
		return nil, err
	}
	if s.algorithm, err = algorithmOf(p.signature, s.Digest); err != nil {
		return nil, err
	}
	if err := s.algorithm.fits(s.Leaf.PublicKey); err != nil {
		return nil, err
	}
	if err := s.readAttributes(); err != nil {
		return nil, err
	}
	return s, nil
}

// SameContent reports whether sum, made with Digest, is the one that was signed.
func (s *Signature) SameContent(sum []byte) bool {
	return subtle.ConstantTimeCompare(sum, s.contentSum) == 1
}

// Check verifies the signature over the signed attributes with Leaf's key. It
// says nothing of the content (SameContent) or the certificate.
//
// The attributes are signed in the order of DER. Where the message has them in
// another one, a signature over that order is good too: some signers sort
// neither, and it is the same set.
func (s *Signature) Check() error {
	list, moved := s.sorted()
	err := s.checkOver(list)
	if err != nil && moved {
		return s.checkOver(s.attributes)
	}
	return err
}

func (s *Signature) checkOver(list [][]byte) error {
	n := 0
	for _, a := range list {
		n += len(a)
	}
	h := s.algorithm.hash.New()
	h.Write(header(tagSet, n))
	for _, a := range list {
		h.Write(a)
	}
	return s.algorithm.verify(s.Leaf.PublicKey, h.Sum(nil), s.value)
}

// SHA1 reports whether SHA-1 vouches for the content or the attributes.
func (s *Signature) SHA1() bool {
	return s.Digest == crypto.SHA1 || s.algorithm.hash == crypto.SHA1
}

// header is the tag and the length of DER, at most 0xffffff.
func header(tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return []byte{tag, byte(n)}
	case n < 0x100:
		return []byte{tag, 0x81, byte(n)}
	case n < 0x10000:
		return []byte{tag, 0x82, byte(n >> 8), byte(n)}
	}
	return []byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}
}

// parser is one reading of a SignedData.
type parser struct {
	reader
	sig       *Signature
	raws      [][]byte // certificates
	digest    identifier
	signature identifier
	// The signer is named by issuer, whole, and serial number, or by key id.
	issuer, serial, keyID []byte
}

// contentInfo reads the whole structure: ContentInfo, SignedData, SignerInfo.
func (p *parser) contentInfo() error {
	p.enter(tagSequence)
	if oid := p.value(tagOID); p.err == nil && string(oid) != oidSignedData {
		return errors.New("no signature: the content is not SignedData")
	}
	p.enter(tag0)
	p.enter(tagSequence)
	p.value(tagInteger) // version
	p.enter(tagSet)     // digestAlgorithms: hints, the signer's own counts
	for p.more() {
		p.skip()
	}
	p.leave()
	if err := p.encapsulated(); err != nil {
		return err
	}
	if p.peek() == tag0 {
		if err := p.certificates(); err != nil {
			return err
		}
	}
	if p.peek() == tag1 {
		p.skip() // revocation lists
	}
	p.enter(tagSet)
	if p.err == nil && !p.more() && p.err == nil {
		return errors.New("no signer")
	}
	if err := p.signer(); err != nil {
		return err
	}
	n := 1
	for ; p.more(); n++ {
		p.skip()
	}
	p.leave()
	p.leave()
	p.leave()
	p.leave()
	if p.err == nil && n > 1 {
		return fmt.Errorf("%d signers where one is expected", n)
	}
	return p.err
}

// encapsulated reads EncapsulatedContentInfo, which must name data and hold none.
func (p *parser) encapsulated() error {
	p.enter(tagSequence)
	if oid := p.value(tagOID); p.err == nil && string(oid) != oidData {
		return errors.New("the signed content is not data")
	}
	if p.more() {
		p.enter(tag0)
		if p.err == nil && len(p.octets(tagOctets)) > 0 {
			return errors.New("carries content of its own")
		}
		p.leave()
	}
	p.leave()
	return p.err
}

// certificates reads the CertificateSet. Attribute certificates and the like,
// which have tags of their own, are stepped over.
func (p *parser) certificates() error {
	p.enter(tag0)
	for p.more() {
		if p.peek() != tagSequence {
			p.skip()
			continue
		}
		if len(p.raws) == maxCertificates {
			return fmt.Errorf("more than %d certificates", maxCertificates)
		}
		p.raws = append(p.raws, p.element())
	}
	p.leave()
	return p.err
}

// signer reads SignerInfo. Unsigned attributes, such as a timestamp, vouch for
// nothing here and are stepped over.
func (p *parser) signer() error {
	p.enter(tagSequence)
	p.value(tagInteger) // version
	switch p.peek() {
	case tagSequence:
		p.enter(tagSequence)
		p.issuer = p.element()
		p.serial = p.value(tagInteger)
		p.leave()
	default:
		p.keyID = p.octets(tagImplicit0)
	}
	p.digest = p.identifier(tagSequence)
	if p.peek() == tag0 {
		if err := p.sig.readSet(&p.reader); err != nil {
			return err
		}
	}
	p.signature = p.identifier(tagSequence)
	p.sig.value = p.octets(tagOctets)
	if p.peek() == tag1 {
		p.skip()
	}
	p.leave()
	return p.err
}

// readCertificates finds the signer's certificate and parses it and the others.
// One that crypto/x509 does not read is passed over unless it is the signer's.
func (p *parser) readCertificates(c *Certificates) error {
	s := p.sig
	sums := make([]byte, 0, 4*sha256.Size)
	unread := 0
	for _, raw := range p.raws {
		named := s.Leaf == nil && p.issuer != nil && p.names(raw)
		cert, sum, err := c.parse(raw)
		if err != nil {
			if named {
				return fmt.Errorf("the signer's certificate is not readable: %.160q", err.Error())
			}
			unread++
			continue
		}
		if p.issuer == nil && s.Leaf == nil {
			named = len(p.keyID) > 0 && bytes.Equal(cert.SubjectKeyId, p.keyID)
		}
		if named {
			s.Leaf = cert
			// Leaf comes first, so that the same certificates with another signer
			// have another name.
			sums = append(sum[:], sums...)
			continue
		}
		s.Others = append(s.Others, cert)
		sums = append(sums, sum[:]...)
	}
	switch {
	case s.Leaf != nil:
		s.Set = sha256.Sum256(sums)
		return nil
	case unread > 0:
		return fmt.Errorf("the signer's certificate is missing (certificates that cannot be read: %d)", unread)
	}
	return errors.New("the signer's certificate is missing")
}

// names reports whether the signer is named by issuer and serial number of this
// certificate. It reads no more of the certificate, so that one is known as the
// signer's even where it is not readable.
func (p *parser) names(raw []byte) bool {
	r := reader{b: raw}
	r.enter(tagSequence)
	r.enter(tagSequence)
	if r.peek() == tag0 {
		r.skip() // version
	}
	serial := r.value(tagInteger)
	r.skip() // signature algorithm
	issuer := r.element()
	return r.err == nil && bytes.Equal(issuer, p.issuer) && bytes.Equal(serial, p.serial)
}
