package relay

import (
	"context"
	"errors"
	"time"

	"pecgate/mailbox"
)

// A submission of a member who writes for approval waits (to-approve) in the
// shared folder of what is to be approved, for its author. Whoever approves
// moves it on: it is queued at once (approve), or, where an approval needs a PIN,
// waits on (to-approve, reason pin) until the approver confirms it like a message
// of their own that is held: hold.go has the record, the notice and the token.
// Meanwhile it stands among what the approver has to confirm, and for its author
// alone in the folder of before. Each of these steps is one transaction, in which
// the state says whether it may still be taken: so it is released once.

// ForApproval is why a submission is held back that another member must approve.
const ForApproval Lack = "approval"

// Approver is a member who approves or rejects. The policy has been asked.
type Approver struct {
	Person mailbox.Person
	Login  string
	PIN    bool // the approval is to be confirmed by their PIN
	Own    bool // they may approve what they wrote themselves
}

// ErrOwnApproval says that an approver who may not wrote the message themselves.
var ErrOwnApproval = errors.New("relay: another member must approve what one wrote oneself")

// approverAsked tells whether a member has approved it and not confirmed yet.
func (s *Submission) approverAsked() bool {
	return s.State == ToApprove && s.StateReason == ReasonPIN && s.Approver != 0
}

// kept tells whether it is kept back here until a person of the mailbox acts.
func (s *Submission) kept() bool {
	return s.waitsForPIN() || s.State == ToApprove || s.unconfirmed()
}

// asksPIN tells whether somebody is asked for a PIN.
func (s *Submission) asksPIN() bool { return s.waitsForPIN() || s.approverAsked() }

// asked is who gives the PIN, or has given it.
func (s *Submission) asked() (mailbox.Person, string) {
	if s.Approver != 0 {
		return s.Approver, s.ApproverUser
	}
	return s.Person, s.User
}

// keepForApproval makes a submission that has just begun wait for a member who
// approves, with its audit line, and saves it.
func keepForApproval(tx *mailbox.Tx, s *Submission, t Ticket, m *mailbox.Message) error {
	s.State, s.StateReason, s.Hold, s.Approval = ToApprove, ReasonApproval, true, true
	h := hold{Until: s.SubmittedAt.Add(HoldTime)}
	if err := happened(tx, s, string(ToApprove), "waits for a member who approves it"); err != nil {
		return err
	}
	more := map[string]string{"until": h.Until.Format(time.RFC3339)}
	t.audited(more)
	err := tx.Audit(mailbox.AuditLine{
		Actor: t.User, Event: "submission", Box: s.Box, Subject: s.ID, Result: string(ToApprove), Reason: string(ReasonApproval), From: t.Remote, More: more,
	})
	if err != nil {
		return err
	}
	return errors.Join(s.fileKept(tx, m), h.put(tx, s), save(tx, s, nil),
		noteForward(tx, routed{Message: m.ID, What: routeApproval, Box: s.Box, Submission: s.ID}))
}

// put writes the record of a hold that begins, in place of the one before.
func (h hold) put(tx *mailbox.Tx, s *Submission) error {
	sp := tx.Space(room)
	var old hold
	switch err := sp.Get(holdKey(s.ID), &old); {
	case err == nil:
		if err := sp.Delete(holdDueKey(old.Until, s.ID)); err != nil {
			return err
		}
		if old.Token != "" {
			if err := sp.Delete(tokenKey(old.Token)); err != nil {
				return err
			}
		}
	case !errors.Is(err, mailbox.ErrNotFound):
		return err
	}
	told := func() error { return sp.Delete(holdTell + s.ID) }
	if s.asksPIN() {
		told = func() error { return sp.Put(holdTell+s.ID, true) }
	}
	return errors.Join(told(), sp.Put(holdKey(s.ID), h), sp.Put(holdDueKey(h.Until, s.ID), ""), sp.Put(holdBell, s.ID))
}

