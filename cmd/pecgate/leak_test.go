package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// holding is what a program holds: goroutines, open files and live bytes of the heap.
type holding struct {
	routines, files int
	heap            int64
}

func used(tb testing.TB) holding {
	tb.Helper()
	found, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	runtime.GC()
	runtime.GC() // the first only marks what finalizers and pools hold
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return holding{runtime.NumGoroutine(), len(found), int64(m.HeapAlloc)}
}

// session is one of the ways in which a client comes and goes; the odd ones break off where it hurts.
func (h *house) session(n int) error {
	kinds := []func(w *wire) error{
		func(w *wire) error { return nil }, // gone before the greeting
		func(w *wire) error { _, err := w.line(); return err },
		func(w *wire) error {
			status, err := w.imapLogin("mario", "mariomario")
			if err == nil && status == "OK" {
				_, status, err = w.imap("LOGOUT")
			}
			return want(status, "OK", w, err)
		},
		func(w *wire) error { // gone while it waits
			status, err := w.imapLogin("mario", "mariomario")
			if err == nil && status == "OK" {
				if _, status, err = w.imap("SELECT INBOX"); err == nil {
					err = w.say("x IDLE\r\n")
				}
				if err == nil {
					_, err = w.line()
				}
			}
			return want(status, "OK", w, err)
		},
		func(w *wire) error { // gone in the middle of a literal
			status, err := w.imapLogin("mario", "mariomario")
			if err == nil {
				err = w.say("x APPEND \"Bozze\" {100000}\r\n")
			}
			if err == nil {
				_, err = w.line()
			}
			if err == nil {
				err = w.say("From: nobody")
			}
			return want(status, "OK", w, err)
		},
	}
	smtp := []func(w *wire) error{
		func(w *wire) error { return nil },
		func(w *wire) error { _, err := w.reply(); return err },
		func(w *wire) error {
			code, err := w.smtpLogin("mario", "mariomario")
			if err == nil && code == 235 {
				code, err = w.ask("QUIT")
			}
			return want(code, 221, w, err)
		},
		func(w *wire) error { // gone in the middle of a message
			code, err := w.smtpLogin("mario", "mariomario")
			for _, s := range []string{"MAIL FROM:<" + boxA + ">", "RCPT TO:<" + boxB + ">", "DATA"} {
				if err == nil {
					code, err = w.ask(s)
				}
			}
			if err == nil {
				err = w.say("From: <" + boxA + ">\r\nSubject: ")
			}
			return want(code, 354, w, err)
		},
	}
	addr, do := h.imaps, kinds[n/2%len(kinds)]
	if n%2 == 1 {
		addr, do = h.smtps, smtp[n/2%len(smtp)]
	}
	w, err := dialWire(addr, h.roots())
	if err != nil {
		return err
	}
	defer w.close()
	if err := do(w); err != nil {
		return fmt.Errorf("session %d: %w", n, err)
	}
	return nil
}

// want turns an answer that nobody expects into an error.
func want[T comparable](got, wanted T, w *wire, err error) error {
	if err == nil && got != wanted {
		err = fmt.Errorf("%v in place of %v: %q", got, wanted, w.last)
	}
	return err
}

// sessions runs n sessions, some at a time.
func (h *house) sessions(n int) {
	h.t.Helper()
	const lanes = 8
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			for i := lane; i < n; i += lanes {
				if err := h.session(i); err != nil {
					h.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// flat waits until no more is held than before, but for a few goroutines and files that come and go by themselves, and
// gives the last look. What leaks stays, however long one waits.
func (h *house) flat(before holding, sessions int) holding {
	h.t.Helper()
	const few = 12
	var now holding
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		now = used(h.t)
		if now.routines <= before.routines+few && now.files <= before.files+few {
			return now
		}
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			h.t.Fatalf("after %d sessions %d goroutines and %d files, before %d and %d\n%s", sessions, now.routines, now.files, before.routines, before.files, tail(string(stacks), 8000))
		}
	}
}

// TestL5_SessionsLeaveNothing: thousands of clients come and go, most of them badly, and some letters go out and come in
// between: no goroutine, no open file and no memory is left of them.
func TestL5_SessionsLeaveNothing(t *testing.T) {
	const rounds, each = 4, 600
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia")).start()
	round := func(n int) {
		id := fmt.Sprintf("leak%d@alfa.example", n)
		if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Prova", id)); r.Class != submit.HandedOver {
			t.Fatalf("%+v", r)
		}
		h.sessions(each)
		h.settled(id, relay.Accepted)
	}
	round(0) // what is made once and kept: caches, pools, first connections
	before := h.flat(used(t), each)
	log := len(h.log.String())
	for n := range rounds {
		round(n + 1)
		h.flat(before, each*(n+1))
	}
	now := h.flat(before, each*rounds)
	// The log is kept by the test, in a buffer that may be twice as large.
	grown := now.heap - before.heap - 3*int64(len(h.log.String())-log)
	t.Logf("%d sessions: goroutines %d, were %d; files %d, were %d; heap %d KiB more (the log not counted)", rounds*each, now.routines, before.routines, now.files, before.files, grown/1024)
	if most := int64(rounds * each * 4096); grown > most {
		t.Errorf("%d bytes of the heap for each session", grown/int64(rounds*each))
	}
}

// BenchmarkL5_Sessions is the long run: `-bench L5 -benchtime 1000000x` (hours) fails where anything grows.
func BenchmarkL5_Sessions(b *testing.B) {
	h := newHouse(b, mailboxText(boxA, false, "", "mario")).start()
	h.sessions(200)
	before := h.flat(used(b), 200)
	b.ResetTimer()
	h.sessions(b.N)
	b.StopTimer()
	now := h.flat(before, b.N)
	b.ReportMetric(float64(now.routines-before.routines), "goroutines")
	b.ReportMetric(float64(now.files-before.files), "files")
	b.ReportMetric(float64(now.heap-before.heap)/float64(b.N), "heap-B/op")
}
