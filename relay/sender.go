package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/planted"
	"pecgate/relay/submit"
)

// leaseTime is longer than any attempt: ten minutes for the answer to the dot
// and the same again for the way there.
const leaseTime = 25 * time.Minute

// idle is how long a sender sleeps when nothing is due; a new submission wakes
// it.
const idle = time.Minute

// errLease says that somebody else has the submission now.
var errLease = errors.New("relay: the lease of this attempt is over")

// send works off a mailbox's queue until ctx ends.
func (s *Service) send(ctx context.Context, w *worker) {
	wake, stop := s.opt.Store.WatchSpace(room, queueBell(w.acc.Box))
	defer stop()
	for {
		var wait time.Duration
		var err error
		ring := wake
		if w.suspended() {
			// Nothing can be sent whatever comes in; another password ends it.
			wait, ring = suspendedLook, nil
		} else {
			var reached bool
			if wait, reached, err = s.sendDue(ctx, w); !reached {
				ring = nil // a new submission would fare the same
			}
		}
		if err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("send", w.acc.Box, err)
			wait, ring = time.Second, nil
		}
		if !pause(ctx, wait, ring) {
			return
		}
	}
}

// suspendedLook is how often a suspended mailbox looks for another password.
const suspendedLook = 5 * time.Second

// sendDue tries what is due, oldest first, and returns how long nothing will
// be. reached is false after an attempt that could not reach the provider: then
// the others wait too.
func (s *Service) sendDue(ctx context.Context, w *worker) (next time.Duration, reached bool, err error) {
	all, later, err := dueTasks(ctx, s.opt.Store, w.acc.Box)
	if err != nil {
		return 0, true, err
	}
	wait := idle
	if len(all) == inSight {
		wait = time.Second / 10 // there is more
	} else if !later.IsZero() {
		wait = max(0, min(wait, later.Sub(s.opt.Store.Now())))
	}
	var many []task
	single := all[:0:0]
	for _, t := range all {
		if t.many() {
			many = append(many, t)
		} else {
			single = append(single, t)
		}
	}
	// One message of a batch goes behind each other message, and at least one in
	// each call: neither keeps the other waiting.
	for i := 0; i < max(1, len(single)); i++ {
		for k, part := range [][]task{single[min(i, len(single)):min(i+1, len(single))], w.inTurn(many)} {
			for _, t := range part {
				if ctx.Err() != nil {
					return wait, true, nil
				}
				r, err := s.turnOf(ctx, w, t)
				if err != nil {
					return 0, true, err
				}
				if r.wait > 0 {
					wait = min(wait, r.wait)
				}
				if r.unreachable {
					return max(wait, s.opt.Schedule.First), false, nil
				}
				if k == 1 && r.sent {
					w.turn = t.line()
					if i+1 >= len(single) {
						return 0, true, nil // look again: there may be more of it
					}
					break
				}
			}
		}
	}
	return wait, true, nil
}

// turnEnd is what came of one line of the queue.
type turnEnd struct {
	wait        time.Duration // until something of it is due again; 0: nothing is known
	sent        bool          // there was an attempt
	unreachable bool          // which could not reach the provider
}

// turnOf does what is due for one line of the queue.
func (s *Service) turnOf(ctx context.Context, w *worker, t task) (end turnEnd, err error) {
	var sub *Submission
	if t.Batch {
		sub, err = s.leaseNext(ctx, t.id, w.acc.PerMinute)
	} else {
		sub, err = s.leaseWithin(ctx, t.id, w.acc.PerMinute)
	}
	later := new(errPace)
	switch {
	case errors.Is(err, errLease):
		return end, nil
	case errors.As(err, &later):
		end.wait = later.wait
		return end, nil
	case err != nil:
		return end, err
	}
	if sub.State == Uncertain {
		if !w.fetchedSince(t.At) {
			end.wait = suspendedLook // its receipt may lie there unread
			return end, nil
		}
		return end, s.giveUpWaiting(ctx, sub)
	}
	r := s.attempt(ctx, w, sub)
	end.sent, end.unreachable = true, unreachable(r)
	end.wait, err = s.conclude(ctx, w, sub, r)
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

// lease takes a queued submission for an attempt. One whose hand-over is
// uncertain is returned as it is.
func (s *Service) lease(ctx context.Context, id string) (*Submission, error) {
	return s.leaseWithin(ctx, id, 0)
}

// leaseWithin is lease for a mailbox that hands over at most perMinute messages a
// minute, without a limit for 0; *errPace where it would be one too many.
func (s *Service) leaseWithin(ctx context.Context, id string, perMinute int) (*Submission, error) {
	var sub *Submission
	var leased, overdue bool
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) (err error) {
		leased, overdue = false, false
		if sub, err = load(tx, id); err != nil {
			return err
		}
		switch sub.State {
		case Uncertain:
			return nil
		case Attempting:
			// Its attempt ended without an outcome on record.
			overdue = true
			return s.overdue(tx, sub)
		case Queued:
			if removed, err := sub.userRemoved(tx); err != nil {
				return err
			} else if removed {
				return holdOfRemoved(tx, sub)
			}
		default:
			return errLease
		}
		if halted, err := s.stopped(tx, sub); err != nil || halted {
			return err
		}
		if err := paced(tx, sub.Box, perMinute, sub.child()); err != nil {
			return err
		}
		leased = true
		return takeForAttempt(tx, sub)
	})
	if err == nil && !leased && (overdue || sub.State != Uncertain) {
		err = errLease
	}
	return sub, err
}

