package relay

import (
	"context"
	"errors"
	"time"

	"pecgate/mailbox"
)

// How long something has been tried is not told by the clock: it may jump by a
// year, and the gateway may have stood still. It is told by how long the gateway
// has run: a record to which each look adds what has passed since the look before,
// at most runMost. A submission keeps how far that was when its trying began. So a
// jump, a stop or a night without power makes nothing expire (J1 to J3), and a
// clock that is put back stops nothing.

const (
	runEvery = 5 * time.Minute  // between two looks
	runMost  = 10 * time.Minute // counts at most between two looks
	runKey   = "clock"
)

// runClock is how long the gateway has run on this store.
type runClock struct {
	Ran  time.Duration `json:"ran"`
	Seen time.Time     `json:"seen"` // of the last look
}

// hasRun returns how long the gateway has run.
func hasRun(tx *mailbox.Tx) (time.Duration, error) {
	var c runClock
	if err := tx.Space(room).Get(runKey, &c); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return 0, err
	}
	return c.Ran, nil
}

// tick looks at the clock. Several services on one store add no more than one does.
func (s *Service) tick(ctx context.Context) error {
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		var c runClock
		if err := tx.Space(room).Get(runKey, &c); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return err
		}
		now := tx.Now().UTC()
		if !c.Seen.IsZero() {
			c.Ran += min(max(now.Sub(c.Seen), 0), runMost)
		}
		c.Seen = now
		return tx.Space(room).Put(runKey, c)
	})
}

// ticks looks at the clock until ctx ends.
func (s *Service) ticks(ctx context.Context) {
	for {
		if err := s.tick(ctx); err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("clock", "", err)
		}
		if !pause(ctx, runEvery) {
			return
		}
	}
}

// begins notes that the time of trying begins now.
func (s *Submission) begins(tx *mailbox.Tx) (err error) {
	s.Began, err = hasRun(tx)
	s.LateTold = false
	return err
}

// triedFor is how long a submission has been tried.
func (s *Service) triedFor(ctx context.Context, sub *Submission) (d time.Duration, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		ran, err := hasRun(tx)
		d = max(0, ran-sub.Began)
		return err
	})
	return d, err
}
