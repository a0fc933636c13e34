package pec

import (
	"strings"
	"testing"
	"time"
)

// TestJ6_LeapSecondInDaticert: an event in a leap second happened a second before the
// next minute, whatever the zone; seconds above are not read.
func TestJ6_LeapSecondInDaticert(t *testing.T) {
	text := deliveryXML
	at := func(ora string) (*daticert, error) {
		return parseDaticert([]byte(strings.Replace(text, "<ora>09:15:42</ora>", "<ora>"+ora+"</ora>", 1)))
	}
	for ora, want := range map[string]time.Time{
		"09:15:42": time.Date(2026, 7, 3, 7, 15, 42, 0, time.UTC),
		"23:59:60": time.Date(2026, 7, 3, 22, 0, 0, 0, time.UTC),
	} {
		if d, err := at(ora); err != nil || !d.data.Equal(want) {
			t.Errorf("%s: %+v, %v", ora, d, err)
		}
	}
	for _, ora := range []string{"23:59:61", "23:60:00", "24:00:00", "23:60:60"} {
		if _, err := at(ora); err == nil {
			t.Errorf("%s was read", ora)
		}
	}
}
