package smtpd

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/policy"
)

// ruled is a server with a policy of its own; later, where it is not nil, is the
// policy from when a delivery has begun.
func ruled(t *testing.T, now, later *policy.Policy, more func(*Options)) (*server, *pipes) {
	t.Helper()
	s := newServer(t, func(o *Options) {
		store := o.Intake.(*memory)
		o.Policy = func() *policy.Policy {
			store.mu.Lock()
			defer store.mu.Unlock()
			if store.opened > 0 && later != nil {
				return later
			}
			return now
		}
		o.Auth = auth.New(auth.Options{Policy: o.Policy, Events: o.Events})
		if more != nil {
			more(o)
		}
	})
	return s, s.pipes(t)
}

// TestSplitSharedMessage: the message of a blind split that several share obeys
// size x recipients with the size that came, whatever SIZE= said.
func TestSplitSharedMessage(t *testing.T) {
	p := people(t)
	for i := range p.Mailboxes {
		p.Mailboxes[i].Split, p.Mailboxes[i].Product = "blind", 100000
	}
	n := 400
	for _, box := range []string{office, pinBox} {
		for _, size := range []string{"", " SIZE=500"} {
			for body, want := range map[int]string{30000: "250 ", 60000: "55"} {
				n++
				s, l := ruled(t, p, nil, nil)
				c := newClient(t, l.dial(n))
				c.login()
				c.do("MAIL FROM:<"+box+">"+size, "250 ")
				for _, r := range []string{"a@pec.example.net", "b@pec.example.net", "d@pec.example.net"} {
					c.do("RCPT TO:<"+r+">", "250 ")
				}
				c.do("DATA", "354 ")
				c.send(stuff("From: " + box + "\r\nTo: a@pec.example.net, b@pec.example.net\r\nSubject: x [PIN:" + pin + "]\r\n\r\n" +
					strings.Repeat("abcd\r\n", body/6)))
				if got := c.reply(); !strings.HasPrefix(got, want) {
					t.Errorf("%s, %d octets,%s: %q, want %s", box, body, size, got, want)
				}
				if kept := len(s.store.all()); (kept == 1) != (want == "250 ") {
					t.Errorf("%s, %d octets,%s: %d kept", box, body, size, kept)
				}
			}
		}
	}
}

// TestRulesChangeDuringData: a message leaves by the rules in force at its end,
// or not at all.
func TestRulesChangeDuringData(t *testing.T) {
	const list = "sindaci@liste.example.org"
	base := func(change func(p *policy.Policy, m *policy.Mailbox)) *policy.Policy {
		p := people(t)
		p.Lists = []policy.List{{Address: list, Members: []string{"a@pec.example.net", "b@pec.example.net"}, Users: []string{"mario"}}}
		m := &p.Mailboxes[1]
		m.Split = "blind"
		change(p, m)
		return p
	}
	same := func(*policy.Policy, *policy.Mailbox) {}
	for n, c := range []struct {
		name   string
		now    func(*policy.Policy, *policy.Mailbox)
		later  func(*policy.Policy, *policy.Mailbox)
		to     string
		pin    string
		want   string
		proved bool
	}{
		{"nothing", same, same, list, "", "250 2.0.0 ", false},
		{"a member left the list", same, func(p *policy.Policy, _ *policy.Mailbox) { p.Lists[0].Members = p.Lists[0].Members[:1] }, list, "", "451-4.3.0 ", false},
		{"the list is gone", same, func(p *policy.Policy, _ *policy.Mailbox) { p.Lists = nil }, list, "", "451-4.3.0 ", false},
		{"there is a list", func(p *policy.Policy, _ *policy.Mailbox) { p.Lists = nil }, same, list, "", "451-4.3.0 ", false},
		{"the list is somebody else's", same, func(p *policy.Policy, _ *policy.Mailbox) { p.Lists[0].Users = []string{"lucia"} }, list, "", "550-", false},
		{"no split", same, func(_ *policy.Policy, m *policy.Mailbox) { m.Split = "never" }, other, "", "451-4.3.0 ", false},
		{"a PIN, which was given", same, func(_ *policy.Policy, m *policy.Mailbox) { m.PINRequired = true }, other, pin, "250 2.0.0 ", true},
		{"a PIN in another way", func(_ *policy.Policy, m *policy.Mailbox) { m.PINRequired = true },
			func(_ *policy.Policy, m *policy.Mailbox) { m.PINRequired, m.PINMethods = true, []string{"password"} }, other, pin, "550-5.7.1 Per inviare", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, l := ruled(t, base(c.now), base(c.later), nil)
			cl := newClient(t, l.dial(500+n))
			cl.login()
			cl.envelope(office, c.to)
			cl.send(stuff("From: " + office + "\r\nTo: " + c.to + "\r\nSubject: x [PIN:" + c.pin + "]\r\n\r\ntesto\r\n"))
			if got := cl.reply(); !strings.HasPrefix(got, c.want) {
				t.Errorf("answered %q, want %s", got, c.want)
			}
			kept := s.store.all()
			if (len(kept) == 1) != strings.HasPrefix(c.want, "250") {
				t.Fatalf("%d kept", len(kept))
			}
			if len(kept) == 1 && (kept[0].proved != c.proved || strings.Join(kept[0].Envelope, " ") != c.to) {
				t.Errorf("%+v", kept[0])
			}
		})
	}
}

