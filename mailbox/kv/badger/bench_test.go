package badger

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"pecgate/mailbox/kv"
)

// BenchmarkUpdate is three records as one accepted message makes them (600,
// 150 and 200 bytes), from several callers at once.
func BenchmarkUpdate(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := open(b, b.TempDir())
			defer s.Close()
			commits, commit := 0, s.put
			s.put = func(items []item) error { commits++; return commit(items) }
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					value := make([]byte, 600)
					for {
						n := next.Add(1)
						if n > int64(b.N) {
							return
						}
						err := s.Update(context.Background(), func(tx kv.Txn) error {
							for kind, size := range []int{600, 150, 200} {
								key := binary.BigEndian.AppendUint64([]byte{byte('a' + kind)}, uint64(n))
								if err := tx.Put(key, value[:size]); err != nil {
									return err
								}
							}
							return nil
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(commits)/float64(b.N), "syncs/update")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

func BenchmarkScan(b *testing.B) {
	s := open(b, b.TempDir())
	defer s.Close()
	const records = 900
	err := s.Update(context.Background(), func(tx kv.Txn) error {
		for n := range records {
			if err := tx.Put(fmt.Appendf(nil, "f/%04d", n), make([]byte, 300)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		err := s.View(context.Background(), func(r kv.Reader) error {
			return r.Scan([]byte("f/"), nil, func(k, v []byte) (bool, error) { return true, nil })
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}
