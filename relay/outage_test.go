package relay

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// TestExpiryDoesNotCountAnOutage: a provider that was away for longer than a message is
// tried, and then puts it off, has as long to take it as any other.
func TestExpiryDoesNotCountAnOutage(t *testing.T) {
	x := newTimed(t)
	x.s.opt.Schedule.GiveUp = 10 * time.Hour
	id := queued(t, x.store, testBox, 1)[0]
	x.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, id)
		return errors.Join(err, s.begins(tx), save(tx, s, nil))
	})
	away := submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: io.ErrUnexpectedEOF}
	putOff := submit.Result{Class: submit.Temporary, Stage: submit.StageRcpt, Code: 450, Enhanced: "4.2.0", Text: "greylisted", Err: errors.New("450")}
	for _, step := range []struct {
		r     submit.Result
		hours int
		state State
	}{{away, 12, Queued}, {putOff, 4, Queued}, {away, 6, Queued}, {putOff, 4, Queued}, {putOff, 4, NotAccepted}} {
		x.s.handOver = func(context.Context, submit.Server, string, []string, submit.Body, submit.Hooks) submit.Result {
			return step.r
		}
		x.works(time.Duration(step.hours) * time.Hour)
		if s := stored(t, x.store, id); s.State != step.state {
			t.Fatalf("after %d hours of %q it is %s (%s)", step.hours, step.r.Text, s.State, s.StateReason)
		}
	}
}
