package segment

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tarForm is what messages of a size take as a tar file that holds nothing else.
func tarForm(refs []record, sidecar int64) (n int64) {
	for _, r := range refs {
		n += pairSize(int64(len(r.body)), sidecar)
	}
	return n
}

// onDiskBytes is what the files in a folder take.
func onDiskBytes(t testing.TB, dir string) (n int64) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += st.Size()
	}
	return n
}

// TestK13_SpaceAfterPutsAndRemoves stores 20,000 messages and removes most,
// newest, oldest and random ones, sweeping as it is due: the folder takes at
// most 1.5 times what the live messages take in tar form, and none comes back.
func TestK13_SpaceAfterPutsAndRemoves(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	open := func() *Store {
		s, err := Open(Options{Dir: dir, FS: lazyFS{Disk()}, MaxSegment: 1 << 20, LargeAt: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	o := newOwner(s)
	dice := rand.New(rand.NewPCG(13, 13))
	var largest float64
	check := func() {
		if err := o.sweepAll(ctx); err != nil {
			t.Fatal(err)
		}
		var live []record
		for _, r := range o.records {
			live = append(live, r)
		}
		ratio := float64(onDiskBytes(t, dir)) / float64(tarForm(live, 1))
		largest = max(largest, ratio)
		if ratio > 1.5 {
			usage, _ := s.Usage(ctx)
			t.Fatalf("%d live messages: %.2f times their tar form\n%+v", len(live), ratio, usage)
		}
	}
	put := func(n int) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range n / 4 {
					size := 600 + i%7*400
					if i%400 == 399 {
						size = 70 << 10 // a large one
					}
					if _, err := o.put(ctx, size); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	remove := func(share float64, choose func(ids []int)) {
		ids := o.ids()
		choose(ids)
		if err := o.removeMany(ctx, ids[:int(share*float64(len(ids)))]); err != nil {
			t.Fatal(err)
		}
	}
	oldest := func([]int) {}
	newest := func(ids []int) { slices.Reverse(ids) }
	any := func(ids []int) { dice.Shuffle(len(ids), func(a, b int) { ids[a], ids[b] = ids[b], ids[a] }) }
	for _, c := range []struct {
		share  float64
		choose func([]int)
	}{{0.2, any}, {0.5, oldest}, {0.3, newest}, {0.6, any}, {0.9, any}} {
		put(4000)
		check()
		remove(c.share, c.choose)
		check()
	}
	if err := o.verify(); err != nil {
		t.Fatal(err)
	}
	o.verifyUsage(t)
	s.Close()
	s = open()
	defer s.Close()
	o.s = s
	if err := o.verify(); err != nil { // nothing comes back
		t.Fatal(err)
	}
	check()
	t.Logf("at most %.3f times", largest)
}

// lazyFS does not sync: what is measured is space.
type lazyFS struct{ FS }

type lazyFile struct{ File }

func (lazyFile) Sync() error { return nil }

func (l lazyFS) SyncDir(string) error { return nil }

func (l lazyFS) Create(name string) (File, error) {
	f, err := l.FS.Create(name)
	return lazyFile{f}, err
}

// TestK15_UnfinishedUpload: what there is of a large message when the process
// or the machine stops is never shown and goes at the next Open, to the last byte.
func TestK15_UnfinishedUpload(t *testing.T) {
	ctx := context.Background()
	for _, end := range []string{"while it is written", "before it has its name"} {
		dir := t.TempDir()
		o := Options{Dir: dir}
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		before := mustPut(t, s, "another message", "{}")
		empty := onDiskBytes(t, dir)
		w, err := s.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		part := []byte(strings.Repeat("0123456789abcdef", 64<<10)) // 1 MiB
		for range 100 {
			if _, err := w.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if end == "before it has its name" {
			if err := w.finishUpload(&newPair{sidecar: []byte("{}"), number: w.segment*perSegment + 1}); err != nil {
				t.Fatal(err)
			}
		}
		if onDiskBytes(t, dir) < 99<<20 {
			t.Fatal("there is no upload to be found")
		}
		// The process is killed here: nothing of the store is closed but the lock.
		s.lock.Close()
		again, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if r := again.Recovered(); r.Uploads != 1 {
			t.Errorf("%s: recovered %+v", end, r)
		}
		if left := onDiskBytes(t, dir) - empty; left != 0 {
			t.Errorf("%s: %d bytes left", end, left)
		}
		if all := entries(t, again); len(all) != 1 || all[0].Ref != before {
			t.Errorf("%s: shown %+v", end, all)
		}
		again.Close()
		w.Abort()
		s.Close()
	}
}

// TestReadersDuringSweeps reads, stores and removes from several goroutines
// while one sweeps all the time.
func TestReadersDuringSweeps(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s, err := Open(Options{Dir: dir, FS: lazyFS{Disk()}, LargeAt: 16 << 10, MaxSegment: 64 << 10, Handles: 3})
	if err != nil {
		t.Fatal(err)
	}
	o := newOwner(s)
	var work, background sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		work.Go(func() {
			for i := range 150 {
				id, err := o.put(ctx, []int{500, 2000, 5000, 17000}[i%4])
				if err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 {
					continue
				}
				if err := o.remove(ctx, id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		background.Go(func() {
			dice := rand.New(rand.NewPCG(1, 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				ids := o.ids()
				if len(ids) == 0 {
					continue
				}
				id := ids[dice.IntN(len(ids))]
				o.mu.Lock()
				r, ok := o.records[id]
				o.mu.Unlock()
				if !ok {
					continue
				}
				b, err := get(s, r.ref) // the reference may be old by now
				o.mu.Lock()
				_, still := o.records[id]
				o.mu.Unlock()
				if still && (err != nil || string(b) != string(r.body)) {
					t.Errorf("message %d: %v", id, err)
					return
				}
			}
		})
	}
	swept := 0
	background.Go(func() {
		for {
			n, ok, err := s.Due(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			if ok {
				if _, err := o.sweep(ctx, n); err != nil && !isBusy(err) {
					t.Error(err)
					return
				}
				swept++
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	work.Wait()
	close(stop)
	background.Wait()
	if err := o.sweepAll(ctx); err != nil {
		t.Fatal(err)
	}
	if err := o.verify(); err != nil {
		t.Fatal(err)
	}
	o.verifyUsage(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	t.Logf("%d sweeps", swept)
}
