package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
)

// byDay walks over the days that are asked for.
func (l *messageLog) byDay(ctx context.Context) error {
	if err := l.lookBoxes(ctx); err != nil {
		return err
	}
	w := &messageWalk{boxes: l.boxes, oldest: l.q.Oldest}
	if err := w.begin(l.q.Cursor); err != nil {
		return err
	}
	if err := l.store.View(ctx, func(tx *mailbox.Tx) error { return w.span(tx, l.q.From, l.q.To) }); err != nil {
		return err
	}
	for looked := 0; ; {
		var list []*candidate
		end := false
		err := l.store.View(ctx, func(tx *mailbox.Tx) error {
			for n := 0; n < walkedAtOnce; n++ {
				spot, ok, err := w.next(tx)
				if err != nil {
					return err
				}
				if !ok {
					end = true
					return nil
				}
				looked++
				first, err := tx.ArchivedFirst(spot)
				if err != nil {
					return err
				}
				if !first {
					continue
				}
				c, err := l.candidate(tx, spot.Message)
				if err != nil {
					return err
				}
				if c != nil {
					c.after = w.cursor()
					list = append(list, c)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		switch all, err := l.take(ctx, list); {
		case err != nil:
			return err
		case !all || end:
			return nil // a full page names where the next begins
		case looked >= lookedPerPage:
			l.page.Next = w.cursor()
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// messageWalk goes over the lines of archives: by day, in a day by mailbox, in a
// mailbox by UID; days and UIDs backwards where the newest come first. It looks at a
// month at a time, and keeps the lines of one mailbox and day.
type messageWalk struct {
	boxes  []string
	oldest bool

	first, last mailbox.Day // to look at
	month       mailbox.Day // of days; Day 0
	days        []mailbox.Day
	box         int // of boxes
	loaded      bool
	lines       []mailbox.ArchiveSpot

	// The place behind which it goes on, where a cursor names one.
	from   *mailbox.Day
	behind string
	uid    mailbox.UID

	done struct { // the last line
		day mailbox.Day
		box string
		uid mailbox.UID
	}
}

// cursor names the place behind the last line.
func (w *messageWalk) cursor() string {
	return fmt.Sprintf("%04d%02d%02d.%d.%s", w.done.day.Year, int(w.done.day.Month), w.done.day.Day, w.done.uid, w.done.box)
}

// begin reads a cursor.
func (w *messageWalk) begin(cursor string) error {
	if cursor == "" {
		return nil
	}
	day, rest, _ := strings.Cut(cursor, ".")
	uid, box, ok := strings.Cut(rest, ".")
	at, err := time.Parse("20060102", day)
	var n uint32
	if err == nil {
		_, err = fmt.Sscanf(uid, "%d", &n)
	}
	if err != nil || !ok {
		return refuse("there is no such place in the log: begin without a cursor")
	}
	w.from, w.behind, w.uid = &mailbox.Day{Year: at.Year(), Month: at.Month(), Day: at.Day()}, box, mailbox.UID(n)
	w.done.day, w.done.box, w.done.uid = *w.from, box, w.uid
	return nil
}

// span sets the days to look at: those of the archives that lie in the time.
func (w *messageWalk) span(tx *mailbox.Tx, from, to time.Time) error {
	for _, box := range w.boxes {
		first, last, ok, err := tx.ArchivedSpan(box)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if w.first.Year == 0 || compareDays(first, w.first) < 0 {
			w.first = first
		}
		if compareDays(last, w.last) > 0 {
			w.last = last
		}
	}
	// The day of a submission is that of its bytes, its time that of the submission: a
	// day more on both sides.
	if !from.IsZero() {
		w.first = laterDay(w.first, tx.DayOf(from.AddDate(0, 0, -1)))
	}
	if !to.IsZero() {
		w.last = earlierDay(w.last, tx.DayOf(to.AddDate(0, 0, 1)))
	}
	if w.from != nil {
		if w.oldest {
			w.first = laterDay(w.first, *w.from)
		} else {
			w.last = earlierDay(w.last, *w.from)
		}
	}
	start := w.first
	if !w.oldest {
		start = w.last
	}
	w.month = mailbox.Day{Year: start.Year, Month: start.Month}
	return w.loadMonth(tx)
}

func compareDays(a, b mailbox.Day) int {
	n := func(d mailbox.Day) int { return d.Year*10000 + int(d.Month)*100 + d.Day }
	return n(a) - n(b)
}

func laterDay(a, b mailbox.Day) mailbox.Day {
	if compareDays(a, b) < 0 {
		return b
	}
	return a
}

func earlierDay(a, b mailbox.Day) mailbox.Day {
	if compareDays(a, b) > 0 {
		return b
	}
	return a
}

// loadMonth lists the days of the month that have lines, in the walk's direction.
func (w *messageWalk) loadMonth(tx *mailbox.Tx) error {
	from := laterDay(w.month, w.first)
	to := earlierDay(mailbox.Day{Year: w.month.Year, Month: w.month.Month, Day: 99}, w.last)
	w.days, w.box, w.loaded = nil, 0, false
	if compareDays(from, to) > 0 {
		return nil
	}
	for _, box := range w.boxes {
		days, err := tx.ArchivedDays(box, from, to)
		if err != nil {
			return err
		}
		w.days = append(w.days, days...)
	}
	slices.SortFunc(w.days, func(a, b mailbox.Day) int {
		if w.oldest {
			return compareDays(a, b)
		}
		return compareDays(b, a)
	})
	w.days = slices.Compact(w.days)
	return nil
}

// next returns the next line; ok is false behind the last one.
func (w *messageWalk) next(tx *mailbox.Tx) (spot mailbox.ArchiveSpot, ok bool, err error) {
	for {
		if len(w.lines) > 0 {
			spot, w.lines = w.lines[0], w.lines[1:]
			w.done.day, w.done.box, w.done.uid = w.days[0], w.boxes[w.box], spot.UID
			return spot, true, nil
		}
		if w.loaded {
			w.box, w.loaded = w.box+1, false
		}
		if len(w.days) > 0 && w.box == len(w.boxes) {
			w.days, w.box = w.days[1:], 0
		}
		if len(w.days) == 0 {
			if more, err := w.nextMonth(tx); err != nil || !more {
				return spot, false, err
			}
			continue
		}
		if err := w.loadLines(tx); err != nil {
			return spot, false, err
		}
	}
}

// nextMonth goes on to the next month of the span; more is false behind the last.
func (w *messageWalk) nextMonth(tx *mailbox.Tx) (more bool, err error) {
	by := 1
	if !w.oldest {
		by = -1
	}
	for w.first.Year > 0 {
		t := time.Date(w.month.Year, w.month.Month+time.Month(by), 1, 0, 0, 0, 0, time.UTC)
		w.month = mailbox.Day{Year: t.Year(), Month: t.Month()}
		end := mailbox.Day{Year: w.month.Year, Month: w.month.Month, Day: 99}
		if compareDays(end, w.first) < 0 || compareDays(w.month, w.last) > 0 {
			return false, nil
		}
		if err := w.loadMonth(tx); err != nil || len(w.days) > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// loadLines reads the lines of one mailbox on one day, behind the cursor.
func (w *messageWalk) loadLines(tx *mailbox.Tx) error {
	w.lines, w.loaded = nil, true
	day, box := w.days[0], w.boxes[w.box]
	there := w.from != nil && *w.from == day
	if there && box < w.behind {
		return nil // the page before had them
	}
	after, until := mailbox.UID(0), ^mailbox.UID(0)
	if there && box == w.behind {
		if w.oldest {
			after = w.uid
		} else {
			until = w.uid
		}
	}
	err := tx.ArchivedOn(box, day, after, func(s mailbox.ArchiveSpot) bool {
		if s.UID < until {
			w.lines = append(w.lines, s)
		}
		return s.UID < until
	})
	if !w.oldest {
		slices.Reverse(w.lines)
	}
	return err
}
