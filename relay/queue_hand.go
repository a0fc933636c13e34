package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox"
)

// Hand is a person who changes the queue.
type Hand struct {
	Actor string // for the audit log: the way they came
	From  string // who they are there
}

// Refusal says why a person may not do something to a submission, in one line
// that says what to do.
type Refusal struct{ text string }

func (r *Refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// begun is when the time of trying began: at the submission, or when a person
// released it.
func (s *Submission) begun() time.Time {
	if s.Released.After(s.SubmittedAt) {
		return s.Released
	}
	return s.SubmittedAt
}

// mayRetry, mayHold and mayCancel return nil where a person may do so.
func mayRetry(s *Submission, unconfirmed bool) error {
	if s.batch() {
		return mayRetryBatch(s, unconfirmed)
	}
	switch s.State {
	case Queued:
		return nil
	case Held:
		if s.unconfirmed() && !unconfirmed {
			return s.refuseUnconfirmed()
		}
		if s.StateReason == ReasonPIN {
			return refuse("%s waits for the sender's PIN, which nobody else can give", s.ID)
		}
		if s.StateReason != ReasonApproval {
			return nil
		}
		fallthrough
	case ToApprove:
		if s.approverAsked() {
			return refuse("%s waits for the PIN of %s, who has approved it; `queue approve` releases it without", s.ID, s.ApproverUser)
		}
		return refuse("%s waits for a member who may approve it; `queue approve` releases it without one", s.ID)
	}
	return notNow(s, "retried")
}

func mayHold(s *Submission) error {
	if s.batch() {
		return mayHoldBatch(s)
	}
	switch s.State {
	case Queued:
		return nil
	case Held:
		return refuse("%s is held already (%s)", s.ID, s.StateReason)
	case ToApprove:
		return refuse("%s waits for a member who may approve it: nothing is sent meanwhile", s.ID)
	}
	return notNow(s, "held")
}

func mayCancel(s *Submission, mayHaveLeft bool) error {
	if s.batch() {
		return mayCancelBatch(s, mayHaveLeft)
	}
	switch s.State {
	case Queued, Held, ToApprove:
		if s.mayHaveLeft() && !mayHaveLeft {
			return refuse("%s may have left already, so it cannot be cancelled as if it were not sent: look into the provider's webmail; "+
				"with --may-have-left it is never sent from here again, and its sender is told just that", s.ID)
		}
		return nil
	}
	return notNow(s, "cancelled")
}

// notNow is the refusal of what no state but a waiting one allows.
func notNow(s *Submission, what string) error {
	switch s.State {
	case Attempting:
		return refuse("%s cannot be %s: it is being handed over at this moment; look again in a minute", s.ID, what)
	case Uncertain:
		return refuse("%s cannot be %s: its hand-over ended without an answer, and its receipt is looked for; "+
			"nothing is sent meanwhile, and without a receipt it is held (uncertain), for you to decide", s.ID, what)
	case HandedOver, Accepted:
		return refuse("%s cannot be %s: the provider has it (%s)", s.ID, what, s.State)
	case Cancelled:
		return refuse("%s cannot be %s: it was cancelled; a new message is needed", s.ID, what)
	}
	return refuse("%s cannot be %s: it has ended (%s, %s); a new message is needed", s.ID, what, s.State, s.StateReason)
}

// errRestoring: see Service.Restored.
var errRestoring error = &Refusal{"the store was restored, and what waits in it is being held: try again in a moment"}

// byHand changes one submission on behalf of a person, with its audit line.
func byHand(tx *mailbox.Tx, name, event string, by Hand, do func(*Submission) (*due, error)) (*Submission, error) {
	switch _, pending, err := tx.Restored(); {
	case err != nil:
		return nil, err
	case pending:
		return nil, errRestoring
	}
	sub, err := Find(tx, name)
	if err != nil {
		return nil, err
	}
	from := sub.State
	before := string(from)
	if sub.StateReason != "" {
		before += " (" + string(sub.StateReason) + ")"
	}
	if sub.mayHaveLeft() {
		before += ", may have left"
	}
	if why := sub.stillUnconfirmed(); why != "" {
		before += ", not confirmed (" + string(why) + ")"
	}
	next, err := do(sub)
	if err != nil {
		return nil, err
	}
	if sub.State != from {
		sub.Since = tx.Now().UTC()
	}
	if sub.AnyHours {
		before += anyHoursText
	}
	err = tx.Audit(mailbox.AuditLine{
		Actor: by.Actor, From: by.From, Event: event, Box: sub.Box, Subject: sub.ID, Result: string(sub.State), Reason: "it was " + before,
	})
	if err != nil {
		return nil, err
	}
	if err := sub.show(tx); err != nil {
		return nil, err
	}
	return sub, save(tx, sub, next)
}

// Retry puts a held submission back into the queue, and lets one that waits for
// its next attempt be tried at once. name is its id, Message-ID or PEC
// identifier. Errors: ErrNotFound, *Refusal, and those of the store.
func (s *Service) Retry(ctx context.Context, name string, by Hand) (id string, err error) {
	return s.retry(ctx, name, false, by)
}

// RetryUnconfirmed is Retry also for one that was made anew after the records
// were lost and that waited for a PIN or for approval: nobody knows whether that
// was given, and who asks for this answers for it.
func (s *Service) RetryUnconfirmed(ctx context.Context, name string, by Hand) (id string, err error) {
	return s.retry(ctx, name, true, by)
}

func (s *Service) retry(ctx context.Context, name string, unconfirmed bool, by Hand) (id string, err error) {
	switch b, err := s.batchNamed(ctx, name); {
	case err != nil:
		return "", err
	case b != "":
		return b, s.retryBatch(ctx, b, unconfirmed, by)
	}
	err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		sub, err := byHand(tx, name, "queue retry", by, func(sub *Submission) (*due, error) {
			if err := mayRetry(sub, unconfirmed); err != nil {
				return nil, err
			}
			now := tx.Now().UTC()
			text := "by a person"
			if sub.State == Held {
				if sub.mayHaveLeft() {
					text += ", although it may have left already: this may be a second hand-over"
				}
				text += sub.releasedUnconfirmed()
				sub.AnyRoom = sub.heldForRoom()
				if sub.AnyRoom {
					text += anyRoomText
				}
				if err := sub.move(Queued, ""); err != nil {
					return nil, err
				}
				sub.Released, sub.Intent = now, false
				sub.Crashes = 0 // it begins anew
				if err := sub.begins(tx); err != nil {
					return nil, err
				}
			}
			text += s.anyHours(sub)
			return &due{At: now}, happened(tx, sub, "retry", text)
		})
		if err != nil {
			return err
		}
		id = sub.ID
		return ring(tx, sub)
	})
	return id, err
}

