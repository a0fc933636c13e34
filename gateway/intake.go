package gateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"pecgate/gateway/smtpd"
	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/mailbox/planted"
	"pecgate/relay"
)

// intake takes what smtpd accepts into store and queue.
type intake struct{ store *mailbox.Store }

var _ smtpd.Intake = (*intake)(nil)

// Ready tells whether a message could be taken now.
func (in *intake) Ready(context.Context) error { return tooFull(in.store.Room()) }

// Begin starts the delivery of one submission.
func (in *intake) Begin(ctx context.Context, s smtpd.Submission) (_ smtpd.Delivery, err error) {
	defer func() { err = tooFull(err) }()
	person, err := in.store.Person(ctx, s.Identity.User)
	if err != nil {
		return nil, err
	}
	id, err := relay.NextID(ctx, in.store)
	if err != nil {
		return nil, err
	}
	d := &delivery{
		store: in.store, sub: s, left: s.HeaderSize, body: sha256.New(),
		ticket: relay.Ticket{
			ID: id, Box: strings.ToLower(s.Mailbox), User: s.Identity.User, Person: person,
			MsgID: pec.NormalizeID(s.MessageID), To: s.Recipients, Split: s.Split, Visible: s.Visible, Edits: s.HeaderEdits, Remote: s.Remote,
			Relay: s.Relay, Ordinary: s.OrdinarySender, Key: relay.Key{Name: s.Key, Sum: s.KeySum}, ReturnTo: s.ReturnTo, EnvID: s.EnvID, Return: s.Return, Notify: askedOf(s),
			Remarks: remarksOf(s),
		},
	}
	if d.main, err = in.store.Begin(ctx); err != nil {
		return nil, err
	}
	var used bool
	err = in.store.View(ctx, func(tx *mailbox.Tx) error {
		used, err = relay.MsgIDUsed(tx, d.ticket.Box, d.ticket.MsgID)
		return err
	})
	if err == nil && used {
		err = d.renamed(ctx)
	}
	if err != nil {
		d.Abort()
		return nil, err
	}
	return d, nil
}

// tooFull gives smtpd its own word for a full disk.
func tooFull(err error) error {
	if errors.Is(err, mailbox.ErrNoSpace) {
		return fmt.Errorf("%w: %w", smtpd.ErrNoSpace, err)
	}
	return err
}

// delivery is one submission on its way into store and queue.
//
// Where its Message-ID is one that the mailbox has used already, nobody can
// say before the last byte whether this is the client's retry of the same
// message or another message. Both are then written: as it came, and under an
// id of our own.
type delivery struct {
	store  *mailbox.Store
	sub    smtpd.Submission
	ticket relay.Ticket
	main   *mailbox.Intake

	left   int64      // bytes of the header still to come
	body   hash.Hash  // of what comes behind it
	lack   smtpd.Lack // of the PIN; empty: it is not held
	other  *mailbox.Intake
	header []byte // what has come of the header, where other is
	newID  string // Message-ID in other
}

// renamed prepares the second writing.
func (d *delivery) renamed(ctx context.Context) (err error) {
	d.newID = "pg." + d.ticket.ID + d.ticket.Box[strings.LastIndexByte(d.ticket.Box, '@'):]
	d.other, err = d.store.Begin(ctx)
	return err
}

// Write takes the next bytes of the message as it will be relayed.
func (d *delivery) Write(p []byte) (n int, err error) {
	defer func() { err = tooFull(err) }()
	n, err = d.main.Write(p)
	if err != nil {
		return n, err
	}
	head, rest := p, []byte(nil)
	if int64(len(p)) > d.left {
		head, rest = p[:d.left], p[d.left:]
	}
	d.left -= int64(len(head))
	d.body.Write(rest) // never fails
	if d.other == nil {
		return n, nil
	}
	if len(head) > 0 {
		if d.header = append(d.header, head...); d.left == 0 {
			_, err = d.other.Write(replaceMsgID(d.header, d.newID))
			d.header = nil
		}
	}
	if err == nil && len(rest) > 0 {
		_, err = d.other.Write(rest)
	}
	return n, err
}

