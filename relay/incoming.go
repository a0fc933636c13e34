package relay

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/fetch"
)

// cursor is how far a folder of the provider has been fetched.
type cursor struct {
	UIDValidity uint32 `json:"uidvalidity"`
	UID         uint32 `json:"uid"`
	// What stood there at first contact is history: filed and tied, but old.
	HistoryTo uint32 `json:"history_to"`
}

func cursorKey(box, folder string) string { return "c/" + strings.ToLower(box) + "/" + folder }

// takeIn stores one message of the provider, reads what it is, files it and
// applies it, all durable together with the cursor before it returns nil.
func (s *Service) takeIn(ctx context.Context, acc Account, c cursor, it fetch.Item) error {
	in, err := s.opt.Store.Begin(ctx)
	if err != nil {
		return err
	}
	defer in.Abort() // no effect after Store
	if err := copyBody(in, it); err != nil {
		return err
	}
	st, err := in.Store(ctx, mailbox.Origin{
		Box: acc.Box, Direction: mailbox.In, Folder: it.Folder, Validity: it.UIDValidity, UID: it.UID, Date: it.InternalDate.UTC(),
	})
	if err != nil {
		return err
	}
	defer st.Close() // read-only handle: nothing to lose
	report, err := s.opt.Reader.Read(ctx, st, st.Size(), st.Index)
	if err != nil {
		return err
	}
	found, err := s.compare(ctx, acc.Box, report, hex.EncodeToString(st.Ref.Sum[:]), st)
	if err != nil {
		return err
	}
	c.UIDValidity, c.UID = it.UIDValidity, max(c.UID, it.UID)
	m, err := s.opt.Store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		if err := tx.Space(room).Put(cursorKey(acc.Box, it.Folder), c); err != nil {
			return err
		}
		switch known, err := s.have(tx, acc.Box, m); {
		case err != nil:
			return err
		case known:
			return errKnown
		}
		m.History = it.UID <= c.HistoryTo
		m.Kind, m.Verdict, m.Reason = report.Kind, report.Verdict, report.Reason
		return s.file(tx, acc, report, found, m)
	})
	if errors.Is(err, errKnown) {
		// The bytes that came again go by themselves: nothing was recorded of them.
		s.opt.Events.Refetched(acc.Box, it.Folder, it.UID)
		return s.writeCursor(ctx, acc.Box, it.Folder, c)
	}
	if err != nil {
		return err
	}
	s.opt.Events.Fetched(acc.Box, it.Folder, it.UID, string(m.Kind), m.Verdict, m.Reason, m.Submission)
	if m.Submission == "" {
		return nil
	}
	s.told(m, found)
	if err := s.claim(ctx, acc.Box, idKey(report.Identifier)); err != nil && ctx.Err() == nil {
		// This message is taken in. Those that waited go on waiting.
		s.faults(acc.Box, err)
	}
	return nil
}

// errKnown: the mailbox has this message already.
var errKnown = errors.New("relay: the message is there already")

// have tells whether the mailbox already has the message of m, by content: a
// UIDVALIDITY that changed or a cursor lost must double nothing, and a forged
// equal Message-ID must suppress nothing.
func (s *Service) have(tx *mailbox.Tx, box string, m *mailbox.Message) (bool, error) {
	ids, err := tx.ByContent(m.Ref.Sum)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if id == m.ID {
			continue
		}
		old, err := tx.Message(id)
		if errors.Is(err, mailbox.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		if places, err := tx.Places(id); err != nil || (len(places) > 0 && old.Direction == mailbox.In && old.Box == m.Box) {
			return err == nil, err
		}
	}
	return false, nil
}