// overdue puts a submission back whose lease is over.
func (s *Service) overdue(tx *mailbox.Tx, sub *Submission) error {
	var line due
	if err := tx.Space(room).Get(queueKey(sub.Box, sub.ID), &line); err != nil {
		return err
	}
	if line.Lease.After(tx.Now()) {
		return errLease
	}
	return s.interrupted(tx, sub, "the attempt ended without an outcome")
}

// attempt hands a leased submission to the provider. It changes nothing but
// the intent.
func (s *Service) attempt(stopping context.Context, w *worker, sub *Submission) submit.Result {
	fail := func(err error) submit.Result {
		return submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: err}
	}
	password, err := w.password()
	if err != nil {
		return fail(fmt.Errorf("read the provider's password: %w", err))
	}
	body, err := content(stopping, s.opt.Store, sub)
	if err != nil {
		return fail(err)
	}
	defer body.Close() // read-only handle: nothing to lose
	if sub.child() {   // its bytes are stored nowhere: the intent records what they are
		if sub.SHA256, err = body.sum(); err != nil {
			return fail(err)
		}
	}
	to := make([]string, 0, len(sub.Recipients))
	for _, r := range sub.Recipients {
		to = append(to, r.Address)
	}
	e := w.acc.SMTP
	// A stop of the gateway ends the attempt only as long as nothing can have
	// left: behind the intent the provider's answer is awaited.
	ctx, cancel := context.WithCancel(context.WithoutCancel(stopping))
	defer cancel()
	unlink := context.AfterFunc(stopping, cancel)
	defer unlink()
	r := submit.Send(ctx, submit.Server{
		Host: e.Host, Port: e.Port, Security: e.Security, Roots: e.Roots, Timeout: e.Timeout,
		Username: w.acc.Username, Password: password, Hello: s.opt.Hello,
	}, sub.Box, to, body, submit.Hooks{BeforeDot: func(ctx context.Context) error {
		if !unlink() {
			return stopping.Err()
		}
		return s.intend(ctx, sub)
	}})
	if r.Class == submit.AuthRefused {
		w.suspend("SMTP login refused: set the right password in the policy; "+answer(r), password)
	}
	return r
}

// intend makes it durable that the dot will be sent, if the lease still holds.
func (s *Service) intend(ctx context.Context, sub *Submission) error {
	if planted.Is(planted.IntentNotWritten) {
		return nil
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		now, err := load(tx, sub.ID)
		if err != nil {
			return err
		}
		if now.State != Attempting || now.Fence != sub.Fence {
			return errLease
		}
		now.Intent, now.SHA256 = true, sub.SHA256
		if err := happened(tx, now, "intent", fmt.Sprintf("attempt %d", now.Attempts)); err != nil {
			return err
		}
		t := tx.Now().UTC()
		return save(tx, now, &due{At: t, Lease: t.Add(leaseTime)})
	})
}

// conclude records the outcome of an attempt and returns the wait before the
// next one, if there is to be one.
func (s *Service) conclude(ctx context.Context, w *worker, sub *Submission, r submit.Result) (time.Duration, error) {
	// The outcome is recorded also when the gateway is stopping meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	w.sent(r)
	s.opt.Events.Attempt(sub.Box, sub.ID, sub.Attempts, string(r.Class), string(r.Stage), r.Code, r.Err)
	to, why := outcomeOf(r, s.opt.Store.Now().Sub(sub.begun()), s.opt.Schedule)
	var wait time.Duration
	n := noticeOf(sub, to, r, s.opt)
	if n != nil && s.batchToldOf(ctx, sub) {
		n = nil
	}
	err := s.settle(ctx, sub, n, func(tx *mailbox.Tx, now *Submission) (*due, bool, error) {
		wait = 0
		t := tx.Now().UTC()
		if now.State != Attempting {
			if to == HandedOver && (now.HandedOver.IsZero() || now.ByReceipt) {
				now.HandedOver, now.ByReceipt = t, false
			}
			return nil, false, happened(tx, now, "answer", answer(r)) // a receipt was faster
		}
		var next *due
		switch to {
		case HandedOver:
			now.HandedOver, now.ByReceipt = t, false
		case Uncertain:
			next = &due{At: t.Add(w.acc.UncertainAfter)}
		case Queued:
			wait = s.opt.Schedule.after(now.Attempts)
			now.Intent = false
			next = &due{At: t.Add(wait)}
		}
		if n != nil {
			if err := noteTold(tx, now); err != nil {
				return nil, false, err
			}
		}
		return next, true, s.step(tx, now, to, why, answer(r))
	})
	if err == nil && (to == HandedOver || to == Uncertain) {
		w.hurryUp()
	}
	return wait, err
}

