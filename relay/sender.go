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

// idle is how long a sender sleeps when nothing is due; a new submission wakes
// it.
const idle = time.Minute

// send works off a mailbox's queue until ctx ends.
func (s *Service) send(ctx context.Context, w *worker) {
	wake, stop := s.opt.Store.WatchSpace(room, queueBell(w.acc.Box))
	defer stop()
	for {
		var wait time.Duration
		var err error
		ring := wake
		h := halt{Suspended: s.suspended(ctx, w, serviceSMTP)}
		if wait := s.sendsIn(w.acc); wait > 0 {
			h.Until = s.opt.Store.Now().Add(wait).Round(time.Second).UTC()
		}
		if w.down > 0 {
			h.Down = w.halt.Down // until it is known better
		}
		w.halt = h
		if err := s.noteHalt(ctx, w.acc.Box, h); err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("send", w.acc.Box, err)
		}
		if h.Suspended {
			// Nothing can be sent whatever comes in; another password ends it.
			wait, ring = suspendedLook, nil
		} else {
			var reached bool
			err = s.guarded("send", w.acc.Box, func() (err error) {
				wait, reached, err = s.sendDue(ctx, w)
				return err
			})
			if err == nil && reached && w.down == 0 {
				err = s.endQueueLate(ctx, w)
			}
			if !reached {
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

// lease takes a queued submission for an attempt. One whose hand-over is
// uncertain is returned as it is.
func (s *Service) lease(ctx context.Context, id string) (*Submission, error) {
	sub, _, err := s.leaseDue(ctx, id, 0)
	return sub, err
}

// leaseDue is lease for a mailbox that hands over at most perMinute messages a
// minute, without a limit for 0; *errPace where it would be one too many. at is
// since when it is due: what was on the list of a moment ago may have had its
// turn since, and then is not.
func (s *Service) leaseDue(ctx context.Context, id string, perMinute int) (sub *Submission, at time.Time, err error) {
	var leased, overdue bool
	var lack *shortage
	err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) (err error) {
		leased, overdue, lack = false, false, nil
		if sub, err = load(tx, id); err != nil {
			return err
		}
		var line due
		err = tx.Space(room).Get(queueKey(sub.Box, id), &line)
		if errors.Is(err, mailbox.ErrNotFound) {
			return errLease
		}
		if err != nil {
			return err
		}
		if !line.ready(tx.Now()) {
			return errLease
		}
		at = line.At
		switch sub.State {
		case Uncertain:
			return nil
		case Attempting:
			overdue = true // its attempt ended without an outcome on record
			return nil
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
		if err := s.mayLeave(sub); err != nil {
			return err
		}
		if lack, err = s.noRoom(tx, sub); err != nil {
			return err
		}
		if lack != nil && lack.never {
			return nil // held below
		}
		if lack != nil {
			return s.waitForRoom(tx, lack)
		}
		if sub.StateReason == ReasonRoom {
			sub.Released = tx.Now().UTC() // the time of trying begins now
			if err := sub.begins(tx); err != nil {
				return err
			}
		}
		if err := paced(tx, sub.Box, perMinute, sub.child()); err != nil {
			return err
		}
		leased = true
		return s.takeForAttempt(tx, sub)
	})
	if err == nil && lack != nil {
		err = s.tellRoom(ctx, lack)
	}
	if err == nil && overdue {
		err = s.cutOff(ctx, id, sub.Fence, true, "the attempt ended without an outcome")
	}
	if err == nil && !leased && (overdue || sub.State != Uncertain) {
		err = errLease
	}
	return sub, at, err
}

// attempt hands a leased submission to the provider. It changes nothing but
// the intent.
func (s *Service) attempt(stopping context.Context, w *worker, sub *Submission) submit.Result {
	fail := func(at submit.Stage, err error) submit.Result {
		return submit.Result{Class: submit.Temporary, Stage: at, Err: err}
	}
	login, err := s.login(stopping, w, serviceSMTP)
	if err != nil {
		return fail(submit.StageConnect, err)
	}
	body, err := content(stopping, s.opt.Store, sub)
	if err != nil {
		return fail(submit.StageBody, err) // the next one may fare better
	}
	defer body.Close() // read-only handle: nothing to lose
	if sub.child() {   // its bytes are stored nowhere: the intent records what they are
		if sub.SHA256, err = body.sum(); err != nil {
			return fail(submit.StageBody, err)
		}
	}
	to := make([]string, 0, len(sub.Recipients))
	for _, r := range sub.Recipients {
		to = append(to, r.Address)
	}
	e := w.acc.SMTP
	s.standBy(atLeased, sub.ID)
	// A stop of the gateway ends the attempt only as long as nothing can have
	// left: behind the intent the provider's answer is awaited.
	ctx, cancel := context.WithCancel(context.WithoutCancel(stopping))
	defer cancel()
	unlink := context.AfterFunc(stopping, cancel)
	defer unlink()
	secret, token := w.acc.secrets(login.password)
	r := s.handOver(ctx, submit.Server{
		Host: e.Host, Port: e.Port, Security: e.Security, Roots: e.Roots, Timeout: e.Timeout,
		Username: login.username, Password: secret, Token: token, Replies: w.acc.Replies, Hello: s.opt.Hello,
		BeforeLogin: login.before, LoggedIn: func() { login.taken(ctx) },
	}, sub.Box, to, body, submit.Hooks{BeforeDot: func(ctx context.Context) error {
		if !unlink() {
			return stopping.Err()
		}
		context.AfterFunc(stopping, func() { // ends with the attempt
			if pause(ctx, s.opt.StopWait) {
				cancel()
			}
		})
		return s.intend(ctx, sub)
	}})
	login.end(stopping, sentAs(r), answer(r))
	return r
}

// conclude records the outcome of an attempt and returns the wait before the
// next one, if there is to be one.
func (s *Service) conclude(ctx context.Context, w *worker, sub *Submission, r submit.Result) (time.Duration, error) {
	// The outcome is recorded also when the gateway is stopping meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	w.sent(r)
	s.seenStaple(w, w.acc.SMTP, r.CertificateExpires, r.Staple)
	s.count(ctx, w, r)
	if unreachable(r) && r.Err != nil {
		s.opt.Events.Unreached(sub.Box, sub.ID, string(r.Stage), &w.sendTrouble, s.opt.Store.Now(), r.Err)
	} else {
		s.opt.Events.Reached(sub.Box, &w.sendTrouble)
		s.opt.Events.Attempt(sub.Box, sub.ID, sub.Attempts, string(r.Class), string(r.Stage), r.Code, r.Err)
	}
	tried, err := s.triedFor(ctx, sub)
	if err == nil {
		err = s.noteOutage(ctx, sub.Box, unreachable(r))
	}
	if err != nil {
		return 0, err
	}
	to, why := outcomeOf(r, tried, s.opt.Schedule)
	var wait time.Duration
	if to == NotAccepted && sub.Doubt {
		// This attempt ended without leaving, an earlier one may not have.
		to, why = Held, ReasonUncertain
	}
	n := noticeOf(sub, to, r, s.opt)
	putOff := to == Queued && r.Class == submit.Temporary && !unreachable(r)
	if putOff && tried >= tellAfter && !sub.LateTold {
		n = lateNotice(sub, r, s.opt)
	}
	if unreachable(r) {
		w.down++
	} else {
		w.down = 0
	}
	w.answers = w.down == 0
	if n != nil && s.batchToldOf(ctx, sub) {
		n = nil
	}
	err = s.settle(ctx, sub, n, func(tx *mailbox.Tx, now *Submission) (*due, bool, error) {
		wait = 0
		t := tx.Now().UTC()
		if now.State != Attempting && !now.answeredLate(to) {
			if to == HandedOver && (now.HandedOver.IsZero() || now.ByReceipt) {
				now.HandedOver, now.ByReceipt = t, false
			}
			return nil, false, happened(tx, now, "answer", evidence(r)) // a receipt was faster
		}
		now.Crashes = 0 // its handling came to an end
		var next *due
		switch to {
		case HandedOver:
			now.HandedOver, now.ByReceipt = t, false
			if err := wantSentCopy(tx, w.acc, now); err != nil {
				return nil, false, err
			}
		case Uncertain:
			next = &due{At: t.Add(w.acc.UncertainAfter)}
		case Held:
			if err := toTell(tx, now, toldHeld); err != nil {
				return nil, false, err
			}
		case Queued:
			now.Intent, now.LateTold = false, now.LateTold || putOff && n != nil
			if unreachable(r) { // says nothing about the message: it stays the first
				wait, next = s.opt.Schedule.after(w.down), &due{At: t}
				break
			}
			wait = s.opt.Schedule.after(now.Attempts)
			next = &due{At: t.Add(wait)}
		}
		if n != nil {
			if err := noteTold(tx, now); err != nil {
				return nil, false, err
			}
		}
		return next, true, s.step(tx, now, to, why, evidence(r))
	})
	if err == nil && (to == HandedOver || to == Uncertain) {
		w.hurryUp()
	}
	if err == nil && to == Held {
		err = s.tellWatched(ctx, w.acc)
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
		if age > sched.GiveUp && !unreachable(r) {
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

func (s *Service) uncertainAfter(box string) time.Duration {
	for _, a := range s.opt.Accounts() {
		if a.Box == box && a.UncertainAfter > 0 {
			return a.UncertainAfter
		}
	}
	return 15 * time.Minute
}

// answer is what an attempt came to, in words.
func answer(r submit.Result) string { return r.Words() }

// refusedInStory bounds how many refused recipients the story of an attempt names.
const refusedInStory = 20

// evidence is answer with each recipient that the provider refused, in its words.
func evidence(r submit.Result) string {
	text := answer(r)
	for i, x := range r.Refused {
		if i == refusedInStory {
			return fmt.Sprintf("%s; and %d more", text, len(r.Refused)-i)
		}
		text += fmt.Sprintf("; %s: %d %s %s", x.Recipient, x.Code, x.Enhanced, x.Text)
	}
	return text
}
