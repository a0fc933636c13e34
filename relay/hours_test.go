package relay

import (
	"testing"
	"time"
	_ "time/tzdata" // the zones of the table, wherever the tests run

	"pgregory.net/rapid"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	when, err := time.Parse("2006-01-02 15:04:05 -0700", text)
	if err != nil {
		t.Fatal(err)
	}
	return when.In(rome)
}

// TestHours: when a span is open and how long until it changes, also over midnight and
// on the days on which the clock is put forward (2026-03-29, no 02:00 to 03:00) and
// back (2026-10-25, 02:00 to 03:00 twice).
func TestHours(t *testing.T) {
	of := func(from, to string) Span {
		p := func(s string) time.Duration {
			x, err := time.Parse("15:04", s)
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(x.Hour())*time.Hour + time.Duration(x.Minute())*time.Minute
		}
		return Span{p(from), p(to)}
	}
	day, night, gap := of("07:30", "20:00"), of("22:00", "06:00"), of("02:30", "05:00")
	for _, c := range []struct {
		span  Span
		at    string
		open  bool
		until time.Duration
	}{
		{Span{}, "2026-06-01 03:00:00 +0200", true, 0},
		{day, "2026-06-01 07:29:30 +0200", false, 30 * time.Second},
		{day, "2026-06-01 07:30:00 +0200", true, 12*time.Hour + 30*time.Minute},
		{day, "2026-06-01 19:59:59 +0200", true, time.Second},
		{day, "2026-06-01 20:00:00 +0200", false, 11*time.Hour + 30*time.Minute},
		{day, "2026-06-01 00:00:00 +0200", false, 7*time.Hour + 30*time.Minute},
		{night, "2026-06-01 21:59:00 +0200", false, time.Minute},
		{night, "2026-06-01 22:00:00 +0200", true, 8 * time.Hour},
		{night, "2026-06-02 05:59:00 +0200", true, time.Minute},
		{night, "2026-06-02 06:00:00 +0200", false, 16 * time.Hour},
		// Forward: a night of 23 hours.
		{day, "2026-03-28 20:00:00 +0100", false, 10*time.Hour + 30*time.Minute},
		{night, "2026-03-28 22:00:00 +0100", true, 7 * time.Hour},
		{gap, "2026-03-29 01:59:00 +0100", false, time.Minute}, // 03:00 follows
		{gap, "2026-03-29 03:00:00 +0200", true, 2 * time.Hour},
		// Back: a night of 25 hours.
		{day, "2026-10-24 20:00:00 +0200", false, 12*time.Hour + 30*time.Minute},
		{night, "2026-10-24 22:00:00 +0200", true, 9 * time.Hour},
		{gap, "2026-10-25 02:45:00 +0200", true, 15 * time.Minute}, // 02:00 again
		{gap, "2026-10-25 02:00:00 +0100", false, 30 * time.Minute},
	} {
		now := at(t, c.at)
		if got := c.span.open(now); got != c.open {
			t.Errorf("%v at %s: open %t", c.span, c.at, got)
		}
		if got := c.span.until(now); got != c.until {
			t.Errorf("%v at %s: until %s instead of %s", c.span, c.at, got, c.until)
		}
	}
	// What until says is when it changes, and it does not change before.
	from := at(t, "2026-03-20 00:00:00 +0100")
	rapid.Check(t, func(r *rapid.T) {
		minute := rapid.IntRange(0, 24*60-1)
		p := Span{time.Duration(minute.Draw(r, "from")) * time.Minute, time.Duration(minute.Draw(r, "to")) * time.Minute}
		now := from.Add(time.Duration(rapid.IntRange(0, 250*24*3600).Draw(r, "now")) * time.Second)
		d := p.until(now)
		if p.always() {
			return
		}
		if open := p.open(now); d <= 0 || p.open(now.Add(d)) == open {
			r.Fatalf("%v at %s: no change in %s", p, now, d)
		}
		for m := now.Truncate(time.Minute).Add(time.Minute); m.Before(now.Add(d)); m = m.Add(time.Minute) {
			if p.open(m) != p.open(now) {
				r.Fatalf("%v at %s: it changes at %s already, not in %s", p, now, m, d)
			}
		}
	})
}
