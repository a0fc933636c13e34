package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/pec/cms/cmstest"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	content  = []byte("Content-Type: text/plain\r\n\r\nSi diffida.\r\n")
	signTime = time.Date(2026, 7, 3, 7, 15, 42, 0, time.UTC)

	rsaID   = sync.OnceValue(func() *cmstest.Identity { return identity(must(rsa.GenerateKey(rand.Reader, 2048)), 7) })
	oldID   = sync.OnceValue(func() *cmstest.Identity { return identity(must(rsa.GenerateKey(rand.Reader, 1024)), 8) })
	ecID    = sync.OnceValue(func() *cmstest.Identity { return identity(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), 9) })
	otherID = sync.OnceValue(func() *cmstest.Identity {
		return identity(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), 10)
	})
)

// identity is a self-signed certificate: this room looks at no chain.
func identity(key crypto.Signer, serial int64) *cmstest.Identity {
	t := x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"Gestore di prova S.p.A."}},
		SubjectKeyId: []byte{1, 2, 3, byte(serial)}, EmailAddresses: []string{"posta-certificata@pec.gestore.example"},
		NotBefore: signTime.AddDate(-1, 0, 0), NotAfter: signTime.AddDate(1, 0, 0),
	}
	return &cmstest.Identity{Cert: must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, &t, &t, key.Public(), key)))), Key: key}
}

// spec is what a genuine signer writes, changed by change.
func spec(by *cmstest.Identity, change func(*cmstest.Spec)) cmstest.Spec {
	s := cmstest.Spec{By: by, At: signTime, Certs: [][]byte{by.Cert.Raw, otherID().Cert.Raw}}
	if change != nil {
		change(&s)
	}
	return s
}

func sign(by *cmstest.Identity, change func(*cmstest.Spec)) []byte {
	return must(cmstest.Sign(content, spec(by, change)))
}

// verify parses and checks b, and flips a bit of the digest and the signature
// to see that both count.
func verify(t *testing.T, b []byte) *Signature {
	t.Helper()
	s, err := Parse(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := cmstest.SumOf(s.Digest, content)
	if !s.SameContent(sum) {
		t.Error("another content")
	}
	sum[3] ^= 1
	if s.SameContent(sum) || s.SameContent(nil) {
		t.Error("any content will do")
	}
	if err := s.Check(); err != nil {
		t.Errorf("check: %v", err)
	}
	good := s.value
	s.value = bytes.Clone(good)
	s.value[len(good)/2] ^= 1
	if s.Check() == nil {
		t.Error("a damaged signature verifies")
	}
	s.value = good
	last := s.attributes[len(s.attributes)-1]
	s.attributes = append(s.attributes[:len(s.attributes)-1:len(s.attributes)-1], bytes.Clone(last))
	s.attributes[len(s.attributes)-1][len(last)-1] ^= 1
	if s.Check() == nil {
		t.Error("a changed attribute verifies")
	}
	s.attributes[len(s.attributes)-1] = last
	return s
}
