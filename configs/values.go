package configs

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of octets, written with its unit: kB, MB, GB, TB are powers of 1000; KiB, MiB, GiB, TiB of 1024; B.
type Size int64

var sizeUnits = []struct {
	unit   string
	factor int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(b []byte) error {
	text := string(b)
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(text, u.unit)
		if !ok {
			continue
		}
		n, err := wholeNumber(strings.TrimSuffix(digits, " "))
		if err != nil || n > math.MaxInt64/u.factor {
			break
		}
		*s = Size(n * u.factor)
		return nil
	}
	return errors.New("needs a size with its unit, like 30MB or 100MiB")
}

// String writes the size with the largest unit that divides it.
func (s Size) String() string {
	best, factor := "B", int64(1)
	for _, u := range sizeUnits {
		if s != 0 && u.factor > factor && int64(s)%u.factor == 0 {
			best, factor = u.unit, u.factor
		}
	}
	return strconv.FormatInt(int64(s)/factor, 10) + best
}

// wholeNumber reads plain decimal digits: no sign, no leading zero, nothing else that YAML or Go would take for a number.
func wholeNumber(s string) (int64, error) {
	if s == "" || len(s) > 18 || len(s) > 1 && s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, errors.New("needs a whole number in plain digits")
	}
	return strconv.ParseInt(s, 10, 64)
}

// parseDuration reads whole numbers with units d, h, m, s, ms, the larger first: 90s, 1h30m, 15d.
func parseDuration(text string) (time.Duration, error) {
	bad := errors.New("needs a time with its unit, like 60s, 15m, 1h30m or 2d")
	units := []struct {
		unit string
		each time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}
	var sum time.Duration
	rest, next := text, 0
	for rest != "" {
		end := 0
		for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
			end++
		}
		stop := end
		for stop < len(rest) && 'a' <= rest[stop] && rest[stop] <= 'z' {
			stop++
		}
		n, err := wholeNumber(rest[:end])
		if err != nil {
			return 0, bad
		}
		found := false
		for ; next < len(units) && !found; next++ {
			if units[next].unit == rest[end:stop] {
				found = true
				if n > int64((math.MaxInt64-sum)/units[next].each) {
					return 0, bad
				}
				sum += time.Duration(n) * units[next].each
			}
		}
		if !found {
			return 0, bad
		}
		rest = rest[stop:]
	}
	if text == "" {
		return 0, bad
	}
	return sum, nil
}

// parseAge reads an age: whole days (15d) or hours (12h), more than none.
func parseAge(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err != nil || d <= 0 || d%time.Hour != 0 || strings.Trim(text, "0123456789dh") != "" {
		return 0, errors.New("age")
	}
	return d, nil
}

// Retention is how long our own copy is kept.
type Retention struct {
	Forever bool
	After   time.Duration // age at which it may go, where not Forever
}

// UnmarshalText reads `forever` or an age.
func (r *Retention) UnmarshalText(b []byte) error {
	if string(b) == "forever" {
		*r = Retention{Forever: true}
		return nil
	}
	d, err := parseAge(string(b))
	if err != nil {
		return errors.New("needs forever or an age, like 3650d")
	}
	*r = Retention{After: d}
	return nil
}

// CopyRule is what becomes of the provider's copy.
type CopyRule struct {
	Mode  string        // keep, delete, after
	After time.Duration // age since our verified copy, with mode after
}

// UnmarshalText reads `keep`, `delete` or an age.
func (c *CopyRule) UnmarshalText(b []byte) error {
	switch s := string(b); s {
	case "keep", "delete":
		*c = CopyRule{Mode: s}
		return nil
	default:
		d, err := parseAge(s)
		if err != nil {
			return errors.New("needs keep, delete or an age, like 15d")
		}
		*c = CopyRule{Mode: "after", After: d}
		return nil
	}
}

// Patience is how long something may be missing before it is told; 0: it is never told.
type Patience time.Duration

// UnmarshalText reads `off` or a time.
func (p *Patience) UnmarshalText(b []byte) error {
	if s := string(b); s == "off" || s == "0" {
		*p = 0
		return nil
	}
	d, err := parseDuration(string(b))
	if err != nil || d <= 0 {
		return errors.New("needs off or a time with its unit, like 30m, 12h or 3d")
	}
	*p = Patience(d)
	return nil
}

// Hour is a time of the day.
type Hour struct {
	Set bool          // false: off
	At  time.Duration // since midnight
}

// UnmarshalText reads `off` or HH:MM.
func (h *Hour) UnmarshalText(b []byte) error {
	if string(b) == "off" {
		*h = Hour{}
		return nil
	}
	t, err := time.Parse("15:04", string(b))
	if err != nil || len(b) != len("15:04") {
		return errors.New("needs off or a time of the day in quotes, like \"07:30\"")
	}
	*h = Hour{Set: true, At: time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute}
	return nil
}
