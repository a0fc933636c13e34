package mailbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pecgate/mailbox/segment"
)

// flip changes the byte at the first occurrence of a text in a file.
func flip(t *testing.T, file, text string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(text))
	if at < 0 {
		t.Fatalf("no %q in %s", text, file)
	}
	b[at] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFsckFindsDamagedFiles(t *testing.T) {
	seg := func(dir string) string { return filepath.Join(dir, "segments", "0000000000000002.tar") }
	for name, c := range map[string]struct {
		plant func(t *testing.T, dir string)
		deep  bool // only a deep check finds it
		want  Trouble
		where string // of the first such finding; "": not compared
	}{
		"byte of a message": {func(t *testing.T, dir string) { flip(t, seg(dir), "body of two") }, true, Trouble(segment.BadMessage), "message 2"},
		"sidecar":           {func(t *testing.T, dir string) { flip(t, seg(dir), `"direction"`) }, false, Trouble(segment.BadSidecar), "message 1"},
		"segment lost": {func(t *testing.T, dir string) {
			if err := os.Remove(seg(dir)); err != nil {
				t.Fatal(err)
			}
		}, false, NoBytes, "message 1"},
		"all segments lost": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Dir(seg(dir))); err != nil {
				t.Fatal(err)
			}
		}, false, NoSegments, "segments"},
		"audit key lost": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, auditKey)); err != nil {
				t.Fatal(err)
			}
		}, false, BadAudit, auditKey},
		"heads lost": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, auditHeads)); err != nil {
				t.Fatal(err)
			}
		}, false, BadAudit, ""},
		"records": {func(t *testing.T, dir string) {
			all, err := filepath.Glob(filepath.Join(dir, "records", "*.sst"))
			more, merr := filepath.Glob(filepath.Join(dir, "records", "*.mem"))
			if all = append(all, more...); err != nil || merr != nil || len(all) == 0 {
				t.Fatal("no file of records", err, merr)
			}
			for _, file := range all {
				if err := os.Truncate(file, 100); err != nil {
					t.Fatal(err)
				}
			}
		}, false, NoRecords, "records"},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := world(t)
			closed(t, s)
			c.plant(t, dir)
			for _, how := range []FsckOptions{{}, {Deep: true}, {Repair: true}} {
				r := check(t, dir, how)
				if want := how.Deep || !c.deep; want != (r.Counts[c.want].Found > 0) || want == r.OK() ||
					r.Repaired > r.Counts[LeftOver].Repaired+r.Counts[NoFile].Repaired {
					t.Errorf("%+v: %v", how, r.Counts)
				}
				for _, f := range r.Findings {
					if f.What == c.want {
						if !bytes.Contains([]byte(f.Where), []byte(c.where)) {
							t.Errorf("%+v", *f)
						}
						break
					}
				}
			}
		})
	}
}

// TestFsckFindsRemovedBytes: bytes are marked as removed and a record names
// them.
func TestFsckFindsRemovedBytes(t *testing.T) {
	s, dir := world(t)
	m, err := s.Message(context.Background(), 2)
	if err := errors.Join(err, s.bytes.Remove(context.Background(), m.Ref)); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	r := check(t, dir, FsckOptions{})
	if got := found(r); len(got) != 1 || got[RemovedBytes] != 1 || r.Findings[0].Where != "message 2" {
		t.Errorf("%v", got)
	}
}

// TestFsckDanglingPlaceFreesItsBytes: bytes that a record had are recovered,
// once nothing says any more that they have one.
func TestFsckDanglingPlaceFreesItsBytes(t *testing.T) {
	s, dir := world(t)
	if err := s.Update(context.Background(), func(tx *Tx) error { return tx.w.Delete(key("m", MessageID(2))) }); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	if r := check(t, dir, FsckOptions{}); r.Orphans != 0 || r.Counts[NotRecounted].Found != 1 {
		t.Errorf("%+v", r.Counts)
	}
	r := check(t, dir, FsckOptions{Repair: true})
	if r.Counts[Dangling].Repaired != r.Counts[Dangling].Found || r.Counts[BadUsage].Repaired != 1 || r.Counts[NoMessage] != (FsckCount{Found: 1}) {
		t.Errorf("%+v", r.Counts)
	}
	if r := check(t, dir, FsckOptions{}); r.Orphans != 1 || r.Damage != 1 {
		t.Errorf("%d, %+v", r.Orphans, r.Counts)
	}
	recovered(t, open(t, dir), admin, Found{Filed: 1})
}

