package autoconfig

import (
	"time"

	"pecgate/mailbox/events"
)

// Bounds of the log. Whoever reaches the port may ask as often as they like, and
// the log has a place on disk that mail needs too.
const (
	interval = time.Minute
	maxLines = 20 // in an interval: an office that sets up its programs is told in full
)

// diary writes what was asked into the log.
type diary struct {
	events *events.Log
	lines  *events.Diary
}

func newDiary(ev *events.Log) *diary {
	return &diary{events: ev, lines: events.NewDiary(maxLines, interval, func(rest map[string]int) {
		ev.AutoconfigMore(rest["served"], rest["refused"], rest["fault"])
	})}
}

// asked notes a request.
func (d *diary) asked(a answer) {
	kind := "refused"
	if a.status < 400 {
		kind = "served"
	}
	if d.lines.Line(kind) {
		d.events.AutoconfigAsked(orNone(a.format), a.domain, a.status)
	}
}

// fault notes an error of ours. A stranger may be its cause.
func (d *diary) fault(err error) {
	if d.lines.Line("fault") {
		d.events.Fault("autoconfig", "", err)
	}
}
