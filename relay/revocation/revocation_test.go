package revocation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{c, key}
}

func (a authority) leaf(t *testing.T, serial int64, ocspAt, crlAt string) *x509.Certificate {
	t.Helper()
	tpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if ocspAt != "" {
		tpl.OCSPServer = []string{ocspAt}
	}
	if crlAt != "" {
		tpl.CRLDistributionPoints = []string{crlAt}
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAsk: OCSP, the list in its place, and everything that is no answer.
func TestAsk(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	mux := http.NewServeMux()
	answer := func(by authority, status int, next time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			q, err := ocsp.ParseRequest(b)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			out, err := ocsp.CreateResponse(by.cert, by.cert, ocsp.Response{
				Status: status, SerialNumber: q.SerialNumber, ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(next), RevokedAt: time.Unix(1700000000, 0),
			}, by.key)
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(out)
		}
	}
	list := func(by authority, serials ...int64) http.HandlerFunc {
		tpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
		for _, n := range serials {
			tpl.RevokedCertificateEntries = append(tpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Unix(1700000000, 0)})
		}
		out, err := x509.CreateRevocationList(rand.Reader, tpl, by.cert, by.key)
		if err != nil {
			t.Fatal(err)
		}
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(out) }
	}
	for path, h := range map[string]http.HandlerFunc{
		"/good": answer(ca, ocsp.Good, time.Hour), "/revoked": answer(ca, ocsp.Revoked, time.Hour), "/unknown": answer(ca, ocsp.Unknown, time.Hour),
		"/forged": answer(other, ocsp.Good, time.Hour), "/old": answer(ca, ocsp.Good, -90*time.Minute),
		"/list": list(ca, 7), "/forged-list": list(other),
		"/long":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, MaxCRL+1)) },
		"/away":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/list", http.StatusFound) },
		"/error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
	} {
		mux.HandleFunc(path, h)
	}
	srv := httptest.NewServer(mux)
	defer srv.Close()
	c := New(Options{Reach: func(netip.Addr) bool { return true }})
	for _, x := range []struct {
		serial           int64
		ocsp, crl        string
		kind, wantStatus string
	}{
		{5, "/good", "/list", OCSP, "good"}, {5, "/revoked", "", OCSP, "revoked on 2023-11-14T22:13:20Z"},
		{5, "/unknown", "/list", CRL, "good"}, {7, "", "/list", CRL, "revoked on 2023-11-14T22:13:20Z"}, {5, "/forged", "", "", "not a signed one"},
		{5, "/old", "", "", "of another time"}, {5, "", "/forged-list", "", "not a list that the issuer signed"}, {5, "", "/long", "", "more than 512 KiB"},
		{5, "", "/away", "", "does not answer"}, {5, "/error", "", "", "answers 418"}, {5, "", "", "", "names nobody"},
	} {
		full := func(p string) string {
			if p == "" {
				return ""
			}
			return srv.URL + p
		}
		a := c.Ask(t.Context(), ca.leaf(t, x.serial, full(x.ocsp), full(x.crl)), ca.cert)
		if a.Kind != x.kind || !strings.Contains(a.Status, x.wantStatus) || (a.Bytes == nil) != (x.kind == "") || x.kind == "" && !strings.HasPrefix(a.Status, NotAvailable) {
			t.Errorf("%s %s: %q %q", x.ocsp, x.crl, a.Kind, a.Status)
		}
	}
	// As it is used nobody in the own network is asked, whatever a certificate says.
	asked := 0
	mux.HandleFunc("/inside", func(http.ResponseWriter, *http.Request) { asked++ })
	a := New(Options{}).Ask(t.Context(), ca.leaf(t, 5, srv.URL+"/inside", ""), ca.cert)
	if asked != 0 || !strings.Contains(a.Status, "not a public one") {
		t.Errorf("asked %d times: %q", asked, a.Status)
	}
	if a := c.Ask(t.Context(), ca.leaf(t, 5, "file:///etc/passwd", "ldap://x/"), ca.cert); !strings.Contains(a.Status, "no address by HTTP") {
		t.Errorf("%q", a.Status)
	}
}

// TestPublic is which addresses may be asked.
func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2a00:1450:4002::1": true, "127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "255.255.255.255": false, "224.0.0.1": false, "::1": false, "fe80::1": false, "fd00::1": false, "64:ff9b::7f00:1": false,
		"2002:7f00:1::": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