// releasedUnconfirmed notes that a person releases it without what it waited for,
// and returns what its story says of that.
func (s *Submission) releasedUnconfirmed() string {
	if !s.unconfirmed() {
		return ""
	}
	text := ", although it waited for " + s.lacked() + " and nobody knows whether that was given"
	s.Unconfirmed = ""
	return text
}

// Hold keeps a queued submission back until somebody retries or cancels it.
// Arguments and errors are those of Retry.
func (s *Service) Hold(ctx context.Context, name string, by Hand) (id string, err error) {
	switch b, err := s.batchNamed(ctx, name); {
	case err != nil:
		return "", err
	case b != "":
		return b, s.holdBatch(ctx, b, by)
	}
	err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		sub, err := byHand(tx, name, "queue hold", by, func(sub *Submission) (*due, error) {
			if err := mayHold(sub); err != nil {
				return nil, err
			}
			if err := sub.move(Held, ReasonOperator); err != nil {
				return nil, err
			}
			return nil, happened(tx, sub, string(Held), "by a person")
		})
		if err == nil {
			id = sub.ID
		}
		return err
	})
	return id, err
}

// Cancel takes a submission back that has not left, and tells its sender. One
// that may have left is only given up where mayHaveLeft says that the person
// knows: nothing is sent from here any more, and a receipt that comes still
// counts. Arguments and errors are those of Retry.
func (s *Service) Cancel(ctx context.Context, name string, mayHaveLeft bool, by Hand) (id string, err error) {
	var sub *Submission
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		if sub, err = Find(tx, name); err != nil {
			return err
		}
		return mayCancel(sub, mayHaveLeft)
	})
	if err != nil {
		return "", err
	}
	if sub.batch() {
		return sub.ID, s.cancelBatch(ctx, sub, mayHaveLeft, by)
	}
	told := sub.mayHaveLeft()
	err = cancelNotice(sub, s.opt).file(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		_, err := byHand(tx, sub.ID, "queue cancel", by, func(now *Submission) (*due, error) {
			if err := mayCancel(now, mayHaveLeft); err != nil {
				return nil, err
			}
			why, text := ReasonOperator, "by a person"
			if now.mayHaveLeft() {
				why, text = ReasonUncertain, "by a person, although it may have left already"
			}
			if now.mayHaveLeft() != told {
				return nil, refuse("%s has changed meanwhile: try again", now.ID)
			}
			if err := now.move(Cancelled, why); err != nil {
				return nil, err
			}
			return nil, happened(tx, now, string(Cancelled), text)
		})
		return err == nil, err
	})
	if no := new(Refusal); errors.As(err, &no) {
		err = no // without what was attempted: it is a sentence
	}
	return sub.ID, err
}

// cancelNotice tells the sender what a person decided.
func cancelNotice(sub *Submission, o Options) *notice {
	if sub.mayHaveLeft() {
		return makeNotice(sub, o,
			"PEC: il gateway non la invierà più", "PEC: the gateway will not send it any more",
			"L'amministratore ha rinunciato a questo messaggio: il gateway non lo invierà più. Forse era già partito: se arriva una ricevuta, vale quella.",
			"The administrator has given this message up: the gateway will not send it any more. It may have left before: if a receipt comes, that one counts.",
			"")
	}
	return makeNotice(sub, o,
		"PEC annullata: non è stata inviata", "PEC cancelled: it was not sent",
		"L'amministratore ha annullato questo messaggio prima dell'invio: nessun destinatario lo riceve.",
		"The administrator has cancelled this message before it left: no recipient gets it.",
		"")
}
