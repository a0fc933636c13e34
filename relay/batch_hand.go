package relay

import (
	"context"
	"errors"
	"fmt"

	"pecgate/mailbox"
)

// childrenAtOnce is how many children of a batch one transaction moves.
const childrenAtOnce = 20

// mayRetryBatch, mayHoldBatch and mayCancelBatch are mayRetry, mayHold and
// mayCancel for a batch: they are about what has not left of it.
func mayRetryBatch(s *Submission, unconfirmed bool) error {
	if s.unmade() > 0 {
		switch {
		case s.unconfirmed() && !unconfirmed:
			return s.refuseUnconfirmed()
		case s.Rest == Held && s.RestReason == ReasonPIN:
			return refuse("%s waits for the sender's PIN, which nobody else can give", s.ID)
		case s.Rest == ToApprove, s.Rest == Held && s.RestReason == ReasonApproval:
			return refuse("%s waits for a member who may approve it", s.ID)
		case s.Rest == Held, s.Rest == Queued:
			return nil
		}
	}
	if s.Rest != Cancelled && s.Tally.States[Queued]+s.Tally.States[Held] > 0 {
		return nil
	}
	return batchNotNow(s, "retried")
}

func mayHoldBatch(s *Submission) error {
	switch {
	case s.unmade() > 0 && s.Rest == Queued, s.Rest == Queued && s.Tally.States[Queued]+s.Tally.States[Attempting] > 0:
		return nil
	case s.unmade() > 0 && s.Rest == Held:
		return refuse("%s is held already (%s)", s.ID, s.RestReason)
	case s.unmade() > 0 && s.Rest == ToApprove:
		return refuse("%s waits for a member who may approve it: nothing is sent meanwhile", s.ID)
	}
	return batchNotNow(s, "held")
}

func mayCancelBatch(s *Submission, mayHaveLeft bool) error {
	waits := s.unmade() > 0 && (s.Rest == Queued || s.Rest == Held || s.Rest == ToApprove)
	if !waits && s.Tally.States[Queued]+s.Tally.States[Held] == 0 {
		return batchNotNow(s, "cancelled")
	}
	held := s.Tally.States[Held]
	lostOnly := !waits && s.Tally.States[Queued] == 0 && held > 0 && held <= s.Tally.Lost
	if (s.Doubt && waits || lostOnly) && !mayHaveLeft {
		return refuse("messages of %s may have left already, so they cannot be cancelled as if they were not sent: look into the provider's webmail; "+
			"with --may-have-left they are never sent from here again, and their sender is told just that", s.ID)
	}
	return nil
}

func batchNotNow(s *Submission, what string) error {
	if s.Rest == Cancelled && s.unmade() > 0 {
		return refuse("%s cannot be %s: what had not left of it was cancelled; a new message is needed", s.ID, what)
	}
	return refuse("%s cannot be %s: all of its %d messages have left or ended; `pecgate show %s` lists them, and each has an id of its own",
		s.ID, what, s.Tally.Messages, s.ID)
}

// turn is what a person does to what has not left of a batch.
type turn struct {
	event  string
	to     State
	why    Reason
	may    func(*Submission) error
	text   string  // more for the story of the batch
	notice *notice // nil: its sender is told nothing
	change func(*mailbox.Tx, *Submission) error
}

// turnBatch moves what has not left of a batch on behalf of a person: first those
// of its messages that have no record, all in one, then the others that wait. A
// stop between the two is no harm: none that waits is sent while its batch is
// stopped (Service.stopped), and the same again does the rest.
func (s *Service) turnBatch(ctx context.Context, id string, by Hand, t turn) error {
	do := func(tx *mailbox.Tx) (bool, error) {
		_, err := byHand(tx, id, t.event, by, func(b *Submission) (*due, error) {
			if err := t.may(b); err != nil {
				return nil, err
			}
			now := tx.Now().UTC()
			text := fmt.Sprintf("by a person; it concerns %d messages of which none was tried, and those that wait", b.unmade())
			if t.to == Queued && b.Doubt && b.unmade() > 0 {
				text += ", although those may have left already: this may be a second hand-over"
			}
			if t.to == Queued {
				text += b.releasedUnconfirmed()
				if b.heldForRoom() {
					b.AnyRoom = true
					text += anyRoomText
				}
				text += s.anyHours(b)
				b.Released = now
				if err := b.begins(tx); err != nil {
					return nil, err
				}
			}
			b.rest(t.to, t.why, now)
			if err := happened(tx, b, t.event, text+t.text); err != nil {
				return nil, err
			}
			return &due{At: now}, ring(tx, b)
		})
		return err == nil, err
	}
	var err error
	if t.notice != nil {
		err = t.notice.file(ctx, s.opt.Store, do)
	} else {
		err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := do(tx); return err })
	}
	if no := new(Refusal); errors.As(err, &no) {
		return no
	}
	if err != nil {
		return err
	}
	return s.eachWaiting(ctx, id, t.change)
}

