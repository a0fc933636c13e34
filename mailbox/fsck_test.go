package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

// world makes a store with something of every kind, and gives its folder.
func world(t *testing.T) (s *Store, dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	mario, lucia := person(t, s, "mario"), person(t, s, "lucia")
	one, uid := put(t, s, inbox, text("one"), Filing{Audience: mario, For: mario, Flags: []string{`\Seen`}, Keywords: []string{"$PecAccepted"}})
	put(t, s, inbox, text("two"), Filing{})
	put(t, s, FolderKey{Owner: mario, Role: RoleInbox}, "no message id\r\n\r\nx\r\n", Filing{Audience: mario})
	v := Viewer{Person: mario}
	snapshot(t, s, inbox, Viewer{Person: lucia})
	own := FolderKey{Box: box, Owner: mario, Role: RoleCustom, Name: "pratiche/2026"}
	doomed := FolderKey{Box: box, Owner: mario, Role: RoleCustom, Name: "away"}
	for _, k := range []FolderKey{own, doomed} {
		if err := s.CreateFolder(ctx, k); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Copy(ctx, id(t, s, inbox), v, []UID{uid}, k); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteFolder(ctx, doomed); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, id(t, s, inbox), v, []UID{uid}); err != nil {
		t.Fatal(err)
	}
	all := Sight{Person: mario, Role: func(Role) (Scope, bool) { return ScopeAll, true }}
	if _, err := s.Archive(ctx, box, Period{}, all); err != nil {
		t.Fatal(err)
	}
	in, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte(text("draft"))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Append(ctx, FolderKey{Box: box, Owner: mario, Role: RoleDrafts}, mario, in, []string{`\Seen`, "$x"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PlaceHold(ctx, Hold{ID: "h", Reason: "r", Who: "capo"}, []MessageID{one.ID}); err != nil {
		t.Fatal(err)
	}
	if err := s.Subscribe(ctx, mario, "x", true); err != nil {
		t.Fatal(err)
	}
	err = s.Update(ctx, func(tx *Tx) error {
		for n := range 3 {
			m, err := tx.Message(MessageID(n + 1))
			if err != nil {
				return err
			}
			if m.Box == "" {
				continue
			}
			if err := tx.EnterRegister(m, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)); err != nil {
				return err
			}
			if err := tx.PutMessage(m); err != nil {
				return err
			}
		}
		return tx.Space("relay").Put("x", map[string]any{"message": one.ID})
	})
	if err != nil {
		t.Fatal(err)
	}
	// One that was removed for good, with its bytes.
	last, _ := put(t, s, inbox, text("gone"), Filing{})
	if ok, err := s.removeMessage(ctx, last.ID, func(*Tx, *Message) (bool, error) { return true, nil }); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := errors.Join(s.finishRemovals(ctx), s.SignAudit(ctx)); err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func closed(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, dir string, how FsckOptions) *FsckReport {
	t.Helper()
	r, err := Fsck(context.Background(), Options{Dir: dir}, how)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found are the kinds of things in a report, of damage only.
func found(r *FsckReport) map[Trouble]int64 {
	out := map[Trouble]int64{}
	for what, n := range r.Counts {
		if !what.Harmless() {
			out[what] = n.Found
		}
	}
	return out
}

func clean(t *testing.T, r *FsckReport) {
	t.Helper()
	if !r.OK() || r.Damage != 0 {
		for _, f := range r.Findings {
			t.Errorf("%+v", *f)
		}
	}
}

func TestFsckHealthy(t *testing.T) {
	s, dir := world(t)
	crashed := copyDir(t, dir)
	if _, err := Fsck(context.Background(), Options{Dir: dir}, FsckOptions{}); !errors.Is(err, segment.ErrInUse) && !errors.Is(err, kv.ErrInUse) {
		t.Errorf("a store that is open: %v", err)
	}
	closed(t, s)
	for _, at := range []string{dir, crashed} {
		last := int64(-1)
		r := check(t, at, FsckOptions{Deep: true, Progress: func(n int64) { last = n }})
		clean(t, r)
		if r.Messages != 4 || r.Segments != 1 || r.Records < 40 || r.Audit < 3 || r.Bytes == 0 || last != 1000 {
			t.Errorf("%+v, %d", r, last)
		}
		for _, f := range r.Findings {
			if f.What != LeftOver {
				t.Errorf("%+v", *f)
			}
		}
		// What is left over may go, and nothing else does.
		clean(t, check(t, at, FsckOptions{Repair: true}))
		if r := check(t, at, FsckOptions{}); len(r.Findings) != 0 {
			t.Errorf("%+v", *r.Findings[0])
		}
	}
	s = open(t, dir)
	if got := lines(t, s, inbox, Viewer{Person: person(t, s, "lucia")}); !slices.Equal(got, []string{"1 $PecAccepted", "2"}) {
		t.Errorf("%v", got)
	}
}

// tree is every file below a folder with its content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" {
			return err
		}
		b, err := os.ReadFile(name)
		out[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFsckChangesNothing: neither the unfinished end of a segment nor an
// unfinished upload, nor bytes without a record.
func TestFsckChangesNothing(t *testing.T) {
	s, dir := world(t)
	if err := storeOnly(t, s, text("lost"), Origin{Box: box, Direction: In}).Close(); err != nil {
		t.Fatal(err)
	}
	in, err := s.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	at := copyDir(t, dir)
	in.Abort()
	closed(t, s)
	segments := filepath.Join(at, "segments")
	f, err := os.OpenFile(filepath.Join(segments, "0000000000000002.tar"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("half an entry"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	before, keys := tree(t, segments), tree(t, at)[filepath.Join(at, auditKey)]
	for _, how := range []FsckOptions{{}, {Deep: true}, {Repair: true}} {
		r := check(t, at, how)
		clean(t, r)
		for _, what := range []Trouble{Trouble(segment.Unfinished), Trouble(segment.Upload), NoRecord} {
			if r.Counts[what].Found != 1 {
				t.Errorf("%s: %+v", what, r.Counts)
			}
		}
		if r.Orphans != 1 {
			t.Errorf("%d without a record", r.Orphans)
		}
	}
	if !maps.Equal(before, tree(t, segments)) || keys != tree(t, at)[filepath.Join(at, auditKey)] {
		t.Error("a file was changed")
	}
	recovered(t, open(t, at), admin, Found{Filed: 1})
}

// TestFsckFindsDamage plants each kind of damage in the records, has it named
// and, where that is safe, repaired.
func TestFsckFindsDamage(t *testing.T) {
	del := func(k []byte) func(*Tx) error { return func(tx *Tx) error { return tx.w.Delete(k) } }
	put := func(k []byte, v ...byte) func(*Tx) error { return func(tx *Tx) error { return tx.w.Put(k, v) } }
	change := func(id MessageID, fn func(*Message)) func(*Tx) error {
		return func(tx *Tx) error {
			m, err := tx.Message(id)
			if err != nil {
				return err
			}
			fn(m)
			return tx.putJSON(key("m", id), m)
		}
	}
	folderOf := func(tx *Tx) (*folder, error) { return tx.folder(inbox) }
	with := func(fn func(tx *Tx, f *folder) error) func(*Tx) error {
		return func(tx *Tx) error {
			f, err := folderOf(tx)
			if err != nil {
				return err
			}
			return fn(tx, f)
		}
	}
	keyed := func(p string, more ...any) func(*Tx) error { // deletes a key of the inbox
		return with(func(tx *Tx, f *folder) error { return tx.w.Delete(key(p, append([]any{f.ID}, more...)...)) })
	}
	none := MessageID(99)
	first := UID(1)
	rn := append(registerKey("rn", box, In, 2026), key("", uint64(1))[1:]...)
	for name, c := range map[string]struct {
		plant    func(*Tx) error
		want     map[Trouble]int64
		repaired bool // all of it
	}{
		"record no JSON":        {put(key("m", MessageID(2)), '{'), map[Trouble]int64{BadRecord: 1}, false},
		"record of another":     {change(2, func(m *Message) { m.ID = 3 }), map[Trouble]int64{BadRecord: 1, Dangling: 0}, false},
		"record lost":           {del(key("m", MessageID(2))), map[Trouble]int64{NoMessage: 1, Dangling: 4}, false},
		"reference elsewhere":   {change(2, func(m *Message) { m.Ref.Offset += 512 }), map[Trouble]int64{NoBytes: 1, MissingKey: 1, Dangling: 1}, false},
		"no index":              {del(key("mi", MessageID(2))), map[Trouble]int64{MissingKey: 1}, false},
		"bad index":             {put(key("mi", MessageID(2)), 1, 2), map[Trouble]int64{BadRecord: 1}, false},
		"index of nothing":      {put(key("mi", none)), map[Trouble]int64{Dangling: 1}, true},
		"hash of nothing":       {put(key("mh", make([]byte, 32), none)), map[Trouble]int64{Dangling: 1}, true},
		"hash of another":       {put(key("mh", make([]byte, 32), MessageID(2))), map[Trouble]int64{Dangling: 1}, true},
		"place of nothing":      {put(key("mb", uint64(2), uint64(512), none)), map[Trouble]int64{Dangling: 1}, true},
		"Message-ID of nothing": {put(key("ms", box, "x@y", none)), map[Trouble]int64{Dangling: 1}, true},
		"Message-ID of another": {put(key("ms", box, "x@y", MessageID(2))), map[Trouble]int64{Dangling: 1}, true},
		"malformed key":         {put([]byte("mi/x"), 1), map[Trouble]int64{BadKey: 1}, false},
		"removal of a living one": {func(tx *Tx) error {
			m, err := tx.Message(2)
			if err != nil {
				return err
			}
			b, err := m.Ref.MarshalBinary()
			return errors.Join(err, tx.w.Put(doomedKey(m.Ref), b))
		}, map[Trouble]int64{DoomedBytes: 1}, true},
		"own copy":          {put(key("mo", Person(1), "x"), '{'), map[Trouble]int64{BadRecord: 1}, false},
		"entry of no bytes": {with(func(tx *Tx, f *folder) error { return tx.w.Put(key("e", f.ID, first), []byte{1}) }), map[Trouble]int64{BadRecord: 1}, false},
		"entry lost":        {keyed("e", UID(2)), map[Trouble]int64{Dangling: 7}, true},
		"entry of another size": {with(func(tx *Tx, f *folder) error {
			e, err := tx.entry(f.ID, first)
			e.Size++
			return errors.Join(err, tx.w.Put(key("e", f.ID, first), e.bytes()))
		}), map[Trouble]int64{BadEntry: 1}, false},
		"no envelope":         {keyed("xe", first), map[Trouble]int64{MissingKey: 1}, false},
		"envelope of nothing": {with(func(tx *Tx, f *folder) error { return tx.w.Put(key("xe", f.ID, UID(77)), nil) }), map[Trouble]int64{Dangling: 1}, true},
		"keywords of nothing": {with(func(tx *Tx, f *folder) error { return tx.w.Put(key("gc", f.ID, UID(77)), []byte("[]")) }), map[Trouble]int64{Dangling: 1}, true},
		"entry not known to its message": {with(func(tx *Tx, f *folder) error { return tx.w.Delete(key("mp", MessageID(2), f.ID, UID(2))) }),
			map[Trouble]int64{MissingKey: 1}, false},
		"message in no entry": {with(func(tx *Tx, f *folder) error { return tx.w.Put(key("mp", MessageID(2), f.ID, UID(77)), nil) }),
			map[Trouble]int64{Dangling: 1}, true},
		"archive line lost": {with(func(tx *Tx, f *folder) error {
			e, err := tx.entry(f.ID, first)
			return errors.Join(err, tx.w.Delete(archiveKey(box, e.Day, e.Archived)))
		}), map[Trouble]int64{MissingKey: 1}, false},
		"archive line of nothing": {with(func(tx *Tx, f *folder) error {
			return tx.w.Put(archiveKey(box, 19991122, 1), (&archiveLine{Folder: f.ID, UID: 77, Message: 2}).bytes())
		}), map[Trouble]int64{Dangling: 1}, true},
		"low UIDNEXT":      {with(func(tx *Tx, f *folder) error { f.UIDNext = 1; return tx.putFolder(f) }), map[Trouble]int64{LowCounter: 1}, true},
		"low mod-sequence": {with(func(tx *Tx, f *folder) error { f.ModSeq = 1; return tx.putFolder(f) }), map[Trouble]int64{LowCounter: 1}, true},
		"low UIDNEXT of an archive": {func(tx *Tx) error {
			f, err := tx.folder(FolderKey{Box: box, Role: RoleArchive})
			if err != nil {
				return err
			}
			f.UIDNext = 1
			return tx.putFolder(f)
		}, map[Trouble]int64{LowCounter: 1}, true},
		"change out of the feed": {with(func(tx *Tx, f *folder) error { f.ModSeq += feedLength; return tx.putFolder(f) }), nil, true},
		"folder lost":            {with(func(tx *Tx, f *folder) error { return tx.w.Delete(key("f", f.ID)) }), map[Trouble]int64{NoFolder: 1}, false},
		"folder without a name":  {del(inbox.bytes()), map[Trouble]int64{MissingKey: 1}, false},
		"name of no folder":      {put(FolderKey{Box: "x", Role: RoleSent}.bytes(), 0, 0, 0, 0, 0, 0, 0, 5), nil, true},
		"low counters": {func(tx *Tx) error {
			return errors.Join(tx.w.Delete(key("n", "message")), tx.w.Put(key("n", "folder"), make([]byte, 8)), tx.w.Delete(key("n", "person")), tx.w.Put(key("n", "uidvalidity"), make([]byte, 4)))
		}, map[Trouble]int64{LowCounter: 4}, true},
		"usage":               {func(tx *Tx) error { return tx.count(box, 2, -7) }, map[Trouble]int64{BadUsage: 1}, true},
		"usage that is none":  {put(key("q", box), 1), map[Trouble]int64{BadRecord: 1}, false},
		"register gap":        {del(rn), map[Trouble]int64{RegisterGap: 1, MissingKey: 1}, false},
		"register end":        {put(registerKey("rc", box, In, 2026), 0, 0, 0, 0, 0, 0, 0, 9), map[Trouble]int64{RegisterGap: 1}, false},
		"register counter":    {put(registerKey("rc", box, In, 2026), binary.BigEndian.AppendUint64(nil, 1)...), map[Trouble]int64{LowCounter: 1}, true},
		"register of another": {change(1, func(m *Message) { m.Register.Number = 2 }), map[Trouble]int64{BadRegister: 1}, false},
		"login":               {del(key("p", "mario")), map[Trouble]int64{BadPerson: 1}, false},
		"person":              {del(key("pi", Person(1))), map[Trouble]int64{BadPerson: 1}, false},
		"hold lost":           {del(key("lh", "h")), map[Trouble]int64{NoHold: 2}, false},
		"half a mark":         {del(key("lm", MessageID(1), "h")), map[Trouble]int64{MissingKey: 1}, false},
		"mark on nothing":     {put(key("lm", none, "h")), map[Trouble]int64{Dangling: 1}, true},
		"audit line":          {del(append([]byte("a/e"), make([]byte, 8)...)), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := world(t)
			if err := s.Update(context.Background(), c.plant); err != nil {
				t.Fatal(err)
			}
			closed(t, s)
			// As if it were all that is harmless, twice: nothing is changed.
			r := check(t, dir, FsckOptions{})
			got := found(check(t, dir, FsckOptions{}))
			if !maps.Equal(got, found(r)) || r.OK() || r.Repaired != 0 {
				t.Errorf("%v, then %v", found(r), got)
			}
			for what, n := range c.want {
				if n > 0 && got[what] != n {
					t.Errorf("%s: %d instead of %d", what, got[what], n)
				}
			}
			if len(c.want) == 1 && len(got) != 1 {
				t.Errorf("found %v", got)
			}
			for _, f := range r.Findings {
				if f.Where == "" {
					t.Errorf("nowhere: %+v", *f)
				}
			}
			r = check(t, dir, FsckOptions{Repair: true})
			if r.OK() != c.repaired {
				t.Errorf("repaired: %v", r.OK())
				for _, f := range r.Findings {
					t.Logf("%+v", *f)
				}
			}
			again := check(t, dir, FsckOptions{Repair: true})
			if c.repaired {
				clean(t, again)
			}
			if again.Repaired != 0 || again.Left > r.Left {
				t.Errorf("a second repair: %d, %d left of %d", again.Repaired, again.Left, r.Left)
			}
		})
	}
}
