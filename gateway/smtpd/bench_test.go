package smtpd

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pecgate/gateway/gate"
)

// BenchmarkAccept sends messages of 10 KB and 1 MB over TLS, one session for
// each connection; client and server share the machine.
func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{10_000, 1_000_000} {
		for _, n := range []int{1, 16} {
			b.Run(fmt.Sprintf("%dKB/%d", size/1000, n), func(b *testing.B) {
				s := newServer(b, func(o *Options) { o.MaxSize = 10 << 20 })
				s.store.forget = true
				s.listen(b, gate.ImplicitTLS)
				line := strings.Repeat("x", 76) + "\r\n"
				message := header + "\r\n" + strings.Repeat(line, size/len(line)) + ".\r\n"
				clients := make([]*client, n)
				for i := range clients {
					clients[i] = newClient(b, s.dial(b))
					clients[i].login()
				}
				b.SetBytes(int64(len(message)))
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				b.ResetTimer()
				for _, c := range clients {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							if err := c.one(message); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
				for _, c := range clients {
					c.c.Close()
				}
				s.stop(b)
			})
		}
	}
}

// one sends a message as a mail program does, commands in a group.
func (c *client) one(message string) error {
	if _, err := io.WriteString(c.c, "MAIL FROM:<"+office+">\r\nRCPT TO:<"+other+">\r\nDATA\r\n"); err != nil {
		return err
	}
	for _, want := range []string{"250 ", "250 ", "354 "} {
		if got, err := c.tryReply(); err != nil || !strings.HasPrefix(got, want) {
			return fmt.Errorf("%q, %w", got, err)
		}
	}
	if _, err := io.WriteString(c.c, message); err != nil {
		return err
	}
	if got, err := c.tryReply(); err != nil || !strings.HasPrefix(got, "250 ") {
		return fmt.Errorf("%q, %w", got, err)
	}
	return nil
}
