package relay

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"pecgate/relay/submit"
)

// TestB9_ProviderDownThreeDays: 10,000 submissions of eight mailboxes wait for a
// provider that cannot be reached for three days. Nothing is lost or ends, the
// attempts are few however long the queues are; when the provider is back the queues
// drain in their order and not faster than it takes them, the mailboxes do not start
// together, and never are there more connections to it than it takes. The clock goes
// from one wait to the next one.
func TestB9_ProviderDownThreeDays(t *testing.T) {
	const boxes, each, perMinute, connections = 8, 1250, 60, 3
	clock := newTestClock()
	store := clock.storeIn(t, memoryDir(t))
	var mu sync.Mutex
	up, open, most, tries := false, 0, 0, 0
	left, when := map[string][]string{}, map[string][]time.Time{}
	first := map[string]time.Time{} // since the return
	s := New(Options{Store: store, Accounts: func() []Account { return nil }, Address: "pecgate@gateway.example"})
	s.handOver = func(ctx context.Context, _ submit.Server, from string, to []string, _ submit.Body, h submit.Hooks) submit.Result {
		mu.Lock()
		tries++
		open++
		most = max(most, open)
		there := up
		mu.Unlock()
		defer func() { mu.Lock(); open--; mu.Unlock() }()
		if !there {
			return submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: io.ErrUnexpectedEOF}
		}
		if err := h.BeforeDot(ctx); err != nil {
			return submit.Result{Class: submit.Temporary, Stage: submit.StageBody, Err: err}
		}
		mu.Lock()
		defer mu.Unlock()
		left[from] = append(left[from], to[0])
		when[from] = append(when[from], clock.now())
		if first[from].IsZero() {
			first[from] = clock.now()
		}
		return submit.Result{Class: submit.HandedOver, Stage: submit.StageDot, Code: 250}
	}
	want := map[string][]string{}
	type sender struct {
		w    *worker
		next time.Time
	}
	var all []*sender
	for n := range boxes {
		box := fmt.Sprintf("%c@pec.alfa.example", 'a'+n)
		for _, id := range queued(t, store, box, each) {
			want[box] = append(want[box], id+"@pec.example")
		}
		w := aWorker(Account{Box: box, PerMinute: perMinute, Connections: connections, SMTP: Endpoint{Host: "smtp.pec.example"}})
		all = append(all, &sender{w: w, next: clock.now()})
	}
	tick := clock.now()
	// run lets the senders work until a moment, or until done says so.
	run := func(until time.Time, done func() bool) {
		t.Helper()
		for clock.now().Before(until) && !done() {
			next := slices.MinFunc(all, func(a, b *sender) int { return a.next.Compare(b.next) }).next
			clock.atLeast(next)
			for ; !tick.After(clock.now()); tick = tick.Add(runEvery) {
				if _, err := s.tick(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			var now sync.WaitGroup
			for _, x := range all {
				if x.next.After(clock.now()) {
					continue
				}
				now.Go(func() {
					wait, _, err := s.sendDue(t.Context(), x.w)
					if err != nil {
						t.Error(err)
					}
					x.next = clock.now().Add(max(wait, time.Millisecond))
				})
			}
			now.Wait()
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	began := clock.now()
	run(began.Add(3*24*time.Hour), func() bool { return false })
	st, err := s.Status(t.Context())
	if err != nil || st.Queue[Queued] != boxes*each || len(st.Queue) != 1 {
		t.Fatalf("after three days: %v, %v", st.Queue, err)
	}
	if few := boxes * 3 * 24 * 6; tries > few { // a quarter of an hour apart, and some at the beginning
		t.Errorf("%d attempts while it was down", tries)
	}
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	before := mem.HeapInuse
	up, most = true, 0
	back := clock.now()
	run(back.Add(24*time.Hour), func() bool {
		n := 0
		for _, l := range left {
			n += len(l)
		}
		return n == boxes*each
	})
	var starts []time.Time
	for box, list := range want {
		if !slices.Equal(left[box], list) {
			t.Errorf("%s: %d of %d left, or in another order", box, len(left[box]), len(list))
		}
		starts = append(starts, first[box])
		for n := perMinute; n < len(when[box]); n++ {
			if d := when[box][n].Sub(when[box][n-perMinute]); d < time.Minute {
				t.Fatalf("%s: %d messages in %s", box, perMinute+1, d)
			}
		}
	}
	slices.SortFunc(starts, time.Time.Compare)
	if d := starts[boxes-1].Sub(starts[0]); d < 10*time.Second {
		t.Errorf("the mailboxes started within %s", d)
	}
	if d := clock.now().Sub(back); d > time.Hour {
		t.Errorf("it took %s to drain", d)
	}
	if most > connections {
		t.Errorf("%d connections at once", most)
	}
	// The store may still be writing its tables anew, for which it takes memory.
	for tries := 0; ; tries++ {
		runtime.GC()
		runtime.ReadMemStats(&mem)
		if mem.HeapInuse <= before+64<<20 {
			break
		}
		if tries == 200 {
			t.Fatalf("the heap went from %d to %d MiB", before>>20, mem.HeapInuse>>20)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d attempts in three days; drained in %s, the mailboxes began within %s", tries-boxes*each, clock.now().Sub(back), starts[boxes-1].Sub(starts[0]))
}

// memoryDir is a folder in memory, for what proves nothing about the disk and writes
// much; where there is no such disk, or one without much room, an ordinary one.
func memoryDir(t *testing.T) string {
	t.Helper()
	const disk, enough = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(disk, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < enough {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(disk, "relay")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
