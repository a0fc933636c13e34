package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pecgate/mailbox/segment"
)

var outcomes = FolderKey{Box: box, Role: RoleOutcomes}

// generate files bytes as a generated message in place of old.
func generate(s *Store, st *Stored, old MessageID, how Filing, worse bool) (*Message, error) {
	return s.Record(context.Background(), st, func(tx *Tx, m *Message) error {
		return tx.FileGenerated(outcomes, m, old, how, worse)
	})
}

// flagsSeen returns what a viewer sees of the one entry of the outcomes.
func flagsSeen(t *testing.T, s *Store, v Viewer) (uid UID, flags []string) {
	t.Helper()
	snap := snapshot(t, s, outcomes, v)
	if len(snap.UIDs) != 1 {
		t.Fatalf("person %d sees %v", v.Person, snap.UIDs)
	}
	err := s.Entries(context.Background(), snap.Folder, v, snap.UIDs, Want{Flags: true}, func(e *Entry) error {
		uid, flags = e.UID, slices.Sorted(slices.Values(e.Flags))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return uid, flags
}

// TestGeneratedIsReplaced: a generated message takes the place of the one before
// with its flags, and nothing of that is left: no entry, no key of a person, no
// bytes. Only a generated one gives way.
func TestGeneratedIsReplaced(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s := open(t, dir)
	mario, lucia, carla := person(t, s, "mario"), person(t, s, "lucia"), person(t, s, "carla")
	o := Origin{Box: box, Direction: Own, User: "mario", Submission: "s1", Folder: string(RoleOutcomes)}
	how := Filing{Audience: mario}
	var last *Message
	next := func(n int, worse bool) {
		t.Helper()
		st := storeOnly(t, s, text(fmt.Sprintf("report %d", n)), o)
		old := MessageID(0)
		if last != nil {
			old = last.ID
		}
		m, err := generate(s, st, old, how, worse)
		if err := errors.Join(err, st.Close()); err != nil {
			t.Fatal(err)
		}
		last = m
	}
	want := func(v Viewer, flags ...string) {
		t.Helper()
		if _, got := flagsSeen(t, s, v); !slices.Equal(got, flags) {
			t.Errorf("person %d sees %q instead of %q", v.Person, got, flags)
		}
	}
	all := Viewer{Person: lucia, SharedSeen: true}
	next(0, false)
	for _, v := range []Viewer{{Person: mario, Scope: ScopeOwn}, all, {Person: carla}} {
		uid, _ := flagsSeen(t, s, v)
		flags := map[Person][]string{mario: {`\Seen`, `\Deleted`, `\Answered`}, lucia: {`\Seen`, `\Flagged`}, carla: {`\Flagged`}}[v.Person]
		if _, err := s.SetFlags(ctx, id(t, s, outcomes), v, []UID{uid}, FlagsAdd, flags); err != nil {
			t.Fatal(err)
		}
	}
	uid, _ := flagsSeen(t, s, Viewer{Person: carla})
	if _, err := s.Remove(ctx, id(t, s, outcomes), Viewer{Person: carla}, []UID{uid}); err != nil {
		t.Fatal(err)
	}
	next(1, false)
	want(Viewer{Person: mario, Scope: ScopeOwn}, `\Answered`, `\Seen`)
	want(all, `\Answered`, `\Flagged`, `\Seen`)
	want(Viewer{Person: carla}, `\Answered`, `\Flagged`) // hidden was the other one
	next(2, true)
	want(Viewer{Person: mario, Scope: ScopeOwn}, `\Answered`)
	want(all, `\Answered`, `\Flagged`)

	// Four keys: the flags of three persons and those of all together.
	if n := personalKeys(t, s); n != 4 {
		t.Errorf("%d keys of persons", n)
	}
	if _, err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	live := 0
	err := s.bytes.Walk(ctx, func(e segment.Entry) error {
		if !e.Removed {
			live++
		}
		return nil
	})
	if err != nil || live != 1 {
		t.Errorf("%d messages have bytes, %v", live, err)
	}
	// What somebody sent or received gives way to nothing.
	mail, _ := put(t, s, inbox, text("mail"), Filing{})
	st := storeOnly(t, s, text("report 3"), o)
	if _, err := generate(s, st, mail.ID, how, false); !errors.Is(err, ErrRefused) {
		t.Errorf("it replaced mail: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Message(ctx, mail.ID); err != nil {
		t.Error(err)
	}
	closed(t, s)
	r := check(t, dir, FsckOptions{})
	clean(t, r)
	if r.Counts[LeftOver].Found != 0 {
		t.Errorf("%+v", r.Counts)
	}
}

// TestGeneratedIsNotRecovered: bytes of a generated message that a stop left
// without a record are dropped: they are made anew. What a person put into the
// same folder is recovered like everything else.
func TestGeneratedIsNotRecovered(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir())
	for _, o := range []Origin{
		{Box: box, Direction: Own, User: "mario", Submission: "s1", Folder: string(RoleOutcomes)},
		{Box: box, Direction: Own, User: "mario", Folder: string(RoleOutcomes)},
	} {
		if err := storeOnly(t, s, text("x"), o).Close(); err != nil {
			t.Fatal(err)
		}
	}
	recovered(t, s, admin, Found{Filed: 1, Dropped: 1})
	recovered(t, s, admin, Found{})
	if _, err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	recovered(t, s, admin, Found{})
}
