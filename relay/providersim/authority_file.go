package providersim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrOtherDomain: the authority in a file signs for another domain.
var ErrOtherDomain = errors.New("the authority is for another domain")

// Keep is the authority as a file, with its private keys: certificate and key of
// the root, then of the intermediate, in PEM.
func (a *Authority) Keep() ([]byte, error) {
	var out []byte
	for _, c := range []*certKey{a.root, a.inter} {
		key, err := x509.MarshalPKCS8PrivateKey(c.key)
		if err != nil {
			return nil, err
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})...)
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	}
	return out, nil
}

// ReadAuthority reads what Keep wrote, and makes new leaves below it: who trusted the
// authority before trusts it still. The error is ErrOtherDomain where it cannot sign
// for domain.
func ReadAuthority(b []byte, domain string, now time.Time) (*Authority, error) {
	a := &Authority{domain: domain, now: now, made: map[identityKey]*Signer{}}
	for _, to := range []**certKey{&a.root, &a.inter} {
		cert, rest := pem.Decode(b)
		if cert == nil {
			return nil, errors.New("no certificate where one should stand")
		}
		key, rest := pem.Decode(rest)
		if key == nil {
			return nil, errors.New("no private key where one should stand")
		}
		b = rest
		k := &certKey{}
		var err error
		if k.cert, err = x509.ParseCertificate(cert.Bytes); err != nil {
			return nil, err
		}
		parsed, err := x509.ParsePKCS8PrivateKey(key.Bytes)
		if err != nil {
			return nil, err
		}
		own, ok := parsed.(*ecdsa.PrivateKey)
		if !ok || !own.PublicKey.Equal(k.cert.PublicKey) {
			return nil, errors.New("a private key is not that of its certificate")
		}
		k.key = crypto.Signer(own)
		*to = k
	}
	if err := a.inter.cert.CheckSignatureFrom(a.root.cert); err != nil {
		return nil, fmt.Errorf("the intermediate is not of the root: %w", err)
	}
	if now.AddDate(1, 0, 0).After(a.root.cert.NotAfter) {
		return nil, fmt.Errorf("it ends on %s", a.root.cert.NotAfter.Format(time.DateOnly))
	}
	if permitted := a.inter.cert.PermittedEmailAddresses; !slices.Contains(permitted, domain) {
		return nil, fmt.Errorf("%w: %s", ErrOtherDomain, permitted[:min(1, len(permitted))])
	}
	return a.withLeaves()
}
