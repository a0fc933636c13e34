package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/relay/forward"
)

// What goes to ordinary mailboxes, by relay/forward. The transaction that files a
// message notes that somebody may want it (noteForward); a moment later it is
// decided who, by the policy as it is then, with the same filter as by IMAP:
//
//   - a notice: each person in whose INBOX it stands, if they have an email;
//
//   - what arrived, and a report of an outcome that is over: members with deliver
//     forward who see it in the mailbox's tree, and members without IMAP to whose INBOX
//     the routing gave it. History goes nowhere;
//
//   - a PEC that arrived: besides, a notice without content to members who asked for it;
//
//   - ordinary mail that arrived: besides, the address that the mailbox names;
//
//   - what waits for approval: a notice to those who may approve.
//
//     fi/<message>/<what>  routed
//     bell-forward         written to wake the keeper
const (
	forwardDue  = "fi/"
	forwardBell = "bell-forward"
)

// What a message is that may go to ordinary mailboxes.
const (
	routeNotice   = "notice"
	routeArrival  = "arrival"
	routeReport   = "report"
	routeNew      = "new" // the notice of an arrival
	routeApproval = "approval"
)

// routed is a message of which it is still to be decided who gets it.
type routed struct {
	Message    mailbox.MessageID `json:"message"`
	What       string            `json:"what"`
	Box        string            `json:"mailbox,omitempty"`
	Submission string            `json:"submission,omitempty"`
	Refuses    string            `json:"refuses,omitempty"` // address of which it tells that it refuses mail
	Had        []string          `json:"had,omitempty"`     // addresses that got it where it stood before
}

// noteForward has it decided who gets a message by ordinary mail.
func noteForward(tx *mailbox.Tx, r routed) error {
	k := forwardKey(r.Message, r.What)
	return errors.Join(tx.Space(room).Put(k, r), tx.Space(room).Put(forwardBell, k))
}

func (r routed) had(to string) bool {
	return slices.ContainsFunc(r.Had, func(a string) bool { return strings.EqualFold(a, to) })
}

func forwardKey(m mailbox.MessageID, what string) string {
	return fmt.Sprintf("%s%016x/%s", forwardDue, uint64(m), what)
}

// gotByMail are the addresses that got what arrived, before it is filed elsewhere:
// whoever sees it there too gets no second copy.
func (s *Service) gotByMail(tx *mailbox.Tx, m *mailbox.Message, box string) (had []string, err error) {
	switch err := tx.Space(room).Get(forwardKey(m.ID, routeArrival), new(routed)); {
	case err == nil:
		return nil, nil // it was not decided yet
	case !errors.Is(err, mailbox.ErrNotFound):
		return nil, err
	}
	items, err := s.getsByMail(tx, m, routed{Message: m.ID, What: routeArrival, Box: box})
	for _, it := range items {
		had = append(had, it.To)
	}
	return had, err
}

// forwardInGo is how many are decided in one transaction.
const forwardInGo = 25

// keepForwards decides who gets what, and sends it, until ctx ends.
func (s *Service) keepForwards(ctx context.Context) {
	sender := s.forwarder()
	done := make(chan struct{})
	go func() { defer close(done); sender.Run(ctx) }()
	defer func() { <-done }()
	wake, stop := s.opt.Store.WatchSpace(room, forwardBell)
	defer stop()
	for {
		wait := 10 * time.Minute
		if err := s.routeForwards(ctx); err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("forward", "", err)
			if !pause(ctx, 10*time.Second) {
				return
			}
			continue
		}
		if !pause(ctx, wait, wake) {
			return
		}
	}
}

