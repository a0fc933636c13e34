package mailbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix" // fadvise: pages of a file are given back
)

// Figures by hand, of the size that an appliance has after years:
//
//	go test -run '^$' -bench 'OpenAfterKill|SpaceAfterDeletes' -benchtime 1x -timeout 2h ./mailbox
var (
	millions = flag.Int("messages", 1_000_000, "of the benchmarks of large stores")
	bigDir   = flag.String("bigdir", "", "folder of the benchmarks of large stores, some 20 GB")
)

const bigChild = "PECGATE_BIG_CHILD"

// TestBigChild is a process of the benchmarks. Without the variable it is nothing.
func TestBigChild(t *testing.T) {
	what, rest, _ := strings.Cut(os.Getenv(bigChild), ":")
	size, dir, _ := strings.Cut(rest, ":")
	n, _ := strconv.Atoi(size)
	switch what {
	case "fill":
		fillAndDie(t, dir, n)
	case "open":
		openAndTell(t, dir)
	}
}

func big(b *testing.B, what string, n int, dir string) (string, error) {
	b.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestBigChild$", "-test.timeout=2h")
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%d:%s", bigChild, what, n, dir))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, os.Stderr
	err := c.Run()
	return out.String(), err
}

// writers put messages of a size until enough are there; each is called after
// its own was recorded.
func writers(ctx context.Context, s *Store, count, size, first, n int, each func(*Message) error) error {
	errs := make(chan error, count)
	next := atomic.Int64{}
	next.Store(int64(first))
	var wg sync.WaitGroup
	for w := range count {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), uint64(first)))
			body := make([]byte, size)
			for {
				i := next.Add(1) - 1
				if i >= int64(first+n) {
					return
				}
				for j := range body {
					body[j] = 'a' + byte(r.Uint32()%26)
					if j%70 == 69 {
						body[j] = '\n'
					}
				}
				m, err := bigMessage(ctx, s, int(i), body)
				if err == nil {
					err = each(m)
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func bigMessage(ctx context.Context, s *Store, i int, body []byte) (*Message, error) {
	box := fmt.Sprintf("ufficio%02d@pec.example", i%20)
	in, err := s.Begin(ctx)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("From: a@pec.example\r\nTo: %s\r\nSubject: Protocollo n. %d\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n"+
		"Message-ID: <m%d@pec.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n", box, i, i)
	if _, err = in.Write([]byte(head)); err == nil {
		_, err = in.Write(body)
	}
	if err != nil {
		in.Abort()
		return nil, err
	}
	st, err := in.Store(ctx, Origin{Box: box, Direction: In, Date: time.Date(2024, 1, 1, 0, i%1_000_000, 0, 0, time.UTC)})
	if err != nil {
		return nil, err
	}
	m, err := s.Record(ctx, st, func(tx *Tx, m *Message) error {
		_, _, err := tx.File(FolderKey{Box: box, Role: RoleInbox}, m, Filing{})
		return err
	})
	return m, errors.Join(err, st.Close())
}

// fillAndDie adds messages and is killed while it writes.
func fillAndDie(t *testing.T, dir string, n int) {
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Int64
	start := time.Now()
	err = writers(t.Context(), s, 64, 1500, int(time.Now().UnixNano()%1e9)*2_000_000, n+1_000_000, func(*Message) error {
		d := done.Add(1)
		if d%100_000 == 0 {
			fmt.Fprintf(os.Stderr, "%d messages, %s\n", d, time.Since(start).Round(time.Second))
		}
		if d == int64(n) {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	})
	t.Fatal("it should have been killed", err)
}

// openAndTell opens the store and tells time and memory.
func openAndTell(t *testing.T, dir string) {
	start, spent := time.Now(), cpu()
	s, err := Open(Options{Dir: dir, MinFree: 10 << 20})
	if err != nil {
		t.Fatal(err)
	}
	took, spent := time.Since(start), cpu()-spent
	at := rssAnon(t)
	time.Sleep(5 * time.Second) // what the crash left in logs goes to tables
	fmt.Println("figures", took.Microseconds(), spent.Microseconds(), at, rssAnon(t))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// cpu is the time that this process has computed.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for no other argument
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rssAnon is the anonymous resident memory of this process in kB.
func rssAnon(t *testing.T) (kb int) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if _, err := fmt.Sscanf(sc.Text(), "RssAnon: %d kB", &kb); err == nil {
			return kb
		}
	}
	return 0
}

// forget gives the pages of all files back, so that the next one to read them
// reads the disk.
func forget(b *testing.B, dir string) {
	b.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
	})
	if err != nil {
		b.Fatal(err)
	}
}

