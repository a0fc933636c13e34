package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	// Digest algorithms, registered with package crypto.
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
)

// Bounds of the signer's RSA key, in bits. The cost of a verification grows with
// the square of its size, and a stranger's certificate may hold any. Mail of 2014
// is signed with 1,024 bits.
const (
	minRSABits = 1024
	maxRSABits = 8192
)

// AlgorithmError is a digest, signature algorithm or key that is not accepted:
// the signature may be good, but cannot be judged.
type AlgorithmError string

func (e AlgorithmError) Error() string { return string(e) }

// Object identifiers, as the content bytes of their encoding.
const (
	oidData          = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
	oidSignedData    = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
	oidContentType   = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03"
	oidMessageDigest = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04"
	oidSigningTime   = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05"
	oidProtection    = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x34" // CMSAlgorithmProtection, RFC 6211

	oidSHA1   = "\x2b\x0e\x03\x02\x1a"
	oidSHA256 = "\x60\x86\x48\x01\x65\x03\x04\x02\x01"
	oidSHA384 = "\x60\x86\x48\x01\x65\x03\x04\x02\x02"
	oidSHA512 = "\x60\x86\x48\x01\x65\x03\x04\x02\x03"

	oidRSA       = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" // rsaEncryption
	oidRSASHA1   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
	oidMGF1      = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
	oidRSAPSS    = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
	oidRSASHA256 = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
	oidRSASHA384 = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"
	oidRSASHA512 = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"

	oidEC          = "\x2a\x86\x48\xce\x3d\x02\x01" // id-ecPublicKey
	oidECDSASHA1   = "\x2a\x86\x48\xce\x3d\x04\x01"
	oidECDSASHA256 = "\x2a\x86\x48\xce\x3d\x04\x03\x02"
	oidECDSASHA384 = "\x2a\x86\x48\xce\x3d\x04\x03\x03"
	oidECDSASHA512 = "\x2a\x86\x48\xce\x3d\x04\x03\x04"
)

// identifier is an AlgorithmIdentifier: an object identifier and parameters,
// which are empty where there are none or NULL.
type identifier struct {
	oid    []byte
	params []byte // one element, whole
}

// identifier reads an AlgorithmIdentifier with the given tag.
func (r *reader) identifier(tag byte) identifier {
	var a identifier
	r.enter(tag)
	a.oid = r.value(tagOID)
	if r.more() {
		if a.params = r.element(); bytes.Equal(a.params, []byte{tagNull, 0}) {
			a.params = nil
		}
	}
	r.leave()
	return a
}

func (a identifier) String() string {
	var o x509.OID
	if len(a.oid) > 32 || o.UnmarshalBinary(a.oid) != nil {
		return "(unreadable)"
	}
	return o.String()
}

type padding byte

const (
	pkcs1 padding = iota + 1
	pss
	ec
)

// algorithm is how a signature was made.
type algorithm struct {
	padding padding
	hash    crypto.Hash // of the signed attributes
	salt    int         // bytes, of RSA-PSS
}

// digestOf maps a digest algorithm.
func digestOf(a identifier) (crypto.Hash, error) {
	var h crypto.Hash
	switch string(a.oid) {
	case oidSHA1:
		h = crypto.SHA1
	case oidSHA256:
		h = crypto.SHA256
	case oidSHA384:
		h = crypto.SHA384
	case oidSHA512:
		h = crypto.SHA512
	}
	if h == 0 || a.params != nil {
		return 0, AlgorithmError("digest algorithm " + a.String() + " is not accepted")
	}
	return h, nil
}

// algorithmOf maps a signature algorithm. Signers write either the bare type
// of the key, which takes the digest of the content, or name the digest with it.
func algorithmOf(a identifier, digest crypto.Hash) (algorithm, error) {
	if string(a.oid) == oidRSAPSS {
		return pssOf(a, digest)
	}
	var out algorithm
	switch string(a.oid) {
	case oidRSA:
		out = algorithm{padding: pkcs1, hash: digest}
	case oidRSASHA1:
		out = algorithm{padding: pkcs1, hash: crypto.SHA1}
	case oidRSASHA256:
		out = algorithm{padding: pkcs1, hash: crypto.SHA256}
	case oidRSASHA384:
		out = algorithm{padding: pkcs1, hash: crypto.SHA384}
	case oidRSASHA512:
		out = algorithm{padding: pkcs1, hash: crypto.SHA512}
	case oidEC:
		// Some write the curve beside it, which the certificate says as well.
		return algorithm{padding: ec, hash: digest}, nil
	case oidECDSASHA1:
		out = algorithm{padding: ec, hash: crypto.SHA1}
	case oidECDSASHA256:
		out = algorithm{padding: ec, hash: crypto.SHA256}
	case oidECDSASHA384:
		out = algorithm{padding: ec, hash: crypto.SHA384}
	case oidECDSASHA512:
		out = algorithm{padding: ec, hash: crypto.SHA512}
	}
	if out.padding == 0 || a.params != nil {
		return algorithm{}, AlgorithmError("signature algorithm " + a.String() + " is not accepted")
	}
	return out, nil
}

