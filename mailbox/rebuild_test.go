package mailbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/mailbox/kv"
)

// intoInbox files whatever arrived or was sent into the mailbox's inbox.
func intoInbox(*Store) (Look, error) {
	return func(_ context.Context, st *Stored) (func(*Tx, *Message) error, error) {
		if st.Origin.Box == "" {
			return nil, nil
		}
		return func(tx *Tx, m *Message) error {
			_, _, err := tx.File(FolderKey{Box: m.Box, Role: RoleInbox}, m, Filing{})
			return err
		}, nil
	}, nil
}

// lose closes a store and takes its records away.
func lose(t testing.TB, s *Store, dir string) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "records")); err != nil {
		t.Fatal(err)
	}
}

func rebuildIn(t *testing.T, dir string) Rebuilt {
	t.Helper()
	r, err := Rebuild(context.Background(), Options{Dir: dir}, intoInbox, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// bodies are the messages of the inbox in the order of their UIDs, by the first
// word of their subject.
func bodies(t *testing.T, s *Store, k FolderKey, v Viewer) (out []string) {
	t.Helper()
	snap := snapshot(t, s, k, v)
	err := s.Entries(context.Background(), snap.Folder, v, snap.UIDs, Want{}, func(e *Entry) error {
		text := content(t, s, e.Message)
		_, subject, _ := strings.Cut(text, "Subject: ")
		subject, _, _ = strings.Cut(subject, "\r\n")
		out = append(out, subject)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRebuildGivesEverythingBack makes the records of a store anew that has one
// of everything, and checks them as fsck does.
func TestRebuildGivesEverythingBack(t *testing.T) {
	s, dir := world(t)
	lose(t, s, dir)
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrRecordsMissing) || !strings.Contains(err.Error(), "fsck --rebuild") {
		t.Errorf("open without records: %v", err)
	}
	r := rebuildIn(t, dir)
	if r.Messages != 4 || r.Removed != 1 || r.Filed[In] != 2 || r.Filed[Own] != 1 || r.Left != 1 || r.Damaged != 0 || r.Kept != "" {
		t.Errorf("%+v", r)
	}
	report, err := Fsck(context.Background(), Options{Dir: dir}, FsckOptions{Deep: true})
	if err != nil || !report.OK() {
		t.Errorf("fsck: %+v, %v", report, err)
	}
	s = open(t, dir)
	if got := bodies(t, s, inbox, Viewer{Person: person(t, s, "lucia")}); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("the inbox holds %v", got)
	}
	mario := person(t, s, "mario")
	if got := bodies(t, s, FolderKey{Box: box, Owner: mario, Role: RoleDrafts}, Viewer{Person: mario}); !slices.Equal(got, []string{"draft"}) {
		t.Errorf("the drafts hold %v", got)
	}
	err = s.View(context.Background(), func(tx *Tx) error {
		if _, pending, err := tx.Restored(); err != nil || !pending {
			t.Errorf("no mark of a restore: %v", err)
		}
		return tx.Space(listRoom).Scan("", func(k string, _ []byte) (bool, error) { return false, errors.New(k + " is left of the list") })
	})
	if err != nil {
		t.Error(err)
	}
	// What belongs nowhere goes the way of all bytes without a record.
	recovered(t, s, admin, Found{Filed: 1})
}

// TestRebuildInTheOrderOfArrival: submissions before what arrived, each in the
// order of arrival, wherever they stand; and origins of any length are read.
func TestRebuildInTheOrderOfArrival(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	long := make([]string, 400)
	for i := range long {
		long[i] = fmt.Sprintf("recipient-%04d@%s.example", i, strings.Repeat("x", 200))
	}
	at := time.Date(2026, 7, 3, 9, 0, 0, 0, time.UTC)
	var want []string
	for n := range 150 {
		d, to := In, []string(nil)
		if n%3 == 0 {
			d, to = Out, long
		}
		raw := text(fmt.Sprint("m", n))
		if n%20 == 0 {
			raw += strings.Repeat("0123456789abcdef\r\n", 60_000) // in a segment of its own
		}
		// Newest first in the segments.
		if err := storeOnly(t, s, raw, Origin{Box: box, Direction: d, To: to, At: at.Add(-time.Duration(n) * time.Minute)}).Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, out := range []bool{true, false} {
		for n := 149; n >= 0; n-- {
			if (n%3 == 0) == out {
				want = append(want, fmt.Sprint("m", n))
			}
		}
	}
	lose(t, s, dir)
	var seen atomic.Int64
	look := func(*Store) (Look, error) {
		file, _ := intoInbox(nil)
		return func(ctx context.Context, st *Stored) (func(*Tx, *Message) error, error) {
			if len(st.Origin.To) == len(long) && st.Origin.To[399] == long[399] {
				seen.Add(1)
			}
			return file(ctx, st)
		}, nil
	}
	// Cut off at several places, the records are not there, and it begins anew.
	for _, after := range []int64{0, 64, 128} {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := Rebuild(ctx, Options{Dir: dir}, intoInbox, func(done, total int64) {
			if total != 150 || done > total {
				t.Errorf("progress %d of %d", done, total)
			}
			if done >= after {
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cut off: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "records")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("half of the records are there: %v", err)
		}
	}
	r, err := Rebuild(context.Background(), Options{Dir: dir}, look, nil)
	if err != nil || r.Filed[In] != 100 || r.Filed[Out] != 50 {
		t.Fatalf("%+v, %v", r, err)
	}
	if n := seen.Load(); n != 50 {
		t.Errorf("%d envelopes of 400 recipients", n)
	}
	if _, err := os.Stat(filepath.Join(dir, rebuildingDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", rebuildingDir, err)
	}
	s = open(t, dir)
	if got := bodies(t, s, inbox, Viewer{Person: 1}); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// TestRebuildKeepsWhatWasThere: damaged records are kept beside the new ones,
// good ones are not made anew, and those that know nothing are none.
func TestRebuildKeepsWhatWasThere(t *testing.T) {
	s, dir := world(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(context.Background(), Options{Dir: dir}, intoInbox, nil); !errors.Is(err, ErrRecordsGood) {
		t.Errorf("good records: %v", err)
	}
	records := filepath.Join(dir, "records")
	if err := os.Remove(filepath.Join(records, "JOURNAL")); err != nil {
		t.Fatal(err)
	}
	r := rebuildIn(t, dir)
	if kept, err := os.Stat(r.Kept); err != nil || !kept.IsDir() || !strings.HasPrefix(filepath.Base(r.Kept), damagedDir) {
		t.Errorf("kept %q: %v", r.Kept, err)
	}
	if err := open(t, dir).Close(); err != nil {
		t.Error(err)
	}
	// Killed between the two renames: it begins anew.
	if err := os.Rename(records, filepath.Join(dir, rebuildingDir)); err != nil {
		t.Fatal(err)
	}
	if again := rebuildIn(t, dir); again.Filed[In] != r.Filed[In] || again.Kept != "" {
		t.Errorf("%+v", again)
	}
	// A folder of records in which nothing is.
	s, dir = world(t)
	lose(t, s, dir)
	if err := os.Mkdir(filepath.Join(dir, "records"), 0o700); err != nil {
		t.Fatal(err)
	}
	if r := rebuildIn(t, dir); r.Filed[In] != 2 || r.Kept == "" {
		t.Errorf("%+v", r)
	}
	if _, err := Rebuild(context.Background(), Options{Dir: t.TempDir()}, intoInbox, nil); !errors.Is(err, ErrNoSegments) {
		t.Errorf("an empty folder: %v", err)
	}
	open(t, dir)
	if _, err := Rebuild(context.Background(), Options{Dir: dir}, intoInbox, nil); !errors.Is(err, kv.ErrInUse) {
		t.Errorf("an open store: %v", err)
	}
}

// TestRebuildTellsOfDamage: a message that is not what its name says is named
// and left to the administrator; a message that stands twice has one record.
func TestRebuildTellsOfDamage(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 7, 3, 9, 0, 0, 0, time.UTC)
	for _, subject := range []string{"good", "bad", "twice", "twice", "last"} {
		if err := storeOnly(t, s, text(subject), Origin{Box: box, Direction: In, At: at}).Close(); err != nil {
			t.Fatal(err)
		}
	}
	lose(t, s, dir)
	files, err := filepath.Glob(filepath.Join(dir, "segments", "*.tar"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("body of bad"))] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	r := rebuildIn(t, dir)
	if r.Filed[In] != 3 || r.Doubles != 1 || r.Left != 1 || r.Damaged != 1 || len(r.Damage) != 1 || !strings.HasPrefix(r.Damage[0], "segment 2 at offset ") || strings.Contains(r.Damage[0], "bad") {
		t.Errorf("%+v", r)
	}
	s = open(t, dir)
	recovered(t, s, admin, Found{Filed: 1, Doubles: 1})
}