// eachWaiting calls change for the children of a batch that are queued or held
// and have a record, in bounded transactions.
func (s *Service) eachWaiting(ctx context.Context, batch string, change func(*mailbox.Tx, *Submission) error) error {
	for from := 1; from > 0; {
		next := 0
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			next = 0
			var ids []string
			err := eachChild(tx, batch, from, func(c *Submission) bool {
				if len(ids) == childrenAtOnce {
					next = c.Number
					return false
				}
				if c.State == Queued || c.State == Held {
					ids = append(ids, c.ID)
				}
				return true
			})
			for _, id := range ids {
				if err != nil {
					return err
				}
				var c *Submission
				if c, err = load(tx, id); err == nil {
					err = change(tx, c)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		from = next
	}
	return nil
}

const withBatch = "by a person, with its batch"

// goesWithBatch tells whether a held message of a batch is released with it. One
// that may have left, that a person held by itself, or that was set aside as poison,
// is for a person to look at: by its own id.
func (s *Submission) goesWithBatch() bool {
	return !s.mayHaveLeft() && s.StateReason != ReasonPoison && (s.StateReason != ReasonOperator || s.WithBatch)
}

func (s *Service) retryBatch(ctx context.Context, id string, unconfirmed bool, by Hand) error {
	goes, stays, text := 0, 0, ""
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		goes, stays = 0, 0
		b, err := headOf(tx, id)
		if err != nil {
			return err
		}
		goes = b.unmade()
		return eachChild(tx, id, 1, func(c *Submission) bool {
			switch {
			case c.State == Queued, c.State == Held && c.goesWithBatch():
				goes++
			case c.State == Held:
				stays++
			}
			return true
		})
	})
	if err != nil {
		return err
	}
	if stays > 0 {
		text = fmt.Sprintf("%d of its messages stay held, since they may have left already or were held one by one", stays)
		if goes == 0 {
			return refuse("%s has nothing to retry: %s; `pecgate show %s` lists them, and each has an id of its own", id, text, id)
		}
		text = "; " + text + ": each is retried by its own id"
	}
	may := func(b *Submission) error { return mayRetryBatch(b, unconfirmed) }
	return s.turnBatch(ctx, id, by, turn{event: "queue retry", to: Queued, may: may, text: text, change: func(tx *mailbox.Tx, c *Submission) error {
		now := tx.Now().UTC()
		if c.State == Held {
			if !c.goesWithBatch() {
				return nil
			}
			c.AnyRoom = c.heldForRoom()
			if err := s.step(tx, c, Queued, "", withBatch); err != nil {
				return err
			}
			c.Released, c.Intent = now, false
			if err := c.begins(tx); err != nil {
				return err
			}
		}
		s.anyHours(c)
		return save(tx, c, &due{At: now})
	}})
}

func (s *Service) holdBatch(ctx context.Context, id string, by Hand) error {
	return s.turnBatch(ctx, id, by, turn{event: "queue hold", to: Held, why: ReasonOperator, may: mayHoldBatch, change: func(tx *mailbox.Tx, c *Submission) error {
		if c.State != Queued {
			return nil
		}
		if err := s.step(tx, c, Held, ReasonOperator, withBatch); err != nil {
			return err
		}
		c.WithBatch = true
		return save(tx, c, nil)
	}})
}

func (s *Service) cancelBatch(ctx context.Context, b *Submission, mayHaveLeft bool, by Hand) error {
	t := turn{event: "queue cancel", to: Cancelled, why: ReasonOperator, notice: cancelBatchNotice(b, s.opt)}
	if b.Doubt {
		t.why = ReasonUncertain
	}
	t.may = func(now *Submission) error {
		// The notice is made already, and one kind says that no recipient gets it.
		if now.Doubt != b.Doubt || (now.Tally.made() == 0) != (b.Tally.made() == 0) {
			return refuse("%s has changed meanwhile: try again", now.ID)
		}
		return mayCancelBatch(now, mayHaveLeft)
	}
	t.change = func(tx *mailbox.Tx, c *Submission) error {
		why := ReasonOperator
		if c.mayHaveLeft() {
			if !mayHaveLeft {
				return nil // it stays for a person to look at
			}
			why = ReasonUncertain
		}
		return errors.Join(s.step(tx, c, Cancelled, why, withBatch), save(tx, c, nil))
	}
	return s.turnBatch(ctx, b.ID, by, t)
}

func cancelBatchNotice(b *Submission, o Options) *notice {
	if b.Tally.made() == 0 {
		return cancelNotice(b, o)
	}
	return makeNotice(b, o,
		"PEC annullata in parte", "PEC cancelled in part",
		"L'amministratore ha fermato questo invio multiplo: ciò che non era ancora partito non parte più. Il resoconto nella cartella Esiti dice che cosa è stato di ogni destinatario.",
		"The administrator has stopped this batch: what had not left yet does not leave any more. The report in Esiti tells of every recipient.",
		"")
}

// batchToldOf tells whether the sender of a batch has got the notice of a message
// that failed: of the others its report tells.
func (s *Service) batchToldOf(ctx context.Context, sub *Submission) bool {
	if !sub.child() {
		return false
	}
	told := false
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		b, err := headOf(tx, sub.Batch)
		told = err == nil && b.Tally.Told
		return err
	})
	return err == nil && told
}

// noteTold notes that the sender gets a notice of a child.
func noteTold(tx *mailbox.Tx, sub *Submission) error {
	if !sub.child() {
		return nil
	}
	b, err := headOf(tx, sub.Batch)
	if err != nil || b.Tally.Told {
		return err
	}
	b.Tally.Told = true
	return putHead(tx, b)
}

// batchNamed returns the id of the batch that a name is of, "" where it is of
// another submission.
func (s *Service) batchNamed(ctx context.Context, name string) (id string, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		id = ""
		b, err := Find(tx, name)
		if err == nil && b.batch() {
			id = b.ID
		}
		return err
	})
	return id, err
}