// pssOf reads the parameters of RSASSA-PSS (RFC 4055 section 3.1). Those that
// are left out have defaults, but the parameters themselves must be there.
func pssOf(a identifier, digest crypto.Hash) (algorithm, error) {
	refuse := func(format string, args ...any) (algorithm, error) {
		return algorithm{}, AlgorithmError("RSA-PSS with " + fmt.Sprintf(format, args...) + " is not accepted")
	}
	sha1 := identifier{oid: []byte(oidSHA1)}
	hash, mgf, mgfHash := sha1, identifier{oid: []byte(oidMGF1)}, sha1
	salt, trailer := 20, 1
	r := reader{b: a.params}
	r.enter(tagSequence)
	if r.peek() == tag0 {
		r.enter(tag0)
		hash = r.identifier(tagSequence)
		r.leave()
	}
	if r.peek() == tag1 {
		r.enter(tag1)
		mgf = r.identifier(tagSequence)
		r.leave()
		h := reader{b: mgf.params}
		mgfHash = h.identifier(tagSequence)
		r.fail(h.err)
	}
	if r.peek() == tag2 {
		r.enter(tag2)
		salt = small(r.value(tagInteger))
		r.leave()
	}
	if r.peek() == tag3 {
		r.enter(tag3)
		trailer = small(r.value(tagInteger))
		r.leave()
	}
	r.leave()
	if r.err != nil || r.off != len(a.params) {
		return refuse("unreadable parameters")
	}
	h, err := digestOf(hash)
	if err != nil {
		return algorithm{}, err
	}
	// The generator of the mask may have a digest of its own; nobody uses one,
	// and package rsa has no room for it.
	if m, err := digestOf(mgfHash); err != nil || m != h || string(mgf.oid) != oidMGF1 {
		return refuse("another mask than MGF1 over its digest")
	}
	if h != digest {
		return refuse("another digest than that of the content")
	}
	// Package rsa would take a salt of 0 for "of any length".
	if salt < 1 || salt > maxRSABits/8 {
		return refuse("a salt of this length")
	}
	if trailer != 1 {
		return refuse("another trailer than 1")
	}
	return algorithm{padding: pss, hash: h, salt: salt}, nil
}

// small reads a non-negative INTEGER of at most two bytes, -1 for any other.
func small(b []byte) int {
	switch {
	case len(b) == 1 && b[0] < 0x80:
		return int(b[0])
	case len(b) == 2 && b[0] < 0x80:
		return int(b[0])<<8 | int(b[1])
	}
	return -1
}

// fits checks that the key of a certificate is one for the algorithm and of a
// size that is accepted.
func (a algorithm) fits(key any) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return AlgorithmError(fmt.Sprintf("an RSA key of %d bits is not accepted", n))
		}
		if a.padding == ec {
			return AlgorithmError("an ECDSA signature by an RSA key is not accepted")
		}
	case *ecdsa.PublicKey:
		if a.padding != ec {
			return AlgorithmError("an RSA signature by an elliptic curve key is not accepted")
		}
	default:
		return AlgorithmError(fmt.Sprintf("a key of type %T is not accepted", key))
	}
	return nil
}

// verify checks value, a signature by key over what sum is the digest of.
func (a algorithm) verify(key any, sum, value []byte) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if a.padding == pss {
			return rsa.VerifyPSS(k, a.hash, sum, value, &rsa.PSSOptions{SaltLength: a.salt})
		}
		return rsa.VerifyPKCS1v15(k, a.hash, sum, value)
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(k, sum, value) {
			return nil
		}
	}
	return errVerify
}
