package relay

import (
	"strings"
	"testing"
	"time"
)

// TestE1_UselessStapleIsTold: a stapled status that is out of date or unreadable stands
// in the status and once in the log, until another one comes.
func TestE1_UselessStapleIsTold(t *testing.T) {
	i := newIntake(t)
	w := aWorker(Account{Box: testBox, SMTP: Endpoint{Host: "smtp.gestore.example", Port: 465}})
	seen := func(trouble string) (status string, lines int) {
		t.Helper()
		i.s.seenStaple(w, w.acc.SMTP, time.Now(), trouble)
		return w.status().LastError, strings.Count(i.log.String(), "smtp.gestore.example:465")
	}
	if status, n := seen(""); status != "" || n != 0 {
		t.Errorf("%q, %d lines", status, n)
	}
	for range 3 {
		if status, n := seen("it is out of date since 2026-01-02"); !strings.Contains(status, "smtp.gestore.example:465 is of no use: it is out of date") || n != 1 {
			t.Errorf("%q, %d lines", status, n)
		}
	}
	i.s.seenStaple(w, w.acc.SMTP, time.Time{}, "") // it could not be reached
	if w.status().LastError == "" {
		t.Error("forgotten without another connection")
	}
	if status, n := seen(""); status != "" || n != 2 {
		t.Errorf("%q, %d lines", status, n)
	}
}
