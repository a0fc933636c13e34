//go:build peers

package submit

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"pecgate/relay/submit/postfixtest"
	"pecgate/relay/upstream/upstreamtest"
)

// startPostfix runs a provider that others wrote, and says how to reach it.
func startPostfix(t *testing.T, o postfixtest.Options) (p *postfixtest.Server, implicit, starttls Server) {
	t.Helper()
	o.Certificate, o.Login, o.Password = authority().Server(t, nil), user, password
	p = postfixtest.Start(t, o)
	at := func(service, security string) Server {
		return Server{
			Host: upstreamtest.Host, Port: p.Ports[service], Security: security, Roots: authority().Roots(),
			Username: user, Password: password, Hello: "gateway.test", Timeout: time.Minute, DotTimeout: time.Minute,
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, p.Addr(service))
			},
		}
	}
	return p, at("submissions", "tls"), at("submission", "starttls")
}

// oddBodies are messages that a careless client changes.
func oddBodies() map[string]string {
	const head = "From: <ufficio@pec.test>\r\nSubject: odd\r\nMessage-ID: <1@gateway.test>\r\n"
	return map[string]string{
		"plain":               head + "\r\ntext\r\n",
		"empty body":          head + "\r\n",
		"header only":         head,
		"dots":                head + "\r\n.\r\n..\r\n...\r\n.a\r\n. \r\n.\r\n\r\n.\r\n",
		"dot first and last":  head + "\r\n.x\r\n\r\n.",
		"lines of 998":        head + "\r\n" + strings.Repeat(strings.Repeat("x", 998)+"\r\n", 5) + "." + strings.Repeat("y", 997) + "\r\n",
		"8 bit":               head + "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nperch\xc3\xa9 \xff\x80\r\n",
		"8 bit, mislabelled":  head + "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\xe8\xe9\r\n",
		"spaces at line ends": head + "\r\na \r\n \r\n\t\r\n--\x20\r\n",
		"empty lines at end":  head + "\r\ntext\r\n\r\n\r\n\r\n",
		"From at line start":  head + "\r\nFrom here\r\n>From there\r\n",
		"control bytes":       head + "\r\n\x01\x07\x0b\x0c\x1a\x7f\r\n",
		"folded header":       head + "X-Folded: a\r\n\tb\r\n  c \r\nX-Empty:\r\n\r\ntext\r\n",
	}
}

// TestPeers_PostfixTakesEveryByte: what Postfix took and delivered is what was
// handed over, through both ways to TLS.
func TestPeers_PostfixTakesEveryByte(t *testing.T) {
	p, implicit, starttls := startPostfix(t, postfixtest.Options{})
	want := map[string]int{} // by bytes and recipient
	for name, body := range oddBodies() {
		if !strings.HasSuffix(body, "\r\n") {
			body += "\r\n"
		}
		for _, srv := range []Server{implicit, starttls} {
			intents := 0
			res := Send(t.Context(), srv, from, to, text(body), Hooks{BeforeDot: func(context.Context) error { intents++; return nil }})
			if res.Class != HandedOver || res.Code != 250 || res.TLSVersion != "TLS 1.3" || intents != 1 {
				t.Errorf("%s, %s: %+v, %d intents", name, srv.Security, res, intents)
			}
			for _, rcpt := range to {
				want[rcpt+body]++
			}
		}
	}
	for _, m := range p.Wait(t, 2*len(to)*len(oddBodies())) {
		if m.From != from || !strings.Contains(m.Trace, "ESMTPSA") {
			t.Errorf("from %q, trace\n%s", m.From, m.Trace)
		}
		if want[m.To+m.Data]--; want[m.To+m.Data] < 0 {
			t.Errorf("to %s, changed or doubled: %.2000q", m.To, m.Data)
		}
	}
	for key, n := range want {
		if n > 0 {
			t.Errorf("%d missing: %.300q", n, key)
		}
	}
}

// TestPeers_PostfixTakesTwentyMegabytes hands over one large message.
func TestPeers_PostfixTakesTwentyMegabytes(t *testing.T) {
	p, implicit, _ := startPostfix(t, postfixtest.Options{})
	var b strings.Builder
	b.WriteString("Subject: large\r\n\r\n")
	for i := 0; b.Len() < 20<<20; i++ {
		fmt.Fprintf(&b, ".%070d\r\n", i) // each line needs its dot doubled
	}
	res := Send(t.Context(), implicit, from, to[:1], text(b.String()), Hooks{})
	if res.Class != HandedOver {
		t.Fatalf("%+v", res)
	}
	if m := p.Wait(t, 1); m[0].Data != b.String() {
		t.Errorf("%d bytes became %d", b.Len(), len(m[0].Data))
	}
}

