package smtpd

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/policy"
)

const (
	personal = "mario.rossi@example.org" // of mario
	// outlook is a header as a groupware server sends it, without its blank line.
	outlook = "Received: from EX01.corp.local (10.1.2.3) by EX01.corp.local\r\n (10.1.2.3); Sun, 22 Nov 2026 10:00:00 +0100\r\n" +
		"Received: from EX01.corp.local ([fe80::1]) by EX01.corp.local; Sun, 22 Nov 2026 10:00:00 +0100\r\n" +
		"From: =?utf-8?Q?Mario_Rossi_=E2=82=AC?= <" + personal + ">\r\nSender: Segreteria <segreteria@example.org>\r\n" +
		"To: \"Comune\" <" + other + ">\r\nReply-To: " + personal + "\r\n" +
		"Subject: [PEC:ufficio] prova\r\nThread-Topic: [PEC:ufficio] prova\r\nThread-Index: AdcX\r\n" +
		"Date: Sun, 22 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@EX01.corp.local>\r\nAccept-Language: it-IT\r\n" +
		"X-MS-Exchange-Organization-AuthSource: EX01.corp.local\r\nx-originating-ip: [10.1.2.77]\r\nX-Custom: from " + personal + "\r\n" +
		"X-Mailer: Outlook\r\nContent-Type: text/plain\r\nMIME-Version: 1.0\r\n"
)

// admin keeps what has no sender.
type admin struct {
	mu    sync.Mutex
	began int
	ended int
	got   [][]byte
	of    []Stray
}

func (a *admin) Begin(_ context.Context, s Stray) (StrayDelivery, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.began++
	return &strayParcel{a: a, s: s}, nil
}

func (a *admin) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.got)
}

type strayParcel struct {
	bytes.Buffer
	a    *admin
	s    Stray
	done bool
}

func (p *strayParcel) Commit(context.Context) error {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	p.done = true
	p.a.ended++
	p.a.got, p.a.of = append(p.a.got, p.Bytes()), append(p.a.of, p.s)
	return nil
}

func (p *strayParcel) Abort() {
	if p.done {
		return
	}
	p.done = true
	p.a.mu.Lock()
	p.a.ended++
	p.a.mu.Unlock()
}

// relays are people with a groupware server.
func relays(t testing.TB) *policy.Policy {
	p := people(t)
	p.Relays = []policy.Relay{{
		Name: "exchange", Users: policy.ByEmail, Trigger: "[PEC]", Suffix: "pec", PINs: []string{policy.PINByReply},
		Marks: []string{policy.MarkFrom, policy.MarkSubject, policy.MarkSuffix}, Line: "policy.yaml:40",
	}}
	return p
}

