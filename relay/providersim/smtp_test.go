package providersim

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-sasl" // the client that the gateway's relay uses
	"github.com/emersion/go-smtp" // as above
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestLogin(t *testing.T) {
	p := start(t, nil)
	c := dial(t, p)
	c.cmd(530, "MAIL FROM:<%s>", alice)
	c.cmd(535, "AUTH PLAIN %s", b64("\x00"+alice+"\x00segreta-b"))
	c.cmd(334, "AUTH LOGIN")
	c.cmd(334, "%s", b64(alice))
	c.cmd(535, "%s", b64("wrong"))
	c.cmd(504, "AUTH CRAM-MD5")
	c.cmd(501, "AUTH PLAIN !!!")
	c.cmd(334, "AUTH PLAIN")
	c.cmd(235, "%s", b64("\x00M123\x00segreta-b"))
	c.cmd(503, "AUTH PLAIN x")
	c.cmd(550, "MAIL FROM:<%s>", alice)
	c.cmd(250, "MAIL FROM:<%s>", strings.ToUpper(bob))

	c = dial(t, p)
	c.cmd(334, "AUTH LOGIN %s", b64(alice))
	c.cmd(235, "%s", b64("segreta-a"))

	p.Faults().RefuseLogin.Next(1)
	c = dial(t, p)
	c.cmd(535, "AUTH PLAIN %s", b64("\x00"+alice+"\x00segreta-a"))
	c.login(alice, "segreta-a")

	var got []string
	for _, l := range p.Logins() {
		got = append(got, fmt.Sprint(l.Protocol, " ", l.Username, " ", l.OK))
	}
	want := "smtp " + alice + " false, smtp " + alice + " false, smtp M123 true, smtp " + alice + " true, smtp " + alice + " false, smtp " + alice + " true"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("logins\n%s\nwant\n%s", s, want)
	}

	c = dial(t, p)
	for range maxBadLogin {
		c.cmd(535, "AUTH PLAIN %s", b64("\x00"+alice+"\x00no"))
	}
	c.want(421)
}

func TestCommands(t *testing.T) {
	p := start(t, func(o *Options) { o.MaxRecipients, o.MaxSize = 3, 1000 })
	c := dial(t, p)
	c.login(alice, "segreta-a")
	c.cmd(503, "RCPT TO:<%s>", bob)
	c.cmd(552, "MAIL FROM:<%s> SIZE=1001", alice)
	c.cmd(555, "MAIL FROM:<%s> RET=HDRS", alice)
	c.cmd(501, "MAIL FROM:%s", alice)
	c.cmd(250, "MAIL FROM:<%s> SIZE=1000 BODY=8BITMIME", alice)
	c.cmd(503, "MAIL FROM:<%s>", alice)
	c.cmd(503, "DATA")
	c.cmd(553, `RCPT TO:<"a@evil.example> NOTIFY=NEVER"@dom.example>`)
	c.cmd(501, `RCPT TO:<a@evil.example>NOTIFY=NEVER@dom.example>`)
	c.cmd(555, `RCPT TO:<a@evil.example> NOTIFY=NEVER@dom.example>`)
	for i := range 3 {
		c.cmd(250, "RCPT TO:<r%d@x.example>", i)
	}
	c.cmd(452, "RCPT TO:<r4@x.example>")
	c.cmd(354, "DATA")
	c.write(strings.Repeat("x", 3000) + "\r\n.\r\n")
	c.want(552)
	c.cmd(500, "STARTTLS")
	c.cmd(252, "VRFY x")
	// Pipelined as clients do.
	c.write("MAIL FROM:<" + alice + ">\r\nRCPT TO:<" + bob + ">\r\nDATA\r\n")
	c.want(250)
	c.want(250)
	c.want(354)
	c.write(ordinary(bob) + ".\r\nQUIT\r\n")
	c.want(250)
	c.want(221)
	if len(p.Ledger()) != 1 {
		t.Errorf("%d in the ledger", len(p.Ledger()))
	}
}

