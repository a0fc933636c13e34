package autoconfig

import (
	"sync"
	"time"

	"pecgate/mailbox/events"
)

// Bounds of the log. Whoever reaches the port may ask as often as they like, and
// the log has a place on disk that mail needs too.
const (
	interval = time.Minute
	maxLines = 20 // in an interval: an office that sets up its programs is told in full
)

// diary writes what was asked into the log: a line each, up to maxLines in an
// interval, and at the interval's end one line with the numbers of the rest. An
// interval begins with the first request after the last one. Safe for concurrent
// use.
type diary struct {
	events *events.Log

	mu     sync.Mutex // not held while a line is written
	closed bool
	timer  *time.Timer // ends the interval; nil: none has begun
	lines  int         // in this interval
	rest   rest
}

// rest counts what has no line of its own.
type rest struct{ served, refused, faults int }

// asked notes a request.
func (d *diary) asked(a answer) {
	count := func(r *rest) { r.refused++ }
	if a.status < 400 {
		count = func(r *rest) { r.served++ }
	}
	if d.line(count) {
		d.events.AutoconfigAsked(orNone(a.format), a.domain, a.status)
	}
}

// fault notes an error of ours. A stranger may be its cause.
func (d *diary) fault(err error) {
	if d.line(func(r *rest) { r.faults++ }) {
		d.events.Fault("autoconfig", "", err)
	}
}

// line tells whether there is a line left in this interval; else it counts.
func (d *diary) line(count func(*rest)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer == nil && !d.closed {
		d.timer = time.AfterFunc(interval, d.turn)
	}
	if d.lines < maxLines {
		d.lines++
		return true
	}
	count(&d.rest)
	return false
}

// turn ends an interval.
func (d *diary) turn() {
	d.mu.Lock()
	r := d.rest
	d.rest, d.lines, d.timer = rest{}, 0, nil
	d.mu.Unlock()
	if r != (rest{}) {
		d.events.AutoconfigMore(r.served, r.refused, r.faults)
	}
}

// close ends the last interval at once. What is noted afterwards, by requests
// that were cut, has the lines that are left and is not counted.
func (d *diary) close() {
	d.mu.Lock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop() // one that runs already finds nothing to tell
	}
	d.mu.Unlock()
	d.turn()
}
