package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix" // limits of another process
)

// TestA8_NoMoreFiles keeps the appliance to 64 open files. The connections that
// it lets in leave it enough to store, send and fetch; the others hear why
// they are not let in, and get in once there is room again.
func TestA8_NoMoreFiles(t *testing.T) {
	h := loadedHouse(t)
	p := h.launch(childFiles + "=64")
	roots := h.roots()
	var told ledger
	var smtp, imap []*wire
	turned := 0
	for range 30 {
		w, err := dialWire(h.smtps, roots)
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		switch code, err := w.smtpLogin("mario", "mariomario"); {
		case err == nil && code == 235:
			smtp = append(smtp, w)
		case code == 421 && w.polite():
			turned++
		default:
			t.Fatalf("login: %d %q, %v", code, w.last, err)
		}
		if len(smtp) < 4 {
			continue // some room for readers
		}
		r, err := dialWire(h.imaps, roots)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		switch status, err := r.imapLogin("mario", "mariomario"); {
		case err == nil && status == "OK":
			imap = append(imap, r)
		case r.polite():
			turned++
		default:
			t.Fatalf("login: %s %q, %v", status, r.last, err)
		}
	}
	if len(smtp) < 4 || len(imap) == 0 || turned < 30 {
		t.Fatalf("%d submit and %d read, %d were turned away", len(smtp), len(imap), turned)
	}
	// Who is in works, also with messages that get a file of their own.
	for round, size := range []int{1_100_000, 1_100_000, 1_100_000, 1_000} {
		for i, w := range smtp {
			told.deliver(t, w, letterOf(fmt.Sprintf("full.%d.%d", round, i), size))
		}
	}
	for _, r := range imap {
		if _, status, err := r.imap(`SELECT "Posta inviata"`); err != nil || status != "OK" {
			t.Fatalf("%s %q, %v", status, r.last, err)
		}
		all, status, err := r.imap("FETCH 1:* BODY.PEEK[]")
		if err != nil || status != "OK" || strings.Count(all, "\r\nSubject: s\r\n") != told.len() {
			t.Errorf("reading: %s %q, %v", status, r.last, err)
		}
	}
	h.until("receipts are fetched", func() bool { return h.accepted() > 0 })
	if log := p.said.String(); strings.Contains(log, "too many open files") {
		i := strings.Index(log, "too many open files")
		t.Errorf("it ran out of files by itself: %s", log[max(0, i-400):i])
	}
	for _, w := range append(smtp, imap...) {
		w.close()
	}
	h.until("there is room again", func() bool {
		p.alive()
		w, err := dialWire(h.smtps, roots)
		if err != nil {
			return false
		}
		defer w.close()
		code, err := w.smtpLogin("mario", "mariomario")
		return err == nil && code == 235
	})
	p.stop()
	h.start()
	t.Log(h.judge(&told))
}

// gap is the lowest number that no open file has.
func (p *process) gap() uint64 {
	p.h.t.Helper()
	for n := uint64(0); ; n++ {
		_, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", p.cmd.Process.Pid, n))
		if errors.Is(err, os.ErrNotExist) {
			return n
		}
		if err != nil {
			p.h.t.Fatal(err)
		}
	}
}

// TestA8_NoFileLeft takes every file that the appliance does not have open yet,
// while it runs. A newcomer still hears why there is no room, nothing turns
// round and round, what needs no file goes on, and all is well once there are
// files again.
func TestA8_NoFileLeft(t *testing.T) {
	h := loadedHouse(t)
	p := h.launch(childFiles + "=64")
	var told ledger
	var open []*wire
	for i := range 3 {
		w, err := dialWire(h.smtps, h.roots())
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		if code, err := w.smtpLogin("mario", "mariomario"); err != nil || code != 235 {
			t.Fatalf("login: %d, %v", code, err)
		}
		open = append(open, w)
		told.deliver(t, w, letterOf(fmt.Sprint("before.", i), 1000))
	}
	// Nothing is under way that would need a file in the middle.
	h.until("all is delivered", func() bool {
		return h.accepted() == told.len() && len(h.folder("lucia", treeB+"Posta in arrivo")) == told.len()
	})
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: p.gap(), Max: 64}, nil); err != nil {
		t.Fatal(err)
	}
	before := len(p.said.String())
	h.until("a newcomer hears why there is no room", func() bool {
		w, err := dialWire(h.smtps, h.roots())
		if err != nil {
			return false // the one place for a farewell was taken
		}
		defer w.close()
		_, err = w.reply()
		return err == nil && w.polite()
	})
	if n := strings.Count(p.said.String()[before:], "connection refused"); n > 1000 {
		t.Errorf("%d lines about refused connections: it turns round and round", n)
	}
	for i, w := range open {
		told.deliver(t, w, letterOf(fmt.Sprint("meanwhile.", i), 1000))
	}
	p.alive()
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}, nil); err != nil {
		t.Fatal(err)
	}
	h.until("a newcomer gets in again", func() bool {
		p.alive()
		w, err := dialWire(h.smtps, h.roots())
		if err != nil {
			return false
		}
		defer w.close()
		code, err := w.smtpLogin("mario", "mariomario")
		return err == nil && code == 235
	})
	p.stop()
	h.start()
	t.Log(h.judge(&told))
}
