package policy

import (
	"fmt"
	"strings"
	"time"
)

// Term is a length of time as policy.yaml writes it: 15d, 36h, 1h30m, 0s. What is not whole days is written in hours.
// It is rounded to the second, but for what is less than one.
func Term(d time.Duration) string {
	var b strings.Builder
	if d < 0 {
		b.WriteByte('-')
		d = -d
	}
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	const day = 24 * time.Hour
	if d > 0 && d%day == 0 {
		fmt.Fprintf(&b, "%dd", d/day)
		return b.String()
	}
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if n := d / u.of; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.of
		}
	}
	if b.Len() == 0 || b.String() == "-" {
		return "0s"
	}
	return b.String()
}
