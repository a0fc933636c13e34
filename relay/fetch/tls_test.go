package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

func TestE1_NoLoginUnderABadCertificate(t *testing.T) {
	bad := authority().BadCertificates(t)
	if len(bad) < 12 {
		t.Fatalf("%d certificates, want at least 12", len(bad))
	}
	logins := 0
	for _, security := range []string{"tls", "starttls"} {
		for _, b := range bad {
			t.Run(security+" "+b.Name, func(t *testing.T) {
				p := newProvider(t, nil)
				p.plain = security == "starttls"
				p.tls = b.Config
				if _, err := Dial(t.Context(), p.server()); !errors.Is(err, ErrTLS) || errors.Is(err, ErrAuthRefused) {
					t.Errorf("%v", err)
				}
				p.stop()
				logins += p.loginsSeen()
			})
		}
	}
	if logins != 0 {
		t.Errorf("logins seen = %d of %d servers", logins, 2*len(bad))
	}
	p := newProvider(t, awkward)
	p.tls = &tls.Config{Certificates: []tls.Certificate{authority().Intermediate(t, nil).Server(t, nil)}}
	p.dial(t)
}

func TestE2_OldProtocolsAreRefused(t *testing.T) {
	// Settings that would let the library take them (E3).
	t.Setenv("GODEBUG", "tls10server=1,tlsrsakex=1,tls3des=1")
	for _, b := range authority().BadProtocols(t) {
		t.Run(b.Name, func(t *testing.T) {
			p := newProvider(t, nil)
			p.tls = b.Config
			_, err := Dial(t.Context(), p.server())
			p.stop()
			if !errors.Is(err, ErrTLS) || p.loginsSeen() != 0 {
				t.Errorf("%v, %d logins", err, p.loginsSeen())
			}
		})
	}
	p := newProvider(t, awkward)
	p.tls = &tls.Config{Certificates: []tls.Certificate{authority().RSAServer(t)}, MaxVersion: tls.VersionTLS12}
	if s := p.dial(t); s.TLSVersion != "TLS 1.2" {
		t.Errorf("%s", s.TLSVersion)
	}
}

// TestC19_NothingBeforeTLSIsUsed: a way to strip TLS, or to slip something in
// before it, ends without a login.
func TestC19_NothingBeforeTLSIsUsed(t *testing.T) {
	tests := []struct {
		name     string
		greeting string
		starttls string // answer; T is the tag
		isTLS    bool   // the error must be ErrTLS
	}{
		{"PREAUTH", "* PREAUTH welcome back", "", true},
		{"BYE", "* BYE go away", "", false},
		{"not IMAP", "220 smtp.provider.test", "", false},
		{"no untagged", "OK ready", "", false},
		{"refused", "* OK ready", "T NO not today", true},
		{"unknown", "* OK ready", "T BAD STARTTLS?", true},
		{"answer injected", "* OK ready", "T OK go\r\n* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n* BYE", true},
		{"login answered before", "* OK ready", "T OK go\r\nT1 OK logged in", true},
		{"half a line injected", "* OK ready", "T OK go\r\n*", true},
		{"other tag", "* OK ready", strings.Repeat("X9 OK go\r\n", 30), true},
		{"PREAUTH instead", "* OK ready", strings.Repeat("* PREAUTH yes\r\n", 30), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvider(t, nil)
			p.plain = true
			p.greeting = tt.greeting
			p.on = func(c *conn, tag, cmd string) bool {
				if cmd != "STARTTLS" || tt.starttls == "" {
					return false
				}
				io.WriteString(c, strings.ReplaceAll(tt.starttls, "T ", tag+" ")+"\r\n")
				return true
			}
			_, err := Dial(t.Context(), p.server())
			p.stop()
			if err == nil || errors.Is(err, ErrTLS) != tt.isTLS || p.loginsSeen() != 0 {
				t.Errorf("%v, seen:\n%s", err, p.seen())
			}
		})
	}
	t.Run("PREAUTH inside TLS", func(t *testing.T) {
		p := newProvider(t, nil)
		p.greeting = "* PREAUTH welcome"
		if _, err := Dial(t.Context(), p.server()); !errors.Is(err, ErrTLS) || p.seen() != "" {
			t.Errorf("%v", err)
		}
	})
	t.Run("capabilities before TLS do not count", func(t *testing.T) {
		p := newProvider(t, awkward)
		p.plain = true
		p.greeting = "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] ready"
		p.dial(t)
	})
	t.Run("neither kind configured", func(t *testing.T) {
		for _, security := range []string{"", "none", "TLS", "plain"} {
			p := newProvider(t, nil)
			srv := p.server()
			srv.Security = security
			if _, err := Dial(t.Context(), srv); !errors.Is(err, ErrTLS) {
				t.Errorf("%q: %v", security, err)
			}
		}
	})
}

