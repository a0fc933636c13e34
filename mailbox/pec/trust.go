package pec

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxTrusted bounds the certificates of a Trust; every one costs time at every
// verification.
const maxTrusted = 64

// Trust is the list of the CAs whose certificates sign PEC. It is immutable
// and safe for use by many at once.
//
// A certificate of it is one of three things. A self-signed one is a root. Any
// other is an intermediate; if nothing in the list issued it, it anchors chains
// by itself. The issuers are those that may sign a provider's certificate: all
// intermediates, and a root only where the list holds no intermediate of it. So
// a public root beside its PEC intermediate does not make the ordinary S/MIME
// certificates PEC that other intermediates of that root issue.
type Trust struct {
	anchors       *x509.CertPool
	intermediates []*x509.Certificate
	issuers       []*x509.Certificate
	pool          *x509.CertPool // of intermediates
}

// NewTrust builds a Trust from the contents of PEM files, such as those of
// provider_trust. A file may hold several certificates and text between them.
// It is an error if a block is not a CA certificate that can be read, or if a
// file holds none. No file at all makes a Trust that knows no CA.
func NewTrust(pems ...[]byte) (*Trust, error) {
	var all []*x509.Certificate
	for i, file := range pems {
		n := 0
		for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				return nil, fmt.Errorf("trust file %d: a PEM block of type %q, want CERTIFICATE", i+1, clip(block.Type))
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("trust file %d: certificate %d: %w", i+1, n+1, err)
			}
			if !c.BasicConstraintsValid || !c.IsCA {
				return nil, fmt.Errorf("trust file %d: %q is not the certificate of a CA", i+1, clip(c.Subject.String()))
			}
			n++
			if !slices.ContainsFunc(all, c.Equal) {
				all = append(all, c)
			}
		}
		if n == 0 {
			return nil, fmt.Errorf("trust file %d: holds no certificate in PEM form", i+1)
		}
	}
	if len(all) > maxTrusted {
		return nil, fmt.Errorf("%d trusted certificates, at most %d", len(all), maxTrusted)
	}
	return newTrust(all), nil
}

func newTrust(all []*x509.Certificate) *Trust {
	t := &Trust{anchors: x509.NewCertPool(), pool: x509.NewCertPool()}
	for _, c := range all {
		root, parent, child := selfSigned(c), false, false
		for _, o := range all {
			if o == c || selfSigned(o) && sameCA(o, c) {
				continue
			}
			parent = parent || issued(o, c)
			child = child || issued(c, o)
		}
		if root || !parent {
			t.anchors.AddCert(c)
		}
		if !root {
			t.intermediates = append(t.intermediates, c)
			t.pool.AddCert(c)
		}
		if !root || !child {
			t.issuers = append(t.issuers, c)
		}
	}
	return t
}

func selfSigned(c *x509.Certificate) bool { return issued(c, c) }

// issued reports whether parent signed child, whatever the time. It only sorts
// the list, so SHA-1 will do here: an old root must not pass for an intermediate.
func issued(parent, child *x509.Certificate) bool {
	return bytes.Equal(parent.RawSubject, child.RawIssuer) &&
		parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) == nil
}

// sameCA reports whether two certificates name the same CA with the same key.
// A CA is reissued every few years with the key it had, and each message carries
// the issue of its day.
func sameCA(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubject, b.RawSubject) &&
		bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}

// issuer reports whether c is, in any issue, a CA that may sign providers.
func (t *Trust) issuer(c *x509.Certificate) bool {
	return slices.ContainsFunc(t.issuers, func(i *x509.Certificate) bool { return sameCA(i, c) })
}

// fault is a check that failed.
type fault struct {
	verdict string // Invalid or Unverifiable
	check   string
	text    string
}

// check builds the chain leaf, issuer, ..., anchor as of the signing time and
// returns what is wrong, nil if nothing. others are the further certificates of
// the message; of them only other issues of a trusted CA are used.
func (t *Trust) check(leaf *x509.Certificate, others []*x509.Certificate, at time.Time) *fault {
	pool := t.pool
	for _, c := range others {
		if slices.ContainsFunc(t.intermediates, c.Equal) ||
			!slices.ContainsFunc(t.intermediates, func(i *x509.Certificate) bool { return sameCA(i, c) }) {
			continue
		}
		if pool == t.pool {
			pool = t.pool.Clone()
		}
		pool.AddCert(c)
	}
	opts := x509.VerifyOptions{
		Roots:         t.anchors,
		Intermediates: pool,
		CurrentTime:   at,
		// The default, a TLS server, never fits a PEC certificate.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return t.explain(leaf, opts, err)
	}
	if !slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool {
		return len(chain) > 1 && t.issuer(chain[1])
	}) {
		return unknownCA(leaf)
	}
	// A certificate without the extension passes Verify for every usage; the
	// PEC profile demands it.
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageEmailProtection) {
		return &fault{Invalid, "usage", "the certificate is not for e-mail protection"}
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return &fault{Invalid, "usage", "the certificate's key is not for signatures"}
	}
	if leaf.IsCA {
		return &fault{Invalid, "usage", "the certificate is that of a CA"}
	}
	return nil
}

func unknownCA(leaf *x509.Certificate) *fault {
	return &fault{Unverifiable, "chain", "unknown CA: " + clip(leaf.Issuer.String())}
}

// explain turns an error of x509 into a fault. A CA that is not known makes a
// message unverifiable before anything else is said of the certificate.
func (t *Trust) explain(leaf *x509.Certificate, opts x509.VerifyOptions, err error) *fault {
	for _, c := range t.issuers {
		if !bytes.Equal(c.RawSubject, leaf.RawIssuer) {
			continue
		}
		var weak x509.InsecureAlgorithmError
		if e := leaf.CheckSignatureFrom(c); errors.As(e, &weak) {
			return &fault{Unverifiable, "chain", "the certificate is signed with " +
				leaf.SignatureAlgorithm.String() + ", which is not verified"}
		} else if e == nil {
			return known(leaf, c, opts.CurrentTime, err)
		}
	}
	return unknownCA(leaf)
}

// known explains why a certificate that a trusted issuer did sign fails.
func known(leaf, issuer *x509.Certificate, at time.Time, err error) *fault {
	if at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
		return &fault{Invalid, "validity", fmt.Sprintf("signed at %s, the certificate is valid from %s to %s",
			stamp(at), stamp(leaf.NotBefore), stamp(leaf.NotAfter))}
	}
	if at.Before(issuer.NotBefore) || at.After(issuer.NotAfter) {
		return &fault{Unverifiable, "chain", fmt.Sprintf("signed at %s, the CA certificate at hand is valid from %s to %s",
			stamp(at), stamp(issuer.NotBefore), stamp(issuer.NotAfter))}
	}
	var bad x509.CertificateInvalidError
	if errors.As(err, &bad) {
		switch bad.Reason {
		case x509.IncompatibleUsage:
			return &fault{Invalid, "usage", "the certificate is not for e-mail protection"}
		case x509.CANotAuthorizedForThisName:
			return &fault{Invalid, "chain", "the CA may not issue for the certificate's names"}
		}
	}
	return &fault{Unverifiable, "chain", clip(err.Error())}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
