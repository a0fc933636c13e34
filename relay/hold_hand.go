package relay

import (
	"context"
	"errors"

	"pecgate/mailbox"
)

// HeldSubmission is what the token of a notice leads to.
type HeldSubmission struct {
	ID, Box string
	Waits   bool // for its PIN; else it was confirmed before, or has Ended
	Ended   bool // it was cancelled, by a person or because its time was over
	// Approval: the PIN is that of a member who approved what was submitted; Own
	// says that they had written it themselves.
	Approval, Own bool
}

// ByToken returns the submission that the token of a notice is for. ErrNotFound
// where there is none, where its time is over, or where another person submitted
// it: which of these it was is nobody's business.
func ByToken(ctx context.Context, store *mailbox.Store, token string, p mailbox.Person) (held HeldSubmission, err error) {
	err = store.View(ctx, func(tx *mailbox.Tx) error {
		s, err := byToken(tx, token, p)
		if err == nil {
			held = HeldSubmission{ID: s.ID, Box: s.Box, Waits: s.asksPIN(), Ended: s.State == Cancelled, Approval: s.Approver != 0, Own: s.Person == p}
		}
		return err
	})
	return held, err
}

func byToken(tx *mailbox.Tx, token string, p mailbox.Person) (*Submission, error) {
	var id string
	err := tx.Space(room).Get(tokenKey(hashToken(token)), &id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	s, err := load(tx, id)
	if err != nil {
		return nil, err
	}
	if who, _ := s.asked(); who != p {
		return nil, ErrNotFound
	}
	return s, nil
}

// ErrEnded says that a held submission was cancelled, by whomever or by time.
var ErrEnded = errors.New("relay: the submission was cancelled before it was confirmed")

// Confirm releases the held submission of a token, whose PIN the caller has
// found right: it is queued, once. A second call changes nothing. Errors:
// ErrNotFound as of ByToken, ErrEnded, and those of the store.
//
// After a restore of the store nobody can say whether it was released and has
// left since: then the PIN is taken note of, and a person decides.
func Confirm(ctx context.Context, store *mailbox.Store, token string, p mailbox.Person, by Hand) (id string, err error) {
	err = store.Update(ctx, func(tx *mailbox.Tx) error {
		s, err := byToken(tx, token, p)
		if err != nil {
			return err
		}
		id = s.ID
		if s.approverAsked() {
			if err := notRestoring(tx); err != nil {
				return err
			}
			return releaseApproved(tx, s, by)
		}
		return confirm(tx, s, by)
	})
	return id, err
}

// ConfirmHeld is Confirm for a submission whose client repeats it with the right
// PIN.
func ConfirmHeld(tx *mailbox.Tx, id string, by Hand) error {
	s, err := load(tx, id)
	if err != nil {
		return err
	}
	return confirm(tx, s, by)
}

func confirm(tx *mailbox.Tx, s *Submission, by Hand) error {
	switch {
	case s.State == Cancelled:
		return ErrEnded
	case !s.waitsForPIN():
		return nil
	}
	if err := notRestoring(tx); err != nil {
		return err
	}
	now := tx.Now().UTC()
	to, why, text := Queued, Reason(""), "by its sender's PIN"
	if s.mayHaveLeft() {
		to, why, text = Held, ReasonRestored, "its sender has given the PIN; the store was restored since, so it may have left already"
	}
	if err := s.move(to, why); err != nil {
		return err
	}
	s.Released, s.Since = now, now
	if err := s.begins(tx); err != nil {
		return err
	}
	if err := happened(tx, s, "confirmed", text); err != nil {
		return err
	}
	err := tx.Audit(mailbox.AuditLine{
		Actor: by.Actor, From: by.From, Event: "submission confirmed", Box: s.Box, Subject: s.ID, Result: string(to), Reason: string(why),
	})
	if err != nil {
		return err
	}
	return errors.Join(ring(tx, s), save(tx, s, &due{At: now}))
}

// Withdraw cancels submissions that are held for the PIN of a person, who takes
// them out of the folder where they stand: by their messages. They go to a trash
// of the person's unless that is the zero key; places are where they stand then,
// in the order of the messages, zero for one that was not held any more. An
// approval that waits for the person's PIN is taken back: its message waits for
// approval again, and stands in no trash. A *Refusal where all of them, being this
// person's, have been released before.
func Withdraw(ctx context.Context, store *mailbox.Store, p mailbox.Person, messages []mailbox.MessageID, trash mailbox.FolderKey, by Hand) (places []mailbox.Place, err error) {
	places = make([]mailbox.Place, len(messages))
	late := 0
	for i, m := range messages {
		err := store.Update(ctx, func(tx *mailbox.Tx) (err error) {
			places[i], err = withdrawAsked(tx, p, m, trash, by)
			return err
		})
		if errors.Is(err, errReleased) {
			late++
		} else if err != nil {
			return places, err
		}
	}
	if late > 0 && late == len(messages) {
		return places, refuse("It was confirmed before, so it is held for the PIN no more and leaves; ask the administrator, who can stop what has not left")
	}
	return places, nil
}

// errReleased says that what a person wants to take back is held no more.
var errReleased = errors.New("relay: the submission was released before")

func withdrawAsked(tx *mailbox.Tx, p mailbox.Person, id mailbox.MessageID, trash mailbox.FolderKey, by Hand) (at mailbox.Place, err error) {
	m, err := tx.Message(id)
	if err != nil {
		return at, err
	}
	s, err := load(tx, m.Submission)
	if err == nil && s.approverAsked() && s.Approver == p {
		return at, takeBackApproval(tx, s, by, s.ApproverUser+" has taken the approval back")
	}
	if err != nil {
		return at, err
	}
	return withdraw(tx, p, id, trash, by)
}

// released tells whether it was a person's to take back, and somebody has
// released it meanwhile.
func (s *Submission) released(p mailbox.Person) bool {
	return (s.Person == p || s.Approver == p) && !s.kept() && s.State != Cancelled
}

// withdraw cancels what a person wrote and has kept back.
func withdraw(tx *mailbox.Tx, p mailbox.Person, id mailbox.MessageID, trash mailbox.FolderKey, by Hand) (at mailbox.Place, err error) {
	m, err := tx.Message(id)
	if err != nil {
		return at, err
	}
	s, err := load(tx, m.Submission)
	if err == nil && s.released(p) {
		return at, errReleased
	}
	if err != nil || s.Person != p || !s.kept() {
		return at, err
	}
	was := s.StateReason
	s.trash = &trash
	why, text := Reason(""), "by its sender"
	if s.mayHaveLeft() {
		why, text = ReasonUncertain, "by its sender, although it may have left already"
	}
	if err := s.move(Cancelled, why); err != nil {
		return at, err
	}
	s.Since = tx.Now().UTC()
	if err := happened(tx, s, string(Cancelled), text); err != nil {
		return at, err
	}
	err = tx.Audit(mailbox.AuditLine{
		Actor: by.Actor, From: by.From, Event: "submission withdrawn", Box: s.Box, Subject: s.ID, Result: string(Cancelled), Reason: string(was),
	})
	if err != nil {
		return at, err
	}
	err = save(tx, s, nil)
	return s.trashed, err
}
