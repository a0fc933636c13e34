package smtpd

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"pecgate/mailbox/events"
)

// TestS7_DeedsOfSubmissions: what is refused to somebody who is logged in goes
// to the audit log with who, from where, for which mailbox and why; what a
// stranger tries, and a line that breaks, does not.
func TestS7_DeedsOfSubmissions(t *testing.T) {
	var mu sync.Mutex
	var got []string
	s := newServer(t, func(o *Options) {
		o.Events.AuditTo(func(d events.Deed) {
			mu.Lock()
			defer mu.Unlock()
			if d.Event != "login" {
				got = append(got, fmt.Sprint(d.Event, " ", d.Login, " ", d.Mailbox, " ", d.From, " ", d.Result, " ", d.Reason, " ", d.Code))
			}
		})
	})
	p := s.pipes(t)
	want := func(lines ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if strings.Join(got, "|") != strings.Join(lines, "|") {
			t.Errorf("%q\nwant %q", got, lines)
		}
		got = nil
	}
	stranger := newClient(t, p.dial(1))
	stranger.reply()
	stranger.do("EHLO client.example.org", "250-")
	stranger.do("MAIL FROM:<"+office+">", "530")
	stranger.do(fmt.Sprintf("MAIL FROM:<%s> SIZE=%d", office, 1<<30), "552")
	want()
	c := newClient(t, p.dial(2))
	c.login()
	c.do("MAIL FROM:<spento@pec.example.org>", "550")
	c.do("MAIL FROM:<>", "5")
	c.do(fmt.Sprintf("MAIL FROM:<%s> SIZE=%d", office, 1<<30), "552")
	mu.Lock()
	for i, w := range []string{"submission mario spento@pec.example.org 10.0.0.2 refused ", "submission mario  10.0.0.2 refused ", "submission mario " + office + " 10.0.0.2 refused "} {
		if i >= len(got) || !strings.HasPrefix(got[i], w) {
			t.Errorf("%d: %q, want %q", i, got, w)
		}
	}
	got = nil
	mu.Unlock()
	c.do("MAIL FROM:<"+office+">", "250")
	c.do(`RCPT TO:<"a b"@pec.example.net>`, "5")
	mu.Lock()
	if len(got) != 1 || !strings.HasPrefix(got[0], "submission mario "+office+" 10.0.0.2 refused ") {
		t.Errorf("%q", got)
	}
	got = nil
	mu.Unlock()
	c.do("RSET", "250")
	// PINs: wrong, right, and none.
	const desk = "protocollo@pec.example.org"
	for _, tt := range []struct{ subject, answer string }{{"x [PIN:000000]", "550"}, {"x [PIN:" + pin + "]", "250"}, {"x", "550"}} {
		c.envelope(desk, other)
		c.send(stuff("From: " + desk + "\r\nTo: " + other + "\r\nSubject: " + tt.subject + "\r\n\r\nx\r\n"))
		if r := c.reply(); !strings.HasPrefix(r, tt.answer) {
			t.Errorf("%q answered %q", tt.subject, r)
		}
	}
	mu.Lock()
	all := strings.Join(got, "|")
	got = nil
	mu.Unlock()
	at := "mario " + desk + " 10.0.0.2 "
	if parts := strings.Split(all, "|"); len(parts) != 4 || parts[0] != "pin "+at+"wrong  0" || !strings.HasPrefix(parts[1], "submission "+at+"refused pin") ||
		parts[2] != "pin "+at+"right  0" || !strings.HasPrefix(parts[3], "submission "+at+"refused pin") {
		t.Errorf("%s", all)
	}
	if strings.Contains(all, pin) || strings.Contains(all, "000000") {
		t.Error("a PIN is in a deed")
	}
	// A line that breaks is no refusal.
	c.envelope(office, other)
	c.send("From: ")
	c.c.Close()
	s.stop(t)
	want()
}
