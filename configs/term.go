package configs

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Date is a calendar day. The zero Date is none.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// UnmarshalText reads YYYY-MM-DD.
func (d *Date) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.DateOnly, string(b))
	if err != nil || t.Year() < 1970 {
		return errors.New("needs a day that exists, like 2027-06-30")
	}
	d.Year, d.Month, d.Day = t.Date()
	return nil
}

// IsZero reports whether there is no date.
func (d Date) IsZero() bool { return d == Date{} }

// Start is the first instant of the day in a time zone; the zero time for no date.
func (d Date) Start(loc *time.Location) time.Time {
	if d.IsZero() {
		return time.Time{}
	}
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, loc)
}

// End is the first instant after the day in a time zone; the zero time for no date.
func (d Date) End(loc *time.Location) time.Time {
	if d.IsZero() {
		return time.Time{}
	}
	return time.Date(d.Year, d.Month, d.Day+1, 0, 0, 0, 0, loc)
}

// String is YYYY-MM-DD, or empty.
func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day)
}

// Span is a number of days or of months, written 90d, 12w, 3 months, 1 year.
type Span struct{ Days, Months int }

// UnmarshalText reads a span of at most ten years.
func (s *Span) UnmarshalText(b []byte) error {
	bad := errors.New("needs 90d, 12w, 3 months or 1 year, at most 10 years")
	text := string(b)
	end := len(text) - len(strings.TrimLeft(text, "0123456789"))
	n, err := wholeNumber(text[:end])
	if err != nil || n < 1 || n > 3652 {
		return bad
	}
	var out Span
	switch strings.TrimPrefix(text[end:], " ") {
	case "d", "day", "days":
		out.Days = int(n)
	case "w", "week", "weeks":
		out.Days = 7 * int(n)
	case "month", "months":
		out.Months = int(n)
	case "year", "years":
		out.Months = 12 * int(n)
	default:
		return bad
	}
	if out.Days > 3652 || out.Months > 120 {
		return bad
	}
	*s = out
	return nil
}

// Last is the last day of a span whose first day is d: 90 days are 90 days with both of them; three months from 10 January
// end with 9 April, and one month from 31 January with the last day of February.
func (s Span) Last(d Date) Date {
	var t time.Time
	if s.Months > 0 {
		first := time.Date(d.Year, d.Month+time.Month(s.Months), 1, 0, 0, 0, 0, time.UTC)
		t = first.AddDate(0, 0, d.Day-2) // the day before the same day
		if over := first.AddDate(0, 1, -1); t.After(over) {
			t = over
		}
	} else {
		t = time.Date(d.Year, d.Month, d.Day+s.Days-1, 0, 0, 0, 0, time.UTC)
	}
	var out Date
	out.Year, out.Month, out.Day = t.Date()
	return out
}

// Term is when a line holds: until the end of a day, or for a span from a day on. The zero Term is always.
type Term struct {
	Last Date `yaml:"-"` // the last day; of a term it is reckoned when the line is checked
	// The first day. Required in a term.
	From Date `yaml:"from"`
	// How long, the first day counted. Required in a term.
	For Span `yaml:"for"`
}

// UnmarshalText reads a last day.
func (t *Term) UnmarshalText(b []byte) error {
	*t = Term{}
	return t.Last.UnmarshalText(b)
}

// IsZero reports whether the term is always.
func (t Term) IsZero() bool { return t == Term{} }

// Begin is the first instant of the term; the zero time where it has none.
func (t Term) Begin(loc *time.Location) time.Time { return t.From.Start(loc) }

// End is the first instant after the term; the zero time where it has none.
func (t Term) End(loc *time.Location) time.Time { return t.Last.End(loc) }

// String is the last day, or empty.
func (t Term) String() string { return t.Last.String() }
