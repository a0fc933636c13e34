package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
)

// What is queued when its sender's login leaves the policy is held: nobody is
// there who answers for it. A person may send it on all the same (queue retry).

// holdRemoved holds whatever waits in the queues of people who have left, and
// takes back the approvals of those who may not approve any more.
func (s *Service) holdRemoved(ctx context.Context) error {
	return errors.Join(s.takeBackRemoved(ctx), s.holdQueued(ctx))
}

// takeBackRemoved has every approval that waits for its PIN taken back where its
// approver has left, or may not approve it by now, or where its author has left:
// nobody could confirm it, and nobody else be asked.
func (s *Service) takeBackRemoved(ctx context.Context) error {
	var ids []string
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		ids = nil
		return tx.Space(room).Scan(holdDue, func(k string, _ []byte) (bool, error) {
			_, id, _ := strings.Cut(strings.TrimPrefix(k, holdDue), "/")
			switch sub, err := headOf(tx, id); {
			case errors.Is(err, ErrNotFound):
			case err != nil:
				return false, fmt.Errorf("submission %s: %w", id, err)
			case sub.approverAsked():
				ids = append(ids, id)
			}
			return true, nil
		})
	})
	var failed []error
	for _, id := range ids {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			sub, err := load(tx, id)
			if err != nil || !sub.approverAsked() {
				return err
			}
			_, gone, err := tx.Left(sub.Approver)
			_, orphan, err1 := tx.Left(sub.Person)
			if err := errors.Join(err, err1); err != nil {
				return err
			}
			why := ""
			switch {
			case gone:
				why = "the login of " + sub.ApproverUser + ", who had approved it, left the policy"
			case orphan:
				why = "its author's login left the policy"
			case s.opt.MayApprove != nil && !s.opt.MayApprove(sub.ApproverUser, sub.Box, sub.Approver == sub.Person):
				why = sub.ApproverUser + ", who had approved it, may not do so any more"
			default:
				return nil
			}
			return takeBackApproval(tx, sub, Hand{Actor: "relay"}, why)
		})
		if err != nil {
			failed = append(failed, fmt.Errorf("submission %s: %w", id, err))
		}
	}
	return errors.Join(err, errors.Join(failed...))
}

// holdQueued holds what waits in the queues of people who have left.
func (s *Service) holdQueued(ctx context.Context) error {
	var gone []mailbox.LeftPerson
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		gone, err = tx.LeftPeople("")
		return err
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	var ids []string
	err = scanTasks(ctx, s.opt.Store, "", func(_ time.Time, t task) bool {
		ids = append(ids, t.id)
		return true
	})
	if err != nil {
		return err
	}
	var held []string
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		held = nil
		for _, id := range ids {
			sub, err := load(tx, id)
			if err != nil {
				return fmt.Errorf("submission %s: %w", id, err)
			}
			if removed, err := sub.userRemoved(tx); err != nil {
				return err
			} else if removed {
				held = append(held, id)
			}
		}
		return nil
	})
	for _, id := range held {
		if err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			sub, err := load(tx, id)
			if err != nil {
				return err
			}
			return holdOfRemoved(tx, sub)
		}); err != nil {
			return fmt.Errorf("submission %s: %w", id, err)
		}
	}
	return err
}

// userRemoved tells whether a queued submission must be held, because its sender
// has left since it was submitted or a person released it.
func (s *Submission) userRemoved(tx *mailbox.Tx) (bool, error) {
	if s.State != Queued {
		return false, nil
	}
	at, left, err := tx.Left(s.Person)
	return left && at.After(s.begun()), err
}

// holdOfRemoved holds one, if it is still so.
func holdOfRemoved(tx *mailbox.Tx, sub *Submission) error {
	if removed, err := sub.userRemoved(tx); err != nil || !removed {
		return err
	}
	if err := sub.move(Held, ReasonUserRemoved); err != nil {
		return err
	}
	sub.Since = tx.Now().UTC()
	err := tx.Audit(mailbox.AuditLine{
		Actor: "relay", Event: "user removed", Box: sub.Box, Subject: sub.ID, Result: string(Held), Reason: "its sender's login left the policy",
	})
	if err != nil {
		return err
	}
	if err := happened(tx, sub, string(Held), "its sender's login left the policy"); err != nil {
		return err
	}
	if err := sub.show(tx); err != nil {
		return err
	}
	return save(tx, sub, nil)
}
