package smtpd

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/policy"
)

// A server that is no relay any more at the end of a message has nothing done by it:
// also no held message released, and nothing filed.
func TestRelayPeerGoneAtTheEnd(t *testing.T) {
	for i, tc := range []struct{ name, from, to, message string }{
		{"PIN by reply", personal, "confirm+" + heldToken + "@pecgate.example.org", "From: " + personal + "\r\nSubject: R: x\r\n\r\n" + pin + "\r\n"},
		{"null sender", "", office, "From: postmaster@example.org\r\nSubject: x\r\n\r\nx\r\n"},
		{"PEC", personal, other, outlook + "\r\nx\r\n"},
	} {
		room := &waitroom{w: Waiting{ID: "held1", Mailbox: pinBox, Waits: true}, owner: "mario"}
		p := relays(t)
		p.Mailboxes[0].PINMethods, p.Relays[0].PINs = []string{policy.PINByReply}, []string{policy.PINByReply}
		var peer *Peer
		s, a := relayServer(t, func(o *Options, one *Peer) {
			peer = one
			o.Policy = func() *policy.Policy { return p }
			o.Auth = auth.New(auth.Options{Policy: o.Policy, Events: o.Events})
			o.Confirm = room
		})
		c := newClient(t, s.pipes(t).dial(i))
		c.greet()
		c.envelope(tc.from, tc.to)
		// The conversation reads nothing of it before the message comes.
		peer.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
		c.send(stuff(tc.message))
		if got := c.reply(); !strings.HasPrefix(got, "554-5.7.1 ") {
			t.Errorf("%s: %q", tc.name, got)
		}
		c.ended()
		s.stop(t)
		if room.freed > 0 || len(s.store.all()) > 0 || a.count() > 0 || a.began != a.ended {
			t.Errorf("%s: freed %d, %d stored, %d filed", tc.name, room.freed, len(s.store.all()), a.count())
		}
	}
}

// An ORCPT of which the library knows nothing costs nobody a recipient; one that it
// knows stays. The path is left alone, whatever it looks like.
func TestRelayORCPT(t *testing.T) {
	s, _ := relayServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	c.do("MAIL FROM:<"+personal+">", "250 ")
	var to, want []string
	for i, tc := range []struct{ param, want string }{
		{"ORCPT=rfc822;Destinatario+2Buno@x.example", "rfc822;Destinatario+uno@x.example"}, {"orcpt=UTF-8;citt\\x{E0}@x.example", "utf-8;città@x.example"},
		{"ORCPT=x400;/C=it/", ""}, {"ORCPT=unknown;foo", ""}, {"ORCPT=EX;/o=Org/ou=x", ""}, {"ORCPT=rfc822;+E8@x", ""}, {"ORCPT=rfc822;a+0D+0ARCPT@x", ""},
		{"ORCPT=utf-8;a\\x{0D}\\x{0A}b@x", ""}, {"ORCPT=utf-8;a\\x{00}b@x", ""}, {"ORCPT=utf-8;a\\x{7F}b@x", ""}, {"ORCPT=rfc822;", ""}, {"ORCPT=", ""}, {"ORCPT=foo NOTIFY=NEVER", ""},
	} {
		a := fmt.Sprintf("orcpt=%d@pec.example.net", i)
		to, want = append(to, a), append(want, tc.want)
		c.do("RCPT TO:<"+a+"> "+tc.param, "250 ")
	}
	c.do("RCPT TO:<x@pec.example.net> ORCPT=foo NOTIFY=WHATEVER", "501 ")
	c.do("RSET", "250 ")
	c.do("MAIL FROM:<"+personal+">", "250 ")
	c.do("RCPT TO:<"+to[0]+"> ORCPT=rfc822;Destinatario+2Buno@x.example", "250 ")
	c.do("RCPT TO:<"+to[1]+"> orcpt=UTF-8;citt\\x{E0}@x.example", "250 ")
	c.do("RCPT TO:<"+to[2]+"> ORCPT=x400;/C=it/ NOTIFY=SUCCESS", "250 ")
	c.do("DATA", "354 ")
	c.send(stuff(strings.Replace(outlook, "<"+other+">", "<"+strings.Join(to[:3], ">, <")+">", 1) + "\r\nx\r\n"))
	if got := c.reply(); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	s.stop(t)
	got := s.store.all()[0].Asked
	for i := range 3 {
		if got[i].Recipient != to[i] || got[i].ORCPT != want[i] {
			t.Errorf("asked %+v, want %q for %s", got[i], want[i], to[i])
		}
	}
	if got[2].Notify != "SUCCESS" {
		t.Errorf("NOTIFY is lost: %+v", got[2])
	}
}

// A BDAT whose length nobody can read ends the connection: its chunk would be run as
// commands.
func TestBDATBrokenCommand(t *testing.T) {
	for i, cmd := range []string{"BDAT\t%d LAST", "bdat %d LAST\x7f", "BDAT %d \xe8LAST", "BDAT +%d LAST", "BDAT %dx LAST", "BDAT %d LAST LAST", "BDAT  LAST %d"} {
		s, _ := relayServer(t, nil)
		c := newClient(t, s.pipes(t).dial(i))
		c.greet()
		c.do("MAIL FROM:<"+personal+">", "250 ")
		c.do("RCPT TO:<"+other+">", "250 ")
		const chunk = "RSET\r\nNOOP\r\n"
		c.send(fmt.Sprintf(cmd, len(chunk)) + "\r\n" + chunk)
		if got := c.reply(); !strings.HasPrefix(got, "501 5.5.4 BDAT ") {
			t.Errorf("%q: %q", cmd, got)
		}
		c.ended()
		s.stop(t)
	}
}
