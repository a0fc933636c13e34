package mailbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/kv/badger"
	"pecgate/mailbox/segment"
)

const activeFile = "0000000000000002.tar"

// half opens only the records of a store; segments are opened by the test.
func half(t *testing.T, dir string) *Store {
	t.Helper()
	s := &Store{opt: Options{Dir: dir, Now: time.Now}, failed: make(chan error, 1)}
	var err error
	if s.records, err = badger.Open(badger.Options{Dir: filepath.Join(dir, "records"), Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.records.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestK5_LastGroupWithRecords changes every byte that was written last, in a
// store that was closed and in one that was killed: either the start is
// refused, and changes nothing, or every message is as it was and none that was
// removed comes back, or the damage is told.
func TestK5_LastGroupWithRecords(t *testing.T) {
	s, dir := world(t)
	killed := copyDir(t, dir)
	closed(t, s)
	for name, dir := range map[string]string{"closed": dir, "killed": killed} {
		t.Run(name, func(t *testing.T) {
			s := half(t, dir)
			file := filepath.Join(dir, "segments", activeFile)
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// The message that was stored last was removed for good: behind it is what says so.
			ends := bytes.LastIndex(whole, []byte(".eml"))
			refused, told := 0, 0
			for at := ends &^ 511; at < len(whole); at += 3 { // each one in mailbox/segment
				damaged := slices.Clone(whole)
				damaged[at] ^= 0x10
				if err := os.WriteFile(file, damaged, 0o600); err != nil {
					t.Fatal(err)
				}
				err := s.openBytes(context.Background())
				if err == nil {
					err := wholeStore(s)
					if errors.Is(err, segment.ErrCorrupt) {
						told, err = told+1, nil // by Recover, which goes over the segments in the same way
					}
					if err := errors.Join(err, s.bytes.Close()); err != nil {
						t.Fatalf("byte %d of %d: %v", at, len(whole), err)
					}
					continue
				}
				refused++
				if !errors.Is(err, ErrSegments) || !strings.Contains(err.Error(), "fsck --deep") {
					t.Fatalf("byte %d: %v", at, err)
				}
				if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, damaged) {
					t.Fatalf("byte %d: the file was changed, %v", at, err)
				}
			}
			if refused < 200 || told == 0 {
				t.Errorf("of %d bytes %d are refused and %d told later", len(whole)-ends, refused, told)
			}
		})
	}
}

var errAgain = errors.New("a message without a record is there")

// wholeStore tells what is wrong with the bytes of a store.
func wholeStore(s *Store) error {
	ctx := context.Background()
	return errors.Join(
		s.View(ctx, func(tx *Tx) error {
			for id := MessageID(1); id <= 4; id++ {
				m, err := tx.Message(id)
				if err == nil {
					err = s.bytes.Verify(ctx, m.Ref)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
		s.bytes.Walk(ctx, func(e segment.Entry) error {
			return s.View(ctx, func(tx *Tx) error {
				known, err := tx.accounted(e.Ref, e.Copy)
				if err == nil && !known && !e.Removed {
					err = errAgain
				}
				return err
			})
		}))
}

// TestUnfinishedWriteIsCutInSilence: bytes that no record names are cut when
// they are not whole, and the rest is served.
func TestUnfinishedWriteIsCutInSilence(t *testing.T) {
	s, dir := world(t)
	file := filepath.Join("segments", activeFile)
	before, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := storeOnly(t, s, text("lost"), Origin{Box: box, Direction: In}).Close(); err != nil {
		t.Fatal(err)
	}
	killed := copyDir(t, dir)
	closed(t, s)
	s = half(t, killed)
	after, err := os.ReadFile(filepath.Join(killed, file))
	if err != nil || len(after) <= len(before) {
		t.Fatal(len(after), err)
	}
	cuts := 0
	for n := len(before); n < len(after); n += 13 {
		for _, b := range [][]byte{after[:n], append(slices.Clone(after[:n]), make([]byte, len(after)-n)...)} {
			if err := os.WriteFile(filepath.Join(killed, file), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := s.openBytes(context.Background()); err != nil {
				t.Fatalf("%d bytes more: %v", n-len(before), err)
			}
			if s.bytes.Recovered().Cut > 0 {
				cuts++
			}
			if err := wholeStore(s); err != nil && !errors.Is(err, errAgain) { // without a record it may stand whole
				t.Fatal(err)
			}
			if err := s.bytes.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if cuts == 0 {
		t.Error("nothing was cut")
	}
}

// TestK7_SegmentsThatRecordsName: a segment that is missing or cut off keeps the
// store from opening, its check says what is lost, and after a repair the rest
// is served while the loss goes on to be told.
func TestK7_SegmentsThatRecordsName(t *testing.T) {
	big := "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 20000)
	for name, c := range map[string]struct {
		damage  func(t *testing.T, dir string)
		refused string // in the error of Open; "": it opens, and Recover tells
		lost    []MessageID
	}{
		"active removed":       {func(t *testing.T, dir string) { remove(t, dir, activeFile) }, activeFile, []MessageID{1, 3}},
		"active empty":         {func(t *testing.T, dir string) { cutFile(t, dir, activeFile, 0) }, "offset 0", []MessageID{1, 3}},
		"active cut":           {func(t *testing.T, dir string) { cutFile(t, dir, activeFile, 2000) }, "offset", []MessageID{3}},
		"first large removed":  {func(t *testing.T, dir string) { remove(t, dir, "0000000000000001.tar") }, "0000000000000001.tar", []MessageID{2}},
		"last large removed":   {func(t *testing.T, dir string) { remove(t, dir, "0000000000000003.tar") }, "0000000000000003.tar", []MessageID{4}},
		"both removed":         {func(t *testing.T, dir string) { remove(t, dir, "0000000000000001.tar", "0000000000000003.tar") }, "0000000000000001.tar and 1 more are missing", []MessageID{2, 4}},
		"last large cut":       {func(t *testing.T, dir string) { cutFile(t, dir, "0000000000000003.tar", 1<<20) }, "", []MessageID{4}},
		"last large cut to an": {func(t *testing.T, dir string) { cutFile(t, dir, "0000000000000003.tar", 0) }, "", []MessageID{4}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			dir := t.TempDir()
			s, err := Open(Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			for n, raw := range []string{text("one"), big, text("three"), big + "more"} {
				if m, _ := put(t, s, inbox, raw, Filing{}); m.ID != MessageID(n+1) {
					t.Fatal(m.ID)
				}
			}
			closed(t, s)
			clean(t, check(t, dir, FsckOptions{Deep: true}))
			c.damage(t, dir)
			before := tree(t, filepath.Join(dir, "segments"))

			s, err = Open(Options{Dir: dir})
			if c.refused != "" && (!errors.Is(err, ErrSegments) || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "\n")) ||
				c.refused == "" && err != nil {
				t.Fatalf("open: %v", err)
			}
			if err == nil {
				if _, err := s.Recover(ctx, admin); !errors.Is(err, segment.ErrCorrupt) {
					t.Errorf("recover: %v", err)
				}
				closed(t, s)
			}
			r := check(t, dir, FsckOptions{})
			if r.OK() {
				t.Errorf("check: %+v", r.Counts)
			}
			if after := tree(t, filepath.Join(dir, "segments")); c.refused != "" && !sameFiles(before, after) {
				t.Error("a file was changed")
			}

			// With the repair the others are served; what is lost is still told.
			check(t, dir, FsckOptions{Repair: true})
			for name, content := range tree(t, filepath.Join(dir, "segments")) {
				if old, stood := before[name]; stood && old != content {
					t.Errorf("%s was changed", filepath.Base(name))
				}
			}
			if r := check(t, dir, FsckOptions{Deep: true, Repair: true}); r.OK() || r.Repaired != 0 {
				t.Errorf("check after the repair: %+v", r.Counts)
			}
			s = open(t, dir)
			for id := MessageID(1); id <= 4; id++ {
				m, err := s.Message(ctx, id)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.bytes.Verify(ctx, m.Ref); (err != nil) != slices.Contains(c.lost, id) {
					t.Errorf("message %d: %v", id, err)
				}
			}
			if m, _ := put(t, s, inbox, big+"new", Filing{}); m.Ref.Segment < 5 {
				t.Errorf("segment %d is given again", m.Ref.Segment)
			}
			if m, _ := put(t, s, inbox, text("new"), Filing{}); s.bytes.Verify(ctx, m.Ref) != nil {
				t.Error("nothing can be stored")
			}
		})
	}
}

func sameFiles(a, b map[string]string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

func remove(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, "segments", name)); err != nil {
			t.Fatal(err)
		}
	}
}

func cutFile(t *testing.T, dir, name string, size int64) {
	t.Helper()
	if err := os.Truncate(filepath.Join(dir, "segments", name), size); err != nil {
		t.Fatal(err)
	}
}

// TestK7_FolderOfSegmentsRemoved: no new one is begun.
func TestK7_FolderOfSegmentsRemoved(t *testing.T) {
	s, dir := world(t)
	closed(t, s)
	segments := filepath.Join(dir, "segments")
	if err := os.RemoveAll(segments); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := Open(Options{Dir: dir})
		if !errors.Is(err, ErrSegments) || !strings.Contains(err.Error(), segments+" is not there") {
			t.Errorf("open: %v", err)
		}
		if _, err := os.Stat(segments); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder was made: %v", err)
		}
		check(t, dir, FsckOptions{Repair: true})
	}
}

// TestNamedSegments compares the list with all keys, over segments with one and
// with many messages.
func TestNamedSegments(t *testing.T) {
	s := open(t, t.TempDir())
	var want []lastNamed
	id := MessageID(1000)
	err := s.Update(context.Background(), func(tx *Tx) error {
		for n, places := range []int{1, runLength - 1, 1, runLength, 1, 1, runLength + 1, 40, 1} {
			at := lastNamed{segment: uint64(100 + n)}
			for i := range places {
				at.offset = uint64(512 + 1024*i)
				id++
				if err := tx.w.Put(key("mb", at.segment, at.offset, id), nil); err != nil {
					return err
				}
			}
			want = append(want, at)
		}
		got, err := tx.namedSegments()
		if !slices.Equal(got, want) {
			t.Errorf("in its transaction: %v instead of %v", got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.View(context.Background(), func(tx *Tx) error {
		got, err := tx.namedSegments()
		if !slices.Equal(got, want) {
			t.Errorf("%v instead of %v", got, want)
		}
		if to, err := tx.furthest(got); err != nil || to != (segment.Place{Segment: 108, End: 512}) {
			t.Errorf("furthest %v, %v", to, err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Keys that were left over keep nobody from opening.
	dir := s.opt.Dir
	closed(t, s)
	open(t, dir)
}

// BenchmarkNamed is what Open asks the records: 100,000 messages, every tenth
// in a segment of its own.
func BenchmarkNamed(b *testing.B) {
	s, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const messages = 100_000
	for from := 0; from < messages; from += 500 {
		err := s.Update(context.Background(), func(tx *Tx) error {
			for n := from; n < from+500; n++ {
				segment, offset := uint64(2+n/5000*2), uint64(512+n%5000*2048)
				if n%10 == 0 {
					segment, offset = uint64(n/10*2+1), 512
				}
				if err := tx.w.Put(key("mb", segment, offset, MessageID(n)), nil); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		err := s.View(context.Background(), func(tx *Tx) error {
			all, err := tx.namedSegments()
			if len(all) != 10_000+20 {
				b.Fatal(len(all))
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecord stores and records small messages from 16 writers.
func BenchmarkRecord(b *testing.B) {
	ctx := context.Background()
	s, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	raw := []byte(text("bench") + strings.Repeat("x\r\n", 3000))
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			in, err := s.Begin(ctx)
			if err == nil {
				_, err = in.Write(raw)
			}
			var st *Stored
			if err == nil {
				st, err = in.Store(ctx, Origin{Box: box, Direction: In})
			}
			if err == nil {
				_, err = s.Record(ctx, st, func(tx *Tx, m *Message) error { _, _, err := tx.File(inbox, m, Filing{}); return err })
			}
			if err == nil {
				err = st.Close()
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}
