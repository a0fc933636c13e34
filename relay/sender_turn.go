package relay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// sendDue tries what is due, oldest first, and returns how long nothing will
// be. reached is false after an attempt that could not reach the provider: then
// the others wait too.
func (s *Service) sendDue(ctx context.Context, w *worker) (next time.Duration, reached bool, err error) {
	most, shut := w.atOnce(), s.sendsIn(w.acc) > 0
	if shut {
		most = 1
	}
	due, err := s.dueOf(ctx, w.acc.Box, most, shut)
	if err != nil {
		return 0, true, err
	}
	wait := idle
	if !due.more && !due.later.IsZero() {
		wait = max(0, min(wait, due.later.Sub(s.opt.Store.Now())))
	}
	single, many := parted(due.tasks)
	alone := len(single) == 0
	full := false // the provider's limit is reached: what is out of sight waits too
	// One message of a batch goes behind each other message, and at least one in
	// each call: neither keeps the other waiting.
	for i := 0; i < max(1, len(single)); i++ {
		last := i+1 >= len(single)
		if i < len(single) {
			r, err := s.turnOf(ctx, w, single[i])
			if err != nil || ctx.Err() != nil {
				return 0, true, err
			}
			if r.unreachable {
				return s.unreached(ctx, w, r, append(single[i+1:], many...))
			}
			wait = r.least(wait)
			if r.full {
				full = true
				rest, err := s.withoutQueued(ctx, single[i+1:], r.shut)
				if err != nil {
					return 0, true, err
				}
				single = append(single[:i+1], rest...)
				last = i+1 >= len(single)
			}
		}
		for len(many) > 0 {
			t := w.inTurn(many)[0]
			r, err := s.turnOf(ctx, w, t)
			if err != nil || ctx.Err() != nil {
				return 0, true, err
			}
			if r.unreachable {
				return s.unreached(ctx, w, r, append(many, single[min(i+1, len(single)):]...))
			}
			wait = r.least(wait)
			if r.full {
				full = full || alone
				if many, err = s.withoutQueued(ctx, many, r.shut); err != nil {
					return 0, true, err
				}
			}
			if !r.sent || !t.Batch { // nothing more is due of it
				many = slices.DeleteFunc(many, func(x task) bool { return x.id == t.id })
			}
			if !r.sent {
				continue
			}
			if w.turn = t.line(); last {
				return 0, true, nil // look again: there may be more of it
			}
			break
		}
	}
	if due.more && !full {
		wait = min(wait, time.Second/10)
	}
	return wait, true, nil
}

// atOnce is how many messages the sender looks for that it could hand over in one go:
// one, as long as the provider cannot be reached.
func (w *worker) atOnce() int {
	switch {
	case w.down > 0:
		return 1
	case w.acc.PerMinute > 0:
		return min(w.acc.PerMinute, inSight)
	}
	return inSight
}

// unreached sees to what needs no provider when it could not be reached, and returns
// how long the mailbox waits: what is queued stays in its order.
func (s *Service) unreached(ctx context.Context, w *worker, r turnEnd, rest []task) (time.Duration, bool, error) {
	rest, err := s.withoutQueued(ctx, rest, false)
	for _, t := range rest {
		if err == nil && ctx.Err() == nil {
			_, err = s.turnOf(ctx, w, t)
		}
	}
	if err == nil && w.down > 0 {
		err = s.tellQueueLate(ctx, w, r.why)
	}
	wait := max(r.wait, time.Second)
	if err == nil {
		w.halt.Down = s.opt.Store.Now().Add(wait).Truncate(time.Second).UTC()
		err = s.noteHalt(ctx, w.acc.Box, w.halt)
	}
	return wait, false, err
}

// parted tells the messages of their own from the work of batches, which it puts
// in order: each batch before its messages.
func parted(all []task) (single, many []task) {
	for _, t := range all {
		if t.many() {
			many = append(many, t)
		} else {
			single = append(single, t)
		}
	}
	slices.SortFunc(many, func(a, b task) int { return strings.Compare(a.line(), b.line()) })
	return single, many
}

