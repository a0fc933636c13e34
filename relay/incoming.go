package relay

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/mailbox/planted"
	"pecgate/relay/fetch"
)

// cursor is how far a folder of the provider has been fetched.
type cursor struct {
	UIDValidity uint32 `json:"uidvalidity"`
	UID         uint32 `json:"uid"`
	// What stood there at first contact is history: filed and tied, but old. It is
	// taken in from the newest down: Left is the highest that may be left, 0: none is.
	HistoryTo uint32 `json:"history_to"`
	Left      uint32 `json:"left,omitempty"`
}

// behind is the cursor after the message uid.
func (c cursor) behind(uid uint32) cursor {
	if uid <= c.Left {
		c.Left = uid - 1
	} else {
		c.UID = max(c.UID, uid)
	}
	return c
}

func cursorKey(box, folder string) string { return "c/" + strings.ToLower(box) + "/" + folder }

// taking is a message of the provider about to be taken in.
type taking struct {
	it      fetch.Item
	listed  int64 // its size by the provider's list
	history bool
	// before, where it is set: history is only what came before that time.
	before time.Time
	last   bool // no try follows soon: what cannot be filed is kept for the administrator
	// moved notes how far the provider's folder has been fetched; nil: nothing
	// to note but the message itself.
	moved func(tx *mailbox.Tx) error
	// imported: it does not come from the provider, where nothing is noted of it.
	imported bool
}

// takeIn takes in one message of a folder and moves the folder's cursor.
func (s *Service) takeIn(ctx context.Context, acc Account, c cursor, it fetch.Item) error {
	return s.tryIn(ctx, acc, c, it, false)
}

// tryIn is takeIn; last tells that no other try follows soon.
func (s *Service) tryIn(ctx context.Context, acc Account, c cursor, it fetch.Item, last bool) error {
	return s.take(ctx, acc, takingOf(acc, c, it, last))
}

// takingOf is a message of a folder that has been fetched as far as c.
func takingOf(acc Account, c cursor, it fetch.Item, last bool) taking {
	c = c.behind(it.UID)
	c.UIDValidity = it.UIDValidity
	return taking{
		it: it, listed: it.Size, history: it.UID <= c.HistoryTo, last: last,
		moved: func(tx *mailbox.Tx) error { return tx.Space(room).Put(cursorKey(acc.Box, it.Folder), c) },
	}
}

// take stores one message of the provider, reads what it is, files it and
// applies it, all durable together with what is noted of the provider's copy
// before it returns nil.
func (s *Service) take(ctx context.Context, acc Account, t taking) error {
	if planted.Is(planted.CursorBeforeRecord) && t.moved != nil {
		if err := s.opt.Store.Update(ctx, t.moved); err != nil {
			return err
		}
	}
	a, err := s.receive(ctx, &t.it)
	if err != nil {
		return err
	}
	defer a.close()
	if err := s.prepare(ctx, acc.Box, a); err != nil {
		return err
	}
	return s.enter(ctx, acc, t, a)
}

// arriving is a message of the provider whose bytes are ours and which has no record
// yet.
type arriving struct {
	it     fetch.Item // without Body
	in     *mailbox.Intake
	at     time.Time // of its arrival here; zero: when it is stored
	st     *mailbox.Stored
	report *pec.Report
	facts  mailbox.Facts
}

// receive reads a message of the provider whole. The caller closes it.
func (s *Service) receive(ctx context.Context, it *fetch.Item) (*arriving, error) {
	in, err := s.opt.Store.Begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := copyBody(in, it, s.opt.Store.Now()); err != nil {
		in.Abort()
		return nil, fmt.Errorf("read %s: %w", spotOf(*it), err)
	}
	a := &arriving{it: *it, in: in}
	a.it.Body = nil
	return a, nil
}

func (a *arriving) close() {
	a.in.Abort() // no effect after Store
	if a.st != nil {
		_ = a.st.Close() // read-only handle: nothing to lose
	}
}

// prepare makes the bytes durable and reads what the message is. It depends on no
// other message, so several may be prepared at a time.
func (s *Service) prepare(ctx context.Context, box string, a *arriving) (err error) {
	at := spotOf(a.it)
	a.st, err = a.in.Store(ctx, mailbox.Origin{
		Box: box, Direction: mailbox.In, At: a.at, Folder: at.folder, Validity: at.validity, UID: at.uid, UIDL: at.id,
		Date: a.it.InternalDate.UTC(),
	})
	if err != nil {
		return err
	}
	if a.report == nil { // an import knows it by now
		if a.report, err = s.reader().Read(ctx, a.st, a.st.Size(), a.st.Index); err != nil {
			return err
		}
	}
	header, err := mime.ReadHeader(a.st, &a.st.Index.Root)
	if err != nil && !errors.Is(err, mime.ErrHeaderTooBig) {
		return err
	}
	a.facts = factsOf(a.report, header)
	return nil
}

