package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/relay/dsn"
	"pecgate/relay/forward"
)

// Messages that come inside of journal reports (relays: journal: true). What was taken of one, or refused, is kept by
// server, Message-ID and sender, with the recipients: a report that is repeated, or that names some of them again, brings
// them nothing twice. The records go in the order in which they came, not by their age, so that no clock ends one early.
//
//	journal/KEY      recipients for whom the message was taken or refused
//	journal-slot/N   key of the record that has this place
//	journal-count    places given so far, and what was dropped today
const (
	journalSpace = "journal/"
	journalSlots = "journal-slot/"
	journalCount = "journal-count"
)

// maxJournals bounds the records: some years of the mail of an office.
const maxJournals = 200_000

// maxJournalTold is how many messages that were dropped have a line of their own in the audit log, each day.
const maxJournalTold = 100

// ErrJournalTaken says that another report brought the same message at the same time: the server is to try again.
var ErrJournalTaken = errors.New("relay: another report of this message was taken just now")

// Journaled is a message inside of a journal report.
type Journaled struct {
	Relay, Remote string
	Sender        string // reverse path
	User          string // login; "": nobody is certain
	Box           string // PEC mailbox; "": none is certain
	MsgID         string
	To            []string
}

// JournalRefusal is why one does not leave.
type JournalRefusal struct {
	Code             int
	Enhanced         string
	Italian, English string
	Reason, Where    string
	Header           []byte // what its sender is shown of it, ASCII
}

// journalTaken is what was done with a message. To are the beginnings of the SHA-256 of its recipients in lower case.
type journalTaken struct {
	At time.Time `json:"at"`
	To []string  `json:"to"`
	ID string    `json:"id,omitempty"` // of the last submission; empty: all was refused
}

type journalDay struct {
	Records uint64 `json:"records"`
	Day     string `json:"day"`
	Dropped int    `json:"dropped"`
}

func (j Journaled) key() string {
	h := sha256.New()
	for _, s := range []string{strings.ToLower(j.Relay), pec.NormalizeID(j.MsgID), strings.ToLower(j.Sender)} {
		fmt.Fprintf(h, "%d:%s,", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func journalRecipient(a string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(a)))
	return hex.EncodeToString(sum[:10])
}

func (j Journaled) taken(tx *mailbox.Tx) (t journalTaken, err error) {
	if err = tx.Space(room).Get(journalSpace+j.key(), &t); errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return t, err
}

// left are the recipients for whom nothing was done. The message itself may have come from the same server, too, where
// somebody sends both ways.
func (j Journaled) left(tx *mailbox.Tx) ([]string, error) {
	t, err := j.taken(tx)
	if err != nil {
		return nil, err
	}
	if j.Box != "" {
		sub, err := byMsgID(tx, strings.ToLower(j.Box), pec.NormalizeID(j.MsgID))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if err == nil && sub.Relay == j.Relay && strings.EqualFold(sub.ReturnTo, j.Sender) && sub.State != NotAccepted && sub.State != Cancelled {
			for _, r := range sub.Recipients {
				t.To = append(t.To, journalRecipient(r.Address))
			}
		}
	}
	var left []string
	for _, a := range j.To {
		if !slices.Contains(t.To, journalRecipient(a)) {
			left = append(left, a)
		}
	}
	return left, nil
}

// JournalLeft are those recipients of a report for whom nothing was done yet, in their order.
func (s *Service) JournalLeft(ctx context.Context, j Journaled) (left []string, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		if left, err = j.left(tx); err != nil || len(left) > 0 {
			return err
		}
		return nil
	})
	return left, err
}

// TakeJournal notes, in the transaction that makes it a submission, for whom a message was taken. ErrJournalTaken: for some
// of them it was before.
func TakeJournal(tx *mailbox.Tx, j Journaled, id string) error {
	part, err := j.note(tx, id)
	if err != nil {
		return err
	}
	return tx.Audit(mailbox.AuditLine{
		Actor: "relay " + j.Relay, Event: "journal report taken", Box: j.Box, Subject: id, Result: j.Sender, From: j.Remote,
		More: map[string]string{"message_id": j.MsgID, "recipients": fmt.Sprint(len(j.To)), "to": someOf(j.To), "reports": fmt.Sprint(part)},
	})
}

