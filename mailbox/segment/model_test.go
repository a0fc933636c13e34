package segment

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid" // draws and shrinks sequences of steps
)

// TestModel does random steps with a store and an owner, cuts and failures
// among them, and compares the two after each.
func TestModel(t *testing.T) { rapid.Check(t, modelRun) }

func modelRun(t *rapid.T) {
	ctx := context.Background()
	m := newMemFS()
	s, err := Open(small(m))
	if err != nil {
		t.Fatal(err)
	}
	o := newOwner(s)
	var held []func()            // messages that are not released
	readers := map[*Reader]int{} // opened before, read to the end later
	bodies := map[int][]byte{}

	closeReaders := func(t *rapid.T) {
		for r, id := range readers {
			b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
			if err != nil || !bytes.Equal(b, bodies[id]) {
				t.Fatalf("a reader that was open reads something else: %v", err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			delete(readers, r)
		}
	}
	reopen := func(t *rapid.T, next *memFS) {
		closeReaders(t)
		if err := o.s.Close(); err != nil {
			t.Fatal(err)
		}
		if m.handles != 0 {
			t.Fatalf("%d files left open", m.handles)
		}
		m, held = next, nil
		var err error
		if o.s, err = Open(o.options(small(m))); err != nil {
			t.Fatal(err)
		}
	}
	cut := func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "dice")
		reopen(t, m.powerCut(rand.New(rand.NewPCG(seed, 3))))
	}
	some := func(t *rapid.T) []int {
		ids := o.ids()
		if len(ids) == 0 {
			return nil
		}
		from := rapid.IntRange(0, len(ids)-1).Draw(t, "from")
		return ids[from:rapid.IntRange(from+1, min(len(ids), from+8)).Draw(t, "to")]
	}
	// done sees to what a failure leaves behind.
	done := func(t *rapid.T, err error) {
		fired := m.fired
		m.failAt, m.fired = 0, ""
		switch {
		case err == nil || errors.Is(err, ErrBusy):
		case errors.Is(err, ErrFailed):
			cut(t)
		case errors.Is(err, errDisk) && fired != "":
		default:
			t.Fatalf("after a failed %q: %v", fired, err)
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"put": func(t *rapid.T) {
			for range rapid.IntRange(1, 6).Draw(t, "messages") {
				release, _, err := o.putHeld(ctx, rapid.SampledFrom([]int{0, 1, 513, 700, 3000, 8192, 12000}).Draw(t, "size"))
				if err == nil && rapid.IntRange(0, 9).Draw(t, "hold") == 0 {
					held = append(held, release)
				} else if err == nil {
					release()
				}
				done(t, err)
			}
		},
		"release": func(t *rapid.T) {
			for _, f := range held {
				f()
				f()
			}
			held = nil
		},
		"again": func(t *rapid.T) {
			for _, id := range some(t) {
				o.again(id)
			}
		},
		"remove": func(t *rapid.T) { done(t, o.remove(ctx, some(t)...)) },
		"sweep any": func(t *rapid.T) {
			usage, err := o.s.Usage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(usage) == 0 {
				return
			}
			if after := rapid.IntRange(-10, 10).Draw(t, "records fail after"); after >= 0 {
				o.failMoved = func(int) error {
					if after--; after < 0 {
						return errDisk
					}
					return nil
				}
			}
			_, err = o.sweep(ctx, rapid.SampledFrom(usage).Draw(t, "segment").Segment)
			if o.failMoved = nil; errors.Is(err, errDisk) && m.fired == "" {
				err = nil
			}
			done(t, err)
		},
		"sweep all": func(t *rapid.T) { done(t, o.sweepAll(ctx)) },
		"open": func(t *rapid.T) {
			for _, id := range some(t) {
				r, err := o.s.Open(o.records[id].ref)
				if err != nil {
					t.Fatal(err)
				}
				readers[r], bodies[id] = id, o.records[id].body
			}
		},
		"read": closeReaders,
		"fail": func(t *rapid.T) { // one of the next calls
			m.failAt = m.calls + rapid.IntRange(1, 6).Draw(t, "call")
			m.kind = rapid.SampledFrom([]faultKind{failClean, failHalf}).Draw(t, "kind")
		},
		"cut":    func(t *rapid.T) { m.failAt = 0; cut(t) },
		"reopen": func(t *rapid.T) { m.failAt = 0; reopen(t, m) },
		"": func(t *rapid.T) {
			if err := o.verify(); err != nil {
				t.Fatal(err)
			}
			o.verifyUsage(t)
		},
	})
	m.failAt = 0
	closeReaders(t)
	cut(t)
	if err := o.sweepAll(ctx); err != nil {
		t.Fatal(err)
	}
	if err := o.verify(); err != nil {
		t.Fatal(err)
	}
	o.verifyUsage(t)
	if err := o.s.Close(); err != nil {
		t.Fatal(err)
	}
}