// file applies a message that arrived and puts it into its folder.
func (s *Service) file(tx *mailbox.Tx, acc Account, r *pec.Report, found *finding, m *mailbox.Message) error {
	to, how := place(r)
	if to == mailbox.RoleInbox && r.Believed() && late(r, m) {
		// As of its signing time all is right. But that is the signer's word, and
		// whoever got hold of a key after its certificate expired would write an old one.
		how.Keywords = []string{unverified}
		note := "time: signed at " + r.When().UTC().Format(time.DateOnly) + ", more than 7 days before it arrived"
		m.Reason = strings.TrimPrefix(m.Reason+"; "+note, "; ")
	}
	how.Seen = m.History
	line := mailbox.AuditLine{Actor: "relay", Event: "arrival", Box: acc.Box, Result: string(r.Kind) + " " + r.Verdict, Reason: m.Reason}
	if r.Believed() && aboutSending(r.Kind) {
		sub, err := applyReceipt(tx, acc.Box, r, m, found)
		if err != nil {
			return err
		}
		switch {
		case sub != nil:
			m.Submission, how.Audience = sub.ID, sub.Person
			line.Subject = sub.ID
		case !pec.SameAddress(r.Sender, acc.Box):
			// A genuine receipt of somebody else's message.
			to, line.Reason = mailbox.RoleAnomalies, "the signed data name another mailbox as sender"
		default:
			line.Reason = strings.TrimPrefix(line.Reason+"; tied to no submission", "; ")
			if err := wait(tx, acc.Box, r, m); err != nil {
				return err
			}
		}
	}
	if r.Believed() && r.Kind == pec.Transport && !m.History {
		if err := tx.EnterRegister(m, m.Arrived); err != nil {
			return err
		}
	}
	if r.Believed() && (r.Kind == pec.TakenInCharge || r.Kind == pec.VirusDetected) {
		// Between providers only: of use to the administrator at most. One that only
		// says so is seen like any other anomaly.
		admin, err := tx.EnsurePerson(acc.Admin)
		if err != nil {
			return err
		}
		how.Audience = admin
	}
	line.More = map[string]string{"folder": string(to), "sha256": m.SHA256()}
	if err := tx.Audit(line); err != nil {
		return err
	}
	_, _, err := tx.File(mailbox.FolderKey{Box: acc.Box, Role: to}, m, how)
	return err
}

// aboutSending tells whether a message of this kind tells a sender what became
// of a message.
func aboutSending(k pec.Kind) bool {
	switch k {
	case pec.Acceptance, pec.NonAcceptance, pec.Delivery, pec.DeliveryError, pec.DeliveryWarning:
		return true
	}
	return false
}

// unverified marks an envelope that is shown although it is not certain.
const unverified = "$PecUnverified"

// lateAfter is how long after its signing an envelope may arrive: providers
// deliver within 24 hours or give up.
const lateAfter = 7 * 24 * time.Hour

// late tells whether a message was signed long before the provider received it.
// What stood there before the gateway did may have been moved about.
func late(r *pec.Report, m *mailbox.Message) bool {
	at := r.When()
	return !m.History && !at.IsZero() && m.Date.Sub(at) > lateAfter
}

// place says where a message that arrived belongs.
func place(r *pec.Report) (mailbox.Role, mailbox.Filing) {
	if r.Kind == pec.Transport {
		switch {
		case r.Believed():
			return mailbox.RoleInbox, mailbox.Filing{}
		case r.Verdict == pec.Unverifiable && r.Check == "chain" && !r.Relayed:
			// All is right but that the CA is not known here: it may be real, so it
			// stays in sight, marked.
			return mailbox.RoleInbox, mailbox.Filing{Keywords: []string{unverified}}
		}
		return mailbox.RoleAnomalies, mailbox.Filing{}
	}
	if !r.Believed() {
		return mailbox.RoleAnomalies, mailbox.Filing{}
	}
	switch r.Kind {
	case pec.Acceptance:
		for _, x := range r.Recipients {
			if x.Type != pec.External {
				return mailbox.RoleAcceptance, mailbox.Filing{}
			}
		}
		return mailbox.RoleOrdinaryAcceptance, mailbox.Filing{}
	case pec.Delivery:
		return mailbox.RoleDelivery, mailbox.Filing{}
	case pec.NonAcceptance, pec.DeliveryError, pec.DeliveryWarning:
		return mailbox.RoleErrors, mailbox.Filing{}
	}
	return mailbox.RoleAnomalies, mailbox.Filing{}
}

// readCursor returns the cursor of a provider's folder; ok is false before the
// first contact.
func (s *Service) readCursor(ctx context.Context, box, folder string) (c cursor, ok bool, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Get(cursorKey(box, folder), &c) })
	if errors.Is(err, mailbox.ErrNotFound) {
		return c, false, nil
	}
	return c, err == nil, err
}

func (s *Service) writeCursor(ctx context.Context, box, folder string, c cursor) error {
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Put(cursorKey(box, folder), c) })
}
