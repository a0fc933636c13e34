//go:build peers

package forward

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pecgate/relay/providersim" // envelopes as a provider signs them
	"pecgate/relay/submit"
	"pecgate/relay/submit/postfixtest"
	"pecgate/relay/upstream/upstreamtest"
)

// behind has a house send by a Postfix in place of the test's own smarthost.
func behind(t *testing.T, o postfixtest.Options) (*house, *postfixtest.Server) {
	t.Helper()
	h, p := newHouse(t), postfixtest.Start(t, o)
	srv := submit.Server{Host: "127.0.0.1", Port: p.Ports["smtp"], Security: "none", Ordinary: true, Hello: "gateway.example", Timeout: time.Minute, DotTimeout: time.Minute}
	h.s.opt.Server = func() (submit.Server, bool, error) { return srv, true, nil }
	return h, p
}

// signedEnvelope is a transport envelope with lines that careless servers change, and
// the file of the CA that it can be verified with.
func signedEnvelope(t *testing.T) (raw, ca string) {
	t.Helper()
	a, err := providersim.NewAuthority("pec.gestore.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	head := "From: altri@pec.beta.example\r\nTo: box@pec.example\r\nSubject: ricorso\r\nMessage-ID: <1@pec.beta.example>\r\n\r\n"
	b, err := providersim.Compose(providersim.Notice{
		Kind: providersim.Transport, At: time.Now(), Provider: "Gestore di prova S.p.A.", Sender: "altri@pec.beta.example", ReplyTo: "altri@pec.beta.example",
		Subject: "ricorso", Recipients: []providersim.Recipient{{Address: "box@pec.example"}}, Identifier: "opec1.1@pec.gestore.example", MsgID: "<1@pec.beta.example>",
		To: "box@pec.example", Header: []byte(head), Attached: []byte(head + ".punto\r\n..due\r\nFrom qui\r\n spazi \t\r\n\r\n\r\n" + strings.Repeat("x", 998) + "\r\n"),
	}, a.Signer(), providersim.SignOptions{Style: providersim.StyleNew})
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, a.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return string(b), ca
}

// verified has openssl verify a message as it stands in a mailbox.
func verified(t *testing.T, raw, ca string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", "smime", "-verify", "-CAfile", ca, "-out", os.DevNull)
	cmd.Stdin = strings.NewReader(raw)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("openssl smime -verify: %v\n%s", err, out)
	}
}

// TestPeers_SignedEnvelopeThroughPostfix: a copy of a PEC is in an ordinary mailbox
// behind a Postfix the bytes that the provider signed, under the one field of ours,
// with a null return path.
func TestPeers_SignedEnvelopeThroughPostfix(t *testing.T) {
	h, p := behind(t, postfixtest.Options{})
	raw, ca := signedEnvelope(t)
	h.put(raw, "mario@example.org", "lucia@example.org")
	h.round()
	h.waiting(0)
	for _, m := range p.Wait(t, 2) {
		if m.From != "" || !strings.Contains(m.Trace, "Return-Path: <>\n") {
			t.Errorf("return path %q", m.From)
		}
		field, ok := strings.CutSuffix(m.Data, raw)
		if !ok {
			t.Fatalf("changed:\n%.4000q", m.Data)
		}
		if !strings.HasPrefix(field, "Received: by gateway.example (pecgate) id f") || strings.Count(field, "\r\n") != 2 || !strings.Contains(field, "\tfor <"+m.To+">;") {
			t.Errorf("above it stands %q", field)
		}
		verified(t, m.Data, ca)
		verified(t, m.Trace+strings.ReplaceAll(m.Data, "\r\n", "\n"), ca) // the file as a mail program has it
	}
	if n := len(p.Messages(t)); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// TestPeers_PostfixRefusesACopy: what a Postfix puts off is tried again and comes once,
// what it refuses for good is given up and told, and one keeps no other waiting.
func TestPeers_PostfixRefusesACopy(t *testing.T) {
	h, p := behind(t, postfixtest.Options{Refuse: map[string]string{
		"later@example.org": "451 4.2.1 greylisted", "nobody@example.org": "550 5.1.1 no such user", "denied@example.org": "554 5.7.1 Relay access denied",
	}})
	raw, ca := signedEnvelope(t)
	h.put(raw, "later@example.org", "nobody@example.org", "denied@example.org", "mario@example.org")
	h.round()
	h.waiting(2)
	if len(h.failed) != 1 || h.failed[0].Item.To != "nobody@example.org" || !h.failed[0].Final || h.failed[0].Content || !strings.Contains(h.failed[0].Reason, "550 5.1.1") {
		t.Errorf("told %+v", h.failed)
	}
	if h.denied != 1 || h.down != 0 {
		t.Errorf("denied %d, down %d", h.denied, h.down)
	}
	p.Stop(t)
	p.Refuse(t, nil)
	p.Again(t)
	h.now = h.now.Add(first)
	h.round()
	h.waiting(0)
	got := map[string]int{}
	for _, m := range p.Wait(t, 3) {
		got[m.To]++
		verified(t, m.Data, ca)
	}
	if fmt.Sprint(got) != "map[denied@example.org:1 later@example.org:1 mario@example.org:1]" {
		t.Errorf("delivered to %v", got)
	}
}

// TestPeers_PostfixAboveItsSize: a message that is too large for it is given up for
// what it is, and the smarthost is not taken for broken.
func TestPeers_PostfixAboveItsSize(t *testing.T) {
	h, _ := behind(t, postfixtest.Options{})
	large := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 998)+"\r\n", 68<<10)
	h.put(large, "mario@example.org")
	h.round()
	h.waiting(0)
	if len(h.failed) != 1 || !h.failed[0].Final || !h.failed[0].Content || !h.failed[0].Ours || h.down != 0 {
		t.Errorf("told %+v, down %d", h.failed, h.down)
	}
}