// JournalTook is the submission that a report has brought of a message which now comes as itself, from the same server and
// sender, to recipients all of whom the reports named; empty: there is none. One that ended without leaving is none.
func JournalTook(tx *mailbox.Tx, j Journaled) (id string, err error) {
	if j.MsgID == "" || len(j.To) == 0 {
		return "", nil
	}
	t, err := j.taken(tx)
	if err != nil || t.ID == "" {
		return "", err
	}
	for _, a := range j.To {
		if !slices.Contains(t.To, journalRecipient(a)) {
			return "", nil
		}
	}
	sub, err := load(tx, t.ID)
	if errors.Is(err, ErrNotFound) || err == nil && (sub.State == NotAccepted || sub.State == Cancelled) {
		return "", nil
	}
	return t.ID, err
}

// note writes the recipients down, and tells how many reports brought something of the message by now.
func (j Journaled) note(tx *mailbox.Tx, id string) (reports int, err error) {
	left, err := j.left(tx)
	if err != nil {
		return 0, err
	}
	if len(left) != len(j.To) {
		return 0, ErrJournalTaken
	}
	t, err := j.taken(tx)
	if err != nil {
		return 0, err
	}
	sp := tx.Space(room)
	if len(t.To) == 0 {
		c, err := journalCounted(tx)
		if err != nil {
			return 0, err
		}
		slot := fmt.Sprintf("%s%06d", journalSlots, c.Records%maxJournals)
		var old string
		switch err := sp.Get(slot, &old); {
		case err == nil:
			if err := sp.Delete(journalSpace + old); err != nil {
				return 0, err
			}
		case !errors.Is(err, mailbox.ErrNotFound):
			return 0, err
		}
		c.Records++
		if err := errors.Join(sp.Put(slot, j.key()), sp.Put(journalCount, c)); err != nil {
			return 0, err
		}
		reports = 1
	} else {
		reports = 2
	}
	t.At = tx.Now().UTC()
	if id != "" {
		t.ID = id
	}
	for _, a := range j.To {
		t.To = append(t.To, journalRecipient(a))
	}
	return reports, sp.Put(journalSpace+j.key(), t)
}

func journalCounted(tx *mailbox.Tx) (c journalDay, err error) {
	if err = tx.Space(room).Get(journalCount, &c); errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return c, err
}

// DropJournal counts a message of which nothing is to leave: the first of a day have a line in the audit log, the rest is
// only counted, since all ordinary mail of an organisation may come this way.
func (s *Service) DropJournal(ctx context.Context, j Journaled, why string) error {
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		c, err := journalCounted(tx)
		if err != nil {
			return err
		}
		if day := tx.Now().In(s.opt.Location).Format(time.DateOnly); c.Day != day {
			c.Day, c.Dropped = day, 0
		}
		c.Dropped++
		if err := tx.Space(room).Put(journalCount, c); err != nil || c.Dropped > maxJournalTold {
			return err
		}
		return tx.Audit(mailbox.AuditLine{
			Actor: "relay " + j.Relay, Event: "journal report dropped", Subject: plain(j.MsgID, maxWords), Result: j.Sender, Reason: plain(why, maxWords), From: j.Remote,
			More: map[string]string{"today": fmt.Sprint(c.Dropped)},
		})
	})
}

