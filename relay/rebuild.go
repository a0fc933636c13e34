package relay

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"

	"pecgate/mailbox"
)

// Look says where a message belongs that has bytes and no record: after a
// restore, and when all records are made anew (mailbox.Look). A submission is
// made anew from the origin beside its bytes, and held, since nobody knows
// whether it left; what arrived is read, filed and tied as at its arrival, as
// history. Nothing is told to anybody, and no register number is given.
//
// A submission that waited for a PIN or for approval when it was accepted is held
// as one of which nobody knows whether that was given (Unconfirmed): the records
// that told are lost. Its author alone sees it, among what is kept back, and may
// withdraw it; a person releases it by name only (RetryUnconfirmed).
func (s *Service) Look(ctx context.Context, st *mailbox.Stored) (func(*mailbox.Tx, *mailbox.Message) error, error) {
	switch o := st.Origin; o.Direction {
	case mailbox.Out:
		if o.Box != "" && o.User == "" && o.Submission != "" && o.Alias != "" && mailbox.Role(o.Folder) == mailbox.RoleSent {
			return func(tx *mailbox.Tx, m *mailbox.Message) error {
				err := originalOf(tx, o, m, "its "+o.Name)
				if errors.Is(err, ErrMsgIDUsed) {
					err = s.leftOver(tx, Ticket{Box: o.Box}, m, "a recovered original whose Message-ID a submission has")
				}
				return err
			}, nil
		}
		if o.Box == "" || o.User == "" || o.Submission == "" || len(o.To) == 0 {
			return nil, nil
		}
		return func(tx *mailbox.Tx, m *mailbox.Message) error { return s.submitAnew(tx, o, m) }, nil
	case mailbox.In:
		if o.Box == "" {
			return nil, nil
		}
		return s.arriveAnew(ctx, st)
	case mailbox.Own:
		if o.Box == "" || o.User == "" || o.Submission == "" || mailbox.Role(o.Folder) != mailbox.RoleOutcomes {
			return nil, nil // the store knows where it belongs
		}
		return func(tx *mailbox.Tx, m *mailbox.Message) error { return outcomeAnew(tx, o, m) }, nil
	}
	return nil, nil
}

func (s *Service) arriveAnew(ctx context.Context, st *mailbox.Stored) (func(*mailbox.Tx, *mailbox.Message) error, error) {
	acc := s.account(st.Origin.Box)
	report, err := s.reader().Read(ctx, st, st.Size(), st.Index)
	if err != nil {
		return nil, err
	}
	if forAdmin(report) && acc.Admin == "" {
		return nil, nil // nobody to show it to
	}
	found, err := s.compare(ctx, acc.Box, report, hex.EncodeToString(st.Ref.Sum[:]), st)
	if err != nil {
		return nil, err
	}
	return func(tx *mailbox.Tx, m *mailbox.Message) error {
		m.History = true
		m.Kind, m.Verdict, m.Reason = report.Kind, report.Verdict, report.Reason
		if known, err := s.have(tx, acc.Box, m); err != nil || known != nil {
			return err // fetched twice: the record tells that its bytes are known
		}
		_, err := s.sortIn(tx, acc, report, found, m)
		return err
	}, nil
}

// account is the mailbox as the policy has it, or what is known of one that has
// left it.
func (s *Service) account(box string) Account { return s.opt.account(box) }

func (o Options) account(box string) Account {
	for _, a := range o.Accounts() {
		if strings.EqualFold(a.Box, box) {
			a.Box = strings.ToLower(a.Box)
			return a
		}
	}
	return Account{Box: strings.ToLower(box)}
}

// submitAnew makes a submission from the origin of its bytes.
func (s *Service) submitAnew(tx *mailbox.Tx, o mailbox.Origin, m *mailbox.Message) error {
	t := Ticket{ID: o.Submission, Box: strings.ToLower(o.Box), User: o.User, MsgID: m.MessageID, Alias: o.Alias, To: o.To, Split: o.Split, Visible: o.Visible}
	t.relayedAnew(o.Relayed)
	var err error
	if t.Person, err = tx.EnsurePerson(o.User); err != nil {
		return err
	}
	m.Author, m.Submission, m.History = t.Person, t.ID, true
	switch _, err := load(tx, t.ID); {
	case err == nil:
		return s.leftOver(tx, t, m, "the submission that it names has another message")
	case !errors.Is(err, ErrNotFound):
		return err
	}
	sub, err := begin(tx, t, m, o.At.UTC())
	if errors.Is(err, ErrMsgIDUsed) {
		// A crash came before its record was durable, and the client sent it again.
		return s.leftOver(tx, t, m, "another submission has its Message-ID")
	}
	if err != nil {
		return err
	}
	sub.State, sub.StateReason, sub.Doubt, sub.Since = Held, ReasonRestored, true, tx.Now().UTC()
	if sub.batch() {
		sub.rest(Held, ReasonRestored, sub.Since)
	}
	text, file := "made anew from the stored message: nobody knows whether it left", FileSent
	if o.Held != "" {
		sub.Unconfirmed = ReasonPIN
		if o.Held == string(ReasonApproval) {
			sub.Unconfirmed, sub.Approval = ReasonApproval, true
		}
		sub.Hold, file = true, sub.fileUnconfirmed
		text += "; it waited for " + sub.lacked() + " when it was accepted, and nobody knows whether that was given"
	}
	if err := happened(tx, sub, string(Held), text); err != nil {
		return err
	}
	if err := file(tx, t, m); err != nil {
		return err
	}
	return errors.Join(sub.show(tx), save(tx, sub, nil))
}

