package main

import (
	"context"
	"crypto/x509"
	"path/filepath"
	"testing"

	"pecgate/mailbox"
)

// audit reads the audit lines of an event from the store; the gateway must be
// down.
func (h *house) audit(event string) []mailbox.AuditLine {
	h.t.Helper()
	s, err := mailbox.Open(mailbox.Options{Dir: filepath.Join(h.dir, "data")})
	if err != nil {
		h.t.Fatal(err)
	}
	var out []mailbox.AuditLine
	err = s.View(context.Background(), func(tx *mailbox.Tx) error {
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			if l.Event == event {
				out = append(out, l)
			}
			return true
		})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		h.t.Fatal(err)
	}
	return out
}

func x509Pool(t *testing.T, pem []byte) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate")
	}
	return p
}
