package policy

import "strings"

// RelayUser finds who wrote a message of a relay by the rule of DecideRelay, without asking from which mailbox it goes: a
// reply that confirms a held message comes from the same person in the same way.
func (p *Policy) RelayUser(f RelayFacts) (Identity, Verdict) {
	r, ok := p.Relay(f.Relay)
	if !ok {
		return Identity{}, refuseUnknownRelay()
	}
	if f.ReversePath == "" {
		return Identity{}, refuseNullSender(r.Line)
	}
	if len(f.From) != 1 {
		return Identity{}, refuseRelayFrom()
	}
	from, err := ParseAddress(f.From[0])
	if err != nil {
		return Identity{}, refuseRelayFrom()
	}
	login, v := p.relayUser(r, f, from)
	if login == "" {
		return Identity{}, v
	}
	return Identity{User: login}, Verdict{Allow: true, Code: 250, Enhanced: "2.1.0", Line: r.Line, Reason: Allowed,
		Italian: "Mittente accettato.", English: "Sender accepted."}
}

// UsesRelay reports whether some relay may submit for a user, from what the policy says of both. Whether that server is
// where the user's ordinary mail is nobody here knows: by_email needs only that the user has an email.
func (p *Policy) UsesRelay(login string) bool {
	u, ok := p.User(login)
	if !ok {
		return false
	}
	for i := range p.Relays {
		r := &p.Relays[i]
		of, one := strings.CutPrefix(r.Users, byLogin)
		if r.IdentityField() != "" || one && same(of, u.Login) || r.Users == ByEmail && u.Email != "" && !p.anyMailbox(u.Email) && p.byEmail(u.Email) == u {
			return true
		}
	}
	return false
}