// entering is a message that is about to get its record.
type entering struct {
	s     *Service
	acc   Account
	t     taking
	a     *arriving
	found *finding
	old   *mailbox.Message // the same one, if the mailbox has it
}

// fetched notes the provider's copy of m, and how far we are.
func (e *entering) fetched(tx *mailbox.Tx, m *mailbox.Message) error {
	if e.t.imported {
		return nil
	}
	if err := e.s.stillOurs(tx, e.acc.Box); err != nil {
		return err
	}
	err := stand(tx, e.acc.Box, spotOf(e.a.it), standing{
		Message: m.ID, Size: e.t.listed, Since: m.Arrived, Receipt: e.a.report.Believed() && aboutSending(e.a.report.Kind),
	})
	if err == nil && e.t.moved != nil {
		err = e.t.moved(tx)
	}
	return err
}

// record is what belongs to the record of m, in its transaction.
func (e *entering) record(tx *mailbox.Tx, m *mailbox.Message) (err error) {
	if e.old, err = e.s.have(tx, e.acc.Box, m); err != nil {
		return err
	}
	if e.old != nil {
		return errKnown
	}
	if err := e.fetched(tx, m); err != nil {
		return err
	}
	r := e.a.report
	m.History = e.t.history && (e.t.before.IsZero() || e.a.it.InternalDate.Before(e.t.before))
	m.Kind, m.Verdict, m.Reason = r.Kind, r.Verdict, r.Reason
	if err := tx.PutFacts(m.ID, e.a.facts); err != nil {
		return err
	}
	if err := e.s.file(tx, e.acc, r, e.found, m); err != nil {
		return &filingError{err}
	}
	if e.t.imported {
		return importedReceipt(tx, e.acc.Box, r, m)
	}
	return nil
}

// recorded follows the record of m.
func (e *entering) recorded(ctx context.Context, m *mailbox.Message) {
	s, box, r := e.s, e.acc.Box, e.a.report
	if undecided(r) {
		if err := s.doubted(ctx, box, r); err != nil && ctx.Err() == nil {
			s.faults(box, err) // the message is there; status names it
		}
	}
	s.askRevocation(r, m)
	s.opt.Events.Fetched(box, spotOf(e.a.it).at(), string(m.Kind), m.Verdict, m.Reason, m.Submission)
	if m.Submission == "" {
		return
	}
	s.told(m, e.found)
	if err := s.claim(ctx, box, idKey(r.Identifier)); err != nil && ctx.Err() == nil {
		// This message is taken in. Those that waited go on waiting.
		s.faults(box, err)
	}
}

// enter files a message that is prepared and applies it.
func (s *Service) enter(ctx context.Context, acc Account, t taking, a *arriving) (err error) {
	e := &entering{s: s, acc: acc, t: t, a: a}
	if e.found, err = s.compare(ctx, acc.Box, a.report, hex.EncodeToString(a.st.Ref.Sum[:]), a.st); err != nil {
		return err
	}
	m, err := s.opt.Store.Record(ctx, a.st, e.record)
	if errors.Is(err, errKnown) && t.imported {
		return err
	}
	if errors.Is(err, errKnown) {
		// The bytes that came again go by themselves: nothing was recorded of them.
		s.opt.Events.Refetched(acc.Box, spotOf(a.it).at())
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return e.fetched(tx, e.old) })
	}
	if misfiled := new(filingError); t.last && errors.As(err, &misfiled) && ctx.Err() == nil && s.opt.Store.Broken() == nil {
		return errors.Join(err, s.shelve(ctx, acc, a.st, misfiled.err))
	}
	if err != nil {
		return err
	}
	e.recorded(ctx, m)
	return nil
}

// errKnown: the mailbox has this message already.
var errKnown = errors.New("relay: the message is there already")

