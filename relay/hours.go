package relay

import (
	"context"
	"time"

	"pecgate/mailbox"
)

// The hours of a mailbox (policy.yaml: hours): outside those of sending nothing that
// is queued is handed over, outside those of receiving the provider is not asked and
// nobody listens to it. What cannot wait goes on at any hour: an uncertain hand-over is
// looked for and decided, for hurryHours after something was sent its receipts are
// fetched, what a person sends (queue retry) leaves, and an acceptance that has not come by then is looked for once in rareLook. The
// watch for a mailbox that is not fetched stands still meanwhile.

// Span is a part of each day, from its first minute to before its last, by the clock
// on the wall; with To before From it goes over midnight. The zero value is all day.
type Span struct {
	From, To time.Duration // since midnight, whole minutes
}

// Hours say when a mailbox works.
type Hours struct {
	Receive, Send Span
}

// hurryHours is how long receipts are fetched at any hour after something was sent.
const hurryHours = time.Hour

// rareLook is how often an acceptance is looked for outside the hours after that.
const rareLook = 30 * time.Minute

// always tells whether there is no other part of the day.
func (p Span) always() bool { return p.From == p.To }

// open tells whether a time of a zone is within the span. On a day on which an hour
// is missing or there twice it is the clock on the wall that counts.
func (p Span) open(t time.Time) bool {
	at := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	switch {
	case p.always():
		return true
	case p.From < p.To:
		return at >= p.From && at < p.To
	}
	return at >= p.From || at < p.To
}

// until returns how long it takes until the span begins, where it is not open, or
// ends, where it is; 0: it does neither.
func (p Span) until(t time.Time) time.Duration {
	if p.always() {
		return 0
	}
	// By the minute: a day may have 23 or 25 hours.
	open := p.open(t)
	for at := t.Truncate(time.Minute); ; at = at.Add(time.Minute) {
		if d := at.Sub(t); d > 0 && (p.open(at) != open || d > 26*time.Hour) {
			return d
		}
	}
}

// openFor is for how long the span was open between two times.
func (p Span) openFor(from, to time.Time) (d time.Duration) {
	if p.always() {
		return to.Sub(from)
	}
	for at := from; at.Before(to); {
		end := at.Add(p.until(at))
		if end.After(to) {
			end = to
		}
		if p.open(at) {
			d += end.Sub(at)
		}
		at = end
	}
	return d
}

// now is the time by which the hours go.
func (s *Service) now() time.Time { return s.opt.Store.Now().In(s.opt.Location) }

// sendsIn is how long nothing is handed over because of the hours; 0: it is.
func (s *Service) sendsIn(a Account) time.Duration {
	if now := s.now(); !a.Hours.Send.open(now) {
		return a.Hours.Send.until(now)
	}
	return 0
}

const anyHoursText = ", outside the hours of its mailbox"

// anyHours has a submission that a person sends now leave outside the hours of its
// mailbox, and returns what its story says of that.
func (s *Service) anyHours(sub *Submission) string {
	if s.sendsIn(s.account(sub.Box)) == 0 {
		return ""
	}
	sub.AnyHours = true
	return anyHoursText
}

// mayLeave returns *errPace where the hours of its mailbox hold a submission back.
func (s *Service) mayLeave(sub *Submission) error {
	wait := s.sendsIn(s.account(sub.Box))
	switch {
	case wait == 0:
		sub.AnyHours = false // of a batch: it is used up
	case !sub.AnyHours:
		return &errPace{wait: wait, shut: true}
	}
	return nil
}

// receivesIn is how long the provider is not asked because of the hours; 0: it is.
// sent is when something was sent last, by the store's time.
func (s *Service) receivesIn(ctx context.Context, w *worker, sent time.Time) time.Duration {
	now := s.now()
	if w.acc.Hours.Receive.open(now) {
		return 0
	}
	if d := now.Sub(sent); !sent.IsZero() && d >= 0 && d < hurryHours {
		return 0
	}
	if all, err := s.seeking(ctx, w.acc.Box); err != nil || len(all) > 0 {
		return 0
	}
	return w.acc.Hours.Receive.until(now)
}

// sentLast is when something was sent last of which receipts are still to come; zero:
// nothing. A restart must not forget it.
func (s *Service) sentLast(ctx context.Context, w *worker) (last time.Time) {
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		last = time.Time{}
		return scanExpected(tx, w.acc.Box, func(e expected) bool {
			if e.At.After(last) && !e.At.After(tx.Now()) {
				last = e.At
			}
			return true
		})
	})
	if err != nil && ctx.Err() == nil {
		s.opt.Events.Fault("fetch", w.acc.Box, err)
	}
	return last
}

// looksRarely tells whether the provider is asked outside the hours, since an acceptance
// has not come and the last round is a while ago.
func (s *Service) looksRarely(ctx context.Context, w *worker, last time.Time) (awaited bool) {
	now := s.opt.Store.Now()
	if d := now.Sub(last); !last.IsZero() && d >= 0 && d < rareLook {
		return false
	}
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		awaited = false
		return scanExpected(tx, w.acc.Box, func(e expected) bool {
			awaited = e.Acceptance && now.Sub(e.At) < expectFor
			return !awaited
		})
	})
	if err != nil && ctx.Err() == nil {
		s.opt.Events.Fault("fetch", w.acc.Box, err)
	}
	return awaited
}

// openedLately tells whether the hours of sending began less than d ago.
func (s *Service) openedLately(a Account, d time.Duration) bool {
	now := s.now()
	return a.Hours.Send.open(now) && !a.Hours.Send.open(now.Add(-d))
}

// beginsNow begins the time of trying of what waited for the hours of its mailbox.
func (s *Service) beginsNow(tx *mailbox.Tx, sub *Submission) error {
	if sub.Attempts > 0 || s.account(sub.Box).Hours.Send.always() {
		return nil
	}
	return sub.begins(tx)
}

func (w *worker) setShut(shut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut = shut
}

func (w *worker) isShut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shut
}
