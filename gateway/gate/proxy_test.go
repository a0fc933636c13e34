package gate_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/gateway/gate"
	"pecgate/mailbox/events"
)

// names keeps the addresses of the connections that came through.
type names struct {
	mu  sync.Mutex
	got []string
}

func (n *names) filter(c *gate.Conn) net.Conn {
	n.mu.Lock()
	n.got = append(n.got, c.Remote()+" "+c.RemoteAddr().String())
	n.mu.Unlock()
	return c
}

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// v2 is a header of version 2 with an address family and a payload.
func v2(command, family byte, payload string) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(payload)))) + payload
}

// TestProxyHeader: the client is who the listed balancer says, for both versions
// and both ways to TLS, also when the header comes in one segment with what
// follows it.
func TestProxyHeader(t *testing.T) {
	v4 := "\xc6\x33\x64\x07\x7f\x00\x00\x01\x30\x39\x01\xd1" // 198.51.100.7:12345 to 127.0.0.1:465
	v6 := "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x09" + strings.Repeat("\x00", 15) + "\x01" + "\x30\x39\x01\xd1"
	for _, mode := range []gate.Mode{gate.ImplicitTLS, gate.StartTLSSMTP} {
		for _, c := range []struct{ header, want string }{
			{"PROXY TCP4 198.51.100.7 127.0.0.1 12345 465\r\n", "198.51.100.7 198.51.100.7:12345"},
			{"PROXY TCP6 2001:db8::9 ::1 12345 465\r\n", "2001:db8::9 [2001:db8::9]:12345"},
			{"PROXY UNKNOWN\r\n", "127.0.0.1 127.0.0.1:"},
			{v2(1, 0x11, v4), "198.51.100.7 198.51.100.7:12345"},
			{v2(1, 0x11, v4+"\x04\x00\x01x"), "198.51.100.7 198.51.100.7:12345"}, // with something more
			{v2(1, 0x21, v6), "2001:db8::9 [2001:db8::9]:12345"},
			{v2(0, 0x00, ""), "127.0.0.1 127.0.0.1:"}, // the balancer looks after our health
		} {
			var n names
			e := start(t, gate.Options{Mode: mode, ProxyFrom: loopback(), Filter: n.filter})
			line := e.dial(t)
			if mode == gate.ImplicitTLS {
				line = &withHeader{Conn: line, header: c.header}
			} else {
				_, _ = io.WriteString(line, c.header)
				upgrade(t, line)
			}
			works(t, e.client(line))
			if len(n.got) != 1 || !strings.HasPrefix(n.got[0], c.want) {
				t.Errorf("mode %d, %.20q: came as %q", mode, c.header, n.got)
			}
		}
	}
}

// withHeader puts a header before the first bytes, in one segment with them.
type withHeader struct {
	net.Conn
	header string
}

func (w *withHeader) Write(b []byte) (int, error) {
	if w.header != "" {
		whole := append([]byte(w.header), b...)
		w.header = ""
		n, err := w.Conn.Write(whole)
		return max(0, n-(len(whole)-len(b))), err
	}
	return w.Conn.Write(b)
}

// TestProxyHeaderRefused: a listed balancer without a whole header, and anybody
// else with one, are cut at once and without a word.
func TestProxyHeaderRefused(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	ev := events.New(slog.New(slog.NewJSONHandler(locked{&mu, &log}, nil)))
	const good = "PROXY TCP4 198.51.100.7 127.0.0.1 12345 465\r\n"
	for _, mode := range []gate.Mode{gate.ImplicitTLS, gate.StartTLSSMTP} {
		listed := start(t, gate.Options{Mode: mode, ProxyFrom: loopback(), Events: ev, Handshake: 20 * time.Second})
		for _, header := range []string{
			"\x16\x03\x01", "EHLO x\r\n", "GET / HTTP/1.1\r\n\r\n", "PROXY\r\n\r\n\r\n\r\n", "PROXY TCP4 x y z\r\n", "PROXY TCP4 198.51.100.7 127.0.0.1 12345\r\n",
			"PROXY TCP4 198.51.100.7 127.0.0.1 99999 465\r\n", "PROXY TCP4 2001:db8::9 ::1 12345 465\r\n", "PROXY TCP4 198.51.100.7 127.0.0.1 12345 465\n",
			"PROXY " + strings.Repeat("x", 200), "PROXY TCP4 0.0.0.0 127.0.0.1 1 465\r\n", "PROXY TCP4 224.0.0.1 127.0.0.1 1 465\r\n",
			v2(1, 0x11, "short"), v2(1, 0x00, ""), v2(1, 0x12, strings.Repeat("\x01", 12)), v2(1, 0x31, strings.Repeat("\x00", 216)),
			v2(2, 0x11, strings.Repeat("\x01", 12)), v2(1, 0x11, strings.Repeat("\x01", 5000)),
		} {
			c := listed.dial(t)
			_, _ = io.WriteString(c, header)
			if b, err := io.ReadAll(c); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("mode %d, %.30q: %q, %v", mode, header, b, err)
			}
		}
		for _, from := range [][]netip.Prefix{nil, {netip.MustParsePrefix("192.0.2.0/24")}} {
			var n names
			other := start(t, gate.Options{Mode: mode, ProxyFrom: from, Filter: n.filter})
			c := other.dial(t)
			_, _ = io.WriteString(c, good+"EHLO x\r\n")
			b, err := io.ReadAll(c)
			if mode == gate.ImplicitTLS && len(b) > 0 || bytes.Contains(b, []byte("\n")) && bytes.Count(b, []byte("\n")) > 1 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("mode %d, not listed: %q, %v", mode, b, err)
			}
			if len(n.got) > 0 {
				t.Errorf("not listed: came as %q", n.got)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if s := log.String(); strings.Count(s, "no PROXY header") < 10 || strings.Contains(s, "GET /") {
		t.Errorf("log: %s", s)
	}
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// TestA18_SlowOnesKeepNobodyOut: who opens connections and says next to nothing
// fills his own places only, behind a balancer too, and gives them up at an end
// that no byte moves.
func TestA18_SlowOnesKeepNobodyOut(t *testing.T) {
	const each = 4
	limits := gate.NewLimits(64, each)
	e := start(t, gate.Options{ProxyFrom: loopback(), Limits: limits, Handshake: time.Hour})
	from := func(client string) net.Conn {
		c := e.dial(t)
		fmt.Fprintf(c, "PROXY TCP4 %s 127.0.0.1 1 465\r\n", client)
		return c
	}
	for range each {
		_, _ = io.WriteString(from("198.51.100.7"), "\x16") // half a handshake
	}
	// One more of them finds no place; others do.
	refused := 0
	for range 100 { // the first ones may not have come in yet
		c := from("198.51.100.7")
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			refused++
			break
		}
		c.Close()
	}
	if refused == 0 {
		t.Error("one address has more than its places")
	}
	for range 3 {
		works(t, e.client(from("198.51.100.8")))
	}
	// The end: bytes come one by one, and the connection is cut all the same.
	slow := start(t, gate.Options{Mode: gate.StartTLSSMTP, Handshake: 200 * time.Millisecond})
	c := slow.dial(t)
	cut := make(chan error, 1)
	go func() {
		for {
			if _, err := io.WriteString(c, "E"); err != nil {
				cut <- err
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if b, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) || bytes.Count(b, []byte("\n")) > 1 {
		t.Errorf("a trickle: %q, %v", b, err)
	}
	c.Close()
	<-cut
}
