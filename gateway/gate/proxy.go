package gate

import (
	"bufio"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto" // the header by which a load balancer names its client, versions 1 and 2

	"pecgate/mailbox/netconn"
)

// maxProxyHeader is more than the longest header that is read, in bytes.
const maxProxyHeader = 4200

// ahead is a raw connection of which some bytes were read already. It gives them
// back, and bears the name of the client that a load balancer told.
type ahead struct {
	net.Conn
	rest   []byte
	client net.Addr // nil: the peer itself
}

func (a *ahead) Read(b []byte) (int, error) {
	if len(a.rest) > 0 && len(b) > 0 {
		n := copy(b, a.rest)
		a.rest = a.rest[n:]
		return n, nil
	}
	return a.Conn.Read(b)
}

// RemoteAddr is the client's address.
func (a *ahead) RemoteAddr() net.Addr {
	if a.client != nil {
		return a.client
	}
	return a.Conn.RemoteAddr()
}

// fromProxy tells whether an address is that of a load balancer, which must
// begin each connection with a header. From nobody else a header is read: it
// would let anybody claim any address.
func (l *Listener) fromProxy(a netip.Addr) bool {
	for _, p := range l.opt.ProxyFrom {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// announced reads the header at the begin of a line and returns the client's
// address, or a word for the event log. A balancer that looks after our health
// speaks for itself.
func (l *Listener) announced(line *netconn.Conn, raw *ahead) (netip.Addr, string) {
	defer l.unlessClosed(line)()
	r := bufio.NewReaderSize(line, maxProxyHeader)
	h, err := proxyproto.Read(r)
	if err != nil {
		if why := reason(err); why == "timeout" || why == "gone" {
			return netip.Addr{}, why
		}
		return netip.Addr{}, "no PROXY header"
	}
	rest, err := r.Peek(r.Buffered())
	if err != nil {
		return netip.Addr{}, reason(err)
	}
	raw.rest = rest // the reader is used no more
	if h.Command.IsLocal() {
		return remoteAddr(raw.Conn), ""
	}
	from, _, ok := h.TCPAddrs()
	if !ok {
		return netip.Addr{}, "PROXY header without a TCP address"
	}
	raw.client = from
	a := remoteAddr(raw)
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}, "PROXY header without a TCP address"
	}
	return a, ""
}
