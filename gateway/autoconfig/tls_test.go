package autoconfig

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"pecgate/gateway/gate"
	"pecgate/gateway/gate/gatetest"
	"pecgate/mailbox/events"
)

// Through the gate, as the appliance runs it: TLS 1.2 or newer, HTTP/1.1 only,
// nothing in the clear, and a drain that lets an answer end.
func TestThroughTheGate(t *testing.T) {
	cert, pool := gatetest.Certificate(t)
	ln, err := gate.Listen(context.Background(), gate.Options{
		Name: "autoconfig", Address: "127.0.0.1:0", Mode: gate.ImplicitTLS, Certificate: cert, ALPN: []string{"http/1.1"}, Events: events.Discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := New(Options{Settings: settings("it"), Events: events.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, srv, ln)
	client := func(c *tls.Config) *http.Client {
		c.RootCAs = pool
		tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr, Timeout: 30 * time.Second}
	}
	good := client(&tls.Config{})
	res, err := good.Get("https://" + ln.Addr().String() + pathThunderbird + "?emailaddress=a@pec.example.org")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || res.Proto != "HTTP/1.1" || !strings.Contains(string(b), "<domain>pec.example.org</domain>") {
		t.Errorf("%s %s, %v\n%s", res.Proto, res.Status, err, b)
	}
	_ = res.Body.Close()
	res, err = good.Post("https://"+ln.Addr().String()+"/Autodiscover/Autodiscover.xml", "text/xml", strings.NewReader(question("a@pec.example.org")))
	if err != nil || res.StatusCode != 200 {
		t.Errorf("POST: %v", err)
	}
	_ = res.Body.Close()
	if _, err := client(&tls.Config{MaxVersion: tls.VersionTLS11}).Get("https://" + ln.Addr().String() + pathThunderbird); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if res, err := http.Get("http://" + ln.Addr().String() + pathThunderbird); err == nil {
		t.Errorf("in the clear: %s", res.Status)
		_ = res.Body.Close()
	}
	// An idle connection does not hold up the end.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if cut := ln.Drain(ctx); cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
}
