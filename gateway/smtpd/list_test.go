package smtpd

import (
	"slices"
	"strings"
	"testing"

	"pecgate/policy"
)

// A distribution list in To stands for its members, each of whom gets a message of their own; only for who may use it, and
// only from a mailbox that splits.
func TestDistributionList(t *testing.T) {
	const list = "sindaci@liste.example.org"
	p := people(t)
	p.Lists = []policy.List{{Address: list, Members: []string{"a@pec.example.net", "b@pec.example.net"}, Users: []string{"mario"}}}
	sample := Sample{Identity: policy.Identity{User: "mario"}, From: "ufficio@pec.example.org", Hostname: "pecgate.example.org",
		Message: []byte("From: ufficio@pec.example.org\r\nTo: " + list + "\r\nCc: c@pec.example.net\r\n\r\ntext\r\n")}
	if _, v := Inspect(p, sample); v.Reason != policy.ListWhole {
		t.Errorf("without split: %+v", v)
	}
	p.Mailboxes[1].Split = "blind"
	out, v := Inspect(p, sample)
	if !v.Allow || out.Split != "always" || strings.Join(out.Recipients, " ") != "a@pec.example.net b@pec.example.net c@pec.example.net" ||
		!slices.Contains(out.Edits, "lists expanded: "+list) {
		t.Errorf("%+v %+v", out, v)
	}
	p.Lists[0].Users = []string{"lucia"}
	if _, v := Inspect(p, sample); v.Reason != policy.NotOfList {
		t.Errorf("somebody else's: %+v", v)
	}
}
