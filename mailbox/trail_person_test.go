package mailbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// auditOf lists the lines of an event, oldest first.
func auditOf(t *testing.T, s *Store, event string) (out []string) {
	t.Helper()
	err := s.View(context.Background(), func(tx *Tx) error {
		return tx.AuditTail(func(_ uint64, l AuditLine) bool {
			if l.Event == event {
				out = append(out, strings.Join([]string{l.Actor, l.From, l.Box, l.Result, l.More["folder"], l.More["message"] + l.More["messages"]}, " "))
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(out)
	return out
}

// TestS7_Readings: one line for each person and message, however it is read.
func TestS7_Readings(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := WithPeer(context.Background(), "192.0.2.1")
	m, l := Viewer{Person: person(t, s, "mario")}, Viewer{Person: person(t, s, "lucia")}
	var ids []MessageID
	for i := range 4 {
		msg, _ := put(t, s, inbox, text(fmt.Sprint(i)), Filing{})
		ids = append(ids, msg.ID)
	}
	drafts := FolderKey{Box: box, Owner: m.Person, Role: RoleDrafts}
	appendText(t, s, drafts, m.Person, text("draft"))
	private, _ := put(t, s, FolderKey{Owner: m.Person, Role: RoleInbox}, text("a notice"), Filing{Audience: m.Person})
	flags := func(v Viewer, op FlagOp, uid UID, names ...string) {
		t.Helper()
		if _, err := s.SetFlags(ctx, id(t, s, inbox), v, []UID{uid}, op, names); err != nil {
			t.Fatal(err)
		}
	}
	reads := func(v Viewer, ids ...MessageID) {
		t.Helper()
		if err := s.NoteReading(ctx, v.Person, ids); err != nil {
			t.Fatal(err)
		}
	}
	flags(m, FlagsAdd, 1, `\Flagged`)
	flags(m, FlagsRemove, 1, `\Seen`)
	flags(m, FlagsAdd, 1, `\Seen`)
	flags(m, FlagsSet, 1)
	flags(m, FlagsSet, 1, `\Seen`)
	reads(m, ids[0], ids[1], private.ID, 9999)
	flags(m, FlagsAdd, 2, `\Seen`)
	reads(l, ids[0])
	reads(l, ids[0])
	// Its author does not read a draft.
	snap := snapshot(t, s, drafts, m)
	if _, err := s.SetFlags(ctx, snap.Folder, m, snap.UIDs, FlagsAdd, []string{`\Seen`}); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("mario 192.0.2.1 %[1]s first  %[2]d|mario 192.0.2.1 %[1]s first  %[3]d|lucia 192.0.2.1 %[1]s first  %[2]d", box, ids[0], ids[1])
	if got := strings.Join(auditOf(t, s, "reading"), "|"); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	may := func(*Tx, *Message) (bool, error) { return true, nil }
	if gone, err := s.removeMessage(ctx, ids[0], may); !gone || err != nil {
		t.Fatalf("%v, %v", gone, err)
	}
	if got := keysOf(t, s, ids[0]); len(got) != 0 {
		t.Errorf("of a removed message stay %v", got)
	}
	if r := verified(t, s); !r.OK() {
		t.Errorf("%+v", r)
	}
}

// TestS7_Deletions: who took what out of which folder, in one line for many.
func TestS7_Deletions(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := WithPeer(context.Background(), "192.0.2.1")
	v := Viewer{Person: person(t, s, "mario")}
	trash := FolderKey{Box: box, Owner: v.Person, Role: RoleTrash}
	mine := FolderKey{Box: box, Owner: v.Person, Role: RoleCustom, Name: "a private name"}
	var ids []MessageID
	for i := range 120 {
		m, _ := put(t, s, inbox, text(fmt.Sprint(i)), Filing{})
		ids = append(ids, m.ID)
	}
	all := snapshot(t, s, inbox, v).UIDs
	if _, err := s.Copy(ctx, id(t, s, inbox), v, all[:2], trash); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Move(ctx, id(t, s, inbox), v, all[2:4], mine); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, id(t, s, trash), v, []UID{1, 2, 77}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, id(t, s, trash), v, []UID{1}); err != nil { // gone: no line
		t.Fatal(err)
	}
	if err := s.DeleteFolder(ctx, mine); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, id(t, s, inbox), v, all); err != nil {
		t.Fatal(err)
	}
	line := func(result, folder string, from, to int) string {
		return fmt.Sprintf("mario 192.0.2.1 %s %s %s %d-%d", box, result, folder, ids[from], ids[to])
	}
	got := auditOf(t, s, "deletion")
	want := []string{
		line("moved", "inbox", 2, 3), line("expunged", "trash", 0, 1), line("folder deleted", "custom", 2, 3),
		line("hidden", "inbox", 0, 1) + fmt.Sprintf(",%d-%d", ids[4], ids[49]), line("hidden", "inbox", 50, 99), line("hidden", "inbox", 100, 119),
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// A batch of the largest numbers to be met is not cut.
	var far []MessageID
	for i := range batch {
		far = append(far, MessageID(900_000_000+2*i))
	}
	if n := len(numbers(far)); n > 1024 {
		t.Errorf("%d bytes", n)
	}
}
