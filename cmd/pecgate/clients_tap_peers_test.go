//go:build peers

package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// wiretap stands between a real client and the demo's IMAP service, with the
// service's own certificate, and keeps what both say. It changes nothing.
type wiretap struct {
	port string // clients connect to localhost
	far  string
	near *tls.Config
	pool *x509.CertPool
	wg   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil: closed
	talks []*talk
}

// talk is one connection.
type talk struct {
	mu         sync.Mutex
	said, told strings.Builder // by the client, by the server
}

func newTap(t *testing.T, d *demoProcess) *wiretap {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(d.dir, "tls", "fullchain.pem"), filepath.Join(d.dir, "tls", "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(d.ca())
	if err != nil {
		t.Fatal(err)
	}
	p := &wiretap{far: d.imap, near: &tls.Config{Certificates: []tls.Certificate{pair}}, pool: x509Pool(t, ca), conns: map[net.Conn]bool{}}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", p.near)
	if err != nil {
		t.Fatal(err)
	}
	_, p.port, _ = net.SplitHostPort(ln.Addr().String())
	p.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close() // it only listens
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close() // a client's end, whatever it still wanted
		}
		p.conns = nil
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *wiretap) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		_ = c.Close() // the test is over
		return false
	}
	p.conns[c] = true
	return true
}

// carry serves one client until either side ends.
func (p *wiretap) carry(client net.Conn) {
	if !p.keep(client) {
		return
	}
	server, err := tls.Dial("tcp", p.far, &tls.Config{ServerName: "localhost", RootCAs: p.pool})
	if err != nil || !p.keep(server) {
		_ = client.Close() // the client tells it
		return
	}
	k := &talk{}
	p.mu.Lock()
	p.talks = append(p.talks, k)
	p.mu.Unlock()
	var both sync.WaitGroup
	pass := func(to, from net.Conn, into *strings.Builder) {
		_, _ = io.Copy(io.MultiWriter(to, listener{k, into}), from) // its end is the connection's
		_ = to.Close()
	}
	both.Go(func() { pass(server, client, &k.said) })
	both.Go(func() { pass(client, server, &k.told) })
	both.Wait()
}

type listener struct {
	k    *talk
	into *strings.Builder
}

func (l listener) Write(b []byte) (int, error) {
	l.k.mu.Lock()
	defer l.k.mu.Unlock()
	return l.into.Write(b)
}

// heard is what went through a tap.
type heard struct{ said, told string }

// take returns what was heard since the last call.
func (p *wiretap) take() heard {
	p.mu.Lock()
	defer p.mu.Unlock()
	var h heard
	for _, k := range p.talks {
		k.mu.Lock()
		h.said += k.said.String()
		h.told += k.told.String()
		k.said.Reset()
		k.told.Reset()
		k.mu.Unlock()
	}
	return h
}

// changes are the commands by which a client changes something.
func (h heard) changes() []string {
	return regexp.MustCompile(`(?im)^\S+ (?:(?:UID )?(?:STORE|COPY|MOVE|EXPUNGE)|APPEND|CREATE|DELETE|RENAME|SUBSCRIBE|UNSUBSCRIBE)\b[^\r\n]*`).FindAllString(h.said, -1)
}

// contents counts the messages, or parts of them, that came to the client.
func (h heard) contents() int {
	return len(regexp.MustCompile(`(?:BODY\[[^\]]*\](?:<\d+>)?|RFC822(?:\.HEADER|\.TEXT)?) (?:\{|")`).FindAllString(h.told, -1))
}

// quiet wants that a client which has everything neither takes nor changes
// anything.
func (h heard) quiet(t *testing.T, when string) {
	t.Helper()
	if !strings.Contains(h.told, "* ") {
		t.Errorf("%s: the client asked nothing", when)
	}
	if c := h.changes(); len(c) > 0 {
		t.Errorf("%s: the client changes something: %q", when, c)
	}
	if n := h.contents(); n > 0 {
		t.Errorf("%s: %d contents came once more: %.2000s", when, n, h.said)
	}
	t.Logf("%s: %d bytes from the client, %d from the server", when, len(h.said), len(h.told))
}
