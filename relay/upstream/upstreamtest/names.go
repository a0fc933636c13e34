package upstreamtest

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// Names is a name server on loopback that knows one name, whatever is asked.
type Names struct {
	conn net.PacketConn

	mu    sync.Mutex
	addrs []netip.Addr
	code  byte // RCODE (RFC 1035 4.1.1)
	mute  bool
	asked int
	owed  []query // not answered while mute
}

type query struct {
	text []byte
	from net.Addr
}

// The answers that are failures.
const (
	ServFail = 2
	NXDomain = 3
)

// NewNames starts a name server that ends with the test.
func NewNames(t testing.TB, addrs ...string) *Names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &Names{conn: conn}
	n.Set(addrs...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			n.answer(query{append([]byte(nil), b[:size]...), from})
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return n
}

// Set makes these the addresses of the name.
func (n *Names) Set(addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs, n.code, n.mute = nil, 0, false
	for _, a := range addrs {
		n.addrs = append(n.addrs, netip.MustParseAddr(a))
	}
	// Whoever was not answered goes on asking behind the caller's back, for seconds.
	for _, q := range n.owed {
		n.reply(q)
	}
	n.owed = nil
}

// Fail makes every answer this failure; 0: no answer at all.
func (n *Names) Fail(code byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.code, n.mute = code, code == 0
}

// Asked is how many questions came.
func (n *Names) Asked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// Resolver asks this name server only.
func (n *Names) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

func (n *Names) answer(q query) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.mute {
		n.owed = append(n.owed, q)
		return
	}
	n.reply(q)
}

// reply answers a question (RFC 1035 section 4, RFC 3596); n.mu is held.
func (n *Names) reply(q query) {
	const header, typeA, typeAAAA = 12, 1, 28
	end := header
	for end < len(q.text) && q.text[end] != 0 {
		end += int(q.text[end]) + 1
	}
	if end += 5; end > len(q.text) {
		return
	}
	kind := q.text[end-3]
	out := append([]byte{q.text[0], q.text[1], 0x81, 0x80 | n.code, 0, 1, 0, 0, 0, 0, 0, 0}, q.text[header:end]...)
	for _, a := range n.addrs {
		if n.code != 0 || a.Is4() && kind != typeA || a.Is6() && kind != typeAAAA {
			continue
		}
		raw := a.AsSlice()
		out = append(out, 0xc0, header, 0, kind, 0, 1, 0, 0, 0, 0, 0, byte(len(raw)))
		out = append(out, raw...)
		out[7]++
	}
	_, _ = n.conn.WriteTo(out, q.from) // who asked asks again
}
