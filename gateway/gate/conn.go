package gate

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"

	"pecgate/mailbox/netconn"
)

// Conn is one live connection with TLS done. Deadlines set on it roll; see
// netconn.
type Conn struct {
	net.Conn // TLS
	line     *netconn.Conn
	l        *Listener
	state    tls.ConnectionState
	remote   netip.Addr
	upgraded bool
	once     sync.Once

	mu      sync.Mutex
	onDrain func()
}

// Upgraded reports that TLS began by STARTTLS, so that the client has had its
// greeting and expects none.
func (c *Conn) Upgraded() bool { return c.upgraded }

// Remote is the client's address, without port.
func (c *Conn) Remote() string { return c.remote.String() }

// TLS is the state of the connection's TLS.
func (c *Conn) TLS() tls.ConnectionState { return c.state }

// LoggedIn replaces the limit on the time before login by the absolute one.
func (c *Conn) LoggedIn() { _ = c.line.SetAbsolute(time.Now().Add(c.l.opt.Absolute)) }

// Expect asks the client for a pace of rate bytes a second after a grace; rate
// 0 asks no more. It measures bytes on the wire, below TLS.
func (c *Conn) Expect(rate int64, grace time.Duration) { c.line.Expect(rate, grace) }

// Interrupt makes a waiting Read return with a timeout, and every later one
// until a read deadline is set.
func (c *Conn) Interrupt() { _ = c.line.SetReadDeadline(time.Unix(1, 0)) }

// Draining reports that the listener is being drained: a session that has
// nothing under way ends now.
func (c *Conn) Draining() bool { return c.l.draining.Load() }

// OnDrain sets what is called, once, when draining begins; at once if it has
// begun. fn must not wait.
func (c *Conn) OnDrain(fn func()) {
	c.mu.Lock()
	c.onDrain = fn
	c.mu.Unlock()
	if c.Draining() {
		c.drain()
	}
}

func (c *Conn) drain() {
	c.mu.Lock()
	fn := c.onDrain
	c.onDrain = nil
	c.mu.Unlock()
	if fn != nil {
		fn()
	}
}

// Cut breaks the line without a word.
func (c *Conn) Cut() error {
	err := c.line.Close()
	c.once.Do(func() { c.l.forget(c) })
	return err
}

// Close ends TLS and the line.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.l.forget(c) })
	return err
}
