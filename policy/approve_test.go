package policy

import (
	"testing"
	"time"
)

// TestDecideApproval: who may approve what, and whether a PIN confirms it.
func TestDecideApproval(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const box = "x@pec.example"
	make := func(change func(*Mailbox)) *Policy {
		m := Mailbox{Address: box, Active: true, Line: "p:1", Members: []Member{
			{User: "capo", Approve: true, Line: "p:2"},
			{User: "anna", Compose: true, Line: "p:3"},
			{User: "both", Compose: true, Approve: true, Line: "p:4"},
			{User: "over", Approve: true, Expires: now, Line: "p:5"},
			{User: "soon", Approve: true, Begins: now.Add(time.Hour), Line: "p:6"},
			{User: "denied", Approve: true, Line: "p:7"}, {User: "denied", Line: "p:8"},
			{User: "nopin", Approve: true, Line: "p:9"},
			{User: "coded", Approve: true, Line: "p:10"},
		}}
		change(&m)
		p := &Policy{Mailboxes: []Mailbox{m}}
		for _, u := range []string{"capo", "anna", "both", "over", "soon", "denied", "stranger"} {
			p.Users = append(p.Users, User{Login: u, PIN: "$argon2id$"})
		}
		p.Users = append(p.Users, User{Login: "nopin"}, User{Login: "coded", TOTP: "v1."})
		return p
	}
	same := func(*Mailbox) {}
	pin := func(m *Mailbox) { m.PINRequired = true }
	for _, c := range []struct {
		name   string
		change func(*Mailbox)
		who    Identity
		own    bool
		reason string
		then   Next
		line   string
	}{
		{"an approver", same, Identity{User: "capo"}, false, Allowed, ToProvider, "p:2"},
		{"at the login of the mailbox", same, Identity{User: "capo", Box: box}, false, Allowed, ToProvider, "p:2"},
		{"at that of another", same, Identity{User: "capo", Box: "y@pec.example"}, false, BoxMismatch, ToProvider, ""},
		{"at the archive", same, Identity{User: "capo", Box: box, Archive: true}, false, refuseArchive().Reason, ToProvider, ""},
		{"with a PIN", pin, Identity{User: "capo"}, false, Allowed, HoldPIN, "p:1"},
		{"with a PIN, whatever its methods", func(m *Mailbox) { pin(m); m.PINMethods = []string{PINByHeader} }, Identity{User: "capo"}, false, Allowed, HoldPIN, "p:1"},
		{"the mailbox wants none", func(m *Mailbox) { pin(m); m.ApprovalNoPIN = true }, Identity{User: "capo"}, false, Allowed, ToProvider, "p:2"},
		{"with one-time codes", pin, Identity{User: "coded"}, false, Allowed, HoldPIN, "p:1"},
		{"who has none", pin, Identity{User: "nopin"}, false, PINMissing, ToProvider, "p:1"},
		{"who has none and needs none", same, Identity{User: "nopin"}, false, Allowed, ToProvider, "p:9"},
		{"who writes only", same, Identity{User: "anna"}, true, NoApprove, ToProvider, "p:3"},
		{"one's own", same, Identity{User: "both"}, true, OwnApproval, ToProvider, "p:1"},
		{"another's", same, Identity{User: "both"}, false, Allowed, ToProvider, "p:4"},
		{"one's own, allowed", func(m *Mailbox) { m.ApproveOwn = true }, Identity{User: "both"}, true, Allowed, ToProvider, "p:4"},
		{"over", same, Identity{User: "over"}, false, Expired, ToProvider, "p:5"},
		{"not begun", same, Identity{User: "soon"}, false, NotYet, ToProvider, "p:6"},
		{"one line denies", same, Identity{User: "denied"}, false, NoApprove, ToProvider, "p:8"},
		{"no member", same, Identity{User: "stranger"}, false, NotMember, ToProvider, ""},
		{"nobody", same, Identity{User: "x"}, false, NotMember, ToProvider, ""},
		{"inactive", func(m *Mailbox) { m.Active = false }, Identity{User: "capo"}, false, Inactive, ToProvider, "p:1"},
	} {
		v := make(c.change).DecideApproval(c.who, box, c.own, now)
		if v.Reason != c.reason || v.Allow != (c.reason == Allowed) || v.Then != c.then || v.Line != c.line || v.English == "" || v.Italian == "" {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
	if v := make(same).DecideApproval(Identity{User: "capo"}, "y@pec.example", false, now); v.Reason != UnknownMailbox {
		t.Errorf("another mailbox: %+v", v)
	}
	for login, want := range map[string]bool{"capo": true, "anna": false, "both": true} {
		if p := make(pin); p.ConfirmsByReply(login) != want {
			t.Errorf("%s may be asked for a PIN: %t", login, !want)
		}
	}
}
