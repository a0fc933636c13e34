//go:build !race

// The race detector takes several times the memory of the program itself.

package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix" // limits of another process
)

// memory is a line of the process's status: how much it has of what.
func (p *process) memory(of string) (bytes uint64) {
	p.h.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.h.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), of+":")
	if _, err := fmt.Sscan(rest, &bytes); err != nil {
		p.h.t.Fatal(err)
	}
	return bytes << 10
}

// TestA8_MemoryIsBounded sends 128 MB of messages at once and reads them all at
// once: the appliance never has that much more in memory than when it idles,
// files that are mapped included.
func TestA8_MemoryIsBounded(t *testing.T) {
	const sessions, size = 8, 16 << 20
	h := loadedHouse(t)
	h.provider.Faults().NoReceipts.On()
	p := h.launch()
	idle := p.memory("VmRSS")
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Fatal(err) // 5: the peak is counted anew
	}
	together(t, sessions, func(n int) error {
		w, err := dialWire(h.smtps, h.roots())
		if err != nil {
			return err
		}
		defer w.close()
		if code, err := w.smtpLogin("mario", "mariomario"); err != nil || code != 235 {
			return fmt.Errorf("login: %d, %w", code, err)
		}
		m := letterOf(fmt.Sprint("large.", n), size)
		if code, err := w.deliver(boxA, boxB, m.text()); err != nil || code != 250 {
			return fmt.Errorf("%d %q, %w", code, w.last, err)
		}
		return nil
	})
	together(t, sessions, func(n int) error {
		w, err := dialWire(h.imaps, h.roots())
		if err != nil {
			return err
		}
		defer w.close()
		if status, err := w.imapLogin("mario", "mariomario"); err != nil || status != "OK" {
			return fmt.Errorf("login: %s, %w", status, err)
		}
		if _, status, err := w.imap(`SELECT "Posta inviata"`); err != nil || status != "OK" {
			return fmt.Errorf("%s %q, %w", status, w.last, err)
		}
		all, status, err := w.imap(fmt.Sprintf("FETCH %d BODY.PEEK[]", n+1))
		if err != nil || status != "OK" || len(all) < size {
			return fmt.Errorf("%d bytes, %s %q, %w", len(all), status, w.last, err)
		}
		return nil
	})
	peak := p.memory("VmHWM")
	t.Logf("%d MB of messages: %d MB of memory when idle, %d MB at the most", sessions*size>>20, idle>>20, peak>>20)
	if peak-min(peak, idle) > sessions*size {
		t.Error("it holds messages in memory")
	}
	p.stop()
}

// together calls fn at once n times, with 0 and up, and wants no error.
func together(t *testing.T, n int, fn func(int) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// TestA8_NoMoreMemory takes all further memory from the appliance while it
// accepts. A Go program that gets none cannot answer any more, it ends; what it
// said 250 for is there all the same.
func TestA8_NoMoreMemory(t *testing.T) {
	const rounds, sessions = 3, 8
	h := loadedHouse(t)
	var told ledger
	for round := range rounds {
		p := h.launch()
		var wg sync.WaitGroup
		for session := range sessions {
			wg.Go(func() {
				for n := 0; ; n++ {
					w, err := dialWire(h.smtps, h.roots())
					if err != nil {
						return // it has ended
					}
					m := letterOf(fmt.Sprintf("r%d.s%d.n%d", round, session, n), 20_000)
					code, err := w.smtpLogin("mario", "mariomario")
					if err == nil && code == 235 {
						if code, err = w.deliver(boxA, boxB, m.text()); err == nil && code == 250 {
							told.add(m)
						}
					}
					w.close()
					if n == 5 && session == 0 {
						limit := unix.Rlimit{Cur: p.memory("VmData"), Max: unix.RLIM_INFINITY}
						if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_DATA, &limit, nil); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		if p.ended() == exitGood {
			t.Error("without memory it ended as if all were well")
		}
		wg.Wait()
	}
	h.start()
	t.Log(h.judge(&told))
}