// routeForwards decides about all that waits for it. One that fails keeps no
// other from it.
func (s *Service) routeForwards(ctx context.Context) error {
	var failed []error
	for after := ""; ; {
		type line struct {
			key string
			routed
		}
		var lines []line
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			lines = nil
			return tx.Space(room).ScanFrom(forwardDue, forwardDue+strings.TrimPrefix(after, forwardDue), func(k string, raw []byte) (bool, error) {
				if k == after {
					return true, nil
				}
				l := line{key: k}
				if err := json.Unmarshal(raw, &l.routed); err != nil {
					return false, fmt.Errorf("record of what may be forwarded: %w", err)
				}
				lines = append(lines, l)
				return len(lines) < forwardInGo, nil
			})
		})
		if err != nil || len(lines) == 0 {
			return errors.Join(append(failed, err)...)
		}
		for _, l := range lines {
			after = l.key
			if err := s.route(ctx, l.key, l.routed); err != nil {
				failed = append(failed, fmt.Errorf("message %d, by ordinary mail: %w", l.Message, err))
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
}

// route decides about one message.
func (s *Service) route(ctx context.Context, k string, r routed) error {
	switch r.What {
	case routeApproval:
		return s.tellApprovers(ctx, k, r)
	case routeNew:
		return s.tellNew(ctx, k, r)
	}
	m, err := s.opt.Store.Message(ctx, r.Message)
	if errors.Is(err, mailbox.ErrNotFound) || err == nil && (m.History && r.What == routeArrival || s.opt.Smarthost == nil) {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Delete(k) })
	}
	if err != nil {
		return err
	}
	why, err := s.marked(ctx, m)
	if err != nil {
		return err
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if err := tx.Space(room).Delete(k); err != nil {
			return err
		}
		if why != "" {
			return tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "not forwarded", Box: m.Box, Subject: m.SHA256(), Result: r.What, Reason: why})
		}
		to, err := s.getsByMail(tx, m, r)
		if err != nil {
			return err
		}
		if r.What == routeArrival && m.Kind == pec.Transport && len(s.askedForNew(r.Box)) > 0 {
			// One that is forged stands among the anomalies: nobody is told of a PEC.
			inSight, err := tx.PlacesIn(m.ID, mailbox.RoleInbox, 1)
			if err == nil && len(inSight) > 0 {
				r.What = routeNew
				err = noteForward(tx, r)
			}
			if err != nil {
				return err
			}
		}
		for _, it := range to {
			if err := forward.Add(tx, it); err != nil {
				return err
			}
		}
		return nil
	})
}

// marked tells why a message goes nowhere: it came from here, or a machine wrote it.
// Of PEC it looks for our own marks only, also inside what a provider has wrapped.
func (s *Service) marked(ctx context.Context, m *mailbox.Message) (why string, err error) {
	if m.Direction != mailbox.In {
		return "", nil
	}
	index, err := s.opt.Store.Index(ctx, m.ID)
	if err != nil {
		return "", err
	}
	body, err := s.opt.Store.Open(m)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	check := forward.Check{Hostname: s.opt.Hello, Address: s.opt.Address, Machines: m.Kind == pec.Ordinary}
	for p, depth := &index.Root, 0; p != nil && depth < 8; depth++ {
		if why, err := check.Marked(body, p.HeaderOff, p.HeaderLen); err != nil || why != "" {
			return why, err
		}
		p, check.Machines = innerMessage(p), m.Kind == pec.Ordinary || m.Kind == pec.Anomaly
	}
	return "", nil
}

// innerMessage is the first message in a part, or nil.
func innerMessage(p *mime.Part) *mime.Part {
	if p.Message != nil {
		return p.Message
	}
	for i := range p.Children {
		if in := innerMessage(&p.Children[i]); in != nil {
			return in
		}
	}
	return nil
}

// getsByMail are the items for those who get a message by ordinary mail.
func (s *Service) getsByMail(tx *mailbox.Tx, m *mailbox.Message, r routed) (all []forward.Item, err error) {
	add := func(kind, to string, who mailbox.Person) {
		same := func(it forward.Item) bool { return strings.EqualFold(it.To, to) }
		if to != "" && !strings.EqualFold(to, r.Refuses) && !r.had(to) && !slices.ContainsFunc(all, same) {
			all = append(all, forward.Item{Message: m.ID, To: to, Kind: kind, Box: r.Box, Person: who})
		}
	}
	places, err := tx.Places(m.ID)
	if err != nil {
		return nil, err
	}
	var readers []Reader
	if s.opt.Readers != nil && r.Box != "" && r.What != routeNotice {
		readers = s.opt.Readers(r.Box)
	}
	for _, p := range places {
		k, err := tx.FolderKey(p.Folder)
		if err != nil {
			return nil, err
		}
		if k.Role == mailbox.RoleInbox && k.Box == "" {
			who, err := s.personBehind(tx, k.Owner)
			if err != nil {
				return nil, err
			}
			if r.What == routeNotice || who.Forward || who.SendOnly(r.Box) {
				add(map[bool]string{true: routeNotice, false: "copy"}[r.What == routeNotice], who.Email, k.Owner)
			}
			continue
		}
		if !strings.EqualFold(k.Box, r.Box) || k.Owner != 0 {
			continue
		}
		for _, reader := range readers {
			scope, ok := reader.Sees(k.Role)
			if !ok || !reader.Forward {
				continue
			}
			person, err := tx.EnsurePerson(reader.Login)
			if err != nil {
				return nil, err
			}
			if ok, err := tx.Shows(p, mailbox.Viewer{Person: person, Scope: scope}); err != nil {
				return nil, err
			} else if ok {
				add("copy", reader.Email, person)
			}
		}
	}
	if r.What == routeArrival && m.Kind == pec.Ordinary {
		add("ordinary", s.account(r.Box).OrdinaryTo, 0)
	}
	return all, nil
}