// TestFsckListIsBounded: all are counted, over many transactions of repair.
func TestFsckListIsBounded(t *testing.T) {
	s, dir := world(t)
	const many = 2300
	for from := uint64(0); from < many; from += 100 {
		err := s.Update(context.Background(), func(tx *Tx) error {
			for n := from; n < from+100; n++ {
				if err := tx.w.Put(key("mi", 1000+n), nil); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	closed(t, s)
	for _, repair := range []bool{false, true} {
		r := check(t, dir, FsckOptions{Repair: repair})
		if r.Damage != many || len(r.Findings) != maxFindings || r.OK() != repair || r.Findings[999].Repaired != repair || r.Findings[999].What != Dangling {
			t.Errorf("repair %v: %d found, %d listed, %d left", repair, r.Damage, len(r.Findings), r.Left)
		}
	}
	clean(t, check(t, dir, FsckOptions{}))
}

func TestFsckRefuses(t *testing.T) {
	ctx := context.Background()
	if _, err := Fsck(ctx, Options{Dir: t.TempDir()}, FsckOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no store: %v", err)
	}
	s, dir := world(t)
	err := s.Update(ctx, func(tx *Tx) error {
		return errors.Join(tx.w.Put(key("zz", uint64(1)), nil), tx.w.Put([]byte("nothing"), nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	if r := check(t, dir, FsckOptions{}); r.Counts[UnknownKind].Found != 2 || !r.OK() {
		t.Errorf("%+v", r.Counts)
	}
	full := Options{Dir: dir, MinFree: 10, Free: func() (DiskFree, error) { return DiskFree{Bytes: 9}, nil }}
	if _, err := Fsck(ctx, full, FsckOptions{}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a full disk: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Fsck(ended, Options{Dir: dir}, FsckOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	s = open(t, dir)
	err = s.Update(ctx, func(tx *Tx) error { return tx.w.Put(key("n", "plan"), binary.BigEndian.AppendUint64(nil, plan+1)) })
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	if _, err := Fsck(ctx, Options{Dir: dir}, FsckOptions{}); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer format: %v", err)
	}
}

// TestFsckKnowsTheKeyPlan: each kind of key in the plan is checked.
func TestFsckKnowsTheKeyPlan(t *testing.T) {
	known := map[string]bool{}
	for _, k := range fsckKinds() {
		known[k.prefix] = true
	}
	b, err := os.ReadFile("keys.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, line := range regexp.MustCompile(`(?m)^//\t((?:[a-z]+/\S* )+)`).FindAllStringSubmatch(string(b), -1) {
		for field := range strings.FieldsSeq(line[1]) {
			lines++
			if kind, _, _ := strings.Cut(field, "/"); !known[kind] {
				t.Errorf("nobody checks %s/", kind)
			}
		}
	}
	if lines < len(known) {
		t.Errorf("the plan has %d kinds, %d are checked", lines, len(known))
	}
}

// BenchmarkFsck checks a store of small messages, without hashing them.
func BenchmarkFsck(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	const messages = 2000
	ctx := context.Background()
	for n := range messages {
		in, err := s.Begin(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := in.Write([]byte(text(fmt.Sprint(n)))); err != nil {
			b.Fatal(err)
		}
		st, err := in.Store(ctx, Origin{Box: box, Direction: In})
		if err != nil {
			b.Fatal(err)
		}
		_, err = s.Record(ctx, st, func(tx *Tx, m *Message) error { _, _, err := tx.File(inbox, m, Filing{}); return err })
		if err := errors.Join(err, st.Close()); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r, err := Fsck(ctx, Options{Dir: dir}, FsckOptions{}); err != nil || !r.OK() {
			b.Fatal(err, r)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages/1e3, "µs/message")
}

// TestFsckSeesWhatTheNextStartRefuses: damage in the message that was stored
// last looks like the end of an unfinished write, but a record names it.
func TestFsckSeesWhatTheNextStartRefuses(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, inbox, text("one"), Filing{})
	put(t, s, inbox, text("two"), Filing{})
	closed(t, s)
	flip(t, filepath.Join(dir, "segments", "0000000000000002.tar"), "body of two")
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrSegments) {
		t.Errorf("open: %v", err)
	}
	r := check(t, dir, FsckOptions{})
	if r.Left != 2 || r.Counts[Trouble(segment.BadMessage)].Found != 1 || r.Counts[NoSegments].Found != 1 || !strings.Contains(r.Findings[0].Where, "message 2") {
		t.Errorf("%+v", r.Counts)
		for _, f := range r.Findings {
			t.Errorf("%+v", *f)
		}
	}
}