func TestB10_RefusedLogin(t *testing.T) {
	tests := []struct {
		answer  string
		refused bool
	}{
		{"NO [AUTHENTICATIONFAILED] wrong", true},
		{"NO wrong " + password, true},
		{"NO [EXPIRED] password expired", true},
		{"BAD no such thing", true},
		{"NO [UNAVAILABLE] later", false},
		{"NO [LIMIT] too many connections", false},
		{"NO [INUSE] locked", false},
	}
	for _, tt := range tests {
		p := newProvider(t, nil)
		p.on = func(c *conn, tag, cmd string) bool {
			if strings.HasPrefix(cmd, "LOGIN") {
				c.say("%s %s", tag, tt.answer)
				return true
			}
			return false
		}
		_, err := Dial(t.Context(), p.server())
		p.stop()
		if err == nil || errors.Is(err, ErrAuthRefused) != tt.refused || p.loginsSeen() != 1 {
			t.Errorf("%s: %v, %d logins", tt.answer, err, p.loginsSeen())
		}
		if strings.Contains(err.Error(), password) {
			t.Errorf("the password is in %q", err)
		}
	}
	t.Run("cut at the login", func(t *testing.T) {
		p := newProvider(t, nil)
		p.on = func(c *conn, tag, cmd string) bool {
			if strings.HasPrefix(cmd, "LOGIN") {
				c.say("* BYE too many connections")
				c.Close()
				return true
			}
			return false
		}
		if _, err := Dial(t.Context(), p.server()); err == nil || errors.Is(err, ErrAuthRefused) {
			t.Errorf("%v", err)
		}
	})
	t.Run("nothing to log in with", func(t *testing.T) {
		p := newProvider(t, nil)
		for _, pair := range [][2]string{{"", "x"}, {"a\r\nT9 NOOP", "x"}, {"a", "x\x00"}} {
			srv := p.server()
			srv.Username, srv.Password = pair[0], pair[1]
			if _, err := Dial(t.Context(), srv); !errors.Is(err, ErrAuthRefused) || p.loginsSeen() != 0 {
				t.Errorf("%q: %v", pair, err)
			}
		}
	})
}

func TestLoginByAuthenticate(t *testing.T) {
	p := newProvider(t, awkward)
	srv := p.server()
	srv.Password = "è" + password // beyond ASCII
	p.dialAs(t, srv)
	if !strings.Contains(p.seen(), "AUTHENTICATE PLAIN") {
		t.Errorf("%s", p.seen())
	}
	q := newProvider(t, awkward)
	q.caps = "IMAP4rev1 LOGINDISABLED AUTH=PLAIN"
	srv = q.server()
	if _, err := Dial(t.Context(), srv); !errors.Is(err, ErrAuthRefused) { // it wants the other password
		t.Errorf("%v", err)
	}
	q = newProvider(t, awkward)
	q.caps = "IMAP4rev1 LOGINDISABLED"
	if _, err := Dial(t.Context(), q.server()); err == nil || errors.Is(err, ErrAuthRefused) || q.loginsSeen() != 0 {
		t.Errorf("%v", err)
	}
}

func TestB19_NoWayToTheProviderIsTemporary(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	srv := serverAt(ln)
	if _, err := Dial(t.Context(), srv); err == nil || errors.Is(err, ErrTLS) || errors.Is(err, ErrAuthRefused) {
		t.Errorf("%v", err)
	}
	srv.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	if _, err := Dial(t.Context(), srv); err == nil || errors.Is(err, ErrTLS) || errors.Is(err, ErrAuthRefused) {
		t.Errorf("%v", err)
	}
}

func FuzzGuard(f *testing.F) {
	for _, s := range []string{
		"* 1 FETCH (UID 5 BODY[] {3}\r\nabc)\r\n", "* OK x {5}\r\n", "* LIST () \"/\" {3}\r\na\"b\r\n", "* 1 FETCH (BODY[] \"a\r\n",
		"T1 OK\r\n", "+ \r\n", "* {99999999999999999999}\r\n", "* 1 FETCH ({5}\r\n", "\r\n\r\n", "{1}\n", "* OK \"\r\n",
	} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		// What is accepted in pieces is accepted as a whole, and the literal
		// that follows is the same.
		one, many := &guard{left: maxAnswer, answer: maxAnswer, maxBody: 100}, &guard{left: maxAnswer, answer: maxAnswer, maxBody: 100}
		err := one.scan(b)
		var err2 error
		for rest := b; len(rest) > 0 && err2 == nil; {
			n := min(len(rest), max(1, step%7))
			err2, rest = many.scan(rest[:n]), rest[n:]
		}
		if (err == nil) != (err2 == nil) || (err == nil && (one.literal != many.literal || string(one.line) != string(many.line))) {
			t.Errorf("%v, %v; %d, %d", err, err2, one.literal, many.literal)
		}
		if one.literal > maxLiteral {
			t.Errorf("literal of %d", one.literal)
		}
	})
}
