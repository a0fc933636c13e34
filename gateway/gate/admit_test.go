package gate_test

import (
	"io"
	"net/netip"
	"sync/atomic"
	"testing"

	"pecgate/gateway/gate"
)

// Whom a listener does not admit hears one line, or none before TLS, and holds no
// place.
func TestAdmit(t *testing.T) {
	const word = "554 5.7.1 go away\r\n"
	for _, mode := range []gate.Mode{gate.ImplicitTLS, gate.StartTLSSMTP} {
		var in atomic.Bool // read by the gate's goroutines
		e := start(t, gate.Options{Mode: mode, Limits: gate.NewLimits(1, 1), Admit: func(a netip.Addr) string {
			if !a.IsLoopback() {
				t.Errorf("asked about %s", a)
			}
			if !in.Load() {
				return word
			}
			return ""
		}})
		for range 5 {
			c := e.dial(t)
			got, err := io.ReadAll(c)
			if want := map[gate.Mode]string{gate.StartTLSSMTP: word}[mode]; string(got) != want || err != nil {
				t.Errorf("mode %d: %q, %v", mode, got, err)
			}
		}
		in.Store(true)
		if mode == gate.ImplicitTLS {
			works(t, e.client(e.dial(t)))
		}
	}
}
