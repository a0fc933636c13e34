package mailbox

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func admin(string) string { return "capo" }

var anomalies = FolderKey{Box: box, Role: RoleAnomalies}

// recovered runs Recover and compares what it filed.
func recovered(t *testing.T, s *Store, who func(string) string, want Found) {
	t.Helper()
	got, err := s.Recover(context.Background(), who)
	got.Looked = 0
	if err != nil || got != want {
		t.Errorf("recovered %+v instead of %+v: %v", got, want, err)
	}
}

func TestBytesWithoutRecordAreRecovered(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, inbox, text("whole"), Filing{})
	if err := storeOnly(t, s, text("lost"), Origin{Box: strings.ToUpper(box), Direction: In, UID: 7}).Close(); err != nil {
		t.Fatal(err)
	}
	if err := storeOnly(t, s, text("notice"), Origin{Direction: Own}).Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	recovered(t, s, func(string) string { return "" }, Found{Waiting: 2})
	recovered(t, s, admin, Found{Filed: 2})
	recovered(t, s, admin, Found{})
	ctx, capo := context.Background(), Viewer{Person: person(t, s, "capo")}
	snap := snapshot(t, s, anomalies, capo)
	if len(snap.UIDs) != 1 {
		t.Fatalf("the administrator sees %v", snap.UIDs)
	}
	if got := snapshot(t, s, anomalies, Viewer{Person: person(t, s, "mario")}).UIDs; len(got) != 0 {
		t.Errorf("somebody else sees %v", got)
	}
	if got := snapshot(t, s, FolderKey{Owner: capo.Person, Role: RoleInbox}, capo).UIDs; len(got) != 1 {
		t.Errorf("the administrator's INBOX holds %v", got)
	}
	err = s.Entries(ctx, snap.Folder, capo, snap.UIDs, Want{Envelope: true}, func(e *Entry) error {
		m, err := s.Message(ctx, e.Message)
		if err != nil {
			return err
		}
		r, err := s.Open(m)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(io.NewSectionReader(r, 0, m.Size()))
		if string(got) != text("lost") || m.Direction != Recovered || m.Was != In || len(e.Envelope) == 0 {
			t.Errorf("recovered %+v with %q", m, got)
		}
		return errors.Join(err, r.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	recounted(t, s)
	// What arrives again is filed for its readers as ever.
	put(t, s, inbox, text("lost"), Filing{})
	recovered(t, s, admin, Found{})
}

func TestUnreadableOriginIsRecovered(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	w, err := s.bytes.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text("odd")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(ctx, []byte("{")); err != nil {
		t.Fatal(err)
	}
	w.Release()
	recovered(t, s, admin, Found{Filed: 1})
	capo := Viewer{Person: person(t, s, "capo")}
	if got := snapshot(t, s, FolderKey{Owner: capo.Person, Role: RoleInbox}, capo).UIDs; len(got) != 1 {
		t.Errorf("the administrator's INBOX holds %v", got)
	}
}

// TestRemovedIsNotRecovered stops between a record's removal and that of its
// bytes.
func TestRemovedIsNotRecovered(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := put(t, s, inbox, text("gone"), Filing{})
	if gone, err := s.removeMessage(ctx, m.ID, func(*Tx, *Message) (bool, error) { return true, nil }); !gone || err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	recovered(t, s, admin, Found{})
	if got := snapshot(t, s, anomalies, Viewer{Person: person(t, s, "capo")}).UIDs; len(got) != 0 {
		t.Errorf("the administrator sees %v", got)
	}
	if n, err := s.bytes.Usage(ctx); err != nil || n[0].Dead == 0 {
		t.Errorf("usage %+v: %v", n, err)
	}
}

// TestRefusedIsNotRecovered: whoever decides against a message in its
// transaction leaves nothing behind.
func TestRefusedIsNotRecovered(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	st := storeOnly(t, s, text("refused"), Origin{Box: box, Direction: Out})
	no := errors.New("no")
	if _, err := s.Record(ctx, st, func(*Tx, *Message) error { return no }); !errors.Is(err, no) {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	recovered(t, s, admin, Found{})
	recounted(t, s)
}

// TestRecoverWaitsForWhatIsInFlight begins to look between bytes and record.
func TestRecoverWaitsForWhatIsInFlight(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	st := storeOnly(t, s, text("slow"), Origin{Box: box, Direction: In})
	done := make(chan Found, 1)
	asked := make(chan struct{})
	go func() {
		close(asked)
		found, err := s.Recover(ctx, admin)
		if err != nil {
			t.Error(err)
		}
		done <- found
	}()
	<-asked
	_, err := s.Record(ctx, st, func(tx *Tx, m *Message) error { _, _, err := tx.File(inbox, m, Filing{}); return err })
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	if found := <-done; found.Filed != 0 {
		t.Errorf("recovered %+v", found)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Recover(ended, admin); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
}

// copyDir takes a picture of a store, as a crash would leave it.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	// The copy does not keep modes, and a key that all may read is refused.
	if err := os.Chmod(filepath.Join(to, auditKey), 0o600); err != nil {
		t.Fatal(err)
	}
	// The locks are of the process that is gone.
	for _, name := range []string{"segments/LOCK", "records/LOCK"} {
		if err := os.Remove(filepath.Join(to, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return to
}

// TestK15_UnfinishedUploadIsNeverShown stops in the middle of a large message.
func TestK15_UnfinishedUploadIsNeverShown(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, inbox, text("whole"), Filing{})
	in, err := s.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Abort()
	for range 5 {
		if _, err := in.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	after := copyDir(t, dir)
	crashed := open(t, after)
	if crashed.bytes.Recovered().Uploads != 1 {
		t.Error("there was no unfinished upload")
	}
	recovered(t, crashed, admin, Found{})
	left, err := filepath.Glob(filepath.Join(after, "segments", "*"))
	if err != nil || slices.ContainsFunc(left, func(n string) bool { return strings.HasSuffix(n, ".tmp") }) {
		t.Errorf("left are %v: %v", left, err)
	}
	if got := snapshot(t, crashed, inbox, Viewer{Person: person(t, crashed, "mario")}).UIDs; len(got) != 1 {
		t.Errorf("the folder holds %v", got)
	}
}

// TestDoublesAreNotRecovered: bytes that stand twice with one origin are one
// message, whichever place the record names.
func TestDoublesAreNotRecovered(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	o := Origin{Box: box, Direction: In, At: time.Date(2026, 11, 1, 8, 0, 0, 7, time.UTC)}
	for range 2 {
		if err := storeOnly(t, s, text("left over"), o).Close(); err != nil {
			t.Fatal(err)
		}
	}
	recovered(t, s, admin, Found{Filed: 1, Doubles: 1})
	st := storeOnly(t, s, text("known"), o)
	if _, err := s.Record(ctx, st, func(tx *Tx, m *Message) error { _, _, err := tx.File(inbox, m, Filing{}); return err }); err != nil {
		t.Fatal(err)
	}
	for _, st := range []*Stored{st, storeOnly(t, s, text("known"), o)} {
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	recovered(t, s, admin, Found{Doubles: 2})
	// The same bytes of another origin are another message.
	o.At = o.At.Add(time.Second)
	if err := storeOnly(t, s, text("known"), o).Close(); err != nil {
		t.Fatal(err)
	}
	recovered(t, s, admin, Found{Filed: 1, Doubles: 2})
}

// TestK7_RecordsRemoved: a store is not begun anew over the messages of another.
func TestK7_RecordsRemoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, inbox, text("whole"), Filing{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(t.TempDir(), "records")
	if err := os.Rename(filepath.Join(dir, "records"), gone); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: dir})
	if !errors.Is(err, ErrRecordsMissing) || !strings.Contains(err.Error(), filepath.Join(dir, "records")) {
		t.Fatalf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "records")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder of records was made: %v", err)
	}
	if err := os.Rename(gone, filepath.Join(dir, "records")); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if m, err := s.Message(context.Background(), 1); err != nil || m.ID != 1 {
		t.Errorf("%v, %v", m, err)
	}
}
