package relay

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/archive/bundle"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
)

// MaxEvidence is how many submissions or messages one bundle is asked for at once.
const MaxEvidence = 1000

// undecidedLooked bounds the receipts that could not be verified and are looked at for
// what they say of a submission.
const undecidedLooked = 200

// Evidence is what a bundle is made of, gathered at one time.
type Evidence struct {
	s  *Service
	in bundle.Input
}

// IDs are what the evidence is about.
func (e *Evidence) IDs() []string {
	ids := make([]string, 0, len(e.in.Report.Cases))
	for _, c := range e.in.Report.Cases {
		ids = append(ids, c.ID)
	}
	return ids
}

// Write writes the bundle.
func (e *Evidence) Write(ctx context.Context, w io.Writer, progress func(done, total int64)) (*bundle.Made, error) {
	in := e.in
	in.Progress = progress
	return bundle.Write(ctx, w, in)
}

// Evidence gathers all that is known of submissions and of messages that came in, by
// id, Message-ID, PEC identifier or SHA-256, and leaves an audit line for each, which
// the bundle holds too. Of a receipt it gathers its submission. Errors: ErrNotFound,
// *Refusal.
func (s *Service) Evidence(ctx context.Context, names []string, by Hand) (*Evidence, error) {
	if len(names) == 0 || len(names) > MaxEvidence {
		return nil, refuse("evidence is made of 1 to %d messages at once", MaxEvidence)
	}
	g := &gathering{s: s, in: bundle.Input{
		Report:  &bundle.Report{MadeAt: s.opt.Store.Now(), Clock: s.opt.Store.Clock(), Cases: []*bundle.Case{}},
		Sources: map[*bundle.Message]func(context.Context) (bundle.Content, error){},
		Sign:    s.opt.Store.SignEvidence,
	}, there: map[string]bool{}, hashes: map[string]bool{}}
	g.in.Revocation = s.revocationOf
	g.in.Reader = s.reader().At(s.opt.Store.Now)
	for _, name := range names {
		if err := g.name(ctx, name); err != nil {
			if errors.Is(err, ErrNotFound) && len(names) > 1 {
				return nil, refuse("no submission and no message has the id, Message-ID, PEC identifier or SHA-256 %s", strconv.Quote(clipped(name)))
			}
			return nil, err
		}
	}
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		for _, c := range g.in.Report.Cases {
			if c.Part != "" && g.there[c.Part] {
				continue // told with its batch
			}
			l := mailbox.AuditLine{Actor: by.Actor, From: by.From, Event: "evidence", Box: c.Mailbox, Subject: c.ID, Result: "made"}
			if err := tx.Audit(l); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Evidence{s: s, in: g.in}, g.log(ctx)
}

func clipped(s string) string { return s[:min(len(s), 100)] }

// gathering makes the cases.
type gathering struct {
	s      *Service
	in     bundle.Input
	there  map[string]bool // ids of cases
	hashes map[string]bool // of their messages
}

// name adds what has a name.
func (g *gathering) name(ctx context.Context, name string) error {
	var sub *Submission
	var came *mailbox.Message
	err := g.s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		sub, came = nil, nil
		if sub, err = Find(tx, name); !errors.Is(err, ErrNotFound) {
			return err
		}
		if came, err = g.incoming(tx, name); err != nil || came.Submission == "" {
			return err
		}
		switch sub, err = load(tx, came.Submission); {
		case errors.Is(err, ErrNotFound):
			sub = nil
			return nil
		case err == nil:
			came = nil // it is a receipt of that
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case came != nil:
		return g.received(ctx, came)
	}
	return g.submission(ctx, sub)
}

// incoming finds a message that came in by its id in the message log (m and a number),
// its Message-ID, which of an envelope is the PEC identifier, or by its hash.
func (g *gathering) incoming(tx *mailbox.Tx, name string) (*mailbox.Message, error) {
	name = strings.TrimSpace(name)
	var ids []mailbox.MessageID
	if n, err := strconv.ParseUint(strings.TrimPrefix(name, "m"), 10, 64); err == nil && strings.HasPrefix(name, "m") {
		ids = append(ids, mailbox.MessageID(n))
	}
	if sum, err := hex.DecodeString(name); err == nil && len(sum) == 32 {
		if ids, err = tx.ByContent([32]byte(sum)); err != nil {
			return nil, err
		}
	}
	if id := pec.NormalizeID(name); id != "" && len(ids) == 0 {
		for _, a := range g.s.opt.Accounts() {
			of, err := tx.ByMessageID(a.Box, id)
			if err != nil {
				return nil, err
			}
			ids = append(ids, of...)
		}
	}
	for _, id := range ids {
		m, err := tx.Message(id)
		if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return nil, err
		}
		if err == nil && (m.Direction == mailbox.In || m.Submission != "" && m.Direction == mailbox.Out) {
			return m, nil
		}
	}
	return nil, ErrNotFound
}

