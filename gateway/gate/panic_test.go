package gate_test

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/gateway/gate"
	"pecgate/mailbox/events"
)

// faulty is a connection that panics when it is read.
type faulty struct{ net.Conn }

func (faulty) Read([]byte) (int, error) { panic("secret of a peer") }

// TestL4_PanicInTheGate: a fault before TLS stands ends that connection alone, is
// counted, and gives its place back.
func TestL4_PanicInTheGate(t *testing.T) {
	log := new(logLines)
	ev := events.New(slog.New(slog.NewTextHandler(log, nil)))
	var n atomic.Int32
	e := start(t, gate.Options{
		Events: ev, Limits: gate.NewLimits(2, 2),
		Accept: func(raw net.Conn) net.Conn {
			if n.Add(1) <= 5 {
				return faulty{raw}
			}
			return raw
		},
	})
	for range 5 {
		closed(t, e.dial(t))
	}
	works(t, e.client(e.dial(t)))
	// The last place is free a moment after its connection was seen closed.
	for try := 1; ; try++ {
		c := e.client(e.dial(t))
		if _, err := io.WriteString(c, "hello\r\n"); err == nil {
			if _, err = io.ReadFull(c, make([]byte, 7)); err == nil {
				break
			}
		}
		if try == 100 {
			t.Fatal("the places of the connections that ended so are not given back")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if ev.Panics() != 5 || strings.Contains(log.String(), "secret") || strings.Count(log.String(), "connection panic") != 5 {
		t.Errorf("%d counted:\n%s", ev.Panics(), log)
	}
}
