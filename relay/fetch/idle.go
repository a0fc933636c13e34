package fetch

import (
	"context"
	"time"

	"github.com/emersion/go-imap/v2" // commands and answers
	"github.com/emersion/go-imap/v2/imapclient"
)

// idleRound is how long one IDLE lasts. A line that died without a word is
// noticed when it ends, well before the 30 minutes after which servers may hang
// up (RFC 2177).
const idleRound = 9 * time.Minute

// Idle listens to the first of Server.Folders and calls onHint once when it has
// opened the folder, since what came before that is told by nobody, and then when
// something happened there, until ctx ends (its cause is returned) or the
// connection fails. It needs a session of its own. A hint is only a hint: what is there is
// found by New, and a poll must go on beside it. Hints that come while onHint
// runs become one.
func (s *Session) Idle(ctx context.Context, onHint func()) error {
	return s.idle(ctx, idleRound, onHint)
}

func (s *Session) idle(ctx context.Context, round time.Duration, onHint func()) error {
	if !s.c.Caps().Has(imap.CapIdle) {
		return ErrNoIdle
	}
	if _, err := s.examine(ctx, s.srv.Folders[0]); err != nil {
		return err
	}
	onHint()
	for {
		if err := s.idleOnce(ctx, round, onHint); err != nil {
			return err
		}
	}
}

// idleOnce runs one IDLE command from its begin to its OK.
func (s *Session) idleOnce(ctx context.Context, round time.Duration, onHint func()) error {
	var cmd *imapclient.IdleCommand
	err := s.do(ctx, "IDLE", func() (err error) {
		cmd, err = s.c.Idle()
		return err
	})
	if err != nil {
		return err
	}
	timer := time.NewTimer(round)
	defer timer.Stop()
	for waiting := true; waiting; {
		select {
		case <-s.hints:
			onHint()
		case <-timer.C:
			waiting = false
		case <-s.c.Closed():
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	// In order even when ctx has ended, but then not for long.
	end := ctx
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		end, cancel = context.WithTimeout(context.WithoutCancel(ctx), goodbye)
		defer cancel()
	}
	err = s.do(end, "IDLE", func() error {
		if err := cmd.Close(); err != nil {
			return err
		}
		return cmd.Wait()
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// hint remembers that something happened. It never waits: the library calls it
// while it reads.
func (s *Session) hint() {
	select {
	case s.hints <- struct{}{}:
	default:
	}
}