// fileKept puts the message of a submission that waits for approval where it is
// seen now.
func (s *Submission) fileKept(tx *mailbox.Tx, m *mailbox.Message) error {
	if err := s.unfileKept(tx); err != nil {
		return err
	}
	how := mailbox.Filing{Audience: s.Person, For: s.Person, Flags: []string{`\Seen`}}
	if s.approverAsked() {
		how.Private = true // it has left the others' sight, but its author may still take it back
		k := mailbox.FolderKey{Box: s.Box, Owner: s.Approver, Role: mailbox.RoleToConfirm}
		if _, _, err := tx.File(k, m, mailbox.Filing{Audience: s.Approver}); err != nil {
			return err
		}
	}
	folder, uid, err := tx.File(mailbox.FolderKey{Box: s.Box, Role: mailbox.RoleToApprove}, m, how)
	if err != nil {
		return err
	}
	for _, id := range []string{s.MsgID, s.Alias} {
		if err := tx.NoteSent(s.Person, id, m, []mailbox.Place{{Folder: folder, UID: uid}}); err != nil {
			return err
		}
	}
	return nil
}

// unfileKept takes it out of the folders of what is kept back.
func (s *Submission) unfileKept(tx *mailbox.Tx) error {
	for _, role := range []mailbox.Role{mailbox.RoleToConfirm, mailbox.RoleToApprove} {
		places, err := tx.PlacesIn(s.Message, role, sentCopies)
		if err != nil {
			return err
		}
		for _, p := range places {
			if err := tx.Unfile(p); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

// fileApproved puts it among what was approved: its author sees it there, and
// whoever approves.
func (s *Submission) fileApproved(tx *mailbox.Tx, m *mailbox.Message) (err error) {
	k := mailbox.FolderKey{Box: s.Box, Role: mailbox.RoleApproved}
	s.approved.Folder, s.approved.UID, err = tx.File(k, m, mailbox.Filing{Audience: s.Person, For: s.Approver, Flags: []string{`\Seen`}})
	return err
}

// WaitsForApproval tells whether the submission with an id waits for a member who
// approves it.
func WaitsForApproval(tx *mailbox.Tx, id string) (bool, error) {
	s, err := load(tx, id)
	return err == nil && s.State == ToApprove, err
}

// Approve releases submissions that wait for approval, by their messages: they
// are queued, or wait for the approver's PIN. places is where each stands then
// among what was approved, in the order of the messages; it is zero for one that
// waits for the PIN, and for one that waits for approval no more, which stays as
// it is. ErrOwnApproval, and a *Refusal for what an author wrote who has left the
// policy, come before anything is changed. Each is a transaction of its own.
func Approve(ctx context.Context, store *mailbox.Store, a Approver, messages []mailbox.MessageID, by Hand) (places []mailbox.Place, err error) {
	err = store.View(ctx, func(tx *mailbox.Tx) error {
		for _, m := range messages {
			if s, err := unapproved(tx, m); err != nil {
				return err
			} else if s == nil {
				continue
			} else if s.Person == a.Person && !a.Own {
				return ErrOwnApproval
			} else if err := s.authorThere(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	places = make([]mailbox.Place, len(messages))
	for i, m := range messages {
		err := store.Update(ctx, func(tx *mailbox.Tx) (err error) {
			places[i], err = approve(tx, a, m, by)
			return err
		})
		if err != nil {
			return places, err
		}
	}
	return places, nil
}

// unapproved returns the submission of a message that waits for an approver, nil
// where it does so no more.
func unapproved(tx *mailbox.Tx, id mailbox.MessageID) (*Submission, error) {
	m, err := tx.Message(id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := load(tx, m.Submission)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case s.State != ToApprove || s.approverAsked():
		return nil, nil
	}
	return s, nil
}

func approve(tx *mailbox.Tx, a Approver, id mailbox.MessageID, by Hand) (at mailbox.Place, err error) {
	s, err := unapproved(tx, id)
	if err != nil || s == nil {
		return at, err
	}
	if s.Person == a.Person && !a.Own {
		return at, ErrOwnApproval
	}
	if err := errors.Join(s.authorThere(tx), notRestoring(tx)); err != nil {
		return at, err
	}
	s.Approver, s.ApproverUser = a.Person, a.Login
	if a.PIN {
		return at, askApprover(tx, s, by)
	}
	if err := releaseApproved(tx, s, by); err != nil {
		return at, err
	}
	return s.approved, nil
}

// authorThere refuses what nobody is there to answer for: as with what is queued
// (user_removed.go), an administrator may send it all the same.
func (s *Submission) authorThere(tx *mailbox.Tx) error {
	_, left, err := tx.Left(s.Person)
	if err == nil && left {
		return refuse("%s was written by %s, whose login is there no more: only the administrator can release it", s.ID, s.User)
	}
	return err
}

// askApprover has an approval wait for its PIN.
func askApprover(tx *mailbox.Tx, s *Submission, by Hand) error {
	if err := s.move(ToApprove, ReasonPIN); err != nil {
		return err
	}
	s.Since = tx.Now().UTC()
	h := hold{Until: s.Since.Add(HoldTime), Lack: ForApproval}
	if err := happened(tx, s, "approval", "by "+s.ApproverUser+", whose PIN is waited for"); err != nil {
		return err
	}
	return s.rekeep(tx, h, "submission approval", by)
}

// takeBackApproval makes one whose approver has not confirmed wait for an
// approver again; text says why.
func takeBackApproval(tx *mailbox.Tx, s *Submission, by Hand, text string) error {
	if err := s.move(ToApprove, ReasonApproval); err != nil {
		return err
	}
	s.Approver, s.ApproverUser, s.Since = 0, "", tx.Now().UTC()
	if err := happened(tx, s, string(ToApprove), text); err != nil {
		return err
	}
	return s.rekeep(tx, hold{Until: s.Since.Add(HoldTime)}, "approval withdrawn", by)
}

// rekeep files, audits and saves one that waits for something else than before.
func (s *Submission) rekeep(tx *mailbox.Tx, h hold, event string, by Hand) error {
	m, err := tx.Message(s.Message)
	if err != nil {
		return err
	}
	s.Hold = true
	if err := errors.Join(s.fileKept(tx, m), h.put(tx, s), s.auditApproval(tx, event, by)); err != nil {
		return err
	}
	return save(tx, s, nil)
}

func (s *Submission) auditApproval(tx *mailbox.Tx, event string, by Hand) error {
	return tx.Audit(mailbox.AuditLine{
		Actor: by.Actor, From: by.From, Event: event, Box: s.Box, Subject: s.ID, Result: string(s.State), Reason: string(s.StateReason),
		More: map[string]string{"author": s.User},
	})
}

// releaseApproved queues what was approved and, where that was needed, confirmed.
func releaseApproved(tx *mailbox.Tx, s *Submission, by Hand) error {
	next, err := s.release(tx, "by "+s.ApproverUser, false)
	if err != nil {
		return err
	}
	return errors.Join(s.auditApproval(tx, "submission approved", by), ring(tx, s), save(tx, s, next))
}

// release makes what waits for approval leave; the caller audits and saves. hand
// is for an administrator.
//
// After a restore of the store nobody can say whether it was released and has
// left since: then a person decides; and so where its author has left the policy.
func (s *Submission) release(tx *mailbox.Tx, whose string, hand bool) (*due, error) {
	_, left, err := tx.Left(s.Person)
	if err != nil {
		return nil, err
	}
	to, why, text := Queued, Reason(""), whose
	switch {
	case s.mayHaveLeft():
		to, why, text = Held, ReasonRestored, whose+"; the store was restored since, so it may have left already"
	case left && hand:
		text += ", although its author's login left the policy"
	case left:
		to, why, text = Held, ReasonUserRemoved, whose+"; its author's login left the policy"
	}
	if err := s.move(to, why); err != nil {
		return nil, err
	}
	now := tx.Now().UTC()
	s.Released, s.Since = now, now
	if err := s.begins(tx); err != nil {
		return nil, err
	}
	return &due{At: now}, happened(tx, s, "approved", text)
}

// notRestoring refuses while a restored store is looked through.
func notRestoring(tx *mailbox.Tx) error {
	_, pending, err := tx.Restored()
	if err == nil && pending {
		err = errRestoring
	}
	return err
}
