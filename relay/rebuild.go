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
func (s *Service) Look(ctx context.Context, st *mailbox.Stored) (func(*mailbox.Tx, *mailbox.Message) error, error) {
	switch o := st.Origin; o.Direction {
	case mailbox.Out:
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
	report, err := s.opt.Reader.Read(ctx, st, st.Size(), st.Index)
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
func (s *Service) account(box string) Account {
	for _, a := range s.opt.Accounts() {
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
	if err := happened(tx, sub, string(Held), "made anew from the stored message: nobody knows whether it left"); err != nil {
		return err
	}
	if err := FileSent(tx, t, m); err != nil {
		return err
	}
	return errors.Join(sub.show(tx), save(tx, sub, nil))
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
