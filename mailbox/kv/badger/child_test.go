package badger

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4" // its settings
	"go.uber.org/goleak"             // sees a goroutine that Close forgot

	"pecgate/mailbox/kv"
)

// childMode is the environment variable that makes the test program a process
// of its own, to be killed or measured.
const childMode = "PECGATE_KV_CHILD"

func TestMain(m *testing.M) {
	mode, dir, _ := strings.Cut(os.Getenv(childMode), ":")
	switch mode {
	case "":
		goleak.VerifyTestMain(m)
	case "fill":
		fillMillion(dir)
	case "open":
		openOnce(dir)
	case "write":
		writeForever(dir)
	case "logs":
		fillLogs(dir)
	case "former":
		writeFormer(dir)
	case "adopt":
		adoptAndDie(dir)
	case "blocked":
		writeBlocked(dir)
	case "opening":
		mergeWhileOpening(dir)
	case "cramped":
		writeCramped(dir)
	}
}

// child starts this program again.
func child(t testing.TB, mode, dir string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childMode+"="+mode+":"+dir)
	c.Stderr = os.Stderr
	return c
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// fillMillion writes records of 600 bytes and ends without closing the store.
func fillMillion(dir string) {
	s, err := Open(Options{Dir: dir})
	fail(err)
	const keys, folds = 1000, 1000
	r := rand.NewChaCha8([32]byte{1})
	for n := range folds {
		err := s.Update(context.Background(), func(tx kv.Txn) error {
			value := make([]byte, 600)
			for i := range keys {
				r.Read(value)
				// Messages come to folders in turn, so keys do not ascend.
				key := binary.BigEndian.AppendUint64([]byte{'m', byte(i % 50)}, uint64(n*keys+i))
				if err := tx.Put(key, value); err != nil {
					return err
				}
			}
			return nil
		})
		fail(err)
	}
	os.Exit(0)
}

// openOnce tells how long Open took and how much memory the process has then.
func openOnce(dir string) {
	start := time.Now()
	s, err := Open(Options{Dir: dir})
	fail(err)
	took := time.Since(start)
	at := anonymous()
	time.Sleep(3 * time.Second) // what the crash left in logs goes to tables
	later := anonymous()
	n := 0
	fail(s.View(context.Background(), func(r kv.Reader) error {
		return r.Scan(nil, nil, func(k, v []byte) (bool, error) { n++; return true, nil })
	}))
	fmt.Println(took.Microseconds(), at, later, anonymous(), n)
	fail(s.Close())
}

// anonymous is RssAnon of this process in kB.
func anonymous() int {
	f, err := os.Open("/proc/self/status")
	fail(err)
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "RssAnon:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(rest, "kB")))
			fail(err)
			return n
		}
	}
	return 0
}

// BenchmarkOpen is Open after a kill, in a process of its own, and its memory:
// at once, and after a while.
func BenchmarkOpen(b *testing.B) {
	for _, full := range []bool{false, true} {
		b.Run(fmt.Sprintf("million=%t", full), func(b *testing.B) {
			dir := b.TempDir()
			if full {
				if err := child(b, "fill", dir).Run(); err != nil {
					b.Fatal(err)
				}
			}
			var took, at, later, scanned int
			for range b.N {
				copied := b.TempDir()
				copyFolder(b, dir, copied)
				out, err := child(b, "open", copied).Output()
				if err != nil {
					b.Fatal(err)
				}
				var us, now, then, after, n int
				if _, err := fmt.Sscan(string(out), &us, &now, &then, &after, &n); err != nil || full && n != 1000000 {
					b.Fatal(string(out), err)
				}
				took, at, later, scanned = took+us, max(at, now), max(later, then), max(scanned, after)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(took)/float64(b.N)/1000, "ms/open")
			b.ReportMetric(float64(at)/1000, "MB-anon-open")
			b.ReportMetric(float64(later)/1000, "MB-anon-later")
			b.ReportMetric(float64(scanned)/1000, "MB-anon-scanned")
		})
	}
}

// writeForever acknowledges each Update on a line of its output.
func writeForever(dir string) {
	s, err := Open(Options{Dir: dir, tune: small})
	fail(err)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("w%d/%02d/%06d", w, os.Getpid()%100, n)
				fail(s.Update(context.Background(), func(tx kv.Txn) error {
					return tx.Put([]byte(key), make([]byte, 3000))
				}))
				mu.Lock()
				fmt.Println(key)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// fillLogs makes a store with tables and several logs out of records of the
// damage tests, tells how many, and ends without closing it. badger is kept from
// emptying the logs: its first level is full and nobody compacts. The oldest log
// is in a table already.
func fillLogs(dir string) {
	s, err := Open(Options{Dir: dir, tune: func(o badger.Options) badger.Options {
		return small(o).WithMemTableSize(192 << 10).WithValueThreshold(8 << 10).
			WithNumLevelZeroTables(1).WithNumLevelZeroTablesStall(2).WithNumCompactors(0)
	}})
	fail(err)
	for n, more := 0, 0; ; n++ {
		names, err := logsOf(dir)
		fail(err)
		if len(names) == 4 {
			if more++; more > 10 {
				fmt.Println(n * each)
				os.Exit(0)
			}
		}
		fail(s.Update(context.Background(), func(tx kv.Txn) error { return damageRecords(tx, n) }))
	}
}
