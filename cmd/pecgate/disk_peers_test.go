//go:build peers

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix" // mounts
)

// smallDisk puts the data of a house on a file system of its own in memory.
// Options are those of tmpfs.
func smallDisk(t *testing.T, h *house, options string) (data string) {
	t.Helper()
	data = filepath.Join(h.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, "mode=0700,"+options); err != nil {
		t.Fatalf("mount (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(data, 0); err != nil {
			t.Errorf("unmount %s: %v", data, err)
		}
	})
	return data
}

// resize changes the options of a mounted tmpfs.
func resize(t *testing.T, data string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", data, "tmpfs", unix.MS_REMOUNT|flags, options); err != nil {
		t.Fatal(err)
	}
}

func freeOn(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// fill takes room with a file until so much is left, and all of it for 0.
func fill(t *testing.T, data string, left int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(data, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<20)
	for free := freeOn(t, data); free > left || left == 0; free = freeOn(t, data) {
		if left > 0 {
			b = b[:min(int64(len(b)), free-left)]
		}
		time.Sleep(2 * time.Millisecond) // no disk fills faster than this, in proportion
		if _, err := f.Write(b); err != nil {
			if left == 0 && errors.Is(err, unix.ENOSPC) {
				break
			}
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// release gives so many bytes of the filler back.
func release(t *testing.T, data string, bytes int64) {
	t.Helper()
	name := filepath.Join(data, "filler")
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, max(0, info.Size()-bytes)); err != nil {
		t.Fatal(err)
	}
}

// minFree sets the floor of a house.
func (h *house) minFree(size string) {
	h.t.Helper()
	config, err := os.ReadFile(h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	h.write("pecgate.yaml", strings.Replace(string(config), "min_free: 10MB", "min_free: "+size, 1))
}

// TestA6_DiskFullWhileAccepting fills a disk of 200 MB three times with large
// messages, and then to the last byte by another's hand. Who sends gets 452,
// who reads notices nothing, nothing dies, and it goes on by itself when there
// is room again.
func TestA6_DiskFullWhileAccepting(t *testing.T) {
	const rounds, senders, size = 3, 4, 6 << 20
	h := loadedHouse(t)
	h.minFree("40MB")
	data := smallDisk(t, h, "size=200m")
	p := h.launch()
	var told ledger
	refused := 0
	var resume time.Duration
	for round := range rounds {
		fill(t, data, 75<<20)
		var wg sync.WaitGroup
		var mu sync.Mutex
		for sender := range senders {
			wg.Go(func() {
				w, err := dialWire(h.smtps, h.roots())
				if err != nil {
					t.Error(err)
					return
				}
				defer w.close()
				if code, err := w.smtpLogin("mario", "mariomario"); err != nil || code != 235 {
					t.Errorf("login: %d, %v", code, err)
					return
				}
				for n := range 50 {
					m := letterOf(fmt.Sprintf("r%d.s%d.n%d", round, sender, n), size)
					code, err := w.deliver(boxA, boxB, m.text())
					switch {
					case err != nil:
						t.Errorf("while it gets full: %q, %v", w.last, err)
						return
					case code == 250:
						told.add(m)
						continue
					case code != 452:
						t.Errorf("while it gets full: %q", w.last)
					}
					mu.Lock()
					refused++
					mu.Unlock()
					return
				}
				t.Error("50 messages did not fill it")
			})
		}
		wg.Wait()
		fill(t, data, 0)
		p.alive()
		w := h.logged()
		if code, err := w.ask("MAIL FROM:<" + boxA + ">"); err != nil || code != 452 {
			t.Errorf("on a full disk: %d %q, %v", code, w.last, err)
		}
		sent := map[string]bool{}
		for _, m := range h.folder("mario", treeA+"Posta inviata") {
			sent[sum(bodyOf(m))] = true
		}
		for _, m := range told.promises {
			if !sent[sum(m.body)] {
				t.Errorf("on a full disk %s is not read as it was sent", m.msgid)
			}
		}
		release(t, data, 80<<20)
		from := time.Now()
		h.until("it accepts again", func() bool {
			p.alive()
			code, err := w.ask("MAIL FROM:<" + boxA + ">")
			if err != nil {
				t.Fatalf("%q, %v", w.last, err)
			}
			return code == 250
		})
		resume = max(resume, time.Since(from))
		w.close()
	}
	resize(t, data, 0, "size=2g")
	p.stop()
	h.start()
	if refused != rounds*senders {
		t.Errorf("%d of %d senders were refused", refused, rounds*senders)
	}
	t.Logf("%d rounds, resumed after %s at the most; %s", rounds, resume.Round(time.Millisecond), h.judge(&told))
}

// TestK1_RealDisk moves the free space of a real small disk down and up under
// load, stops and starts the appliance on a full one, and looks for what is
// lost.
func TestK1_RealDisk(t *testing.T) {
	const rounds = 4
	h := loadedHouse(t)
	h.minFree("20MB")
	data := smallDisk(t, h, "size=120m")
	p := h.launch()
	var told ledger
	stop, roots := make(chan struct{}), h.roots()
	var wg sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	defer end()
	for sender := range 2 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				w, err := dialWire(h.smtps, roots)
				if err != nil {
					time.Sleep(20 * time.Millisecond)
					continue // it starts again
				}
				m := letterOf(fmt.Sprintf("s%d.n%d", sender, n), []int{1_000, 60_000, 1_200_000}[n%3])
				code, err := w.smtpLogin("mario", "mariomario")
				if err == nil && code == 235 {
					if code, err = w.deliver(boxA, boxB, m.text()); err == nil && code == 250 {
						told.add(m)
					}
				}
				if err == nil && code != 250 && code != 452 && code != 421 {
					t.Errorf("an answer that nobody expects: %q", w.last)
				}
				w.close()
				time.Sleep(100 * time.Millisecond) // all of it is to be sent on before the test ends
			}
		})
	}
	for round := range rounds {
		done := told.len()
		h.until("messages are accepted", func() bool { p.alive(); return told.len() > done+6 })
		fill(t, data, []int64{15 << 20, 8 << 20, 3 << 20, 0}[round%4])
		time.Sleep(300 * time.Millisecond) // how long it is full, not what is true
		p.alive()
		if round%4 >= 2 {
			p.stop()
			// On a full disk it does not start: one line, and no damage.
			if round%4 == 3 {
				again := h.spawn()
				if state := again.ended(); state != exitFailed {
					t.Errorf("a start on a full disk ended with %d", state)
				}
				again.quiet()
				if log := tail(again.said.String(), 300); !strings.Contains(log, "make room on the disk of data_dir") {
					t.Errorf("a start on a full disk says %q", log)
				}
			}
		}
		if err := os.Remove(filepath.Join(data, "filler")); err != nil {
			t.Fatal(err)
		}
		resize(t, data, 0, fmt.Sprintf("size=%dm", 200+100*round)) // what was accepted stays
		if round%4 >= 2 {
			p = h.launch()
		}
	}
	end()
	p.stop()
	h.start()
	t.Log(h.judge(&told))
}

