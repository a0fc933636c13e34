package smtpd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/gateway/auth"
	"pecgate/gateway/gate"
	"pecgate/gateway/gate/gatetest"
)

// listenRelay opens a relay to TCP as the gateway does.
func (s *server) listenRelay(t testing.TB) {
	t.Helper()
	cert, pool := gatetest.Certificate(t)
	l, err := gate.Listen(t.Context(), gate.Options{
		Name: "relay", Address: "127.0.0.1:0", Mode: gate.StartTLSSMTP, Hostname: "pecgate.example.org",
		Certificate: cert, Filter: s.Filter, Admit: s.Admit, AskCertificate: true, Events: s.opt.Events,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.gate, s.pool = l, pool
	s.serve(t, l)
}

// from connects from an address of the loopback network.
func (s *server) from(t testing.TB, address string) *client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c, err := d.DialContext(t.Context(), "tcp", s.gate.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return newClient(t, c)
}

// secure goes through STARTTLS, with a certificate or none.
func (c *client) secure(s *server, certificates ...tls.Certificate) *client {
	c.t.Helper()
	c.greet()
	c.do("STARTTLS", "220 ")
	out := newClient(c.t, tls.Client(c.c, &tls.Config{ServerName: "127.0.0.1", RootCAs: s.pool, Certificates: certificates}))
	out.do("EHLO ex01.example.org", "250-")
	return out
}

// authority makes certificates of clients.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t testing.TB) *authority {
	a := &authority{}
	a.cert, a.key = a.issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)})
	return a
}