// outcomeOf says what an attempt makes of a submission of a certain age. An
// answer that is about the connection or the login, and not about the message,
// never ends it: that is for the administrator to mend.
func outcomeOf(r submit.Result, age time.Duration, sched Schedule) (State, Reason) {
	switch r.Class {
	case submit.HandedOver:
		return HandedOver, ""
	case submit.Uncertain:
		return Uncertain, ""
	case submit.Permanent:
		return NotAccepted, ReasonRefused
	case submit.Temporary:
		if planted.Is(planted.AnyAnswerIsGood) && r.Stage == submit.StageDot {
			return HandedOver, ""
		}
		if age > sched.GiveUp {
			return NotAccepted, ReasonExpired
		}
	}
	return Queued, ""
}

// settle changes one submission; where change says so, the notice to its sender
// is filed in the same transaction.
func (s *Service) settle(ctx context.Context, sub *Submission, n *notice, change func(*mailbox.Tx, *Submission) (*due, bool, error)) error {
	do := func(tx *mailbox.Tx) (tell bool, err error) {
		now, err := load(tx, sub.ID)
		if err != nil || now.Fence != sub.Fence {
			return false, err // another fence: somebody else's attempt is newer
		}
		next, tell, err := change(tx, now)
		if err != nil {
			return false, err
		}
		return tell, save(tx, now, next)
	}
	if n == nil {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := do(tx); return err })
	}
	return n.file(ctx, s.opt.Store, do)
}

// step moves a submission and tells its story; the caller saves it.
func (s *Service) step(tx *mailbox.Tx, sub *Submission, to State, why Reason, text string) error {
	if err := sub.move(to, why); err != nil {
		return err
	}
	sub.Since = tx.Now().UTC()
	if err := happened(tx, sub, string(to), text); err != nil {
		return err
	}
	if err := tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "state", Box: sub.Box, Subject: sub.ID, Result: string(to), Reason: string(why)}); err != nil {
		return err
	}
	return sub.show(tx)
}

// interrupted puts a submission whose attempt was cut off where it belongs.
func (s *Service) interrupted(tx *mailbox.Tx, sub *Submission, why string) error {
	t := tx.Now().UTC()
	to := Queued
	if sub.Intent && !planted.Is(planted.ResendUncertain) {
		to = Uncertain
	}
	if err := s.step(tx, sub, to, "", why); err != nil {
		return err
	}
	next := due{At: t}
	if to == Uncertain {
		next.At = t.Add(s.uncertainAfter(sub.Box))
	}
	return save(tx, sub, &next)
}

func (s *Service) uncertainAfter(box string) time.Duration {
	for _, a := range s.opt.Accounts() {
		if a.Box == box && a.UncertainAfter > 0 {
			return a.UncertainAfter
		}
	}
	return 15 * time.Minute
}

// giveUpWaiting holds a submission for which no receipt came in time: a person
// decides.
func (s *Service) giveUpWaiting(ctx context.Context, sub *Submission) error {
	n := uncertainNotice(sub, s.opt)
	if s.batchToldOf(ctx, sub) {
		n = nil
	}
	return s.settle(ctx, sub, n, func(tx *mailbox.Tx, now *Submission) (*due, bool, error) {
		if now.State != Uncertain {
			return nil, false, nil
		}
		if err := noteTold(tx, now); err != nil {
			return nil, false, err
		}
		return nil, true, s.step(tx, now, Held, ReasonUncertain, "no receipt quotes its Message-ID")
	})
}

// answer is the provider's reply, or what went wrong, for the story.
func answer(r submit.Result) string {
	if r.Code != 0 {
		return fmt.Sprintf("%s: %d %s %s", r.Stage, r.Code, r.Enhanced, r.Text)
	}
	if r.Err != nil {
		return fmt.Sprintf("%s: %v", r.Stage, r.Err)
	}
	return string(r.Stage)
}
