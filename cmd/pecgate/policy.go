package main

import (
	"slices"

	"pecgate/configs"
	"pecgate/policy"
)

// policyOf gives the rules of a configuration to the room that decides. It shares nothing with the configuration.
func policyOf(l *configs.Loaded) *policy.Policy {
	p := &policy.Policy{
		Users:     make([]policy.User, 0, len(l.Policy.Users)),
		Mailboxes: make([]policy.Mailbox, 0, len(l.Policy.Mailboxes)),
	}
	for _, u := range l.Policy.Users {
		p.Users = append(p.Users, policy.User{
			Login: u.Login, Name: u.Name, Email: u.Email, Password: u.Password, PIN: u.PIN, TOTP: u.TOTP.Sealed,
			Deliver: slices.Clone(u.Deliver), NotifyNew: u.NotifyNew, Digested: u.Digest.Set, Digest: u.Digest.At, Line: u.At.FileLine(),
		})
	}
	for _, m := range l.Policy.Mailboxes {
		box := policy.Mailbox{
			Address: m.Address, Name: m.Name, Active: m.Active,
			PINRequired: m.PINRequired, PINMethods: slices.Clone(m.PINMethods),
			Receipt: m.Receipt, ReceiptChoice: m.ReceiptChoice, ReceiptsTo: m.ReceiptsTo, Split: m.Split, ReplyTo: m.ReplyTo,
			Admin: m.Admin, SharedSeen: m.SharedSeen, ApproveOwn: m.ApproveOwn, ApprovalNoPIN: !m.ApprovalPIN, Keep: m.Keep.After,
			Recipients: m.Limits.Recipients, Product: int64(m.Limits.Product),
			Members: make([]policy.Member, 0, len(m.Members)), Line: m.At.FileLine(),
		}
		for _, member := range m.Members {
			box.Members = append(box.Members, member.Rule(l.Appliance.Location()))
		}
		p.Mailboxes = append(p.Mailboxes, box)
	}
	for _, g := range l.Policy.Groups {
		p.Groups = append(p.Groups, policy.Group{Name: g.Name, Users: slices.Clone(g.Users), Groups: slices.Clone(g.Groups), Line: g.At.FileLine()})
	}
	for _, x := range l.Policy.Lists {
		p.Lists = append(p.Lists, policy.List{Address: x.Address, Name: x.Name, Members: slices.Clone(x.Members),
			Users: slices.Clone(x.Users), Groups: slices.Clone(x.Groups), Line: x.At.FileLine()})
	}
	for _, r := range l.Policy.Relays {
		p.Relays = append(p.Relays, r.Rule())
	}
	for _, a := range l.Policy.Applications {
		p.Applications = append(p.Applications, a.Rule())
	}
	p.Spread()
	return p
}
