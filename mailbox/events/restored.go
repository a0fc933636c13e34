package events

import "time"

// Restored tells that the records were put back from a backup, or made anew, and
// how many submissions are held for that reason.
func (l *Log) Restored(at time.Time, held int) {
	l.out.Warn("store restored: what the records call unsent is held", "restored", at.UTC().Format(time.RFC3339), "held", held)
}
