package relay

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// line is what passes a tap: a line with its end, or a part of a long one.
type line struct {
	text       string
	fromClient bool
	last       string // the command that went before
}

// tap stands between the gateway and its provider, with a certificate of its
// own, and reads along. It can change each line, and cut.
type tap struct {
	ln net.Listener
	wg sync.WaitGroup

	mu   sync.Mutex
	on   func(line) (instead string, changed bool)
	open map[net.Conn]bool
}

func newTap(t *testing.T, to string, roots *x509.CertPool) *tap {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{ln: ln, open: map[net.Conn]bool{}}
	config := localhost(t)
	p.wg.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(raw, config, to, roots) })
		}
	})
	t.Cleanup(func() { ln.Close(); p.cut(); p.wg.Wait() })
	return p
}

func (p *tap) endpoint(t *testing.T) Endpoint {
	return Endpoint{Host: "localhost", Port: portOf(t, p.ln.Addr().String()), Security: "tls", Roots: testCA().Roots(), Timeout: 20 * time.Second}
}

// set says what to do with each line.
func (p *tap) set(on func(line) (string, bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on = on
}

// cut breaks all connections.
func (p *tap) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.Close()
	}
}

func (p *tap) keep(c net.Conn, here bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if delete(p.open, c); here {
		p.open[c] = true
	}
}

func (p *tap) serve(raw net.Conn, config *tls.Config, to string, roots *x509.CertPool) {
	defer raw.Close()
	there, err := tls.Dial("tcp", to, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		return
	}
	defer there.Close()
	client := tls.Server(raw, config)
	p.keep(raw, true)
	p.keep(there.NetConn(), true)
	defer p.keep(raw, false)
	defer p.keep(there.NetConn(), false)
	var mu sync.Mutex
	last := ""
	pump := func(from io.Reader, into io.Writer, fromClient bool) {
		defer raw.Close()
		defer there.NetConn().Close()
		r := bufio.NewReaderSize(from, 1<<16)
		for {
			text, err := r.ReadSlice('\n')
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
			l := line{text: string(text), fromClient: fromClient}
			mu.Lock()
			if l.last = last; fromClient {
				last = strings.TrimSpace(l.text)
			}
			mu.Unlock()
			p.mu.Lock()
			on := p.on
			p.mu.Unlock()
			if on != nil {
				if instead, changed := on(l); changed {
					l.text = instead
				}
			}
			if _, err := io.WriteString(into, l.text); err != nil {
				return
			}
		}
	}
	var both sync.WaitGroup
	both.Go(func() { pump(client, there, true) })
	both.Go(func() { pump(there, client, false) })
	both.Wait()
}
