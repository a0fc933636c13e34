package upstream_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"pecgate/relay/upstream"
	"pecgate/relay/upstream/upstreamtest"
)

// TestE1_StapledStatus: an authority's own "revoked" ends the connection, also when
// it is out of date; what says nothing (unreadable, for another certificate, not
// signed by the authority, "good" or "unknown", however old) does not.
func TestE1_StapledStatus(t *testing.T) {
	ca, stranger := upstreamtest.NewCA(t, "Test root"), upstreamtest.NewCA(t, "Another root")
	now := time.Now()
	o := upstream.Options{Roots: ca.Roots(), Timeout: 10 * time.Second}
	for _, tt := range []struct {
		name    string
		edit    func(*ocsp.Response)
		by      *upstreamtest.CA
		spoil   func([]byte) []byte
		refused bool
		trouble string // that is told
	}{
		{name: "revoked", refused: true},
		{name: "revoked, out of date", edit: func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = now.Add(-72*time.Hour), now.Add(-48*time.Hour) }, refused: true},
		{name: "good", edit: func(r *ocsp.Response) { r.Status = ocsp.Good }},
		{name: "good, out of date", trouble: "out of date since", edit: func(r *ocsp.Response) {
			r.Status, r.ThisUpdate, r.NextUpdate = ocsp.Good, now.Add(-72*time.Hour), now.Add(-48*time.Hour)
		}},
		{name: "unknown", trouble: "does not know", edit: func(r *ocsp.Response) { r.Status = ocsp.Unknown }},
		{name: "good, of the future", trouble: "of the future", edit: func(r *ocsp.Response) {
			r.Status, r.ThisUpdate, r.NextUpdate = ocsp.Good, now.Add(48*time.Hour), now.Add(72*time.Hour)
		}},
		{name: "another certificate's", trouble: "cannot be read", edit: func(r *ocsp.Response) { r.SerialNumber = ca.Cert.SerialNumber }},
		{name: "signed by a stranger", trouble: "cannot be read", by: stranger},
		{name: "cut off", trouble: "cannot be read", spoil: func(b []byte) []byte { return b[:len(b)/2] }},
		{name: "not a status", trouble: "cannot be read", spoil: func([]byte) []byte { return []byte("revoked") }},
		{name: "one bit wrong", trouble: "cannot be read", spoil: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := ca.Server(t, nil)
			leaf, err := x509.ParseCertificate(cert.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			r := ocsp.Response{Status: ocsp.Revoked, SerialNumber: leaf.SerialNumber, RevokedAt: now.Add(-time.Hour), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}
			if tt.edit != nil {
				tt.edit(&r)
			}
			by := ca
			if tt.by != nil {
				by = tt.by
			}
			if cert.OCSPStaple, err = ocsp.CreateResponse(by.Cert, by.Cert, r, by.Key); err != nil {
				t.Fatal(err)
			}
			if tt.spoil != nil {
				cert.OCSPStaple = tt.spoil(cert.OCSPStaple)
			}
			for _, most := range []uint16{tls.VersionTLS12, tls.VersionTLS13} { // it comes in another place
				facts, err := pair(t, o, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: most})
				var bad *upstream.TLSError
				if errors.As(err, &bad) != tt.refused || !tt.refused && err != nil {
					t.Errorf("%s: %v", tls.VersionName(most), err)
				}
				if !strings.Contains(facts.Staple, tt.trouble) || tt.trouble == "" && facts.Staple != "" {
					t.Errorf("%s: it is told that %q", tls.VersionName(most), facts.Staple)
				}
			}
		})
	}
}