// TestPeers_PostfixRefuses: what a real server's refusals mean, at each stage at
// which they are made, and that nothing is delivered to anybody.
func TestPeers_PostfixRefuses(t *testing.T) {
	p, implicit, starttls := startPostfix(t, postfixtest.Options{
		Refuse:      map[string]string{"gone@pec.test": "550 5.1.1 no such mailbox", "busy@pec.test": "451 4.2.1 try later"},
		RefuseAtDot: map[string]string{"full@pec.test": "452 4.3.1 no room", "spam@pec.test": "554 5.7.1 not this"},
	})
	tests := []struct {
		name    string
		edit    func(*Server)
		from    string
		to      []string
		body    Body
		class   Class
		stage   Stage
		code    int
		refused string
	}{
		{name: "wrong password", edit: func(s *Server) { s.Password = "sbagliata" }, class: AuthRefused, stage: StageAuth, code: 535},
		{name: "unknown login", edit: func(s *Server) { s.Username = "M7654321" }, class: AuthRefused, stage: StageAuth, code: 535},
		{name: "no XOAUTH2", edit: func(s *Server) { s.Token = "gettone" }, class: Temporary, stage: StageAuth},
		{name: "unknown recipient", to: []string{"a@pec.test", "gone@pec.test", "b@pec.test"}, class: Permanent, stage: StageRcpt, code: 550, refused: "gone@pec.test 550 5.1.1"},
		{name: "recipient later", to: []string{"busy@pec.test", "a@pec.test"}, class: Temporary, stage: StageRcpt, code: 451, refused: "busy@pec.test 451 4.2.1"},
		{name: "both", to: []string{"busy@pec.test", "gone@pec.test"}, class: Permanent, stage: StageRcpt, code: 550, refused: "busy@pec.test 451 4.2.1, gone@pec.test 550 5.1.1"},
		{name: "4xx to the dot", from: "full@pec.test", class: Temporary, stage: StageDot, code: 452},
		{name: "5xx to the dot", from: "spam@pec.test", class: Permanent, stage: StageDot, code: 554},
		{name: "above SIZE", body: sized(100 << 20), class: Permanent, stage: StageMail},
	}
	for _, tt := range tests {
		for _, srv := range []Server{implicit, starttls} {
			t.Run(tt.name+" "+srv.Security, func(t *testing.T) {
				if tt.edit != nil {
					tt.edit(&srv)
				}
				if tt.from == "" {
					tt.from = from
				}
				if tt.to == nil {
					tt.to = to
				}
				if tt.body == nil {
					tt.body = hello
				}
				res := Send(t.Context(), srv, tt.from, tt.to, tt.body, Hooks{})
				if res.Class != tt.class || res.Stage != tt.stage || res.Code != tt.code {
					t.Errorf("%+v", res)
				}
				if tt.code != 0 && res.Text == "" {
					t.Error("the provider's words are lost")
				}
				var refused []string
				for _, r := range res.Refused {
					refused = append(refused, fmt.Sprintf("%s %d %s", r.Recipient, r.Code, r.Enhanced))
				}
				if got := strings.Join(refused, ", "); got != tt.refused {
					t.Errorf("refused %q, want %q", got, tt.refused)
				}
				if s := fmt.Sprintf("%+v %v", res, res.Err); strings.Contains(s, password) || strings.Contains(s, "sbagliata") || strings.Contains(s, "gettone") {
					t.Errorf("a secret is reported: %s", s)
				}
			})
		}
	}
	// The last to be delivered; whatever was taken before it is there then.
	if res := Send(t.Context(), implicit, from, to[:1], hello, Hooks{}); res.Class != HandedOver {
		t.Fatalf("%+v", res)
	}
	if all := p.Wait(t, 1); len(all) != 1 {
		t.Errorf("%d messages were delivered, want the last one only", len(all))
	}
}

// TestPeers_PostfixWithoutItsIntent: an intent that cannot be written leaves
// nothing with a real server, which sees the end of the line in the middle of DATA.
func TestPeers_PostfixWithoutItsIntent(t *testing.T) {
	p, implicit, _ := startPostfix(t, postfixtest.Options{})
	res := Send(t.Context(), implicit, from, to[:1], hello, Hooks{BeforeDot: func(context.Context) error { return io.ErrShortWrite }})
	if res.Class != Temporary {
		t.Errorf("%+v", res)
	}
	if res := Send(t.Context(), implicit, from, to[1:], hello, Hooks{}); res.Class != HandedOver {
		t.Fatalf("%+v", res)
	}
	if all := p.Wait(t, 1); len(all) != 1 || all[0].To != to[1] {
		t.Errorf("delivered %+v", all)
	}
}

// TestPeers_PostfixUnderABadCertificate: Postfix serves it as well as anybody.
func TestPeers_PostfixUnderABadCertificate(t *testing.T) {
	p, implicit, starttls := startPostfix(t, postfixtest.Options{})
	other := upstreamtest.NewCA(t, "Another root")
	for _, srv := range []Server{implicit, starttls} {
		srv.Roots = other.Roots()
		if res := Send(t.Context(), srv, from, to, hello, Hooks{}); res.Class != TLSFailed || res.Stage != StageTLS {
			t.Errorf("%s: %+v", srv.Security, res)
		}
	}
	if log := p.Log(t); strings.Contains(log, "sasl_method") || strings.Contains(log, "authentication") {
		t.Errorf("a login was tried:\n%s", log)
	}
}

// sized is a body of so many bytes that are all good.
type sized int64

func (s sized) Size() int64 { return int64(s) }

func (s sized) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = "0123456789abcdefghijklmnopqrst\r\n"[(off+int64(i))%32]
	}
	return len(p), nil
}
