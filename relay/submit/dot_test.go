package submit

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"pecgate/relay/upstream/upstreamtest"
)

// TestB3_TenMinutesForTheDot: whatever the limit of a command is, a provider that
// answers to the dot after nine minutes and fifty seconds is heard; only after ten
// minutes the end is uncertain, and nothing else was sent meanwhile.
func TestB3_TenMinutesForTheDot(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  Class
		took  time.Duration
	}{
		{9*time.Minute + 50*time.Second, HandedOver, 9*time.Minute + 50*time.Second},
		{10*time.Minute + 10*time.Second, Uncertain, 10 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			ca := upstreamtest.NewCA(t, "Test root")
			ours, theirs := net.Pipe()
			p := &provider{tls: &tls.Config{Certificates: []tls.Certificate{ca.Server(t, nil)}}, offer: []string{"8BITMIME", "AUTH PLAIN"}}
			p.read = func(r *bufio.Reader) ([]byte, error) {
				b, err := strictData(r)
				if err == nil {
					time.Sleep(c.after)
				}
				return b, err
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer theirs.Close()
				p.serve(theirs)
			}()
			began := time.Now()
			res := Send(t.Context(), Server{
				Host: upstreamtest.Host, Port: 465, Security: "tls", Roots: ca.Roots(), Username: user, Password: password,
				Hello: "gateway.test", Timeout: time.Minute,
				Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil },
			}, from, to, hello, Hooks{})
			if took := time.Since(began); res.Class != c.want || res.Stage != StageDot || took < c.took || took > c.took+6*time.Second { // with its goodbye
				t.Errorf("answered after %s: %s at %s after %s, %v", c.after, res.Class, res.Stage, took, res.Err)
			}
			<-done
			if n := len(p.accepted()); n != 1 {
				t.Errorf("%d messages", n)
			}
		})
	}
}
