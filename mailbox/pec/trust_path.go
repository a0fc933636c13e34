package pec

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"pecgate/mailbox/pec/cms"
)

// fault is a check that failed.
type fault struct {
	verdict string // Invalid or Unverifiable
	check   string
	text    string
}

// path is a chain of certificates that was found good.
type path struct {
	certs []*x509.Certificate // leaf, issuer, ..., anchor
	// from and to bound the times for which the search would have found the
	// same, both included: no certificate at hand begins or ends between them.
	from, to time.Time
	sha1     bool // a certificate below the anchor is signed with SHA-1
	unnamed  bool // the leaf has no extended key usage
}

// weaknesses says why a good path is good for valid-historic only: check and
// text of each reason. None for a path of today.
func (p *path) weaknesses(now time.Time) (list [][2]string) {
	if p.sha1 {
		list = append(list, [2]string{checkChain, "the chain of certificates is signed with SHA-1"})
	}
	if p.unnamed {
		list = append(list, [2]string{checkUsage, "the certificate names no extended key usage, where emailProtection is due today"})
	}
	for i, c := range p.certs {
		if !now.After(c.NotAfter) {
			continue
		}
		who := "the certificate"
		if i > 0 {
			who = "the CA certificate of " + clip(c.Subject.CommonName)
		}
		return append(list, [2]string{checkValidity, who + " expired on " + stamp(c.NotAfter) + ", after signing"})
	}
	return list
}

// paths is a bounded cache of good paths by the certificates of the signature,
// for one Trust. A failure is not kept: what is unknown is found out quickly.
type paths struct {
	trust *Trust
	kept  *cms.Recent[*path]
}

func newPaths(t *Trust, n int) *paths {
	return &paths{trust: t, kept: cms.NewRecent[*path](n)}
}

// find returns the path of the signer's certificate as of the signing time, or
// what is wrong.
func (p *paths) find(s *cms.Signature, at time.Time) (*path, *fault) {
	if got, ok := p.kept.Get(s.Set); ok && !at.Before(got.from) && !at.After(got.to) {
		return got, nil
	}
	got, f := p.trust.check(s.Leaf, s.Others, at)
	if f != nil {
		return nil, f
	}
	p.kept.Put(s.Set, got)
	return got, nil
}

// check builds the path leaf, issuer, ..., anchor as of the signing time, or
// says what is wrong. others are the further certificates of the message; of
// them only issues of a known CA are used.
func (t *Trust) check(leaf *x509.Certificate, others []*x509.Certificate, at time.Time) (*path, *fault) {
	pool, inter := t.pool, t.intermediates
	for _, c := range others {
		if !slices.ContainsFunc(inter, c.Equal) && among(t.known, c) {
			inter = append(inter[:len(inter):len(inter)], c)
		}
	}
	if extra := inter[len(t.intermediates):]; len(extra) > 0 {
		pool = t.pool.Clone()
		for _, c := range extra {
			pool.AddCert(c)
		}
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         t.anchors,
		Intermediates: pool,
		CurrentTime:   at,
		// The default, a TLS server, never fits a PEC certificate.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	})
	if err != nil {
		p, f := t.historic(leaf, inter, at)
		if p == nil && f == nil {
			f = t.explain(leaf, inter, others, at, err)
		}
		if f != nil {
			return nil, f
		}
		p.from, p.to = t.span(leaf, inter, at)
		return p, nil
	}
	var best *path
	for _, chain := range chains {
		if len(chain) < 2 || !among(t.issuers, chain[1]) {
			continue
		}
		if best == nil || expiry(chain).After(expiry(best.certs)) {
			best = &path{certs: chain}
		}
	}
	if best == nil {
		return nil, unknownCA(leaf)
	}
	// A certificate without the extension passes Verify for every usage; the
	// PEC profile demands it.
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageEmailProtection) {
		return nil, &fault{Invalid, checkUsage, textNoEmailUsage(leaf)}
	}
	if f := keyFault(leaf); f != nil {
		return nil, f
	}
	best.from, best.to = t.span(leaf, inter, at)
	return best, nil
}

func textNoEmailUsage(leaf *x509.Certificate) string {
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		return "the certificate is not for e-mail protection: it names no extended key usage"
	}
	return "the certificate is not for e-mail protection"
}

