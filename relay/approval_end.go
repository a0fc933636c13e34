package relay

import (
	"context"
	"errors"

	"pecgate/mailbox"
)

// Reject ends submissions that wait for approval, by their messages: an
// approver's are cancelled and their authors told, with a copy in the author's
// trash; those that the person wrote are taken back (Withdraw). Those of others
// go into trash too unless that is the zero key. places is where each stands
// then, in the order of the messages, zero for one that stands nowhere for this
// person or that waited no more. A *Refusal where all are this person's and have
// been released before. Each is a transaction of its own.
func (s *Service) Reject(ctx context.Context, a Approver, messages []mailbox.MessageID, trash mailbox.FolderKey, by Hand) (places []mailbox.Place, err error) {
	places = make([]mailbox.Place, len(messages))
	late := 0
	for i, m := range messages {
		if places[i], err = s.rejectOne(ctx, a, m, trash, by); errors.Is(err, errReleased) {
			late++
		} else if err != nil {
			return places, err
		}
	}
	if late > 0 && late == len(messages) {
		return places, refuse("It was approved before, so it leaves; ask the administrator, who can stop what has not left")
	}
	return places, nil
}

func (s *Service) rejectOne(ctx context.Context, a Approver, id mailbox.MessageID, trash mailbox.FolderKey, by Hand) (at mailbox.Place, err error) {
	var sub *Submission
	var m *mailbox.Message
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		if m, err = tx.Message(id); err == nil {
			sub, err = load(tx, m.Submission)
		}
		return err
	})
	if errors.Is(err, ErrNotFound) || errors.Is(err, mailbox.ErrNotFound) {
		return at, nil
	}
	if err != nil {
		return at, err
	}
	if sub.Person == a.Person {
		err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) (err error) {
			at, err = withdraw(tx, a.Person, id, trash, by)
			return err
		})
		return at, err
	}
	doubt := sub.mayHaveLeft()
	err = rejectedNotice(sub, a.Login, s.opt).file(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		at = mailbox.Place{}
		now, err := unapproved(tx, id)
		if err != nil || now == nil {
			return false, err
		}
		if now.mayHaveLeft() != doubt {
			return false, refuse("%s has changed meanwhile: try again", now.ID)
		}
		if err := now.reject(tx, "by "+a.Login); err != nil {
			return false, err
		}
		if err := errors.Join(now.auditApproval(tx, "submission rejected", by), save(tx, now, nil)); err != nil {
			return false, err
		}
		if trash.Role != "" {
			at.Folder, at.UID, err = tx.File(trash, m, mailbox.Filing{Audience: a.Person, For: a.Person, Flags: []string{`\Seen`}})
		}
		return err == nil, err
	})
	return at, err
}

// reject cancels what waits for approval; the caller audits and saves.
func (s *Submission) reject(tx *mailbox.Tx, whose string) error {
	why, text := ReasonApproval, "not approved, "+whose
	if s.mayHaveLeft() {
		why, text = ReasonUncertain, text+", although it may have left already"
	}
	if err := s.move(Cancelled, why); err != nil {
		return err
	}
	s.Since = tx.Now().UTC()
	return happened(tx, s, string(Cancelled), text)
}

// mayApprove returns nil where a person may approve or reject a submission.
func mayApprove(s *Submission) error {
	if s.State == ToApprove && s.child() {
		return refuse("%s is a message of %s, which is approved or rejected as a whole", s.ID, s.Batch)
	}
	if s.State == ToApprove {
		return nil
	}
	return refuse("%s does not wait for approval: it is %s", s.ID, s.State)
}

// ApproveByHand is Approve by an administrator, who needs no PIN. Arguments and
// errors are those of Retry.
func (s *Service) ApproveByHand(ctx context.Context, name string, by Hand) (id string, err error) {
	err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		sub, err := byHand(tx, name, "queue approve", by, func(sub *Submission) (*due, error) {
			if err := mayApprove(sub); err != nil {
				return nil, err
			}
			return sub.release(tx, "by an administrator", true)
		})
		if err != nil {
			return err
		}
		id = sub.ID
		return ring(tx, sub)
	})
	return id, err
}

// RejectByHand is Reject by an administrator. Arguments and errors are those of
// Retry.
func (s *Service) RejectByHand(ctx context.Context, name string, by Hand) (id string, err error) {
	var sub *Submission
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		if sub, err = Find(tx, name); err != nil {
			return err
		}
		return mayApprove(sub)
	})
	if err != nil {
		return "", err
	}
	doubt := sub.mayHaveLeft()
	err = rejectedNotice(sub, "", s.opt).file(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		_, err := byHand(tx, sub.ID, "queue reject", by, func(now *Submission) (*due, error) {
			if err := mayApprove(now); err != nil {
				return nil, err
			}
			if now.mayHaveLeft() != doubt {
				return nil, refuse("%s has changed meanwhile: try again", now.ID)
			}
			return nil, now.reject(tx, "by an administrator")
		})
		return err == nil, err
	})
	if no := new(Refusal); errors.As(err, &no) {
		err = no // without what was attempted: it is a sentence
	}
	return sub.ID, err
}
