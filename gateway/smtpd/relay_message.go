package smtpd

import (
	"cmp"
	"slices"

	"pecgate/policy"
)

// relayed is a message of a groupware server that becomes a submission of one of its
// users: the user, the mailbox and the recipients are those that the policy finds in
// envelope and header.
type relayed struct {
	*relaySession
	facts   policy.RelayFacts
	verdict policy.RelayVerdict
	policy  *policy.Policy // by which the verdict was made
	edits   []string
	pins    []string // ways in which a PIN may come
	way     string   // as Submission.Way
}

// settle judges whose message it is and from where it leaves, writes that into the
// session, and returns the header with the edits that make it one of that mailbox.
func (r *relayed) settle(p *policy.Policy, header []byte) ([]byte, error) {
	rule, ok := p.Relay(r.peer.Name)
	if !ok {
		return nil, verdict(p.DecideRelay(policy.RelayFacts{Relay: r.peer.Name}).Verdict)
	}
	h, err := readRelayHeader(header)
	if err != nil {
		return nil, err
	}
	r.facts, r.way = h.facts(rule), h.way()
	r.facts.Relay, r.facts.ReversePath, r.facts.Recipients = r.peer.Name, r.from, r.to
	r.facts.Now = r.srv.opt.Now()
	if r.journal != nil {
		r.facts.Visible = nil // the report names everybody who gets the message
	}
	r.policy, r.verdict, r.pins = p, p.DecideRelay(r.facts), rule.PINs
	if !r.verdict.Allow {
		return nil, relayRefusal(r.verdict)
	}
	if r.verdict.Unmarked {
		return nil, notOrdinary()
	}
	ordinary := []string{r.verdict.Ordinary}
	if u, ok := p.User(r.verdict.Identity.User); ok {
		ordinary = append(ordinary, u.Email)
	}
	if _, pec := p.Mailbox(r.from); !pec {
		ordinary = append(ordinary, r.from)
	}
	if err := h.edit(rule, r.verdict.Box, ordinary); err != nil {
		return nil, err
	}
	for i := range r.asked {
		r.asked[i].Recipient, _ = rule.WithoutSuffix(r.asked[i].Recipient)
	}
	r.edits = h.edits
	if r.secret != nil {
		r.edits = append(r.edits, r.peer.SecretField+" cut")
	}
	if r.journal != nil {
		r.edits = append(r.edits, r.journal.words())
	}
	for _, w := range r.verdict.Warn {
		r.edits = append(r.edits, "warning: "+w.Reason) // so that `show` and the audit log tell it
	}
	r.who, r.from, r.to = r.verdict.Identity, r.verdict.Box, r.verdict.Recipients
	return h.header, nil
}

// describe adds what only a relay knows of a submission.
func (r *relayed) describe(s *Submission) {
	s.Relay, s.OrdinarySender, s.ReturnTo = r.peer.Name, r.verdict.Ordinary, r.facts.ReversePath
	if _, pec := r.policy.Mailbox(s.ReturnTo); pec { // to which no notice goes
		u, _ := r.policy.User(r.who.User) // known: the verdict names them
		s.ReturnTo = cmp.Or(r.verdict.Ordinary, u.Email)
	}
	s.Journal = r.journal
	s.Return, s.EnvID, s.Asked, s.Way, s.Warn = r.ret, r.envID, r.asked, r.way, r.verdict.Warn
}

// takes tells whether a PIN may come in a way: those of the mailbox that this server
// can carry.
func (in *submission) takes(m *policy.Mailbox, way string) bool {
	if in.handed != nil && way == policy.PINByPassword {
		return false // there was no password
	}
	return m.PINBy(way) && (in.relayed == nil || slices.Contains(in.relayed.pins, way))
}

// relayWinmail names the switches of servers: who wrote the message has none.
func relayWinmail() *refusal {
	return refuse(550, "5.6.1",
		"Il messaggio e' in formato winmail.dat (TNEF), che i destinatari non leggono. L'amministratore: in Exchange e Microsoft 365 Set-RemoteDomain Default -TNEFEnabled $false; in Domino, documento della persona, formato per gli indirizzi Internet: MIME. Intanto scrivere in formato HTML.",
		"The message is in the format winmail.dat (TNEF), which recipients cannot read. The administrator: in Exchange and Microsoft 365 Set-RemoteDomain Default -TNEFEnabled $false; in Domino, person document, format for Internet addresses: MIME. Meanwhile write it in HTML.",
		"tnef")
}

// words are the refusal for a message of a groupware server.
func (r *relayed) words(err error) error {
	if f, ok := err.(*refusal); ok && f.reason == "tnef" && r != nil {
		return relayWinmail()
	}
	return err
}

// stillPeer sees to it that the connection is that of its server at the end of a
// message, too.
func (s *relaySession) stillPeer() error {
	if peer, why := s.shown.peer(s.srv.opt.Relay.Peers(), s.srv.opt.Now()); why != nil || peer.Name != s.peer.Name {
		s.c.hangUp = silence
		return notAPeer()
	} else if peer.SecretField != s.peer.SecretField || peer.SecretHash != s.peer.SecretHash {
		return otherRules()
	}
	return nil
}

// still sees to it that a policy which changed while the message came says the same
// of it, and that its server may still submit.
func (r *relayed) still(p *policy.Policy) error {
	if err := r.stillPeer(); err != nil {
		return err
	}
	if p == r.policy {
		return nil
	}
	r.facts.Now = r.srv.opt.Now()
	v := p.DecideRelay(r.facts)
	if !v.Allow {
		return relayRefusal(v)
	}
	if v.Unmarked || v.Identity != r.verdict.Identity || v.Box != r.verdict.Box || !slices.Equal(v.Recipients, r.verdict.Recipients) {
		return otherRules()
	}
	return nil
}

// author finds who wrote a reply to a notice, by the same rule as of a message.
func (s *relaySession) author(message []byte) error {
	end := headerEnd(message, 0)
	if end < 0 {
		return noBlankLine()
	}
	message, end, err := s.proved(message, end)
	if err != nil {
		return err
	}
	p := s.srv.opt.Policy()
	if err := s.stillPeer(); err != nil {
		return err
	}
	rule, ok := p.Relay(s.peer.Name)
	if !ok {
		return notAPeer()
	}
	h, err := readRelayHeader(message[:end])
	if err != nil {
		return err
	}
	f := h.facts(rule)
	f.Relay, f.ReversePath, f.Now = s.peer.Name, s.from, s.srv.opt.Now()
	who, v := p.RelayUser(f)
	if !v.Allow {
		return verdict(v)
	}
	s.who = who
	return nil
}

// relayRefusal names the relay's line where no other decided.
func relayRefusal(v policy.RelayVerdict) *refusal {
	r := verdict(v.Verdict)
	if r.where == "" {
		r.where = v.RelayLine
	}
	return r
}

func notOrdinary() *refusal {
	return refuse(550, "5.7.1", "Il messaggio non e' segnato come PEC e qui passano solo PEC: segnarlo o inviarlo come posta ordinaria.",
		"The message is not marked as PEC and only PEC passes here: mark it or send it as ordinary mail.", policy.NotMarked)
}
