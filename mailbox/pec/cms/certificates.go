package cms

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
)

// maxKept bounds one certificate that the cache keeps, in bytes. Real ones
// have 1.2 to 5 KiB.
const maxKept = 8 << 10

// Certificates is a bounded cache of parsed certificates by the SHA-256 of
// their bytes. Providers sign with the same few certificates for years, and
// parsing two of them costs about as much as verifying the signature. It is safe
// for use by many at once.
type Certificates struct {
	kept *Recent[*x509.Certificate]
}

// NewCertificates returns a cache that keeps at most n certificates of at most
// 8 KiB each.
func NewCertificates(n int) *Certificates {
	return &Certificates{kept: NewRecent[*x509.Certificate](n)}
}

// parse returns the certificate that raw is. What it returns is shared and
// must not be changed. A nil cache parses anew.
func (c *Certificates) parse(raw []byte) (*x509.Certificate, [sha256.Size]byte, error) {
	sum := sha256.Sum256(raw)
	if c == nil {
		cert, err := x509.ParseCertificate(raw)
		return cert, sum, err
	}
	if cert, ok := c.kept.Get(sum); ok {
		return cert, sum, nil
	}
	// What is parsed points into the bytes it was parsed from, and those are
	// the caller's.
	cert, err := x509.ParseCertificate(bytes.Clone(raw))
	if err == nil && len(raw) <= maxKept {
		c.kept.Put(sum, cert)
	}
	return cert, sum, err
}