// personBehind is who a person is by now; nobody where they have left.
func (s *Service) personBehind(tx *mailbox.Tx, p mailbox.Person) (Correspondent, error) {
	if _, left, err := tx.Left(p); err != nil || left || s.opt.Person == nil {
		return Correspondent{}, err
	}
	login, err := tx.Login(p)
	if err != nil {
		return Correspondent{}, err
	}
	return s.opt.Person(login), nil
}

// askedForNew are those who are told of each PEC that arrives in a mailbox.
func (s *Service) askedForNew(box string) (to []addressee) {
	if s.opt.Readers == nil {
		return nil
	}
	for _, r := range s.opt.Readers(box) {
		if _, ok := r.Sees(mailbox.RoleInbox); ok && r.NotifyNew {
			to = append(to, addressee{user: r.Login})
		}
	}
	return to
}

// still tells whether it is still to be decided about a message, and ends that.
func still(tx *mailbox.Tx, k string) (bool, error) {
	var r routed
	if err := tx.Space(room).Get(k, &r); errors.Is(err, mailbox.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, tx.Space(room).Delete(k)
}

// tellNew tells those who asked for it that a PEC has arrived: where and when, and
// nothing of what it says.
func (s *Service) tellNew(ctx context.Context, k string, r routed) error {
	m, err := s.opt.Store.Message(ctx, r.Message)
	if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	to := s.askedForNew(r.Box)
	if m == nil || len(to) == 0 {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := still(tx, k); return err })
	}
	at := m.Arrived.In(s.opt.Location).Format("02/01/2006 15:04")
	return alarmNotice(alarm{
		box: r.Box, kind: "new", about: fmt.Sprint(m.ID), to: to,
		subjectIT: "Nuova PEC in " + r.Box, subjectEN: "New PEC in " + r.Box,
		it: "Il " + at + " è arrivata una PEC. Per leggerla aprire la cartella \"Posta in arrivo\" della casella.",
		en: "A PEC arrived on " + at + ". To read it open the folder \"Inbox\" of the mailbox.",
	}, s.opt).fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) { return still(tx, k) })
}

// tellApprovers tells those who may approve a submission that it waits.
func (s *Service) tellApprovers(ctx context.Context, k string, r routed) error {
	var sub *Submission
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { sub, err = load(tx, r.Submission); return err })
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	var to []addressee
	if sub != nil && sub.State == ToApprove && s.opt.Readers != nil {
		for _, m := range s.opt.Readers(sub.Box) {
			own := strings.EqualFold(m.Login, sub.User)
			if m.Approves && (s.opt.MayApprove == nil || s.opt.MayApprove(m.Login, sub.Box, own)) {
				to = append(to, addressee{user: m.Login})
			}
		}
	}
	if len(to) == 0 {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := still(tx, k); return err })
	}
	return alarmNotice(alarm{
		box: sub.Box, kind: "approval", about: sub.ID, to: to, sub: sub,
		subjectIT: "PEC da autorizzare: " + sub.Box, subjectEN: "PEC to approve: " + sub.Box,
		it: "Un messaggio di " + sub.User + " attende un'autorizzazione nella cartella \"Da autorizzare\" della casella. Per inviarlo spostarlo in \"Autorizzati\"; eliminandolo non parte. Senza autorizzazione entro 72 ore viene annullato.",
		en: "A message by " + sub.User + " waits for approval in the folder \"To approve\" of the mailbox. To send it move it to \"Approved\"; if it is deleted it does not leave. Without an approval within 72 hours it is cancelled.",
	}, s.opt).fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) { return still(tx, k) })
}
