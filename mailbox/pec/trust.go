package pec

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
)

// maxTrusted bounds the certificates of a Trust; every one costs time at a
// verification whose chain is not known yet.
const maxTrusted = 64

// Trust is the list of the CAs whose certificates sign PEC. It is immutable
// and safe for use by many at once.
//
// A certificate of it is one of three things. A self-signed one is a root. Any
// other is an intermediate; if nothing in the list issued it, it anchors chains
// by itself. The issuers are those that may sign a provider's certificate: all
// intermediates, the CAs whose keys are pinned (pinnedCAs), and a given root only
// where the list holds no intermediate of it. So a public root beside its PEC
// intermediate does not make the ordinary S/MIME certificates PEC that other
// intermediates of that root issue; and a built-in root signs no provider itself.
//
// An issuer is known by name and key. It is reissued every few years with the key
// it had, and each message carries the issue of its day: that one is used if it
// leads to an anchor.
type Trust struct {
	roots         []*x509.Certificate // the anchors
	anchors       *x509.CertPool      // the same
	intermediates []*x509.Certificate
	pool          *x509.CertPool // the same
	known         []authority    // CAs whose issues in messages are used
	issuers       []authority    // those of them, and roots, that may sign providers
}

// authority is a CA, whatever its certificate.
type authority struct {
	name  string            // the subject, as pkix.Name prints it
	key   [sha256.Size]byte // SHA-256 of the SubjectPublicKeyInfo
	keyID []byte            // subject key id, a hint
}

func authorityOf(c *x509.Certificate) authority {
	return authority{c.Subject.String(), sha256.Sum256(c.RawSubjectPublicKeyInfo), c.SubjectKeyId}
}

// among reports whether c is, in any issue, one of the authorities.
func among(list []authority, c *x509.Certificate) bool {
	a := authorityOf(c)
	return slices.ContainsFunc(list, func(o authority) bool { return o.key == a.key && o.name == a.name })
}

// NewTrust builds a Trust from the built-in CAs and from the contents of PEM
// files, such as those of provider_trust. A file may hold several certificates
// and text between them. It is an error if a block is not a CA certificate that
// can be read, or if a file holds none: what was given in vain must not pass
// unnoticed. There is no way to trust every CA.
func NewTrust(pems ...[]byte) (*Trust, error) {
	own, err := builtIn()
	if err != nil {
		return nil, err
	}
	var given []*x509.Certificate
	for i, file := range pems {
		list, err := readPEM(file)
		if err != nil {
			return nil, fmt.Errorf("trust file %d: %w", i+1, err)
		}
		for _, c := range list {
			if !slices.ContainsFunc(given, c.Equal) {
				given = append(given, c)
			}
		}
	}
	if len(given) > maxTrusted {
		return nil, fmt.Errorf("%d trusted certificates, at most %d", len(given), maxTrusted)
	}
	return newTrust(own, given), nil
}

// readPEM returns the CA certificates of one file.
func readPEM(file []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block of type %q, want CERTIFICATE", clip(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(list)+1, err)
		}
		if !c.BasicConstraintsValid || !c.IsCA {
			return nil, fmt.Errorf("%q is not the certificate of a CA", clip(c.Subject.String()))
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("holds no certificate in PEM form")
	}
	return list, nil
}

// newTrust sorts the certificates. One that is built in stays what it is there,
// given once more or not.
func newTrust(own, given []*x509.Certificate) *Trust {
	t := &Trust{anchors: x509.NewCertPool(), pool: x509.NewCertPool(), known: pinnedCAs()}
	t.issuers = slices.Clone(t.known)
	all := slices.Clone(own)
	for _, c := range given {
		if !slices.ContainsFunc(own, c.Equal) {
			all = append(all, c)
		}
	}
	for i, c := range all {
		root, parent, child := selfSigned(c), false, false
		for _, o := range all {
			if o == c || selfSigned(o) && sameCA(o, c) {
				continue
			}
			parent = parent || signed(o, c)
			child = child || signed(c, o)
		}
		if root || !parent {
			t.roots = append(t.roots, c)
			t.anchors.AddCert(c)
		}
		if !root {
			t.intermediates = append(t.intermediates, c)
			t.pool.AddCert(c)
			t.known = append(t.known, authorityOf(c))
		}
		if !root || !child && i >= len(own) {
			t.issuers = append(t.issuers, authorityOf(c))
		}
	}
	return t
}

// fingerprint is a hash over the certificates and the CAs by key, in any order.
func (t *Trust) fingerprint() string {
	var all []string
	for _, list := range [][]*x509.Certificate{t.roots, t.intermediates} {
		for _, c := range list {
			all = append(all, string(c.Raw))
		}
	}
	for _, list := range [][]authority{t.known, t.issuers} {
		for _, a := range list {
			all = append(all, a.name+"\x00"+string(a.key[:]))
		}
	}
	slices.Sort(all)
	h := sha256.New()
	for _, s := range all {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}

func selfSigned(c *x509.Certificate) bool { return signed(c, c) }

// signed reports whether parent signed child, whatever the time. SHA-1 will do
// here: an old root must not pass for an intermediate, and a chain with it is
// judged apart.
func signed(parent, child *x509.Certificate) bool {
	return bytes.Equal(parent.RawSubject, child.RawIssuer) &&
		parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) == nil
}

func sameCA(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubject, b.RawSubject) &&
		bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}