func bigFolder(b *testing.B) string {
	if *bigDir == "" {
		return b.TempDir()
	}
	return *bigDir
}

// BenchmarkOpenAfterKill is Open of a store that was killed while it wrote, with
// the files in memory and from the disk.
func BenchmarkOpenAfterKill(b *testing.B) {
	for _, n := range []int{0, *millions} {
		dir := filepath.Join(bigFolder(b), fmt.Sprint("open", n))
		for _, cold := range []bool{false, true} {
			b.Run(fmt.Sprintf("messages=%d/cold=%t", n, cold), func(b *testing.B) {
				for range b.N {
					more := 2000
					if _, err := os.Stat(dir); err != nil {
						more = n
					}
					if n > 0 {
						if out, err := big(b, "fill", more, dir); err == nil || !strings.Contains(err.Error(), "killed") {
							b.Fatal(out, err)
						}
					}
					if cold {
						forget(b, dir)
					}
					out, err := big(b, "open", 0, dir)
					if err != nil {
						b.Fatal(out, err)
					}
					var us, spent, at, later int
					_, figures, _ := strings.Cut(out, "figures ")
					if _, err := fmt.Sscan(figures, &us, &spent, &at, &later); err != nil {
						b.Fatal(out, err)
					}
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(float64(us)/1000, "ms/open")
					b.ReportMetric(float64(spent)/1000, "cpu-ms/open")
					b.ReportMetric(float64(at)/1000, "MB-anon-open")
					b.ReportMetric(float64(later)/1000, "MB-anon-later")
				}
			})
		}
	}
}

// BenchmarkSpaceAfterDeletes puts messages of 10 kB and deletes nine of ten,
// beside a sweep, and compares what the folder takes with what is alive, in the
// form of tar. Nothing comes back when the store is opened again.
func BenchmarkSpaceAfterDeletes(b *testing.B) {
	for range b.N {
		dir := filepath.Join(bigFolder(b), "space")
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		s, err := Open(Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		const size = 10_000
		ctx := context.Background()
		yes := func(*Tx, *Message) (bool, error) { return true, nil }
		var live, puts atomic.Int64
		stop, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				select {
				case <-stop:
					ended <- nil
					return
				case <-time.After(10 * time.Second):
				}
				if _, err := s.Sweep(ctx); err != nil {
					ended <- err
					return
				}
			}
		}()
		start := time.Now()
		err = writers(ctx, s, 64, size, 0, *millions, func(m *Message) error {
			if n := puts.Add(1); n%100_000 == 0 {
				b.Logf("%d puts, %s", n, time.Since(start).Round(time.Second))
			}
			if m.ID%10 == 0 {
				live.Add((m.Size()+511)/512*512 + 3*512) // with two headers and its origin
				return nil
			}
			_, err := s.removeMessage(ctx, m.ID, yes)
			return err
		})
		close(stop)
		if err := errors.Join(err, <-ended); err != nil {
			b.Fatal(err)
		}
		for last := int64(-1); ; {
			swept, err := s.Sweep(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if swept.Freed == 0 && last == 0 {
				break
			}
			last = swept.Freed
		}
		lines := int64(0) // of the audit log: deletions stay in it
		err = s.View(ctx, func(tx *Tx) error {
			return tx.r.Scan(key("a"), nil, func(k, v []byte) (bool, error) { lines += int64(len(k) + len(v)); return true, nil })
		})
		if err = errors.Join(err, s.Close()); err != nil {
			b.Fatal(err)
		}
		records, segments := onDisk(b, filepath.Join(dir, "records")), onDisk(b, filepath.Join(dir, "segments"))
		if s, err = Open(Options{Dir: dir}); err != nil {
			b.Fatal(err)
		}
		found, err := s.Recover(ctx, func(string) string { return "capo" })
		if err != nil {
			b.Fatal(err)
		}
		usages, err := s.Usages(ctx)
		if err != nil {
			b.Fatal(err)
		}
		there := int64(0)
		for _, u := range usages {
			there += u.Messages
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(segments)/float64(live.Load()), "x-segments")
		b.ReportMetric(float64(records)/float64(live.Load()), "x-records")
		b.ReportMetric(float64(lines)/float64(live.Load()), "x-audit-in-records")
		b.ReportMetric(float64(found.Filed), "resurrected")
		b.ReportMetric(float64(there-int64(*millions)/10), "too-many")
	}
}

// onDisk is what the files of a folder take of the disk.
func onDisk(b *testing.B, dir string) (n int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); errors.Is(err, fs.ErrNotExist) {
			return nil // swept or compacted away meanwhile
		} else if err != nil {
			return err
		}
		n += st.Blocks * 512
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}