// TestPeers_PostfixWithLogin: STARTTLS and a login where the smarthost asks for one;
// never without TLS, and a wrong password is told as the smarthost's and loses nothing.
func TestPeers_PostfixWithLogin(t *testing.T) {
	ca := upstreamtest.NewCA(t, "House root")
	h, p := behind(t, postfixtest.Options{Certificate: ca.Server(t, nil), Login: "gateway", Password: "segreta"})
	srv := submit.Server{
		Host: upstreamtest.Host, Port: p.Ports["submission"], Security: "starttls", Roots: ca.Roots(), Username: "gateway", Password: "sbagliata",
		Ordinary: true, Hello: "gateway.example", Timeout: time.Minute, DotTimeout: time.Minute,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.Addr("submission"))
		},
	}
	h.s.opt.Server = func() (submit.Server, bool, error) { return srv, true, nil }
	raw, root := signedEnvelope(t)
	h.put(raw, "mario@example.org")
	h.round()
	h.waiting(1)
	if h.down != 1 || len(h.failed) != 0 {
		t.Errorf("down %d, given up %+v", h.down, h.failed)
	}
	srv.Password = "segreta"
	h.now = h.now.Add(hostMost)
	h.round()
	h.waiting(0)
	m := p.Wait(t, 1)[0]
	if !strings.Contains(m.Trace, "ESMTPSA") || !strings.HasSuffix(m.Data, raw) || m.From != "" {
		t.Errorf("from %q\n%s", m.From, m.Trace)
	}
	verified(t, m.Data, root)

	// Under a certificate of somebody else nothing is sent, nor the password.
	srv.Roots = upstreamtest.NewCA(t, "Another root").Roots()
	h.put(strings.Replace(raw, "\r\n\r\n", "\r\n\r\n\r\n", 1), "mario@example.org")
	before := strings.Count(p.Log(t), "sasl_username")
	h.round()
	h.waiting(1)
	if h.down != 2 || strings.Count(p.Log(t), "sasl_username") != before {
		t.Errorf("down %d times", h.down)
	}
}

// TestPeers_PostfixStoppedAndStarted: what waits while it is stopped comes when it runs
// again, each once, also behind one that a person took off the queue meanwhile.
func TestPeers_PostfixStoppedAndStarted(t *testing.T) {
	h, p := behind(t, postfixtest.Options{})
	raw, ca := signedEnvelope(t)
	p.Stop(t)
	for i := range 5 {
		h.put(strings.Replace(raw, "opec1.1@", fmt.Sprintf("opec1.%d@", i), 1), "mario@example.org")
	}
	for end := h.now.Add(12 * time.Hour); h.now.Before(end); {
		wait, err := h.s.Round(t.Context())
		if err != nil || wait > hostMost {
			t.Fatalf("%v, %v", wait, err)
		}
		h.now = h.now.Add(wait)
	}
	h.waiting(5)
	h.hand(Drop, h.ids()[0])
	p.Again(t)
	h.round()
	h.waiting(0)
	h.now = h.now.Add(24 * time.Hour)
	h.round()
	for _, m := range p.Wait(t, 4) {
		verified(t, m.Data, ca)
	}
	if n := len(p.Messages(t)); n != 4 {
		t.Errorf("%d messages", n)
	}
}