// submission adds a submission, and of a batch its messages.
func (g *gathering) submission(ctx context.Context, sub *Submission) error {
	if g.there[sub.ID] {
		return nil
	}
	c, err := g.sent(ctx, sub)
	if err != nil {
		return err
	}
	g.there[sub.ID] = true
	g.in.Report.Cases = append(g.in.Report.Cases, c)
	if !sub.batch() {
		return nil
	}
	var children []*Submission
	err = g.s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		children = nil
		var ids []string
		if err := eachChild(tx, sub.ID, 1, func(c *Submission) bool { ids = append(ids, c.ID); return true }); err != nil {
			return err
		}
		for _, id := range ids {
			child, err := load(tx, id)
			if err != nil {
				return err
			}
			children = append(children, child)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.Parts = sub.Tally.Messages
	if n := sub.Tally.Messages - len(children); n > 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("%d of its messages were not made yet and are not here", n))
	}
	for _, child := range children {
		if g.there[child.ID] {
			continue
		}
		part, err := g.sent(ctx, child)
		if err != nil {
			return err
		}
		g.there[child.ID] = true
		g.in.Report.Cases = append(g.in.Report.Cases, part)
	}
	return nil
}

// sent makes the case of one submission.
func (g *gathering) sent(ctx context.Context, sub *Submission) (*bundle.Case, error) {
	c := &bundle.Case{
		ID: sub.ID, Direction: bundle.Outgoing, Mailbox: sub.Box, MsgID: sub.MsgID, ClientMsgID: sub.Alias, Identifier: sub.Identifier,
		Sender: sub.Box, State: string(sub.State), StateReason: string(sub.StateReason), SubmittedAt: sub.SubmittedAt.UTC(), HandedOver: sub.HandedOver.UTC(),
		Part: sub.Batch, Notes: notesOf(sub), Recipients: []*bundle.Recipient{}, Messages: []*bundle.Message{}, Events: []bundle.Event{},
	}
	err := g.s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		c.Recipients, c.Messages, c.Events = []*bundle.Recipient{}, []*bundle.Message{}, []bundle.Event{}
		m, err := tx.Message(sub.Message)
		switch {
		case err == nil:
			c.History = m.History
			if m.Register != nil && !sub.child() {
				c.Register = fmt.Sprintf("%d/%d", m.Register.Year, m.Register.Number)
			}
			g.own(c, sub, m)
		case errors.Is(err, mailbox.ErrNotFound):
			c.Notes = append(c.Notes, "the bytes of the message are not here any more: the receipts stand by themselves")
		default:
			return err
		}
		for n := -1; n < len(sub.Recipients); n++ {
			refs, err := receipts(tx, sub.ID, n)
			if err != nil {
				return err
			}
			about := ""
			var sums []string
			if n >= 0 {
				about = sub.Recipients[n].Address
				r := &sub.Recipients[n]
				sums = make([]string, 0, len(refs))
				for _, ref := range refs {
					sums = append(sums, ref.SHA256)
				}
				to := &bundle.Recipient{Address: r.Address, State: string(r.State), Receipts: sums}
				if !sub.batch() {
					to.HandedOver = sub.HandedOver.UTC()
				}
				c.Recipients = append(c.Recipients, to)
			}
			for _, ref := range refs {
				if err := g.receipt(tx, c, ref, about); err != nil {
					return err
				}
			}
		}
		story, err := Story(tx, sub.ID)
		for _, e := range story {
			c.Events = append(c.Events, bundle.Event{At: e.At.UTC(), What: e.What, Text: e.Text})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := g.unproven(ctx, c, sub); err != nil {
		return nil, err
	}
	return c, g.subject(ctx, c)
}

// notesOf is what a reader of a submission's evidence has to know.
func notesOf(sub *Submission) []string {
	notes := []string{}
	add := func(when bool, text string) {
		if when {
			notes = append(notes, text)
		}
	}
	add(sub.Recovered == "receipt", "It was not sent through the gateway: its bytes are out of a complete receipt, as the provider carried them.")
	add(sub.Recovered != "" && sub.Recovered != "receipt", "It was not sent through the gateway: its bytes were found at the provider.")
	add(!sub.Resent.IsZero(), "The gateway handed it over a second time at "+sub.Resent.UTC().Format(time.RFC3339)+": no receipt had come.")
	add(sub.Twice != "", "It went out twice: the second acceptance has the identifier "+sub.Twice+".")
	add(sub.Alias != "", "The client's Message-ID had been used before; the gateway gave another.")
	add(sub.batch(), "It was split: the provider got the messages below in its place. The receipts are about them.")
	add(sub.child(), "The provider got this message in place of that which was submitted: other header fields Message-ID, To, Cc or Bcc, the same body.")
	add(sub.Doubt && sub.HandedOver.IsZero(), "A hand-over of it may have come to its end unseen.")
	return notes
}

// own adds the message of a submission.
func (g *gathering) own(c *bundle.Case, sub *Submission, m *mailbox.Message) {
	store := g.s.opt.Store
	out := &bundle.Message{Role: bundle.RoleSubmission, Arrived: m.Arrived.UTC()}
	if !sub.child() && !sub.batch() {
		out.SHA256, out.Size = m.SHA256(), m.Size()
	}
	g.hashes[m.SHA256()] = true
	c.Messages = append(c.Messages, out)
	g.in.Sources[out] = func(ctx context.Context) (bundle.Content, error) {
		if sub.batch() {
			return store.Open(m)
		}
		return Bytes(ctx, store, sub.ID)
	}
}

// receipt adds a receipt, once.
func (g *gathering) receipt(tx *mailbox.Tx, c *bundle.Case, ref ReceiptRef, about string) error {
	if slices.ContainsFunc(c.Messages, func(m *bundle.Message) bool { return m.SHA256 == ref.SHA256 }) {
		return nil
	}
	m, err := tx.Message(ref.Message)
	if errors.Is(err, mailbox.ErrNotFound) {
		c.Notes = append(c.Notes, fmt.Sprintf("a receipt (%s, SHA-256 %s) was counted and is not here any more", ref.Kind, ref.SHA256))
		return nil
	}
	if err == nil {
		g.stored(c, m, bundle.RoleReceipt, about)
	}
	return err
}

// stored adds a message of the provider.
func (g *gathering) stored(c *bundle.Case, m *mailbox.Message, role, about string) {
	store := g.s.opt.Store
	out := &bundle.Message{Role: role, SHA256: m.SHA256(), Size: m.Size(), Arrived: m.Arrived.UTC(), AtArrive: m.Verdict, About: about}
	g.hashes[m.SHA256()] = true
	c.Messages = append(c.Messages, out)
	g.in.Sources[out] = func(context.Context) (bundle.Content, error) { return store.Open(m) }
}

// received makes the case of a message that came in.
func (g *gathering) received(ctx context.Context, m *mailbox.Message) error {
	id := m.SHA256()
	if g.there[id] {
		return nil
	}
	c := &bundle.Case{
		ID: id, Direction: bundle.Incoming, Mailbox: m.Box, MsgID: m.MessageID, History: m.History,
		Notes: []string{}, Recipients: []*bundle.Recipient{}, Messages: []*bundle.Message{}, Events: []bundle.Event{},
	}
	if m.History {
		c.Notes = append(c.Notes, "It stood at the provider before the appliance did: when it arrived there only the provider's own data say.")
	}
	if m.Register != nil {
		c.Register = fmt.Sprintf("%d/%d", m.Register.Year, m.Register.Number)
	}
	g.stored(c, m, bundle.RoleEnvelope, "")
	r, err := g.read(ctx, m)
	if err != nil {
		return err
	}
	c.Subject, c.Sender, c.Identifier = r.Subject, r.Sender, pec.NormalizeID(r.Identifier)
	if id := pec.NormalizeID(r.MsgID); id != "" {
		c.MsgID = id
	}
	if !r.Believed() {
		c.Notes = append(c.Notes, "Its signature does not prove what it says: sender, date and identifier are claims.")
	}
	g.there[id] = true
	g.in.Report.Cases = append(g.in.Report.Cases, c)
	return nil
}

func (g *gathering) read(ctx context.Context, m *mailbox.Message) (*pec.Report, error) {
	body, err := g.s.opt.Store.Open(m)
	if err != nil {
		return nil, err
	}
	ix, err := mime.Parse(body, body.Size(), mime.Limits{})
	var r *pec.Report
	if err == nil {
		r, err = g.in.Reader.Read(ctx, body, body.Size(), ix)
	}
	return r, errors.Join(err, body.Close())
}

// unproven adds the receipts that say they are about the submission and could not be
// verified for want of a CA: they changed nothing, and may once.
func (g *gathering) unproven(ctx context.Context, c *bundle.Case, sub *Submission) error {
	var open []*mailbox.Message
	err := g.s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		open = nil
		var ids []mailbox.MessageID
		prefix := undecidedPrefix(sub.Box)
		err := tx.Space(room).Scan(prefix, func(k string, _ []byte) (bool, error) {
			n, err := strconv.ParseUint(k[len(prefix):], 16, 64)
			ids = append(ids, mailbox.MessageID(n))
			return len(ids) < undecidedLooked, err
		})
		if err != nil {
			return err
		}
		for _, id := range ids {
			m, err := tx.Message(id)
			if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
				return err
			}
			if err == nil {
				open = append(open, m)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, m := range open {
		if slices.ContainsFunc(c.Messages, func(x *bundle.Message) bool { return x.SHA256 == m.SHA256() }) {
			continue
		}
		r, err := g.read(ctx, m)
		if err != nil {
			return err
		}
		if aboutSending(r.Kind) && pec.SameID(r.MsgID, sub.MsgID) && !r.Believed() {
			g.stored(c, m, bundle.RoleReceipt, r.Recipient)
			c.Notes = append(c.Notes, "A receipt that says it is about this message could not be verified. It is here, and counted for nothing.")
		}
	}
	return nil
}

// subject reads the subject of the submission out of its header.
func (g *gathering) subject(ctx context.Context, c *bundle.Case) error {
	if len(c.Messages) == 0 || c.Messages[0].Role != bundle.RoleSubmission {
		return nil
	}
	body, err := g.in.Sources[c.Messages[0]](ctx)
	if err != nil {
		return err
	}
	head := make([]byte, min(body.Size(), maxHeader))
	_, err = io.ReadFull(io.NewSectionReader(body, 0, int64(len(head))), head)
	for _, f := range mime.Fields(head) {
		if strings.EqualFold(f.Name, "Subject") {
			c.Subject = strings.TrimSpace(mime.DecodeWords(f.Body()))
			break
		}
	}
	return errors.Join(err, body.Close())
}

// log takes the extract of the audit log: the lines about these submissions and
// messages. Those that tell who read or asked are about other people, and so is what
// names a file of the appliance: of these only the hash is shown.
func (g *gathering) log(ctx context.Context) error {
	clocks := map[string]string{}
	x, err := g.s.opt.Store.ExtractAudit(ctx, func(_ int64, l mailbox.AuditLine) mailbox.Mention {
		sum := l.More["sha256"]
		if !g.there[l.Subject] && !g.hashes[l.Subject] && !g.hashes[sum] {
			return mailbox.NotMentioned
		}
		switch l.Event {
		case "arrival":
			clocks[sum] = l.More[mailbox.ClockFact]
		case "submission":
			clocks[l.Subject] = l.More[mailbox.ClockFact]
		}
		if withheld(l) {
			return mailbox.Withheld
		}
		return mailbox.Mentioned
	})
	if err != nil {
		return err
	}
	for _, c := range g.in.Report.Cases {
		for _, m := range c.Messages {
			m.Clock = clocks[m.SHA256]
			if m.Role == bundle.RoleSubmission {
				m.Clock = clocks[c.ID]
			}
		}
	}
	g.in.Proof, g.in.Growth, g.in.Public = x.Proof, x.Growth, x.Public
	return nil
}

// withheld tells of which lines of the audit log a bundle shows the hash alone.
func withheld(l mailbox.AuditLine) bool {
	switch l.Event {
	case "submission", "state", "arrival", "evidence", "overdue", "resend", "judged", "pin", "approval", "hold", "removed", "recovered", "register", "delivery status", "original":
	default:
		return true
	}
	b, err := json.Marshal(l)
	return err != nil || l.More["where"] != "" || strings.Contains(string(b), ".yaml:")
}
