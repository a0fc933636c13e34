package gateway

import (
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
			Login: u.Login,
			Sees:  func(role mailbox.Role) (mailbox.Scope, bool) { return imapd.Shared(role, rights, box) },
		})
	}
	return all
}
