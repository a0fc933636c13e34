package relay

import (
	"context"
	"errors"
	"time"

	"pecgate/mailbox"
)

// How long something has been tried, or waited for, is not told by the clock: it
// may jump by a year, and the gateway may have stood still. It is told by how long the gateway
// has run: a record to which each look adds what has passed since the look before,
// at most runMost. A submission keeps how far that was when its trying began, a
// watchdog when its wait did. So a
// jump, a stop or a night without power makes nothing expire (J1 to J3), and a
// clock that is put back stops nothing.

const (
	runEvery = time.Minute      // between two looks
	runMost  = 10 * time.Minute // counts at most between two looks
	runKey   = "clock"

	// A clock that goes back, or on by more than doubtAfter in one step, is believed
	// again doubtFor later. While it is in doubt no date is called near.
	doubtBack, doubtAfter, doubtFor = time.Hour, 48 * time.Hour, 72 * time.Hour
)

// runClock is how long the gateway has run on this store.
type runClock struct {
	Ran   time.Duration `json:"ran"`             // all starts together
	Seen  time.Time     `json:"seen"`            // by the clock, at the last look
	Doubt time.Duration `json:"doubt,omitempty"` // the clock is not believed before Ran is this
}

// look takes note of the time.
func (c *runClock) look(now time.Time) {
	passed := now.Sub(c.Seen)
	if !c.Seen.IsZero() {
		c.Ran += min(max(passed, 0), runMost)
		if passed < -doubtBack || passed > doubtAfter {
			c.Doubt = c.Ran + doubtFor
		}
	}
	c.Seen = now.UTC()
}

// believed tells whether dates may be compared with the clock.
func (c *runClock) believed() bool { return c.Ran >= c.Doubt }

func readRunClock(tx *mailbox.Tx) (c runClock, err error) {
	err = tx.Space(room).Get(runKey, &c)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return c, err
}

// hasRun returns how long the gateway has run.
func hasRun(tx *mailbox.Tx) (time.Duration, error) {
	c, err := readRunClock(tx)
	return c.Ran, err
}

// tick looks at the clock. Several services on one store add no more than one does.
func (s *Service) tick(ctx context.Context) (c runClock, err error) {
	err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) (err error) {
		if c, err = readRunClock(tx); err != nil {
			return err
		}
		c.look(tx.Now())
		return tx.Space(room).Put(runKey, c)
	})
	return c, err
}

// begins notes that the time of trying begins now.
func (s *Submission) begins(tx *mailbox.Tx) (err error) {
	s.Began, err = hasRun(tx)
	o, err2 := outageOf(tx, s.Box)
	s.Away, s.LateTold = o.until(s.Began), false
	return errors.Join(err, err2)
}

// triedFor is how long a submission has been tried, without the time in which its
// provider could not be reached.
func (s *Service) triedFor(ctx context.Context, sub *Submission) (d time.Duration, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		ran, err := hasRun(tx)
		o, err2 := outageOf(tx, sub.Box)
		d = max(0, ran-sub.Began-max(0, o.until(ran)-sub.Away))
		return errors.Join(err, err2)
	})
	return d, err
}
