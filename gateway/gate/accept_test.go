package gate_test

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pecgate/gateway/gate"
)

// TestA8_TurnedAwayBehindTLS: who is over the limits hears why, also where TLS
// comes first; but for no more at once than costs little.
func TestA8_TurnedAwayBehindTLS(t *testing.T) {
	const busy = "421 4.3.2 too many\r\n"
	e := start(t, gate.Options{Limits: gate.NewLimits(1, 0), Busy: busy})
	in := e.client(e.dial(t))
	works(t, in)
	for range 20 { // one after the other: none keeps a place
		if b, err := io.ReadAll(e.client(e.dial(t))); string(b) != busy || err != nil {
			t.Fatalf("over the limit: %q, %v", b, err)
		}
	}
	// Eight who say nothing keep all places of farewells; nobody waits for them.
	for range 8 {
		e.dial(t)
	}
	closed(t, e.dial(t))
	works(t, in)
}

// TestA8_SilentConnectionsDoNotHoldTheEnd: Close does not wait for a client that
// says nothing, before TLS or when it is turned away.
func TestA8_SilentConnectionsDoNotHoldTheEnd(t *testing.T) {
	for _, mode := range []gate.Mode{gate.ImplicitTLS, gate.StartTLSSMTP} {
		var taken atomic.Int32
		e := start(t, gate.Options{
			Mode: mode, Handshake: time.Hour, Limits: gate.NewLimits(2, 0), Busy: "421 4.3.2 too many\r\n",
			Accept: func(c net.Conn) net.Conn { taken.Add(1); return c },
		})
		for range 3 {
			e.dial(t)
		}
		for taken.Load() < 2 {
			time.Sleep(time.Millisecond)
		}
		done := make(chan error, 1)
		go func() { done <- e.l.Close() }()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("mode %d: Close waits for silent clients", mode)
		}
	}
}

// short is a listener of a process that has no file left for one connection.
type short struct {
	net.Listener
	failed atomic.Int32
}

func (s *short) Accept() (net.Conn, error) {
	if s.failed.Add(1) <= 2 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", []error{syscall.EMFILE, syscall.ENFILE}[s.failed.Load()-1])}
	}
	return s.Listener.Accept()
}

// TestA8_FileComesBack: a connection that came while there was no file is served
// when there is one again.
func TestA8_FileComesBack(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &short{Listener: raw}
	e := start(t, gate.Options{Listener: s, Busy: "421 4.3.2 too many\r\n"})
	works(t, e.client(e.dial(t)))
	if s.failed.Load() < 3 {
		t.Error("no accept failed")
	}
}
