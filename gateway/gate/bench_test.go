package gate_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"pecgate/gateway/gate"
	"pecgate/gateway/gate/gatetest"
	"pecgate/mailbox/events"
)

// BenchmarkSlowAttackers: how long an honest client waits for connection,
// handshake and an answer while many others hold connections that come to
// nothing: silent ones, halves of a handshake a byte at a time, and such that have
// TLS and say a byte now and then. A PROXY header gives each ten an address.
func BenchmarkSlowAttackers(b *testing.B) {
	for _, n := range []int{0, 2000} {
		b.Run(fmt.Sprint("attackers=", n), func(b *testing.B) {
			cert, pool := gatetest.Certificate(b)
			l, err := gate.Listen(b.Context(), gate.Options{
				Name: "bench", Address: "127.0.0.1:0", Certificate: cert, Events: events.Discard(), Limits: gate.NewLimits(4096, 0),
				ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Handshake: time.Hour, PreLogin: time.Hour,
			})
			if err != nil {
				b.Fatal(err)
			}
			var served, attack sync.WaitGroup
			served.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					served.Go(func() {
						defer c.Close()
						_, _ = io.Copy(c, c)
					})
				}
			})
			dial := func(client string) net.Conn {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				fmt.Fprintf(c, "PROXY TCP4 %s 127.0.0.1 1 465\r\n", client)
				return c
			}
			config := &tls.Config{ServerName: "127.0.0.1", RootCAs: pool}
			stop := make(chan struct{})
			for i := range n {
				c := dial(fmt.Sprintf("198.51.%d.%d", i/2500, i/10%250))
				if i%3 == 2 {
					t := tls.Client(c, config)
					if err := t.Handshake(); err != nil {
						b.Fatal(err)
					}
					c = t
				}
				attack.Go(func() {
					defer c.Close()
					tick := time.NewTicker(10 * time.Second)
					defer tick.Stop()
					for {
						if i%3 > 0 {
							_, _ = io.WriteString(c, "\x16") // its failure is the attacker's affair
						}
						select {
						case <-tick.C:
						case <-stop:
							return
						}
					}
				})
			}
			var took []time.Duration
			buf := make([]byte, 7)
			for b.Loop() {
				begin := time.Now()
				c := tls.Client(dial("203.0.113.7"), config)
				if _, err := io.WriteString(c, "hello\r\n"); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
				c.Close()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100])/1e6, "ms/p99")
			b.ReportMetric(float64(took[len(took)/2])/1e6, "ms/p50")
			close(stop)
			attack.Wait()
			_ = l.Close()
			for _, c := range l.Conns() {
				_ = c.Cut()
			}
			served.Wait()
		})
	}
}
