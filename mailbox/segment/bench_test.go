package segment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counting counts the syncs of a disk.
type counting struct {
	FS
	syncs atomic.Int64
}

type countingFile struct {
	File
	c *counting
}

func (c *counting) Create(name string) (File, error) {
	f, err := c.FS.Create(name)
	return countingFile{f, c}, err
}

func (c *counting) SyncDir(dir string) error {
	c.syncs.Add(1)
	return c.FS.SyncDir(dir)
}

func (f countingFile) Sync() error {
	f.c.syncs.Add(1)
	return f.File.Sync()
}

// writers stores b.N messages from n goroutines.
func writers(b *testing.B, n, size int, syncs *atomic.Int64, store func(msg []byte) error) {
	b.SetBytes(int64(size))
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for writer := range n {
		wg.Go(func() {
			msg := message(writer, 1, size)
			for i := 0; next.Add(1) <= int64(b.N); i++ {
				msg[i%size]++
				if err := store(msg); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(syncs.Load())/float64(b.N), "syncs/msg")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

var benchWriters = []int{1, 16, 64}

// BenchmarkCommit and BenchmarkFilePerMessage are read together: their ratio
// is what a segment gains.
func BenchmarkCommit(b *testing.B) {
	for _, n := range benchWriters {
		b.Run(fmt.Sprintf("10KB/writers=%d", n), func(b *testing.B) { benchCommit(b, n, 10<<10) })
	}
	b.Run("2MB/writers=16", func(b *testing.B) { benchCommit(b, 16, 2<<20) })
}

func benchCommit(b *testing.B, n, size int) {
	c := &counting{FS: Disk()}
	s, err := Open(Options{Dir: b.TempDir(), FS: c})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ctx, side := context.Background(), []byte(`{"mailbox":"info@azienda.it","direction":"out"}`)
	writers(b, n, size, &c.syncs, func(msg []byte) error {
		w, err := s.Begin(ctx)
		if err != nil {
			return err
		}
		defer w.Abort()
		if _, err := w.Write(msg); err != nil {
			return err
		}
		_, err = w.Commit(ctx, side)
		return err
	})
}

func BenchmarkFilePerMessage(b *testing.B) {
	for _, n := range benchWriters {
		b.Run(fmt.Sprintf("10KB/writers=%d", n), func(b *testing.B) {
			dir := b.TempDir()
			var syncs, id atomic.Int64
			writers(b, n, 10<<10, &syncs, func(msg []byte) error {
				syncs.Add(2)
				return oneFile(dir, id.Add(1), msg)
			})
		})
	}
}

// oneFile is the other way to keep a message: write, fsync, rename, fsync folder.
func oneFile(dir string, id int64, msg []byte) error {
	sum := sha256.Sum256(msg)
	temporary := filepath.Join(dir, fmt.Sprint(id, ".tmp"))
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(msg)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(dir, hex.EncodeToString(sum[:])+".eml")); err != nil {
		return err
	}
	return syncDir(dir)
}

// BenchmarkRatio does both ways in one run, in turns, so that what else the
// machine does meets both: "times" is how many messages a segment makes durable
// in the time of one file per message. Goals: 1, 4 and 8 times with 1, 16 and 64
// writers, and 0.1 syncs a message with 64.
func BenchmarkRatio(b *testing.B) {
	for _, n := range benchWriters {
		b.Run(fmt.Sprintf("10KB/writers=%d", n), func(b *testing.B) {
			c := &counting{FS: Disk()}
			s, err := Open(Options{Dir: b.TempDir(), FS: c})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			dir := b.TempDir()
			var id atomic.Int64
			var inSegments, inFiles time.Duration
			b.ResetTimer()
			for done := 0; done < b.N; {
				turn := min(b.N-done, 50*n)
				done += turn
				inSegments += together(b, n, turn, 10<<10, func(msg []byte) error {
					_, err := put(context.Background(), s, msg, []byte("{}"))
					return err
				})
				inFiles += together(b, n, turn, 10<<10, func(msg []byte) error { return oneFile(dir, id.Add(1), msg) })
			}
			b.StopTimer()
			b.ReportMetric(float64(inFiles)/float64(inSegments), "times")
			b.ReportMetric(float64(c.syncs.Load())/float64(b.N), "syncs/msg")
			b.ReportMetric(float64(b.N)/inSegments.Seconds(), "msg/s")
		})
	}
}

// together stores messages from n goroutines and says how long that took.
func together(b *testing.B, n, messages, size int, store func(msg []byte) error) time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for writer := range n {
		wg.Go(func() {
			msg := message(writer, 1, size)
			for i := 0; next.Add(1) <= int64(messages); i++ {
				msg[i%size]++
				if err := store(msg); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}

// BenchmarkSweep sweeps segments of 64 MiB in which every third message of 10 KB
// stands. MB/s counts the bytes of the segment, "live MB/s" those copied.
func BenchmarkSweep(b *testing.B) {
	ctx := context.Background()
	s, err := Open(Options{Dir: b.TempDir(), MaxSegment: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var copied, swept int64
	var pairs int
	for b.Loop() {
		b.StopTimer()
		first, err := put(ctx, s, make([]byte, 1), nil)
		if err != nil {
			b.Fatal(err)
		}
		dead := []Ref{first}
		stands := map[Ref]bool{}
		j := &job{}
		for n := range 6000 {
			msg := message(n, len(stands), 10<<10)
			j.pairs = append(j.pairs, newPair{message: msg, sidecar: []byte("{}"), ref: Ref{Size: int64(len(msg)), Sum: sha256.Sum256(msg)}})
		}
		if err := s.submit(ctx, j); err != nil {
			b.Fatal(err)
		}
		for i := range j.pairs {
			if i%3 == 0 {
				stands[j.pairs[i].ref] = true
			} else {
				dead = append(dead, j.pairs[i].ref)
			}
		}
		if err := s.Remove(ctx, dead...); err != nil {
			b.Fatal(err)
		}
		s.mu.Lock()
		clear(s.pins)
		s.mu.Unlock()
		if _, err := s.Usage(ctx); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		done, err := s.Sweep(ctx, first.Segment, func(ref Ref) (bool, error) { return stands[ref], nil },
			func(_ context.Context, moves []Move) error {
				for _, m := range moves {
					copied += m.From.Size
				}
				return nil
			})
		if err != nil || done.Freed == 0 {
			b.Fatal(done, err)
		}
		swept += done.Freed
		pairs += done.Moved
	}
	seconds := b.Elapsed().Seconds()
	b.ReportMetric(float64(swept)/1e6/seconds, "MB/s")
	b.ReportMetric(float64(copied)/1e6/seconds, "live-MB/s")
	b.ReportMetric(float64(pairs)/seconds, "msg/s")
}

// BenchmarkRemove removes one message at a time, and 200 in one call.
func BenchmarkRemove(b *testing.B) {
	for _, n := range []int{1, 200} {
		b.Run(fmt.Sprintf("each=%d", n), func(b *testing.B) {
			ctx := context.Background()
			s, err := Open(Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			j := &job{pairs: make([]newPair, b.N+n)}
			if err := s.submit(ctx, j); err != nil {
				b.Fatal(err)
			}
			refs := make([]Ref, 0, len(j.pairs))
			for _, p := range j.pairs {
				refs = append(refs, p.ref)
			}
			b.ResetTimer()
			for i := 0; i < b.N; i += n {
				if err := s.Remove(ctx, refs[i:i+n]...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCount reads the headers of 50,000 messages of 2 KB, as the first
// Usage after Open does.
func BenchmarkCount(b *testing.B) {
	const messages = 50_000
	ctx := context.Background()
	s, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	j := &job{pairs: make([]newPair, messages)}
	for i := range j.pairs {
		j.pairs[i] = newPair{message: make([]byte, 2048), sidecar: []byte("{}"), ref: Ref{Size: 2048}}
	}
	if err := s.submit(ctx, j); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.countAll(ctx, s.durable); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(messages*b.N)/b.Elapsed().Seconds(), "msg/s")
}

func BenchmarkRead(b *testing.B) {
	s, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ref, err := put(context.Background(), s, message(1, 1, 10<<10), []byte("{}"))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, ref.Size)
	b.SetBytes(ref.Size)
	b.ReportAllocs()
	for b.Loop() {
		r, err := s.Open(ref)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.ReadAt(buf, 0); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}
