package configs

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// DaySpan is a part of each day, by the clock on the wall: from its first minute to before
// its last, over midnight where the last comes first. The zero value is all day.
type DaySpan struct {
	From, To time.Duration // since midnight
}

// UnmarshalText reads `always` or HH:MM-HH:MM.
func (s *DaySpan) UnmarshalText(b []byte) error {
	if string(b) == "always" {
		*s = DaySpan{}
		return nil
	}
	bad := errors.New("needs always or two times of the day in quotes, like \"07:30-20:00\"")
	from, to, ok := strings.Cut(string(b), "-")
	var first, last Hour
	if !ok || first.UnmarshalText([]byte(from)) != nil || last.UnmarshalText([]byte(to)) != nil || !first.Set || !last.Set {
		return bad
	}
	if first.At == last.At {
		return errors.New("begins when it ends: for the whole day write always")
	}
	*s = DaySpan{first.At, last.At}
	return nil
}

// String is the span as it is written.
func (s DaySpan) String() string {
	if s == (DaySpan{}) {
		return "always"
	}
	at := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute) }
	return at(s.From) + "-" + at(s.To)
}
