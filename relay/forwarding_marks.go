package relay

import (
	"context"
	"errors"
	"strings"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/relay/forward"
)

// marked tells why a message goes nowhere: it came from here, or a machine wrote it.
// Of what is believed it looks at the provider's header alone: what is inside, the
// sender wrote, who must not keep a PEC or a receipt from anybody. Of an anomaly
// it looks besides at what the provider has wrapped, and never at what is attached
// to that.
func (s *Service) marked(ctx context.Context, m *mailbox.Message, r routed) (why string, err error) {
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
	check := forward.Check{Hostname: s.opt.Hello, Address: s.opt.Address, Machines: !r.Believed}
	why, err = check.Marked(body, index.Root.HeaderOff, index.Root.HeaderLen)
	if err != nil || why != "" || m.Kind == pec.Ordinary || r.Believed && m.Kind != pec.Anomaly {
		return why, err
	}
	if in := wrapped(&index.Root); in != nil {
		check.Machines = true
		return check.Marked(body, in.HeaderOff, in.HeaderLen)
	}
	return "", nil
}

// Wandered tells by its header why a message of a groupware server must not pass
// through to the smarthost, or nothing: it comes back, or goes in a circle.
func (s *Service) Wandered(header []byte) string { return forward.Wandered(s.opt.Hello, header) }

// Looped tells why something of a groupware server must not leave as a PEC, or
// nothing: its header says that it is one of our own copies or notices that comes
// back, or the answer of a machine, as to a copy. What a machine writes of its own
// accord, like an invoice, may leave; what says so and refers to a message all the same,
// like a ticket, as often as machines.go says. A null reverse path is the caller's affair.
func (s *Service) Looped(header []byte) string {
	return forward.Check{Hostname: s.opt.Hello, Address: s.opt.Address, Answers: true, Own: s.machines.again}.Header(header)
}

// saidByProvider tells whether what arrived is believed, or is an anomaly envelope,
// which has no daticert.xml, with a good signature.
func saidByProvider(r *pec.Report) bool {
	good := r.Verdict == pec.Valid || r.Verdict == pec.ValidHistoric
	return r.Believed() || r.Kind == pec.Anomaly && good && !r.Relayed
}

// wrapped is the message that a provider has wrapped, the one right below its
// multipart, or nil.
func wrapped(p *mime.Part) *mime.Part {
	if p.Type == "multipart" && p.Subtype == "signed" && len(p.Children) > 0 {
		p = &p.Children[0]
	}
	for i := range p.Children {
		if in := p.Children[i].Message; in != nil {
			return in
		}
	}
	return p.Message
}

// isPEC tells whether an address is of a PEC mailbox here: what went there would
// come back.
func (s *Service) isPEC(address string) bool {
	for _, a := range s.opt.Accounts() {
		if strings.EqualFold(a.Box, address) {
			return true
		}
	}
	return false
}

// stillGets is where an item goes by now, by the same rules as when it was queued.
// Who has left gets nothing, nor who has no right on the mailbox any more: a notice
// may let its reader confirm a sending.
func (s *Service) stillGets(tx *mailbox.Tx, it forward.Item) (to, why string, err error) {
	if it.Kind == routeNotice || it.Kind == routeStatus {
		who, err := s.personBehind(tx, it.Person)
		if err != nil || who.Email == "" || s.isPEC(who.Email) {
			return "", "the person has left or has no email", err
		}
		login, err := tx.Login(it.Person)
		if err != nil || it.Box != "" && !s.opt.rights(login, it.Box).Any() && !s.administers(login) {
			return "", "the person has no right on the mailbox any more", err
		}
		if it.Kind == routeStatus {
			return it.To, "", nil // where it came from
		}
		return who.Email, "", nil
	}
	if it.Kind == forward.KindPassing || it.Kind == kindBounce {
		return it.To, "", nil // ordinary mail of others: where it is addressed to
	}
	m, err := tx.Message(it.Message)
	if errors.Is(err, mailbox.ErrNotFound) {
		return "", "the message is there no more", nil
	}
	if err != nil {
		return "", "", err
	}
	believed := m.Verdict == pec.Valid || m.Verdict == pec.ValidHistoric
	all, err := s.getsByMail(tx, m, routed{Message: m.ID, What: routeArrival, Box: it.Box, Believed: believed})
	for _, now := range all {
		if now.Kind == it.Kind && now.Person == it.Person {
			return now.To, "", err
		}
	}
	return "", "it is not shown to the person any more", err
}

// administers tells whether a login is the administrator of a mailbox.
func (s *Service) administers(login string) bool {
	for _, a := range s.opt.Accounts() {
		if strings.EqualFold(a.Admin, login) {
			return true
		}
	}
	return false
}
