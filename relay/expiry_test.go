package relay

import (
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

// TestPasswordExpires: the administrator is told at 14, 7 and 1 days and at the
// end, once each, over restarts; a new day ends it.
func TestPasswordExpires(t *testing.T) {
	f := newFetched(t, Account{Box: testBox, Active: true, Admin: "capo"})
	acc := f.w.acc
	acc.Box, acc.Active, acc.Admin = testBox, true, "capo"
	f.s.opt.Accounts = func() []Account { return []Account{acc} }
	f.s.opt.Address = "pecgate@gateway.example"
	zone := f.s.opt.Location
	y, m, d := f.clock().In(zone).Date()
	acc.Expires = time.Date(y, m, d+31, 0, 0, 0, 0, zone) // the last day is in 30 days
	var told []string
	for day := 0; day <= 33; day++ {
		for range 2 {
			f.s = New(f.s.opt)
			if err := f.s.tellExpiry(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var now []Alarm
		if err := f.store.View(t.Context(), func(tx *mailbox.Tx) (err error) { now, err = Alarms(tx, 100); return err }); err != nil {
			t.Fatal(err)
		}
		if len(now) > 1 {
			t.Fatalf("day %d: %d alarms stand", day, len(now))
		}
		if len(now) == 1 && (len(told) == 0 || told[len(told)-1] != now[0].About) {
			told = append(told, now[0].About)
			if want := map[int]string{16: " 14", 23: " 7", 29: " 1", 31: " -1"}[day]; want == "" || !strings.HasSuffix(now[0].About, want) {
				t.Errorf("day %d: %q", day, now[0].About)
			}
		}
		f.later(24 * time.Hour)
	}
	if len(told) != 4 {
		t.Errorf("told %q", told)
	}
	st, err := f.s.Status(t.Context())
	if err != nil || st.Mailboxes[0].PasswordDaysLeft == nil || *st.Mailboxes[0].PasswordDaysLeft != -4 {
		t.Errorf("%+v, %v", st.Mailboxes, err)
	}
	acc.Expires = time.Time{}
	if err := f.s.tellExpiry(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.store.View(t.Context(), func(tx *mailbox.Tx) error {
		now, err := Alarms(tx, 100)
		if len(now) > 0 {
			t.Errorf("they stand still: %v", now)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
