package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
	"pecgate/relay/forward"
)

// The alarm about an address that nobody has any more ends; that of one still in use
// stands until something gets there.
func TestAlarmsOfAnOldAddressEnd(t *testing.T) {
	i := newIntake(t)
	i.withAdmin()
	i.s.opt.Smarthost, i.acc.OrdinaryTo = &Smarthost{}, "Ordinaria@example.org"
	email := "vecchio@example.org"
	i.s.opt.Policy = func() *policy.Policy {
		return &policy.Policy{Users: []policy.User{{Login: "mario", Email: strings.ToUpper(email)}}}
	}
	for _, to := range []string{"vecchio@example.org", "ordinaria@example.org", "altro@example.org"} {
		it := forward.Item{ID: "f1-0", To: to, Kind: "copy", Box: testBox}
		for _, final := range []bool{true, false} {
			if err := i.s.forwardFailed(t.Context(), forward.Failure{Item: it, Reason: "550 no such user", Final: final}); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(all ...string) {
		t.Helper()
		if err := i.s.sweepAlarms(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := i.standingAlarms(); !slices.Equal(got, all) {
			t.Errorf("standing: %q", got)
		}
	}
	want("forward-expired ordinaria@example.org", "forward-expired vecchio@example.org", "forward-refused ordinaria@example.org", "forward-refused vecchio@example.org")
	email = "nuovo@example.org"
	want("forward-expired ordinaria@example.org", "forward-refused ordinaria@example.org")
	i.acc.OrdinaryTo = ""
	want()
}

// The alarm in place of many ends when they are few again, and is not told twice a day.
func TestTooManyAlarmsEnd(t *testing.T) {
	now := time.Now()
	i := newIntake(t)
	store, err := mailbox.Open(mailbox.Options{Dir: t.TempDir(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	i.store, i.s.opt.Store = store, store
	i.withAdmin()
	many := func() {
		for n := range maxAlarms + 1 {
			a := suspendedAlarm(i.s)
			a.kind, a.about, a.to = "poison", fmt.Sprint(n), nil
			i.mustRaise(a)
		}
	}
	stands := func(want bool) {
		t.Helper()
		if err := i.s.sweepAlarms(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(i.standingAlarms(), "too-many poison"); got != want {
			t.Errorf("stands: %v", got)
		}
	}
	many()
	stands(true)
	i.mustEnd("poison", "7")
	stands(false)
	many()
	stands(true)
	if got := i.inbox("capo"); len(got) != 1 {
		t.Errorf("told %q", got)
	}
	i.mustEnd("poison", "7")
	now = now.Add(25 * time.Hour)
	stands(false)
	many()
	if got := i.inbox("capo"); len(got) != 2 {
		t.Errorf("told %q", got)
	}
}