// RefuseJournal tells the sender of a message why it does not leave: by a delivery status notification where ordinary mail
// has a way, else by a notice in their INBOX, or in the administrators' where nobody is certain. A repeated report tells
// nobody twice.
func (s *Service) RefuseJournal(ctx context.Context, j Journaled, why JournalRefusal) error {
	with := func(tx *mailbox.Tx) (bool, error) {
		left, err := j.left(tx)
		if err != nil || len(left) == 0 {
			return false, err
		}
		j.To = left
		if _, err := j.note(tx, ""); err != nil {
			return false, err
		}
		return true, tx.Audit(mailbox.AuditLine{
			Actor: "relay " + j.Relay, Event: "journal report refused", Box: j.Box, Subject: plain(j.MsgID, maxWords), Result: j.Sender, Reason: why.Reason, From: j.Remote,
			More: map[string]string{"recipients": fmt.Sprint(len(left)), "to": someOf(left), "policy": why.Where, "user": j.User},
		})
	}
	if s.hasWay() && j.Sender != "" && !s.isPEC(j.Sender) {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			tell, err := with(tx)
			if err != nil || !tell {
				return err
			}
			return s.journalReports(tx, j, why)
		})
	}
	err := s.journalNotice(j, why).file(ctx, s.opt.Store, with)
	if errors.Is(err, errNothingToTell) {
		return nil
	}
	return err
}

// journalReports queues the notifications about a refused message.
func (s *Service) journalReports(tx *mailbox.Tx, j Journaled, why JournalRefusal) error {
	now := tx.Now().In(s.opt.Location)
	// Each report of a message has notifications of its own.
	sum := sha256.Sum256([]byte(strings.ToLower(strings.Join(j.To, "\n"))))
	name := "journal-" + j.key() + "-" + hex.EncodeToString(sum[:4])
	part := 0
	for some := range slices.Chunk(j.To, bouncePart) {
		part++
		r := &dsn.Report{
			From: s.opt.Address, FromName: "pecgate", To: j.Sender, Date: now, English: s.opt.Language == "en",
			MessageID: fmt.Sprintf("dsn.%s.%d@%s", name, part, domainOf(s.opt.Address)), Refers: []string{pec.NormalizeID(j.MsgID)},
			Loop: s.opt.Address, Reporter: s.opt.Hello, Arrived: now, Headers: why.Header,
			Said:   []string{"A questi indirizzi nulla è partito come PEC; la posta ordinaria la consegna il server di posta. " + why.Italian},
			SaidEN: []string{"Nothing was sent to these addresses as PEC; the mail server delivers the ordinary message. " + why.English},
		}
		if r.Reporter == "" {
			r.Reporter = domainOf(s.opt.Address)
		}
		for _, f := range mime.Fields(why.Header) {
			if strings.EqualFold(f.Name, "Subject") {
				r.Title = plain(mime.DecodeWords(f.Body()), maxSubject)
			}
		}
		status := why.Enhanced
		if dsn.Class(status) != 5 {
			status = "5.7.1"
		}
		for _, a := range some {
			r.Recipients = append(r.Recipients, dsn.Recipient{
				Final: dsn.Address{Addr: a}, Action: dsn.Failed, Status: status, DiagType: "x-pec", Diagnostic: plain(why.English, maxWords), At: now,
			})
		}
		raw, err := r.Bytes()
		if err != nil {
			return err
		}
		it := forward.Item{ID: fmt.Sprintf("%s-%d", name, part), To: j.Sender, Kind: kindBounce}
		if err := forward.AddText(tx, it, raw, s.isPEC); err != nil {
			return err
		}
	}
	return nil
}

// journalNotice is what stands in an INBOX where ordinary mail has no way.
func (s *Service) journalNotice(j Journaled, why JournalRefusal) *notice {
	n := &notice{
		from: s.opt.Address, to: j.Sender, user: j.User, box: j.Box, name: "journal-" + j.key(), refers: pec.NormalizeID(j.MsgID), at: s.opt.here(),
		subject: "PEC non partita",
		text: fmt.Sprintf("Il messaggio di %s non è partito come PEC: %s\n\nThe message of %s was not sent as PEC: %s\n\nMessage-ID: %s\n%s: %s\n",
			j.Sender, why.Italian, j.Sender, why.English, j.MsgID, s.opt.label("to"), someOf(j.To)),
	}
	if s.opt.Language == "en" {
		n.subject = "PEC not sent"
	}
	if n.user == "" {
		n.also = s.admins()
	}
	return n
}
