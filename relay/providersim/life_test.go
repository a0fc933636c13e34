package providersim

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// quick is the length of an hour for providers whose warnings are waited for.
const quick = 2 * time.Millisecond

// told lists what was emitted as number, mailbox and error code; the service
// mailbox is "service", the sender "sender".
func told(t *testing.T, p *Provider, list []Emitted) string {
	t.Helper()
	var out []string
	for _, e := range list {
		s := fmt.Sprint(e.Number)
		if e.Mailbox == p.ServiceAddress() {
			s += "@service"
		} else if e.Mailbox != alice {
			s += "@" + e.Mailbox
		}
		m := takeApart(t, e.Raw)
		if err := m.check(p.CAPEM()); err != nil {
			t.Errorf("kind %d: %v", e.Number, err)
		}
		if m.daticert != nil && m.daticert.Esteso != "" {
			s += ":" + strings.SplitN(m.daticert.Esteso, " ", 2)[0]
		}
		if outside := strings.HasSuffix(m.header.Get("From"), OutsideDomain); outside {
			s += "'"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// What comes of one message at one address, in order; a quote marks what the
// other provider signs.
func TestBehaviours(t *testing.T) {
	ca, err := NewAuthority("pec.gestore.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to        string
		behaviour Behaviour
		want      string
	}{
		{bob, "", "2 5@service 1@" + bob + " 9"},
		{ghost, "", "2 5@service 10:5.1.1"},
		{remote, "", "2 5@service' 9'"},
		{"altri@pec.beta.example", "", "2 5@service' 10:5.1.1'"},
		{plainR, "", "2"},
		{bob, Delivered, "2 5@service 1@" + bob + " 9"},
		{plainR, Delivered, "2 5@service' 9'"},
		{bob, UnknownTo, "2 5@service 10:5.1.1"},
		{remote, UnknownTo, "2 5@service' 10:5.1.1'"},
		{plainR, NoDomain, "2 10:5.1.2"},
		{bob, Full, "2 5@service 10:5.2.2"},
		{bob, Virus, "2 5@service 7@service:5.5.1 8:5.5.1"},
		{remote, Virus, "2 5@service' 7@service:5.5.1' 8:5.5.1"},
		{remote, Silent, "2 11:4.4.1 12:5.4.1"},
		{bob, TakenOnly, "2 5@service 12:5.4.1"},
		{remote, Late, "2 11:4.4.1 5@service' 9'"},
		{bob, Late, "2 11:4.4.1 5@service 1@" + bob + " 9"},
		{plainR, Bounce, "2 6"},
	} {
		for _, style := range []Style{StyleOld, StyleNew} {
			p := start(t, func(o *Options) {
				o.Hour, o.Style, o.CA = quick, style, ca // one for all: making keys takes longest
				if c.behaviour != "" {
					o.Behaviour = map[string]Behaviour{c.to: c.behaviour}
				}
			})
			submit(t, p, ordinary(c.to), c.to)
			if got := told(t, p, p.Emitted()); got != c.want {
				t.Errorf("%s %q, style %s: %s; want %s", c.to, c.behaviour, style, got, c.want)
			}
		}
	}
}

func TestSetBehaviour(t *testing.T) {
	p := start(t, nil)
	for _, c := range []struct {
		address   string
		behaviour Behaviour
	}{{"nobody", Full}, {bob, Bounce}, {ghost, Bounce}, {ghost, Delivered}, {ghost, Late}, {remote, "perhaps"}} {
		if err := p.SetBehaviour(c.address, c.behaviour); err == nil {
			t.Errorf("%s %s was taken", c.address, c.behaviour)
		}
	}
	if _, err := Start(Options{Domain: "x.example", Behaviour: map[string]Behaviour{"nobody": Full}}); err == nil {
		t.Error("a behaviour of nobody was taken")
	}
	if err := p.SetBehaviour(strings.ToUpper(bob), Full); err != nil {
		t.Fatal(err)
	}
	submit(t, p, ordinary(bob), bob)
	if p.Behaviour(bob) != Full || len(p.BehaviourSet()) != 1 {
		t.Errorf("%v", p.BehaviourSet())
	}
	if err := p.SetBehaviour(bob, ""); err != nil {
		t.Fatal(err)
	}
	submit(t, p, ordinary(bob), bob)
	if got := told(t, p, p.Emitted()); got != "2 5@service 10:5.2.2 2 5@service 1@"+bob+" 9" {
		t.Error(got)
	}
}

// Several recipients: one taking in charge for each provider, then each gets its
// own; daticert.xml lists all of them every time.
func TestManyRecipients(t *testing.T) {
	full := "piena@pec.beta.example"
	p := start(t, func(o *Options) {
		o.Hour = quick
		o.Behaviour = map[string]Behaviour{full: Full, "tardi@pec.beta.example": Silent}
	})
	all := []string{bob, ghost, remote, full, "tardi@pec.beta.example", plainR}
	submit(t, p, ordinary(strings.Join(all, ", ")), all...)
	// The warnings run by the clock, whatever else is going on meanwhile.
	var prompt, warnings []Emitted
	for _, e := range p.Emitted() {
		if e.Kind == DeliveryWarning {
			warnings = append(warnings, e)
		} else {
			prompt = append(prompt, e)
		}
	}
	want := "2 5@service 5@service' 1@" + bob + " 9 10:5.1.1 9' 10:5.2.2'"
	if got := told(t, p, prompt); got != want {
		t.Errorf("%s; want %s", got, want)
	}
	if got := told(t, p, warnings); got != "11:4.4.1 12:5.4.1" {
		t.Errorf("warnings %s", got)
	}
	var taken []string
	for _, e := range p.Emitted() {
		d := takeApart(t, e.Raw).daticert
		if len(d.To) != len(all) || d.To[5].Tipo != "esterno" {
			t.Errorf("kind %d lists %v", e.Number, d.To)
		}
		taken = append(taken, d.Ricezione...)
	}
	if want := []string{bob, ghost, remote, full}; !slices.Equal(taken, want) {
		t.Errorf("taken in charge %v, want %v", taken, want)
	}
}

// A delay beyond the limits brings the warnings, and the receipt all the same.
func TestDelayPastWarnings(t *testing.T) {
	for hours, want := range map[int]string{13: "2 11:4.4.1 5@service 1@" + bob + " 9", 30: "2 11:4.4.1 12:5.4.1 5@service 1@" + bob + " 9"} {
		p := start(t, func(o *Options) { o.Hour = quick })
		p.Faults().Delay.Set(time.Duration(hours) * quick)
		submit(t, p, ordinary(bob), bob)
		if got := told(t, p, p.Emitted()); got != want {
			t.Errorf("after %d hours: %s; want %s", hours, got, want)
		}
	}
	p := start(t, func(o *Options) { o.Hour = quick })
	p.Faults().LateReceipts.Next(1)
	for range 2 {
		submit(t, p, ordinary(bob), bob)
	}
	if got := told(t, p, p.Emitted()); got != "2 11:4.4.1 5@service 1@"+bob+" 9 2 5@service 1@"+bob+" 9" {
		t.Error(got)
	}
}

// The test virus is found wherever a mail program would show it.
func TestVirusAtAccessPoint(t *testing.T) {
	part := func(encoding, body string) string {
		return "From: " + alice + "\r\nTo: " + bob + "\r\nSubject: x\r\nMessage-ID: <1@x>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" +
			"Content-Type: application/zip; name=x.zip\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + body + "\r\n--b--\r\n"
	}
	encoded := base64.StdEncoding.EncodeToString([]byte("x " + testVirus + " y"))
	nested := "From: a@b.example\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded[:40] + "\r\n" + encoded[40:] + "\r\n"
	quoted := strings.ReplaceAll(testVirus, "7", "=37")
	for name, raw := range map[string]string{
		"plain":            ordinary(bob) + testVirus + "\r\n",
		"subject":          ordinary(bob, "X-Note: "+testVirus),
		"base64":           part("BASE64", encoded[:20]+"\r\n "+encoded[20:]),
		"quoted-printable": part("quoted-printable", quoted[:30]+"=\r\n"+quoted[30:]),
		"nested":           strings.Replace(part("7bit", nested), "application/zip", "message/rfc822", 1),
		"nested in base64": strings.Replace(part("base64", base64.StdEncoding.EncodeToString([]byte(nested))), "application/zip", "message/rfc822", 1),
	} {
		p := start(t, nil)
		submit(t, p, raw, bob)
		if got := told(t, p, p.Emitted()); got != "4:5.5.1" {
			t.Errorf("%s: %s", name, got)
			continue
		}
		m := takeApart(t, p.Emitted()[0].Raw)
		if m.daticert.Tipo != "non-accettazione" || m.daticert.Errore != "virus" || m.header.Get("X-VerificaSicurezza") != "errore" || m.original != nil ||
			m.header.Get("Subject")[:38] != "AVVISO DI NON ACCETTAZIONE PER VIRUS: " {
			t.Errorf("%s: %v %+v", name, m.header, m.daticert)
		}
	}
	if infected([]byte(part("base64", encoded[:20]))) != "" || infected(nil) != "" {
		t.Error("half a virus was found")
	}
}

func TestOrdinaryMail(t *testing.T) {
	p := start(t, nil)
	raw := "From: Mario <mario@gamma.example>\nTo: " + bob + "\nSubject: =?utf-8?q?Perch=C3=A9?=\nMessage-ID: <o.1@gamma.example>\nReceived: from a\n\tby b\n\ncittà"
	if err := p.Ordinary(bob, []byte(raw)); err != nil {
		t.Fatal(err)
	}
	if err := p.Ordinary(ghost, []byte(raw)); err == nil {
		t.Error("nobody got mail")
	}
	m := takeApart(t, one(t, p, Anomaly).Raw)
	if err := m.check(p.CAPEM()); err != nil {
		t.Error(err)
	}
	if m.daticert != nil || string(m.original) != strings.ReplaceAll(raw, "\n", "\r\n")+"\r\n" {
		t.Errorf("%+v %q", m.daticert, m.original)
	}
	for name, want := range map[string]string{
		"X-Trasporto": "errore", "Message-Id": "<o.1@gamma.example>", "Reply-To": "mario@gamma.example", "Return-Path": "<mario@gamma.example>", "To": bob,
		"From": `"Per conto di: mario@gamma.example" <posta-certificata@pec.gestore.example>`, "X-Riferimento-Message-Id": "", "X-Ricevuta": "",
	} {
		if got := m.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := decodeText(m.header.Get("Subject")); got != "ANOMALIA MESSAGGIO: Perché" {
		t.Errorf("Subject %q", got)
	}

	p.Faults().FailedChecks.Next(1)
	for range 2 {
		if err := p.SendFromOutside("a@pec.beta.example", alice, "oggetto", "testo"); err != nil {
			t.Fatal(err)
		}
	}
	list := inMailbox(p, alice)
	if len(list) != 2 || list[0].Number != 6 || list[1].Number != 1 {
		t.Fatalf("%+v", list)
	}
	m = takeApart(t, list[0].Raw)
	inner := takeApart(t, m.original)
	if err := m.check(p.CAPEM()); err != nil || inner.check(p.CAPEM()) == nil || inner.daticert == nil {
		t.Errorf("anomaly %v, envelope inside %v", err, inner.check(p.CAPEM()))
	}
}

func TestBounce(t *testing.T) {
	p := start(t, func(o *Options) { o.Behaviour = map[string]Behaviour{plainR: Bounce} })
	submit(t, p, ordinary(plainR), plainR)
	m := takeApart(t, one(t, p, Anomaly).Raw)
	if got := m.header.Get("Subject"); got != "ANOMALIA MESSAGGIO: POSTA CERTIFICATA: Diffida n. 7" {
		t.Errorf("Subject %q", got)
	}
	if m.header.Get("Return-Path") != "<>" || !strings.Contains(m.header.Get("From"), "MAILER-DAEMON@gamma.example") {
		t.Errorf("%v", m.header)
	}
	h, body := headerAndBody(t, m.original)
	parts := pieces(t, h, body)
	if !strings.HasPrefix(h.Get("Content-Type"), "multipart/report") || len(parts) != 3 || !bytes.Contains(parts[1], []byte("\r\nAction: failed\r\nStatus: 5.1.1\r\n")) {
		t.Fatalf("%v, %d parts", h, len(parts))
	}
	_, returned := headerAndBody(t, parts[2])
	if inner := takeApart(t, returned); inner.check(p.CAPEM()) != nil || inner.daticert.Tipo != "posta-certificata" {
		t.Errorf("returned: %v %+v", inner.check(p.CAPEM()), inner.daticert)
	}
	if d := takeApart(t, one(t, p, Acceptance).Raw).daticert; d.To[0].Tipo != "esterno" {
		t.Errorf("%+v", d)
	}
}

func TestServiceMailbox(t *testing.T) {
	p := start(t, func(o *Options) { o.Service = ServiceLogin{"servizio", "segreta-s"} })
	if err := p.SetBehaviour(bob, Virus); err != nil {
		t.Fatal(err)
	}
	submit(t, p, ordinary(bob), bob)
	c := dial(t, p)
	c.login("servizio", "segreta-s")
	list, err := p.Folder(p.ServiceAddress(), "INBOX")
	if err != nil || len(list) != 2 || sum(list[0].Raw) != one(t, p, TakenInCharge).SHA256 || sum(list[1].Raw) != one(t, p, VirusDetected).SHA256 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	m := takeApart(t, list[1].Raw)
	if m.header.Get("X-Mittente") != alice || m.header.Get("To") != p.ServiceAddress() || m.original != nil {
		t.Errorf("%v", m.header)
	}

	p.Faults().LeakService.On()
	before := len(inMailbox(p, alice))
	submit(t, p, ordinary(bob), bob)
	if got := told(t, p, inMailbox(p, alice)[before:]); got != "2 5 7:5.5.1 8:5.5.1" {
		t.Errorf("leaked: %s", got)
	}

	closed := start(t, nil)
	dial(t, closed).cmd(535, "AUTH PLAIN %s", b64("\x00\x00"))
}

func TestServiceNotices(t *testing.T) {
	p := start(t, nil)
	p.Faults().ServiceNotices.On()
	for range 2 {
		submit(t, p, ordinary(bob), bob)
	}
	if err := p.ServiceNotice(bob, "password"); err != nil {
		t.Fatal(err)
	}
	if p.ServiceNotice(bob, "lottery") == nil || p.ServiceNotice(ghost, "quota") == nil {
		t.Error("a notice about nothing or to nobody")
	}
	var subjects []string
	for _, e := range of(p.Emitted(), Plain) {
		h, _ := headerAndBody(t, e.Raw)
		if h.Get("From") != "Assistenza PEC <assistenza@pec.gestore.example>" || h.Get("X-Ricevuta")+h.Get("X-Trasporto") != "" || e.Number != 0 {
			t.Errorf("%v", h)
		}
		subjects = append(subjects, decodeText(h.Get("Subject")))
	}
	want := []string{"Avviso: la casella PEC " + alice + " è quasi piena", "Rinnovo della casella PEC " + alice, "La password della casella PEC " + bob + " sta per scadere"}
	if !slices.Equal(subjects, want) {
		t.Errorf("%q", subjects)
	}
}

func TestPasswordExpired(t *testing.T) {
	p := start(t, nil)
	p.Faults().PasswordExpired.Next(1)
	c := dial(t, p)
	if text := c.cmd(535, "AUTH PLAIN %s", b64("\x00"+alice+"\x00segreta-a")); !strings.Contains(text, "password scaduta") {
		t.Errorf("text %q", text)
	}
	c.login(alice, "segreta-a")
}
