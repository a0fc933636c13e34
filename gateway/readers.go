package gateway

import (
	"slices"
	"time"

	"pecgate/gateway/imapd"
	"pecgate/mailbox"
	"pecgate/policy"
	"pecgate/relay"
)

// readers are the people who may see something of a mailbox: exactly what they
// would see by IMAP.
func readers(p *policy.Policy, address string, now time.Time) (all []relay.Reader) {
	box, ok := p.Mailbox(address)
	if !ok {
		return nil
	}
	for i := range p.Users {
		u := &p.Users[i]
		rights := p.Rights(u.Login, box.Address, now)
		if !rights.Any() {
			continue
		}
		all = append(all, relay.Reader{
			Correspondent: correspondent(p, u.Login), Login: u.Login, NotifyNew: u.NotifyNew, Approves: rights.Approve,
			Sees: func(role mailbox.Role) (mailbox.Scope, bool) { return imapd.Shared(role, rights, box) },
		})
	}
	return all
}

// correspondent is how ordinary mail reaches a login.
func correspondent(p *policy.Policy, login string) relay.Correspondent {
	u, ok := p.User(login)
	if !ok {
		return relay.Correspondent{}
	}
	return relay.Correspondent{
		Email: u.Email, Forward: slices.Contains(u.Deliver, "forward"),
		NoIMAP: func(box string) bool { return p.Rights(u.Login, box, time.Now()).SendOnly },
	}
}

// digests are the times of the day at which logins want a digest.
func digests(p *policy.Policy) map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, u := range p.Users {
		if u.Digested {
			out[u.Login] = u.Digest
		}
	}
	return out
}
