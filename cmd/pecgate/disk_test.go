package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay"
)

// sinking is a disk whose free space a test sets. What the store holds back of
// it is not free.
type sinking struct {
	dir   string
	bytes atomic.Int64
}

func (s *sinking) free() (mailbox.DiskFree, error) {
	free := mailbox.DiskFree{Bytes: s.bytes.Load(), Inodes: -1}
	if info, err := os.Stat(filepath.Join(s.dir, "ballast")); err == nil {
		free.Bytes -= info.Size()
	}
	return free, nil
}

// TestK1_DiskFullAtEveryMoment lets the disk of the whole appliance get full and
// empty again: at MAIL, in the middle of a message, with a message to fetch,
// while people read, and at the start. (min_free is 10 MB here.)
func TestK1_DiskFullAtEveryMoment(t *testing.T) {
	const mb = 1_000_000
	const room, floor, critical = 50 * mb, 9 * mb, 2 * mb
	h := loadedHouse(t)
	d := &sinking{dir: filepath.Join(h.dir, "data")}
	h.free = d.free
	d.bytes.Store(room)
	h.start()
	var told ledger
	// Three conversations: before MAIL, before DATA, in the middle of a message.
	idle, begun, half := h.logged(), h.logged(), h.logged()
	told.deliver(t, idle, letterOf("before", 2_000))
	under := letterOf("half", 30_000)
	text := under.text()
	for _, w := range []*wire{begun, half} {
		for _, step := range []string{"MAIL FROM:<" + boxA + ">", "RCPT TO:<" + boxB + ">", "DATA"} {
			if code, err := w.ask(step); err != nil || code/100 > 3 {
				t.Fatalf("%s: %d, %v", step, code, err)
			}
		}
	}
	if err := half.say(strings.ReplaceAll(text[:10_000], "\r\n.", "\r\n..")); err != nil {
		t.Fatal(err)
	}
	h.until("the first message is delivered", func() bool { return len(h.folder("lucia", treeB+"Posta in arrivo")) == 1 })

	for _, level := range []int64{floor, critical} {
		d.bytes.Store(level)
		h.until("it is seen", func() bool { return h.status().Space.AtFloor })
		full := func(what string, w *wire, say string) {
			t.Helper()
			if code, err := w.ask(say); err != nil || code != 452 || !strings.Contains(w.last, "4.3.1") && !strings.Contains(w.last, "space") {
				t.Errorf("with %d bytes free, %s: %d %q, %v", level, what, code, w.last, err)
			}
		}
		full("MAIL", idle, "MAIL FROM:<"+boxA+">")
		if level == floor {
			full("a message after MAIL", begun, letterOf("begun", 2_000).text()+".")
			// What is under way ends.
			if code, err := half.ask(strings.ReplaceAll(text[10_000:], "\r\n.", "\r\n..") + "."); err != nil || code != 250 {
				t.Errorf("a message that was under way: %d %q, %v", code, half.last, err)
			} else {
				told.add(under)
			}
		}
		full("a newcomer's MAIL", h.logged(), "MAIL FROM:<"+boxA+">")
		// Nothing is fetched; the provider keeps it.
		body := fmt.Sprint("from outside ", level)
		if err := h.provider.SendFromOutside("x@pec.altrove.example", boxB, body, body); err != nil {
			t.Fatal(err)
		}
		h.until("fetching has paused", func() bool { return strings.Contains(trouble(h, boxB), "min_free") })
		logins, rounds := len(h.provider.Logins()), strings.Count(h.log.String(), `"fetch failed"`)
		enough := time.Now().Add(2500 * time.Millisecond)
		h.until("some rounds are over", func() bool { return time.Now().After(enough) })
		if n := strings.Count(h.log.String(), `"fetch failed"`); n != rounds {
			t.Errorf("%d lines of the log for rounds that fail alike", n-rounds)
		}
		if n := len(h.provider.Logins()); n > logins {
			t.Errorf("with %d bytes free it fetches: %d logins", level, n-logins)
		}
		// People read as ever.
		for login, folder := range map[string]string{"mario": treeA + "Posta inviata", "lucia": treeB + "Posta in arrivo"} {
			for _, m := range h.folder(login, folder) {
				if strings.Contains(m, body) {
					t.Errorf("%q was fetched", body)
				}
			}
			if len(h.folder(login, folder)) == 0 {
				t.Errorf("%s reads nothing in %s", login, folder)
			}
		}
	}
	d.bytes.Store(room)
	h.until("there is room again", func() bool { return !h.status().Space.AtFloor })
	told.deliver(t, idle, letterOf("after", 2_000))
	h.until("the mail from outside is fetched, once each", func() bool {
		found := 0
		for _, m := range h.folder("lucia", treeB+"Posta in arrivo") {
			found += strings.Count(m, "Subject: POSTA CERTIFICATA: from outside")
		}
		return found == 2
	})
	t.Log(h.judge(&told))

	// A start on a full disk is refused in one line, and is good when there is room.
	h.stop()
	d.bytes.Store(critical)
	if err := h.tryStart(); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "min_free") || !strings.Contains(err.Error(), "make room") {
		t.Errorf("started on a full disk: %v", err)
	}
	d.bytes.Store(room)
	h.start()
	if q := h.status().Queue[relay.Accepted]; q != told.len() {
		t.Errorf("%d submissions are accepted instead of %d", q, told.len())
	}
}

// trouble is what status says about a mailbox.
func trouble(h *house, address string) string {
	for _, m := range h.status().Mailboxes {
		if m.Address == address {
			return m.LastError
		}
	}
	return ""
}

// TestK1_StartOnAFullDisk runs the program itself where no disk has enough room.
func TestK1_StartOnAFullDisk(t *testing.T) {
	h := newHouse(t)
	config, err := os.ReadFile(h.config())
	if err != nil {
		t.Fatal(err)
	}
	h.write("pecgate.yaml", strings.Replace(string(config), "min_free: 10MB", "min_free: 8000TB", 1))
	state, out, errs := program(t, "", "serve", "--config", h.config())
	if state != exitFailed || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "pecgate: ") || !strings.Contains(errs, "make room on the disk of data_dir") {
		t.Errorf("%d %q %q", state, out, errs)
	}
	if left, err := os.ReadDir(filepath.Join(h.dir, "data")); err != nil || len(left) != 0 {
		t.Errorf("it began a store: %v, %v", left, err)
	}
}

// TestK1_NoRoomForTheLog gives the appliance a log that takes nothing.
func TestK1_NoRoomForTheLog(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close() // nothing was written
	h := loadedHouse(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "serve", "--config", h.config())
	cmd.Env = append(os.Environ(), childMark+"=1")
	cmd.Stderr = full
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !listening(h.imaps, 30*time.Second) {
		t.Fatal("it does not start")
	}
	w, err := dialWire(h.smtps, h.roots())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if code, err := w.smtpLogin("mario", "mariomario"); err != nil || code != 235 {
		t.Fatalf("login: %d %q, %v", code, w.last, err)
	}
	var told ledger
	told.deliver(t, w, letterOf("unlogged", 2_000))
	h.until("it is accepted", func() bool { return h.accepted() == 1 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	h.start()
	t.Log(h.judge(&told))
}
