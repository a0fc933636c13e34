package providersim

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"mime"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7" // second opinion on our own CMS writer
	"go.uber.org/goleak"         // Close must leave no goroutine
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	alice  = "ufficio@pec.alfa.example"
	bob    = "protocollo@pec.alfa.example"
	ghost  = "nessuno@pec.alfa.example"
	remote = "studio@pec.beta.example"
	plainR = "info@gamma.example"
)

func start(t *testing.T, change func(*Options)) *Provider {
	t.Helper()
	o := Options{
		Domain: "pec.gestore.example",
		Name:   "Gestore Prova S.p.A.",
		Mailboxes: []Mailbox{
			{Address: alice, Username: alice, Password: "segreta-a"},
			{Address: bob, Username: "M123", Password: "segreta-b"},
		},
		PECDomains: []string{"pec.beta.example"},
		External:   []string{remote},
	}
	if change != nil {
		change(&o)
	}
	p, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func roots(t *testing.T, caPEM []byte) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(caPEM) {
		t.Fatal("CAPEM holds no certificate")
	}
	return pool
}

// client is a raw SMTP client: what a test writes is what the provider gets.
type client struct {
	t  *testing.T
	c  *tls.Conn
	tp *textproto.Reader
}

func dial(t *testing.T, p *Provider) *client {
	t.Helper()
	c, err := tls.Dial("tcp", p.SMTPAddr(), &tls.Config{RootCAs: roots(t, p.CAPEM()), ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	cl := &client{t: t, c: c, tp: textproto.NewReader(bufio.NewReader(c))}
	cl.want(220)
	cl.cmd(250, "EHLO client.example")
	return cl
}

func (c *client) write(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.c, s); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) want(code int) string {
	c.t.Helper()
	got, text, err := c.tp.ReadResponse(0)
	if err != nil || got != code {
		c.t.Fatalf("answer %d %q, %v; want %d", got, text, err, code)
	}
	return text
}

func (c *client) cmd(code int, format string, args ...any) string {
	c.t.Helper()
	c.write(fmt.Sprintf(format, args...) + "\r\n")
	return c.want(code)
}

func (c *client) login(user, password string) {
	c.t.Helper()
	c.cmd(235, "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
}

// open goes as far as the answer to DATA.
func (c *client) open(from string, recipients ...string) {
	c.t.Helper()
	c.cmd(250, "MAIL FROM:<%s>", from)
	for _, r := range recipients {
		c.cmd(250, "RCPT TO:<%s>", r)
	}
	c.cmd(354, "DATA")
}

func stuff(raw string) string {
	raw = strings.ReplaceAll(raw, "\r\n.", "\r\n..")
	if strings.HasPrefix(raw, ".") {
		raw = "." + raw
	}
	return raw
}

// submit sends raw from alice and expects the 250.
func submit(t *testing.T, p *Provider, raw string, recipients ...string) {
	t.Helper()
	c := dial(t, p)
	c.login(alice, "segreta-a")
	c.open(alice, recipients...)
	c.write(stuff(raw) + ".\r\n")
	c.want(250)
	c.cmd(221, "QUIT")
	settle(t, p)
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func settle(t *testing.T, p *Provider) {
	t.Helper()
	if err := p.Settle(deadline(t)); err != nil {
		t.Fatal(err)
	}
}

func message(headers ...string) string {
	return strings.Join(headers, "\r\n") + "\r\n\r\nBuongiorno,\r\n.una riga col punto\r\n\r\ncordiali saluti  \r\n"
}

func ordinary(to string, more ...string) string {
	return message(append([]string{"From: Ufficio <" + alice + ">", "To: " + to, "Subject: Diffida n. 7", "Message-ID: <pg.1@pec.alfa.example>"}, more...)...)
}

func of(list []Emitted, kind Kind) []Emitted {
	var out []Emitted
	for _, e := range list {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// inMailbox is what one mailbox got; the service mailbox gets some of the rest.
func inMailbox(p *Provider, address string) []Emitted {
	return slices.DeleteFunc(p.Emitted(), func(e Emitted) bool { return e.Mailbox != address })
}

func one(t *testing.T, p *Provider, kind Kind) Emitted {
	t.Helper()
	list := of(p.Emitted(), kind)
	if len(list) != 1 {
		t.Fatalf("%d messages of kind %s, want 1", len(list), kind)
	}
	return list[0]
}

// pec is a PEC message taken apart by code that knows only RFC 2046 delimiters.
type pec struct {
	header   textproto.MIMEHeader
	signed   []byte
	cms      []byte
	daticert *dati
	original []byte
}

type dati struct {
	XMLName xml.Name `xml:"postacert"`
	Tipo    string   `xml:"tipo,attr"`
	Errore  string   `xml:"errore,attr"`
	Sender  string   `xml:"intestazione>mittente"`
	To      []struct {
		Tipo    string `xml:"tipo,attr"`
		Address string `xml:",chardata"`
	} `xml:"intestazione>destinatari"`
	Risposte   string `xml:"intestazione>risposte"`
	Oggetto    string `xml:"intestazione>oggetto"`
	Gestore    string `xml:"dati>gestore-emittente"`
	Identifier string `xml:"dati>identificativo"`
	MsgID      string `xml:"dati>msgid"`
	Ricevuta   struct {
		Tipo string `xml:"tipo,attr"`
	} `xml:"dati>ricevuta"`
	Consegna  string   `xml:"dati>consegna"`
	Ricezione []string `xml:"dati>ricezione"`
	Esteso    string   `xml:"dati>errore-esteso"`
}

func headerAndBody(t *testing.T, raw []byte) (textproto.MIMEHeader, []byte) {
	t.Helper()
	head, body, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
	if !ok {
		t.Fatalf("no blank line in %.200q", raw)
	}
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(bytes.Clone(head), "\r\n\r\n"...)))).ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	return h, body
}

func pieces(t *testing.T, h textproto.MIMEHeader, body []byte) [][]byte {
	t.Helper()
	_, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	list := bytes.Split(append([]byte("\r\n"), body...), []byte("\r\n--"+params["boundary"]))
	if len(list) < 3 || !bytes.HasPrefix(list[len(list)-1], []byte("--")) {
		t.Fatalf("multipart not closed: %d pieces", len(list))
	}
	list = list[1 : len(list)-1]
	for i, b := range list {
		list[i] = bytes.TrimPrefix(b, []byte("\r\n"))
	}
	return list
}

func decode64(t *testing.T, b []byte) []byte {
	t.Helper()
	out, err := base64.StdEncoding.DecodeString(string(bytes.ReplaceAll(b, []byte("\r\n"), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func takeApart(t *testing.T, raw []byte) pec {
	t.Helper()
	var m pec
	var body []byte
	m.header, body = headerAndBody(t, raw)
	outer := pieces(t, m.header, body)
	if len(outer) != 2 {
		t.Fatalf("multipart/signed with %d parts", len(outer))
	}
	m.signed = outer[0]
	_, sig := headerAndBody(t, outer[1])
	m.cms = decode64(t, sig)
	h, inner := headerAndBody(t, m.signed)
	for _, part := range pieces(t, h, inner) {
		ph, pb := headerAndBody(t, part)
		switch kind, params, _ := mime.ParseMediaType(ph.Get("Content-Type")); {
		case params["name"] == "daticert.xml":
			m.daticert = &dati{}
			if err := xml.Unmarshal(decode64(t, pb), m.daticert); err != nil {
				t.Fatal(err)
			}
		case kind == "message/rfc822":
			m.original = pb
		}
	}
	return m
}

// check verifies signature, chain with the emailProtection usage, and that the
// certificate's address is the one in From.
func (m pec) check(caPEM []byte) error {
	p7, err := pkcs7.Parse(m.cms)
	if err != nil {
		return err
	}
	p7.Content = m.signed
	if err := p7.Verify(); err != nil {
		return err
	}
	if len(p7.Certificates) != 2 {
		return fmt.Errorf("%d certificates in the signature, want leaf and intermediate", len(p7.Certificates))
	}
	leaf := p7.GetOnlySigner()
	pool, inter := x509.NewCertPool(), x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	for _, c := range p7.Certificates {
		inter.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: inter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}); err != nil {
		return err
	}
	from := m.header.Get("From")
	if i := strings.LastIndexByte(from, '<'); i >= 0 {
		from = strings.Trim(from[i:], "<>")
	}
	if len(leaf.EmailAddresses) != 1 || leaf.EmailAddresses[0] != from {
		return fmt.Errorf("certificate of %v, From %s", leaf.EmailAddresses, from)
	}
	return nil
}

// der tells whether the signature is DER, which encoding/asn1 insists on.
func (m pec) der() bool {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(m.cms, &v)
	return err == nil && len(rest) == 0
}
