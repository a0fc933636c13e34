package smtpd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/policy"
)

// pinRelay is a server for groupware servers with a mailbox that asks for a PIN.
func pinRelay(t *testing.T, room *waitroom, pins []string, ways ...string) *server {
	t.Helper()
	p := relays(t)
	p.Mailboxes[0].PINMethods, p.Relays[0].PINs = ways, pins
	s, _ := relayServer(t, func(o *Options, _ *Peer) {
		o.Policy = func() *policy.Policy { return p }
		o.Auth = auth.New(auth.Options{Policy: o.Policy, Events: o.Events})
		o.Confirm = room
	})
	return s
}

// TestG4_PINThroughRelay: a PIN counts only in ways that mailbox and relay allow; by
// reply the message is held.
func TestG4_PINThroughRelay(t *testing.T) {
	reply, subject := []string{policy.PINByReply}, []string{policy.PINByReply, policy.PINBySubject}
	for i, tc := range []struct {
		name, subject, more string
		relay               []string
		box                 []string
		want                string
	}{
		{"held", "", "", reply, reply, "250 2.0.0 Trattenuto"},
		{"by subject where the relay has only reply", "[PIN:" + pin + "] ", "", reply, subject, "250 2.0.0 Trattenuto"},
		{"by subject where both allow it", "[PIN:" + pin + "] ", "", subject, subject, "250 2.0.0 Accettato"},
		{"by subject where the mailbox does not", "[PIN:" + pin + "] ", "", subject, reply, "250 2.0.0 Trattenuto"},
		{"by a field", "", "X-Pecgate-PIN: " + pin + "\r\n", subject, []string{policy.PINByHeader, policy.PINByReply}, "250 2.0.0 Trattenuto"},
		{"wrong", "[PIN:000000] ", "", subject, []string{policy.PINBySubject}, "550-5.7.1 "},
		{"none, and no reply", "", "", reply, []string{policy.PINBySubject}, "550-5.7.1 "},
	} {
		s := pinRelay(t, &waitroom{}, tc.relay, tc.box...)
		c := newClient(t, s.pipes(t).dial(i))
		c.greet()
		m := strings.ReplaceAll(outlook, "[PEC:ufficio] ", "[PEC:protocollo] "+tc.subject) + tc.more + "\r\nx\r\n"
		if got := c.message(personal, m, other); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %q, want %s", tc.name, got, tc.want)
		}
		s.stop(t)
		for _, one := range s.store.all() {
			if strings.Contains(string(one.data), pin) || strings.Contains(s.log.String(), pin) {
				t.Errorf("%s: the PIN is kept", tc.name)
			}
		}
	}
}

// What comes back through the server as a reply to the notice releases the message:
// of its sender, with the right PIN, and of nobody else.
func TestG4_ReplyThroughRelay(t *testing.T) {
	files, err := filepath.Glob("../../testdata/groupware/*pin-reply*.eml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v %v", files, err)
	}
	for i, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		good := strings.NewReplacer("mario.rossi@comune.example", personal, "471193", pin).Replace(string(raw))
		const to = "confirm+" + heldToken + "@pecgate.example.org"
		for _, tc := range []struct {
			name, from, message, to string
			freed                   int
			want                    string
		}{
			{"good", personal, good, to, 1, "250 2.0.0 Confermato"},
			{"wrong PIN", personal, strings.ReplaceAll(good, pin, "000000"), to, 0, "550"},
			{"another person", "capo@example.org", good, to, 0, "550"},
			{"forged From", personal, strings.ReplaceAll(good, personal, "capo@example.org"), to, 0, "550"},
			{"another token", personal, good, "confirm+zzzzzzzzzzzzzzzzzzzzzzzzzz@pecgate.example.org", 0, "550"},
		} {
			room := &waitroom{w: Waiting{ID: "held1", Mailbox: pinBox, Waits: true}, owner: "mario"}
			s := pinRelay(t, room, []string{policy.PINByReply}, policy.PINByReply)
			c := newClient(t, s.pipes(t).dial(i))
			c.greet()
			if got := c.message(tc.from, tc.message, tc.to); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s, %s: %q", filepath.Base(name), tc.name, got)
			}
			s.stop(t)
			if room.freed != tc.freed || len(s.store.all()) > 0 || strings.Contains(s.log.String(), pin) {
				t.Errorf("%s, %s: freed %d, %d stored", filepath.Base(name), tc.name, room.freed, len(s.store.all()))
			}
		}
	}
}
