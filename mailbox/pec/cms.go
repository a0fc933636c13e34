package pec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	// Digest algorithms, registered with package crypto.
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"

	// The CMS parser that reads the indefinite-length BER of current providers,
	// which encoding/asn1 does not.
	"github.com/smallstep/pkcs7"
)

const (
	// maxCertificates bounds the certificates in one signature; a real one has two.
	maxCertificates = 32
	// maxRSABits bounds the signer's key, whose cost grows with the square of
	// its size: a stranger's certificate may hold any.
	maxRSABits = 8192
)

// signature is a parsed detached CMS SignedData with one signer: what its
// verification needs and nothing of the library that parsed it.
type signature struct {
	leaf        *x509.Certificate
	others      []*x509.Certificate // all certificates of the CMS but the leaf
	digest      crypto.Hash         // of the content
	algorithm   x509.SignatureAlgorithm
	attributes  []byte // DER SET OF, as signed
	value       []byte
	contentHash []byte    // messageDigest attribute
	signedAt    time.Time // signingTime attribute, zero if there is none
}

// algorithmError is a digest or signature algorithm that is not accepted.
type algorithmError string

func (e algorithmError) Error() string { return string(e) }

// cmsAttribute is the form of an Attribute of RFC 5652 section 5.3.
type cmsAttribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue `asn1:"set"`
}

// parseCMS reads a decoded smime.p7s. Errors mean "cannot be judged"; an
// algorithmError says that the algorithm is the reason.
func parseCMS(b []byte) (*signature, error) {
	if err := checkBER(b); err != nil {
		return nil, err
	}
	p7, err := pkcs7.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("not readable: %s", clip(err.Error()))
	}
	switch {
	case len(p7.Signers) == 0:
		return nil, errors.New("no signer that can be read")
	case len(p7.Signers) > 1:
		return nil, fmt.Errorf("%d signers where one is expected", len(p7.Signers))
	case len(p7.Content) > 0:
		return nil, errors.New("carries content of its own")
	case len(p7.Certificates) > maxCertificates:
		return nil, fmt.Errorf("%d certificates", len(p7.Certificates))
	}
	s := &signature{leaf: p7.GetOnlySigner()}
	if s.leaf == nil {
		return nil, errors.New("the signer's certificate is missing")
	}
	for _, c := range p7.Certificates {
		if c != s.leaf {
			s.others = append(s.others, c)
		}
	}
	si := &p7.Signers[0]
	if s.digest, err = digestOf(si.DigestAlgorithm.Algorithm); err != nil {
		return nil, err
	}
	s.algorithm, err = signatureOf(si.DigestEncryptionAlgorithm.Algorithm, s.digest, s.leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	s.value = si.EncryptedDigest

	attrs := make([]cmsAttribute, len(si.AuthenticatedAttributes))
	for i, a := range si.AuthenticatedAttributes {
		attrs[i] = cmsAttribute{Type: a.Type, Value: a.Value}
	}
	if err := s.readAttributes(attrs); err != nil {
		return nil, err
	}
	return s, nil
}

// readAttributes takes the signed attributes: contentType and messageDigest
// exactly once, signingTime at most once, and the bytes that were signed (RFC
// 5652 section 5.4: the DER SET OF, whatever the order in the message).
func (s *signature) readAttributes(attrs []cmsAttribute) error {
	if len(attrs) == 0 {
		// Without them the signature covers the content directly, and a set of
		// attributes of one message could pass as the content of another.
		return errors.New("no signed attributes")
	}
	var contentType asn1.ObjectIdentifier
	seen := map[string]bool{}
	for _, a := range attrs {
		var out any
		switch {
		case a.Type.Equal(pkcs7.OIDAttributeContentType):
			out = &contentType
		case a.Type.Equal(pkcs7.OIDAttributeMessageDigest):
			out = &s.contentHash
		case a.Type.Equal(pkcs7.OIDAttributeSigningTime):
			out = &s.signedAt
		default:
			continue
		}
		if key := a.Type.String(); seen[key] {
			return fmt.Errorf("signed attribute %s twice", key)
		} else {
			seen[key] = true
		}
		rest, err := asn1.Unmarshal(a.Value.Bytes, out)
		if err != nil || len(rest) > 0 {
			return fmt.Errorf("signed attribute %s is not readable", a.Type)
		}
	}
	if !contentType.Equal(pkcs7.OIDData) {
		return errors.New("signed attribute contentType is not data")
	}
	if len(s.contentHash) != s.digest.Size() {
		return errors.New("signed attribute messageDigest has the wrong length")
	}
	s.signedAt = s.signedAt.UTC()
	if seen[pkcs7.OIDAttributeSigningTime.String()] && !plausible(s.signedAt) {
		return errors.New("signed attribute signingTime is not plausible")
	}
	der, err := asn1.Marshal(struct {
		A []cmsAttribute `asn1:"set"`
	}{attrs})
	if err != nil {
		return errors.New("signed attributes are not readable")
	}
	var seq asn1.RawValue
	if _, err := asn1.Unmarshal(der, &seq); err != nil {
		return errors.New("signed attributes are not readable")
	}
	s.attributes = seq.Bytes
	return nil
}

