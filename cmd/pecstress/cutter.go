package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"pecgate/relay/providersim"
)

// place says where a hand-over is cut.
type place int

// The places, in the window in which nobody at the gateway knows whether the
// provider has the message.
const (
	cutBeforeDot place = iota // killed at the dot, which the provider never sees
	cutAtDot                  // killed when the dot is passed on
	cutAtReply                // killed when the 250 passes
	cutAfter1                 // killed 1 ms after it
	cutAfter10                // 10 ms
	cutAfter100               // 100 ms
	cutReply                  // not killed; the 250 never arrives, the line is dead
	cuts                      // how many there are
)

func (c place) String() string {
	return [...]string{"at the dot, not passed on", "at the dot", "at the 250", "1 ms after the 250", "10 ms after the 250", "100 ms after the 250", "250 dropped"}[c]
}

// taken tells whether the provider has the message at that place.
func (c place) taken() bool { return c != cutBeforeDot }

// cutter stands between the gateway and the provider's submission service, with
// a certificate of the same authority. Armed, it cuts the next hand-over; otherwise all
// passes. Safe for concurrent use.
type cutter struct {
	ln    net.Listener
	to    string
	here  *tls.Config
	there *tls.Config
	wg    sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]bool
	armed *armed
}

// armed is the next cut.
type armed struct {
	at   place
	kill func()        // ends the gateway; returns when the signal was sent
	done chan struct{} // closed when it was cut
}

func newCutter(p *providersim.Provider) (*cutter, error) {
	// A certificate of the provider's authority, as if the two were one machine.
	pair, err := p.CA().TLSLeaf(providersim.TLSLeafOptions{})
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(p.CAPEM()) {
		return nil, errors.New("the provider's certificate is not readable")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cutter{
		ln: ln, to: p.SMTPAddr(), open: map[net.Conn]bool{},
		here: &tls.Config{Certificates: []tls.Certificate{pair}}, there: &tls.Config{RootCAs: roots, ServerName: "localhost"},
	}
	c.wg.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() { c.serve(raw) })
		}
	})
	return c, nil
}

func (c *cutter) addr() string { return c.ln.Addr().String() }

func (c *cutter) close() {
	_ = c.ln.Close() // nothing more is taken
	c.mu.Lock()
	for conn := range c.open {
		_ = conn.Close() // whatever passes there is over
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// arm cuts the next hand-over at a place; the channel closes when it is done.
func (c *cutter) arm(at place, kill func()) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = &armed{at: at, kill: kill, done: make(chan struct{})}
	return c.armed.done
}

// disarm lets everything pass again.
func (c *cutter) disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = nil
}

// take gives the next cut to the hand-over that comes first.
func (c *cutter) take() *armed {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.armed
	c.armed = nil
	return a
}

func (c *cutter) keep(conn net.Conn, here bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.open, conn); here {
		c.open[conn] = true
	}
}

// serve passes one connection on, line by line.
func (c *cutter) serve(raw net.Conn) {
	defer raw.Close()
	c.keep(raw, true)
	defer c.keep(raw, false)
	there, err := tls.Dial("tcp", c.to, c.there)
	if err != nil {
		return // the gateway sees a dead line
	}
	defer there.Close()
	c.keep(there.NetConn(), true)
	defer c.keep(there.NetConn(), false)
	client := tls.Server(raw, c.here)
	p := &passing{c: c, client: client, there: there, raw: raw}
	var both sync.WaitGroup
	both.Go(func() { p.up() })
	both.Go(func() { p.down() })
	both.Wait()
}

// passing is one connection on its way through.
type passing struct {
	c      *cutter
	client *tls.Conn
	there  *tls.Conn
	raw    net.Conn

	mu   sync.Mutex
	data bool   // the client is about to send, or sends, a message
	cut  *armed // the reply that comes next is one to the dot that is to be cut
}

func (p *passing) end() {
	_ = p.raw.Close()
	_ = p.there.NetConn().Close()
}

// up passes on what the gateway says.
func (p *passing) up() {
	defer p.end()
	r := bufio.NewReaderSize(p.client, 1<<16)
	began := true // of a line
	for {
		text, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		first := began
		began = err == nil
		line := string(text)
		p.mu.Lock()
		body := p.data
		if !body && strings.EqualFold(strings.TrimSpace(line), "DATA") {
			p.data = true
		}
		dot := body && first && line == ".\r\n"
		if dot {
			p.data = false
		}
		p.mu.Unlock()
		var a *armed
		if dot {
			if a = p.c.take(); a != nil && !p.dot(a) {
				return
			}
		}
		if _, err := io.WriteString(p.there, line); err != nil {
			return
		}
		if a != nil && a.at == cutAtDot {
			// The gateway is dead, and the line to the provider lives until it has
			// answered: so it has read its end.
			select {
			case <-a.done:
			case <-time.After(10 * time.Second):
			}
			return
		}
	}
}

// dot is called before the dot is passed on, which it is not when it returns
// false.
func (p *passing) dot(a *armed) bool {
	if a.at == cutBeforeDot || a.at == cutAtDot {
		a.kill()
	}
	if a.at == cutBeforeDot {
		close(a.done)
		return false
	}
	p.mu.Lock()
	p.cut = a
	p.mu.Unlock()
	return true
}

// down passes on what the provider says.
func (p *passing) down() {
	defer p.end()
	r := bufio.NewReaderSize(p.there, 1<<16)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		p.mu.Lock()
		a := p.cut
		p.cut = nil
		if strings.HasPrefix(line, "5") || strings.HasPrefix(line, "4") {
			p.data = false // DATA was refused, or the message
		}
		p.mu.Unlock()
		if a != nil && (a.at == cutReply || a.at == cutAtDot) {
			close(a.done)
			return
		}
		if _, err := io.WriteString(p.client, line); err != nil && a == nil {
			return
		}
		if a != nil {
			time.Sleep(map[place]time.Duration{cutAfter1: time.Millisecond, cutAfter10: 10 * time.Millisecond, cutAfter100: 100 * time.Millisecond}[a.at])
			a.kill()
			close(a.done)
			return
		}
	}
}
