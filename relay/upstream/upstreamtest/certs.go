// Package upstreamtest makes the certificates that tests of the rooms towards
// a provider need: an authority, good servers, and the set of servers that
// must never see a login (reliability.md E1, E2). Only tests import it.
package upstreamtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	// ocsp makes the stapled status of the revoked server.
	"golang.org/x/crypto/ocsp"
)

// Host is the name that good certificates bear. Clients dial 127.0.0.1 for it.
const Host = "mail.provider.test"

// CA is an authority.
type CA struct {
	Cert *x509.Certificate
	Key  crypto.Signer
	// Above is sent along by servers: the chain up to, without, the root.
	Above [][]byte
}

// NewCA makes a self-signed root.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	return newCA(t, name, nil, nil)
}

// Roots returns a pool that trusts only this authority.
func (ca *CA) Roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Cert)
	return p
}

// Intermediate makes an authority below ca; edit may change its template.
func (ca *CA) Intermediate(t testing.TB, edit func(*x509.Certificate)) *CA {
	t.Helper()
	return newCA(t, "Test intermediate", ca, edit)
}

// Server makes a certificate for Host, valid now; edit may change its template.
func (ca *CA) Server(t testing.TB, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := ecKey(t)
	der := ca.sign(t, serverTemplate(edit), key.Public())
	return tls.Certificate{Certificate: append([][]byte{der}, ca.Above...), PrivateKey: key}
}

// RSAServer makes a good certificate with an RSA key, for old key exchanges.
func (ca *CA) RSAServer(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der := ca.sign(t, serverTemplate(nil), key.Public())
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Bad is one server that a client must leave without having sent a login.
type Bad struct {
	Name   string
	Config *tls.Config
}

// BadCertificates returns the servers of E1. All are reached under Host by a
// client that trusts ca.
func (ca *CA) BadCertificates(t testing.TB) []Bad {
	t.Helper()
	now := time.Now()
	one := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	with := func(edit func(*x509.Certificate)) *tls.Config { return one(ca.Server(t, edit)) }

	missing := ca.Intermediate(t, nil)
	missing.Above = nil
	oldAbove := ca.Intermediate(t, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) })
	elsewhere := ca.Intermediate(t, func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"elsewhere.test"}, true
	})
	noCA := ca.Server(t, nil)
	noCACert, err := x509.ParseCertificate(noCA.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pretender := &CA{Cert: noCACert, Key: noCA.PrivateKey.(crypto.Signer), Above: [][]byte{noCACert.Raw}}

	selfKey := ecKey(t)
	selfDER, err := x509.CreateCertificate(rand.Reader, serverTemplate(nil), serverTemplate(nil), selfKey.Public(), selfKey)
	if err != nil {
		t.Fatal(err)
	}
	revoked := ca.Server(t, nil)
	leaf, err := x509.ParseCertificate(revoked.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	revoked.OCSPStaple, err = ocsp.CreateResponse(ca.Cert, ca.Cert, ocsp.Response{
		Status: ocsp.Revoked, SerialNumber: leaf.SerialNumber, RevokedAt: now.Add(-time.Hour),
		ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour),
	}, ca.Key)
	if err != nil {
		t.Fatal(err)
	}

	return []Bad{
		{"expired", with(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) })},
		{"not yet valid", with(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) })},
		{"wrong name", with(func(c *x509.Certificate) { c.DNSNames = []string{"mail.elsewhere.test"} })},
		{"wildcard over two labels", with(func(c *x509.Certificate) { c.DNSNames = []string{"*.test"} })},
		{"name only in the subject", with(func(c *x509.Certificate) { c.DNSNames = nil })},
		{"IP address instead of the name", with(func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)}
		})},
		{"self-signed", one(tls.Certificate{Certificate: [][]byte{selfDER}, PrivateKey: selfKey})},
		{"unknown authority", one(NewCA(t, "Unknown root").Server(t, nil))},
		{"for clients only", with(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})},
		{"key for lists of revocation only", with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })},
		{"an authority's own", with(func(c *x509.Certificate) { c.IsCA = true })},
		{"intermediate not sent", one(missing.Server(t, nil))},
		{"intermediate expired", one(oldAbove.Server(t, nil))},
		{"intermediate for another domain", one(elsewhere.Server(t, nil))},
		{"issued by a server", one(pretender.Server(t, nil))},
		{"revoked, stapled", one(revoked)},
	}
}

// BadProtocols returns the servers of E2: a good certificate, an old protocol.
func (ca *CA) BadProtocols(t testing.TB) []Bad {
	t.Helper()
	cert := []tls.Certificate{ca.RSAServer(t)}
	only := func(suites ...uint16) *tls.Config {
		return &tls.Config{Certificates: cert, MaxVersion: tls.VersionTLS12, CipherSuites: suites}
	}
	return []Bad{
		{"TLS 1.0", &tls.Config{Certificates: cert, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}},
		{"TLS 1.1", &tls.Config{Certificates: cert, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}},
		{"RSA key exchange", only(tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_CBC_SHA)},
		{"3DES", only(tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA)},
		{"RC4", only(tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA)},
	}
}

func newCA(t testing.TB, name string, above *CA, edit func(*x509.Certificate)) *CA {
	t.Helper()
	now := time.Now()
	tpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	if edit != nil {
		edit(tpl)
	}
	key := ecKey(t)
	ca := &CA{Key: key}
	parent := above
	if parent == nil {
		parent = &CA{Cert: tpl, Key: key}
	}
	der := parent.sign(t, tpl, key.Public())
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca.Cert = cert
	if above != nil {
		ca.Above = append([][]byte{der}, above.Above...)
	}
	return ca
}

func (ca *CA) sign(t testing.TB, tpl *x509.Certificate, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tpl, ca.Cert, pub, ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func serverTemplate(edit func(*x509.Certificate)) *x509.Certificate {
	now := time.Now()
	tpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: Host}, DNSNames: []string{Host},
		NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(12 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(tpl)
	}
	return tpl
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return big.NewInt(time.Now().UnixNano())
	}
	return n
}