// have returns the message of the mailbox that is the same as m, by content, or
// nil: a UIDVALIDITY that changed or a cursor lost must double nothing, and a
// forged equal Message-ID must suppress nothing.
func (s *Service) have(tx *mailbox.Tx, box string, m *mailbox.Message) (*mailbox.Message, error) {
	ids, err := tx.ByContent(m.Ref.Sum)
	if planted.Is(planted.DedupeByMessageID) {
		ids, err = tx.ByMessageID(box, m.MessageID)
	}
	if err != nil {
		return nil, err
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
			return nil, err
		}
		// It may stand in no folder any more: somebody removed it for all.
		if old.Direction == mailbox.In && old.Box == m.Box {
			return old, nil
		}
	}
	return nil, nil
}

// file applies a message that arrived, puts it into its folder, and notes it.
func (s *Service) file(tx *mailbox.Tx, acc Account, r *pec.Report, found *finding, m *mailbox.Message) error {
	line, err := s.sortIn(tx, acc, r, found, m)
	if err != nil {
		return err
	}
	return tx.Audit(line)
}

// sortIn is file without the audit line, which it returns.
func (s *Service) sortIn(tx *mailbox.Tx, acc Account, r *pec.Report, found *finding, m *mailbox.Message) (mailbox.AuditLine, error) {
	to, how := place(r)
	if to == mailbox.RoleInbox && r.Believed() && late(r, m) {
		// As of its signing time all is right. But that is the signer's word, and
		// whoever got hold of a key after its certificate expired would write an old one.
		how.Keywords = []string{unverified}
		note := "time: signed at " + r.When().UTC().Format(time.DateOnly) + ", more than 7 days before it arrived"
		m.Reason = strings.TrimPrefix(m.Reason+"; "+note, "; ")
	}
	how.Seen = m.History && !acc.HistoryUnseen
	line := mailbox.AuditLine{Actor: "relay", Event: "arrival", Box: acc.Box, Result: string(r.Kind) + " " + r.Verdict, Reason: m.Reason}
	var sub *Submission
	if r.Believed() && aboutSending(r.Kind) {
		var err error
		if sub, err = applyReceipt(tx, acc.Box, r, m, found); err != nil {
			return line, err
		}
		switch {
		case sub != nil:
			m.Submission, line.Subject = sub.ID, sub.ID
			if r.Kind == pec.Acceptance && sub.ByReceipt {
				if err := wantSentCopy(tx, acc, sub); err != nil {
					return line, err
				}
			}
		case !pec.SameAddress(r.Sender, acc.Box):
			// A genuine receipt of somebody else's message.
			to, line.Reason = mailbox.RoleAnomalies, "the signed data name another mailbox as sender"
		default:
			line.Reason = strings.TrimPrefix(line.Reason+"; tied to no submission", "; ")
			if err := wait(tx, acc.Box, r, m); err != nil {
				return line, err
			}
			if !m.History {
				if err := seek(tx, acc.Box, r, m); err != nil {
					return line, err
				}
			}
		}
	}
	if r.Believed() && r.Kind == pec.Transport && !m.History {
		if err := tx.EnterRegister(m, m.Arrived); err != nil {
			return line, err
		}
	}
	if m.Submission == "" {
		if err := noteQuotes(tx, acc.Box, r); err != nil {
			return line, err
		}
	}
	whom, err := s.opt.toWhom(tx, acc, r, to, sub)
	if err != nil {
		return line, err
	}
	how.Audience = whom.audience
	if err := noteUndecided(tx, r, m); err != nil {
		return line, err
	}
	line.More = map[string]string{"folder": string(to), "sha256": m.SHA256()}
	box := acc.Box
	if planted.Is(planted.WrongMailbox) && r.Kind == pec.Transport {
		for _, other := range s.opt.Accounts() {
			if strings.ToLower(other.Box) != acc.Box {
				box = strings.ToLower(other.Box)
			}
		}
	}
	folder, uid, err := tx.File(mailbox.FolderKey{Box: box, Role: to}, m, how)
	if err != nil {
		return line, err
	}
	if to == mailbox.RoleInbox {
		if err := noteUnread(tx, acc, m, r.Sender, mailbox.Place{Folder: folder, UID: uid}); err != nil {
			return line, err
		}
	}
	if !m.History {
		if err := noteForward(tx, routed{Message: m.ID, What: routeArrival, Box: acc.Box, Believed: saidByProvider(r)}); err != nil {
			return line, err
		}
	}
	return line, giveTo(tx, m, whom.inbox)
}

// forAdmin tells whether a message is between providers only: of use to the
// administrator at most. One that only says so is seen like any other anomaly.
func forAdmin(r *pec.Report) bool {
	return r.Believed() && (r.Kind == pec.TakenInCharge || r.Kind == pec.VirusDetected)
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
