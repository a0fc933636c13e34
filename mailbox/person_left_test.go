package mailbox

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestPersonLeft: a login that is none any more keeps its person; the next one
// under it is another, and each can be put back.
func TestPersonLeft(t *testing.T) {
	ctx := t.Context()
	s, dir := world(t)
	person := func(login string) Person {
		t.Helper()
		p, err := s.Person(ctx, login)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	part := func(logins ...string) (gone []string) {
		t.Helper()
		var leaving []Leaving
		for _, l := range logins {
			leaving = append(leaving, Leaving{Login: l, Why: "test"})
		}
		version, told := s.PeopleVersion(), 0
		parted, err := s.Part(ctx, leaving, func(tx *Tx, login string) error {
			told++
			return tx.Space("test").Put(login, 1)
		})
		if told < len(logins) || (s.PeopleVersion() == version) != (len(logins) == 0) {
			t.Errorf("told of %d of %d, version %d then %d", told, len(logins), version, s.PeopleVersion())
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range parted {
			gone = append(gone, fmt.Sprint(l.Login, l.Person))
		}
		return gone
	}
	digest := sha256.Sum256([]byte("x"))
	first := person("mario")
	if err := s.Update(ctx, func(tx *Tx) error {
		_, err := tx.MakeAppPassword(first, "phone", "root", digest)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if gone := part(); len(gone) != 0 {
		t.Errorf("parted %v", gone)
	}
	if gone := part("mario", "nobody"); len(gone) != 1 || gone[0] != fmt.Sprint("mario", first) {
		t.Errorf("parted %v", gone)
	}
	if gone := part("mario"); len(gone) != 0 {
		t.Errorf("parted again %v", gone)
	}
	if _, err := s.FindAppPassword(ctx, "mario", digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("app password without a login: %v", err)
	}
	second := person("Mario")
	if second == first {
		t.Fatal("a new person under an old login is the old one")
	}
	if _, err := s.FindAppPassword(ctx, "mario", digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("the new person has the app password of the old one: %v", err)
	}
	left := func(p Person) bool {
		t.Helper()
		var is bool
		if err := s.View(ctx, func(tx *Tx) (err error) { _, is, err = tx.Left(p); return err }); err != nil {
			t.Fatal(err)
		}
		return is
	}
	if !left(first) || left(second) || left(999) {
		t.Error("who has left is not known")
	}
	back, err := s.Adopt(ctx, Adoption{Old: "MARIO", Apps: true})
	if err != nil || back.Person != first || person("mario") != first || left(first) || !left(second) {
		t.Fatalf("%+v, %v, mario is %d", back, err, person("mario"))
	}
	if a, err := s.FindAppPassword(ctx, "mario", digest); err != nil || a.Name != "phone" {
		t.Errorf("after the adoption: %+v, %v", a, err)
	}
	if _, err := s.Adopt(ctx, Adoption{Old: "lucia"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody left lucia: %v", err)
	}
	if _, err := s.Adopt(ctx, Adoption{Old: "mario", Person: first}); !errors.Is(err, ErrNotFound) {
		t.Errorf("who is here: %v", err)
	}
	// Without a word the app passwords do not come back.
	part("mario")
	person("mario")
	if back, err := s.Adopt(ctx, Adoption{Old: "mario", Person: first}); err != nil || back.Revoked != 1 {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := s.FindAppPassword(ctx, "mario", digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("an app password is good again: %v", err)
	}
	// Under another login, and one of several.
	part("mario")
	third := person("mario")
	part("mario")
	if back, err := s.Adopt(ctx, Adoption{Old: "mario", As: "M.Rossi", Person: first}); err != nil || back.Person != first || person("m.rossi") != first {
		t.Errorf("%+v, %v", back, err)
	}
	var all []LeftPerson
	var name string
	if err := s.View(ctx, func(tx *Tx) (err error) {
		if all, err = tx.LeftPeople(""); err == nil {
			name, err = tx.Login(first)
		}
		return err
	}); err != nil || name != "m.rossi" || len(all) != 3 || all[0].Person != third || all[2].Person != second {
		t.Errorf("%q %+v %v", name, all, err)
	}
	closed(t, s)
	clean(t, check(t, dir, FsckOptions{}))
}

func TestAppPasswordRecords(t *testing.T) {
	ctx := t.Context()
	s, dir := world(t)
	p, err := s.Person(ctx, "mario")
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, digest byte) error {
		return s.Update(ctx, func(tx *Tx) error {
			_, err := tx.MakeAppPassword(p, name, "root", [32]byte{digest})
			return err
		})
	}
	for _, c := range []struct {
		name   string
		digest byte
		want   error
	}{
		{"", 1, ErrAppName}, {"  ", 1, ErrAppName}, {"a\nb", 1, ErrAppName}, {"a\xff", 1, ErrAppName}, {strings.Repeat("è", 61), 1, ErrAppName},
		{strings.Repeat("è", 60), 1, nil}, {" Phone ", 2, nil}, {"phone", 3, ErrAppTwice}, {"other", 2, ErrAppTwice},
	} {
		if err := put(c.name, c.digest); !errors.Is(err, c.want) {
			t.Errorf("%.10q: %v, want %v", c.name, err, c.want)
		}
	}
	for i := range maxAppPasswords - 2 {
		if err := put(fmt.Sprint("n", i), byte(10+i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := put("one more", 200); !errors.Is(err, ErrAppMany) {
		t.Errorf("one too many: %v", err)
	}
	used := func(digest byte) time.Time {
		t.Helper()
		if err := s.UsedAppPassword(ctx, "mario", [32]byte{digest}, "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		a, err := s.FindAppPassword(ctx, "mario", [32]byte{digest})
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		return a.Used
	}
	once := used(2)
	if again := used(2); once.IsZero() || !again.Equal(once) {
		t.Errorf("used %v, then written again %v", once, again)
	}
	if err := s.Update(ctx, func(tx *Tx) error {
		a, err := tx.RevokeAppPassword(p, "PHONE")
		if err == nil && a.Name != "Phone" {
			t.Errorf("revoked %+v", a)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if at := used(2); !at.IsZero() {
		t.Error("the use of a revoked one was noted")
	}
	// What fsck knows of it.
	if err := s.Update(ctx, func(tx *Tx) error {
		return errors.Join(
			tx.putJSON(key("ap", Person(77), make([]byte, 32)), AppPassword{Name: "of nobody"}),
			tx.w.Put(key("ap", p, make([]byte, 32)), []byte("{")),
			tx.putJSON(leftKey("mario", p), LeftPerson{Person: p, Login: "mario", At: tx.now}))
	}); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	got := found(check(t, dir, FsckOptions{}))
	if got[BadPerson] != 2 || got[BadRecord] != 1 || len(got) != 2 {
		t.Errorf("found %v", got)
	}
}