// withoutQueued leaves out what can do nothing but be handed over: with the
// provider's limit reached, or outside the hours (shut; but for what leaves then), a
// transaction for each would come to nothing.
func (s *Service) withoutQueued(ctx context.Context, all []task, shut bool) (out []task, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		out = nil
		for _, t := range all {
			if shut && t.AnyHours {
				out = append(out, t)
				continue
			}
			if t.Batch || t.due.Queued {
				continue
			}
			sub, err := headOf(tx, t.id)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			if err == nil && sub.State != Queued {
				out = append(out, t)
			}
		}
		return nil
	})
	return out, err
}

// turnEnd is what came of one line of the queue.
type turnEnd struct {
	wait        time.Duration // until something of it is due again; 0: nothing is known
	sent        bool          // there was an attempt
	unreachable bool          // which could not reach the provider
	full        bool          // the provider's limit a minute is reached, or
	shut        bool          // its hours are over
	why         string        // of unreachable
}

// least is the shorter of the waits that are known.
func (e turnEnd) least(wait time.Duration) time.Duration {
	if e.wait > 0 {
		return min(wait, e.wait)
	}
	return wait
}

// suspectWait is how long a suspect waits while another is handled.
const suspectWait = time.Second

// turnOf does what is due for one line of the queue. A panic in it is counted
// against the submission, and ends nothing else.
func (s *Service) turnOf(ctx context.Context, w *worker, t task) (end turnEnd, err error) {
	if t.Suspect {
		done, ok := s.suspect()
		if !ok {
			return turnEnd{wait: suspectWait}, nil
		}
		defer done()
	}
	var sub *Submission // leased, and not concluded
	err = s.guarded("send", w.acc.Box, func() error {
		var err error
		end, err = s.turn(ctx, w, t, &sub)
		return err
	})
	p := new(panicked)
	switch {
	case errors.As(err, &p) && sub != nil:
		err = s.cutOff(context.WithoutCancel(ctx), sub.ID, sub.Fence, false, "a fault of the gateway ended its handling: the log has the stack")
		return turnEnd{sent: true, wait: s.opt.Schedule.First}, err
	case errors.As(err, &p), errors.Is(err, ErrNotFound):
		return turnEnd{}, s.leaveLine(ctx, w.acc.Box, t, err)
	}
	return end, err
}

// turn is turnOf; leased is the submission while it is under way.
func (s *Service) turn(ctx context.Context, w *worker, t task, leased **Submission) (end turnEnd, err error) {
	var sub *Submission
	s.standBy(atDue, t.id)
	if b := w.brake.left(s.opt.Store.Now()); b > 0 && (t.Batch || t.due.Queued || t.AnyHours) {
		return turnEnd{wait: b, full: true}, nil
	}
	if wait := s.sendsIn(w.acc); wait > 0 && (t.Batch || t.due.Queued) && !t.AnyHours {
		return turnEnd{wait: wait, full: true, shut: true}, nil
	}
	leave, err := s.gates.enter(ctx, w.acc.SMTP.Host, w.acc.Connections, w.hungSending)
	if err != nil {
		return end, err
	}
	defer leave()
	if t.Batch {
		sub, err = s.leaseNext(ctx, t.id, w.acc.PerMinute)
	} else {
		sub, _, err = s.leaseDue(ctx, t.id, w.acc.PerMinute)
	}
	later := new(errPace)
	switch {
	case errors.Is(err, errLease):
		return end, nil
	case errors.As(err, &later):
		end.wait, end.full, end.shut = later.wait, true, later.shut
		return end, nil
	case err != nil:
		return end, err
	}
	if sub.State == Uncertain {
		end.wait, err = s.decide(ctx, w, sub)
		return end, err
	}
	*leased = sub
	r := s.attempt(ctx, w, sub)
	w.hungSending = hung(r.Err)
	end.sent, end.unreachable, end.why = true, unreachable(r) || r.Code == 421, answer(r)
	if end.wait, err = s.conclude(ctx, w, sub, r); err == nil {
		*leased = nil
	}
	if end.unreachable && !unreachable(r) {
		end.wait = s.opt.Schedule.First // 421: the provider has enough for now; then others have their turn
	}
	return end, err
}

// unreachable tells whether the next submission would fare the same.
func unreachable(r submit.Result) bool {
	switch r.Stage {
	case submit.StageConnect, submit.StageTLS, submit.StageGreeting, submit.StageHello, submit.StageAuth:
		return r.Class != submit.HandedOver
	}
	return false
}