// replaceMsgID gives a header another Message-ID; all other bytes stay.
func replaceMsgID(header []byte, id string) []byte {
	out := make([]byte, 0, len(header)+len(id))
	at := 0
	for _, f := range mime.Fields(header) {
		if !strings.EqualFold(f.Name, "Message-ID") {
			continue
		}
		out = append(out, header[at:f.Off]...)
		out = append(out, "Message-ID: <"+id+">\r\n"...)
		at = f.Off + len(f.Raw)
	}
	return append(out, header[at:]...)
}

// Commit makes bytes, record, queue item, sent copy and audit line durable.
// Only after it may the client be told 250.
func (d *delivery) Commit(ctx context.Context) (_ smtpd.Receipt, err error) {
	defer func() { err = tooFull(err) }()
	keep, t := d.main, d.ticket
	t.Retry, t.Held = d.fingerprint(), relay.Lack(d.lack)
	known, err := d.Known(ctx)
	if err != nil || known.ID != "" {
		d.Abort()
		if err == nil && known.Held && d.lack == "" {
			return d.confirm(ctx, known.ID)
		}
		return known, err
	}
	if planted.Is(planted.SameIDSuppressed) && d.other != nil {
		d.Abort()
		return smtpd.Receipt{ID: t.ID}, nil
	}
	if d.other != nil {
		d.main.Abort()
		keep = d.other
		t.Alias, t.MsgID = t.MsgID, d.newID
		t.Edits = append(t.Edits, "Message-ID replaced")
	}
	st, err := keep.Store(ctx, mailbox.Origin{
		Box: t.Box, Direction: mailbox.Out, User: t.User, Submission: t.ID, From: t.Box, To: t.To, Alias: t.Alias, Split: t.Split, Visible: t.Visible,
		Held: string(t.Held.Reason()), Relayed: t.Relayed(),
	})
	if err != nil {
		return smtpd.Receipt{}, err
	}
	defer st.Close() // read-only handle: nothing to lose
	_, err = d.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) (err error) {
		// Asked once more where nothing can come between: two connections may
		// bring the same retry at the same time.
		if known, err = knownBy(tx, t); err != nil {
			return err
		}
		if known.ID != "" {
			return errRepeated
		}
		if known, err = reportedAs(tx, d.sub); err != nil {
			return err
		}
		if known.ID != "" {
			return errRepeated
		}
		if d.sub.Journal != nil {
			if err := relay.TakeJournal(tx, journalOf(*d.sub.Journal), t.ID); err != nil {
				return err
			}
		}
		m.Author, m.Submission = t.Person, t.ID
		if _, err := relay.Enqueue(tx, t, m); err != nil || t.Held != "" {
			return err // what is held stands among what is to be confirmed or approved
		}
		return relay.FileSent(tx, t, m)
	})
	switch {
	case errors.Is(err, errRepeated) && known.Held && d.lack == "":
		return d.confirm(ctx, known.ID)
	case errors.Is(err, errRepeated):
		return known, nil
	case err != nil:
		return smtpd.Receipt{}, err
	}
	approval := t.Held == relay.ForApproval
	return smtpd.Receipt{ID: t.ID, Held: t.Held != "" && !approval, Approval: approval, Replaced: t.Alias != ""}, nil
}

// errRepeated ends the transaction of a retry.
var errRepeated = errors.New("gateway: accepted already")

// fingerprint is what a retry of this submission has in common with it. A list
// counts as itself: who is on it may have changed between the two.
func (d *delivery) fingerprint() string {
	return relay.Fingerprint(d.ticket.User, d.ticket.Box, cmp.Or(d.sub.ClientMessageID, d.sub.Way), d.sub.Envelope,
		hex.EncodeToString(d.sub.ClientHeader[:]), hex.EncodeToString(d.body.Sum(nil)))
}