// keyFault checks that the leaf's key is one for signatures of messages.
func keyFault(leaf *x509.Certificate) *fault {
	if leaf.KeyUsage != 0 && leaf.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return &fault{Invalid, checkUsage, "the certificate's key is not for signatures"}
	}
	if leaf.IsCA {
		return &fault{Invalid, checkUsage, "the certificate is that of a CA"}
	}
	return nil
}

// expiry is when the first certificate of a chain ends.
func expiry(chain []*x509.Certificate) time.Time {
	first := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}

// span returns the time round at in which no certificate at hand begins or ends
// to be valid, so that any search in it ends as the one for at.
func (t *Trust) span(leaf *x509.Certificate, inter []*x509.Certificate, at time.Time) (from, to time.Time) {
	from, to = leaf.NotBefore, leaf.NotAfter
	later := func(x time.Time) {
		if x.After(from) {
			from = x
		}
	}
	sooner := func(x time.Time) {
		if x.Before(to) {
			to = x
		}
	}
	for _, list := range [][]*x509.Certificate{inter, t.roots} {
		for _, c := range list {
			if at.Before(c.NotBefore) {
				sooner(c.NotBefore.Add(-1))
			} else {
				later(c.NotBefore)
			}
			if at.After(c.NotAfter) {
				later(c.NotAfter.Add(1))
			} else {
				sooner(c.NotAfter)
			}
		}
	}
	return from, to
}

func unknownCA(leaf *x509.Certificate) *fault {
	return &fault{Unverifiable, checkChain, "unknown CA: " + clip(leaf.Issuer.String())}
}

// explain turns an error of x509 into a fault. A CA that is not known makes a
// message unverifiable before anything else is said of the certificate. inter are
// the intermediates that were tried.
func (t *Trust) explain(leaf *x509.Certificate, inter, others []*x509.Certificate, at time.Time, err error) *fault {
	for _, list := range [][]*x509.Certificate{inter, t.roots} {
		for _, c := range list {
			if among(t.issuers, c) && signed(c, leaf) {
				return t.explainIssued(leaf, c, at, err)
			}
		}
	}
	name := leaf.Issuer.String()
	for _, a := range t.issuers {
		if a.name != name {
			continue
		}
		there := func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, leaf.RawIssuer) }
		if slices.ContainsFunc(inter, there) || slices.ContainsFunc(others, there) ||
			len(leaf.AuthorityKeyId) > 0 && len(a.keyID) > 0 && !bytes.Equal(leaf.AuthorityKeyId, a.keyID) {
			return &fault{Unverifiable, checkChain, "unknown CA: the certificate names " + clip(name) + " as its issuer, but the CA of that name that is known has not signed it"}
		}
		return &fault{Unverifiable, checkChain, "the message lacks the certificate of its issuer, " + clip(name) + ", and it is not at hand here"}
	}
	return unknownCA(leaf)
}

// explainIssued explains why a certificate that a trusted issuer did sign fails.
func (t *Trust) explainIssued(leaf, issuer *x509.Certificate, at time.Time, err error) *fault {
	if at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
		return validityFault(leaf, at)
	}
	if at.Before(issuer.NotBefore) || at.After(issuer.NotAfter) {
		return caValidityFault(issuer, at)
	}
	var bad x509.CertificateInvalidError
	if errors.As(err, &bad) {
		switch bad.Reason {
		case x509.IncompatibleUsage:
			return &fault{Invalid, checkUsage, textNoEmailUsage(leaf)}
		case x509.CANotAuthorizedForThisName:
			return namesFault()
		}
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return &fault{Unverifiable, checkChain, "the certificate of " + clip(issuer.Subject.CommonName) + " in the message leads to no root that is known"}
	}
	return &fault{Unverifiable, checkChain, clip(err.Error())}
}

func validityFault(leaf *x509.Certificate, at time.Time) *fault {
	return &fault{Invalid, checkValidity, fmt.Sprintf("signed at %s, the certificate is valid from %s to %s",
		stamp(at), stamp(leaf.NotBefore), stamp(leaf.NotAfter))}
}

func caValidityFault(ca *x509.Certificate, at time.Time) *fault {
	return &fault{Unverifiable, checkChain, fmt.Sprintf("signed at %s, the CA certificate at hand is valid from %s to %s",
		stamp(at), stamp(ca.NotBefore), stamp(ca.NotAfter))}
}

func namesFault() *fault {
	return &fault{Invalid, checkChain, "the CA may not issue for the certificate's names"}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
