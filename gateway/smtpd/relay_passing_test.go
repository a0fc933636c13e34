package smtpd

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"pecgate/policy"
)

// smarthost takes ordinary mail.
type smarthost struct {
	admin
	full error
	of   []Passage
}

func (s *smarthost) Ready(context.Context) error { return s.full }

func (s *smarthost) Wandered(header []byte) string {
	if strings.Contains(string(header), "(pecgate)") {
		return "it was here"
	}
	return ""
}

func (s *smarthost) Begin(ctx context.Context, p Passage) (StrayDelivery, error) {
	s.mu.Lock()
	s.of = append(s.of, p)
	s.mu.Unlock()
	return s.admin.Begin(ctx, Stray{})
}

// passingServer is a relay that passes on what bears no mark.
func passingServer(t *testing.T) (*server, *admin, *smarthost) {
	t.Helper()
	p, h := relays(t), &smarthost{}
	p.Relays[0].Smarthost = true
	s, a := relayServer(t, func(o *Options, _ *Peer) {
		o.Policy = func() *policy.Policy { return p }
		o.Relay.Passing = h
		o.Relay.Looped = func(header []byte) string {
			if strings.Contains(string(header), "Auto-Submitted: auto-replied") {
				return "a machine wrote it"
			}
			return ""
		}
	})
	return s, a, h
}

// What bears no mark passes on byte for byte, with its envelope, also without a sender
// and also what a machine wrote; what bears one goes the ways it always went.
func TestRelayPassesOn(t *testing.T) {
	s, a, h := passingServer(t)
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	plain := strings.ReplaceAll(outlook, "[PEC:ufficio] ", "") + "\r\n.ciao\r\n\xe8\r\n"
	c.do("MAIL FROM:<"+personal+"> RET=FULL ENVID=QQ+3D1", "250 ")
	c.do("RCPT TO:<uno@fuori.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Uno+2Bx@fuori.example", "250 ")
	c.do("RCPT TO:<due@altri.example> NOTIFY=NEVER", "250 ")
	c.do("DATA", "354 ")
	c.send(stuff(plain))
	if got := c.reply(); !strings.HasPrefix(got, "250 2.0.0 Accettato come posta ordinaria") {
		t.Fatal(got)
	}
	away := "Auto-Submitted: auto-replied\r\n" + plain
	for _, m := range []struct{ from, text, to, want string }{
		{"", away, "uno@fuori.example", "250 2.0.0 Accettato come posta ordinaria"},
		{personal, away, "uno@fuori.example", "250 2.0.0 Accettato come posta ordinaria"},
		{"", plain, office, "250 2.0.0 Accettato per l'amministratore"},
		{"", outlook + "\r\nx\r\n", other, "250 2.0.0 Accettato per l'amministratore"},
		{"", plain, other + ".pec", "250 2.0.0 Accettato per l'amministratore"},
		{"", "no header\r\n", other, "250 2.0.0 Accettato per l'amministratore"},
		{personal, "Auto-Submitted: auto-replied\r\n" + outlook + "\r\nx\r\n", other, "250 2.0.0 Accettato per l'amministratore"},
		{personal, outlook + "\r\nx\r\n", other, "250 2.0.0 Accettato come id"},
		{personal, plain, office, "550-5.7.1"},
		{office, plain, other, "550-5.7.1"},
		{personal, "Received: by gateway (pecgate) id p1; x\r\n" + plain, other, "554-5.4.6"},
		{"", "Received: by gateway (pecgate) id p1; x\r\n" + plain, other, "554-5.4.6"},
	} {
		if got := c.message(m.from, m.text, m.to); !strings.HasPrefix(got, m.want) {
			t.Errorf("from %q to %s, %.40q: %q", m.from, m.to, m.text, got)
		}
	}
	h.full = ErrPassingFull
	if got := c.message(personal, plain, other); !strings.HasPrefix(got, "452-4.3.1") {
		t.Error(got)
	}
	h.full = fmt.Errorf("x: %w", ErrNoSmarthost)
	if got := c.message(personal, plain, other); !strings.HasPrefix(got, "451-4.3.5") {
		t.Error(got)
	}
	s.stop(t)
	if h.count() != 3 || string(h.got[0]) != plain || string(h.got[1]) != away || string(h.got[2]) != away || h.began != h.ended {
		t.Errorf("%d passed on, %d begun, %d ended: %q", h.count(), h.began, h.ended, h.got)
	}
	if p := h.of[0]; p.Relay != "exchange" || p.From != personal || p.EnvID != "QQ=1" || p.Return != "FULL" ||
		fmt.Sprint(p.To) != "[{uno@fuori.example SUCCESS,FAILURE rfc822;Uno+x@fuori.example} {due@altri.example NEVER }]" || h.of[1].From != "" {
		t.Errorf("%+v", h.of)
	}
	if a.count() != 5 || len(s.store.all()) != 1 {
		t.Errorf("%d for the administrator, %d submissions", a.count(), len(s.store.all()))
	}
}
