package gate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"pecgate/mailbox/events"
)

// Certificate is the server's certificate and key, read from files that may
// change while the gate serves. Safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	now               atomic.Pointer[pair]
}

type pair struct {
	cert tls.Certificate
	sum  [32]byte // of both files
}

// LoadCertificate reads a chain and its key (PEM).
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	p, err := c.read()
	if err != nil {
		return nil, err
	}
	c.now.Store(p)
	return c, nil
}

// StaticCertificate is a certificate that has no files.
func StaticCertificate(t tls.Certificate) (*Certificate, error) {
	if t.Leaf == nil || t.PrivateKey == nil {
		return nil, errors.New("gate: a certificate needs its parsed leaf and its key")
	}
	c := &Certificate{}
	c.now.Store(&pair{cert: t})
	return c, nil
}

// Reload reads the files again and reports whether they had changed. On an
// error the old certificate stays in use. Live sessions are not touched.
func (c *Certificate) Reload() (changed bool, err error) {
	if c.certFile == "" {
		return false, nil
	}
	p, err := c.read()
	if err != nil {
		return false, err
	}
	if old := c.now.Load(); old.sum == p.sum {
		return false, nil
	}
	c.now.Store(p)
	return true, nil
}

// Watch calls Reload every so often until the context ends. One fault is told
// once: a pair of which only one file is new yet is not worth a line a minute.
func (c *Certificate) Watch(ctx context.Context, every time.Duration, ev *events.Log) {
	t := time.NewTicker(every)
	defer t.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		changed, err := c.Reload()
		switch {
		case err != nil && err.Error() != told:
			told = err.Error()
			ev.CertificateFailed(c.certFile, err)
		case err == nil:
			told = ""
			if changed {
				ev.CertificateLoaded(c.certFile, c.Expires().UTC().Format(time.RFC3339))
			}
		}
	}
}

// Expires is the end of the certificate's validity.
func (c *Certificate) Expires() time.Time { return c.now.Load().cert.Leaf.NotAfter }

// TLSConfig is the configuration of a server: TLS 1.2 and 1.3 only, and for
// 1.2 only suites with forward secrecy and authenticated encryption. Both are
// set here explicitly, so that no environment variable lowers them.
func (c *Certificate) TLSConfig(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos: slices.Clone(alpn),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &c.now.Load().cert, nil
		},
	}
}

func (c *Certificate) read() (*pair, error) {
	chain, err := os.ReadFile(c.certFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("key of the certificate: %w", err)
	}
	t, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	return &pair{cert: t, sum: sha256.Sum256(bytes.Join([][]byte{chain, key}, []byte{0}))}, nil
}
