package mailbox

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"
)

// personalKeys counts the flags and the hidden marks of persons.
func personalKeys(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := s.View(context.Background(), func(tx *Tx) error {
		n = 0
		return tx.r.Scan(nil, nil, func(k, _ []byte) (bool, error) {
			if bytes.HasPrefix(k, []byte("gp/")) || bytes.HasPrefix(k, []byte("h/")) {
				n++
			}
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNothingOfPersonsIsLeftOver: what people had at an entry goes with it,
// whether another room takes it away or its message is removed.
func TestNothingOfPersonsIsLeftOver(t *testing.T) {
	ctx, c := context.Background(), &clock{time.Date(2024, 1, 10, 12, 0, 0, 0, time.UTC)}
	dir := t.TempDir()
	s := openWith(t, Options{Dir: dir, Now: c.now})
	mario, lucia, carla := person(t, s, "mario"), person(t, s, "lucia"), person(t, s, "carla")
	var uids []UID
	for _, raw := range []string{"one", "two"} {
		// Mario has flags in a folder that he never looked into.
		_, uid := put(t, s, inbox, text(raw), Filing{Audience: mario, For: mario, Flags: []string{`\Seen`}})
		uids = append(uids, uid)
	}
	for _, who := range []Person{lucia, carla} {
		snapshot(t, s, inbox, Viewer{Person: who})
		if _, err := s.SetFlags(ctx, id(t, s, inbox), Viewer{Person: who}, uids, FlagsAdd, []string{`\Flagged`}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Remove(ctx, id(t, s, inbox), Viewer{Person: carla}, uids); err != nil {
		t.Fatal(err)
	}
	if n := personalKeys(t, s); n < 6 {
		t.Fatalf("only %d keys of persons", n)
	}
	half := personalKeys(t, s) / 2
	p := Place{Folder: id(t, s, inbox), UID: uids[0]}
	if err := s.Update(ctx, func(tx *Tx) error { return tx.Unfile(p) }); err != nil {
		t.Fatal(err)
	}
	if n := personalKeys(t, s); n != half {
		t.Errorf("%d keys of persons instead of %d", n, half)
	}
	if err := s.Update(ctx, func(tx *Tx) error { return tx.Unfile(p) }); !errors.Is(err, ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
	c.t = c.t.Add(400 * 24 * time.Hour)
	if out := believed(t, s, c, Retention{Keep: yearOf}); out.Removed != 2 {
		t.Fatalf("removed %+v", out)
	}
	if n := personalKeys(t, s); n != 0 {
		t.Errorf("%d keys of persons are left over", n)
	}
	closed(t, s)
	r := check(t, dir, FsckOptions{})
	clean(t, r)
	if r.Counts[LeftOver].Found != 0 {
		t.Errorf("%+v", r.Counts)
	}
}
