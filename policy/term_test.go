package policy

import (
	"testing"
	"time"
)

func TestTerm(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"15d": 360 * time.Hour, "36h": 36 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute, "15m": 15*time.Minute + 7*time.Millisecond,
		"1m1s": 61 * time.Second, "500ms": 500 * time.Millisecond, "0s": 0, "-2h": -2 * time.Hour,
	} {
		if got := Term(d); got != want {
			t.Errorf("%s is written %s, wanted %s", d, got, want)
		}
	}
}
