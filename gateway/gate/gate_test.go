package gate_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak" // finds goroutines that nobody waited for

	"pecgate/gateway/gate"
	"pecgate/gateway/gate/gatetest"
	"pecgate/mailbox/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo serves a listener: every connection gets back what it sends.
type echo struct {
	l    *gate.Listener
	pool *x509.CertPool
	wg   sync.WaitGroup
}

func start(t *testing.T, o gate.Options) *echo {
	t.Helper()
	e := &echo{}
	if o.Certificate == nil {
		o.Certificate, e.pool = gatetest.Certificate(t)
	}
	o.Address, o.Hostname = "127.0.0.1:0", "pecgate.example.org"
	if o.Name == "" {
		o.Name = "test"
	}
	if o.Events == nil {
		o.Events = events.Discard()
	}
	l, err := gate.Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	e.l = l
	e.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			e.wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		l.Drain(ctx)
		e.wg.Wait()
	})
	return e
}

func (e *echo) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", e.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func (e *echo) client(c net.Conn) *tls.Conn {
	return tls.Client(c, &tls.Config{ServerName: "127.0.0.1", RootCAs: e.pool})
}

// works sends a line through TLS and wants it back.
func works(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "hello\r\n"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello\r\n" {
		t.Fatalf("echo %q, %v", got, err)
	}
}

// closed wants the end of the connection without another byte.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("still open")
	}
	if len(b) > 0 {
		t.Fatalf("got %q", b)
	}
}

func TestE2_OldTLSIsRefused(t *testing.T) {
	t.Setenv("GODEBUG", "tls10server=1,tlsrsakex=1,tls3des=1") // must not lower anything
	tests := []struct {
		name string
		cfg  *tls.Config
		ok   bool
	}{
		{"1.0", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, false},
		{"1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"1.3", &tls.Config{MinVersion: tls.VersionTLS13}, true},
		{"RSA key exchange", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, false},
		{"3DES", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}}, false},
		{"CBC", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
	}
	for _, mode := range []gate.Mode{gate.ImplicitTLS, gate.StartTLSSMTP} {
		e := start(t, gate.Options{Mode: mode})
		for _, tt := range tests {
			c := e.dial(t)
			if mode == gate.StartTLSSMTP {
				upgrade(t, c)
			}
			cfg := tt.cfg.Clone()
			cfg.RootCAs, cfg.ServerName = e.pool, "127.0.0.1"
			tc := tls.Client(c, cfg)
			err := tc.Handshake()
			if (err == nil) != tt.ok {
				t.Errorf("mode %d, %s: %v", mode, tt.name, err)
				continue
			}
			if tt.ok {
				works(t, tc)
			}
		}
		// An SSLv3 ClientHello, and the SSLv2 form of one.
		for _, hello := range []string{
			"\x16\x03\x00\x00\x2f\x01\x00\x00\x2b\x03\x00" + strings.Repeat("r", 32) + "\x00\x00\x04\x00\x0a\x00\x05\x01\x00",
			"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + strings.Repeat("r", 37),
		} {
			c := e.dial(t)
			if mode == gate.StartTLSSMTP {
				upgrade(t, c)
			}
			_, _ = io.WriteString(c, hello)
			b, _ := io.ReadAll(c)
			if len(b) > 0 && b[0] != 21 { // an alert is all that may come
				t.Errorf("answer to an old hello: %x", b)
			}
		}
	}
}

// upgrade holds the clear conversation until the handshake.
func upgrade(t *testing.T, c net.Conn) {
	t.Helper()
	r := bufio.NewReader(c)
	for _, step := range []struct{ say, want string }{
		{"", "220 pecgate.example.org"}, {"EHLO c\r\n", "250 STARTTLS"}, {"STARTTLS\r\n", "220 "},
	} {
		_, _ = io.WriteString(c, step.say)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%q: %v", step.say, err)
			}
			if strings.HasPrefix(line, step.want) {
				break
			}
			if line[3] != '-' {
				t.Fatalf("%q answered %q", step.say, line)
			}
		}
	}
	if r.Buffered() > 0 {
		t.Fatal("bytes before the handshake")
	}
}

