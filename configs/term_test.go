package configs

import (
	"testing"
	"time"
)

// The last day of a term, the first day counted.
func TestSpanLast(t *testing.T) {
	for _, c := range []struct{ from, span, last string }{
		{"2027-01-01", "1d", "2027-01-01"}, {"2027-01-01", "90d", "2027-03-31"}, {"2027-01-01", "90 days", "2027-03-31"},
		{"2027-01-01", "2w", "2027-01-14"}, {"2027-01-10", "3 months", "2027-04-09"}, {"2027-01-01", "12 months", "2027-12-31"},
		{"2027-01-01", "1 year", "2027-12-31"}, {"2028-02-29", "1 year", "2029-02-28"}, {"2027-01-31", "1 month", "2027-02-28"},
		{"2027-01-31", "1month", "2027-02-28"}, {"2027-12-31", "2 months", "2028-02-29"}, {"2027-03-01", "1 month", "2027-03-31"},
		{"2027-08-31", "6 months", "2028-02-29"}, {"2027-01-30", "10 years", "2037-01-29"},
	} {
		var from, last Date
		var span Span
		for _, err := range []error{from.UnmarshalText([]byte(c.from)), last.UnmarshalText([]byte(c.last)), span.UnmarshalText([]byte(c.span))} {
			if err != nil {
				t.Fatal(c, err)
			}
		}
		if got := span.Last(from); got != last {
			t.Errorf("%s from %s ends with %s, want %s", c.span, c.from, got, c.last)
		}
	}
	for _, text := range []string{"", "d", "90", "0d", "-1d", "1.5d", "090d", "90D", "4000d", "600w", "121 months", "11 years", "3 m", "1h",
		"90  days", " 90d", "90d ", "99999999999999999999d", "1 year 3 months"} {
		var s Span
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %+v", text, s)
		}
	}
}

// A term begins and ends with days of the time zone, also where the clocks change.
func TestTermBounds(t *testing.T) {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	term := Term{From: Date{2027, 3, 28}, For: Span{Days: 1}, Last: Date{2027, 3, 28}}
	if d := term.End(rome).Sub(term.Begin(rome)); d != 23*time.Hour {
		t.Errorf("the day is %s long", d)
	}
	if !(Term{}).Begin(rome).IsZero() || !(Term{}).End(rome).IsZero() || !(Term{}).IsZero() || term.IsZero() || term.String() != "2027-03-28" {
		t.Error("terms")
	}
}