// Known returns the receipt of the submission of which this is the client's
// retry.
func (d *delivery) Known(ctx context.Context) (known smtpd.Receipt, err error) {
	err = d.store.View(ctx, func(tx *mailbox.Tx) (err error) {
		t := d.ticket
		t.Retry = d.fingerprint()
		known, err = knownBy(tx, t)
		return err
	})
	return known, err
}

// knownBy looks for the submission of which this one is the repetition: by the key that
// its application gave it, and only where it gave none by what it is.
func knownBy(tx *mailbox.Tx, t relay.Ticket) (smtpd.Receipt, error) {
	if t.Key.Name == "" {
		return knownAs(tx, t.Retry)
	}
	id, err := relay.Submitted(tx, t.Key)
	if errors.Is(err, relay.ErrOtherKey) {
		err = fmt.Errorf("%w: %w", smtpd.ErrKeyUsed, err)
	}
	if err != nil || id == "" {
		return smtpd.Receipt{}, err
	}
	return knownOf(tx, id)
}

func knownAs(tx *mailbox.Tx, fingerprint string) (known smtpd.Receipt, err error) {
	id, err := relay.Repeated(tx, fingerprint)
	if err != nil || id == "" {
		return known, err
	}
	return knownOf(tx, id)
}

// reportedAs is the receipt of what a journal report of the same server has brought before the message itself.
func reportedAs(tx *mailbox.Tx, s smtpd.Submission) (known smtpd.Receipt, err error) {
	if s.Relay == "" || s.Journal != nil {
		return known, nil
	}
	id, err := relay.JournalTook(tx, relay.Journaled{Relay: s.Relay, Sender: s.ReturnTo, MsgID: s.ClientMessageID, To: s.Recipients})
	if err != nil || id == "" {
		return known, err
	}
	return knownOf(tx, id)
}

func knownOf(tx *mailbox.Tx, id string) (known smtpd.Receipt, err error) {
	known = smtpd.Receipt{ID: id, Duplicate: true}
	if known.Held, err = relay.HeldForPIN(tx, id); err == nil {
		known.Approval, err = relay.WaitsForApproval(tx, id)
	}
	return known, err
}

// Hold has Commit keep the message back for its sender's PIN.
func (d *delivery) Hold(why smtpd.Lack) { d.lack = why }

// Proved notes that the PIN was right.
func (d *delivery) Proved() { d.ticket.PIN = true }

// confirm releases the submission that was held and of which this one, with the
// right PIN, is the retry.
func (d *delivery) confirm(ctx context.Context, id string) (smtpd.Receipt, error) {
	err := d.store.Update(ctx, func(tx *mailbox.Tx) error {
		return relay.ConfirmHeld(tx, id, relay.Hand{Actor: d.ticket.User, From: d.ticket.Remote})
	})
	return smtpd.Receipt{ID: id, Duplicate: true, Confirmed: err == nil}, err
}

// Abort drops everything. It does nothing after Commit.
func (d *delivery) Abort() {
	d.main.Abort()
	if d.other != nil {
		d.other.Abort()
	}
}

// remarksOf is what the sender of a submission is told.
func remarksOf(s smtpd.Submission) (out []relay.Remark) {
	for _, w := range s.Warn {
		out = append(out, relay.Remark{Italian: w.Italian, English: w.English})
	}
	return out
}

// askedOf is what the sender of a submission asked to be told of its recipients.
func askedOf(s smtpd.Submission) (out []relay.NotifyOf) {
	for _, a := range s.Asked {
		if a.Notify != "" || a.ORCPT != "" {
			out = append(out, relay.NotifyOf{Recipient: a.Recipient, Notify: a.Notify, ORCPT: a.ORCPT})
		}
	}
	return out
}
