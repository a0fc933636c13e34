package segment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// owner plays the one whose records name messages, as doc.go demands it. Its
// records are durable the moment they change.
type owner struct {
	s *Store

	mu      sync.Mutex
	records map[int]record // by a number of ours; changed by set and unset only
	naming  map[Ref][]int  // those that name a place
	doubt   map[int]bool   // messages whose Commit or Remove was not answered
	gone    map[int]bool   // messages whose Remove was answered
	next    int
	named   Place // how far its records know the active segment to be whole

	failMoved func(done int) error // asked before each change of records in moved
}

// record names a message; several may name one.
type record struct {
	message int
	ref     Ref
	body    []byte
}

// origin is the sidecar.
type origin struct {
	Message int `json:"message"`
}

func newOwner(s *Store) *owner {
	return &owner{s: s, records: map[int]record{}, naming: map[Ref][]int{}, doubt: map[int]bool{}, gone: map[int]bool{}}
}

// clone is what a machine remembers when it halts now.
func (o *owner) clone() *owner {
	o.mu.Lock()
	defer o.mu.Unlock()
	then := newOwner(nil)
	for id, r := range o.records {
		then.set(id, r)
	}
	then.doubt, then.gone, then.next, then.named = maps.Clone(o.doubt), maps.Clone(o.gone), o.next, o.named
	return then
}

func (o *owner) set(id int, r record) {
	o.unset(id)
	o.records[id] = r
	o.naming[r.ref] = append(o.naming[r.ref], id)
	if !large(r.ref.Segment) {
		o.raise(Place{r.ref.Segment, r.ref.Offset})
	}
}

// raise remembers how far the bytes are durable. Callers hold the lock.
func (o *owner) raise(to Place) {
	if to.Segment > o.named.Segment || to.Segment == o.named.Segment && to.End > o.named.End {
		o.named = to
	}
}

// options are those with which its store is opened.
func (o *owner) options(opts Options) Options {
	o.mu.Lock()
	defer o.mu.Unlock()
	opts.Named = o.named
	return opts
}

func (o *owner) unset(id int) {
	ref := o.records[id].ref
	delete(o.records, id)
	o.naming[ref] = slices.DeleteFunc(slices.Clone(o.naming[ref]), func(n int) bool { return n == id })
	if len(o.naming[ref]) == 0 {
		delete(o.naming, ref)
	}
}

// put stores a message and records it.
func (o *owner) put(ctx context.Context, size int) (int, error) {
	release, id, err := o.putHeld(ctx, size)
	if err == nil {
		release()
	}
	return id, err
}

// putHeld is put without the Release.
func (o *owner) putHeld(ctx context.Context, size int) (release func(), id int, err error) {
	o.mu.Lock()
	o.next++
	id = o.next
	o.doubt[id] = true
	o.mu.Unlock()
	body := message(1000, id, size)
	side, _ := json.Marshal(origin{id})
	w, err := o.s.Begin(ctx)
	if err != nil {
		return nil, id, err
	}
	defer w.Abort()
	if _, err := w.Write(body); err != nil {
		return nil, id, err
	}
	ref, err := w.Commit(ctx, side)
	if err != nil {
		return nil, id, err
	}
	o.mu.Lock()
	o.set(id, record{id, ref, body})
	delete(o.doubt, id)
	o.mu.Unlock()
	return w.Release, id, nil
}

// again makes a second record of a message.
func (o *owner) again(id int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next++
	o.set(o.next, o.records[id])
	return o.next
}

// remove removes records, and the messages no other record names.
func (o *owner) remove(ctx context.Context, ids ...int) error {
	var refs []Ref
	var messages []int
	o.mu.Lock()
	for _, id := range ids {
		r := o.records[id]
		o.unset(id)
		if !o.names(r.ref) {
			refs = append(refs, r.ref)
			messages = append(messages, r.message)
			o.doubt[r.message] = true
		}
	}
	o.mu.Unlock()
	if err := o.s.Remove(ctx, refs...); err != nil {
		return err
	}
	upTo := o.s.Durable()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.raise(upTo)
	for _, m := range messages {
		delete(o.doubt, m)
		o.gone[m] = true
	}
	return nil
}

// names says whether a record names a place. Callers hold the lock.
func (o *owner) names(ref Ref) bool {
	return len(o.naming[ref]) > 0
}

