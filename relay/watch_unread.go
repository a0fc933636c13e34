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
	From    string            `json:"from,omitempty"` // its sender, as the provider says
}

// noteUnread has an envelope that was filed watched until somebody read it.
// History has no watch.
func noteUnread(tx *mailbox.Tx, acc Account, m *mailbox.Message, from string, at mailbox.Place) error {
	if acc.Watch.Unread <= 0 || m.History {
		return nil
	}
	clock, err := readRunClock(tx)
	if err != nil {
		return err
	}
	k := deadline(clock.Ran+acc.Watch.Unread, fmt.Sprintf("u/%016x", uint64(m.ID)))
	return tx.Space(room).Put(k, unreadWatch{Box: acc.Box, Message: m.ID, Place: at, Term: acc.Watch.Unread, From: plain(from, maxAddress)})
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
	var who []mailbox.Person
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
	if seen, err := tx.SeenByAny(w.Place, who, acc.SharedSeen); err != nil || seen {
		return err
	}
	id := fmt.Sprintf("%016x", uint64(w.Message))
	l := watchLine{For: awaitReading, Term: duration(w.Term), Message: w.Message, From: w.From}
	return errors.Join(tx.Space(room).Put(watchLines(w.Box, "reading", acc.Admin)+id, l),
		tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "overdue", Box: w.Box, Subject: id, Result: string(awaitReading), Reason: "nobody has read it"}))
}

// unreadLine describes an envelope that nobody has read.
func (s *Service) unreadLine(tx *mailbox.Tx, l watchLine) (string, error) {
	m, err := tx.Message(l.Message)
	if errors.Is(err, mailbox.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	line := fmt.Sprintf("- %s  %s\n", m.Arrived.In(s.opt.Location).Format("02/01/2006 15:04"), plain(l.From, maxAddress))
	if m.MessageID != "" {
		line += "  Message-ID: <" + plain(m.MessageID, maxID) + ">\n"
	}
	return line, nil
}
