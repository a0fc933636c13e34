// Package cmstest writes CMS SignedData for tests, against RFC 5652 and with
// encoding/asn1, so that it can also make what no library will: wrong, odd and
// hostile signatures. It shares no code with the reader it tests.
//
// It is for tests only.
package cmstest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/md5" // to make signatures that must be refused
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"sort"
	"time"
)

// Object identifiers that the signer writes.
var (
	OIDData        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	OIDSigned      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	OIDContentType = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	OIDDigestAttr  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	OIDTimeAttr    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	OIDProtection  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 52}
	OIDMD5         = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 5}
	OIDSHA1        = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	OIDSHA256      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	OIDSHA384      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	OIDSHA512      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
	OIDMGF1        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	OIDRSA         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	OIDRSAPSS      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	OIDRSASHA1     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}
	OIDRSASHA256   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	OIDRSASHA384   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}
	OIDRSASHA512   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}
	OIDEC          = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	OIDECDSASHA1   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
	OIDECDSASHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	OIDECDSASHA384 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	OIDECDSASHA512 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}
)

// Identity is a certificate with its key.
type Identity struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// Spec says how to sign. The zero value of a field is what a genuine signer of
// the old engine writes, with SHA-256; By must be set.
type Spec struct {
	By   *Identity
	Hash crypto.Hash // default SHA-256
	At   time.Time   // signingTime; zero leaves it out
	BER  bool        // indefinite lengths, as current providers write

	// SigOID names the signature algorithm; the default is rsaEncryption or
	// ecdsa-with-SHA256.
	SigOID asn1.ObjectIdentifier
	// SigHash is what the attributes are hashed with; default Hash.
	SigHash crypto.Hash
	// PSS signs with RSA-PSS, and writes its parameters unless SigParams does.
	PSS *PSS
	// SigParams are the parameters of the signature algorithm; default NULL.
	SigParams []byte

	KeyID     bool     // the signer is named by subject key id
	Certs     [][]byte // certificates and other choices, whole; nil: none at all
	CRLs      [][]byte // revocation lists, whole; nil: none at all
	Sum       []byte   // messageDigest in place of the right one
	Type      asn1.ObjectIdentifier
	Double    bool     // messageDigest twice
	More      [][]byte // further signed attributes, whole; see Attribute
	NoAttrs   bool     // sign the content itself
	Shuffled  bool     // attributes in the message in another order than signed
	Unsorted  bool     // attributes signed in that other order
	BERSet    bool     // the set of attributes with an indefinite length
	Signers   int      // default 1
	Embed     []byte   // content inside of the CMS
	Pieces    bool     // the signature as a row of octet strings
	AfterSign func(*Parts)
}

// PSS are the parameters of RSA-PSS.
type PSS struct {
	Hash, MGF crypto.Hash
	Salt      int
	Trailer   int // 0 leaves it out
}

// Parts is what AfterSign may change.
type Parts struct {
	Attrs     []byte // content of the SET
	Signature []byte
}

