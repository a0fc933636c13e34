package mailbox

import (
	"context"
	"testing"
)

// TestHideForOnePerson: what is hidden from a person is gone from the folder for them
// alone, once, stays in their archive, and leaves nothing behind when it goes.
func TestHideForOnePerson(t *testing.T) {
	ctx := context.Background()
	s := openWith(t, Options{Dir: t.TempDir()})
	mario, lucia, carla := person(t, s, "mario"), person(t, s, "lucia"), person(t, s, "carla")
	dora := person(t, s, "dora") // never looks into it
	_, uid := put(t, s, inbox, text("one"), Filing{})
	put(t, s, inbox, text("two"), Filing{})
	own := FolderKey{Owner: mario, Role: RoleInbox}
	_, notice := put(t, s, own, text("three"), Filing{})
	_, private := put(t, s, inbox, text("four"), Filing{Audience: lucia, Private: true})
	snapshot(t, s, inbox, Viewer{Person: lucia})
	at := Place{Folder: id(t, s, inbox), UID: uid}
	hide := func(p Place, v Viewer) (hid bool) {
		t.Helper()
		if err := s.Update(ctx, func(tx *Tx) (err error) { hid, err = tx.Hide(p, v); return err }); err != nil {
			t.Fatal(err)
		}
		return hid
	}
	// Mario has looked into the folder, Carla never has, and may delete for all.
	snapshot(t, s, inbox, Viewer{Person: mario})
	before := snapshot(t, s, inbox, Viewer{Person: mario})
	for _, v := range []Viewer{{Person: mario}, {Person: carla, Delete: true}} {
		if !hide(at, v) || hide(at, v) {
			t.Errorf("person %d: not once", v.Person)
		}
		after := snapshot(t, s, inbox, v)
		if len(after.UIDs) != 1 || after.UIDs[0] == uid || after.UIDValidity != before.UIDValidity || after.ModSeq <= before.ModSeq {
			t.Errorf("person %d sees %+v", v.Person, after)
		}
		archive, err := s.Archive(ctx, inbox.Box, Period{}, Sight{Person: v.Person, Role: func(Role) (Scope, bool) { return ScopeAll, true }})
		if err != nil || len(archive.Lines) != 2 {
			t.Errorf("person %d finds %+v in the archive, %v", v.Person, archive, err)
		}
	}
	if !hide(at, Viewer{Person: dora}) {
		t.Error("not for who never looked into the folder")
	}
	if got := snapshot(t, s, inbox, Viewer{Person: lucia}); len(got.UIDs) != 3 {
		t.Errorf("others see %v", got.UIDs)
	}
	for name, p := range map[string]Place{
		"of a folder of one's own": {Folder: id(t, s, own), UID: notice}, "private of another": {Folder: at.Folder, UID: private},
		"that is not there": {Folder: at.Folder, UID: 999}, "of no folder": {Folder: 999, UID: 1},
	} {
		if hide(p, Viewer{Person: mario}) {
			t.Errorf("hid what is %s", name)
		}
	}
	if err := s.Update(ctx, func(tx *Tx) error { return tx.Unfile(at) }); err != nil {
		t.Fatal(err)
	}
	if n := personalKeys(t, s); n != 0 {
		t.Errorf("%d keys of persons are left over", n)
	}
}
