package fetch

import (
	"crypto/x509"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"pecgate/relay/providersim" // the provider as the other rooms' tests know it
	"pecgate/relay/submit"
)

const (
	office   = "ufficio@pec.alfa.example"
	register = "protocollo@pec.alfa.example"
)

// simulated starts a provider and returns the two logins at it.
func simulated(t *testing.T) (*providersim.Provider, Server, submit.Server) {
	t.Helper()
	p, err := providersim.Start(providersim.Options{
		Domain: "pec.gestore.example",
		Mailboxes: []providersim.Mailbox{
			{Address: office, Username: office, Password: "segreta-a"},
			{Address: register, Username: "M123", Password: "segreta-b"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.CAPEM())
	in := Server{Host: "localhost", Port: port(t, p.IMAPAddr()), Security: "tls", Roots: roots, Username: "M123", Password: "segreta-b", Timeout: 20 * time.Second}
	out := submit.Server{Host: "localhost", Port: port(t, p.SMTPAddr()), Security: "tls", Roots: roots, Username: office, Password: "segreta-a", Timeout: 20 * time.Second}
	return p, in, out
}

func port(t *testing.T, addr string) int {
	t.Helper()
	_, s, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

type text string

func (b text) Size() int64 { return int64(len(b)) }
func (b text) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(b)).ReadAt(p, off)
}

// TestSimulatedProvider hands a message over and fetches what became of it: the
// bytes in the provider's ledger are ours, the bytes we have are the provider's.
func TestSimulatedProvider(t *testing.T) {
	p, in, out := simulated(t)
	const message = "From: " + office + "\r\nTo: " + register + "\r\nSubject: prova\r\nMessage-ID: <1@gate.test>\r\n" +
		"Date: Fri, 17 Jul 2026 02:44:25 +0200\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n.\r\n..ciao\r\n.\r\n"
	res := submit.Send(t.Context(), out, office, []string{register}, text(message), submit.Hooks{})
	if res.Class != submit.HandedOver {
		t.Fatalf("%+v", res)
	}
	if err := p.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := p.Ledger(); len(l) != 1 || string(l[0].Raw) != message || l[0].From != office {
		t.Fatalf("ledger %+v", l)
	}

	sent := map[string]bool{}
	for _, e := range p.Emitted() {
		sent[string(e.Raw)] = true
	}
	var list []got
	receiver, err := Dial(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	st, err := receiver.New(t.Context(), "INBOX", Cursor{}, 100, keep(&list))
	if err != nil || len(list) != 1 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	in.Username, in.Password = office, "segreta-a"
	sender, err := Dial(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if _, err := sender.New(t.Context(), "INBOX", Cursor{}, 100, keep(&list)); err != nil || len(list) != 3 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	for _, g := range list {
		if !sent[g.body] {
			t.Errorf("message %d is not as the provider made it", g.uid)
		}
	}
	if uids, err := sender.FindHeader(t.Context(), "INBOX", "X-Riferimento-Message-ID", "<1@gate.test>"); err != nil || len(uids) != 2 {
		t.Errorf("found %v, %v", uids, err)
	}
	for since, want := range map[time.Duration]int{-48 * time.Hour: 2, 48 * time.Hour: 0} {
		if uids, err := sender.FindSince(t.Context(), "INBOX", "X-Riferimento-Message-ID", time.Now().Add(since)); err != nil || len(uids) != want {
			t.Errorf("found %v since %s, %v", uids, since, err)
		}
	}

	if err := p.Renumber(register, "INBOX"); err != nil {
		t.Fatal(err)
	}
	again, err := Dial(t.Context(), Server{Host: in.Host, Port: in.Port, Security: in.Security, Roots: in.Roots, Username: "M123", Password: "segreta-b"})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	var anew []got
	st2, err := again.New(t.Context(), "INBOX", Cursor{st.UIDValidity, 1000}, 100, keep(&anew))
	if err != nil || !st2.Reset || len(anew) != 1 || anew[0].body != list[0].body {
		t.Errorf("after renumbering: %+v, %d messages, %v", st2, len(anew), err)
	}
}

func TestSimulatedProviderRefusals(t *testing.T) {
	p, in, out := simulated(t)
	in.Password, out.Password = "wrong", "wrong"
	if _, err := Dial(t.Context(), in); !errors.Is(err, ErrAuthRefused) {
		t.Errorf("fetch: %v", err)
	}
	if res := submit.Send(t.Context(), out, office, []string{register}, text("a\r\n"), submit.Hooks{}); res.Class != submit.AuthRefused {
		t.Errorf("submit: %+v", res)
	}
	in.Roots, out.Roots = x509.NewCertPool(), x509.NewCertPool()
	before := len(p.Logins())
	if _, err := Dial(t.Context(), in); !errors.Is(err, ErrTLS) {
		t.Errorf("fetch: %v", err)
	}
	if res := submit.Send(t.Context(), out, office, []string{register}, text("a\r\n"), submit.Hooks{}); res.Class != submit.TLSFailed {
		t.Errorf("submit: %+v", res)
	}
	if n := len(p.Logins()) - before; n != 0 {
		t.Errorf("%d logins under an unknown authority", n)
	}
}

func TestSimulatedProviderFaults(t *testing.T) {
	const message = "From: " + office + "\r\nTo: " + register + "\r\nSubject: prova\r\nMessage-ID: <1@gate.test>\r\n\r\nciao\r\n"
	tests := []struct {
		name  string
		set   func(*providersim.Faults)
		class submit.Class
		taken int
	}{
		{"refused at MAIL as too fast", func(f *providersim.Faults) { f.RejectMail.Next(1) }, submit.Temporary, 0},
		{"refused at the dot", func(f *providersim.Faults) { f.RejectAtDot.Next(1) }, submit.Permanent, 0},
		{"deferred at the dot", func(f *providersim.Faults) { f.DeferAtDot.Next(1) }, submit.Temporary, 0},
		{"taken, the 250 lost", func(f *providersim.Faults) { f.CutAfterDot.Next(1) }, submit.Uncertain, 1},
		{"not taken, no answer", func(f *providersim.Faults) { f.LoseAfterDot.Next(1) }, submit.Uncertain, 0},
		{"login refused", func(f *providersim.Faults) { f.RefuseLogin.Next(1) }, submit.AuthRefused, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, _, out := simulated(t)
			tt.set(p.Faults())
			res := submit.Send(t.Context(), out, office, []string{register}, text(message), submit.Hooks{})
			if res.Class != tt.class || len(p.Ledger()) != tt.taken {
				t.Errorf("%+v, %d taken", res, len(p.Ledger()))
			}
		})
	}
	t.Run("cut in a body", func(t *testing.T) {
		p, in, _ := simulated(t)
		if err := p.SendFromOutside("x@"+providersim.OutsideDomain, register, "prova", "ciao"); err != nil {
			t.Fatal(err)
		}
		if err := p.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		var list []got
		for _, want := range []int{0, 1} {
			if want == 0 {
				p.Faults().CutFetch.Set(500)
			}
			s, err := Dial(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.New(t.Context(), "INBOX", Cursor{}, 10, keep(&list))
			s.Close()
			var me *MessageError
			if errors.As(err, &me) != (want == 0) || len(list) != want {
				t.Errorf("%d messages, %v", len(list), err)
			}
		}
	})
}
