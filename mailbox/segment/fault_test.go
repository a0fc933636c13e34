package segment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// kept is a message that was acknowledged.
type kept struct {
	ref     Ref
	message []byte
	sidecar []byte
}

// sizes cover one block, its edges, several blocks and large messages for
// small(): LargeAt 8 KiB, MaxSegment 24 KiB.
var sizes = []int{1, 511, 512, 513, 4000, 8191, 8192, 20000, 300 << 10}

func small(f FS) Options {
	return Options{Dir: "/store", FS: f, LargeAt: 8 << 10, MaxSegment: 24 << 10, Handles: 2}
}

// message is deterministic: the same numbers give the same bytes.
func message(writer, n, size int) []byte {
	r := rand.New(rand.NewPCG(uint64(writer), uint64(n)))
	b := make([]byte, size)
	for i := 0; i < len(b); i += 64 {
		b[i] = byte(r.Uint32())
	}
	return b
}

func put(ctx context.Context, s *Store, msg, sidecar []byte) (Ref, error) {
	w, err := s.Begin(ctx)
	if err != nil {
		return Ref{}, err
	}
	defer w.Abort()
	for rest := msg; len(rest) > 0; {
		n := min(len(rest), 3000)
		if _, err := w.Write(rest[:n]); err != nil {
			return Ref{}, err
		}
		rest = rest[n:]
	}
	return w.Commit(ctx, sidecar)
}

func get(s *Store, ref Ref) ([]byte, error) {
	r, err := s.Open(ref)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	return b, errors.Join(err, r.Close())
}

// work stores messages from several goroutines and gives those that were
// acknowledged. It stops quietly at the first error of each goroutine.
func work(s *Store) (acked []kept, failed error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for writer := range 3 {
		wg.Go(func() {
			for n, size := range sizes {
				if writer > 0 {
					size = min(size, 20000) // one message longer than the buffer of an upload is enough
				}
				k := kept{message: message(writer, n, size), sidecar: fmt.Appendf(nil, `{"writer":%d,"n":%d}`, writer, n)}
				var err error
				k.ref, err = put(context.Background(), s, k.message, k.sidecar)
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					acked = append(acked, k)
				}
				mu.Unlock()
				if errors.Is(err, ErrFailed) {
					return
				}
			}
		})
	}
	wg.Wait()
	return acked, failed
}

// check compares a store with what was acknowledged, and everything in it with
// its own sums. It gives the number of acknowledged messages that are missing.
func check(t *testing.T, s *Store, acked []kept) (missing int) {
	t.Helper()
	ctx := context.Background()
	found := map[Ref][]byte{}
	if err := s.Walk(ctx, func(e Entry) error {
		found[e.Ref] = e.Sidecar
		return s.Verify(ctx, e.Ref)
	}); err != nil {
		t.Errorf("walk: %v", err)
	}
	for _, k := range acked {
		if k.ref.Sum != sha256.Sum256(k.message) || k.ref.Size != int64(len(k.message)) {
			t.Errorf("reference %d/%d does not name its message", k.ref.Segment, k.ref.Offset)
		}
		b, err := get(s, k.ref)
		if err != nil || !bytes.Equal(b, k.message) || !bytes.Equal(found[k.ref], k.sidecar) {
			missing++
		}
	}
	return missing
}

