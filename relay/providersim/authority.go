package providersim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// OutsideDomain is the signing domain of the other simulated provider, the one
// that external PEC users have. Its certificate comes from the same authority.
const OutsideDomain = "pec.altro-gestore.example"

// Authority is a certification authority in the shape of the real one for PEC:
// root, intermediate (path length 0, e-mail name constraints), S/MIME leaves
// (RSA-2048 as real ones; the CA keys are P-256 so that making one is quick) and
// a TLS leaf issued by the root itself. Safe for concurrent use.
type Authority struct {
	domain string
	now    time.Time
	root   *certKey
	inter  *certKey
	signer *Signer
	tls    tls.Certificate

	mu   sync.Mutex
	made map[identityKey]*Signer
}

type identityKey struct {
	variant Variant
	domain  string
	ecdsa   bool // P-256 instead of RSA-2048
}

type certKey struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Signer is an S/MIME identity that can sign PEC messages.
type Signer struct {
	Address string              // rfc822Name of the certificate
	Chain   []*x509.Certificate // leaf and intermediate, as they go into the CMS
	key     crypto.Signer
}

// Variant names an identity that must not be believed, or not without care.
type Variant int

const (
	Genuine      Variant = iota // the provider's own certificate
	WrongAddress                // same authority, service address other than posta-certificata@
	Expired                     // right address, certificate ended a day before the authority was made
	Foreign                     // right address, an unknown authority of the same names
	Person                      // same authority, the certificate of a natural person
)

// NewAuthority makes root, intermediate, the leaf posta-certificata@domain and
// the TLS leaf. Validity is counted from now; the S/MIME leaf lives two years.
func NewAuthority(domain string, now time.Time) (*Authority, error) {
	a := &Authority{domain: domain, now: now, made: map[identityKey]*Signer{}}
	var err error
	if a.root, err = newCA(now, "Autorita' simulata PEC Root CA", nil, nil); err != nil {
		return nil, fmt.Errorf("make root certificate: %w", err)
	}
	permitted := []string{domain}
	if domain != OutsideDomain {
		permitted = append(permitted, OutsideDomain)
	}
	if a.inter, err = newCA(now, "Autorita' simulata PEC CA1", a.root, permitted); err != nil {
		return nil, fmt.Errorf("make intermediate certificate: %w", err)
	}
	return a.withLeaves()
}

// withLeaves makes the certificates that are used every day.
func (a *Authority) withLeaves() (*Authority, error) {
	var err error
	if a.signer, err = a.identity(identityKey{domain: a.domain}); err != nil {
		return nil, err
	}
	if a.tls, err = a.TLSLeaf(TLSLeafOptions{}); err != nil {
		return nil, err
	}
	return a, nil
}

func serviceAddress(domain string) string { return "posta-certificata@" + domain }

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

// newCA makes the root when parent is nil, else an intermediate below it.
func newCA(now time.Time, name string, parent *certKey, permitted []string) (*certKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Country: []string{"IT"}, Organization: []string{"Autorita' simulata"}, CommonName: name},
		NotBefore:             now.AddDate(-4, 0, 0),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	signer := &certKey{cert: t, key: key}
	if parent != nil {
		t.MaxPathLenZero = true
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageEmailProtection}
		t.PermittedEmailAddresses = permitted
		t.Policies = policy("1.3.76.16.3.1")
		signer = parent
	}
	return issue(t, signer, key)
}

func policy(dotted string) []x509.OID {
	oid, err := x509.ParseOID(dotted)
	if err != nil {
		return nil
	}
	return []x509.OID{oid}
}

func issue(t *x509.Certificate, parent *certKey, key crypto.Signer) (*certKey, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil, err
	}
	// RFC 5280 4.2.1.2 method 1; SHA-1 here is a name, not a protection.
	id := sha1.Sum(info.Key.Bytes)
	t.SubjectKeyId = id[:]
	der, err := x509.CreateCertificate(rand.Reader, t, parent.cert, key.Public(), parent.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &certKey{cert: cert, key: key}, nil
}

// LeafOptions describes an S/MIME certificate for Issue.
type LeafOptions struct {
	Address             string    // rfc822Name; outside the authority's domains the name constraint makes the chain invalid
	Name                string    // common name; default Posta Certificata
	Organization        string    // default Gestore simulato
	NotBefore, NotAfter time.Time // default: from 30 days before the authority was made, for two years
	ECDSA               bool      // a P-256 key; default RSA-2048, as providers have
}

