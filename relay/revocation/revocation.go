// Package revocation asks a certification authority whether a provider's certificate
// is good: OCSP (RFC 6960), or where that gives nothing the list of revoked
// certificates (RFC 5280 section 5), at the addresses that the certificate names.
//
// It keeps nothing and decides nothing: an answer is evidence of the day on which a
// message came, since the signing time in it is the provider's own claim.
//
// Invariants:
//   - It connects to public addresses only, whatever a name resolves to, by plain HTTP
//     (answers are signed), follows no redirect and uses no proxy.
//   - Each question has a time limit, each answer a size limit, and each certificate at
//     most two addresses of a kind.
//   - An answer counts only where the issuer of the certificate signed it, or who it
//     named for that, and it is about this certificate. Anything else is "not available".
package revocation

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"golang.org/x/crypto/ocsp" // the form of OCSP's questions and answers
)

// The kinds of an Answer, and the begin of a Status that is none.
const (
	OCSP = "ocsp"
	CRL  = "crl"

	NotAvailable = "not available"
)

const (
	askTime   = 20 * time.Second
	addresses = 2 // of a kind
	maxOCSP   = 32 << 10
	// MaxCRL is how long a list of revoked certificates may be, in bytes.
	MaxCRL = 512 << 10
)

// Answer is what was learnt of a certificate.
type Answer struct {
	Kind   string    // OCSP or CRL; empty where there is none
	At     time.Time // when it was asked
	Status string    // "good", "revoked on ...", or NotAvailable and why, on one line
	Bytes  []byte    // the signed answer, DER; nil where there is none
}

// Options of a Client.
type Options struct {
	Now func() time.Time // nil: time.Now
	// Reach tells which addresses may be connected to; nil: public ones. Tests give
	// another.
	Reach func(netip.Addr) bool
}

// Client asks. It is safe for use by many goroutines.
type Client struct {
	http *http.Client
	now  func() time.Time
}

// errPrivate says why nobody is asked at an address.
var errPrivate = errors.New("the address is not a public one")

// New returns a Client.
func New(o Options) *Client {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Reach == nil {
		o.Reach = public
	}
	d := &net.Dialer{Timeout: askTime, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !o.Reach(at.Addr().Unmap()) {
			return errPrivate
		}
		return nil
	}}
	return &Client{now: o.Now, http: &http.Client{
		Timeout:       askTime,
		Transport:     &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects") },
	}}
}

// public tells whether an address is one of the internet.
func public(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "2001:db8::/32", "2002::/16", "2001::/32", "fec0::/10",
	} {
		if netip.MustParsePrefix(p).Contains(a) {
			return false
		}
	}
	return true
}

// Ask asks about a certificate. It always gives an answer.
func (c *Client) Ask(ctx context.Context, leaf, issuer *x509.Certificate) Answer {
	at := c.now().UTC()
	var failed error
	for _, u := range leaf.OCSPServer[:min(len(leaf.OCSPServer), addresses)] {
		b, status, err := c.ocsp(ctx, u, leaf, issuer)
		if err == nil {
			return Answer{OCSP, at, status, b}
		}
		failed = err
	}
	for _, u := range leaf.CRLDistributionPoints[:min(len(leaf.CRLDistributionPoints), addresses)] {
		b, status, err := c.list(ctx, u, leaf, issuer)
		if err == nil {
			return Answer{CRL, at, status, b}
		}
		failed = err
	}
	if failed == nil {
		failed = errors.New("the certificate names nobody to ask")
	}
	return Answer{At: at, Status: NotAvailable + ": " + failed.Error()}
}

func (c *Client) ocsp(ctx context.Context, at string, leaf, issuer *x509.Certificate) ([]byte, string, error) {
	question, err := ocsp.CreateRequest(leaf, issuer, &ocsp.RequestOptions{Hash: crypto.SHA1}) // what responders know (RFC 5019 section 2.1.1)
	if err != nil {
		return nil, "", errors.New("the question cannot be made")
	}
	b, err := c.fetch(ctx, http.MethodPost, at, question, maxOCSP)
	if err != nil {
		return nil, "", err
	}
	r, err := ocsp.ParseResponseForCert(b, leaf, issuer)
	switch {
	case err != nil:
		return nil, "", errors.New("OCSP: the answer is not a signed one about this certificate")
	case !r.NextUpdate.IsZero() && c.now().After(r.NextUpdate.Add(time.Hour)) || r.ThisUpdate.After(c.now().Add(time.Hour)):
		return nil, "", errors.New("OCSP: the answer is of another time")
	case r.Status == ocsp.Good:
		return b, "good", nil
	case r.Status == ocsp.Revoked:
		return b, "revoked on " + r.RevokedAt.UTC().Format(time.RFC3339), nil
	}
	return nil, "", errors.New("OCSP: the authority does not know the certificate")
}

func (c *Client) list(ctx context.Context, at string, leaf, issuer *x509.Certificate) ([]byte, string, error) {
	b, err := c.fetch(ctx, http.MethodGet, at, nil, MaxCRL)
	if err != nil {
		return nil, "", err
	}
	l, err := x509.ParseRevocationList(b)
	if err == nil {
		err = l.CheckSignatureFrom(issuer)
	}
	if err != nil {
		return nil, "", errors.New("CRL: not a list that the issuer signed")
	}
	if !l.NextUpdate.IsZero() && c.now().After(l.NextUpdate.Add(time.Hour)) || l.ThisUpdate.After(c.now().Add(time.Hour)) {
		return nil, "", errors.New("CRL: the list is of another time")
	}
	for _, e := range l.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			return b, "revoked on " + e.RevocationTime.UTC().Format(time.RFC3339), nil
		}
	}
	return b, "good", nil
}

// fetch asks one address. Errors name no more of it than its host.
func (c *Client) fetch(ctx context.Context, method, at string, body []byte, most int64) ([]byte, error) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || len(at) > 1000 {
		return nil, errors.New("the certificate names no address by HTTP")
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the certificate names no address by HTTP")
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/ocsp-request")
	}
	res, err := c.http.Do(req)
	if errors.Is(err, errPrivate) {
		return nil, errPrivate
	}
	if err != nil {
		return nil, fmt.Errorf("%q does not answer", u.Hostname())
	}
	defer res.Body.Close() // read to its end or given up
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%q answers %d", u.Hostname(), res.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q broke off", u.Hostname())
	case int64(len(b)) > most:
		return nil, fmt.Errorf("%q sends more than %d KiB", u.Hostname(), most>>10)
	}
	return b, nil
}
