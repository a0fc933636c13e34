package autoconfig

import (
	"net"
	"sync"
)

// bounded gives out so many connections at a time and closes the others: mail
// has its own use for the connections that the gate allows.
type bounded struct {
	net.Listener
	places chan struct{} // holds one for each open connection
}

// Accept returns the next connection for which there is a place.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.places <- struct{}{}:
			return &placed{Conn: c, leave: sync.OnceFunc(func() { <-b.places })}, nil
		default:
			cut(c)
		}
	}
}

// cut ends a connection without waiting for its peer, where it can.
func cut(c net.Conn) {
	if g, ok := c.(interface{ Cut() error }); ok {
		_ = g.Cut()
		return
	}
	_ = c.Close()
}

// placed is a connection that holds a place until it is closed.
type placed struct {
	net.Conn
	leave func()
}

// Close ends the connection and gives its place back.
func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