// TestSessionEndsWithItsPerson: a login that is somebody else's, or has another
// password, or is gone, does not send in a session of before.
func TestSessionEndsWithItsPerson(t *testing.T) {
	for n, c := range []struct {
		name   string
		number uint32
		change func(*policy.Policy)
		want   string
	}{
		{"another reload", 7, func(p *policy.Policy) { p.Users[0].PIN = "" }, "250 "},
		{"somebody else has the login", 8, func(*policy.Policy) {}, "421-4.7.0 "},
		{"another password", 7, func(p *policy.Policy) { p.Users[0].Password += "x" }, "421-4.7.0 "},
		{"the login is gone", 7, func(p *policy.Policy) { p.Users = p.Users[1:] }, "421-4.7.0 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			var number atomic.Uint32
			number.Store(7)
			var now atomic.Pointer[policy.Policy]
			now.Store(people(t))
			_, l := ruled(t, nil, nil, func(o *Options) {
				o.Policy = now.Load
				o.Auth = auth.New(auth.Options{Policy: now.Load, Events: o.Events, People: numbered{&number}})
			})
			cl := newClient(t, l.dial(600+n))
			cl.login()
			cl.do("MAIL FROM:<"+office+">", "250 ")
			cl.do("RSET", "250 ")
			p := people(t)
			c.change(p)
			now.Store(p)
			number.Store(c.number)
			cl.do("MAIL FROM:<"+office+">", c.want)
			if c.want != "250 " {
				cl.ended()
			}
		})
	}
}

// numbered is auth.People of one number.
type numbered struct{ n *atomic.Uint32 }

func (p numbered) Number(context.Context, string) (uint32, error) { return p.n.Load(), nil }
func (p numbered) Enter(context.Context, string) (uint32, error)  { return p.n.Load(), nil }
func (p numbered) Closed(*policy.User) bool                       { return false }
func (p numbered) KeptOut(string, string)                         {}
func (p numbered) Version() uint64                                { return uint64(p.n.Load()) }

// TestRecipientsOfOneAddress: a recipient that is named again in another case is
// the same, and gets one message of a split.
func TestRecipientsOfOneAddress(t *testing.T) {
	p := people(t)
	p.Mailboxes[1].Split = "always"
	s, l := ruled(t, p, nil, nil)
	c := newClient(t, l.dial(700))
	c.login()
	c.envelope(office, "a@pec.example.net", "A@pec.example.net", "b@pec.example.net")
	c.send(stuff("From: " + office + "\r\nTo: a@pec.example.net, A@pec.example.net, b@pec.example.net\r\n\r\ntesto\r\n"))
	c.reply()
	if kept := s.store.all(); len(kept) != 1 || fmt.Sprint(kept[0].Recipients) != "[a@pec.example.net b@pec.example.net]" {
		t.Errorf("%+v", kept)
	}
}

// busy is an Auth that has never time.
type busy struct{ Auth }

func (busy) LoginPIN(context.Context, string, string, string) (auth.Entry, error) {
	return auth.Entry{}, auth.ErrBusy
}

// TestBusyIsNoRefusedLogin: who is told to come again is not thrown out for it.
func TestBusyIsNoRefusedLogin(t *testing.T) {
	_, l := ruled(t, people(t), nil, func(o *Options) { o.Auth, o.Logins = busy{}, 2 })
	c := newClient(t, l.dial(800))
	c.reply()
	c.do("EHLO client.example.org", "250-")
	for range 5 {
		c.do("AUTH PLAIN "+b64("\x00mario\x00"+password), "454")
	}
	c.do("NOOP", "250 ")
}