// Issue makes a new key and a leaf of the PEC profile for it.
func (a *Authority) Issue(o LeafOptions) (*Signer, error) {
	if o.Name == "" {
		o.Name = "Posta Certificata"
	}
	if o.Organization == "" {
		o.Organization = "Gestore simulato"
	}
	if o.NotBefore.IsZero() {
		o.NotBefore = a.now.AddDate(0, 0, -30)
	}
	if o.NotAfter.IsZero() {
		o.NotAfter = a.now.AddDate(2, 0, 0)
	}
	key, err := newKey(o.ECDSA)
	if err != nil {
		return nil, fmt.Errorf("make key for %s: %w", o.Address, err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	ck, err := issue(&x509.Certificate{
		SerialNumber:   serial,
		Subject:        pkix.Name{Country: []string{"IT"}, Province: []string{"RM"}, Locality: []string{"Roma"}, Organization: []string{o.Organization}, CommonName: o.Name},
		NotBefore:      o.NotBefore,
		NotAfter:       o.NotAfter,
		KeyUsage:       x509.KeyUsageDigitalSignature,
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		EmailAddresses: []string{o.Address},
		Policies:       policy("1.3.76.16.3.1.1"),
	}, a.inter, key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", o.Address, err)
	}
	return &Signer{Address: o.Address, Chain: []*x509.Certificate{ck.cert, a.inter.cert}, key: key}, nil
}

func newKey(curve bool) (crypto.Signer, error) {
	if curve {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return rsa.GenerateKey(rand.Reader, 2048)
}

// Signer is the provider's own identity.
func (a *Authority) Signer() *Signer { return a.signer }

// Outside is the identity of the other provider, posta-certificata@OutsideDomain.
func (a *Authority) Outside() (*Signer, error) { return a.identity(identityKey{domain: OutsideDomain}) }

// Variant returns the identity for v, made at first use and kept.
func (a *Authority) Variant(v Variant) (*Signer, error) {
	return a.identity(identityKey{variant: v, domain: a.domain})
}

func (a *Authority) identity(key identityKey) (*Signer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.made[key]; s != nil {
		return s, nil
	}
	s, err := a.make(key)
	if err != nil {
		return nil, err
	}
	a.made[key] = s
	return s, nil
}

func (a *Authority) make(key identityKey) (*Signer, error) {
	organization := "Gestore simulato"
	if key.domain != a.domain {
		organization = "Altro gestore simulato"
	}
	o := LeafOptions{Address: serviceAddress(key.domain), Organization: organization, ECDSA: key.ecdsa}
	switch key.variant {
	case Genuine:
	case WrongAddress:
		o.Address = "avvisi@" + key.domain
	case Expired:
		o.NotBefore, o.NotAfter = a.now.AddDate(-2, 0, 0), a.now.AddDate(0, 0, -1)
	case Person:
		o.Address, o.Name, o.Organization = "mario.rossi@"+key.domain, "MARIO ROSSI", "Privato"
	case Foreign:
		other, err := NewAuthority(key.domain, a.now)
		if err != nil {
			return nil, err
		}
		return other.identity(identityKey{domain: key.domain, ecdsa: key.ecdsa})
	default:
		return nil, fmt.Errorf("unknown certificate variant %d", key.variant)
	}
	return a.Issue(o)
}

// CAPEM is root and intermediate in PEM, for -CAfile and as TLS root file.
func (a *Authority) CAPEM() []byte {
	var out []byte
	for _, c := range []*certKey{a.root, a.inter} {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})...)
	}
	return out
}

// TLSLeafOptions describes a server certificate; the zero value is a good one
// for localhost, 127.0.0.1 and ::1.
type TLSLeafOptions struct {
	Hosts               []string         // names and addresses; default localhost, 127.0.0.1, ::1
	NotBefore, NotAfter time.Time        // default: from a day before the authority was made, for a year
	Usage               x509.ExtKeyUsage // default server authentication
	SelfSigned          bool             // signed by its own key
	HideIssuer          bool             // issued by a further intermediate that is not sent
}

// TLSLeaf makes a TLS server certificate, by default issued by the root.
func (a *Authority) TLSLeaf(o TLSLeafOptions) (tls.Certificate, error) {
	if len(o.Hosts) == 0 {
		o.Hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	if o.NotBefore.IsZero() {
		o.NotBefore = a.now.AddDate(0, 0, -1)
	}
	if o.NotAfter.IsZero() {
		o.NotAfter = a.now.AddDate(1, 0, 0)
	}
	if o.Usage == 0 {
		o.Usage = x509.ExtKeyUsageServerAuth
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := newSerial()
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Country: []string{"IT"}, CommonName: o.Hosts[0]},
		NotBefore:    o.NotBefore,
		NotAfter:     o.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{o.Usage},
	}
	for _, h := range o.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	parent := a.root
	switch {
	case o.SelfSigned:
		parent = &certKey{cert: t, key: key}
	case o.HideIssuer:
		if parent, err = newTLSIntermediate(a.now, a.root); err != nil {
			return tls.Certificate{}, err
		}
	}
	ck, err := issue(t, parent, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue TLS certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{ck.cert.Raw}, PrivateKey: key, Leaf: ck.cert}, nil
}

func newTLSIntermediate(now time.Time, root *certKey) (*certKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	return issue(&x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Country: []string{"IT"}, Organization: []string{"Autorita' simulata"}, CommonName: "Autorita' simulata TLS CA"},
		NotBefore:    now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}, root, key)
}