// TestA7_EveryCallFails fails each call to the file system in turn, in both
// ways, cuts the current after it, and opens again: what was acknowledged is
// there and equal, nothing is torn, and a store that failed says so.
func TestA7_EveryCallFails(t *testing.T) {
	for _, kind := range []faultKind{failClean, failHalf} {
		clean := false
		for n := 1; !clean && n < 2000; n++ {
			m := newMemFS()
			m.failAt, m.kind = n, kind
			s, err := Open(small(m))
			if err != nil {
				t.Fatalf("open a new store: %v", err) // makes no call that can fail
			}
			acked, failed := work(s)
			clean = m.fired == ""
			if clean && (failed != nil || len(acked) != 3*len(sizes)) {
				t.Fatalf("clean run: %d acknowledged, %v", len(acked), failed)
			}
			if m.fired == "sync" || m.fired == "syncdir" || m.fired == "rename" {
				if !errors.Is(failed, ErrFailed) || !errors.Is(failed, errDisk) {
					t.Fatalf("call %d (%s) failed, answer: %v", n, m.fired, failed)
				}
				if _, err := put(context.Background(), s, []byte("later"), nil); !errors.Is(err, ErrFailed) {
					t.Fatalf("call %d (%s) failed, a later message got: %v", n, m.fired, err)
				}
			}
			if lost := check(t, s, acked); lost != 0 {
				t.Fatalf("call %d (%s): %d unreadable before the cut", n, m.fired, lost)
			}
			for seed := range uint64(2) {
				after := m.powerCut(rand.New(rand.NewPCG(seed, uint64(n))))
				s2, err := Open(small(after))
				if err != nil {
					t.Fatalf("call %d (%s): open after the cut: %v", n, m.fired, err)
				}
				if lost := check(t, s2, acked); lost != 0 {
					t.Fatalf("call %d (%s): %d of %d lost", n, m.fired, lost, len(acked))
				}
				for _, size := range []int{700, 9000} { // it goes on, and over nothing
					k := kept{message: message(7, size, size), sidecar: []byte("{}")}
					if k.ref, err = put(context.Background(), s2, k.message, k.sidecar); err != nil {
						t.Fatalf("call %d (%s): not fit for work after the cut: %v", n, m.fired, err)
					}
					acked = append(acked, k)
				}
				if lost := check(t, s2, acked); lost != 0 {
					t.Fatalf("call %d (%s): %d lost by going on", n, m.fired, lost)
				}
				acked = acked[:len(acked)-2]
				if err := s2.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if m.handles != 0 {
				t.Fatalf("call %d: %d files left open", n, m.handles)
			}
		}
		if !clean {
			t.Fatal("no clean run was reached")
		}
	}
}

// TestA7_RecoveryFails fails each call while a store is opened after a power cut.
func TestA7_RecoveryFails(t *testing.T) {
	for n := 1; n < 50; n++ {
		fired := false
		for seed := range uint64(6) {
			m := newMemFS()
			s, err := Open(small(m))
			if err != nil {
				t.Fatal(err)
			}
			acked, _ := work(s)
			// An upload and a group that nobody was told of.
			w, _ := s.Begin(context.Background())
			w.Write(make([]byte, 9000))
			s.mu.Lock()
			s.act.f.WriteAt(message(9, 9, 5000), s.durable.End)
			s.mu.Unlock()
			cut := m.powerCut(rand.New(rand.NewPCG(seed, 1)))
			w.Abort()
			s.Close()

			cut.failAt = n
			s, err = Open(small(cut))
			fired = fired || cut.fired != ""
			cut.failAt = 0
			if err != nil {
				cut = cut.powerCut(rand.New(rand.NewPCG(seed, 2)))
				s, err = Open(small(cut))
			}
			if err != nil {
				t.Fatalf("call %d: second open: %v", n, err)
			}
			if lost := check(t, s, acked); lost != 0 {
				t.Fatalf("call %d: %d lost", n, lost)
			}
			s.Close()
		}
		if !fired {
			return
		}
	}
	t.Fatal("no clean run was reached")
}

// TestA2_PowerCut cuts the current at the end of each run, many times, and
// checks with a disk that lies that the test can see a loss.
func TestA2_PowerCut(t *testing.T) {
	lostByLies := 0
	for seed := range uint64(20) {
		for _, lying := range []bool{false, true} {
			m := newMemFS()
			m.lying = lying
			s, err := Open(small(m))
			if err != nil {
				t.Fatal(err)
			}
			acked, _ := work(s)
			after := m.powerCut(rand.New(rand.NewPCG(seed, 7)))
			s.Close()
			s, err = Open(small(after))
			if lying {
				lostByLies++ // refused, or counted below
			}
			if err != nil {
				if !lying {
					t.Fatal(err)
				}
				continue
			}
			if lying {
				lostByLies--
				for _, k := range acked {
					if s.Verify(context.Background(), k.ref) != nil {
						lostByLies++
					}
				}
			} else if lost := check(t, s, acked); lost != 0 {
				t.Fatalf("seed %d: %d lost", seed, lost)
			}
			s.Close()
		}
	}
	if lostByLies == 0 {
		t.Fatal("the power cut loses nothing on a disk that never syncs: the test is blind")
	}
}
