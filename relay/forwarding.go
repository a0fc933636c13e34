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
//   - ordinary mail that arrived, bare or in a provider's anomaly envelope: besides,
//     the address that the mailbox names;
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
	Refuses    string            `json:"refuses,omitempty"`  // address of which it tells that it refuses mail
	Believed   bool              `json:"believed,omitempty"` // what arrived is of the provider (saidByProvider)
	Had        []string          `json:"had,omitempty"`      // addresses to which it went before
	After      string            `json:"after,omitempty"`    // addresses, or logins, up to this one are done
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
	var waits routed
	switch err := tx.Space(room).Get(forwardKey(m.ID, routeArrival), &waits); {
	case err == nil && waits.After == "":
		return nil, nil // it was not decided yet
	case err == nil: // begun
	case !errors.Is(err, mailbox.ErrNotFound):
		return nil, err
	}
	items, err := s.getsByMail(tx, m, routed{Message: m.ID, What: routeArrival, Box: box})
	for _, it := range items {
		had = append(had, it.To)
	}
	return had, err
}

const (
	forwardInGo = 25 // read at a time
	peopleInGo  = 50 // who get something in one transaction, which the store limits
)

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
	if errors.Is(err, mailbox.ErrNotFound) || err == nil && (m.History && r.What == routeArrival || !s.hasWay()) {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Delete(k) })
	}
	if err != nil {
		return err
	}
	why, err := s.marked(ctx, m, r)
	if err != nil {
		return err
	}
	if err := s.knowReaders(ctx, r); err != nil {
		return err
	}
	for more := true; more; {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) (err error) {
			more, err = s.routePart(tx, k, m, why)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// knowReaders has all readers to whom copies go be known as persons, before the
// transaction that asks for them.
func (s *Service) knowReaders(ctx context.Context, r routed) error {
	if s.opt.Readers == nil || r.Box == "" || r.What == routeNotice {
		return nil
	}
	for _, reader := range s.opt.Readers(r.Box) {
		if !reader.Forward {
			continue
		}
		if _, err := s.opt.Store.Person(ctx, reader.Login); err != nil {
			return err
		}
	}
	return nil
}

// routePart queues a message for some of those who get it, and tells whether there
// are more.
func (s *Service) routePart(tx *mailbox.Tx, k string, m *mailbox.Message, why string) (more bool, err error) {
	var r routed // by now, not as it was when the routing began
	if err := tx.Space(room).Get(k, &r); errors.Is(err, mailbox.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if why != "" {
		return false, errors.Join(tx.Space(room).Delete(k),
			tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "not forwarded", Box: m.Box, Subject: m.SHA256(), Result: r.What, Reason: why}))
	}
	all, err := s.getsByMail(tx, m, r)
	if err != nil {
		return false, err
	}
	address := func(it forward.Item) string { return strings.ToLower(it.To) }
	slices.SortFunc(all, func(a, b forward.Item) int { return strings.Compare(address(a), address(b)) })
	all = slices.DeleteFunc(all, func(it forward.Item) bool { return r.After != "" && address(it) <= r.After })
	if more = len(all) > peopleInGo; more {
		all = all[:peopleInGo]
	}
	for _, it := range all {
		if err := forward.Add(tx, it, s.isPEC); err != nil {
			return false, err
		}
	}
	if more {
		r.After = address(all[len(all)-1])
		return true, tx.Space(room).Put(k, r)
	}
	if err := tx.Space(room).Delete(k); err != nil || r.What != routeArrival {
		return false, err
	}
	in, err := s.inInbox(tx, m, r)
	if err != nil || !in || len(s.askedForNew(r.Box)) == 0 {
		return false, err
	}
	return false, noteForward(tx, routed{Message: r.Message, What: routeNew, Box: r.Box})
}

// inInbox tells whether a message is a PEC that arrived and is shown as one.
func (s *Service) inInbox(tx *mailbox.Tx, m *mailbox.Message, r routed) (bool, error) {
	if m.Kind != pec.Transport {
		return false, nil
	}
	places, err := tx.Places(m.ID)
	for _, p := range places {
		k, err := tx.FolderKey(p.Folder)
		if err != nil {
			return false, err
		}
		if k.Role == mailbox.RoleInbox && strings.EqualFold(k.Box, r.Box) {
			return true, nil
		}
	}
	return false, err
}

// getsByMail are the items for those who get a message by ordinary mail.
func (s *Service) getsByMail(tx *mailbox.Tx, m *mailbox.Message, r routed) (all []forward.Item, err error) {
	add := func(kind, to string, who mailbox.Person) {
		same := func(it forward.Item) bool { return strings.EqualFold(it.To, to) }
		if to != "" && !strings.EqualFold(to, r.Refuses) && !r.had(to) && !slices.ContainsFunc(all, same) && !s.isPEC(to) {
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
	if r.What == routeArrival && (m.Kind == pec.Ordinary || m.Kind == pec.Anomaly && r.Believed) {
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
