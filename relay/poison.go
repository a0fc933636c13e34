package relay

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"pecgate/mailbox"
	"pecgate/mailbox/planted"
)

// A submission whose handling ends the gateway, or panics, must not do so for ever
// (L3). Each attempt that ends so is counted in its record. Which of those that
// were under way was at fault nobody can say: so from then on it is a suspect, and
// of all suspects one is handled at a time. Only what was at fault gets to the
// third time; then it is held until a person has looked at it.

// maxCrashes is how often in a row.
const maxCrashes = 3

// cutOff puts a submission whose attempt was cut off where it belongs, if that still
// is the attempt with this fence (0: any) and, for overdue, its lease is over.
func (s *Service) cutOff(ctx context.Context, id string, fence uint64, overdue bool, why string) error {
	var sub *Submission
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { sub, err = load(tx, id); return err })
	if errors.Is(err, ErrNotFound) || err == nil && sub.State != Attempting {
		return nil
	}
	if err != nil {
		return err
	}
	do := func(tx *mailbox.Tx) (bool, error) {
		now, err := load(tx, id)
		if err != nil || now.State != Attempting || fence > 0 && now.Fence != fence {
			return false, err
		}
		var line due
		if err := tx.Space(room).Get(queueKey(now.Box, id), &line); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return false, err
		}
		if overdue && line.runs(tx.Now()) {
			return false, nil
		}
		if !overdue || s.dead(line.Holder) {
			now.Crashes++ // else its holder is slow, and lives
		}
		err = s.interrupted(tx, now, why)
		return err == nil && now.StateReason == ReasonPoison, err
	}
	if sub.Crashes+1 < maxCrashes || sub.Intent {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := do(tx); return err })
	}
	n := poisonNotice(sub, s.opt)
	n.also = s.adminOf(sub.Box)
	return n.file(ctx, s.opt.Store, do)
}

// interrupted puts a submission whose attempt was cut off where it belongs.
func (s *Service) interrupted(tx *mailbox.Tx, sub *Submission, why string) error {
	t := tx.Now().UTC()
	next := due{At: t}
	to, reason := Queued, Reason("")
	switch {
	case sub.Intent && !planted.Is(planted.ResendUncertain):
		to = Uncertain
		next.At = t.Add(s.uncertainAfter(sub.Box))
	case sub.Crashes >= maxCrashes:
		to, reason = Held, ReasonPoison
		why += fmt.Sprintf(", %d times in a row: it is set aside", sub.Crashes)
	case sub.Crashes > 1:
		next.At = t.Add(s.opt.Schedule.after(sub.Crashes - 1))
	}
	if err := s.step(tx, sub, to, reason, why); err != nil {
		return err
	}
	return save(tx, sub, &next)
}

// suspect lets a suspect have its turn; false where another is having it.
func (s *Service) suspect() (done func(), ok bool) {
	select {
	case s.suspects <- struct{}{}:
		return func() { <-s.suspects }, true
	default:
		return nil, false
	}
}

// panicked is a panic as an error; it bears no value of what was handled.
type panicked struct{ stack string }

func (p *panicked) Error() string { return "panic: the log has the stack" }

// guarded calls fn and returns a panic in it as an error: what concerns one
// mailbox ends no other.
func (s *Service) guarded(room, box string, fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p := &panicked{string(debug.Stack())}
			s.opt.Events.RelayPanic(room, box, p.stack)
			err = p
		}
	}()
	return fn()
}

// poisonNotice tells its sender and the administrator.
func poisonNotice(sub *Submission, o Options) *notice {
	return makeNotice(sub, o,
		"PEC messa da parte: il gateway non riesce a trattarla", "PEC set aside: the gateway cannot handle it",
		"Durante l'invio di questo messaggio il gateway si è interrotto tre volte di seguito. È stato messo da parte e non è partito; gli altri partono. "+
			"Per l'amministratore: controllare il registro (log) del gateway e segnalare l'errore; poi `pecgate queue retry ID` per riprovare, oppure `pecgate queue cancel ID`.",
		"While this message was being handed over the gateway broke down three times in a row. It is set aside and has not left; the others leave. "+
			"For the administrator: look into the gateway's log and report the error; then `pecgate queue retry ID` to try again, or `pecgate queue cancel ID`.",
		"")
}

// poisonKind is the alarm about a message that ended the gateway.
const poisonKind = "poison"

// poisonAlarm tells the administrator of a message of the provider that cannot be
// read.
func (s *Service) poisonAlarm(box string, at spot) alarm {
	return alarm{
		box: box, kind: poisonKind, about: at.String(), to: s.adminOf(box),
		subjectIT: "Un messaggio presso il gestore non si può leggere", subjectEN: "A message at the provider cannot be read",
		it: "Nel leggere questo messaggio il gateway si è interrotto tre volte di seguito. Resta presso il gestore, dove non viene mai eliminato e si legge nella webmail; " +
			"gli altri vengono scaricati. Il gateway riprova da solo, la prima volta dopo cinque minuti e poi sempre più di rado. Segnalare l'errore con il registro del gateway.",
		en: "While reading this message the gateway broke down three times in a row. It stays at the provider, where it is never deleted and can be read in the webmail; " +
			"the others are fetched. It is tried again by itself, the first time after five minutes and then more and more rarely. Report the error with the gateway's log.",
		detail: at.String(),
	}
}
