// Package gate lets connections in.
//
// It owns the listeners, TLS and STARTTLS, the limits on connections, their
// deadlines, and the list of live connections from which a soft stop works.
// The protocol libraries above it get a net.Listener that yields connections
// with TLS already done, passed through a filter of the room that serves them.
//
// Invariants:
//
//   - Nothing above the gate ever sees a byte that did not come through TLS
//     1.2 or newer. STARTTLS is a conversation of the gate itself: what it read
//     before the handshake is gone, and bytes sent together with STARTTLS close
//     the connection.
//   - A handshake, the conversation before it, and the time until login each
//     have an end that no trickle of bytes moves.
//   - Whom a listener does not admit hears one line and gets no further.
//   - The address in a PROXY header counts only where a listed balancer sent it;
//     from there nothing else is taken, and from nobody else a header is.
//   - A connection counts against its limits from accept to close, whatever
//     goes wrong between. The limits leave files to the store: who runs out of
//     them can write no more.
//   - Close waits for every goroutine of the gate. Nothing is written to a peer
//     with a lock held.
//
// It must not import the protocol libraries, mailbox (except events and
// netconn), relay, policy or configs. Its tests make their certificates.
package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"pecgate/mailbox/events"
	"pecgate/mailbox/netconn"
)

// Mode is how TLS begins on a listener.
type Mode int

// The modes.
const (
	ImplicitTLS  Mode = iota // TLS from the first byte (RFC 8314)
	StartTLSSMTP             // a short SMTP conversation until STARTTLS (RFC 3207)
)

// Options say how a listener works. Zero durations and counts get the default
// named beside them.
type Options struct {
	Name        string       // in events: submissions, submission, imaps
	Address     string       // host:port; port 0 takes a free one
	Listener    net.Listener // already open, in place of Address
	Mode        Mode
	Hostname    string       // in the greeting before STARTTLS
	Certificate *Certificate // required
	ALPN        []string     // protocol names a client may ask for; another name is refused (cross-protocol attacks)

	Handshake time.Duration // from accept to the end of the handshake: 30 s
	PreLogin  time.Duration // from there to login (Conn.LoggedIn): 2 min
	Idle      time.Duration // one read or write without a deadline from above: 5 min
	Absolute  time.Duration // life after login: 24 h

	// ProxyFrom are load balancers in front: each of their connections begins with a
	// PROXY header, whose address is the client's from then on.
	ProxyFrom []netip.Prefix

	// Admit is asked who may connect, by the address behind a load balancer: "" lets it
	// in, anything else is the last word to it, said in clear where that is the way of the
	// Mode. It must not wait. nil: everybody.
	Admit func(client netip.Addr) string
	// AskCertificate asks clients for a certificate, which Conn.TLS then has with the key
	// proved. Whether it is a good one is not judged here.
	AskCertificate bool

	Limits *Limits                     // may be shared by listeners; nil: own ones with the defaults
	Busy   string                      // the last word to a connection over the limits, behind TLS where TLS comes first; "": none
	Filter func(c *Conn) net.Conn      // what the library gets; nil: the Conn itself
	Events *events.Log                 // required
	Accept func(raw net.Conn) net.Conn // puts something below TLS, for tests; nil: nothing
}

// Listener is a net.Listener that yields filtered connections with TLS done.
type Listener struct {
	opt    Options
	raw    net.Listener
	tls    *tls.Config // one for all, so that sessions can be resumed
	ready  chan net.Conn
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // accept loop and handshakes

	diary    *events.Diary // of what strangers cause
	draining atomic.Bool
	mu       sync.Mutex
	conns    map[*Conn]struct{}
	empty    chan struct{} // closed when the last connection has gone, while draining
}

// lines is how many lines of the log a listener writes in a minute of what
// strangers cause; the rest is counted. The log has a place on disk that mail
// needs too.
const lines = 60

