package pec

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"sort"
	"sync"
	"testing"
	"time"
)

// A small CA and CMS signer of the tests' own, written against RFC 5652 with
// encoding/asn1, so that it can also make what no library will.

var (
	// signTime is when the tests' messages are signed unless they say otherwise.
	signTime = time.Date(2026, 7, 3, 7, 15, 42, 0, time.UTC)
	// testNow is the tests' clock.
	testNow = time.Date(2026, 7, 4, 0, 0, 0, 0, time.UTC)

	rsaKey  = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey   = sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	caKey   = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	rootKey = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	evilKey = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var serial = struct {
	sync.Mutex
	n int64
}{n: 1000}

func nextSerial() *big.Int {
	serial.Lock()
	defer serial.Unlock()
	serial.n++
	return big.NewInt(serial.n)
}

// issue makes a certificate; by nil is self-signed.
func issue(tpl x509.Certificate, key crypto.Signer, by *identity) *identity {
	if tpl.SerialNumber == nil {
		tpl.SerialNumber = nextSerial()
	}
	if tpl.NotBefore.IsZero() {
		tpl.NotBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		tpl.NotAfter = time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	parent, signer := &tpl, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der := must(x509.CreateCertificate(rand.Reader, &tpl, parent, key.Public(), signer))
	return &identity{cert: must(x509.ParseCertificate(der)), key: key}
}

func caTemplate(cn string) x509.Certificate {
	return x509.Certificate{
		Subject:  pkix.Name{Country: []string{"IT"}, Organization: []string{"Prova"}, CommonName: cn},
		IsCA:     true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true,
	}
}

// rootCert is the tests' root.
var rootCert = sync.OnceValue(func() *identity { return issue(caTemplate("Prova Root CA"), rootKey(), nil) })

// pecCA is the tests' PEC intermediate: pathlen 0, e-mail only, and names
// constrained to the domains of two providers.
var pecCA = sync.OnceValue(func() *identity {
	t := caTemplate("Prova PEC CA1")
	t.MaxPathLenZero = true
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageEmailProtection}
	t.PermittedEmailAddresses = []string{"pec.gestore-alfa.example", "pec.gestore-beta.example"}
	return issue(t, caKey(), rootCert())
})

const (
	alfa = "posta-certificata@pec.gestore-alfa.example"
	beta = "posta-certificata@pec.gestore-beta.example"
)

// leafTemplate is a provider's certificate after pec-format section 4.
func leafTemplate(address string) x509.Certificate {
	return x509.Certificate{
		Subject:        pkix.Name{Country: []string{"IT"}, Organization: []string{"Gestore di prova S.p.A."}, CommonName: "Posta Certificata"},
		EmailAddresses: []string{address},
		KeyUsage:       x509.KeyUsageDigitalSignature,
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
}

var (
	alfaLeaf = sync.OnceValue(func() *identity { return issue(leafTemplate(alfa), rsaKey(), pecCA()) })
	betaLeaf = sync.OnceValue(func() *identity { return issue(leafTemplate(beta), rsaKey(), pecCA()) })
)

func pemOf(ids ...*identity) []byte {
	var b []byte
	for _, id := range ids {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.cert.Raw})...)
	}
	return b
}

func testTrust(t testing.TB) *Trust {
	t.Helper()
	tr, err := NewTrust(pemOf(rootCert(), pecCA()))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// Object identifiers that the signer writes.
var (
	oidData        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSigned      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidDigestAttr  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidTimeAttr    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidMD5         = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 5}
	oidSHA1        = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
	oidRSA         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidRSAPSS      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidRSASHA256   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidECDSASHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidECDSASHA1   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
)

// cmsSpec says how to sign. The zero value of most fields is the right one.
type cmsSpec struct {
	by          *identity
	hash        crypto.Hash           // default SHA-256
	sigOID      asn1.ObjectIdentifier // default: rsaEncryption or ecdsa-with-SHA256
	at          time.Time             // default signTime; noTime leaves it out
	noTime      bool
	ber         bool            // indefinite lengths, as current providers
	certs       []*identity     // default: the signer and pecCA
	noCerts     bool            // no certificates field at all
	sum         []byte          // messageDigest in place of the right one
	afterSign   func(*cmsParts) // change something once it is signed
	contentType asn1.ObjectIdentifier
	double      bool // messageDigest twice
	noAttrs     bool // sign the content itself
	signers     int  // default 1
	embed       bool // content inside of the CMS
}

