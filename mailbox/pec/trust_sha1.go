package pec

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"
)

const (
	// maxPath bounds a path, leaf and anchor included. The one that PEC had while
	// it used SHA-1 has three.
	maxPath = 5
	// maxSignatures bounds the signatures that are checked in search of a path;
	// each costs about 30 us.
	maxSignatures = 64
)

// historic judges a chain in which SHA-1 signs a certificate, as PEC had until
// 2018: crypto/x509 refuses any. It returns nothing at all if there is none that
// leads from the leaf to an anchor.
//
// The search is for that alone; whatever crypto/x509 can judge, it has judged.
// It checks what RFC 5280 section 6.1 asks for and refuses what it cannot judge.
// One thing it is lenient in: certificates of that time bear no extended key
// usage.
func (t *Trust) historic(leaf *x509.Certificate, inter []*x509.Certificate, at time.Time) (*path, *fault) {
	s := search{trust: t, inter: inter, at: at}
	s.extend([]*x509.Certificate{leaf})
	if s.found != nil {
		return s.found, nil
	}
	return nil, s.fault
}

// search is one search for a path.
type search struct {
	trust  *Trust
	inter  []*x509.Certificate
	at     time.Time
	checks int // signatures
	found  *path
	fault  *fault // of the first path that leads to an anchor, but is not good
}

// extend tries every issuer of the last certificate of the chain.
func (s *search) extend(chain []*x509.Certificate) {
	last := chain[len(chain)-1]
	for i, list := range [][]*x509.Certificate{s.trust.roots, s.inter} {
		for _, c := range list {
			if slices.Contains(chain, c) || !bytes.Equal(c.RawSubject, last.RawIssuer) {
				continue
			}
			if s.checks++; s.checks > maxSignatures {
				return
			}
			if !signed(c, last) {
				continue
			}
			next := append(chain[:len(chain):len(chain)], c)
			if i == 0 {
				s.judge(next)
			} else if len(next) < maxPath {
				s.extend(next)
			}
			if s.found != nil {
				return
			}
		}
	}
}

// judge looks at a chain whose signatures are good and keeps the result.
func (s *search) judge(chain []*x509.Certificate) {
	p := &path{certs: chain, unnamed: len(chain[0].ExtKeyUsage)+len(chain[0].UnknownExtKeyUsage) == 0}
	for _, c := range chain[:len(chain)-1] {
		p.sha1 = p.sha1 || c.SignatureAlgorithm == x509.SHA1WithRSA || c.SignatureAlgorithm == x509.ECDSAWithSHA1
	}
	if !p.sha1 {
		return
	}
	f := s.wrong(chain)
	if f == nil {
		s.found = p
	} else if s.fault == nil {
		s.fault = f
	}
}

// wrong says what is wrong with a chain from leaf to anchor.
func (s *search) wrong(chain []*x509.Certificate) *fault {
	leaf := chain[0]
	if !among(s.trust.issuers, chain[1]) {
		return unknownCA(leaf)
	}
	if s.at.Before(leaf.NotBefore) || s.at.After(leaf.NotAfter) {
		return validityFault(leaf, s.at)
	}
	if usages := len(leaf.ExtKeyUsage) + len(leaf.UnknownExtKeyUsage); usages > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageEmailProtection) {
		return &fault{Invalid, checkUsage, textNoEmailUsage(leaf)}
	}
	if f := keyFault(leaf); f != nil {
		return f
	}
	if oid := unjudged(leaf); oid != "" {
		return &fault{Unverifiable, checkChain, "the certificate has a critical extension that is not known: " + oid}
	}
	for i, ca := range chain[1:] {
		who := clip(ca.Subject.CommonName)
		if s.at.Before(ca.NotBefore) || s.at.After(ca.NotAfter) {
			return caValidityFault(ca, s.at)
		}
		if !ca.BasicConstraintsValid || !ca.IsCA || ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0 {
			return &fault{Unverifiable, checkChain, who + " may not issue certificates"}
		}
		// i CAs stand between this one and the leaf.
		if ca.MaxPathLen >= 0 && i > ca.MaxPathLen {
			return &fault{Unverifiable, checkChain, "the chain is longer than " + who + " allows"}
		}
		if usages := len(ca.ExtKeyUsage) + len(ca.UnknownExtKeyUsage); usages > 0 &&
			!slices.Contains(ca.ExtKeyUsage, x509.ExtKeyUsageEmailProtection) && !slices.Contains(ca.ExtKeyUsage, x509.ExtKeyUsageAny) {
			return &fault{Invalid, checkUsage, who + " may not issue for e-mail protection"}
		}
		if oid := unjudged(ca); oid != "" {
			return &fault{Unverifiable, checkChain, who + " has a critical extension that is not known: " + oid}
		}
		if f := constrained(ca, chain[:i+1]); f != nil {
			return f
		}
	}
	return nil
}

// unjudged names a critical extension that nobody looked at. Constraints of names
// are left to crypto/x509 only in part, and judged by constrained.
func unjudged(c *x509.Certificate) string {
	for _, oid := range c.UnhandledCriticalExtensions {
		if !oid.Equal(oidNameConstraints()) {
			return clip(oid.String())
		}
	}
	return ""
}