// sameContent reports whether sum is the digest that was signed.
func (s *signature) sameContent(sum []byte) bool {
	return subtle.ConstantTimeCompare(sum, s.contentHash) == 1
}

// check verifies the signature over the signed attributes with the leaf's key.
func (s *signature) check() error {
	return s.leaf.CheckSignature(s.algorithm, s.attributes, s.value)
}

// sha1 reports whether SHA-1 vouches for the content or the attributes.
func (s *signature) sha1() bool {
	return s.digest == crypto.SHA1 || s.algorithm == x509.SHA1WithRSA || s.algorithm == x509.ECDSAWithSHA1
}

// digestOf maps the digest algorithms that are accepted.
func digestOf(oid asn1.ObjectIdentifier) (crypto.Hash, error) {
	switch {
	case oid.Equal(pkcs7.OIDDigestAlgorithmSHA256):
		return crypto.SHA256, nil
	case oid.Equal(pkcs7.OIDDigestAlgorithmSHA384):
		return crypto.SHA384, nil
	case oid.Equal(pkcs7.OIDDigestAlgorithmSHA512):
		return crypto.SHA512, nil
	case oid.Equal(pkcs7.OIDDigestAlgorithmSHA1):
		return crypto.SHA1, nil
	}
	return 0, algorithmError("digest algorithm " + oid.String() + " is not accepted")
}

// signatureOf maps the signature algorithm of a signer. Providers write either
// the bare key type (rsaEncryption) or the combination with the digest.
func signatureOf(oid asn1.ObjectIdentifier, digest crypto.Hash, key any) (x509.SignatureAlgorithm, error) {
	type pair struct {
		oid  asn1.ObjectIdentifier
		hash crypto.Hash
	}
	var named []pair
	var byHash map[crypto.Hash]x509.SignatureAlgorithm
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() > maxRSABits {
			return 0, algorithmError(fmt.Sprintf("an RSA key of %d bits is not accepted", k.N.BitLen()))
		}
		named = []pair{
			{pkcs7.OIDEncryptionAlgorithmRSA, digest},
			{pkcs7.OIDEncryptionAlgorithmRSASHA1, crypto.SHA1},
			{pkcs7.OIDEncryptionAlgorithmRSASHA256, crypto.SHA256},
			{pkcs7.OIDEncryptionAlgorithmRSASHA384, crypto.SHA384},
			{pkcs7.OIDEncryptionAlgorithmRSASHA512, crypto.SHA512},
		}
		byHash = map[crypto.Hash]x509.SignatureAlgorithm{
			crypto.SHA1: x509.SHA1WithRSA, crypto.SHA256: x509.SHA256WithRSA,
			crypto.SHA384: x509.SHA384WithRSA, crypto.SHA512: x509.SHA512WithRSA,
		}
	case *ecdsa.PublicKey:
		named = []pair{
			{asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, digest}, // id-ecPublicKey
			{pkcs7.OIDDigestAlgorithmECDSASHA1, crypto.SHA1},
			{pkcs7.OIDDigestAlgorithmECDSASHA256, crypto.SHA256},
			{pkcs7.OIDDigestAlgorithmECDSASHA384, crypto.SHA384},
			{pkcs7.OIDDigestAlgorithmECDSASHA512, crypto.SHA512},
		}
		byHash = map[crypto.Hash]x509.SignatureAlgorithm{
			crypto.SHA1: x509.ECDSAWithSHA1, crypto.SHA256: x509.ECDSAWithSHA256,
			crypto.SHA384: x509.ECDSAWithSHA384, crypto.SHA512: x509.ECDSAWithSHA512,
		}
	}
	for _, p := range named {
		if p.oid.Equal(oid) {
			return byHash[p.hash], nil
		}
	}
	return 0, algorithmError("signature algorithm " + oid.String() + " is not accepted")
}
