package mailbox

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestD11_RemovedForAll: what a member with the right removes is gone for all,
// from the archive too, and the log says so. The message itself and its bytes
// stay, until retention ends and no hold lies on it.
func TestD11_RemovedForAll(t *testing.T) {
	ctx, c := context.Background(), &clock{time.Date(2024, 1, 10, 12, 0, 0, 0, time.UTC)}
	dir := t.TempDir()
	s := openWith(t, Options{Dir: dir, Now: c.now})
	mario, lucia := person(t, s, "mario"), person(t, s, "lucia")
	var all []*Message
	var uids []UID
	for _, raw := range []string{"one", "two", "three", "four"} {
		m, uid := put(t, s, inbox, text(raw), Filing{Keywords: []string{"urgent"}})
		all, uids = append(all, m), append(uids, uid)
	}
	plain, deleter := Viewer{Person: lucia, SharedSeen: true}, Viewer{Person: mario, Delete: true}
	for _, v := range []Viewer{plain, deleter} {
		snapshot(t, s, inbox, v)
		if _, err := s.SetFlags(ctx, id(t, s, inbox), v, uids, FlagsAdd, []string{`\Seen`, `\Flagged`}); err != nil {
			t.Fatal(err)
		}
	}
	see := func(v Viewer) []UID { return snapshot(t, s, inbox, v).UIDs }
	remove := func(v Viewer, uid UID) {
		t.Helper()
		if gone, err := s.Remove(ctx, id(t, s, inbox), v, []UID{uid}); err != nil || len(gone) != 1 {
			t.Fatalf("removed %v: %v", gone, err)
		}
	}
	remove(plain, uids[0])
	if got := see(deleter); !slices.Equal(got, uids) {
		t.Errorf("after one hid a message another sees %v", got)
	}
	remove(deleter, uids[1])
	trash := FolderKey{Box: box, Owner: mario, Role: RoleTrash}
	if _, err := s.Move(ctx, id(t, s, inbox), deleter, uids[2:3], trash); err != nil {
		t.Fatal(err)
	}
	mine := FolderKey{Box: box, Owner: mario, Role: RoleCustom, Name: "Pratiche"}
	if _, err := s.Move(ctx, id(t, s, inbox), deleter, uids[3:], mine); err != nil {
		t.Fatal(err)
	}
	if got := see(plain); !slices.Equal(got, uids[3:]) {
		t.Errorf("the other sees %v", got)
	}
	if got := see(deleter); !slices.Equal(got, uids[:1]) {
		t.Errorf("who deleted sees %v", got)
	}
	if got := archived(archive(t, s, Period{}, everything(lucia))); !slices.Equal(got, []UID{1, 4}) {
		t.Errorf("the archive shows %v", got)
	}
	want := strings.ReplaceAll("lucia  BOX hidden inbox 1|mario  BOX removed for all inbox 2|mario  BOX removed for all inbox 3|mario  BOX moved inbox 4", "BOX", box)
	if got := strings.Join(auditOf(t, s, "deletion"), "|"); got != want {
		t.Errorf("the log tells %s instead of %s", got, want)
	}
	for _, m := range all {
		if r, err := s.Open(m); err != nil {
			t.Errorf("message %d: %v", m.ID, err)
		} else if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	recounted(t, s)

	// Nothing of persons is left at what was removed: of the other two entries are
	// two flags of persons, the common one, and a hidden mark each; of the copies
	// two flags.
	if n := personalKeys(t, s); n != 2*4+2 {
		t.Errorf("%d keys of persons", n)
	}
	if _, err := s.PlaceHold(ctx, Hold{ID: "causa 7", Reason: "lite", Who: "capo"}, []MessageID{all[1].ID}); err != nil {
		t.Fatal(err)
	}
	c.t = c.t.Add(400 * 24 * time.Hour)
	if out := believed(t, s, c, Retention{Keep: yearOf}); out.Removed != 3 {
		t.Errorf("retention removed %+v", out)
	}
	if _, err := s.Message(ctx, all[1].ID); err != nil {
		t.Errorf("the message under a hold: %v", err)
	}
	if err := s.LiftHold(ctx, "causa 7", "capo", "finita"); err != nil {
		t.Fatal(err)
	}
	if out := believed(t, s, c, Retention{Keep: yearOf}); out.Removed != 1 {
		t.Errorf("after the hold: %+v", out)
	}
	closed(t, s)
	r := check(t, dir, FsckOptions{})
	clean(t, r)
	if r.Counts[LeftOver].Found != 0 {
		t.Errorf("%+v", r.Counts)
	}
}
