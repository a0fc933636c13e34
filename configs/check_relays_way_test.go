package configs

import (
	"net/netip"
	"testing"
)

// A smarthost that is the relay itself is warned of; another one is not.
func TestSmarthostIsTheRelay(t *testing.T) {
	for _, c := range []struct {
		host, unmarked string
		names          []string
		warned         bool
	}{
		{"192.0.2.10", "smarthost", nil, true},
		{"192.0.2.10", "refuse", nil, false},
		{"192.0.2.11", "smarthost", nil, false},
		{"mail.example.org", "smarthost", []string{"MAIL.example.org"}, true},
		{"mail.example.org", "smarthost", nil, false},
	} {
		r := Relay{Networks: []string{netip.MustParsePrefix("192.0.2.10/32").String()}, ClientNames: c.names, Unmarked: c.unmarked}
		p := &policyCheck{findings: &findings{}, decoder: &decoder{}, appliance: &Appliance{}}
		p.appliance.Outgoing.Smarthost.Host = c.host
		p.comesBack(&r, "relays[0].unmarked")
		if got := len(p.warnings) > 0; got != c.warned {
			t.Errorf("%+v: %v", c, p.warnings)
		}
	}
}

// Who is held for a PIN by a relay hears of it only by ordinary mail: without a way for
// that, check warns.
func TestHeldWithoutAWayToTell(t *testing.T) {
	for _, c := range []struct {
		host   string
		needed bool
		warned bool
	}{{"", true, true}, {"mail.example.org", true, false}, {"", false, false}} {
		p := &policyCheck{findings: &findings{}, decoder: &decoder{}, appliance: &Appliance{}, policy: &Policy{}}
		p.appliance.Outgoing.Smarthost.Host = c.host
		p.policy.Mailboxes = []Mailbox{{Address: "a@pec.example.org", Active: true, PINRequired: c.needed, PINMethods: []string{"reply"}}}
		p.relayPIN(&Relay{Users: "by_email", PIN: "reply"}, "relays[0].pin")
		if got := len(p.warnings) > 0; got != c.warned {
			t.Errorf("%+v: %v", c, p.warnings)
		}
	}
}
