package mailbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/kv/badger"
	"pecgate/mailbox/segment"
)

// upgraded compares an open store with what the former one held.
func (w *former) upgraded(t *testing.T, s *Store) {
	t.Helper()
	ctx := context.Background()
	left := maps.Clone(w.records)
	for key := range left {
		if strings.HasPrefix(key, "a/") {
			delete(left, key) // compared as lines below
		}
	}
	delete(left, k("n", "audit"))
	fresh := map[string]int{}
	var entries int
	err := s.View(ctx, func(tx *Tx) error {
		return tx.r.Scan(nil, nil, func(key, v []byte) (bool, error) {
			want, old := left[string(key)]
			kind, _, _ := strings.Cut(string(key), "/")
			switch {
			case !old:
				fresh[kind]++
			case kind == "e" && len(v) == archivedLen:
				entries++
				v = v[:entryLen]
				fallthrough
			default:
				if string(v) != want && string(key) != k("n", "folder") && string(key) != k("n", "uidvalidity") {
					t.Errorf("the record %q is %q instead of %q", key, v, want)
				}
			}
			delete(left, string(key))
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for key := range left {
		t.Errorf("the record %q is missing", key)
	}
	for kind := range fresh {
		if !slices.Contains([]string{"mb", "q", "ad", "a", "n", "f", "fk", "c", "mr"}, kind) {
			t.Errorf("%d new records %s/", fresh[kind], kind)
		}
	}
	if fresh["mb"] != len(w.bytes) || fresh["q"] != 3 || entries == 0 || fresh["ad"] != entries {
		t.Errorf("%d messages, %d archived entries: new records are %v", len(w.bytes), entries, fresh)
	}
	var got []AuditLine
	err = s.View(ctx, func(tx *Tx) error {
		return tx.AuditTail(func(_ uint64, l AuditLine) bool { got = append(got, l); return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(got)
	got = slices.DeleteFunc(got, func(l AuditLine) bool { return l.Event == "audit-key" || l.Event == "store-format" })
	if fmt.Sprint(got) != fmt.Sprint(w.audit) {
		t.Errorf("%d audit lines differ from the %d of before", len(got), len(w.audit))
	}
	if r := verified(t, s); !r.OK() {
		t.Errorf("the audit log: %+v", r)
	}
	for n, sum := range w.bytes {
		m, err := s.Message(ctx, MessageID(n))
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(m)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		_, err = io.Copy(h, io.NewSectionReader(r, 0, m.Size()))
		if err := errors.Join(err, r.Close()); err != nil || [sha256.Size]byte(h.Sum(nil)) != sum {
			t.Errorf("message %d: %v", n, err)
		}
	}
	recounted(t, s)
}

// tars are the segments, byte for byte.
func tars(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := everyFile(t, dir)
	maps.DeleteFunc(all, func(name string, _ []byte) bool { return filepath.Ext(name) != ".tar" })
	if len(all) == 0 {
		t.Fatal("no segments")
	}
	return all
}

// everyFile reads a whole folder.
func everyFile(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func checked(t *testing.T, dir string) {
	t.Helper()
	r, err := Fsck(context.Background(), Options{Dir: dir}, FsckOptions{Deep: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if !f.Harmless {
			t.Errorf("fsck: %+v", f)
		}
	}
}

// TestUpgradeOfFormat0: a store of format 0 is refused by a check, which says
// what to do, and brought to the present format by Open, with equal data.
func TestUpgradeOfFormat0(t *testing.T) {
	w := newFormer(t)
	w.fill(120, 130)
	before, segments := withoutLock(everyFile(t, w.dir)), tars(t, w.dir)
	if _, err := Fsck(context.Background(), Options{Dir: w.dir}, FsckOptions{}); !errors.Is(err, ErrOlder) {
		t.Errorf("a check: %v", err)
	}
	if !maps.EqualFunc(before, withoutLock(everyFile(t, w.dir)), bytes.Equal) {
		t.Error("the check changed the store")
	}
	s := open(t, w.dir)
	w.upgraded(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(segments, tars(t, w.dir), bytes.Equal) {
		t.Error("the segments were changed")
	}
	checked(t, w.dir)
	// Now it is counted: without the count it is refused, whatever else is there.
	journal := filepath.Join(w.dir, "records", "JOURNAL")
	if err := os.Remove(journal); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: w.dir}); !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), "JOURNAL") {
		t.Errorf("K7: without the JOURNAL: %v", err)
	}
}

// withoutLock leaves out the file that holds others off.
func withoutLock(all map[string][]byte) map[string][]byte {
	maps.DeleteFunc(all, func(name string, _ []byte) bool { return filepath.Base(name) == "LOCK" })
	return all
}

const upgradeChild = "PECGATE_UPGRADE_CHILD"

// TestK11_Child is the process that is killed: it opens the store, and kills
// itself when the second change of records begins. Without the variable it is
// nothing.
func TestK11_Child(t *testing.T) {
	dir, limit, _ := strings.Cut(os.Getenv(upgradeChild), ":")
	if dir == "" {
		return
	}
	most, err := strconv.Atoi(limit)
	if err != nil {
		t.Fatal(err)
	}
	changes := 0
	s, err := Open(Options{Dir: dir, Now: func() time.Time {
		if pc, _, _, ok := runtime.Caller(1); ok && strings.Contains(runtime.FuncForPC(pc).Name(), "(*Store).Update") {
			if changes++; most > 0 && changes == most {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until it comes
			}
		}
		return time.Now()
	}})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// child starts the process; most changes begin in it, 0: all.
func upgrading(t *testing.T, dir string, most int) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestK11_Child$", "-test.count=1")
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%d", upgradeChild, dir, most))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	t.Cleanup(func() {
		if t.Failed() && out.Len() > 0 {
			t.Log(out.String())
		}
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// killed waits for the end of a process and tells whether it was killed.
func killed(t *testing.T, c *exec.Cmd) bool {
	t.Helper()
	var exit *exec.ExitError
	switch err := c.Wait(); {
	case err == nil:
		return false
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return true
	default:
		t.Fatal(err)
		return false
	}
}

// TestK11_InterruptedUpgrade kills the upgrade of a store of format 0 in each of
// its transactions, at least 50 times, and a second one at any moment of its
// beginning. Each goes on where it was, and loses and doubles nothing.
func TestK11_InterruptedUpgrade(t *testing.T) {
	w := newFormer(t)
	w.fill(26*fillBatch-30, 26*adoptBatch-30)
	segments, second := tars(t, w.dir), t.TempDir()
	if err := os.CopyFS(second, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	kills := 0
	for ; killed(t, upgrading(t, w.dir, 2)); kills++ {
		if kills > 200 {
			t.Fatal("it does not come to an end")
		}
	}
	if kills < 50 {
		t.Errorf("killed at %d points only", kills)
	}
	early := 0
	for n := range 12 {
		c := upgrading(t, second, 0)
		time.Sleep(time.Duration(5+12*n) * time.Millisecond) // wherever it is then
		if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if killed(t, c) {
			early++
		}
	}
	t.Logf("killed %d times in transactions, %d times anywhere", kills, early)
	if killed(t, upgrading(t, second, 0)) {
		t.Fatal("the last one was killed")
	}
	for _, dir := range []string{w.dir, second} {
		s := open(t, dir)
		w.upgraded(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checked(t, dir)
		for name, b := range segments {
			name = filepath.Join(dir, strings.TrimPrefix(name, w.dir))
			if now, err := os.ReadFile(name); err != nil || !bytes.Equal(now, b) {
				t.Errorf("segment %s: %v", name, err)
			}
		}
	}
}

// TestFormatsOnDisk: a new store says the formats where the table of upgrade.go
// says that it does.
func TestFormatsOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, inbox, text("one"), Filing{})
	var number uint64
	err := s.View(t.Context(), func(tx *Tx) (err error) { number, err = tx.number("plan"); return err })
	if err := errors.Join(err, s.Close()); err != nil || number != plan {
		t.Errorf("records: %d, %v", number, err)
	}
	journal, err := os.ReadFile(filepath.Join(dir, "records", "JOURNAL"))
	if err != nil || binary.BigEndian.Uint16(journal[6:]) != badger.Format {
		t.Errorf("journal: %v", err)
	}
	tar, err := os.ReadFile(filepath.Join(dir, "segments", "0000000000000002.tar"))
	if err != nil || segment.Format != 1 || !bytes.HasPrefix(tar[297:], []byte("pecgate\x00")) {
		t.Errorf("segments: %v", err)
	}
}

// TestK12_Downgrade: a store of which any part is of a newer format is refused
// in one line, and no byte of it is changed.
func TestK12_Downgrade(t *testing.T) {
	for what, make := range map[string]func(t *testing.T, dir string){
		"records": func(t *testing.T, dir string) {
			s := open(t, dir)
			err := s.Update(t.Context(), func(tx *Tx) error { return tx.w.Put(key("n", "plan"), binary.BigEndian.AppendUint64(nil, plan+1)) })
			if err := errors.Join(err, s.Close()); err != nil {
				t.Fatal(err)
			}
		},
		"journal": func(t *testing.T, dir string) {
			patch(t, filepath.Join(dir, "records", "JOURNAL"), 68, func(b []byte) {
				b[7]++ // its format; the sum follows
				binary.BigEndian.PutUint32(b[64:], crc32.Checksum(b[:64], crc32.MakeTable(crc32.Castagnoli)))
			})
		},
		"segments": func(t *testing.T, dir string) {
			patch(t, filepath.Join(dir, "segments", "0000000000000002.tar"), 512, func(b []byte) {
				copy(b[297:], "pecgate-2\x00")
				copy(b[148:156], "        ")
				sum := 0
				for _, c := range b {
					sum += int(c)
				}
				copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
			})
		},
	} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s killed=%t", what, killed), func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir)
				put(t, s, inbox, text("one"), Filing{})
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				make(t, dir)
				if killed { // what a crash left behind stays too
					for name, content := range map[string]string{"segments/0000000000000007.tmp": "half an upload", "records/00099.mem": ""} {
						if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
							t.Fatal(err)
						}
					}
				}
				before := everyFile(t, dir)
				_, err := Open(Options{Dir: dir, MinFree: 10 << 20})
				_, err2 := Fsck(t.Context(), Options{Dir: dir}, FsckOptions{Repair: true})
				for _, err := range []error{err, err2} {
					if !errors.Is(err, ErrNewer) || errors.Is(err, kv.ErrCorrupt) || strings.Contains(err.Error(), "\n") {
						t.Errorf("not one line that says so: %v", err)
					}
				}
				after := everyFile(t, dir)
				for name := range after {
					if _, ok := before[name]; !ok {
						t.Errorf("%s was made", name)
					}
				}
				for name, b := range before {
					if !bytes.Equal(after[name], b) {
						t.Errorf("%s was changed", name)
					}
				}
			})
		}
	}
}

// patch changes the beginning of a file.
func patch(t *testing.T, name string, n int, fn func([]byte)) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fn(b[:n])
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
