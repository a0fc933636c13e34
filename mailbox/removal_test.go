package mailbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/segment"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func openWith(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// keysOf are the prefixes of all keys in which a message's number stands as 8
// bytes, apart from counters.
func keysOf(t *testing.T, s *Store, m MessageID) map[string]int {
	t.Helper()
	number := key("", m)[1:]
	out := map[string]int{}
	err := s.View(context.Background(), func(tx *Tx) error {
		return tx.r.Scan(nil, nil, func(k, _ []byte) (bool, error) {
			prefix, rest, _ := bytes.Cut(k, []byte("/"))
			switch p := string(prefix); p {
			case "m", "mi", "mp", "mr", "lm":
				if bytes.HasPrefix(rest, number) {
					out[p]++
				}
			case "mh", "mb", "ms", "lx":
				if bytes.HasSuffix(rest, number) {
					out[p]++
				}
			}
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func recounted(t *testing.T, s *Store) {
	t.Helper()
	wrong, err := s.Recount(context.Background())
	if err != nil || len(wrong) != 0 {
		t.Errorf("counters are wrong: %+v, %v", wrong, err)
	}
}

// yearOf keeps the test mailbox's messages for a year.
func yearOf(b string) (time.Duration, bool) { return 365 * 24 * time.Hour, b == box }

// believed calls Retain on as many days as it takes, and sums up.
func believed(t *testing.T, s *Store, c *clock, r Retention) (out Retained) {
	t.Helper()
	for range trustedDays {
		c.t = c.t.Add(24 * time.Hour)
		one, err := s.Retain(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		out.Removed += one.Removed
		out.Looked += one.Looked
		out.Done, out.Waiting = one.Done, one.Waiting
	}
	return out
}

func TestRetainRemovesWhatNobodyNeeds(t *testing.T) {
	ctx, c := context.Background(), &clock{time.Date(2024, 1, 10, 12, 0, 0, 0, time.UTC)}
	s := openWith(t, Options{Dir: t.TempDir(), Now: c.now})
	p := person(t, s, "mario")
	v := Viewer{Person: p}
	mine := FolderKey{Owner: p, Role: RoleCustom, Name: "Pratiche"}
	inTree := FolderKey{Box: box, Owner: p, Role: RoleCustom, Name: "Pratiche"}
	gone, _ := put(t, s, inbox, text("gone"), Filing{Keywords: []string{"x"}})
	held, _ := put(t, s, inbox, text("held"), Filing{})
	kept, keptUID := put(t, s, inbox, text("kept"), Filing{})
	part, _ := put(t, s, inbox, text("part"), Filing{})
	other, _ := put(t, s, FolderKey{Box: "altra@pec.example", Role: RoleInbox}, text("other"), Filing{})
	if _, err := s.SetFlags(ctx, id(t, s, inbox), v, []UID{1}, FlagsAdd, []string{`\Seen`}); err != nil {
		t.Fatal(err)
	}
	for to, uid := range map[FolderKey]UID{mine: keptUID, inTree: 1} {
		if _, err := s.Copy(ctx, id(t, s, inbox), v, []UID{uid}, to); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.PlaceHold(ctx, Hold{ID: "h1", Reason: "court", Who: "admin"}, []MessageID{held.ID, held.ID, 999}); n != 1 || err != nil {
		t.Fatalf("held %d: %v", n, err)
	}
	if err := s.Update(ctx, func(tx *Tx) error {
		m, err := tx.Message(part.ID)
		if err != nil {
			return err
		}
		m.Submission = "s1"
		return tx.PutMessage(m)
	}); err != nil {
		t.Fatal(err)
	}
	c.t = c.t.Add(366 * 24 * time.Hour)
	young, _ := put(t, s, inbox, text("young"), Filing{})
	start := snapshot(t, s, inbox, v)

	if out := believed(t, s, c, Retention{Keep: yearOf}); out.Removed != 1 || !out.Done {
		t.Errorf("retained: %+v", out)
	}
	if got := keysOf(t, s, gone.ID); len(got) != 0 {
		t.Errorf("left of the removed message: %v", got)
	}
	for _, m := range []*Message{held, kept, part, other, young} {
		if _, err := s.Message(ctx, m.ID); err != nil {
			t.Errorf("message %d: %v", m.ID, err)
		}
	}
	if _, err := s.Message(ctx, gone.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("the removed message: %v", err)
	}
	if ch, err := s.Changes(ctx, start.Folder, v, start.ModSeq); err != nil || !slices.Equal(ch.Removed, []UID{1}) {
		t.Errorf("the feed says %+v, %v", ch, err)
	}
	if got := snapshot(t, s, inTree, v).UIDs; len(got) != 0 {
		t.Errorf("in a folder of the tree stand %v", got)
	}
	recounted(t, s)
	removed := 0
	err := s.bytes.Walk(ctx, func(e segment.Entry) error {
		if e.Removed != (e.Ref == gone.Ref) {
			t.Errorf("segment entry %v is removed: %v", e.Ref, e.Removed)
		}
		if e.Removed {
			removed++
		}
		return nil
	})
	if err != nil || removed != 1 {
		t.Errorf("%d removed: %v", removed, err)
	}
	// The room that needs it says so; and a lifted hold holds no longer.
	if err := s.LiftHold(ctx, "h1", "admin", "over"); err != nil {
		t.Fatal(err)
	}
	if err := s.LiftHold(ctx, "h1", "admin", "over"); !errors.Is(err, ErrNotFound) {
		t.Errorf("lifted twice: %v", err)
	}
	none := func(*Tx, *Message) (bool, error) { return false, nil }
	if out := believed(t, s, c, Retention{Keep: yearOf, Needed: none}); out.Removed+out.Looked == 0 {
		t.Errorf("retained: %+v", out)
	}
	for _, m := range []*Message{held, part} {
		if got := keysOf(t, s, m.ID); len(got) != 0 {
			t.Errorf("left of message %d: %v", m.ID, got)
		}
	}
	if found, err := s.Recover(ctx, func(string) string { return "admin" }); err != nil || found.Filed != 0 {
		t.Errorf("recovered %+v: %v", found, err)
	}
}

// TestRetainIsBoundedAndGoesOn looks at one message a call, over openings.
func TestRetainIsBoundedAndGoesOn(t *testing.T) {
	ctx, c := context.Background(), &clock{time.Date(2024, 1, 10, 12, 0, 0, 0, time.UTC)}
	dir := t.TempDir()
	s := openWith(t, Options{Dir: dir, Now: c.now})
	for i := range 5 {
		put(t, s, inbox, text(fmt.Sprint(i)), Filing{})
	}
	c.t = c.t.Add(400 * 24 * time.Hour)
	r := Retention{Keep: yearOf, Most: 1}
	removed := believed(t, s, c, r).Removed
	for i := 0; removed < 5 && i < 10; i++ {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openWith(t, Options{Dir: dir, Now: c.now})
		out, err := s.Retain(ctx, r)
		if err != nil || out.Looked > 1 {
			t.Fatalf("%+v: %v", out, err)
		}
		removed += out.Removed
	}
	if u, err := s.Usages(ctx); removed != 5 || u[box] != (Usage{}) || err != nil {
		t.Errorf("removed %d, left %v: %v", removed, u, err)
	}
	recounted(t, s)
}

// TestJ1_ClockJumpRemovesNothing moves the clock by years, both ways.
func TestJ1_ClockJumpRemovesNothing(t *testing.T) {
	ctx, c := context.Background(), &clock{time.Date(2024, 1, 10, 12, 0, 0, 0, time.UTC)}
	s := openWith(t, Options{Dir: t.TempDir(), Now: c.now})
	put(t, s, inbox, text("one"), Filing{})
	r := Retention{Keep: yearOf}
	believed(t, s, c, r)
	for _, jump := range []time.Duration{2 * 365 * 24 * time.Hour, -2 * 365 * 24 * time.Hour, 3 * 365 * 24 * time.Hour} {
		c.t = c.t.Add(jump)
		for range 3 { // the same day
			if out, err := s.Retain(ctx, r); err != nil || !out.Waiting || out.Removed != 0 {
				t.Errorf("after a jump of %s: %+v, %v", jump, out, err)
			}
			c.t = c.t.Add(time.Hour)
		}
	}
	if out := believed(t, s, c, r); out.Removed != 1 {
		t.Errorf("when the clock has gone on evenly: %+v", out)
	}
}

// storeOnly makes the bytes of a message durable and leaves them without a record.
func storeOnly(t *testing.T, s *Store, raw string, o Origin) *Stored {
	t.Helper()
	ctx := context.Background()
	in, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, raw); err != nil {
		t.Fatal(err)
	}
	st, err := in.Store(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestSharedBytesStayForTheOther names one message's bytes in three records.
func TestSharedBytesStayForTheOther(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir())
	st := storeOnly(t, s, text("shared"), Origin{Box: box, Direction: In})
	var all []*Message
	for _, b := range []string{box, box, "altra@pec.example"} {
		st.Origin.Box = b
		m, err := s.Record(ctx, st, func(*Tx, *Message) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	size := st.Ref.Size
	may := func(*Tx, *Message) (bool, error) { return true, nil }
	for i, want := range []map[string]Usage{
		{box: {2, size}, "altra@pec.example": {1, size}},
		{box: {1, size}, "altra@pec.example": {1, size}},
		{box: {0, 0}, "altra@pec.example": {1, size}},
		{box: {0, 0}, "altra@pec.example": {0, 0}},
	} {
		got, err := s.Usages(ctx)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("with %d removed: %v instead of %v, %v", i, got, want, err)
		}
		recounted(t, s)
		if i == len(all) {
			break
		}
		r, err := s.Open(all[i])
		if err != nil {
			t.Fatalf("with %d removed: %v", i, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if gone, err := s.removeMessage(ctx, all[i].ID, may); !gone || err != nil {
			t.Fatalf("removed: %v, %v", gone, err)
		}
		if err := s.finishRemovals(ctx); err != nil {
			t.Fatal(err)
		}
	}
	err := s.bytes.Walk(ctx, func(e segment.Entry) error {
		if !e.Removed {
			t.Error("the bytes stand")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestManyEntriesGoInSteps removes a message that stands more often than one
// transaction takes.
func TestManyEntriesGoInSteps(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir())
	p := person(t, s, "mario")
	m, uid := put(t, s, inbox, text("many"), Filing{})
	for i := range 120 {
		k := FolderKey{Box: box, Owner: p, Role: RoleCustom, Name: fmt.Sprint("f", i)}
		if _, err := s.Copy(ctx, id(t, s, inbox), Viewer{Person: p}, []UID{uid}, k); err != nil {
			t.Fatal(err)
		}
		if i == 7 {
			if err := s.DeleteFolder(ctx, k); err != nil {
				t.Fatal(err)
			}
		}
	}
	may := func(*Tx, *Message) (bool, error) { return true, nil }
	if gone, err := s.removeMessage(ctx, m.ID, may); !gone || err != nil {
		t.Fatalf("removed: %v, %v", gone, err)
	}
	if got := keysOf(t, s, m.ID); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

// TestSweepMovesRecords sweeps a segment that is mostly dead; what is alive
// reads as before, also by a record that was read before the sweep.
func TestSweepMovesRecords(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s := openWith(t, Options{Dir: dir})
	var all []*Message
	for i := range 300 {
		m, _ := put(t, s, inbox, text(fmt.Sprint("m", i))+strings.Repeat("x", 60<<10), Filing{})
		all = append(all, m)
	}
	may := func(*Tx, *Message) (bool, error) { return true, nil }
	for i, m := range all {
		if i%10 != 0 {
			if _, err := s.removeMessage(ctx, m.ID, may); err != nil {
				t.Fatal(err)
			}
		}
	}
	done, err := s.Sweep(ctx)
	if err != nil || done.Segments == 0 || done.Freed == 0 {
		t.Fatalf("swept %+v: %v", done, err)
	}
	check := func(s *Store) {
		t.Helper()
		for i, m := range all {
			if i%10 != 0 {
				continue
			}
			r, err := s.Open(m)
			if err != nil {
				t.Fatalf("message %d: %v", m.ID, err)
			}
			got, err := io.ReadAll(io.NewSectionReader(r, 0, m.Size()))
			if err := errors.Join(err, r.Close()); err != nil || !strings.HasPrefix(string(got), text(fmt.Sprint("m", i))) {
				t.Errorf("message %d: %d bytes, %v", m.ID, len(got), err)
			}
			// A change of a record that was read before keeps the new place.
			if err := s.Update(ctx, func(tx *Tx) error { c := *m; return tx.PutMessage(&c) }); err != nil {
				t.Fatal(err)
			}
		}
		recounted(t, s)
		if found, err := s.Recover(ctx, func(string) string { return "admin" }); err != nil || found.Filed+found.Doubles+found.Waiting != 0 {
			t.Errorf("recovered %+v: %v", found, err)
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, Options{Dir: dir})
	check(s)
}