// Reason is what a submission that lacks it is held for; an origin says it.
func (l Lack) Reason() Reason {
	switch l {
	case "":
		return ""
	case ForApproval:
		return ReasonApproval
	}
	return ReasonPIN
}

// unconfirmed tells whether it is held although no PIN and no approval is known
// that it waited for.
func (s *Submission) unconfirmed() bool {
	if s.batch() {
		return s.Unconfirmed != "" && s.Rest == Held && s.unmade() > 0
	}
	return s.Unconfirmed != "" && s.State == Held
}

// stillUnconfirmed is Unconfirmed while it is so.
func (s *Submission) stillUnconfirmed() Reason {
	if s.unconfirmed() {
		return s.Unconfirmed
	}
	return ""
}

// lacked names what it waited for.
func (s *Submission) lacked() string {
	if s.Unconfirmed == ReasonApproval {
		return "a member who may approve it"
	}
	return "its sender's PIN"
}

// refuseUnconfirmed is the refusal to release it as if that had been given.
func (s *Submission) refuseUnconfirmed() error {
	return refuse("%s waited for %s when it was accepted, and the records that would say whether that was given are lost: ask its sender (%s); "+
		"with --unconfirmed it is sent all the same, without PIN or approval", s.ID, s.lacked(), s.User)
}

// fileUnconfirmed puts it where its author alone sees it, among what is kept back.
func (s *Submission) fileUnconfirmed(tx *mailbox.Tx, t Ticket, m *mailbox.Message) error {
	k := mailbox.FolderKey{Box: t.Box, Owner: t.Person, Role: mailbox.RoleToConfirm}
	how := mailbox.Filing{Audience: t.Person}
	if s.Unconfirmed == ReasonApproval {
		k = mailbox.FolderKey{Box: t.Box, Role: mailbox.RoleToApprove}
		how = mailbox.Filing{Audience: t.Person, Private: true, For: t.Person, Flags: []string{`\Seen`}}
	}
	folder, uid, err := tx.File(k, m, how)
	if err != nil {
		return err
	}
	places := []mailbox.Place{{Folder: folder, UID: uid}}
	return errors.Join(tx.NoteSent(t.Person, t.MsgID, m, places), tx.NoteSent(t.Person, t.Alias, m, places))
}

// releasedAfterAll notes of a batch that a message of it has left that was never
// tried by these records: what it waited for was given before they were lost.
func (b *Submission) releasedAfterAll(tx *mailbox.Tx, child *Submission) error {
	if !b.unconfirmed() || child.Attempts > 0 || child.HandedOver.IsZero() && child.State != NotAccepted {
		return nil
	}
	text := "a receipt of its message " + child.ID + " tells that it was released: " + b.lacked() + " is missed no more"
	b.Unconfirmed = ""
	b.Tally.Rev++
	return happened(tx, b, "confirmed", text)
}

// leftOver shows a submission's bytes that are no submission to the mailbox's
// administrator, or to who submitted them where there is none.
func (s *Service) leftOver(tx *mailbox.Tx, t Ticket, m *mailbox.Message, why string) error {
	m.Submission = ""
	who := t.Person
	if admin := s.account(t.Box).Admin; admin != "" {
		var err error
		if who, err = tx.EnsurePerson(admin); err != nil {
			return err
		}
	}
	return tx.FileRecovered(m, who, why)
}

// FileSent puts the sent copy of a submission where its author and the
// mailbox's readers see it, so that the copy that the client appends later is
// known to be the same.
func FileSent(tx *mailbox.Tx, t Ticket, m *mailbox.Message) error {
	seen := mailbox.Filing{Audience: t.Person, For: t.Person, Flags: []string{`\Seen`}}
	var places []mailbox.Place
	for _, k := range []mailbox.FolderKey{
		{Box: t.Box, Role: mailbox.RoleSent},
		{Owner: t.Person, Role: mailbox.RoleSent},
	} {
		folder, uid, err := tx.File(k, m, seen)
		if err != nil {
			return err
		}
		places = append(places, mailbox.Place{Folder: folder, UID: uid})
	}
	if err := tx.NoteSent(t.Person, t.MsgID, m, places); err != nil {
		return err
	}
	return tx.NoteSent(t.Person, t.Alias, m, places)
}