// TestK2_NoInodes uses up the inodes of the disk.
func TestK2_NoInodes(t *testing.T) {
	h := loadedHouse(t)
	data := smallDisk(t, h, "size=200m,nr_inodes=2000")
	p := h.launch()
	var told ledger
	w := h.logged()
	told.deliver(t, w, letterOf("before", 2_000))
	names := filepath.Join(data, "names")
	if err := os.Mkdir(names, 0o700); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		f, err := os.Create(filepath.Join(names, fmt.Sprint(n)))
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil || n > 3000 {
			t.Fatalf("%d files: %v", n, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if code, err := w.ask("MAIL FROM:<" + boxA + ">"); err != nil || code != 452 {
		t.Errorf("without inodes: %d %q, %v", code, w.last, err)
	}
	if len(h.folder("mario", treeA+"Posta inviata")) != 1 {
		t.Error("without inodes nothing is read")
	}
	p.alive()
	if err := os.RemoveAll(names); err != nil {
		t.Fatal(err)
	}
	h.until("it accepts again", func() bool {
		code, err := w.ask("MAIL FROM:<" + boxA + ">")
		return err == nil && code == 250
	})
	if _, err := w.ask("RSET"); err != nil {
		t.Fatal(err)
	}
	told.deliver(t, w, letterOf("after", 2_000))
	p.stop()
	h.start()
	t.Log(h.judge(&told))
}

// TestK2_ReadOnly makes the disk read-only under the running appliance, as a
// kernel does after an error of the disk: 451, an end that is told, and a clean
// start when the disk is well again.
func TestK2_ReadOnly(t *testing.T) {
	h := loadedHouse(t)
	data := filepath.Join(h.dir, "data")
	image := filepath.Join(t.TempDir(), "image")
	peer(t, nil, "truncate", "-s", "200M", image)
	peer(t, nil, "mkfs.ext4", "-q", image)
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	peer(t, nil, "mount", "-o", "loop", image, data)
	t.Cleanup(func() {
		h.stop()
		peer(t, nil, "umount", data)
	})
	if err := os.Chmod(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(data, "lost+found")); err != nil {
		t.Fatal(err)
	}
	p := h.launch()
	var told ledger
	w := h.logged()
	told.deliver(t, w, letterOf("before", 2_000))
	h.until("it is accepted", func() bool { return h.accepted() == 1 })
	resize(t, data, 0, "abort") // what ext4 does when its journal fails
	m := letterOf("meanwhile", 2_000)
	if code, err := w.deliver(boxA, boxB, m.text()); err != nil || code/100 != 4 {
		t.Errorf("on a read-only disk: %d %q, %v", code, w.last, err)
	}
	if state := p.ended(); state != exitFailed {
		t.Errorf("it ended with %d", state)
	}
	p.quiet()
	again := h.spawn()
	if state := again.ended(); state != exitFailed {
		t.Errorf("a start on a read-only disk ended with %d", state)
	}
	again.quiet()
	if log := tail(again.said.String(), 300); !strings.Contains(log, "pecgate: ") || !strings.Contains(log, "read-only file system") {
		t.Errorf("a start on a read-only disk says %q", log)
	}
	w.close()
	peer(t, nil, "umount", data)
	if out, err := exec.Command("e2fsck", "-fy", image).CombinedOutput(); err != nil && !strings.Contains(err.Error(), "exit status 1") {
		t.Fatalf("e2fsck: %v\n%s", err, out) // 1: mended
	}
	peer(t, nil, "mount", "-o", "loop", image, data)
	h.start()
	t.Log(h.judge(&told))
}
