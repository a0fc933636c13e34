package smtpd

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/mailbox/netconn"
	"pecgate/policy"

	"net"
)

// faultyLink is a connection below that panics at a read once it is armed.
type faultyLink struct {
	*pipeLink
	armed *atomic.Bool
}

func (l faultyLink) Read(p []byte) (int, error) {
	n, err := l.pipeLink.Read(p)
	if l.armed.Load() {
		panic("secret of a peer")
	}
	return n, err
}

// TestL4_PanicInOneSession: a fault while a command is handled, or while it is
// read, ends that connection alone; it is counted, and nothing of a peer is told.
func TestL4_PanicInOneSession(t *testing.T) {
	var command, read atomic.Bool
	p := people(t)
	s, l := ruled(t, p, nil, func(o *Options) {
		o.Policy = func() *policy.Policy {
			if command.CompareAndSwap(true, false) {
				panic("secret of a peer")
			}
			return p
		}
	})
	other := newClient(t, l.dial(1))
	other.login()
	faulted := newClient(t, l.dial(2))
	faulted.login()
	command.Store(true)
	faulted.do("MAIL FROM:<"+office+">", "421")
	faulted.ended()

	us, them := net.Pipe()
	l.c <- s.filter(faultyLink{&pipeLink{Conn: netconn.Wrap(us, netconn.Options{}), remote: "10.0.0.3"}, &read})
	second := newClient(t, them)
	second.login()
	read.Store(true)
	if _, err := fmt.Fprint(second.c, "NOOP\r\n"); err != nil {
		t.Fatal(err)
	}
	second.ended()

	other.do("MAIL FROM:<"+office+">", "250 ")
	newClient(t, l.dial(4)).login()
	// Peers are answered before the fault is written down.
	for range 500 {
		if s.opt.Events.Panics() == 2 && strings.Count(s.log.String(), "connection panic") == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := s.opt.Events.Panics(); n != 2 || strings.Contains(s.log.String(), "secret") || strings.Count(s.log.String(), "connection panic") != 2 {
		t.Errorf("%d counted:\n%s", n, s.log.String())
	}
}
