package events

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Who is refused each minute for a month has some lines, and each of the others its own;
// a good login begins anew, and so does a day.
func TestLoginRefusedIsBounded(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)))
	lines := func() int { n := strings.Count(out.String(), "login refused"); out.Reset(); return n }
	deeds := 0
	l.AuditTo(func(Deed) { deeds++ })
	for range 1000 {
		l.LoginRefused("mario", "192.0.2.1", "again")
	}
	if !strings.Contains(out.String(), "times=512") || lines() != 10 || deeds != 1000 {
		t.Errorf("%d deeds; %s", deeds, out.String())
	}
	l.LoginRefused("mario", "192.0.2.1", "throttled")
	l.LoginRefused("mario", "192.0.2.2", "again")
	l.LoginRefused("anna", "192.0.2.1", "again")
	if n := lines(); n != 3 {
		t.Errorf("%d lines of others", n)
	}
	l.LoginOK("mario", "", "192.0.2.1")
	l.LoginRefused("mario", "192.0.2.1", "again")
	if n := lines(); n != 1 {
		t.Errorf("%d lines after a good login", n)
	}
	for n := range 10 * repeatsMost { // a flood from everywhere
		l.LoginRefused("", fmt.Sprintf("2001:db8::%x", n), "unknown")
	}
	if n := lines(); n > repeatsMost+20 || n < repeatsMost/2 {
		t.Errorf("%d lines of a flood", n)
	}
	var r repeats
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{now, now.Add(25 * time.Hour), now.Add(-time.Hour)} {
		if n, tell := r.again(repeat{"mario", "x"}, "password", at); n != 1 || !tell {
			t.Errorf("%v: %d, %t", at, n, tell)
		}
	}
}
