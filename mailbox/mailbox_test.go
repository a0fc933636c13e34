package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	return openWith(t, Options{Dir: dir})
}

func text(subject string) string {
	return "From: a@pec.example\r\nTo: b@pec.example\r\nSubject: " + subject + "\r\nMessage-ID: <" + subject + "@pec.example>\r\n\r\nbody of " + subject + "\r\n"
}

const box = "protocollo@pec.example"

var inbox = FolderKey{Box: box, Role: RoleInbox}

// put stores a message and files it.
func put(t *testing.T, s *Store, k FolderKey, raw string, how Filing) (*Message, UID) {
	t.Helper()
	ctx := context.Background()
	in, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, raw); err != nil {
		t.Fatal(err)
	}
	st, err := in.Store(ctx, Origin{Box: k.Box, Direction: In})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var uid UID
	m, err := s.Record(ctx, st, func(tx *Tx, m *Message) (err error) {
		_, uid, err = tx.File(k, m, how)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m, uid
}

func person(t *testing.T, s *Store, login string) Person {
	t.Helper()
	p, err := s.Person(context.Background(), login)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func snapshot(t *testing.T, s *Store, k FolderKey, v Viewer) *Snapshot {
	t.Helper()
	snap, err := s.Snapshot(context.Background(), k, v)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func id(t *testing.T, s *Store, k FolderKey) FolderID {
	t.Helper()
	n, err := s.EnsureFolder(context.Background(), k)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lines are a folder as a viewer sees it: "uid flags".
func lines(t *testing.T, s *Store, k FolderKey, v Viewer) []string {
	t.Helper()
	snap := snapshot(t, s, k, v)
	out := []string{}
	err := s.Entries(context.Background(), snap.Folder, v, snap.UIDs, Want{Flags: true}, func(e *Entry) error {
		out = append(out, strings.TrimSpace(fmt.Sprint(e.UID, " ", strings.Join(e.Flags, " "))))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStoredBytesAreTheBytesThatCame(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, raw := range []string{text("one"), "", "no header at all", "a: b\n\nbare\nline ends\n", text("big") + strings.Repeat("x", 3<<20)} {
		m, _ := put(t, s, inbox, raw, Filing{})
		r, err := s.Open(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(r, 0, m.Size()))
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		if string(got) != raw {
			t.Errorf("%d bytes came, %d others are stored", len(raw), len(got))
		}
	}
}

func TestFlagsArePersonalAndKeywordsCommon(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	mario, lucia := Viewer{Person: person(t, s, "mario")}, Viewer{Person: person(t, s, "lucia")}
	_, uid := put(t, s, inbox, text("one"), Filing{Keywords: []string{"$PecUnverified"}})
	if _, err := s.SetFlags(ctx, id(t, s, inbox), mario, []UID{uid}, FlagsSet, []string{`\Seen`, `\Answered`, "urgent", "$PecAccepted"}); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, s, inbox, mario); !slices.Equal(got, []string{`1 \Seen $PecUnverified \Answered urgent`}) {
		t.Errorf("mario sees %q", got)
	}
	if got := lines(t, s, inbox, lucia); !slices.Equal(got, []string{`1 $PecUnverified \Answered urgent`}) {
		t.Errorf("lucia sees %q", got)
	}
	if _, err := s.SetFlags(ctx, id(t, s, inbox), mario, []UID{uid}, FlagsRemove, []string{`\Seen`, "URGENT", "$PecUnverified"}); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, s, inbox, mario); !slices.Equal(got, []string{`1 $PecUnverified \Answered`}) {
		t.Errorf("mario sees %q", got)
	}
}

func TestScopesAndHidden(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	m, l := person(t, s, "mario"), person(t, s, "lucia")
	put(t, s, inbox, text("common"), Filing{})
	put(t, s, inbox, text("marios"), Filing{Audience: m})
	put(t, s, inbox, text("lucias"), Filing{Audience: l})
	for v, want := range map[Viewer][]UID{
		{Person: m, Scope: ScopeAll}: {1, 2, 3}, {Person: m, Scope: ScopeOwnOrCommon}: {1, 2}, {Person: m, Scope: ScopeOwn}: {2},
	} {
		if got := snapshot(t, s, inbox, v).UIDs; !slices.Equal(got, want) {
			t.Errorf("%v sees %v instead of %v", v, got, want)
		}
	}
	// Removing from a shared folder hides for one person only.
	if gone, err := s.Remove(ctx, id(t, s, inbox), Viewer{Person: m, Scope: ScopeAll}, []UID{1, 99}); err != nil || !slices.Equal(gone, []UID{1}) {
		t.Fatalf("removed %v: %v", gone, err)
	}
	if got := snapshot(t, s, inbox, Viewer{Person: m, Scope: ScopeAll}).UIDs; !slices.Equal(got, []UID{2, 3}) {
		t.Errorf("mario sees %v", got)
	}
	if got := snapshot(t, s, inbox, Viewer{Person: l, Scope: ScopeAll}).UIDs; !slices.Equal(got, []UID{1, 2, 3}) {
		t.Errorf("lucia sees %v", got)
	}
	// What one does not see cannot be changed, copied or removed.
	own := FolderKey{Owner: m, Role: RoleTrash}
	v := Viewer{Person: m, Scope: ScopeOwn}
	if e, err := s.SetFlags(ctx, id(t, s, inbox), v, []UID{3}, FlagsAdd, []string{"x"}); err != nil || len(e) != 0 {
		t.Errorf("changed %v: %v", e, err)
	}
	if c, err := s.Copy(ctx, id(t, s, inbox), v, []UID{3}, own); err != nil || len(c.To) != 0 {
		t.Errorf("copied %v: %v", c, err)
	}
	if gone, err := s.Remove(ctx, id(t, s, inbox), v, []UID{3}); err != nil || len(gone) != 0 {
		t.Errorf("removed %v: %v", gone, err)
	}
}

func TestChangedRightsRaiseUIDValidity(t *testing.T) {
	s := open(t, t.TempDir())
	m := person(t, s, "mario")
	put(t, s, inbox, text("one"), Filing{})
	first := snapshot(t, s, inbox, Viewer{Person: m, Scope: ScopeOwn}).UIDValidity
	second := snapshot(t, s, inbox, Viewer{Person: m, Scope: ScopeAll}).UIDValidity
	if second <= first {
		t.Errorf("UIDVALIDITY went from %d to %d", first, second)
	}
	if again := snapshot(t, s, inbox, Viewer{Person: m, Scope: ScopeAll}).UIDValidity; again != second {
		t.Errorf("UIDVALIDITY moved to %d without a change of rights", again)
	}
}

// TestD5_UIDsNeverRepeat removes and adds over several openings of the store.
func TestD5_UIDsNeverRepeat(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	var last UID
	var validity uint32
	for round := range 5 {
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		v := Viewer{Person: person(t, s, "mario")}
		k := FolderKey{Owner: v.Person, Role: RoleCustom, Name: "Pratiche"}
		for range 3 {
			_, uid := put(t, s, k, text(fmt.Sprint(round)), Filing{Audience: v.Person})
			if uid <= last {
				t.Fatalf("UID %d after %d", uid, last)
			}
			last = uid
		}
		snap := snapshot(t, s, k, v)
		if validity != 0 && snap.UIDValidity != validity {
			t.Errorf("UIDVALIDITY changed from %d to %d", validity, snap.UIDValidity)
		}
		validity = snap.UIDValidity
		if snap.UIDNext != last+1 {
			t.Errorf("UIDNEXT %d after UID %d", snap.UIDNext, last)
		}
		if _, err := s.Remove(ctx, id(t, s, k), v, snap.UIDs); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A folder made again under the same name is another folder.
	s := open(t, dir)
	v := Viewer{Person: person(t, s, "mario")}
	k := FolderKey{Owner: v.Person, Role: RoleCustom, Name: "Pratiche"}
	if err := s.DeleteFolder(ctx, k); err != nil {
		t.Fatal(err)
	}
	put(t, s, k, text("new"), Filing{Audience: v.Person})
	if got := snapshot(t, s, k, v).UIDValidity; got <= validity {
		t.Errorf("the new folder has UIDVALIDITY %d, the old one had %d", got, validity)
	}
}

func TestChangeFeed(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	m, l := Viewer{Person: person(t, s, "mario")}, Viewer{Person: person(t, s, "lucia")}
	put(t, s, inbox, text("one"), Filing{})
	start := snapshot(t, s, inbox, m)
	wake, stop := s.Watch(start.Folder)
	defer stop()
	_, two := put(t, s, inbox, text("two"), Filing{})
	_, three := put(t, s, inbox, text("three"), Filing{})
	select {
	case <-wake:
	case <-time.After(10 * time.Second):
		t.Fatal("the watch did not wake up")
	}
	if _, err := s.SetFlags(ctx, id(t, s, inbox), m, []UID{1}, FlagsAdd, []string{`\Flagged`}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, id(t, s, inbox), m, []UID{three}); err != nil {
		t.Fatal(err)
	}
	c, err := s.Changes(ctx, start.Folder, m, start.ModSeq)
	if err != nil || c.Resync || !slices.Equal(c.Added, []UID{two}) || !slices.Equal(c.Flags, []UID{1}) || len(c.Removed) != 0 {
		t.Errorf("mario's changes: %+v, %v", c, err)
	}
	c, err = s.Changes(ctx, start.Folder, l, start.ModSeq)
	if err != nil || !slices.Equal(c.Added, []UID{two, three}) || len(c.Flags) != 0 || len(c.Removed) != 0 {
		t.Errorf("lucia's changes: %+v, %v", c, err)
	}
	if c, err = s.Changes(ctx, start.Folder, m, c.ModSeq); err != nil || len(c.Added)+len(c.Removed)+len(c.Flags) != 0 {
		t.Errorf("nothing happened, but %+v, %v", c, err)
	}
	if _, err := s.Remove(ctx, id(t, s, inbox), m, []UID{1}); err != nil {
		t.Fatal(err)
	}
	if c, err = s.Changes(ctx, start.Folder, m, start.ModSeq); err != nil || !slices.Equal(c.Removed, []UID{1}) {
		t.Errorf("mario's removed: %+v, %v", c, err)
	}
	// Further behind than the feed is long: read the folder anew.
	many := []UID{two, three}
	for i := range 62 {
		_, uid := put(t, s, inbox, text(fmt.Sprint("many", i)), Filing{})
		many = append(many, uid)
	}
	for i := range feedLength/len(many) + 1 {
		if _, err := s.SetFlags(ctx, id(t, s, inbox), l, many, []FlagOp{FlagsAdd, FlagsRemove}[i%2], []string{"k"}); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = s.Changes(ctx, start.Folder, m, start.ModSeq); err != nil || !c.Resync {
		t.Errorf("after a long time: %+v, %v", c, err)
	}
}

func TestCopyAndMove(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	v := Viewer{Person: person(t, s, "mario")}
	first, _ := put(t, s, inbox, text("one"), Filing{Keywords: []string{"$PecUnverified", "mine"}})
	put(t, s, inbox, text("two"), Filing{})
	trash := FolderKey{Box: box, Owner: v.Person, Role: RoleTrash}
	c, err := s.Copy(ctx, id(t, s, inbox), v, []UID{1, 2, 3}, trash)
	if err != nil || !slices.Equal(c.From, []UID{1, 2}) || !slices.Equal(c.To, []UID{1, 2}) {
		t.Fatalf("copied %+v: %v", c, err)
	}
	if got := lines(t, s, trash, v); !slices.Equal(got, []string{"1 mine", "2"}) {
		t.Errorf("the copies are %q", got)
	}
	if c, err = s.Move(ctx, id(t, s, inbox), v, []UID{1}, trash); err != nil || !slices.Equal(c.To, []UID{3}) {
		t.Fatalf("moved %+v: %v", c, err)
	}
	if got := snapshot(t, s, inbox, v).UIDs; !slices.Equal(got, []UID{2}) {
		t.Errorf("left are %v", got)
	}
	if _, err := s.Copy(ctx, id(t, s, inbox), v, []UID{2}, FolderKey{Box: box, Role: RoleSent}); !errors.Is(err, ErrRefused) {
		t.Errorf("copying into a shared folder: %v", err)
	}
	// Expunged everywhere, the message itself stays.
	if _, err := s.Remove(ctx, id(t, s, trash), v, []UID{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Message(ctx, first.ID); err != nil {
		t.Errorf("the message is gone: %v", err)
	}
	// Within one folder.
	put(t, s, trash, text("three"), Filing{Audience: v.Person})
	if c, err = s.Copy(ctx, id(t, s, trash), v, []UID{4}, trash); err != nil || !slices.Equal(c.To, []UID{5}) {
		t.Errorf("copied within a folder: %+v, %v", c, err)
	}
}

func appendText(t *testing.T, s *Store, k FolderKey, p Person, raw string) (uint32, UID) {
	t.Helper()
	in, err := s.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, raw); err != nil {
		t.Fatal(err)
	}
	validity, uid, err := s.Append(context.Background(), k, p, in, []string{`\Seen`, `\Draft`}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return validity, uid
}

// TestOwnSentCopy is the own-Sent rule: the client's copy of what was
// submitted never stands beside the gateway's, whichever comes first.
func TestOwnSentCopy(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	p := person(t, s, "mario")
	v := Viewer{Person: p}
	sent := FolderKey{Box: box, Role: RoleSent}
	submitted := func(raw, msgid string) {
		m, uid := put(t, s, sent, raw, Filing{Audience: p, For: p, Flags: []string{`\Seen`}})
		err := s.Update(ctx, func(tx *Tx) error {
			places, err := tx.Places(m.ID)
			if err != nil {
				return err
			}
			return tx.NoteSent(p, msgid, m, places)
		})
		if err != nil || uid == 0 {
			t.Fatal(err)
		}
	}
	submitted(text("first"), "first@pec.example")
	validity, uid := appendText(t, s, sent, p, text("first"))
	snap := snapshot(t, s, sent, v)
	if uid != 1 || validity != snap.UIDValidity || len(snap.UIDs) != 1 {
		t.Errorf("APPEND after DATA: UID %d of %d, folder %v of %d", uid, validity, snap.UIDs, snap.UIDValidity)
	}
	// The other order: the appended one gives way.
	appendText(t, s, sent, p, text("second"))
	if got := lines(t, s, sent, v); !slices.Equal(got, []string{`1 \Seen`, `2 \Seen \Draft`}) {
		t.Fatalf("before DATA: %q", got)
	}
	submitted(text("second"), "second@pec.example")
	if got := lines(t, s, sent, v); !slices.Equal(got, []string{`1 \Seen`, `3 \Seen`}) {
		t.Errorf("after DATA: %q", got)
	}
	// Another person's equal Message-ID is not their submission.
	other := person(t, s, "lucia")
	drafts := FolderKey{Owner: other, Role: RoleDrafts}
	appendText(t, s, drafts, other, text("first"))
	if got := snapshot(t, s, drafts, Viewer{Person: other}).UIDs; len(got) != 1 {
		t.Errorf("lucia's draft: %v", got)
	}
	if _, _, err := s.SentCopy(ctx, sent, p, "first@pec.example"); err != nil {
		t.Error(err)
	}
	if _, _, err := s.SentCopy(ctx, sent, other, "first@pec.example"); !errors.Is(err, ErrNotFound) {
		t.Errorf("lucia's sent copy: %v", err)
	}
}

// TestSentCopyIsPutBack removes every sent copy and appends it again, as a
// client does that moves a message to a local folder and back.
func TestSentCopyIsPutBack(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	p := person(t, s, "mario")
	v := Viewer{Person: p}
	sent := FolderKey{Box: box, Role: RoleSent}
	m, uid := put(t, s, sent, text("first"), Filing{Audience: p})
	place := Place{Folder: id(t, s, sent), UID: uid}
	err := s.Update(ctx, func(tx *Tx) error { return tx.NoteSent(p, "first@pec.example", m, []Place{place}) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, id(t, s, sent), v, []UID{uid}); err != nil {
		t.Fatal(err)
	}
	_, again := appendText(t, s, sent, p, text("first"))
	if got := snapshot(t, s, sent, v).UIDs; len(got) != 1 || got[0] != again || again == uid {
		t.Errorf("mario sees %v, was told %d", got, again)
	}
	if got := snapshot(t, s, sent, Viewer{Person: person(t, s, "lucia")}).UIDs; len(got) != 1 || got[0] != uid {
		t.Errorf("lucia sees %v", got)
	}
}

// TestAppendedIsPrivate: what a client puts into a shared folder is for nobody
// else, whatever their scope.
func TestAppendedIsPrivate(t *testing.T) {
	s := open(t, t.TempDir())
	sent := FolderKey{Box: box, Role: RoleSent}
	p := person(t, s, "mario")
	appendText(t, s, sent, p, text("forged"))
	if got := snapshot(t, s, sent, Viewer{Person: person(t, s, "lucia")}).UIDs; len(got) != 0 {
		t.Errorf("lucia sees %v", got)
	}
	if got := snapshot(t, s, sent, Viewer{Person: p, Scope: ScopeOwn}).UIDs; len(got) != 1 {
		t.Errorf("mario sees %v", got)
	}
}

// TestRenameIsAllOrNone: a tree of folders has its new names whole, or not at all.
func TestRenameIsAllOrNone(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	owner := person(t, s, "mario")
	k := func(name string) FolderKey { return FolderKey{Owner: owner, Role: RoleCustom, Name: name} }
	for _, name := range []string{"A", "A/B", "A/C", "Z/C"} {
		if err := s.CreateFolder(ctx, k(name)); err != nil {
			t.Fatal(err)
		}
	}
	names := func() string {
		t.Helper()
		all, err := s.CustomFolders(ctx, "", owner)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(all, " ")
	}
	if err := s.RenameFolders(ctx, FolderMove{k("A"), k("Z")}, FolderMove{k("A/B"), k("Z/B")}, FolderMove{k("A/C"), k("Z/C")}); !errors.Is(err, ErrExists) || names() != "A A/B A/C Z/C" {
		t.Errorf("%v: %s", err, names())
	}
	if err := s.RenameFolders(ctx, FolderMove{k("A"), k("Y")}, FolderMove{k("A/B"), k("Y/B")}, FolderMove{k("A/C"), k("Y/C")}); err != nil || names() != "Y Y/B Y/C Z/C" {
		t.Errorf("%v: %s", err, names())
	}
	if err := s.RenameFolders(ctx, make([]FolderMove, MaxMoves+1)...); !errors.Is(err, ErrRefused) {
		t.Errorf("too many: %v", err)
	}
}

// TestChangesGoToTheFolderThatIsOpen renames a folder and makes another under
// its name: what was meant for the first must not touch the second.
func TestChangesGoToTheFolderThatIsOpen(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	v := Viewer{Person: person(t, s, "mario")}
	x := FolderKey{Owner: v.Person, Role: RoleCustom, Name: "X"}
	y := FolderKey{Owner: v.Person, Role: RoleCustom, Name: "Y"}
	put(t, s, x, text("old"), Filing{Audience: v.Person})
	selected := id(t, s, x)
	if err := s.RenameFolders(ctx, FolderMove{x, y}); err != nil {
		t.Fatal(err)
	}
	put(t, s, x, text("new"), Filing{Audience: v.Person})
	if _, err := s.Remove(ctx, selected, v, []UID{1}); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, s, x, v).UIDs; len(got) != 1 {
		t.Errorf("the new folder has %v", got)
	}
	if got := snapshot(t, s, y, v).UIDs; len(got) != 0 {
		t.Errorf("the renamed folder has %v", got)
	}
}

func TestSpaceFloor(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(Options{Dir: dir, MinFree: 1 << 62}); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("opened below the floor: %v", err)
	}
	s := open(t, dir)
	s.opt.MinFree = 1 << 62
	if _, err := s.Begin(context.Background()); !errors.Is(err, ErrNoSpace) {
		t.Errorf("began below the floor: %v", err)
	}
	s.opt.MinFree = 0
	put(t, s, inbox, text("again"), Filing{})
}

// TestRecordIsAllOrNothing fails the function of a Record: nothing of it is
// visible afterwards.
func TestRecordIsAllOrNothing(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	in, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, text("one")); err != nil {
		t.Fatal(err)
	}
	st, err := in.Store(ctx, Origin{Box: box, Direction: In})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	no := errors.New("no")
	_, err = s.Record(ctx, st, func(tx *Tx, m *Message) error {
		if _, _, err := tx.File(inbox, m, Filing{}); err != nil {
			return err
		}
		return errors.Join(tx.Space("relay").Put("k", 1), tx.Audit(AuditLine{Event: "x"}), no)
	})
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	err = s.View(ctx, func(tx *Tx) error {
		if ids, err := tx.ByContent(st.Ref.Sum); err != nil || len(ids) != 0 {
			t.Errorf("messages %v: %v", ids, err)
		}
		var n int
		if err := tx.Space("relay").Get("k", &n); !errors.Is(err, ErrNotFound) {
			t.Errorf("the relay's record: %v", err)
		}
		return tx.AuditTail(func(_ uint64, l AuditLine) bool {
			if l.Event == "x" {
				t.Error("an audit line")
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}
