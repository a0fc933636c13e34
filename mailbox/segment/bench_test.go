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
