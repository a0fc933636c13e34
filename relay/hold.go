package relay

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
)

// A submission whose sender has not given the PIN is held (pin) where the mailbox
// allows the method reply. It stands in the sender's own folder of what is to be
// confirmed; a notice tells its sender what it is and bears a token, and a
// reply to that with the PIN releases it. The hold is recorded with the message
// in one transaction. The notice is written a moment later, and so is what a
// crash left unwritten (hold_keeper.go). The token stands in the notice and
// nowhere else: here is only its hash.
//
//	h/<id>               hold: while the submission is held
//	ha/<id>              nothing: its notice is still to be written
//	hd/<time>/<id>       hash of its token: when the hold ends; milliseconds since
//	                     1970, 16 hexadecimal digits. It outlives the hold, so that
//	                     a reply sent twice is told how it stands
//	ht/<hash of token>   id
//	hc                   how evenly the clock goes on
//	bell-holds           written to wake the keeper
const (
	holdTell  = "ha/"
	holdDue   = "hd/"
	holdBell  = "bell-holds"
	holdClock = "hc"
)

// HoldTime is how long a submission waits for its PIN; then it is cancelled and
// its sender told. Mail that was written on a Friday is still there on Monday.
const HoldTime = 72 * time.Hour

// Lack says why a submission is held for a PIN.
type Lack string

// What a PIN may lack.
const (
	PINMissing Lack = "missing"
	PINWrong   Lack = "wrong"
	PINLocked  Lack = "locked" // too many were wrong today: none was looked at
	PINSpent   Lack = "spent"  // a one-time code that was used before
)

// hold is the record of one.
type hold struct {
	Token string    `json:"token,omitempty"` // hash; empty: its notice is still to be written
	Until time.Time `json:"until"`
	Lack  Lack      `json:"lack"`
}

func holdKey(id string) string { return "h/" + id }

func tokenKey(hash string) string { return "ht/" + hash }

func holdDueKey(at time.Time, id string) string {
	return fmt.Sprintf("%s%016x/%s", holdDue, max(at.UnixMilli(), 0), id)
}

// newToken returns a token of 130 random bits, fit for the local part of an
// address however clients write that, and its hash.
func newToken() (token, hash string) {
	token = strings.ToLower(rand.Text())
	return token, hashToken(token)
}

func hashToken(token string) string {
	sum := sha256.Sum256([]byte("pecgate confirm\n" + strings.ToLower(token)))
	return hex.EncodeToString(sum[:])
}

// waitsForPIN tells whether it is held until its sender confirms it.
func (s *Submission) waitsForPIN() bool { return s.State == Held && s.StateReason == ReasonPIN }

// keepBack makes a submission that has just begun wait for its PIN, with its
// audit line, and saves it.
func keepBack(tx *mailbox.Tx, s *Submission, t Ticket, m *mailbox.Message) error {
	sp := tx.Space(room)
	h := hold{Until: s.SubmittedAt.Add(HoldTime), Lack: t.Held}
	s.State, s.StateReason, s.Hold = Held, ReasonPIN, true
	if err := happened(tx, s, string(Held), "for the PIN of its sender"); err != nil {
		return err
	}
	more := map[string]string{"pin": string(t.Held), "until": h.Until.Format(time.RFC3339)}
	t.audited(more)
	err := tx.Audit(mailbox.AuditLine{
		Actor: t.User, Event: "submission", Box: s.Box, Subject: s.ID, Result: string(Held), Reason: string(ReasonPIN), From: t.Remote, More: more,
	})
	if err != nil {
		return err
	}
	k := mailbox.FolderKey{Box: s.Box, Owner: s.Person, Role: mailbox.RoleToConfirm}
	folder, uid, err := tx.File(k, m, mailbox.Filing{Audience: s.Person})
	if err != nil {
		return err
	}
	places := []mailbox.Place{{Folder: folder, UID: uid}}
	for _, id := range []string{s.MsgID, s.Alias} {
		if err := tx.NoteSent(s.Person, id, m, places); err != nil {
			return err
		}
	}
	return errors.Join(
		sp.Put(holdKey(s.ID), h), sp.Put(holdTell+s.ID, true), sp.Put(holdDueKey(h.Until, s.ID), ""), sp.Put(holdBell, s.ID), save(tx, s, nil),
	)
}

// endHold takes away what belongs to the hold of a submission that is kept back
// for a PIN or an approval no longer: its place is then that of what was sent, or of what was
// thrown away. It does nothing for any other.
func endHold(tx *mailbox.Tx, s *Submission) error {
	if !s.Hold || s.kept() {
		return nil
	}
	sp := tx.Space(room)
	s.Hold = false
	if err := errors.Join(sp.Delete(holdKey(s.ID)), sp.Delete(holdTell+s.ID)); err != nil {
		return err
	}
	if err := s.unfileKept(tx); err != nil {
		return err
	}
	m, err := tx.Message(s.Message)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.State != Cancelled {
		err := FileSent(tx, Ticket{Box: s.Box, Person: s.Person, MsgID: s.MsgID, Alias: s.Alias}, m)
		if err == nil && s.Approval {
			err = s.fileApproved(tx, m)
		}
		return errors.Join(err, s.show(tx))
	}
	trash := mailbox.FolderKey{Box: s.Box, Owner: s.Person, Role: mailbox.RoleTrash}
	if s.trash != nil {
		trash = *s.trash
	}
	if trash.Role == "" {
		return nil
	}
	s.trashed.Folder, s.trashed.UID, err = tx.File(trash, m, mailbox.Filing{Audience: s.Person, For: s.Person, Flags: []string{`\Seen`}})
	return err
}

// HeldForPIN tells whether the submission with an id waits for its PIN.
func HeldForPIN(tx *mailbox.Tx, id string) (bool, error) {
	s, err := load(tx, id)
	if err != nil {
		return false, err
	}
	return s.waitsForPIN(), nil
}
