package pec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/pec/cms/cmstest"
)

// A small CA of the tests' own; package cmstest signs with it.

var (
	// signTime is when the tests' messages are signed unless they say otherwise.
	signTime = time.Date(2026, 7, 3, 7, 15, 42, 0, time.UTC)
	// testNow is the tests' clock.
	testNow = time.Date(2026, 7, 4, 0, 0, 0, 0, time.UTC)

	rsaKey  = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	oldKey  = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 1024)) }) // as of 2014
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

// Object identifiers that the tests name.
var (
	oidSigned      = cmstest.OIDSigned
	oidRSAPSS      = cmstest.OIDRSAPSS
	oidRSASHA256   = cmstest.OIDRSASHA256
	oidECDSASHA256 = cmstest.OIDECDSASHA256
)

// cmsSpec says how to sign a letter. The zero value of most fields is the right
// one.
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
	more        func(*cmstest.Spec)
}

type cmsParts struct {
	attrs     []byte // content of the SET
	signature []byte
}

// signCMS makes a detached SignedData over content.
func signCMS(content []byte, s cmsSpec) []byte {
	spec := cmstest.Spec{
		By: &cmstest.Identity{Cert: s.by.cert, Key: s.by.key}, Hash: s.hash, SigOID: s.sigOID, At: s.at, BER: s.ber,
		Sum: s.sum, Type: s.contentType, Double: s.double, NoAttrs: s.noAttrs, Signers: s.signers,
	}
	if spec.At.IsZero() {
		spec.At = signTime
	}
	if s.noTime {
		spec.At = time.Time{}
	}
	if s.certs == nil {
		s.certs = []*identity{s.by, pecCA()}
	}
	for _, c := range s.certs {
		spec.Certs = append(spec.Certs, c.cert.Raw)
	}
	if s.noCerts {
		spec.Certs = nil
	}
	if s.embed {
		spec.Embed = content
	}
	if s.afterSign != nil {
		spec.AfterSign = func(p *cmstest.Parts) {
			own := cmsParts{p.Attrs, p.Signature}
			s.afterSign(&own)
			p.Attrs, p.Signature = own.attrs, own.signature
		}
	}
	if s.more != nil {
		s.more(&spec)
	}
	return must(cmstest.Sign(content, spec))
}

func sumOf(h crypto.Hash, b []byte) []byte { return cmstest.SumOf(h, b) }

// nameless is a leaf with no rfc822Name at all.
func nameless() x509.Certificate {
	t := leafTemplate(alfa)
	t.EmailAddresses = nil
	return t
}
