package upstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak" // no connection may leave a goroutine behind

	"pecgate/relay/upstream"
	"pecgate/relay/upstream/upstreamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair runs a handshake over TCP against a server with the configuration.
func pair(t *testing.T, o upstream.Options, server *tls.Config) (upstream.Facts, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if server != nil && tls.Server(c, server).Handshake() == nil {
			io.Copy(io.Discard, c)
		}
	}()
	defer func() { ln.Close(); <-done }()
	o.Host, o.Port = "127.0.0.1", ln.Addr().(*net.TCPAddr).Port
	conn, err := upstream.Dial(t.Context(), o)
	if err != nil {
		return upstream.Facts{}, err
	}
	o.Host = upstreamtest.Host
	tc, facts, err := upstream.Handshake(t.Context(), conn, o)
	if err == nil {
		tc.Close()
	}
	return facts, err
}

func TestE1_E2_Handshake(t *testing.T) {
	ca := upstreamtest.NewCA(t, "Test root")
	o := upstream.Options{Roots: ca.Roots(), Timeout: 10 * time.Second}
	for _, b := range append(ca.BadCertificates(t), ca.BadProtocols(t)...) {
		var bad *upstream.TLSError
		if _, err := pair(t, o, b.Config); !errors.As(err, &bad) {
			t.Errorf("%s: %v", b.Name, err)
		}
	}
	good := ca.Server(t, nil)
	facts, err := pair(t, o, &tls.Config{Certificates: []tls.Certificate{good}})
	if err != nil || facts.Version != "TLS 1.3" || facts.CertificateExpires.Before(time.Now()) {
		t.Errorf("good server: %+v %v", facts, err)
	}
	// The peer hangs up: nothing is known of it, so it is not its fault.
	var bad *upstream.TLSError
	if _, err := pair(t, o, nil); err == nil || errors.As(err, &bad) {
		t.Errorf("hung up: %v", err)
	}
}

// TestE3_EnvironmentLowersNothing: settings that have the library take old
// protocols and ciphers again change nothing towards a provider.
func TestE3_EnvironmentLowersNothing(t *testing.T) {
	ca := upstreamtest.NewCA(t, "Test root")
	o := upstream.Options{Roots: ca.Roots(), Timeout: 10 * time.Second}
	for _, setting := range []string{"tls10server=1", "tlsrsakex=1", "tls3des=1", "tlssha1=1", "x509sha1=1", "x509ignoreCN=0,x509usefallbackroots=0", "tls10server=1,tlsrsakex=1,tls3des=1,rsa1024min=0"} {
		t.Setenv("GODEBUG", setting)
		for _, b := range append(ca.BadProtocols(t), ca.BadCertificates(t)...) {
			var bad *upstream.TLSError
			if _, err := pair(t, o, b.Config); !errors.As(err, &bad) {
				t.Errorf("%s, %s: %v", setting, b.Name, err)
			}
		}
		facts, err := pair(t, o, &tls.Config{Certificates: []tls.Certificate{ca.Server(t, nil)}, MaxVersion: tls.VersionTLS12})
		if err != nil || facts.Version != "TLS 1.2" || !strings.HasPrefix(facts.Cipher, "TLS_ECDHE_") {
			t.Errorf("%s: %+v %v", setting, facts, err)
		}
	}
}

func TestClean(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"plain", "plain"},
		{" a\r\nb\x00c\x1b[1m ", "a??b?c?[1m"},
		{"perch\xc3\xa9 \xff", "perché ?"},
		{"pass=geheim geheim", "pass=[...] [...]"},
	} {
		if got := upstream.Clean(tt.in, "", "geheim"); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
	if got := upstream.Clean(strings.Repeat("é", 1000)); len(got) > 520 || strings.Contains(got, "\ufffd") {
		t.Errorf("%d bytes", len(got))
	}
}
