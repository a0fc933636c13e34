package mime

import (
	"strconv"
	"strings"
	"time"
)

// ParseDate reads the value of a Date field (RFC 5322 section 3.3, with the
// obsolete forms of 4.3): "Tue, 7 Jan 2025 09:15:42 +0100 (CET)". The zero time
// stands for what cannot be read. Done by hand, since net/mail is not for what
// strangers send.
func ParseDate(s string) time.Time {
	if len(s) > 200 {
		return time.Time{}
	}
	s = stripComments(s)
	if i := strings.IndexByte(s, ','); i >= 0 {
		s = s[i+1:]
	}
	w := strings.Fields(strings.ReplaceAll(s, "-", " -"))
	// "7-Jan-2025" is seen too: the dashes were given a space before them.
	for i := 0; i < len(w) && i < 3; i++ {
		w[i] = strings.TrimPrefix(w[i], "-")
	}
	if len(w) > 0 && !digits(w[0]) {
		w = w[1:] // name of the day without comma
	}
	if len(w) < 4 {
		return time.Time{}
	}
	day, err1 := strconv.Atoi(w[0])
	year, err2 := strconv.Atoi(w[2])
	month := monthOf(w[1])
	if err1 != nil || err2 != nil || month == 0 || day < 1 || day > 31 || year < 0 || year > 9999 {
		return time.Time{}
	}
	switch {
	case year < 50:
		year += 2000
	case year < 1000:
		year += 1900
	}
	clock := strings.Split(w[3], ":")
	if len(clock) < 2 || len(clock) > 3 {
		return time.Time{}
	}
	var hms [3]int
	for i, c := range clock {
		n, err := strconv.Atoi(c)
		if err != nil || n < 0 || n > 60 {
			return time.Time{}
		}
		hms[i] = n
	}
	if hms[0] > 23 || hms[1] > 59 {
		return time.Time{}
	}
	zone := ""
	if len(w) > 4 {
		zone = w[4]
	}
	offset := zoneOffset(zone)
	return time.Date(year, month, day, hms[0], hms[1], hms[2], 0, time.FixedZone("", offset))
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func monthOf(s string) time.Month {
	if len(s) < 3 {
		return 0
	}
	i := strings.Index("janfebmaraprmayjunjulaugsepoctnovdec", strings.ToLower(s[:3]))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return time.Month(i/3 + 1)
}

// zoneOffset gives seconds east of Greenwich; unknown names are zero (RFC 5322
// section 4.3).
func zoneOffset(z string) int {
	if len(z) == 5 && (z[0] == '+' || z[0] == '-') && digits(z[1:]) {
		n, _ := strconv.Atoi(z[1:])
		sec := (n/100*60 + n%100) * 60
		if z[0] == '-' {
			sec = -sec
		}
		return sec
	}
	switch strings.ToUpper(z) {
	case "EDT":
		return -4 * 3600
	case "EST", "CDT":
		return -5 * 3600
	case "CST", "MDT":
		return -6 * 3600
	case "MST", "PDT":
		return -7 * 3600
	case "PST":
		return -8 * 3600
	case "CET", "MET":
		return 3600
	case "CEST":
		return 2 * 3600
	}
	return 0
}

// stripComments drops parenthesised comments outside quoted strings (RFC 5322
// section 3.2.2), nested ones with them, and leaves a space in their place. An
// unclosed one runs to the end.
func stripComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && (quoted || depth > 0) && i+1 < len(s):
			if depth == 0 {
				b.WriteString(s[i : i+2])
			}
			i++
			continue
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			depth++
			continue
		case c == ')' && depth > 0:
			if depth--; depth == 0 {
				b.WriteByte(' ')
			}
			continue
		}
		if depth == 0 {
			b.WriteByte(c)
		}
	}
	return b.String()
}