// TLV encodes one element with a definite length.
func TLV(tag byte, content ...[]byte) []byte {
	c := bytes.Join(content, nil)
	out := []byte{tag}
	switch n := len(c); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	case n < 0x10000:
		out = append(out, 0x82, byte(n>>8), byte(n))
	default:
		out = append(out, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(out, c...)
}

// Indef encodes one element with an indefinite length.
func Indef(tag byte, content ...[]byte) []byte {
	return append(append([]byte{tag, 0x80}, bytes.Join(content, nil)...), 0, 0)
}

// Pieces encodes an octet string as a row of two, with an indefinite length.
func Pieces(b []byte) []byte {
	n := len(b) / 2
	return Indef(0x24, TLV(0x04, b[:n]), TLV(0x04, b[n:]))
}

// encode is DER of values of the tests' own.
func encode(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// Attribute encodes a signed attribute with the given values, whole elements.
func Attribute(oid asn1.ObjectIdentifier, values ...[]byte) []byte {
	return TLV(0x30, encode(oid), TLV(0x31, values...))
}

// Algorithm encodes an AlgorithmIdentifier; params may be nil.
func Algorithm(oid asn1.ObjectIdentifier, params []byte) []byte {
	return TLV(0x30, encode(oid), params)
}

// Null is the NULL of parameters.
func Null() []byte { return []byte{5, 0} }

// Protection is the attribute CMSAlgorithmProtection (RFC 6211).
func Protection(digest, signature asn1.ObjectIdentifier) []byte {
	return Attribute(OIDProtection, TLV(0x30, Algorithm(digest, nil), TLV(0xa1, encode(signature), Null())))
}

// DigestOID names a digest.
func DigestOID(h crypto.Hash) asn1.ObjectIdentifier {
	switch h {
	case crypto.MD5:
		return OIDMD5
	case crypto.SHA1:
		return OIDSHA1
	case crypto.SHA384:
		return OIDSHA384
	case crypto.SHA512:
		return OIDSHA512
	}
	return OIDSHA256
}

// SumOf hashes b.
func SumOf(h crypto.Hash, b []byte) []byte {
	if h == crypto.MD5 {
		s := md5.Sum(b)
		return s[:]
	}
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}

// Params encodes RSASSA-PSS-params (RFC 4055 section 3.1); what has its default
// value is left out.
func (p *PSS) Params() []byte {
	var list [][]byte
	if p.Hash != crypto.SHA1 {
		list = append(list, TLV(0xa0, Algorithm(DigestOID(p.Hash), Null())))
	}
	if p.MGF != crypto.SHA1 {
		list = append(list, TLV(0xa1, Algorithm(OIDMGF1, Algorithm(DigestOID(p.MGF), Null()))))
	}
	if p.Salt != 20 {
		list = append(list, TLV(0xa2, encode(p.Salt)))
	}
	if p.Trailer != 0 {
		list = append(list, TLV(0xa3, encode(p.Trailer)))
	}
	return TLV(0x30, list...)
}

func (s *Spec) defaults() {
	if s.Hash == 0 {
		s.Hash = crypto.SHA256
	}
	if s.SigHash == 0 {
		s.SigHash = s.Hash
	}
	if s.Signers == 0 {
		s.Signers = 1
	}
	if s.Type == nil {
		s.Type = OIDData
	}
	if s.SigOID == nil {
		s.SigOID = OIDRSA
		if _, ok := s.By.Key.(*ecdsa.PrivateKey); ok {
			s.SigOID = OIDECDSASHA256
		}
		if s.PSS != nil {
			s.SigOID = OIDRSAPSS
		}
	}
	if s.SigParams == nil {
		s.SigParams = Null()
		if s.PSS != nil {
			s.SigParams = s.PSS.Params()
		}
	}
}

// signed returns the signed attributes in the order that is signed.
func (s *Spec) signed(content []byte) [][]byte {
	sum := s.Sum
	if sum == nil {
		sum = SumOf(s.Hash, content)
	}
	list := [][]byte{Attribute(OIDContentType, encode(s.Type)), Attribute(OIDDigestAttr, encode(sum))}
	if !s.At.IsZero() {
		list = append(list, Attribute(OIDTimeAttr, encode(s.At.UTC())))
	}
	if s.Double {
		list = append(list, Attribute(OIDDigestAttr, encode(sum)))
	}
	list = append(list, s.More...)
	sort.Slice(list, func(i, j int) bool { return bytes.Compare(list[i], list[j]) < 0 })
	if s.Unsorted {
		reverse(list)
	}
	return list
}

func reverse(list [][]byte) {
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
}

func (s *Spec) sign(b []byte) ([]byte, error) {
	var opts crypto.SignerOpts = s.SigHash
	if s.PSS != nil {
		opts = &rsa.PSSOptions{Hash: s.SigHash, SaltLength: s.PSS.Salt}
	}
	return s.By.Key.Sign(rand.Reader, SumOf(s.SigHash, b), opts)
}

// Sign makes a detached SignedData over content.
func Sign(content []byte, s Spec) ([]byte, error) {
	s.defaults()
	list := s.signed(content)
	toSign := TLV(0x31, list...)
	if s.NoAttrs {
		toSign = content
	}
	if s.Shuffled {
		reverse(list)
	}
	parts := Parts{Attrs: bytes.Join(list, nil)}
	var err error
	if parts.Signature, err = s.sign(toSign); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if s.AfterSign != nil {
		s.AfterSign(&parts)
	}

	cons := TLV
	if s.BER {
		cons = Indef
	}
	signed := TLV(0xa0, parts.Attrs)
	switch {
	case s.NoAttrs:
		signed = nil
	case s.BERSet:
		signed = Indef(0xa0, parts.Attrs)
	}
	who := TLV(0x30, s.By.Cert.RawIssuer, encode(s.By.Cert.SerialNumber))
	if s.KeyID {
		who = TLV(0x80, s.By.Cert.SubjectKeyId)
	}
	value := TLV(0x04, parts.Signature)
	if s.Pieces {
		value = Pieces(parts.Signature)
	}
	alg := Algorithm(DigestOID(s.Hash), Null())
	info := TLV(0x30, encode(1), who, alg, signed, Algorithm(s.SigOID, s.SigParams), value)

	encap := encode(OIDData)
	if s.Embed != nil {
		piece := TLV(0x04, s.Embed)
		if s.BER {
			piece = Pieces(s.Embed)
		}
		encap = append(encap, cons(0xa0, piece)...)
	}
	var certs, crls []byte
	if s.Certs != nil {
		certs = cons(0xa0, s.Certs...)
	}
	if s.CRLs != nil {
		crls = cons(0xa1, s.CRLs...)
	}
	sd := cons(0x30, encode(1), TLV(0x31, alg), cons(0x30, encap), certs, crls, cons(0x31, bytes.Repeat(info, s.Signers)))
	return cons(0x30, encode(OIDSigned), cons(0xa0, sd)), nil
}
