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
			s.put = func(m mark, items []item) error { commits++; return commit(m, items) }
			counts, count := 0, s.count
			s.count = func(m mark) error { counts++; return count(m) }
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
			b.ReportMetric(float64(commits)/float64(b.N), "commits/update")
			b.ReportMetric(float64(counts)/float64(b.N), "counts/update")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

// filled opens a store whose records are in tables.
func filled(b *testing.B, records int) *Store {
	dir := b.TempDir()
	s := open(b, dir)
	for n := 0; n < records; n += 900 {
		err := s.Update(context.Background(), func(tx kv.Txn) error {
			for i := n; i < min(n+900, records); i++ {
				if err := tx.Put(fmt.Appendf(nil, "f/%06d", i), make([]byte, 300)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return open(b, dir)
}

func BenchmarkScan(b *testing.B) {
	const records = 9000
	s := filled(b, records)
	defer s.Close()
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

// BenchmarkGet is a View that reads one of many records.
func BenchmarkGet(b *testing.B) {
	const records = 90000
	s := filled(b, records)
	defer s.Close()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n = (n + 7919) % records
		err := s.View(context.Background(), func(r kv.Reader) error {
			_, err := r.Get(fmt.Appendf(nil, "f/%06d", n))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