func (a *authority) issue(t testing.TB, tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.n++
	tmpl.SerialNumber, tmpl.Subject, tmpl.NotBefore = big.NewInt(a.n), pkix.Name{CommonName: fmt.Sprint("test ", a.n)}, time.Now().Add(-2*time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) client(t testing.TB, until time.Time, use x509.ExtKeyUsage, names ...string) tls.Certificate {
	cert, key := a.issue(t, &x509.Certificate{DNSNames: names, NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{use}})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func TestRelayNetworks(t *testing.T) {
	peers := atomic.Pointer[[]Peer]{}
	peers.Store(&[]Peer{{Name: "exchange", Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}}})
	s, _ := relayServer(t, func(o *Options, _ *Peer) { o.Relay.Peers = func() []Peer { return *peers.Load() } })
	s.listenRelay(t)
	c := s.from(t, "127.0.0.3")
	if got := c.reply(); !strings.HasPrefix(got, "554 5.7.1 ") {
		t.Errorf("a stranger hears %q", got)
	}
	c.ended()
	c = s.from(t, "127.0.0.2").secure(s)
	c.do("MAIL FROM:<"+personal+">", "250 ")
	c.do("RSET", "250 ")
	clear := s.from(t, "127.0.0.2")
	clear.greet()
	clear.do("MAIL FROM:<"+personal+">", "530 5.7.0 ")
	// The policy changes: who is out is out at the next message, who is in may come.
	peers.Store(&[]Peer{{Name: "exchange", Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.3/32")}}})
	c.do("MAIL FROM:<"+personal+">", "554-5.7.1 ")
	c.ended()
	s.from(t, "127.0.0.3").secure(s).do("MAIL FROM:<"+personal+">", "250 ")
}

func TestRelayCertificate(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	s, _ := relayServer(t, func(_ *Options, p *Peer) {
		p.ClientCA, p.ClientNames = ours.pool(), []string{"mail.example.org", "ex02.example.org"}
	})
	s.listenRelay(t)
	later := time.Now().Add(time.Hour)
	for _, tc := range []struct {
		name string
		cert []tls.Certificate
		good bool
	}{
		{"none", nil, false},
		{"good", []tls.Certificate{ours.client(t, later, x509.ExtKeyUsageClientAuth, "x.example.org", "ex02.example.org")}, true},
		{"a server's", []tls.Certificate{ours.client(t, later, x509.ExtKeyUsageServerAuth, "mail.example.org")}, true},
		{"for something else", []tls.Certificate{ours.client(t, later, x509.ExtKeyUsageCodeSigning, "mail.example.org")}, false},
		{"another name", []tls.Certificate{ours.client(t, later, x509.ExtKeyUsageClientAuth, "mail.example.org.evil.example")}, false},
		{"expired", []tls.Certificate{ours.client(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageClientAuth, "mail.example.org")}, false},
		{"another CA", []tls.Certificate{others.client(t, later, x509.ExtKeyUsageClientAuth, "mail.example.org")}, false},
	} {
		want := map[bool]string{true: "250 ", false: "530-5.7.0 "}[tc.good]
		if got := s.from(t, "127.0.0.1").secure(s, tc.cert...).do("MAIL FROM:<"+personal+">", ""); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %s", tc.name, got, want)
		}
	}
}

func TestRelayLogin(t *testing.T) {
	hash, err := auth.HashSecretCost("server secret", auth.Cost{Time: 1, Memory: 8, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := relayServer(t, func(_ *Options, p *Peer) { p.Login, p.Password = "exchange", hash })
	s.listenRelay(t)
	c := s.from(t, "127.0.0.1").secure(s)
	if got := c.do("EHLO x.example.org", "250-"); !strings.Contains(got, "AUTH PLAIN LOGIN") {
		t.Errorf("EHLO offers %q", got)
	}
	c.do("MAIL FROM:<"+personal+">", "530-5.7.0 ")
	c.do("AUTH PLAIN "+b64("\x00mario\x00"+password), "535-5.7.8 ") // a user is no server
	c.do("MAIL FROM:<"+personal+">", "530-5.7.0 ")
	c.do("AUTH LOGIN "+b64("exchange"), "334 ")
	c.do(b64("server secret"), "235 ")
	c.do("MAIL FROM:<"+personal+">", "250 ")
	again := s.from(t, "127.0.0.1").secure(s)
	again.do("AUTH PLAIN "+b64("\x00exchange\x00server secret"), "235 ")
	again.do("MAIL FROM:<>", "250 ")
	if strings.Contains(s.log.String(), "server secret") {
		t.Error("the password is in the log")
	}
	plain, _ := relayServer(t, nil)
	plain.listenRelay(t)
	c = plain.from(t, "127.0.0.1").secure(plain)
	if got := c.do("EHLO x.example.org", "250-"); strings.Contains(got, "AUTH") {
		t.Errorf("a login is offered where there is none: %q", got)
	}
}

// TestG14_NeverAnOpenRelay: 500 tries by whoever may not, none of which leaves.
func TestG14_NeverAnOpenRelay(t *testing.T) {
	hash, err := auth.HashSecretCost("server secret", auth.Cost{Time: 1, Memory: 8, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	ca, others := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	good, bad := ca.client(t, later, x509.ExtKeyUsageClientAuth, "mail.example.org"), others.client(t, later, x509.ExtKeyUsageClientAuth, "mail.example.org")
	nets := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	s, strays := relayServer(t, func(o *Options, _ *Peer) {
		o.Relay.Peers = func() []Peer {
			return []Peer{
				{Name: "exchange", Networks: nets("127.0.0.10/32")},
				{Name: "exchange", Networks: nets("127.0.0.11/32"), ClientCA: ca.pool(), ClientNames: []string{"mail.example.org"}},
				{Name: "exchange", Networks: nets("127.0.0.12/32"), Login: "exchange", Password: hash},
				{Name: "nobody", Networks: nets("127.0.0.13/32")}, // of which the policy knows nothing
			}
		}
	})
	s.listenRelay(t)
	message := func(from, subject string) string {
		return strings.NewReplacer(personal, from, "[PEC:ufficio] prova", subject).Replace(outlook) + "\r\nx\r\n"
	}
	pec, bare := message(personal, "[PEC:ufficio] prova"), message(personal, "prova")
	relay := func(name, address string, certificate []tls.Certificate, login, from, to, data string, admitted bool) {
		t.Helper()
		c := s.from(t, address)
		if !admitted {
			if got := c.reply(); !strings.HasPrefix(got, "554 5.7.1 ") {
				t.Errorf("%s: %q", name, got)
			}
			return
		}
		c = c.secure(s, certificate...)
		if login != "" {
			c.do("AUTH PLAIN "+b64(login), "535")
		}
		for _, cmd := range []string{"MAIL FROM:<" + from + ">", "RCPT TO:<" + to + ">", "DATA"} {
			c.send(cmd + "\r\n")
			if got, err := c.tryReply(); err != nil || got[0] == '5' || got[0] == '4' {
				return // refused
			}
		}
		c.send(stuff(data))
		got, err := c.tryReply()
		if err == nil && got[0] == '2' && from != "" {
			t.Errorf("%s: accepted: %q", name, got)
		}
		c.c.Close()
	}
	tries := 0
	for round := range 20 {
		for i := range 8 {
			relay("outside", fmt.Sprintf("127.0.0.%d", 20+(round*8+i)%200), nil, "", personal, other, pec, false)
			tries++
		}
		const in = "127.0.0.10"
		for _, tc := range []struct {
			name, address string
			certificate   []tls.Certificate
			login         string
			from, to      string
			data          string
		}{
			{"without a certificate", "127.0.0.11", nil, "", personal, other, pec},
			{"a certificate of others", "127.0.0.11", []tls.Certificate{bad}, "", personal, other, pec},
			{"without a login", "127.0.0.12", nil, "", personal, other, pec},
			{"a wrong login", "127.0.0.12", nil, "\x00exchange\x00guess" + fmt.Sprint(round), personal, other, pec},
			{"a user's login", "127.0.0.12", nil, "\x00mario\x00" + password, personal, other, pec},
			{"a certificate in place of a login", "127.0.0.12", []tls.Certificate{good}, "", personal, other, pec},
			{"a relay without rules", "127.0.0.13", nil, "", personal, other, pec},
			{"unmarked", in, nil, "", personal, other, bare},
			{"unmarked from a stranger", in, nil, "", "a@example.com", "b@example.net", message("a@example.com", "prova")},
			{"forged From", in, nil, "", personal, other, message("capo@example.org", "[PEC:ufficio] prova")},
			{"forged reverse path", in, nil, "", "capo@example.org", other, pec},
			{"the mailbox and no person", in, nil, "", office, other, message(office, "prova")},
			{"somebody else's mailbox", in, nil, "", personal, other, message(personal, "[PEC:scaduto] prova")},
			{"source route", in, nil, "", personal, "@pec.example.org:" + other, pec},
			{"percent", in, nil, "", personal, "destinatario%pec.example.net@pec.example.org", pec},
			{"bang", in, nil, "", personal, "pec.example.net!destinatario@pec.example.org", pec},
			{"quoted", in, nil, "", personal, `"` + other + `"@pec.example.org`, pec},
			{"null sender", in, nil, "", "", "stranger@example.net", pec},
		} {
			relay(tc.name, tc.address, tc.certificate, tc.login, tc.from, tc.to, tc.data, true)
			tries++
		}
	}
	c := s.from(t, "127.0.0.10").secure(s) // the control: what may leave does
	if got := c.message(personal, pec, other); !strings.HasPrefix(got, "250 ") {
		t.Errorf("the control: %q", got)
	}
	s.stop(t)
	if n := len(s.store.all()); n != 1 || tries < 500 {
		t.Errorf("%d relayed with the control, of %d tries", n, tries)
	}
	if strays.count() != 20 {
		t.Errorf("%d for the administrator", strays.count())
	}
}
