package kvtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/kv"
)

// soon bounds waits that end at once when the store is right. It decides
// nothing when it is.
const soon = 20 * time.Second

func token(wake <-chan struct{}) bool {
	select {
	case <-wake:
		return true
	default:
		return false
	}
}

func watch(t *testing.T, open Open) {
	s := store(t, open)
	one, stopOne := s.Watch([]byte("one"))
	other, stopOther := s.Watch([]byte("one"))
	longer, stopLonger := s.Watch([]byte("one1"))
	defer stopOther()
	defer stopLonger()

	fill(t, s, "on", "", "one2", "", "two", "")
	if token(one) || token(longer) {
		t.Error("woken by other keys")
	}
	err := s.Update(context.Background(), func(tx kv.Txn) error {
		tx.Put([]byte("one"), nil)
		return errors.New("sorry")
	})
	if err == nil || token(one) {
		t.Error("woken by an update that failed")
	}
	fill(t, s, "one", "1")
	fill(t, s, "one", "2")
	// A token is there when Update has returned, or comes at once.
	for _, wake := range []<-chan struct{}{one, other} {
		select {
		case <-wake:
		case <-time.After(soon):
			t.Fatal("no wake-up after a commit")
		}
	}
	drain(one)
	drain(other)
	update(t, s, func(tx kv.Txn) error { return tx.Delete([]byte("one")) })
	select {
	case <-other:
	case <-time.After(soon):
		t.Fatal("no wake-up after a delete")
	}
	if token(longer) {
		t.Error("woken by a shorter key")
	}
	stopOne()
	stopOne()
	drain(one)
	fill(t, s, "one", "3")
	if token(one) {
		t.Error("woken after stop")
	}

	// Whoever watches, reads and waits misses nothing.
	wake, stop := s.Watch([]byte("goal"))
	defer stop()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				if err := s.Update(context.Background(), func(tx kv.Txn) error { return count(tx, "goal") }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer wg.Wait()
	deadline := time.After(soon)
	for reached := false; !reached; {
		view(t, s, func(r kv.Reader) error {
			reached = expectCount(r, "goal", 40) == nil
			return nil
		})
		if reached {
			break
		}
		select {
		case <-wake:
		case <-deadline:
			t.Fatal("the last commit woke nobody")
		}
	}
}

func drain(wake <-chan struct{}) {
	for token(wake) {
	}
}

func contextEnds(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "a", "1")
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	ran := false
	if err := s.Update(ended, func(tx kv.Txn) error { ran = true; return nil }); !errors.Is(err, context.Canceled) || ran {
		t.Errorf("update with an ended context: %v", err)
	}
	if err := s.View(ended, func(kv.Reader) error { ran = true; return nil }); !errors.Is(err, context.Canceled) || ran {
		t.Errorf("view with an ended context: %v", err)
	}

	// One that waits for its turn gives up and leaves nothing.
	inside, release, holder := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		var once sync.Once
		holder <- s.Update(context.Background(), func(tx kv.Txn) error {
			once.Do(func() { close(inside); <-release })
			return tx.Put([]byte("holder"), nil)
		})
	}()
	<-inside
	ctx, cancel := context.WithCancel(context.Background())
	waiter := make(chan error, 1)
	go func() {
		waiter <- s.Update(ctx, func(tx kv.Txn) error { return tx.Put([]byte("waiter"), nil) })
	}()
	cancel()
	var err error
	select {
	case err = <-waiter: // a store with one writer
		close(release)
	case <-time.After(100 * time.Millisecond): // one that runs both at once and is in the middle of it
		close(release)
		err = <-waiter
	}
	if holdErr := <-holder; holdErr != nil {
		t.Errorf("holder: %v", holdErr)
	}
	want := "<none>"
	if err == nil {
		want = ""
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("waiter: %v", err)
	}
	view(t, s, func(r kv.Reader) error { return expectAll(r, "holder", "", "waiter", want) })

	// A long scan ends with its context.
	var pairs []string
	for n := range 500 {
		pairs = append(pairs, fmt.Sprintf("n%03d", n), "")
	}
	fill(t, s, pairs...)
	ctx, cancel = context.WithCancel(context.Background())
	seen := 0
	err = s.View(ctx, func(r kv.Reader) error {
		return r.Scan(nil, nil, func(k, v []byte) (bool, error) {
			seen++
			cancel()
			return true, nil
		})
	})
	if !errors.Is(err, context.Canceled) || seen >= 500 {
		t.Errorf("scan went on for %d keys after its context: %v", seen, err)
	}
}

func closeWaits(t *testing.T, open Open) {
	s := open(t)
	fill(t, s, "a", "1")
	inside, release, viewed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		viewed <- s.View(context.Background(), func(r kv.Reader) error {
			close(inside)
			<-release
			return expect(r, "a", "1")
		})
	}()
	<-inside
	var wg sync.WaitGroup
	results := make(chan error, 32)
	for n := range cap(results) {
		wg.Go(func() {
			results <- s.Update(context.Background(), func(tx kv.Txn) error { return tx.Put(fmt.Appendf(nil, "n%02d", n), nil) })
		})
	}
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- s.Close() }()
	}
	select {
	case <-closed:
		t.Error("close did not wait for a view")
	case <-time.After(20 * time.Millisecond): // too early to tell is not an error
	}
	close(release)
	if err := <-viewed; err != nil {
		t.Errorf("view during close: %v", err)
	}
	for range 2 {
		if err := <-closed; err != nil {
			t.Errorf("close: %v", err)
		}
	}
	wg.Wait()
	done := 0
	for range cap(results) {
		switch err := <-results; {
		case err == nil:
			done++
		case !errors.Is(err, kv.ErrClosed):
			t.Errorf("update during close: %v", err)
		}
	}
	if err := s.Update(context.Background(), func(kv.Txn) error { return nil }); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("update after close: %v", err)
	}
	if err := s.View(context.Background(), func(kv.Reader) error { return nil }); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("view after close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	s = store(t, open)
	view(t, s, func(r kv.Reader) error {
		n := 0
		err := r.Scan([]byte("n"), nil, func(k, v []byte) (bool, error) { n++; return true, nil })
		if n != done {
			return fmt.Errorf("%d updates were acknowledged, %d are there", done, n)
		}
		return err
	})
}

// panics: what goes wrong in one fn is its caller's alone.
func panics(t *testing.T, open Open) {
	s := store(t, open)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			defer func() {
				if r := recover(); (r != nil) != (n%2 == 0) {
					t.Errorf("caller %d: recovered %v", n, r)
				}
			}()
			err := s.Update(context.Background(), func(tx kv.Txn) error {
				if err := tx.Put(fmt.Appendf(nil, "n%d", n), nil); err != nil {
					return err
				}
				if n%2 == 0 {
					panic("in fn")
				}
				return nil
			})
			if err != nil {
				t.Errorf("caller %d: %v", n, err)
			}
		})
	}
	wg.Wait()
	view(t, s, func(r kv.Reader) error { return expectList(r, "", "", "n1= n3= n5= n7= ") })
}