// relayServer is a server for groupware servers in 10.0.0.0/8 and 127.0.0.1.
func relayServer(t testing.TB, change func(*Options, *Peer)) (*server, *admin) {
	t.Helper()
	p, a := relays(t), &admin{}
	peer := Peer{Name: "exchange", Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32")}}
	s := newServer(t, func(o *Options) {
		o.Policy = func() *policy.Policy { return p }
		o.Auth = auth.New(auth.Options{Policy: o.Policy, Events: o.Events})
		o.Relay = &Relay{Peers: func() []Peer { return []Peer{peer} }, Auth: o.Auth.(*auth.Service), Strays: a}
		if change != nil {
			change(o, &peer)
		}
	})
	return s, a
}

// greet goes up to MAIL.
func (c *client) greet() string {
	c.t.Helper()
	if got := c.reply(); !strings.HasPrefix(got, "220 ") {
		c.t.Fatalf("greeting %q", got)
	}
	return c.do("EHLO ex01.corp.example", "250-")
}

// send one message by DATA and return the reply to it.
func (c *client) message(from, message string, to ...string) string {
	c.t.Helper()
	c.envelope(from, to...)
	c.send(stuff(message))
	return c.reply()
}

func TestRelayed(t *testing.T) {
	s, _ := relayServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	caps := c.greet()
	for _, want := range []string{"8BITMIME", "CHUNKING", "SIZE", "DSN"} {
		if !strings.Contains(caps, want) {
			t.Errorf("EHLO offers no %s: %s", want, caps)
		}
	}
	c.do("MAIL FROM:<"+personal+"> RET=HDRS ENVID=QQ+3D1 SIZE=1000", "250 ")
	c.do("RCPT TO:<"+other+"> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Destina+2Btario@pec.example.net", "250 ")
	c.do("DATA", "354 ")
	c.send(stuff(outlook + "\r\nciao\r\n"))
	if got := c.reply(); !strings.HasPrefix(got, "250 2.0.0 Accettato come id1") {
		t.Fatalf("answered %q", got)
	}
	c.do("QUIT", "221 ")
	s.stop(t)
	got := s.store.all()
	if len(got) != 1 {
		t.Fatalf("%d submissions", len(got))
	}
	const want = "From: =?utf-8?Q?Mario_Rossi_=E2=82=AC?= <" + office + ">\r\n" +
		"To: \"Comune\" <" + other + ">\r\nSubject: prova\r\nThread-Topic: prova\r\nThread-Index: AdcX\r\n" +
		"Date: Sun, 22 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@EX01.corp.local>\r\nAccept-Language: it-IT\r\n" +
		"X-Mailer: Outlook\r\nContent-Type: text/plain\r\nMIME-Version: 1.0\r\nX-TipoRicevuta: breve\r\n\r\nciao\r\n"
	if string(got[0].data) != want {
		t.Errorf("handed on:\n%s\nwant:\n%s", got[0].data, want)
	}
	sub := got[0].Submission
	if sub.Identity.User != "mario" || sub.Mailbox != office || sub.From != office || sub.Relay != "exchange" ||
		sub.OrdinarySender != personal || sub.ReturnTo != personal || sub.EnvID != "QQ=1" || sub.Return != "HDRS" {
		t.Errorf("submission %+v", sub)
	}
	if w := []Asked{{other, "SUCCESS,FAILURE", "rfc822;Destina+tario@pec.example.net"}}; fmt.Sprint(sub.Asked) != fmt.Sprint(w) {
		t.Errorf("asked %+v, want %+v", sub.Asked, w)
	}
	edits := strings.Join(sub.HeaderEdits, ", ")
	for _, w := range []string{"From set", "tag cut", "Received cut", "Sender cut", "Reply-To cut", "X-MS-Exchange-Organization-AuthSource cut", "x-originating-ip cut", "X-Custom cut"} {
		if !strings.Contains(edits, w) {
			t.Errorf("edit %q is not named: %s", w, edits)
		}
	}
}

// Every sentence of a relay fits a reply line (RFC 5321 section 4.5.3.1.5) and is ASCII.
func TestRelaySentences(t *testing.T) {
	for _, r := range []*refusal{relayWinmail(), notAPeer(), noCertificate(), noServerLogin(), notOrdinary(), unclearTag(), noPINWay(true), badReversePath(), noSecret(0), secretInside(), pinInside()} {
		for _, text := range []string{r.italian, r.english} {
			if len(text) > 450 || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("%d octets: %s", len(text), text)
			}
		}
	}
	if len(notOurs) > 510 {
		t.Errorf("%d octets: %s", len(notOurs), notOurs)
	}
}

// The suffix goes in envelope and header, and stays where it is no domain's end.
func TestRelaySuffix(t *testing.T) {
	s, _ := relayServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	m := "From: " + personal + "\r\nTo: \"a@pec.example.net.pec\" <a@pec.example.net.PEC>, b@pec.example.net.pec,\r\n c@pec.example.net.pec (c)\r\n" +
		"Cc: d.pec@pec.example.net.pec\r\nSubject: [pec:Ufficio] x.pec\r\nMessage-ID: <2@x>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0100\r\n\r\nx\r\n"
	to := []string{"a@pec.example.net.pec", "b@pec.example.net.PEC", "d.pec@pec.example.net.pec"}
	if got := c.message(personal, m, append(to, "c@pec.example.net.pec")...); !strings.HasPrefix(got, "550-5.5.3") {
		t.Errorf("four recipients of three: %q", got)
	}
	m = strings.Replace(m, ",\r\n c@pec.example.net.pec (c)", "", 1)
	if got := c.message(personal, m, to...); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	s.stop(t)
	got := s.store.all()
	if len(got) != 1 || strings.Join(got[0].Recipients, " ") != "a@pec.example.net b@pec.example.net d.pec@pec.example.net" {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{"From: " + office + "\r\n", "To: \"a@pec.example.net\" <a@pec.example.net>, b@pec.example.net\r\nCc: d.pec@pec.example.net\r\nSubject: x.pec\r\n"} {
		if !strings.Contains(string(got[0].data), want) {
			t.Errorf("%q is missing in\n%s", want, got[0].data)
		}
	}
}

// What is refused is refused with its reason, and nothing of it is stored.
func TestRelayRefuses(t *testing.T) {
	base := strings.ReplaceAll(outlook, "X-Custom", "X-Other")
	for _, tc := range []struct {
		name, from, header, to, want string
	}{
		{"no mark", personal, strings.ReplaceAll(base, "[PEC:ufficio] ", ""), other, "550 5.7.1"},
		{"no such mailbox", personal, strings.ReplaceAll(base, "PEC:ufficio", "PEC:altro"), other, "550 5.7.1"},
		{"which mailbox", personal, strings.ReplaceAll(base, "PEC:ufficio", "PEC"), other, "550 5.7.1"},
		{"unknown sender", "nobody@example.org", base, other, "550 5.7.1"},
		{"another From", personal, strings.Replace(base, "<"+personal+">", "<capo@example.org>", 1), other, "550 5.7.1"},
		{"not in To", personal, base, "blind@pec.example.net", "550 5.7.1"},
		{"in Cc and not in the envelope", personal, base + "Cc: collega@example.org\r\n", other, "550 5.7.1"},
		{"two From", personal, base + "From: " + personal + "\r\n", other, "550 5.6.0"},
		{"TNEF", personal, strings.Replace(base, "text/plain", "application/ms-tnef; name=winmail.dat", 1), other, "550 5.6.1"},
		{"a receipt", personal, base + "X-Ricevuta: accettazione\r\n", other, "550 5.7.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := relayServer(t, nil)
			c := newClient(t, s.pipes(t).dial(1))
			c.greet()
			if got := c.message(tc.from, tc.header+"\r\nx\r\n", tc.to); !strings.HasPrefix(strings.Replace(got, "-", " ", 1), tc.want) {
				t.Errorf("answered %q, want %s", got, tc.want)
			}
			s.stop(t)
			if n := len(s.store.all()); n > 0 || s.store.opened != s.store.gone {
				t.Errorf("%d stored, %d begun, %d ended", n, s.store.opened, s.store.gone)
			}
		})
	}
}

