package relay

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/mailbox/events"
)

// shared is a log that may be read while it is written.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// listening runs a fetcher and its listener, with a poll once an hour, until the
// test ends.
func listening(t *testing.T, acc Account) (f *fetched, log *shared) {
	t.Helper()
	acc.Every = time.Hour
	f, log = newFetched(t, acc), &shared{}
	f.s.opt.Events = events.New(slog.New(slog.NewTextHandler(log, nil)))
	ctx, stop := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() { f.s.fetch(ctx, f.w) })
	both.Go(func() { f.s.listen(ctx, f.w) })
	t.Cleanup(func() { stop(); both.Wait() })
	return f, log
}

// until waits for what the test needs to go on.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s did not happen", what)
}

// fetchedOf tells whether the log speaks of n messages that were fetched.
func fetchedOf(log *shared, n int) func() bool {
	return func() bool { return strings.Count(log.String(), "msg=fetched ") >= n }
}

// TestListen: with IDLE what comes is fetched at once, though the next poll is an
// hour away; a line that broke is opened anew, and what came meanwhile is fetched
// then. A login that was refused is not tried again by the listener.
func TestListen(t *testing.T) {
	p, in, _ := simulated(t)
	between := newTap(t, p.IMAPAddr(), in.Roots)
	var idles atomic.Int32
	between.set(func(l line) (string, bool) {
		if l.fromClient && strings.HasSuffix(strings.TrimSpace(l.text), "IDLE") {
			idles.Add(1)
		}
		return "", false
	})
	f, log := listening(t, Account{IMAP: between.endpoint(t)})
	until(t, "IDLE", func() bool { return idles.Load() == 1 })
	put(t, p, letter(0))
	until(t, "the first message", fetchedOf(log, 1))
	put(t, p, letter(1), letter(2))
	until(t, "two more", fetchedOf(log, 3))
	between.cut()
	put(t, p, letter(3)) // nobody listens
	until(t, "what came while nobody listened", fetchedOf(log, 4))
	until(t, "IDLE again", func() bool { return idles.Load() == 2 })
	put(t, p, letter(4))
	until(t, "the last message", fetchedOf(log, 5))
	if err := p.SetPassword(testBox, "other"); err != nil {
		t.Fatal(err)
	}
	before := len(p.Logins())
	between.cut()
	until(t, "the suspension", func() bool { return f.s.suspended(t.Context(), f.w, serviceIMAP) })
	until(t, "the end of IDLE", func() bool { return strings.Contains(log.String(), "nobody listens") })
	refused := 0
	for _, l := range p.Logins()[before:] {
		if !l.OK {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d logins were refused", refused)
	}
}

// TestListenWithoutIDLE: where there is no IDLE, or it lies, polls go on.
func TestListenWithoutIDLE(t *testing.T) {
	p, in, _ := simulated(t)
	between := newTap(t, p.IMAPAddr(), in.Roots)
	between.set(func(l line) (string, bool) {
		if !l.fromClient && strings.Contains(l.text, "CAPABILITY") {
			return strings.ReplaceAll(l.text, " IDLE", ""), true
		}
		return "", false
	})
	put(t, p, letter(0))
	f, log := listening(t, Account{IMAP: between.endpoint(t)})
	until(t, "the poll", fetchedOf(log, 1))
	until(t, "the word that nobody listens", func() bool { return strings.Contains(log.String(), "IDLE is not offered") })
	put(t, p, letter(1))
	f.w.hint() // as the clock does
	until(t, "the next poll", fetchedOf(log, 2))
}

// TestHinted: hints that follow each other closely ask for rounds further and
// further apart; after a calm the first one is for at once again.
func TestHinted(t *testing.T) {
	var h hinted
	now := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	var waits []time.Duration
	for range hintFree + 7 {
		d := h.next(now)
		waits = append(waits, d)
		now = now.Add(d)
	}
	if waits[0] != 0 {
		t.Errorf("the first waits %s", waits[0])
	}
	for i, d := range waits[1:hintFree] {
		if d != hintFirst {
			t.Errorf("wait %d is %s", i, d)
		}
	}
	for i, want := range []time.Duration{400, 800, 1600, 3200, 6400, 8000, 8000} {
		if d := waits[hintFree+i]; d != want*time.Millisecond {
			t.Errorf("wait %d is %s", hintFree+i, d)
		}
	}
	if d := h.next(now.Add(hintCalm + time.Second)); d != 0 {
		t.Errorf("after a calm: %s", d)
	}
	if d := h.next(now.Add(-time.Hour)); d != 0 {
		t.Errorf("after a clock that went back: %s", d)
	}
}
