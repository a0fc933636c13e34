package gateway

import (
	"context"
	"errors"
	"strconv"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/events"
)

const (
	// sumUp is how long the same deed of the same person from the same address is
	// only counted after its line was written.
	sumUp = time.Minute
	// trailQueue is how many deeds may wait for the log.
	trailQueue = 1024
	// trailKinds bounds the different deeds that are told apart in a period.
	trailKinds = 4096
	// trailStrangers bounds those among them that strangers bring about; what is
	// beyond it is summed without names, so that nobody fills the log.
	trailStrangers = 256
	// trailWait bounds one writing. A store that hangs must not hold up the end.
	trailWait = 5 * time.Second
	// trailBatch is how many lines one transaction writes: three keys each.
	trailBatch = 100
)

// trail writes what people do into the audit log without holding them up: the
// first deed of a kind at once, those like it within the next minute as one
// line with their number. One goroutine owns it; close ends that and writes
// what is left.
//
// What the log cannot take (the floor of the disk included, below which nothing
// new is written) is told by a line of the events.
type trail struct {
	store  *mailbox.Store
	events *events.Log
	now    func() time.Time

	deeds chan events.Deed
	stop  chan struct{}
	ended chan struct{}

	// The goroutine's own.
	period    time.Time // its begin: when the first kind was met
	kinds     map[events.Deed]*times
	strangers int
}

// times is how often a deed was met beyond its line, and when.
type times struct {
	n           int
	first, last time.Time
}

func newTrail(store *mailbox.Store, ev *events.Log) *trail {
	return &trail{
		store: store, events: ev, now: time.Now, kinds: map[events.Deed]*times{},
		deeds: make(chan events.Deed, trailQueue), stop: make(chan struct{}), ended: make(chan struct{}),
	}
}

// take gives a deed to the trail and never waits.
func (t *trail) take(d events.Deed) {
	select {
	case t.deeds <- d:
	default:
		t.unaudited(d, 1, errTrailFull)
	}
}

var errTrailFull = errors.New("gateway: more happens than the audit log can take")

func (t *trail) run() {
	defer close(t.ended)
	tick := time.NewTicker(sumUp / 4)
	defer tick.Stop()
	for {
		select {
		case d := <-t.deeds:
			t.write(t.met(d, nil))
		case <-tick.C:
			t.write(t.sums(false))
		case <-t.stop:
			t.write(t.sums(true))
			return
		}
	}
}

// close writes what is left and ends the goroutine. Deeds of later are lost, so
// what logs them has ended before.
func (t *trail) close() {
	close(t.stop)
	<-t.ended
}

// line is a line to be written.
type line struct {
	deed events.Deed
	times
	summed bool // written when the period was over
}

// met counts a deed and those that wait behind it, and appends the lines that
// are to be written now.
func (t *trail) met(d events.Deed, lines []line) []line {
	lines = append(lines, t.sums(false)...)
	for {
		if l, ok := t.count(d); ok {
			lines = append(lines, l)
		}
		if len(lines) >= trailBatch {
			return lines
		}
		select {
		case d = <-t.deeds:
		default:
			return lines
		}
	}
}

// count tells whether a deed is the first of its kind, which gets its line.
func (t *trail) count(d events.Deed) (line, bool) {
	now := t.now()
	if len(t.kinds) == 0 {
		t.period = now
	}
	known := t.kinds[d]
	if known == nil && (d.Much && t.strangers >= trailStrangers || len(t.kinds) >= trailKinds) {
		d = events.Deed{Event: d.Event, Result: d.Result, Reason: "many", Much: d.Much}
		known = t.kinds[d]
	}
	if known == nil {
		if d.Much {
			t.strangers++
		}
		t.kinds[d] = new(times)
		return line{d, times{1, now, now}, false}, true
	}
	if known.n++; known.n == 1 {
		known.first = now
	}
	known.last = now
	return line{}, false
}

// sums ends the period, once it is over or when told to, and gives the lines of
// what was counted in it.
func (t *trail) sums(end bool) []line {
	var lines []line
	for end && len(t.deeds) > 0 {
		if l, ok := t.count(<-t.deeds); ok {
			lines = append(lines, l)
		}
	}
	if len(t.kinds) == 0 || !end && t.now().Sub(t.period) < sumUp {
		return lines
	}
	for d, n := range t.kinds {
		if n.n > 0 {
			lines = append(lines, line{d, *n, true})
		}
	}
	clear(t.kinds)
	t.strangers = 0
	return lines
}

// write makes lines durable, or says why not.
func (t *trail) write(lines []line) {
	for len(lines) > 0 {
		part := lines[:min(len(lines), trailBatch)]
		lines = lines[len(part):]
		err := t.store.Room()
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), trailWait)
			err = t.store.Update(ctx, func(tx *mailbox.Tx) error {
				for _, l := range part {
					if err := tx.Audit(l.audit()); err != nil {
						return err
					}
				}
				return nil
			})
			cancel()
		}
		if err != nil {
			for _, l := range part {
				t.unaudited(l.deed, l.n, err)
			}
		}
	}
}

func (t *trail) unaudited(d events.Deed, times int, err error) {
	t.events.Unaudited(d.Event, d.Login, d.Mailbox, d.From, d.Result, d.Reason, times, err)
}

func (l line) audit() mailbox.AuditLine {
	more := map[string]string{}
	if l.summed {
		more["count"] = strconv.Itoa(l.n)
		more["first"], more["last"] = l.first.UTC().Format(time.RFC3339), l.last.UTC().Format(time.RFC3339)
	}
	if l.deed.Where != "" {
		more["where"] = l.deed.Where
	}
	if l.deed.Code != 0 {
		more["code"] = strconv.Itoa(l.deed.Code)
	}
	return mailbox.AuditLine{
		Actor: l.deed.Login, Event: l.deed.Event, Box: l.deed.Mailbox, Result: l.deed.Result, Reason: l.deed.Reason,
		From: l.deed.From, More: more,
	}
}