// Where the relay lets people in To or Cc pass who are no recipients, that is written
// down.
func TestRelayInternalRecipientsWarn(t *testing.T) {
	p := relays(t)
	p.Relays[0].InternalWarn = true
	s, _ := relayServer(t, func(o *Options, _ *Peer) { o.Policy = func() *policy.Policy { return p } })
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	if got := c.message(personal, outlook+"Cc: collega@example.org\r\n\r\nx\r\n", other); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	s.stop(t)
	if got := s.store.all(); len(got) != 1 || !strings.Contains(strings.Join(got[0].HeaderEdits, ", "), "warning: internal-recipients") ||
		len(got[0].Warn) != 1 || !strings.Contains(got[0].Warn[0].Italian, "collega@example.org") {
		t.Errorf("%+v", got)
	}
}

// A bounce or an automatic reply is the administrator's, whoever it is for.
func TestRelayNullSender(t *testing.T) {
	s, a := relayServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	const bounce = "From: postmaster@example.org\r\nTo: " + office + "\r\nSubject: [PEC:ufficio] Undeliverable\r\n\r\nx\r\n"
	if got := c.message("", bounce, office, other); !strings.HasPrefix(got, "250 2.0.0 Accettato per l'amministratore") {
		t.Fatal(got)
	}
	s.stop(t)
	if n := len(s.store.all()); n != 0 {
		t.Errorf("%d submissions", n)
	}
	if a.count() != 1 || string(a.got[0]) != bounce || a.of[0].Relay != "exchange" || len(a.of[0].Recipients) != 2 {
		t.Errorf("the administrator got %q %+v", a.got, a.of)
	}
}

// The answer of a machine that has a sender goes the same way: whatever marks it as
// PEC, it does not leave.
func TestRelayAnswersOfMachines(t *testing.T) {
	s, a := relayServer(t, func(o *Options, _ *Peer) {
		o.Relay.Looped = func(header []byte) string {
			if bytes.Contains(header, []byte("Auto-Submitted: auto-replied")) && !bytes.Contains(header, []byte("ciao")) {
				return "a machine wrote it"
			}
			return ""
		}
	})
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	answer := "Auto-Submitted: auto-replied\r\n" + outlook + "\r\n" + strings.Repeat("ciao, sono assente\r\n", 5000)
	if got := c.message(personal, answer, other); !strings.HasPrefix(got, "250 2.0.0 Accettato per l'amministratore") {
		t.Fatal(got)
	}
	if got := c.message(personal, outlook+"\r\nciao\r\n", other); !strings.HasPrefix(got, "250 2.0.0 Accettato come id1") {
		t.Fatal(got)
	}
	s.stop(t)
	if n := len(s.store.all()); n != 1 {
		t.Errorf("%d submissions", n)
	}
	if a.count() != 1 || string(a.got[0]) != answer || a.of[0].Why == "" {
		t.Errorf("the administrator got %d, %+v", a.count(), a.of)
	}
}
