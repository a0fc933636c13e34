package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/gateway/auth"
	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

// staff is an office whose policy changes.
type staff struct {
	t      *testing.T
	store  *mailbox.Store
	log    bytes.Buffer
	rules  atomic.Pointer[policy.Policy]
	people *people
	auth   *auth.Service
}

// begin is a start of the appliance, on the same store.
func (f *staff) begin() {
	f.t.Helper()
	ev := events.New(slog.New(slog.NewTextHandler(&f.log, nil)))
	f.people = newPeople(f.store, ev, f.rules.Load)
	f.auth = auth.New(auth.Options{Policy: f.rules.Load, Events: ev, Apps: apps{f.store, ev}, Counters: counters{f.store}, People: f.people, Remember: -1})
	f.settle()
}

func (f *staff) settle() {
	f.t.Helper()
	if err := f.people.settle(f.t.Context()); err != nil && !errors.Is(err, mailbox.ErrNoSpace) {
		f.t.Fatal(err)
	}
}

// set is another policy, which nobody has looked at yet.
func (f *staff) set(users ...policy.User) { f.rules.Store(&policy.Policy{Users: users}) }

func (f *staff) person(login string) mailbox.Person {
	f.t.Helper()
	p, err := f.store.Person(context.Background(), login)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

func worker(t *testing.T, name, email, password string) policy.User {
	t.Helper()
	u := policy.User{Login: "mario", Name: name, Email: email}
	if password != "" {
		h, err := auth.HashSecretCost(password, auth.Cost{Time: 1, Memory: 8, Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		u.Password = h
	}
	return u
}

func newStaff(t *testing.T, o mailbox.Options) *staff {
	f := &staff{t: t, store: storeWith(t, o)}
	f.set()
	return f
}

// TestNewPersonWhileTheDiskIsFull: a login that leaves the policy and comes back
// as somebody else's while nothing can be written is closed until what was the
// first one's is kept apart. It is, as soon as there is room.
func TestNewPersonWhileTheDiskIsFull(t *testing.T) {
	const floor = 100 << 20
	var full atomic.Bool
	f := newStaff(t, mailbox.Options{MinFree: floor, Free: func() (mailbox.DiskFree, error) {
		if full.Load() {
			return mailbox.DiskFree{Bytes: floor / 10, Inodes: -1}, nil
		}
		return mailbox.DiskFree{Bytes: 10 * floor, Inodes: -1}, nil
	}})
	f.set(worker(t, "Mario Rossi", "mario.rossi@example.org", "first secret"))
	f.begin()
	old, err := f.auth.Login(t.Context(), "mario", "first secret", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	password, digest := auth.NewAppPassword()
	first := f.person("mario")
	if err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		_, err := tx.MakeAppPassword(first, "phone", "root", digest)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	f.set()
	f.settle()
	f.set(worker(t, "Mario Verdi", "mario.verdi@example.org", "second secret"))
	f.settle()
	for _, secret := range []string{"second secret", password} {
		for range 3 {
			if _, err := f.auth.Login(t.Context(), "mario", secret, "192.0.2.2"); !errors.Is(err, auth.ErrClosed) {
				t.Errorf("while the first one's things are not kept apart: %v", err)
			}
		}
	}
	if holds, err := old.Holds(t.Context()); holds || err != nil {
		t.Errorf("the session of the first one goes on: %v", err)
	}
	if log := f.log.String(); strings.Count(log, "user not removed yet") != 1 || strings.Contains(log, "user removed") {
		t.Errorf("log\n%s", log)
	}
	full.Store(false)
	f.people.again = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.people.keep(ctx) }()
	for {
		e, err := f.auth.Login(t.Context(), "mario", "second secret", "192.0.2.2")
		if err == nil {
			if e.User != "mario" || f.person("mario") == first {
				t.Errorf("%s is person %d, the first one %d", e.User, f.person("mario"), first)
			}
			break
		}
		if !errors.Is(err, auth.ErrClosed) {
			t.Fatal(err)
		}
	}
	cancel()
	<-done
	if _, err := f.auth.Login(t.Context(), "mario", password, "192.0.2.2"); err == nil {
		t.Error("the app password of the first one is good for the second")
	}
	if log := f.log.String(); strings.Count(log, "user removed") != 1 {
		t.Errorf("log\n%s", log)
	}
}

// TestClosedBetweenPolicyAndSettle: a login whose line is new is closed until it
// was looked at, so that no login comes between a reload and its end; others go on.
func TestClosedBetweenPolicyAndSettle(t *testing.T) {
	f := newStaff(t, mailbox.Options{})
	anna := worker(t, "Anna", "anna@example.org", "anna's secret")
	anna.Login = "anna"
	f.set(anna, worker(t, "Mario Rossi", "mario.rossi@example.org", "first secret"))
	f.begin()
	if _, err := f.auth.Login(t.Context(), "mario", "first secret", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	first := f.person("mario")
	f.set(anna, worker(t, "Luigi Verdi", "luigi@example.org", "second secret"))
	if _, err := f.auth.Login(t.Context(), "mario", "second secret", "192.0.2.1"); !errors.Is(err, auth.ErrClosed) {
		t.Errorf("before the look: %v", err)
	}
	if _, err := f.auth.Login(t.Context(), "anna", "anna's secret", "192.0.2.1"); err != nil {
		t.Errorf("who did not change: %v", err)
	}
	f.settle()
	if _, err := f.auth.Login(t.Context(), "mario", "second secret", "192.0.2.1"); err != nil || f.person("mario") == first {
		t.Errorf("after it: %v", err)
	}
}

// TestAnotherPerson: who a changed line of the policy is, whether it changed
// while the appliance ran or while it was stopped.
func TestAnotherPerson(t *testing.T) {
	rossi := worker(t, "Mario Rossi", "mario.rossi@example.org", "x")
	for _, c := range []struct {
		what   string
		before policy.User
		after  func(policy.User) *policy.User
		other  bool
	}{
		{"nothing", rossi, func(u policy.User) *policy.User { return &u }, false},
		{"a new password", rossi, func(u policy.User) *policy.User { u.Password += "y"; return &u }, false},
		{"a new name and address", rossi, func(u policy.User) *policy.User { u.Name, u.Email = "A", "a@example.org"; return &u }, false},
		{"a new password and address", rossi, func(u policy.User) *policy.User { u.Password, u.Email = "y", "a@example.org"; return &u }, false},
		{"a new password and name", rossi, func(u policy.User) *policy.User { u.Password, u.Name = "y", "A"; return &u }, false},
		{"only capitals", rossi, func(u policy.User) *policy.User {
			u.Name, u.Email, u.Password = "M. R.", "Mario.Rossi@Example.org", "y"
			return &u
		}, false},
		{"everything", rossi, func(u policy.User) *policy.User { u.Name, u.Email, u.Password = "A", "a@example.org", "y"; return &u }, true},
		{"everything, without a name", worker(t, "", "a@example.org", "x"), func(u policy.User) *policy.User { u.Email, u.Password = "b@example.org", "y"; return &u }, true},
		{"everything, without a password", worker(t, "A", "a@example.org", ""), func(u policy.User) *policy.User { u.Email, u.Name = "b@example.org", "B"; return &u }, true},
		{"a password, of who has no name", worker(t, "", "", "x"), func(u policy.User) *policy.User { u.Password = "y"; return &u }, false},
		{"gone", rossi, func(policy.User) *policy.User { return nil }, true},
	} {
		for _, stopped := range []bool{false, true} {
			t.Run(fmt.Sprint(c.what, " stopped ", stopped), func(t *testing.T) {
				f := newStaff(t, mailbox.Options{})
				f.set(c.before)
				f.begin()
				first := f.person("mario")
				if u := c.after(c.before); u != nil {
					f.set(*u)
				} else {
					f.set()
				}
				if stopped {
					f.begin()
				} else {
					f.settle()
				}
				// What comes later is compared with that.
				f.set(c.before)
				if u := c.after(c.before); u != nil {
					f.set(*u)
				}
				f.settle()
				if second := f.person("mario"); (second != first) != c.other {
					t.Errorf("person %d, then %d", first, second)
				}
				now := f.person("mario")
				f.settle()
				f.begin()
				if f.person("mario") != now {
					t.Error("parted once more")
				}
			})
		}
	}
}

// TestWrongPINsAreAPersons: who gets a login begins with none; the first one has
// them again with the login.
func TestWrongPINsAreAPersons(t *testing.T) {
	f := newStaff(t, mailbox.Options{})
	u := worker(t, "Mario Rossi", "mario.rossi@example.org", "x")
	u.PIN = worker(t, "", "", "123456").Password
	f.set(u)
	f.begin()
	if _, err := f.auth.Login(t.Context(), "mario", "x", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	wrong := func() (err error) {
		_, err = f.auth.CheckPIN(t.Context(), "mario", "000000", auth.Use{})
		return err
	}
	for range auth.WrongPINs {
		if err := wrong(); err != nil {
			t.Fatal(err)
		}
	}
	if err := wrong(); !errors.Is(err, auth.ErrPINLocked) {
		t.Fatal(err)
	}
	f.set()
	f.settle()
	f.set(u)
	f.settle()
	if ok, err := f.auth.CheckPIN(t.Context(), "mario", "123456", auth.Use{}); !ok || err != nil {
		t.Errorf("the new person: %v, %v", ok, err)
	}
	f.person("mario")
	if _, err := f.store.Adopt(t.Context(), mailbox.Adoption{Old: "mario"}); err != nil {
		t.Fatal(err)
	}
	if err := wrong(); !errors.Is(err, auth.ErrPINLocked) {
		t.Errorf("the first person again: %v", err)
	}
}

// TestSessionEndsWithItsAppPassword: and those of the password go on.
func TestSessionEndsWithItsAppPassword(t *testing.T) {
	f := newStaff(t, mailbox.Options{})
	f.set(worker(t, "Mario Rossi", "mario.rossi@example.org", "x"))
	f.begin()
	plain, err := f.auth.Login(t.Context(), "mario", "x", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	password, digest := auth.NewAppPassword()
	if err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		_, err := tx.MakeAppPassword(1, "phone", "root", digest)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	phone, err := f.auth.Login(t.Context(), "mario", password, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	holds := func(e auth.Entry) bool {
		t.Helper()
		ok, err := e.Holds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !holds(plain) || !holds(phone) {
		t.Error("nothing changed, and a session ends")
	}
	if err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error { _, err := tx.RevokeAppPassword(1, "phone"); return err }); err != nil {
		t.Fatal(err)
	}
	f.store.PeopleChanged()
	if !holds(plain) || holds(phone) {
		t.Errorf("after the app password was revoked: %v %v", holds(plain), holds(phone))
	}
	// Whoever is adopted meanwhile ends it too.
	f.set()
	f.settle()
	f.set(worker(t, "Mario Rossi", "mario.rossi@example.org", "x"))
	f.settle()
	second, err := f.auth.Login(t.Context(), "mario", "x", "192.0.2.1")
	if err != nil || !holds(second) || holds(plain) {
		t.Error("a session outlives its person", err)
	}
	if _, err := f.store.Adopt(t.Context(), mailbox.Adoption{Old: "mario"}); err != nil || holds(second) {
		t.Error("a session outlives an adoption", err)
	}
}

// TestCountersAreDropped: once their day is over and the clock is believed.
func TestCountersAreDropped(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	s := storeWith(t, mailbox.Options{Now: func() time.Time { return now }})
	c := counters{s}
	for i := range countersAtOnce + 10 {
		if _, err := c.Add(t.Context(), fmt.Sprint("pin/2026-11-22/1/", i), now.Add(48*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	dropped, days := 0, 0
	for dropped == 0 && days < 10 {
		if days == 1 {
			now = now.Add(30 * 24 * time.Hour) // a jump ends nothing
		}
		n, err := c.drop(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		dropped = n
		days++
		now = now.Add(24 * time.Hour)
	}
	if dropped != countersAtOnce+10 || days < 4 {
		t.Errorf("%d dropped in look %d", dropped, days)
	}
	if n, err := c.drop(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("%d more, %v", n, err)
	}
}

// TestAnotherPersonInSteps: a login that is given to somebody else by an edit that
// is saved half-way is another person's all the same; changes with more than a day
// between them are one person's. A stop between the two makes no difference.
func TestAnotherPersonInSteps(t *testing.T) {
	for _, c := range []struct {
		between time.Duration
		other   bool
	}{{0, true}, {23 * time.Hour, true}, {25 * time.Hour, false}} {
		for _, stopped := range []bool{false, true} {
			now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
			f := newStaff(t, mailbox.Options{Now: func() time.Time { return now }})
			u := worker(t, "Mario Rossi", "mario.rossi@example.org", "first")
			f.set(u)
			f.begin()
			first := f.person("mario")
			u.Name, u.Email = "Maria Verdi", "maria@example.org"
			f.set(u)
			f.settle()
			now = now.Add(c.between)
			if stopped {
				f.begin()
			}
			u.Password = worker(t, "", "", "second").Password
			f.set(u)
			f.settle()
			if second := f.person("mario"); (second != first) != c.other {
				t.Errorf("%s between, stopped %t: person %d, then %d", c.between, stopped, first, second)
			}
		}
	}
}

// TestLookThatFailsIsRepeated: a look at the policy that breaks off at its
// beginning is due again, so that nobody stays locked out.
func TestLookThatFailsIsRepeated(t *testing.T) {
	f := newStaff(t, mailbox.Options{})
	u := worker(t, "Mario Rossi", "mario.rossi@example.org", "first")
	f.set(u)
	f.begin()
	u.Password = worker(t, "", "", "second").Password
	f.set(u)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.people.settle(ctx); err == nil || !f.people.due {
		t.Fatalf("the look: %v, due %t", err, f.people.due)
	}
}
