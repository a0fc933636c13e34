package providersim

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestSignatureFaults(t *testing.T) {
	p := start(t, nil)
	check := func(wantGood bool, name string) {
		t.Helper()
		before := len(p.Emitted())
		submit(t, p, ordinary(bob), bob)
		for _, e := range p.Emitted()[before:] {
			if e.Mailbox == p.ServiceAddress() {
				continue // what users never see has no faults
			}
			m := takeApart(t, e.Raw)
			if err := m.check(p.CAPEM()); (err == nil) != wantGood {
				t.Errorf("%s, %s: %v", name, e.Kind, err)
			}
		}
	}
	check(true, "no fault")
	for name, s := range map[string]*Switch{"wrong signature": &p.Faults().WrongSignature, "expired": &p.Faults().ExpiredLeaf, "foreign": &p.Faults().ForeignCA} {
		s.On()
		check(false, name)
		s.Off()
		check(true, "after "+name)
	}
}

func TestReceiptFaults(t *testing.T) {
	p := start(t, nil)
	kinds := func() string {
		before := len(p.Emitted())
		submit(t, p, ordinary(bob), bob)
		var out []string
		for _, e := range p.Emitted()[before:] {
			if e.Mailbox != p.ServiceAddress() {
				out = append(out, string(e.Kind))
			}
		}
		return strings.Join(out, " ")
	}
	f := p.Faults()
	for _, c := range []struct {
		set  *Switch
		want string
	}{
		{&f.NoReceipts, "transport"},
		{&f.DuplicateReceipts, "acceptance acceptance transport delivery delivery"},
		{&f.ReverseOrder, "transport delivery acceptance"},
		{&Switch{}, "acceptance transport delivery"},
	} {
		c.set.Next(1)
		if got := kinds(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestDotFaults(t *testing.T) {
	p := start(t, nil)
	f := p.Faults()
	send := func() *client {
		c := dial(t, p)
		c.login(alice, "segreta-a")
		c.open(alice, bob)
		c.write(stuff(ordinary(bob)) + ".\r\n")
		return c
	}
	cut := func(c *client) {
		t.Helper()
		if code, text, err := c.tp.ReadResponse(0); err == nil {
			t.Errorf("answer %d %s after a cut", code, text)
		}
	}
	f.CutAfterDot.Next(1)
	cut(send())
	settle(t, p)
	if l := p.Ledger(); len(l) != 1 || l[0].Answered || len(of(p.Emitted(), Acceptance)) != 1 {
		t.Errorf("cut after the dot: %+v", l)
	}
	f.LoseAfterDot.Next(1)
	cut(send())
	f.RejectAtDot.Next(1)
	send().want(554)
	f.DeferAtDot.Next(1)
	send().want(451)
	if len(p.Ledger()) != 1 {
		t.Error("a refused message is in the ledger")
	}
	// Held: accepted and receipted while the client still waits.
	f.HoldDot.Set(time.Hour)
	c := send()
	if err := p.Wait(deadline(t), func() bool { return len(of(p.Emitted(), Delivery)) == 2 }); err != nil {
		t.Fatal(err)
	}
	if l := p.Ledger(); l[1].Answered {
		t.Error("answered while held")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	cut(c)
}

func TestMailFaults(t *testing.T) {
	p := start(t, nil)
	c := dial(t, p)
	c.login(alice, "segreta-a")
	p.Faults().RejectMail.Next(1)
	if text := c.cmd(550, "MAIL FROM:<%s>", alice); !strings.Contains(text, "Class Of Service") {
		t.Errorf("text %q", text)
	}
	p.Faults().PerMinute.Set(2)
	for range 2 {
		c.cmd(250, "MAIL FROM:<%s>", alice)
		c.cmd(250, "RSET")
	}
	c.cmd(550, "MAIL FROM:<%s>", alice)
	p.Faults().PerMinute.Set(0)
	c.cmd(250, "MAIL FROM:<%s>", alice)
	p.Faults().RejectRecipient.Next(1)
	c.cmd(550, "RCPT TO:<%s>", bob)
	c.cmd(250, "RCPT TO:<%s>", bob)
}

func TestFaultsByName(t *testing.T) {
	var f Faults
	for name, value := range map[string]string{"cut-after-dot": "2", "hold-dot": "30s", "per-minute": "6", "foreign-ca": "on"} {
		if err := f.Set(name, value); err != nil {
			t.Error(err)
		}
	}
	if !f.CutAfterDot.fires() || !f.CutAfterDot.fires() || f.CutAfterDot.fires() || f.HoldDot.Get() != 30*time.Second || f.PerMinute.Get() != 6 || !f.ForeignCA.Active() {
		t.Error("a switch did not follow")
	}
	for name, value := range map[string]string{"cut-after-dot": "perhaps", "hold-dot": "-1s", "per-minute": "x", "nothing": "on"} {
		if err := f.Set(name, value); err == nil {
			t.Errorf("%s=%s was taken", name, value)
		}
	}
	for _, name := range f.Names() {
		switch f.find(name).(type) {
		case *Switch, *Span, *Count:
		default:
			t.Errorf("%s is no switch", name)
		}
	}
}

func TestTLS(t *testing.T) {
	p := start(t, nil)
	connect := func(c *tls.Config) error {
		if c.RootCAs == nil {
			c.RootCAs = roots(t, p.CAPEM())
		}
		conn, err := tls.Dial("tcp", p.IMAPAddr(), c)
		if err == nil {
			conn.Close()
		}
		return err
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		if err := connect(&tls.Config{ServerName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := connect(&tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	p.SetTLS(TLSOptions{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err := connect(&tls.Config{ServerName: "localhost"}); err == nil {
		t.Error("TLS 1.2 client got through to an old server")
	}
	if err := connect(&tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS10}); err != nil {
		t.Error(err)
	}
	now := time.Now()
	for name, o := range map[string]TLSLeafOptions{
		"expired": {NotAfter: now.Add(-time.Hour)}, "not yet": {NotBefore: now.Add(time.Hour)}, "name": {Hosts: []string{"altro.example"}},
		"self-signed": {SelfSigned: true}, "hidden issuer": {HideIssuer: true}, "usage": {Usage: x509.ExtKeyUsageClientAuth},
	} {
		cert, err := p.CA().TLSLeaf(o)
		if err != nil {
			t.Fatal(err)
		}
		p.SetTLS(TLSOptions{Certificate: &cert})
		if err := connect(&tls.Config{ServerName: "localhost"}); err == nil {
			t.Errorf("%s: certificate was believed", name)
		}
	}
}

func TestVariants(t *testing.T) {
	p := start(t, nil)
	n := Notice{Kind: Delivery, At: p.now(), Provider: "G", Sender: alice, Identifier: "1@x", Recipient: bob, Recipients: []Recipient{{Address: bob}}}
	for v, good := range map[Variant]bool{Genuine: true, WrongAddress: false, Expired: false, Foreign: false, Person: false} {
		by, err := p.CA().Variant(v)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := Compose(n, by, SignOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m := takeApart(t, raw)
		if from := m.header.Get("From"); from != "posta-certificata@pec.gestore.example" {
			t.Errorf("variant %d claims to be %s", v, from)
		}
		if err := m.check(p.CAPEM()); (err == nil) != good {
			t.Errorf("variant %d: %v", v, err)
		}
	}
	outsideConstraint, err := p.CA().Issue(LeafOptions{Address: "posta-certificata@pec.fuori.example"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := Compose(n, outsideConstraint, SignOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := takeApart(t, raw).check(p.CAPEM()); err == nil {
		t.Error("a certificate outside the name constraint verifies")
	}
}

// TestAcceptanceDelay: nothing of a message is told before its time, not even
// that it was accepted.
func TestAcceptanceDelay(t *testing.T) {
	p := start(t, nil)
	p.Faults().AcceptanceDelay.Set(time.Hour)
	before := len(p.Emitted())
	c := dial(t, p)
	c.login(alice, "segreta-a")
	c.open(alice, bob)
	c.write(stuff(ordinary(bob)) + ".\r\n")
	c.want(250)
	c.cmd(221, "QUIT")
	if n := len(p.Emitted()) - before; n != 0 || p.jobs.idle() {
		t.Errorf("%d messages at once, nothing to do %t", n, p.jobs.idle())
	}
}