func TestE5_ClearTextOnATLSPort(t *testing.T) {
	e := start(t, gate.Options{})
	for _, s := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "EHLO x\r\n", "\x00", "\x16GARBAGE garbage"} {
		c := e.dial(t)
		_, _ = io.WriteString(c, s)
		b, err := io.ReadAll(c)
		if errors.Is(err, os.ErrDeadlineExceeded) || len(b) > 0 && b[0] != 21 {
			t.Errorf("%q: %q, %v", s, b, err)
		}
	}
}

func TestE5_HTTPBeforeSTARTTLS(t *testing.T) {
	e := start(t, gate.Options{Mode: gate.StartTLSSMTP})
	for _, s := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\n", "BDAT 100 LAST\r\n", "\x16\x03\x01", "EHLO \x00\r\n", "EHLO x\n", "EHLO " + strings.Repeat("x", 2000)} {
		c := e.dial(t)
		r := bufio.NewReader(c)
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, s)
		_ = c.(*net.TCPConn).CloseWrite()
		if b, err := io.ReadAll(r); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.20q: %q, %v", s, b, err)
		}
	}
}

func TestE5_OtherProtocolByALPN(t *testing.T) {
	e := start(t, gate.Options{ALPN: []string{"smtp"}})
	for _, tt := range []struct {
		protos []string
		ok     bool
	}{{nil, true}, {[]string{"smtp"}, true}, {[]string{"h2", "http/1.1"}, false}, {[]string{"imap"}, false}} {
		c := tls.Client(e.dial(t), &tls.Config{ServerName: "127.0.0.1", RootCAs: e.pool, NextProtos: tt.protos})
		if err := c.Handshake(); (err == nil) != tt.ok {
			t.Errorf("%v: %v", tt.protos, err)
		}
	}
}

func TestA16_BytesBehindSTARTTLS(t *testing.T) {
	e := start(t, gate.Options{Mode: gate.StartTLSSMTP})
	for _, s := range []string{"STARTTLS\r\nEHLO injected\r\n", "EHLO x\r\nSTARTTLS\r\nM", "STARTTLS\r\n\x16\x03\x01"} {
		c := e.dial(t)
		_, _ = io.WriteString(c, s)
		b, _ := io.ReadAll(c)
		if bytes.Contains(b, []byte("\n220")) {
			t.Errorf("%q: TLS was begun: %q", s, b)
		}
	}
	// In a segment of its own after the answer it is not TLS.
	c := e.dial(t)
	upgrade(t, c)
	_, _ = io.WriteString(c, "EHLO injected\r\n")
	closed(t, c)
}

func TestA17_AuthBeforeTLS(t *testing.T) {
	var log bytes.Buffer
	ev := events.New(slog.New(slog.NewJSONHandler(&log, nil)))
	e := start(t, gate.Options{Mode: gate.StartTLSSMTP, Events: ev})
	c := e.dial(t)
	_, _ = io.WriteString(c, "EHLO c\r\n")
	r := bufio.NewReader(c)
	for i := range 4 {
		line, err := r.ReadString('\n')
		if err != nil || strings.Contains(line, "AUTH") {
			t.Fatalf("line %d: %q, %v", i, line, err)
		}
	}
	_, _ = io.WriteString(c, "AUTH PLAIN AG1hcmlvAHNlY3JldA==\r\n")
	b, _ := io.ReadAll(r)
	if !bytes.HasPrefix(b, []byte("538 5.7.11 ")) {
		t.Errorf("answer %q", b)
	}
	for _, cmd := range []string{"MAIL FROM:<a@example.org>", "DATA", "VRFY x"} {
		c := e.dial(t)
		_, _ = io.WriteString(c, cmd+"\r\nQUIT\r\n")
		b, _ := io.ReadAll(c)
		if !bytes.Contains(b, []byte("\n530 5.7.0 ")) {
			t.Errorf("%s: %q", cmd, b)
		}
	}
	e.stop()
	if s := log.String(); strings.Contains(s, "AG1hcmlv") || !strings.Contains(s, "AUTH before TLS") {
		t.Errorf("log: %s", s)
	}
}

func (e *echo) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e.l.Drain(ctx)
	e.wg.Wait()
}

