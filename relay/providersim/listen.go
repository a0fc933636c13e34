package providersim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	handshakeTime = 30 * time.Second
	idleTime      = 10 * time.Minute // without a byte read or written
	maxConns      = 1024             // per socket; further ones are closed at once
)

func (p *Provider) listen() error {
	var err error
	for _, l := range []struct {
		at             **listener
		protocol, addr string
		handle         func(*clientConn)
	}{
		{&p.smtp, "SMTP", p.o.SMTPAddr, p.serveSMTP},
		{&p.imap, "IMAP", p.o.IMAPAddr, nil}, // set below: it starts a goroutine
		{&p.pop3, "POP3", p.o.POP3Addr, p.servePOP3},
	} {
		if *l.at, err = p.newListener(l.addr, l.handle); err != nil {
			p.closeListeners()
			return fmt.Errorf("listen for %s: %w", l.protocol, err)
		}
	}
	if p.o.ControlAddr != "" {
		if p.control, err = p.newControl(p.o.ControlAddr); err != nil {
			p.closeListeners()
			return fmt.Errorf("listen for the control page: %w", err)
		}
		p.running.Go(p.control.serve)
	}
	p.imap.handle = p.startIMAP()
	for _, l := range []*listener{p.smtp, p.imap, p.pop3} {
		p.running.Go(l.serve)
	}
	return nil
}

// closeListeners closes those that there are.
func (p *Provider) closeListeners() {
	for _, l := range []*listener{p.smtp, p.imap, p.pop3} {
		if l != nil {
			l.close()
		}
	}
	if p.control != nil {
		p.control.close()
	}
}

// listener accepts, does the TLS handshake and hands the connection on.
type listener struct {
	p      *Provider
	ln     net.Listener
	handle func(*clientConn) // owns the connection from then on
	conns  sync.WaitGroup

	mu   sync.Mutex
	open map[*clientConn]struct{}
}

func (p *Provider) newListener(addr string, handle func(*clientConn)) (*listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &listener{p: p, ln: ln, handle: handle, open: map[*clientConn]struct{}{}}, nil
}

func (l *listener) addr() string { return l.ln.Addr().String() }

func (l *listener) serve() {
	defer l.conns.Wait()
	for l.p.ctx.Err() == nil {
		raw, err := l.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.p.log.Warn("accept failed", "error", err)
			select { // out of descriptors, say: do not spin
			case <-l.p.ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		c := &clientConn{raw: raw, Conn: tls.Server(raw, l.p.tls.Load()), owner: l}
		if !l.add(c) {
			raw.Close()
			continue
		}
		l.conns.Go(func() { l.start(c) })
	}
}

func (l *listener) start(c *clientConn) {
	ctx, cancel := context.WithTimeout(l.p.ctx, handshakeTime)
	defer cancel()
	if err := c.Conn.HandshakeContext(ctx); err != nil {
		l.p.log.Info("TLS handshake failed", "remote", c.raw.RemoteAddr().String(), "error", err)
		c.drop()
		return
	}
	l.handle(c)
}

func (l *listener) add(c *clientConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil || len(l.open) >= maxConns {
		return false
	}
	l.open[c] = struct{}{}
	return true
}

func (l *listener) remove(c *clientConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// close stops accepting and cuts what is open.
func (l *listener) close() {
	l.ln.Close()
	l.mu.Lock()
	open := l.open
	l.open = nil
	l.mu.Unlock()
	for c := range open {
		c.raw.Close()
	}
}

// clientConn is a TLS connection with idle deadlines that can be cut after a
// given number of bytes written.
type clientConn struct {
	*tls.Conn
	raw   net.Conn
	owner *listener
	armed atomic.Bool
	left  atomic.Int64
}

func (c *clientConn) Read(b []byte) (int, error) {
	c.raw.SetReadDeadline(time.Now().Add(idleTime))
	return c.Conn.Read(b)
}

func (c *clientConn) Write(b []byte) (int, error) {
	c.raw.SetWriteDeadline(time.Now().Add(idleTime))
	if c.armed.Load() {
		left := c.left.Add(-int64(len(b)))
		if left < 0 {
			n := max(int(left)+len(b), 0)
			if n > 0 {
				if _, err := c.Conn.Write(b[:n]); err != nil {
					n = 0
				}
			}
			c.drop()
			return n, net.ErrClosed
		}
	}
	return c.Conn.Write(b)
}

// SetDeadline and its kin are left to Read and Write: the IMAP library sets
// total times where idle times are meant.
func (c *clientConn) SetDeadline(time.Time) error      { return nil }
func (c *clientConn) SetReadDeadline(time.Time) error  { return nil }
func (c *clientConn) SetWriteDeadline(time.Time) error { return nil }

// cutAfter drops the connection when n more bytes were written.
func (c *clientConn) cutAfter(n int64) {
	c.left.Store(n)
	c.armed.Store(true)
}

// Close ends the connection in an orderly way.
func (c *clientConn) Close() error {
	c.owner.remove(c)
	c.raw.SetWriteDeadline(time.Now().Add(time.Second))
	return c.Conn.Close()
}

// drop cuts the connection without a word, as a broken line does.
func (c *clientConn) drop() {
	c.owner.remove(c)
	c.raw.Close()
}
