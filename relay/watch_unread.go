package relay

import (
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox"
)

// awaitReading is what an envelope waits for that arrived.
const awaitReading awaited = "reading"

// unreadWatch is an envelope that somebody should read.
type unreadWatch struct {
	Box     string            `json:"mailbox"`
	Message mailbox.MessageID `json:"message"`
	Place   mailbox.Place     `json:"place"`
	Term    time.Duration     `json:"term"`
}

// noteUnread has an envelope that was filed watched until somebody read it.
// History has no watch.
func noteUnread(tx *mailbox.Tx, acc Account, m *mailbox.Message, at mailbox.Place) error {
	if acc.Watch.Unread <= 0 || m.History {
		return nil
	}
	clock, err := readRunClock(tx)
	if err != nil {
		return err
	}
	k := deadline(clock.Ran+acc.Watch.Unread, fmt.Sprintf("u/%016x", uint64(m.ID)))
	return tx.Space(room).Put(k, unreadWatch{Box: acc.Box, Message: m.ID, Place: at, Term: acc.Watch.Unread})
}

// unreadOver looks at an envelope whose time to be read is over.
func (s *Service) unreadOver(tx *mailbox.Tx, k string) error {
	var w unreadWatch
	switch err := tx.Space(room).Get(k, &w); {
	case errors.Is(err, mailbox.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	if err := tx.Space(room).Delete(k); err != nil {
		return err
	}
	acc := s.account(w.Box)
	if acc.Watch.Unread <= 0 || acc.Admin == "" {
		return nil
	}
	who := []mailbox.Person{0} // for all, where \Seen is common
	if s.opt.Readers != nil {
		for _, r := range s.opt.Readers(w.Box) {
			if _, ok := r.Sees(mailbox.RoleInbox); !ok {
				continue
			}
			p, err := tx.EnsurePerson(r.Login)
			if err != nil {
				return err
			}
			who = append(who, p)
		}
	}
	if seen, err := tx.SeenByAny(w.Place, who); err != nil || seen {
		return err
	}
	id := fmt.Sprintf("%016x", uint64(w.Message))
	l := watchLine{For: awaitReading, Term: duration(w.Term), Message: w.Message}
	return errors.Join(tx.Space(room).Put(watchLines(w.Box, "reading", acc.Admin)+id, l),
		tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "overdue", Box: w.Box, Subject: id, Result: string(awaitReading), Reason: "nobody has read it"}))
}

// unreadLine describes an envelope that nobody has read.
func (s *Service) unreadLine(tx *mailbox.Tx, id mailbox.MessageID) (string, error) {
	m, err := tx.Message(id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("- %s  %s\n", m.Arrived.In(s.opt.Location).Format("02/01/2006 15:04"), plain(m.MessageID, maxID)), nil
}
