package mailbox

import "time"

// The clock is believed when it was looked at on trustedDays different days, one
// after the other, none further than maxPause from the one before.
const (
	trustedDays = 3
	maxPause    = 48 * time.Hour
)

// EvenClock is what whoever deletes by age remembers of the clock: one that
// jumps must not make things old. It is kept as JSON from call to call.
type EvenClock struct {
	Seen time.Time `json:"seen"` // of the last look
	Days int       `json:"days"` // different days, in a row
}

// Look takes note of the time and tells whether the clock has been seen to go on
// evenly for long enough. It is called at least once a day.
func (c *EvenClock) Look(now time.Time, zone *time.Location) bool {
	since := now.Sub(c.Seen)
	switch {
	case c.Seen.IsZero() || since < 0 || since > maxPause:
		c.Days = 1
	case now.In(zone).Format(time.DateOnly) != c.Seen.In(zone).Format(time.DateOnly):
		c.Days = min(c.Days+1, trustedDays)
	}
	c.Seen = now.UTC()
	return c.Days >= trustedDays
}
