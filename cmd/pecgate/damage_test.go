package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestK3_ReadErrorOfOneMessage makes the bytes of one message unreadable while
// the appliance serves: nobody gets a wrong or a shortened message for it, the
// log names it, and all other messages are read as ever.
func TestK3_ReadErrorOfOneMessage(t *testing.T) {
	h := newHouse(t).start()
	// The one in the middle is long enough to have a file of its own.
	for i, size := range []int{10, 2 << 20, 10} {
		if err := h.provider.SendFromOutside("x@pec.altrove.example", boxB, fmt.Sprint("numero ", i), strings.Repeat("riga di testo\r\n", size/15+1)); err != nil {
			t.Fatal(err)
		}
		h.until("it is fetched", func() bool { return len(h.folder("lucia", treeB+"Posta in arrivo")) == i+1 })
	}
	whole := h.folder("lucia", treeB+"Posta in arrivo")
	large := ""
	files, err := filepath.Glob(filepath.Join(h.dir, "data", "segments", "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && strings.ContainsAny(f[len(f)-5:len(f)-4], "13579") && info.Size() > 1<<20 {
			large = f
		}
	}
	if large == "" {
		t.Fatalf("no message has a file of its own: %v", files)
	}
	if err := os.Truncate(large, 1<<20); err != nil {
		t.Fatal(err)
	}
	open := func() *wire {
		t.Helper()
		w, err := dialWire(h.imaps, h.roots())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.close)
		if status, err := w.imapLogin("lucia", "lucialucia"); err != nil || status != "OK" {
			t.Fatalf("login: %s, %v", status, err)
		}
		if _, status, err := w.imap(`SELECT "` + treeB + `Posta in arrivo"`); err != nil || status != "OK" {
			t.Fatalf("%s %q, %v", status, w.last, err)
		}
		return w
	}
	beside := open() // its conversation goes on
	if _, status, err := open().imap("FETCH 2 BODY.PEEK[]"); err == nil && status == "OK" {
		t.Error("an unreadable message was read")
	}
	number := strings.TrimLeft(strings.TrimSuffix(filepath.Base(large), ".tar"), "0")
	if log := h.log.String(); !strings.Contains(log, "segment "+number+" ends inside a message") {
		t.Errorf("the log does not tell of it: %s", tail(log, 1000))
	}
	for _, w := range []*wire{beside, open()} {
		for n, want := range map[int]string{1: whole[0], 3: whole[2]} {
			got, status, err := w.imap(fmt.Sprintf("FETCH %d BODY.PEEK[]", n))
			if err != nil || status != "OK" || !strings.Contains(got, want) {
				t.Errorf("message %d: %s %q, %v", n, status, w.last, err)
			}
		}
		// What a list of messages shows is kept apart from the bytes.
		got, status, err := w.imap("FETCH 1:3 (UID FLAGS ENVELOPE RFC822.SIZE)")
		if err != nil || status != "OK" || strings.Count(got, "ENVELOPE") != 3 {
			t.Errorf("the list: %s %q, %v", status, w.last, err)
		}
	}
	h.stop()
	// fsck names it, and only it.
	state, out, errs := program(t, "", "fsck", "--deep", "--config", h.config())
	if state != exitFailed || !strings.Contains(out+errs, filepath.Base(large)) {
		t.Errorf("fsck: %d\n%s%s", state, out, errs)
	}
	h.start() // with the others
	if _, status, err := open().imap("FETCH 1 BODY.PEEK[]"); err != nil || status != "OK" {
		t.Errorf("after a new start: %s, %v", status, err)
	}
}

// TestK15_KilledInTheMiddleOfAnUpload kills the appliance while a client sends a
// large message: nothing of it is left on disk or shown to anybody.
func TestK15_KilledInTheMiddleOfAnUpload(t *testing.T) {
	h := loadedHouse(t)
	p := h.launch()
	segments := filepath.Join(h.dir, "data", "segments")
	uploads := func() (bytes int64) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(segments, "*.tmp"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if info, err := os.Stat(f); err == nil { // or it has just become a segment
				bytes += info.Size()
			}
		}
		return bytes
	}
	w := h.logged()
	m := letterOf("half", 40<<20)
	for _, step := range []string{"MAIL FROM:<" + boxA + ">", "RCPT TO:<" + boxB + ">", "DATA"} {
		if code, err := w.ask(step); err != nil || code/100 > 3 {
			t.Fatalf("%s: %d, %v", step, code, err)
		}
	}
	if err := w.say(strings.ReplaceAll(m.text()[:20<<20], "\r\n.", "\r\n..")); err != nil {
		t.Fatal(err)
	}
	h.until("half of it is on disk", func() bool { return uploads() > 10<<20 })
	p.kill()
	w.close()
	h.start()
	if n := uploads(); n != 0 {
		t.Errorf("%d bytes of it are left", n)
	}
	var size int64
	files, err := os.ReadDir(segments)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			size += info.Size()
		}
	}
	if size > 1<<20 {
		t.Errorf("%d bytes of messages in an empty store", size)
	}
	if n := len(h.folder("mario", treeA+"Posta inviata")) + len(h.folder("lucia", "INBOX")); n != 0 {
		t.Errorf("%d messages are shown", n)
	}
	if _, err := h.shown(m.msgid); err == nil {
		t.Error("there is a submission of it")
	}
	// The client's next try is a new message.
	var told ledger
	m = letterOf("half", 2<<20)
	told.deliver(t, h.logged(), m)
	t.Log(h.judge(&told))
}
