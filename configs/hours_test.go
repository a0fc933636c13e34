package configs

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for text, want := range map[string]DaySpan{
		"always":      {},
		"07:30-20:00": {7*time.Hour + 30*time.Minute, 20 * time.Hour},
		"22:00-06:05": {22 * time.Hour, 6*time.Hour + 5*time.Minute},
		"00:00-23:59": {0, 24*time.Hour - time.Minute},
	} {
		var s DaySpan
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want || s.String() != text {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "off", "07:30", "7:30-20:00", "07:30-24:00", "07:30-07:30", "off-20:00", "07:30-off", "07:30-20:00-21:00", "07:30 - 20:00", "-"} {
		if err := new(DaySpan).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
