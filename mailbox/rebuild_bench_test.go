package mailbox

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// BenchmarkRebuild makes the records of 5,000 messages of 10 KB anew.
func BenchmarkRebuild(b *testing.B) {
	const messages = 5000
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		s, err := Open(Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		body := strings.Repeat("0123456789abcdef\r\n", 560)
		work := make(chan int)
		done := make(chan error)
		for range 32 {
			go func() {
				var failed error
				for n := range work {
					if failed == nil {
						failed = storeBytes(s, text(fmt.Sprint("m", n))+body, Origin{Box: box, Direction: In, At: time.Unix(int64(n), 0)})
					}
				}
				done <- failed
			}()
		}
		for n := range messages {
			work <- n
		}
		close(work)
		for range 32 {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		lose(b, s, dir)
		b.StartTimer()
		if _, err := Rebuild(b.Context(), Options{Dir: dir}, intoInbox, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(messages*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

func storeBytes(s *Store, raw string, o Origin) error {
	ctx := context.Background()
	in, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(in, raw); err != nil {
		return err
	}
	st, err := in.Store(ctx, o)
	if err != nil {
		return err
	}
	return st.Close()
}
