package policy

import "testing"

func TestUsesRelay(t *testing.T) {
	p := &Policy{Users: []User{{Login: "mario", Email: "mario@example.org"}, {Login: "lucia"}, {Login: "pec", Email: "box@pec.example.org"},
		{Login: "one", Email: "same@example.org"}, {Login: "two", Email: "same@example.org"}},
		Mailboxes: []Mailbox{{Address: "box@pec.example.org", Active: true}}}
	for _, tt := range []struct {
		users string // of the only relay; "-": there is none
		want  map[string]bool
	}{
		{"-", map[string]bool{"mario": false}},
		{"", map[string]bool{"mario": false}},
		{"by_email", map[string]bool{"Mario": true, "lucia": false, "pec": false, "one": false, "two": false, "gone": false, "": false}},
		{"header:X-Pecgate-User", map[string]bool{"mario": true, "lucia": true, "gone": false}},
		{"user:LUCIA", map[string]bool{"lucia": true, "mario": false}},
		{"user:gone", map[string]bool{"mario": false, "gone": false}},
	} {
		p.Relays = nil
		if tt.users != "-" {
			p.Relays = []Relay{{Name: "exchange", Users: tt.users}}
		}
		for login, want := range tt.want {
			if got := p.UsesRelay(login); got != want {
				t.Errorf("users: %s: %q uses a relay: %v, wanted %v", tt.users, login, got, want)
			}
		}
	}
}
