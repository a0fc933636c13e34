package gateway

import (
	"net"
	"os"
	"strconv"
	"testing"
)

// TestSocketsOfSystemd: an address takes the socket of its port, once, and only where it
// means the same.
func TestSocketsOfSystemd(t *testing.T) {
	listen := func(address string) (net.Listener, string) {
		t.Helper()
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() }) // closed already where it was taken
		_, port, err := net.SplitHostPort(ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return ln, port
	}
	every, port := listen("127.0.0.1:0")
	one, onePort := listen("127.0.0.1:0")
	wide := wideListener{every, port}
	s := &sockets{left: []net.Listener{wide, one}}
	if s.take("127.0.0.1:"+port) != nil || s.take("0.0.0.0:"+onePort) != nil || s.take("0.0.0.0:1") != nil || s.take("nonsense") != nil {
		t.Error("a socket was taken for another address")
	}
	if s.take("0.0.0.0:"+port) != net.Listener(wide) || s.take("0.0.0.0:"+port) != nil {
		t.Error("the socket on every address was not taken once")
	}
	if got := s.unused(); len(got) != 1 || got[0] != one.Addr().String() {
		t.Errorf("unused: %v", got)
	}
	if s.take("127.0.0.1:"+onePort) != one {
		t.Error("the socket of one address was not taken")
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// wideListener says that it listens on every address.
type wideListener struct {
	net.Listener
	port string
}

func (w wideListener) Addr() net.Addr {
	port, _ := strconv.Atoi(w.port)
	return &net.TCPAddr{IP: net.IPv6unspecified, Port: port}
}

// TestSocketsOfAnotherProcess: what systemd handed to somebody else is let alone, and
// what makes no sense is told.
func TestSocketsOfAnotherProcess(t *testing.T) {
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()+1))
	t.Setenv("LISTEN_FDS", "2")
	if s, err := inheritSockets(); err != nil || len(s.left) > 0 {
		t.Errorf("%v, %v", s.left, err)
	}
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("LISTEN_FDS", "many")
	if _, err := inheritSockets(); err == nil {
		t.Error("LISTEN_FDS=many was taken")
	}
}
