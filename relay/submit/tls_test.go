package submit

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestE1_NoLoginUnderABadCertificate(t *testing.T) {
	bad := authority().BadCertificates(t)
	if len(bad) < 12 {
		t.Fatalf("%d certificates, want at least 12", len(bad))
	}
	logins, accepted := 0, 0
	for _, security := range []string{"tls", "starttls"} {
		for _, b := range bad {
			t.Run(security+" "+b.Name, func(t *testing.T) {
				p := newProvider(t)
				p.plain = security == "starttls"
				p.tls = b.Config
				res := Send(t.Context(), p.server(), from, to, hello, Hooks{})
				if res.Class != TLSFailed || res.Stage != StageTLS || res.Err == nil {
					t.Errorf("%+v", res)
				}
				p.stop()
				logins += p.loginsSeen()
				accepted += len(p.accepted())
			})
		}
	}
	if logins != 0 || accepted != 0 {
		t.Errorf("logins seen = %d, messages accepted = %d, of %d servers", logins, accepted, 2*len(bad))
	}
}

// TestE1_NameIsThatOfTheConfiguration reaches a good server under another name.
func TestE1_NameIsThatOfTheConfiguration(t *testing.T) {
	p := newProvider(t)
	for _, host := range []string{"127.0.0.1", "provider.test", "xmail.provider.test", ""} {
		srv := p.server()
		srv.Host = host
		if res := Send(t.Context(), srv, from, to, hello, Hooks{}); res.Class == HandedOver || p.loginsSeen() != 0 {
			t.Errorf("host %q: %s", host, res.Class)
		}
	}
}

func TestE1_ChainWithIntermediateIsAccepted(t *testing.T) {
	p := newProvider(t)
	p.tls = &tls.Config{Certificates: []tls.Certificate{authority().Intermediate(t, nil).Server(t, nil)}}
	if res := Send(t.Context(), p.server(), from, to, hello, Hooks{}); res.Class != HandedOver {
		t.Errorf("%+v", res)
	}
}

func TestE2_OldProtocolsAreRefused(t *testing.T) {
	// Settings that would let the library take them (E3).
	t.Setenv("GODEBUG", "tls10server=1,tlsrsakex=1,tls3des=1")
	for _, b := range authority().BadProtocols(t) {
		t.Run(b.Name, func(t *testing.T) {
			p := newProvider(t)
			p.tls = b.Config
			res := Send(t.Context(), p.server(), from, to, hello, Hooks{})
			p.stop()
			if res.Class != TLSFailed || p.loginsSeen() != 0 || len(p.accepted()) != 0 {
				t.Errorf("%+v, %d logins", res, p.loginsSeen())
			}
		})
	}
	p := newProvider(t)
	p.tls = &tls.Config{Certificates: []tls.Certificate{authority().RSAServer(t)}, MaxVersion: tls.VersionTLS12}
	if res := Send(t.Context(), p.server(), from, to, hello, Hooks{}); res.Class != HandedOver || res.TLSVersion != "TLS 1.2" {
		t.Errorf("TLS 1.2: %+v", res)
	}
}

// TestC19_StartTLSIsNeverGivenUp: a way to strip TLS, or to slip something in
// before it, ends without a login.
func TestC19_StartTLSIsNeverGivenUp(t *testing.T) {
	tests := []struct {
		name string
		on   func(*conn, string, string) string
	}{
		{"not offered", script("EHLO", "250-provider.test\r\n250 AUTH PLAIN")},
		{"refused", script("STARTTLS", "502 no")},
		{"refused kindly", script("STARTTLS", "250 ok")},
		{"refused, login asked", script("STARTTLS", "530 AUTH first")},
		{"reply injected", script("STARTTLS", "220 go\r\n250-provider.test\r\n250 AUTH PLAIN")},
		{"half a reply injected", script("STARTTLS", "220 go\r\n2")},
		{"no TLS after", func(c *conn, verb, _ string) string {
			if verb != "STARTTLS" {
				return ""
			}
			io.WriteString(c, "220 go\r\n")
			io.Copy(io.Discard, io.LimitReader(c.r, 1))
			return "250-provider.test\r\n250 AUTH PLAIN"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvider(t)
			p.plain = true
			p.on = tt.on
			res := Send(t.Context(), p.server(), from, to, hello, Hooks{})
			p.stop()
			if res.Class != TLSFailed || p.loginsSeen() != 0 || strings.Contains(p.seen(), "MAIL") {
				t.Errorf("%+v\n%s", res, p.seen())
			}
		})
	}
	t.Run("neither kind configured", func(t *testing.T) {
		for _, security := range []string{"", "none", "TLS ", "plain"} {
			p := newProvider(t)
			p.plain = true
			srv := p.server()
			srv.Security = security
			if res := Send(t.Context(), srv, from, to, hello, Hooks{}); res.Class != TLSFailed || p.seen() != "" {
				t.Errorf("%q: %+v", security, res)
			}
		}
	})
}

// TestB20_AnotherServerAnswers: what listens there is not the provider.
func TestB20_AnotherServerAnswers(t *testing.T) {
	for _, says := range []string{
		"HTTP/1.1 302 Found\r\nLocation: http://login.hotel.test/\r\n\r\n", "220 welcome\r\n", "SSH-2.0-x\r\n", "", "\x15\x03\x01\x00\x02\x02\x28",
	} {
		t.Run(says, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan string)
			go func() {
				c, err := ln.Accept()
				if err != nil {
					close(got)
					return
				}
				defer c.Close()
				io.WriteString(c, says)
				if says == "" {
					c.(*net.TCPConn).CloseWrite()
				}
				b, _ := io.ReadAll(c)
				got <- string(b)
			}()
			res := Send(t.Context(), serverAt(ln), from, to, hello, Hooks{})
			ln.Close()
			if res.Class != TLSFailed && res.Class != Temporary {
				t.Errorf("%+v", res)
			}
			if s := <-got; strings.Contains(s, "AUTH") || strings.Contains(s, "EHLO") {
				t.Errorf("sent %q", s)
			}
		})
	}
}

func TestB19_NoWayToTheProviderIsTemporary(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if res := Send(t.Context(), serverAt(ln), from, to, hello, Hooks{}); res.Class != Temporary || res.Stage != StageConnect {
		t.Errorf("refused: %+v", res)
	}
	srv := serverAt(ln)
	srv.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: srv.Host, IsNotFound: true}
	}
	if res := Send(t.Context(), srv, from, to, hello, Hooks{}); res.Class != Temporary || res.Stage != StageConnect {
		t.Errorf("no such host: %+v", res)
	}
	srv.Timeout = 20 * time.Millisecond
	srv.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if res := Send(t.Context(), srv, from, to, hello, Hooks{}); res.Class != Temporary || res.Stage != StageConnect {
		t.Errorf("silent address: %+v", res)
	}
}

func TestE6_CertificateFailuresNeverBounce(t *testing.T) {
	for _, b := range authority().BadCertificates(t)[:2] { // expired, not yet valid: as under a wrong clock
		p := newProvider(t)
		p.tls = b.Config
		if res := Send(t.Context(), p.server(), from, to, hello, Hooks{}); res.Class == Permanent || res.Class == AuthRefused {
			t.Errorf("%s: %s", b.Name, res.Class)
		}
	}
}