type cmsParts struct {
	attrs     []byte // content of the SET
	signature []byte
}

// tlv encodes one element with a definite length.
func tlv(tag byte, content ...[]byte) []byte {
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

// indef encodes one element with an indefinite length.
func indef(tag byte, content ...[]byte) []byte {
	return append(append([]byte{tag, 0x80}, bytes.Join(content, nil)...), 0, 0)
}

func digestOID(h crypto.Hash) asn1.ObjectIdentifier {
	switch h {
	case crypto.MD5:
		return oidMD5
	case crypto.SHA1:
		return oidSHA1
	case crypto.SHA384:
		return oidSHA384
	case crypto.SHA512:
		return oidSHA512
	}
	return oidSHA256
}

func sumOf(h crypto.Hash, b []byte) []byte {
	if h == crypto.MD5 {
		s := md5.Sum(b)
		return s[:]
	}
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}

// signCMS makes a detached SignedData over content.
func signCMS(content []byte, s cmsSpec) []byte {
	if s.hash == 0 {
		s.hash = crypto.SHA256
	}
	if s.at.IsZero() {
		s.at = signTime
	}
	if s.signers == 0 {
		s.signers = 1
	}
	if s.contentType == nil {
		s.contentType = oidData
	}
	if s.sigOID == nil {
		s.sigOID = oidRSA
		if _, ok := s.by.key.(*ecdsa.PrivateKey); ok {
			s.sigOID = oidECDSASHA256
		}
	}
	if s.certs == nil && !s.noCerts {
		s.certs = []*identity{s.by, pecCA()}
	}
	if s.sum == nil {
		s.sum = sumOf(s.hash, content)
	}
	enc := func(v any) []byte { return must(asn1.Marshal(v)) }
	attr := func(oid asn1.ObjectIdentifier, v any) []byte {
		return tlv(0x30, enc(oid), tlv(0x31, enc(v)))
	}
	list := [][]byte{attr(oidContentType, s.contentType), attr(oidDigestAttr, s.sum)}
	if !s.noTime {
		list = append(list, attr(oidTimeAttr, s.at.UTC()))
	}
	if s.double {
		list = append(list, attr(oidDigestAttr, s.sum))
	}
	sort.Slice(list, func(i, j int) bool { return bytes.Compare(list[i], list[j]) < 0 })

	parts := cmsParts{attrs: bytes.Join(list, nil)}
	toSign := tlv(0x31, parts.attrs)
	if s.noAttrs {
		toSign = content
	}
	signHash := s.hash
	parts.signature = must(s.by.key.Sign(rand.Reader, sumOf(signHash, toSign), signHash))
	if s.afterSign != nil {
		s.afterSign(&parts)
	}

	alg := tlv(0x30, enc(digestOID(s.hash)), []byte{5, 0})
	sigAlg := tlv(0x30, enc(s.sigOID), []byte{5, 0})
	signed := tlv(0xa0, parts.attrs)
	if s.noAttrs {
		signed = nil
	}
	issuer := tlv(0x30, s.by.cert.RawIssuer, enc(s.by.cert.SerialNumber))
	info := tlv(0x30, enc(1), issuer, alg, signed, sigAlg, tlv(0x04, parts.signature))
	infos := bytes.Repeat(info, s.signers)

	var raws [][]byte
	for _, c := range s.certs {
		raws = append(raws, c.cert.Raw)
	}
	certs := bytes.Join(raws, nil)
	encap := enc(oidData)
	if s.embed {
		encap = append(encap, tlv(0xa0, tlv(0x04, content))...)
	}
	cons := tlv
	if s.ber {
		cons = indef
	}
	field := cons(0xa0, certs)
	if s.noCerts {
		field = nil
	}
	sd := cons(0x30, enc(1), tlv(0x31, alg), cons(0x30, encap), field, cons(0x31, infos))
	return cons(0x30, enc(oidSigned), cons(0xa0, sd))
}

// nameless is a leaf with no rfc822Name at all.
func nameless() x509.Certificate {
	t := leafTemplate(alfa)
	t.EmailAddresses = nil
	return t
}
