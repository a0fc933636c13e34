package events

import (
	"sync"
	"time"
)

// Diary bounds the lines of the log that strangers cause: each has a line of its
// own, up to a number in an interval, and at the interval's end one line counts
// the rest. An interval begins with the first line after the last one. Safe for
// concurrent use.
type Diary struct {
	lines    int
	interval time.Duration
	tell     func(rest map[string]int)

	mu     sync.Mutex // not held while a line is written
	closed bool
	timer  *time.Timer // ends the interval; nil: none has begun
	used   int         // lines of this interval
	rest   map[string]int
}

// NewDiary returns a diary of so many lines in an interval; tell writes the line
// that counts the rest, by kind.
func NewDiary(lines int, interval time.Duration, tell func(rest map[string]int)) *Diary {
	return &Diary{lines: lines, interval: interval, tell: tell}
}

// Line tells whether there is a line left in this interval; else it counts. Of
// kinds there are few: they are words of the program, never a peer's.
func (d *Diary) Line(kind string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer == nil && !d.closed {
		d.timer = time.AfterFunc(d.interval, d.turn)
	}
	if d.used < d.lines {
		d.used++
		return true
	}
	if d.rest == nil {
		d.rest = map[string]int{}
	}
	d.rest[kind]++
	return false
}

// turn ends an interval.
func (d *Diary) turn() {
	d.mu.Lock()
	rest := d.rest
	d.rest, d.used, d.timer = nil, 0, nil
	d.mu.Unlock()
	if len(rest) > 0 {
		d.tell(rest)
	}
}

// Close ends the last interval at once. What comes afterwards, of what was cut,
// has the lines that are left and is not counted.
func (d *Diary) Close() {
	d.mu.Lock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop() // one that runs already finds nothing to tell
	}
	d.mu.Unlock()
	d.turn()
}

// A trouble that lasts is told again after an hour, then after twice that each time, at
// most a day.
const (
	troubleEvery = time.Hour
	troubleMost  = 24 * time.Hour
)

// Trouble is something that fails again and again, as each poll of a provider
// that is down: it is told when it begins, then more and more rarely, and when it
// is over. The zero value is no trouble. One goroutine at a time.
type Trouble struct {
	since, told time.Time
	times       int
	every       time.Duration // until it is told again
}

// Failed counts a failure and tells whether it is to be told: how often it came
// since when.
func (t *Trouble) Failed(now time.Time) (times int, since time.Time, tell bool) {
	if t.times == 0 {
		t.since = now
	}
	t.times++
	if t.times == 1 || now.Sub(t.told) >= t.every || now.Before(t.told) {
		t.told, t.every = now, min(max(2*t.every, troubleEvery), troubleMost)
		return t.times, t.since, true
	}
	return 0, time.Time{}, false
}

// Good ends the trouble, and tells whether there was one.
func (t *Trouble) Good() (times int, since time.Time, was bool) {
	times, since = t.times, t.since
	*t = Trouble{}
	return times, since, times > 0
}
