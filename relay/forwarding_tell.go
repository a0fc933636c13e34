package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pecgate/mailbox"
)

// askedForNew are those who are told of each PEC that arrives in a mailbox.
func (s *Service) askedForNew(box string) (to []addressee) {
	if s.opt.Readers == nil {
		return nil
	}
	for _, r := range s.opt.Readers(box) {
		if _, ok := r.Sees(mailbox.RoleInbox); ok && r.NotifyNew {
			to = append(to, addressee{user: r.Login})
		}
	}
	return to
}

// still tells whether it is still to be decided about a message, and ends that.
func still(tx *mailbox.Tx, k string) (bool, error) {
	var r routed
	if err := tx.Space(room).Get(k, &r); errors.Is(err, mailbox.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, tx.Space(room).Delete(k)
}

// tellNew tells those who asked for it that a PEC has arrived: where and when, and
// nothing of what it says.
func (s *Service) tellNew(ctx context.Context, k string, r routed) error {
	m, err := s.opt.Store.Message(ctx, r.Message)
	if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	to := s.askedForNew(r.Box)
	if m == nil || len(to) == 0 {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := still(tx, k); return err })
	}
	at := m.Arrived.In(s.opt.Location).Format("02/01/2006 15:04")
	return s.tellParts(ctx, k, r, alarm{
		box: r.Box, kind: "new", about: fmt.Sprint(m.ID), to: to,
		subjectIT: "Nuova PEC in " + r.Box, subjectEN: "New PEC in " + r.Box,
		it: "Il " + at + " è arrivata una PEC. Per leggerla aprire la cartella \"Posta in arrivo\" della casella.",
		en: "A PEC arrived on " + at + ". To read it open the folder \"Inbox\" of the mailbox.",
	})
}

// tellParts tells persons of something, some in each transaction, and ends that it
// is to be decided.
func (s *Service) tellParts(ctx context.Context, k string, r routed, a alarm) error {
	login := func(to addressee) string { return strings.ToLower(to.user) }
	slices.SortFunc(a.to, func(x, y addressee) int { return strings.Compare(login(x), login(y)) })
	left := slices.DeleteFunc(slices.Clone(a.to), func(to addressee) bool { return r.After != "" && login(to) <= r.After })
	for len(left) > 0 {
		part := left[:min(len(left), peopleInGo)]
		left = left[len(part):]
		for _, to := range part { // known before the transaction, which has room for less
			if _, err := s.opt.Store.Person(ctx, to.user); err != nil {
				return err
			}
		}
		before := r.After
		r.After, a.to = login(part[len(part)-1]), part
		err := alarmNotice(a, s.opt).fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
			var now routed
			if err := tx.Space(room).Get(k, &now); errors.Is(err, mailbox.ErrNotFound) || err == nil && now.After != before {
				return false, nil
			} else if err != nil {
				return false, err
			}
			if len(left) == 0 {
				return true, tx.Space(room).Delete(k)
			}
			return true, tx.Space(room).Put(k, r)
		})
		if err != nil {
			return err
		}
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := still(tx, k); return err })
}

// tellApprovers tells those who may approve a submission that it waits.
func (s *Service) tellApprovers(ctx context.Context, k string, r routed) error {
	var sub *Submission
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { sub, err = load(tx, r.Submission); return err })
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	var to []addressee
	if sub != nil && sub.State == ToApprove && s.opt.Readers != nil {
		for _, m := range s.opt.Readers(sub.Box) {
			own := strings.EqualFold(m.Login, sub.User)
			if m.Approves && (s.opt.MayApprove == nil || s.opt.MayApprove(m.Login, sub.Box, own)) {
				to = append(to, addressee{user: m.Login})
			}
		}
	}
	if len(to) == 0 {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := still(tx, k); return err })
	}
	return s.tellParts(ctx, k, r, alarm{
		box: sub.Box, kind: "approval", about: sub.ID, to: to, sub: sub,
		subjectIT: "PEC da autorizzare: " + sub.Box, subjectEN: "PEC to approve: " + sub.Box,
		it: "Un messaggio di " + sub.User + " attende un'autorizzazione nella cartella \"Da autorizzare\" della casella. Per inviarlo spostarlo in \"Autorizzati\"; eliminandolo non parte. Senza autorizzazione entro 72 ore viene annullato.",
		en: "A message by " + sub.User + " waits for approval in the folder \"To approve\" of the mailbox. To send it move it to \"Approved\"; if it is deleted it does not leave. Without an approval within 72 hours it is cancelled.",
	})
}
