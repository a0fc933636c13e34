// Package upstream opens the line to a provider: the address, the TCP
// connection, TLS and the checks of the certificate. relay/submit and
// relay/fetch speak their protocols on what it returns.
//
// Invariants:
//   - TLS 1.2 or newer, forward secrecy only, and a certificate that is checked
//     against the roots, the host name, its purpose and its stapled status.
//     There is no option that weakens one of these, and no setting of the
//     environment (GODEBUG) reaches them (reliability.md E1 to E3).
//   - Handshake returns a connection only after all checks passed, so whoever
//     sends a login on what it returned sends it to the provider.
//   - A failed check is a *TLSError; everything else (name service, routing,
//     time limits, a line that breaks) is an ordinary, temporary error
//     (B19, B20).
//
// It must not import any room of pecgate. Test certificates, good and bad, are
// made in upstreamtest.
package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	// ocsp reads the status that a server staples to its certificate; the
	// standard library hands it over unread.
	"golang.org/x/crypto/ocsp"
)

// maxConnect bounds the search for an address that answers. The per-command
// limits of the mail protocols are minutes, too long for a silent address.
const maxConnect = time.Minute

// Options say where a provider is and how long one step may take.
type Options struct {
	Host    string         // name (or IP address) that the certificate must bear
	Port    int            // TCP port
	Roots   *x509.CertPool // nil: those of the system
	Timeout time.Duration  // of the connect (at most 1 minute) and of the handshake
	// Dial opens the TCP connection; nil is net.Dialer, which tries all
	// addresses of the name in turn (RFC 8305).
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Resolver finds the addresses of the name where Dial is nil; nil: the system's.
	// The name is looked up at every attempt, so a provider may move.
	Resolver *net.Resolver
}

// Facts are what is known of an established TLS connection.
type Facts struct {
	Version            string    // as "TLS 1.3"
	Cipher             string    // as "TLS_AES_128_GCM_SHA256"
	CertificateExpires time.Time // NotAfter of the server's own certificate
	Staple             string    // what is wrong with the status that is stapled to it; "": nothing, or there is none
}

// TLSError says that the peer could not be trusted: bad certificate, too old
// protocol, or no TLS at all. It is never a reason to give a message up: the
// clock may be ours that is wrong (E6).
type TLSError struct{ Err error }

func (e *TLSError) Error() string { return "TLS: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *TLSError) Unwrap() error { return e.Err }

// Dial opens the TCP connection. Errors are temporary.
func Dial(ctx context.Context, o Options) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, min(o.Timeout, maxConnect))
	defer cancel()
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Resolver: o.Resolver}).DialContext
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		return nil, fmt.Errorf("connect to %s port %d: %w", o.Host, o.Port, err)
	}
	return conn, nil
}

// Handshake runs TLS on conn as client and checks the server. On error conn is
// closed; the error is a *TLSError when the peer is at fault, else temporary.
func Handshake(ctx context.Context, conn net.Conn, o Options) (*tls.Conn, Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	tc := tls.Client(conn, config(o))
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		if lineBroke(ctx, err) {
			return nil, Facts{}, fmt.Errorf("TLS handshake with %s: %w", o.Host, err)
		}
		return nil, Facts{}, &TLSError{Err: fmt.Errorf("%s: %w", o.Host, err)}
	}
	cs := tc.ConnectionState()
	return tc, Facts{
		Version:            tls.VersionName(cs.Version),
		Cipher:             tls.CipherSuiteName(cs.CipherSuite),
		CertificateExpires: cs.PeerCertificates[0].NotAfter,
		Staple:             stapleTrouble(cs, time.Now()),
	}, nil
}

// config is the one TLS configuration towards providers. Versions and ciphers
// are named, since unnamed ones can be widened by GODEBUG.
func config(o Options) *tls.Config {
	return &tls.Config{
		ServerName:       strings.TrimSuffix(o.Host, "."),
		RootCAs:          o.Roots,
		MinVersion:       tls.VersionTLS12,
		CipherSuites:     forwardSecret(),
		VerifyConnection: verify,
	}
}

// forwardSecret lists what the standard library holds to be secure in TLS 1.2,
// without RSA key exchange. TLS 1.3 needs no list.
func forwardSecret() []uint16 {
	var ids []uint16
	for _, s := range tls.CipherSuites() {
		if strings.HasPrefix(s.Name, "TLS_ECDHE_") {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// verify adds what the standard library leaves out: a key that was not issued
// for servers (RFC 5280 4.2.1.3), an authority's certificate used by a server,
// and a stapled revocation (RFC 6066 section 8). It runs after the chain, the
// name and the extended key usage were checked.
func verify(cs tls.ConnectionState) error {
	leaf := cs.PeerCertificates[0]
	const usable = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement
	if leaf.KeyUsage != 0 && leaf.KeyUsage&usable == 0 {
		return errors.New("certificate: its key may not be used by a server")
	}
	if leaf.BasicConstraintsValid && leaf.IsCA {
		return errors.New("certificate: it is an authority's, not a server's")
	}
	if len(cs.OCSPResponse) == 0 {
		return nil
	}
	for _, chain := range cs.VerifiedChains {
		if len(chain) < 2 {
			continue
		}
		// An unreadable or unsigned answer says nothing: stapling is optional,
		// and whoever can forge one can leave it out.
		r, err := ocsp.ParseResponseForCert(cs.OCSPResponse, leaf, chain[1])
		if err == nil && r.Status == ocsp.Revoked {
			return fmt.Errorf("certificate: revoked on %s", r.RevokedAt.UTC().Format(time.DateOnly))
		}
	}
	return nil
}

// stapleTrouble says what is wrong with a stapled status that ends no connection (RFC
// 6960 section 4.2.2.1): it is of no use, and whoever runs the server should know.
func stapleTrouble(cs tls.ConnectionState, now time.Time) string {
	if len(cs.OCSPResponse) == 0 {
		return ""
	}
	for _, chain := range cs.VerifiedChains {
		if len(chain) < 2 {
			continue
		}
		r, err := ocsp.ParseResponseForCert(cs.OCSPResponse, chain[0], chain[1])
		switch {
		case err != nil:
			continue
		case r.Status == ocsp.Unknown:
			return "its authority does not know the certificate"
		case !r.NextUpdate.IsZero() && now.After(r.NextUpdate):
			return "it is out of date since " + r.NextUpdate.UTC().Format(time.DateOnly)
		case r.ThisUpdate.After(now.Add(maxAhead)):
			return "it is of the future (" + r.ThisUpdate.UTC().Format(time.DateOnly) + "): a clock is wrong"
		}
		return ""
	}
	return "it cannot be read, or is not the authority's"
}

// maxAhead is how far an authority's clock may be ahead of ours.
const maxAhead = time.Hour

// lineBroke tells a line that ended or stood still from a peer that answered
// wrongly.
func lineBroke(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return true
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return true
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
