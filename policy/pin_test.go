package policy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestG4_WithoutThePIN: what becomes of a submission without the right PIN
// depends on the ways that the mailbox allows and on whether the user has one.
func TestG4_WithoutThePIN(t *testing.T) {
	for _, tt := range []struct {
		methods []string
		pin     string
		codes   string
		held    bool
		says    string
	}{
		{nil, "x", "", false, "write [PIN:...] in the subject and send"},
		{[]string{PINBySubject}, "x", "", false, "write [PIN:...] in the subject and send"},
		{[]string{PINByHeader, PINByPassword}, "x", "", false, "give it in the field X-Pecgate-PIN or write it behind the password and a space"},
		{[]string{PINBySubject, PINByReply}, "x", "", true, "reply with the PIN"},
		{[]string{PINByReply}, "x", "", true, "reply with the PIN"},
		{[]string{PINByReply}, "", "", false, "has none: ask the administrator"},
		{nil, "", "", false, "has none: ask the administrator"},
		{nil, "", "sealed", false, "and send again. The PIN is the code of the app: each is good once."},
		{[]string{PINByReply}, "", "sealed", true, "reply with the PIN"},
	} {
		p := &Policy{
			Users: []User{{Login: "mario", PIN: tt.pin, TOTP: tt.codes}},
			Mailboxes: []Mailbox{{Address: "a@pec.example", Active: true, PINRequired: true, PINMethods: tt.methods, Line: "policy.yaml:9",
				Members: []Member{{User: "mario", Send: true}}}},
		}
		s := Submission{Identity: Identity{User: "mario"}, ReversePath: "a@pec.example", From: "a@pec.example",
			Recipients: []string{"b@pec.example"}, Now: time.Unix(1e9, 0)}
		missing := p.Decide(s)
		s.PINGiven = true
		wrong := p.Decide(s)
		if missing.Allow != tt.held || (missing.Then == HoldPIN) != tt.held || !strings.Contains(missing.English, tt.says) || missing.Line != "policy.yaml:9" {
			t.Errorf("%v: %+v", tt.methods, missing)
		}
		if missing.Reason != PINMissing || wrong.Reason != PINWrong {
			t.Errorf("%v: reasons %s and %s", tt.methods, missing.Reason, wrong.Reason)
		}
		wrong.Reason = missing.Reason
		if wrong != missing {
			t.Errorf("%v: the answer tells a missing PIN from a wrong one", tt.methods)
		}
		s.PINRight = true
		has := tt.pin+tt.codes != "" // who has none can have given no right one
		if v := p.Decide(s); v.Allow != has || v.Then != ToProvider {
			t.Errorf("%v: with the right PIN %+v", tt.methods, v)
		}
		if got, want := p.ConfirmsByReply("Mario"), slices.Contains(tt.methods, PINByReply); got != want {
			t.Errorf("%v: confirms by reply: %t", tt.methods, got)
		}
	}
}
