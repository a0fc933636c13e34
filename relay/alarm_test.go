package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

// withAdmin makes the mailbox of the tests an account whose administrator is capo.
func (i *intake) withAdmin() {
	i.acc.Active = true
	i.s.opt.Accounts = func() []Account { return []Account{i.acc} }
	i.s.opt.Address = "pecgate@gateway.example"
}

// inbox are the subjects of the notices of a login, oldest first.
func (i *intake) inbox(login string) (all []string) {
	i.t.Helper()
	p, err := i.store.Person(i.t.Context(), login)
	if err != nil {
		i.t.Fatal(err)
	}
	v := mailbox.Viewer{Person: p}
	snap, err := i.store.Snapshot(i.t.Context(), mailbox.FolderKey{Owner: p, Role: mailbox.RoleInbox}, v)
	if err != nil {
		i.t.Fatal(err)
	}
	err = i.store.Entries(i.t.Context(), snap.Folder, v, snap.UIDs, mailbox.Want{}, func(e *mailbox.Entry) error {
		index, err := i.store.Index(i.t.Context(), e.Message)
		if err == nil {
			all = append(all, index.Subject)
		}
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return all
}

func (i *intake) standingAlarms() (kinds []string) {
	i.t.Helper()
	err := i.store.View(i.t.Context(), func(tx *mailbox.Tx) error {
		all, err := Alarms(tx, 10_000)
		for _, a := range all {
			kinds = append(kinds, a.Kind+" "+a.About)
		}
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return kinds
}

func suspendedAlarm(s *Service) alarm {
	return alarm{
		box: testBox, kind: "suspended", about: "credential", to: append(s.adminOf(testBox), addressee{user: "mario"}),
		subjectIT: "Casella sospesa", subjectEN: "Mailbox suspended", it: "Il gestore rifiuta la password.", en: "The provider refuses the password.",
	}
}

func (i *intake) mustRaise(a alarm) {
	i.t.Helper()
	if err := i.s.raise(i.t.Context(), a); err != nil {
		i.t.Fatal(err)
	}
}

func (i *intake) mustEnd(kind, about string) {
	i.t.Helper()
	if err := i.s.ended(i.t.Context(), testBox, kind, about); err != nil {
		i.t.Fatal(err)
	}
}

func TestAlarmIsToldOnceWhileItStands(t *testing.T) {
	i := newIntake(t)
	i.withAdmin()
	for range 3 {
		i.mustRaise(suspendedAlarm(i.s))
	}
	i.s = New(i.s.opt) // over restarts too
	i.mustRaise(suspendedAlarm(i.s))
	for _, who := range []string{"capo", "mario"} {
		if got := i.inbox(who); !slices.Equal(got, []string{"Casella sospesa"}) {
			t.Errorf("INBOX of %s: %q", who, got)
		}
	}
	if got := i.standingAlarms(); !slices.Equal(got, []string{"suspended credential"}) {
		t.Errorf("standing: %q", got)
	}
	if got := i.audited("alarm"); len(got) != 1 {
		t.Errorf("audit lines: %q", got)
	}
	for range 2 {
		i.mustEnd("suspended", "credential")
	}
	if got := i.standingAlarms(); len(got) != 0 {
		t.Errorf("standing after its end: %q", got)
	}
	if got := i.audited("alarm ended"); len(got) != 1 {
		t.Errorf("audit lines of the end: %q", got)
	}
	i.mustRaise(suspendedAlarm(i.s))
	if got := i.inbox("capo"); len(got) != 2 {
		t.Errorf("INBOX after it came again: %q", got)
	}
}

func TestAlarmThatComesAndGoesIsToldOnce(t *testing.T) {
	i := newIntake(t)
	i.withAdmin()
	a := suspendedAlarm(i.s)
	a.quiet = time.Hour
	for range 5 {
		i.mustRaise(a)
		i.mustEnd(a.kind, a.about)
	}
	if got := i.inbox("capo"); len(got) != 1 {
		t.Errorf("INBOX: %q", got)
	}
	i.mustRaise(a)
	if got := i.standingAlarms(); len(got) != 1 {
		t.Errorf("standing although not told: %q", got)
	}
}

// The number of alarms is bounded, and what is not told one by one is told in all.
func TestAlarmsAreBounded(t *testing.T) {
	i := newIntake(t)
	i.withAdmin()
	for n := range maxAlarms + 20 {
		a := suspendedAlarm(i.s)
		a.kind, a.about, a.to = "poison", fmt.Sprint(n), nil
		i.mustRaise(a)
	}
	got := i.standingAlarms()
	if len(got) != maxAlarms+1 || got[len(got)-1] != "too-many poison" {
		t.Errorf("%d alarms, the last %q", len(got), got[len(got)-1])
	}
	if got := i.inbox("capo"); len(got) != 1 || !strings.Contains(got[0], "poison") {
		t.Errorf("INBOX: %q", got)
	}
}

// A mailbox that left the policy has no alarms; one of the appliance stays.
func TestAlarmsOfMailboxesThatAreGoneEnd(t *testing.T) {
	i := newIntake(t)
	i.withAdmin()
	i.mustRaise(suspendedAlarm(i.s))
	a := suspendedAlarm(i.s)
	a.box, a.kind = "", "certificate"
	i.mustRaise(a)
	sweep := func() {
		t.Helper()
		if err := i.s.sweepAlarms(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if got := i.standingAlarms(); len(got) != 2 {
		t.Errorf("standing: %q", got)
	}
	i.s.opt.Accounts = func() []Account { return nil }
	sweep()
	if got := i.standingAlarms(); !slices.Equal(got, []string{"certificate credential"}) {
		t.Errorf("standing: %q", got)
	}
}