func (o *owner) live(ref Ref) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.names(ref), nil
}

func (o *owner) moved(_ context.Context, moves []Move) error {
	for i, m := range moves {
		if o.failMoved != nil {
			if err := o.failMoved(i); err != nil {
				return err
			}
		}
		o.mu.Lock()
		for _, id := range o.naming[m.From] {
			r := o.records[id]
			r.ref = m.To
			o.set(id, r)
		}
		o.mu.Unlock()
	}
	return nil
}

func (o *owner) sweep(ctx context.Context, segment uint64) (Swept, error) {
	return o.s.Sweep(ctx, segment, o.live, o.moved)
}

// sweepAll sweeps as long as something is due.
func (o *owner) sweepAll(ctx context.Context) error {
	for range 200 {
		n, ok, err := o.s.Due(ctx)
		if err != nil || !ok {
			return err
		}
		if _, err := o.sweep(ctx, n); err != nil {
			return err
		}
	}
	return errors.New("sweeping comes to no end")
}

// ids are the numbers of all records, ascending.
func (o *owner) ids() []int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(maps.Keys(o.records))
}

// verify compares the store with what its owner knows: every recorded message
// is there once and equal, none that was removed comes back, and nothing is
// damaged.
func (o *owner) verify() error {
	ctx := context.Background()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for id, r := range o.records {
		if b, err := get(o.s, r.ref); err != nil || !bytes.Equal(b, r.body) {
			bad("record %d of message %d: %v", id, r.message, err)
		}
	}
	shown := map[int]bool{}
	err := o.s.Walk(ctx, func(e Entry) error {
		var at origin
		if err := json.Unmarshal(e.Sidecar, &at); err != nil {
			return err
		}
		o.mu.Lock()
		recorded := o.names(e.Ref) || e.Copy != (Ref{}) && o.names(e.Copy)
		o.mu.Unlock()
		switch {
		case shown[at.Message]:
			bad("message %d is shown twice", at.Message)
		case recorded && e.Removed:
			bad("message %d has a record and is removed", at.Message)
		case !recorded && !e.Removed && o.gone[at.Message]:
			bad("message %d was removed and came back", at.Message)
		case !recorded && !e.Removed && !o.doubt[at.Message]:
			bad("message %d stands without a record", at.Message)
		}
		shown[at.Message] = true
		return o.s.Verify(ctx, e.Ref)
	})
	if err != nil {
		bad("walk: %v", err)
	}
	for id, r := range o.records {
		if !shown[r.message] {
			bad("record %d: message %d is not shown", id, r.message)
		}
	}
	sum, err := o.s.Check(ctx, CheckOptions{Deep: true}, func(f Finding) {
		if !f.Problem.Harmless() {
			bad("%v", f)
		}
	})
	if err != nil || sum.Messages != len(shown) {
		bad("check saw %d messages, a walk %d: %v", sum.Messages, len(shown), err)
	}
	return errors.Join(errs...)
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// verifyUsage compares the kept sums with those counted anew.
func (o *owner) verifyUsage(t fataler) {
	t.Helper()
	ctx := context.Background()
	kept, err := o.s.Usage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	o.s.mu.Lock()
	until := o.s.durable
	o.s.mu.Unlock()
	fresh, _, err := o.s.countAll(ctx, until)
	if err != nil {
		t.Fatal(err)
	}
	if again := fresh.usage(); !slices.Equal(kept, again) {
		t.Fatalf("usage\nkept    %+v\ncounted %+v", kept, again)
	}
	for _, u := range kept {
		if end := u.Size - u.Live - u.Dead - u.Removals; end != 0 && end != endSize || u.Live < 0 || u.Dead < 0 {
			t.Fatalf("usage does not add up: %+v", u)
		}
	}
}

// removeMany is remove for many records that name one message each.
func (o *owner) removeMany(ctx context.Context, ids []int) error {
	var refs []Ref
	o.mu.Lock()
	for _, id := range ids {
		refs = append(refs, o.records[id].ref)
		o.gone[o.records[id].message] = true
		o.unset(id)
	}
	o.mu.Unlock()
	return o.s.Remove(ctx, refs...)
}

func isBusy(err error) bool { return errors.Is(err, ErrBusy) }