// Listen opens a listener and begins to accept at once. The context bounds only
// the opening.
func Listen(ctx context.Context, o Options) (*Listener, error) {
	if o.Certificate == nil || o.Events == nil {
		return nil, errors.New("gate: a listener needs a certificate and an event log")
	}
	o.Handshake = orDuration(o.Handshake, 30*time.Second)
	o.PreLogin = orDuration(o.PreLogin, 2*time.Minute)
	o.Idle = orDuration(o.Idle, 5*time.Minute)
	o.Absolute = orDuration(o.Absolute, 24*time.Hour)
	if o.Limits == nil {
		o.Limits = NewLimits(0, 0)
	}
	raw := o.Listener
	if raw == nil {
		var lc net.ListenConfig
		var err error
		if raw, err = lc.Listen(ctx, "tcp", o.Address); err != nil {
			return nil, err
		}
	}
	l := &Listener{opt: o, raw: raw, ready: make(chan net.Conn), conns: map[*Conn]struct{}{},
		tls: o.Certificate.TLSConfig(o.ALPN...)}
	if o.AskCertificate {
		l.tls.ClientAuth = tls.RequestClientCert
	}
	l.diary = events.NewDiary(lines, time.Minute, func(rest map[string]int) {
		o.Events.ConnMore(o.Name, rest["refused"], rest["no TLS"])
	})
	l.ctx, l.cancel = context.WithCancel(context.Background())
	o.Events.Listening(o.Name, raw.Addr().String())
	l.wg.Go(l.acceptLoop)
	return l, nil
}

// Addr is the address that is listened on, with the real port.
func (l *Listener) Addr() net.Addr { return l.raw.Addr() }

// Accept returns the next connection whose TLS stands; net.ErrClosed after
// Close.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close stops accepting and ends what has no TLS yet. Connections already
// handed out live on; see Drain.
func (l *Listener) Close() error {
	l.cancel()
	err := l.raw.Close()
	l.wg.Wait()
	l.diary.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil // closed before
	}
	return err
}

// admit brings one connection to TLS and hands it to Accept.
func (l *Listener) admit(conn net.Conn, remote netip.Addr, proxied bool) {
	raw := &ahead{Conn: conn}
	if l.opt.Accept != nil {
		raw.Conn = l.opt.Accept(conn)
	}
	line := netconn.Wrap(raw, netconn.Options{Idle: l.opt.Idle, Absolute: l.opt.Handshake})
	var c *Conn
	why := ""
	// A fault here must end nobody but the peer at whom it shows.
	defer func() {
		if recover() == nil {
			return
		}
		l.opt.Events.Panic("gate", string(debug.Stack()))
		if c != nil {
			_ = c.Close() // its end is counted there
			return
		}
		_ = line.Close()
		l.opt.Limits.leave(remote)
	}()
	if proxied {
		var client netip.Addr
		if client, why = l.announced(line, raw); why == "" {
			if full := l.opt.Limits.move(remote, client); full != "" {
				l.opt.Limits.leave(remote)
				l.refused(client.String(), full)
				l.turnAway(raw)
				return
			}
			remote = client
		}
	}
	if why == "" && l.opt.Admit != nil {
		if word := l.opt.Admit(remote); word != "" {
			l.stranger(raw, remote, word)
			return
		}
	}
	if why == "" {
		c, why = l.secure(line)
	}
	if why != "" {
		_ = line.Close()
		l.opt.Limits.leave(remote)
		if l.diary.Line("no TLS") {
			l.opt.Events.HandshakeFailed(l.opt.Name, remote.String(), why)
		}
		return
	}
	c.remote = remote
	_ = line.SetAbsolute(time.Now().Add(l.opt.PreLogin))
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	var out net.Conn = c
	if l.opt.Filter != nil {
		out = l.opt.Filter(c)
	}
	select {
	case l.ready <- out:
	case <-l.ctx.Done():
		_ = out.Close()
	}
}

// stranger ends a connection that is not admitted.
func (l *Listener) stranger(c net.Conn, remote netip.Addr, word string) {
	l.opt.Limits.leave(remote)
	l.refused(remote.String(), "network")
	if l.opt.Mode == StartTLSSMTP {
		// A few bytes into an empty socket buffer do not wait.
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = c.Write([]byte(word))
	}
	_ = c.Close()
}

// refused notes a connection that is not let in.
func (l *Listener) refused(remote, why string) {
	if l.diary.Line("refused") {
		l.opt.Events.ConnRefused(l.opt.Name, remote, why)
	}
}

func (l *Listener) forget(c *Conn) {
	l.opt.Limits.leave(c.remote)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	if l.empty != nil && len(l.conns) == 0 {
		close(l.empty)
		l.empty = nil
	}
}

func orDuration(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

func remoteAddr(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // a connection without an address shares one count with its like
	}
	return a.Addr().Unmap().WithZone("")
}
