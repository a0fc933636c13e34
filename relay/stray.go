package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
)

// What a groupware server sends without a sender (notices of failure, automatic
// replies, journal reports) is no submission: it goes into the INBOX of the
// administrators as it came, and nowhere else. A day has room for so many; the rest
// is counted, and the first of them told.
//
//	stray    how many came today
const strayKey = "stray"

// Bounds of a day.
const (
	MaxStrays     = 100
	maxStrayBytes = 200 << 20
)

// strayDay is the count of a day in the appliance's zone.
type strayDay struct {
	Day   string `json:"day"`
	N     int    `json:"n"`
	Bytes int64  `json:"bytes"`
	Told  bool   `json:"told,omitempty"`
}

// Stray is what is known of one beside its bytes.
type Stray struct {
	Relay, Remote string
	Recipients    []string // as the server gave them
	Why           string   // it must not leave although it has a sender; empty: it has none
}

func (s *Service) strays(tx *mailbox.Tx) (d strayDay, err error) {
	if err = tx.Space(room).Get(strayKey, &d); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return d, err
	}
	if day := tx.Now().In(s.opt.Location).Format(time.DateOnly); d.Day != day {
		d = strayDay{Day: day}
	}
	return d, nil
}

// FileStray files one for the administrators, or counts it where the day has no room
// left. The intake is at an end in any case.
func (s *Service) FileStray(ctx context.Context, in *mailbox.Intake, size int64, about Stray) error {
	defer in.Abort() // no effect after Store
	admins := s.admins()
	full := false
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		d, err := s.strays(tx)
		full = d.N >= MaxStrays || d.Bytes+size > maxStrayBytes || len(admins) == 0
		return err
	})
	if err != nil {
		return err
	}
	if full {
		return s.countStray(ctx, about, admins)
	}
	st, err := in.Store(ctx, mailbox.Origin{Direction: mailbox.Own, User: admins[0].user, To: about.Recipients})
	if err != nil {
		return err
	}
	defer st.Close() // read-only handle: nothing to lose
	_, err = s.opt.Store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		d, err := s.strays(tx)
		if err != nil {
			return err
		}
		d.N++
		d.Bytes += size
		if err := tx.Space(room).Put(strayKey, d); err != nil {
			return err
		}
		for _, to := range admins {
			if to.person == 0 {
				if to.person, err = tx.EnsurePerson(to.user); err != nil {
					return err
				}
			}
			if _, _, err := tx.File(mailbox.FolderKey{Owner: to.person, Role: mailbox.RoleInbox}, m, mailbox.Filing{Audience: to.person}); err != nil {
				return err
			}
		}
		return about.audit(tx, "filed")
	})
	return err
}

// audit tells of one without a sender.
func (a Stray) audit(tx *mailbox.Tx, result string) error {
	to := strings.Join(a.Recipients[:min(len(a.Recipients), 3)], ", ")
	return tx.Audit(mailbox.AuditLine{
		Actor: "relay " + a.Relay, Event: map[bool]string{true: "null sender", false: "answer of a machine"}[a.Why == ""], Subject: to, Result: result, Reason: a.Why, From: a.Remote,
		More: map[string]string{"recipients": fmt.Sprint(len(a.Recipients))},
	})
}

// countStray counts one that is not kept, and tells of the first of a day.
func (s *Service) countStray(ctx context.Context, about Stray, admins []addressee) error {
	n := &notice{
		from: s.opt.Address, to: s.opt.Address, also: admins, at: s.opt.here(), name: "strays",
		subject: "Troppi messaggi senza mittente dai server di posta",
		text: fmt.Sprintf("Oggi dal server di posta %s (relays in policy.yaml) sono arrivati piu' messaggi senza mittente (avvisi di mancata consegna, risposte automatiche) di quanti se ne conservano (%d, o %d MiB): i prossimi di oggi vengono solo contati. Controllare sul server di posta che cosa li produce.\n\n"+
			"Today more messages without a sender (notices of failure, automatic replies) came from the mail server %s (relays in policy.yaml) than are kept (%d, or %d MiB): the next ones of today are only counted. See on the mail server what makes them.\n",
			about.Relay, MaxStrays, maxStrayBytes>>20, about.Relay, MaxStrays, maxStrayBytes>>20),
	}
	if s.opt.Language == "en" {
		n.subject = "Too many messages without a sender from the mail servers"
	}
	told := false
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		d, err := s.strays(tx)
		if err != nil {
			return err
		}
		d.N++
		told = d.Told || len(admins) == 0
		if told {
			return tx.Space(room).Put(strayKey, d)
		}
		return errors.Join(tx.Space(room).Put(strayKey, d), about.audit(tx, "counted"))
	})
	if err != nil || told {
		return err
	}
	return n.file(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		d, err := s.strays(tx)
		if err != nil || d.Told {
			return false, err
		}
		d.Told = true
		return true, tx.Space(room).Put(strayKey, d)
	})
}
