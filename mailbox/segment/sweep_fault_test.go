package segment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// removeAndSweep stores, removes and sweeps, small and large ones. It goes on
// after an error that is not final, as a program would.
func removeAndSweep(o *owner) (failed error) {
	ctx := context.Background()
	note := func(err error) {
		if err != nil && (failed == nil || errors.Is(err, ErrFailed)) {
			failed = err
		}
	}
	for n := range 24 {
		_, err := o.put(ctx, []int{700, 3000, 1500, 9000}[n%4])
		note(err)
	}
	for i, id := range o.ids() {
		if i%3 == 0 {
			o.again(id)
		}
	}
	for i, id := range o.ids() {
		if i%5 != 1 {
			note(o.remove(ctx, id))
		}
	}
	note(o.sweepAll(ctx))
	for range 6 {
		_, err := o.put(ctx, 2000)
		note(err)
	}
	ids := o.ids()
	note(o.remove(ctx, ids[:len(ids)*3/4]...))
	note(o.sweepAll(ctx))
	return failed
}

// resume opens what a power cut left and goes on: what the owner knows holds
// before and after the sweeps are done again.
func resume(t *testing.T, o *owner, m *memFS, where string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Log(where)
		}
	}()
	var err error
	if _, err := Check(context.Background(), o.options(small(m)), CheckOptions{Deep: true}, func(f Finding) {
		if !f.Problem.Harmless() {
			t.Errorf("before it is opened: %v", f)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if o.s, err = Open(o.options(small(m))); err != nil {
		t.Fatalf("open after the cut: %v", err)
	}
	if err := o.verify(); err != nil {
		t.Fatalf("after the cut: %v", err)
	}
	for _, size := range []int{700, 9000} {
		if _, err := o.put(context.Background(), size); err != nil {
			t.Fatalf("not fit for work after the cut: %v", err)
		}
	}
	if err := o.sweepAll(context.Background()); err != nil {
		t.Fatalf("sweep after the cut: %v", err)
	}
	if err := o.verify(); err != nil {
		t.Fatalf("after the sweeps: %v", err)
	}
	o.verifyUsage(t)
	usage, _ := o.s.Usage(context.Background())
	if slices.ContainsFunc(usage, func(u SegmentUsage) bool { return u.Interrupted || u.Damaged }) {
		t.Fatalf("usage %+v", usage)
	}
	if err := o.s.Close(); err != nil {
		t.Fatal(err)
	}
	if m.handles != 0 {
		t.Fatalf("%d files left open", m.handles)
	}
}

// TestA7_RemoveAndSweep fails each call in turn, in both ways, while messages
// are removed and segments swept, cuts the current afterwards, and opens again.
func TestA7_RemoveAndSweep(t *testing.T) {
	for _, kind := range []faultKind{failClean, failHalf} {
		clean := false
		for n := 1; !clean && n < 2000; n++ {
			m := newMemFS()
			m.failAt, m.kind = n, kind
			s, err := Open(small(m))
			if err != nil {
				t.Fatal(err)
			}
			o := newOwner(s)
			failed := removeAndSweep(o)
			if clean = m.fired == ""; clean && failed != nil {
				t.Fatalf("clean run: %v", failed)
			}
			if m.fired == "sync" || m.fired == "syncdir" {
				if !errors.Is(failed, ErrFailed) || !errors.Is(failed, errDisk) {
					t.Fatalf("call %d (%s) failed, answer: %v", n, m.fired, failed)
				}
			}
			if err := o.verify(); err != nil {
				t.Fatalf("call %d (%s), before the cut: %v", n, m.fired, err)
			}
			resume(t, o.clone(), m.powerCut(rand.New(rand.NewPCG(uint64(kind), uint64(n)))),
				fmt.Sprintf("kind %d, call %d (%s)", kind, n, m.fired))
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

// TestA2_PowerCutAtEveryStep cuts the current just before each call of the same
// work, and once after it.
func TestA2_PowerCutAtEveryStep(t *testing.T) {
	for n := 1; n < 2000; n++ {
		m := newMemFS()
		s, err := Open(small(m))
		if err != nil {
			t.Fatal(err)
		}
		o := newOwner(s)
		var then *owner
		var cuts []*memFS
		m.failAt, m.kind = n, halt
		m.halted = func() {
			then = o.clone()
			for seed := range uint64(2) {
				cuts = append(cuts, m.cutNow(rand.New(rand.NewPCG(seed, uint64(n)))))
			}
		}
		if err := removeAndSweep(o); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if then == nil {
			if n < 60 {
				t.Fatalf("only %d calls: the work does not do what it should", n)
			}
			return
		}
		for _, cut := range cuts {
			resume(t, then.clone(), cut, fmt.Sprintf("before call %d (%s)", n, m.fired))
		}
	}
	t.Fatal("the end of the work was not reached")
}

// TestSweepIsDoneAgain lets the owner's records fail at each message of a sweep
// and halts there: the sweep is gone on with, also when what it had copied was
// removed meanwhile, and nothing is copied twice.
func TestSweepIsDoneAgain(t *testing.T) {
	ctx := context.Background()
	stop := errors.New("records cannot be written")
	for _, halted := range []bool{false, true} {
		for at := range 7 {
			for _, meanwhile := range []string{"nothing", "removed", "removed before", "removed after"} {
				m := newMemFS()
				s, err := Open(small(m))
				if err != nil {
					t.Fatal(err)
				}
				o := newOwner(s)
				for range 12 {
					if _, err := o.put(ctx, 700); err != nil {
						t.Fatal(err)
					}
				}
				ids := o.ids()
				if err := o.remove(ctx, ids[0], ids[1]); err != nil {
					t.Fatal(err)
				}
				ids = ids[2:9] // they fill the first segment
				first := o.records[ids[0]].ref.Segment
				o.failMoved = func(done int) error {
					if done < at {
						return nil
					}
					if meanwhile == "removed before" { // the record goes while its copy stands already
						o.failMoved = nil
						if err := o.remove(ctx, ids...); err != nil {
							t.Error(err)
						}
					}
					return stop
				}
				if _, err := o.sweep(ctx, first); err != nil && !errors.Is(err, stop) {
					t.Fatal(err)
				}
				o.failMoved = nil
				usage, err := s.Usage(ctx)
				if err != nil || !usage[0].Interrupted {
					t.Fatalf("stopped at %d: usage %+v, %v", at, usage, err)
				}
				if err := o.verify(); err != nil {
					t.Fatalf("stopped at %d: %v", at, err)
				}
				if meanwhile == "removed" {
					if err := o.remove(ctx, ids[0], ids[1]); err != nil {
						t.Fatal(err)
					}
				}
				last := usage[len(usage)-1]
				if _, err := o.sweep(ctx, last.Segment); !errors.Is(err, ErrBusy) {
					t.Fatalf("a segment with copies was swept before their own: %v", err)
				}
				if halted {
					m = m.powerCut(rand.New(rand.NewPCG(1, uint64(at))))
					s.Close()
					if s, err = Open(o.options(small(m))); err != nil {
						t.Fatal(err)
					}
					o.s = s
					if meanwhile == "removed after" { // no header was counted yet, so it knows one place
						if err := o.remove(ctx, ids[0], ids[1], ids[6]); err != nil {
							t.Fatal(err)
						}
					}
					if err := o.verify(); err != nil {
						t.Fatalf("halted at %d: %v", at, err)
					}
				}
				before := m.sizes(s.path(last.Segment))
				if _, err := o.sweep(ctx, first); err != nil {
					t.Fatal(err)
				}
				grown := m.sizes(s.path(last.Segment)) - before
				if grown > 20*removalSize+endSize {
					t.Errorf("stopped at %d, %s: the second sweep wrote %d bytes again", at, meanwhile, grown)
				}
				if err := o.verify(); err != nil {
					t.Fatalf("stopped at %d, %s, halted %t: %v", at, meanwhile, halted, err)
				}
				o.verifyUsage(t)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func (m *memFS) sizes(name string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.names[name]; n != nil {
		return int64(len(n.data))
	}
	return 0
}

// TestRemovedWhileItIsCopied removes a message after a sweep has read it and
// before its copy is written.
func TestRemovedWhileItIsCopied(t *testing.T) {
	ctx := context.Background()
	s, err := Open(small(newMemFS()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o := newOwner(s)
	for range 3 {
		if _, err := o.put(ctx, 700); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.remove(ctx, 2); err != nil {
		t.Fatal(err)
	}
	done, err := s.Sweep(ctx, 2, func(ref Ref) (bool, error) { // asked for the second
		return false, o.remove(ctx, 1)
	}, o.moved)
	if err != nil || done.Moved != 1 || done.Dropped != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	if err := o.verify(); err != nil {
		t.Fatal(err)
	}
	o.verifyUsage(t)
}

// TestChangesWhileHeadersAreCounted stores and removes while Usage reads the
// folder for the first time.
func TestChangesWhileHeadersAreCounted(t *testing.T) {
	ctx := context.Background()
	m := newMemFS()
	f := &hookFS{FS: m}
	options := small(f)
	s, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	o := newOwner(s)
	change := func() {
		for _, size := range []int{700, 9000, 9000} {
			if _, err := o.put(ctx, size); err != nil {
				t.Fatal(err)
			}
		}
		ids := o.ids()
		if err := o.remove(ctx, ids[0], ids[1], ids[len(ids)-1]); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		change()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for at := 1; ; at++ {
		if o.s, err = Open(o.options(options)); err != nil {
			t.Fatal(err)
		}
		f.opens, f.at, f.do = 0, at, change
		if _, err := o.s.Usage(ctx); err != nil {
			t.Fatal(err)
		}
		fired := f.do == nil
		f.do = nil
		o.verifyUsage(t)
		if err := o.verify(); err != nil {
			t.Fatal(err)
		}
		if err := o.s.Close(); err != nil {
			t.Fatal(err)
		}
		if !fired {
			if at < 4 {
				t.Fatalf("only %d files were opened", at)
			}
			return
		}
	}
}

// hookFS does something just before a file is opened for the nth time.
type hookFS struct {
	FS
	opens, at int
	do        func()
}

func (h *hookFS) Open(name string) (File, error) {
	if h.opens++; h.opens == h.at && h.do != nil {
		do := h.do
		h.do = nil
		do()
	}
	return h.FS.Open(name)
}

// TestRemovedBehindDamage: of a message that stands twice, the first place is
// removed and then damaged; the second one is shown, and as removed.
func TestRemovedBehindDamage(t *testing.T) {
	ctx := context.Background()
	m := newMemFS()
	s, err := Open(small(m))
	if err != nil {
		t.Fatal(err)
	}
	ref := mustPut(t, s, "message", "{}")
	s.mu.Lock()
	clear(s.pins)
	s.mu.Unlock()
	stop := errors.New("stop")
	if _, err := s.Sweep(ctx, 2, nil, func(context.Context, []Move) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	s.Close()
	if s, err = Open(small(m)); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Remove(ctx, ref); err != nil {
		t.Fatal(err)
	}
	m.names[s.path(2)].data[4*block-block] ^= 1 // first byte of the sidecar
	var shown []Entry
	err = s.Walk(ctx, func(e Entry) error { shown = append(shown, e); return nil })
	if !errors.Is(err, ErrCorrupt) || len(shown) != 1 || !shown[0].Removed || shown[0].Segment == 2 {
		t.Errorf("shown %+v, %v", shown, err)
	}
}
