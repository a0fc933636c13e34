package relay

import (
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

// TestJ4_DigestsOnceADay at the two 02:30s of October and the missing one of March.
func TestJ4_DigestsOnceADay(t *testing.T) {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	at := 2*time.Hour + 30*time.Minute
	for _, c := range []struct {
		utc, last, day string
		due            bool
	}{
		{"2026-10-25T00:29:00Z", "2026-10-24", "2026-10-25", false}, // 02:29, summer time
		{"2026-10-25T00:30:00Z", "2026-10-24", "2026-10-25", true},  // the first 02:30
		{"2026-10-25T01:30:00Z", "2026-10-25", "2026-10-25", false}, // the second one
		{"2026-10-25T01:30:00Z", "2026-10-24", "2026-10-25", true},  // the gateway was off at the first
		{"2027-03-28T00:59:00Z", "2027-03-27", "2027-03-28", false}, // 01:59, the last minute before
		{"2027-03-28T01:00:00Z", "2027-03-27", "2027-03-28", true},  // 03:00: there was no 02:30
		{"2027-03-28T01:30:00Z", "2027-03-28", "2027-03-28", false}, // 03:30
		{"2026-11-22T10:00:00Z", "2027-11-22", "2026-11-22", true},  // the clock was a year ahead
	} {
		now, err := time.Parse(time.RFC3339, c.utc)
		if err != nil {
			t.Fatal(err)
		}
		if day, due := digestDue(now.In(rome), at, c.last); due != c.due || day != c.day {
			t.Errorf("%s after %s: %s %t", c.utc, c.last, day, due)
		}
	}
}

// The digest tells each person what they see, once a day, also by ordinary mail.
func TestDigest(t *testing.T) {
	w := newWatched(t)
	w.withMail()
	w.s.opt.Digests = func() map[string]time.Duration { return map[string]time.Duration{"mario": 7 * time.Hour} }
	w.now = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	w.take(w.envelope())
	w.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example", "b@pec.example")
	w.round()
	w.told("mario")
	w.now = w.now.Add(3 * time.Hour)
	w.round()
	w.round()
	w.told("mario", "Riepilogo PEC del 22/11/2026")
	text := decoded(t, w.newest(mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox}))
	for _, want := range []string{testBox + "\n", "arrivate: 0\n", "non lette: 1\n", "in attesa di ricevute: 1\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	w.now = w.now.Add(24 * time.Hour)
	w.round()
	if text := decoded(t, w.newest(mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox})); !strings.Contains(text, "arrivate: 0\n") || !strings.Contains(text, "non lette: 1\n") {
		t.Errorf("the next day:\n%s", text)
	}
}