func TestA18_SilentHandshakesEnd(t *testing.T) {
	for _, mode := range []gate.Mode{gate.ImplicitTLS, gate.StartTLSSMTP} {
		e := start(t, gate.Options{Mode: mode, Handshake: 50 * time.Millisecond, Limits: gate.NewLimits(4, 0)})
		for _, begin := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01"} {
			c := e.dial(t)
			_, _ = io.WriteString(c, begin)
			b, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) || mode == gate.ImplicitTLS && len(b) > 0 && b[0] != 21 {
				t.Errorf("mode %d, %q: %q, %v", mode, begin, b, err)
			}
		}
	}
}

func TestA18_TimeBeforeLoginEnds(t *testing.T) {
	e := start(t, gate.Options{PreLogin: 50 * time.Millisecond})
	c := e.client(e.dial(t))
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	closed(t, c) // though nothing but the echo's own idle time would end it

	e = start(t, gate.Options{PreLogin: 50 * time.Millisecond, Filter: func(c *gate.Conn) net.Conn { c.LoggedIn(); return c }})
	c = e.client(e.dial(t))
	works(t, c)
	time.Sleep(60 * time.Millisecond) // longer than the limit that no longer holds
	works(t, c)
}

func TestLimits(t *testing.T) {
	const busy = "421 4.3.2 too many\r\n"
	e := start(t, gate.Options{Limits: gate.NewLimits(10, 2), Mode: gate.StartTLSSMTP, Busy: busy})
	first := make([]net.Conn, 2)
	for i := range first {
		c := e.dial(t)
		upgrade(t, c)
		first[i] = e.client(c)
		works(t, first[i])
	}
	c := e.dial(t)
	b, _ := io.ReadAll(c)
	if string(b) != busy {
		t.Fatalf("third connection: %q", b)
	}
	// A place that is given back can be taken again, whatever ended it.
	first[0].Close()
	for len(e.l.Conns()) > 1 {
		time.Sleep(time.Millisecond) // waits for the server to see the end
	}
	c = e.dial(t)
	upgrade(t, c)
	works(t, e.client(c))
}

func TestDrain(t *testing.T) {
	told := make(chan struct{}, 2)
	e := start(t, gate.Options{Filter: func(c *gate.Conn) net.Conn {
		c.OnDrain(func() { told <- struct{}{}; c.Interrupt() })
		return c
	}})
	one, two := e.client(e.dial(t)), e.client(e.dial(t))
	works(t, one)
	works(t, two)
	if n := len(e.l.Conns()); n != 2 {
		t.Fatalf("%d live connections", n)
	}
	if cut := e.l.Drain(t.Context()); cut != 0 {
		t.Errorf("%d cut that ended by themselves", cut)
	}
	closed(t, one)
	closed(t, two)
	if len(told) != 2 {
		t.Errorf("told %d", len(told))
	}
	if _, err := net.Dial("tcp", e.l.Addr().String()); err == nil {
		t.Error("still accepting")
	}
	if _, err := e.l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
}

func TestDrainCutsWhoStays(t *testing.T) {
	e := start(t, gate.Options{})
	c := e.client(e.dial(t))
	works(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if cut := e.l.Drain(ctx); cut != 1 {
		t.Errorf("%d cut", cut)
	}
	closed(t, c)
}

func TestE4_ReloadWhileServing(t *testing.T) {
	dir := t.TempDir()
	cf, kf := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	put := func() *x509.CertPool {
		chain, key := gatetest.PEM(t)
		if os.WriteFile(cf, chain, 0o600) != nil || os.WriteFile(kf, key, 0o600) != nil {
			t.Fatal("write")
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(chain)
		return pool
	}
	pool := put()
	cert, err := gate.LoadCertificate(cf, kf)
	if err != nil {
		t.Fatal(err)
	}
	e := start(t, gate.Options{Certificate: cert})
	e.pool = pool
	old := e.client(e.dial(t))
	works(t, old)
	if changed, err := cert.Reload(); changed || err != nil {
		t.Errorf("nothing new: %v, %v", changed, err)
	}
	if err := os.WriteFile(kf, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Reload(); err == nil {
		t.Error("half a pair was taken")
	}
	works(t, e.client(e.dial(t)))
	e.pool = put()
	if changed, err := cert.Reload(); !changed || err != nil {
		t.Fatalf("new pair: %v, %v", changed, err)
	}
	works(t, e.client(e.dial(t)))
	works(t, old)
}