// What ends DATA, and what only looks like it (RFC 5321 4.1.1.4).
func TestReadData(t *testing.T) {
	rest := "\r\n.\r\n"
	for _, c := range []struct{ wire, want string }{
		{".\r\n", ""},
		{"a\r\n.\r\n", "a\r\n"},
		{"a\r\n..\r\n..b\r\n.c\r\n.\r\n", "a\r\n.\r\n.b\r\nc\r\n"},
		{"a\n.\nb" + rest, "a\n.\nb\r\n"},
		{"a\n.\r\nb" + rest, "a\n.\r\nb\r\n"},
		{"a\r\n.\nb" + rest, "a\r\n\nb\r\n"},
		{"a\r.\rb" + rest, "a\r.\rb\r\n"},
		{"a\r\n.\rb" + rest, "a\r\n\rb\r\n"},
		{"a\r.\r\nb" + rest, "a\r.\r\nb\r\n"},
		{"a\r\n\x00.\r\nb" + rest, "a\r\n\x00.\r\nb\r\n"},
		{"a\r\r\n.\r\n", "a\r\r\n"},
		{strings.Repeat("x", 16) + rest, strings.Repeat("x", 16) + "\r\n"},
		{strings.Repeat("x", 15) + rest, strings.Repeat("x", 15) + "\r\n"}, // CR is the last byte of the buffer
		{strings.Repeat("x", 15) + "\r\n..\r\n.\r\n", strings.Repeat("x", 15) + "\r\n.\r\n"},
		{strings.Repeat("x", 100) + rest, strings.Repeat("x", 100) + "\r\n"},
	} {
		br := bufio.NewReaderSize(strings.NewReader(c.wire+"QUIT\r\n"), 16)
		got, tooBig, err := readData(br, 1000, nil)
		if err != nil || tooBig || string(got) != c.want {
			t.Errorf("%q: %q, %v, %v; want %q", c.wire, got, tooBig, err, c.want)
		}
		if next, _ := br.ReadString('\n'); next != "QUIT\r\n" {
			t.Errorf("%q: then %q", c.wire, next)
		}
	}
	for _, wire := range []string{"", "a", "a\r\n", "a\r\n.", "a\r\n.\r"} {
		if _, _, err := readData(bufio.NewReader(strings.NewReader(wire)), 1000, nil); err == nil {
			t.Errorf("%q counts as whole", wire)
		}
	}
	for _, mark := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\n\x00.\r\n"} {
		br := bufio.NewReader(strings.NewReader("a" + mark + "MAIL"))
		got, _, err := readData(br, 1000, []string{mark})
		dot := strings.IndexByte(mark, '.')
		if err != nil || string(got) != "a"+mark[:dot] {
			t.Errorf("lenient for %q: %q, %v", mark, got, err)
		}
		br = bufio.NewReader(strings.NewReader("a\r\n..b\r\n.\r\n"))
		if got, _, err := readData(br, 1000, []string{"\x01.\x01"}); err != nil || string(got) != "a\r\n.b\r\n" {
			t.Errorf("lenient reader, strict end: %q, %v", got, err)
		}
	}
}

func TestLenientProvider(t *testing.T) {
	p := start(t, nil)
	smuggled := ordinary(bob) + "x\n.\nMAIL FROM:<" + alice + ">\r\nRCPT TO:<" + remote + ">\r\nDATA\r\n" + ordinary(remote)
	send := func(want int) {
		t.Helper()
		before := len(p.Ledger())
		c := dial(t, p)
		c.login(alice, "segreta-a")
		c.open(alice, bob)
		c.write(smuggled + ".\r\nQUIT\r\n")
		for {
			code, _, err := c.tp.ReadResponse(0)
			if err != nil || code == 221 {
				break
			}
		}
		if got := len(p.Ledger()) - before; got != want {
			t.Errorf("%d messages taken, want %d", got, want)
		}
	}
	send(1)
	p.Faults().LenientEnds("\n.\n")
	send(2)
	p.Faults().LenientEnds()
	send(1)
}

func TestCutInsideMessageIsNothing(t *testing.T) {
	p := start(t, nil)
	c := dial(t, p)
	c.login(alice, "segreta-a")
	c.open(alice, bob)
	c.write(ordinary(bob) + ".\r")
	c.c.Close()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if len(p.Ledger()) != 0 {
		t.Error("half a message is in the ledger")
	}
}

func TestLibraryClient(t *testing.T) {
	p := start(t, nil)
	c := dial(t, p) // for the trusted dialling only
	c.cmd(221, "QUIT")
	cl, err := smtp.DialTLS(p.SMTPAddr(), tlsFor(t, p))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.Auth(sasl.NewPlainClient("", alice, "segreta-a")); err != nil {
		t.Fatal(err)
	}
	raw := ordinary(bob)
	if err := cl.SendMail(alice, []string{bob}, strings.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	if err := cl.Quit(); err != nil {
		t.Error(err)
	}
	if l := p.Ledger(); len(l) != 1 || string(l[0].Raw) != raw {
		t.Errorf("%+v", l)
	}
}

func FuzzReadData(f *testing.F) {
	for _, s := range []string{".\r\n", "a\r\n.\r\n", "a\r\n..\r\n.\r\n", "\n.\n\r\n.\r\n", "\r\r\n.\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, wire string) {
		raw, _, err := readData(bufio.NewReaderSize(strings.NewReader(wire), 16), 1<<20, nil)
		// The definition, read off the whole input at once.
		body, _, ok := strings.Cut("\r\n"+wire, "\r\n.\r\n")
		if ok != (err == nil) {
			t.Fatalf("%q: whole is %v, error %v", wire, ok, err)
		}
		if ok {
			want := strings.TrimPrefix(strings.ReplaceAll(body+"\r\n", "\r\n.", "\r\n"), "\r\n")
			if string(raw) != want {
				t.Fatalf("%q: %q, want %q", wire, raw, want)
			}
		}
	})
}
