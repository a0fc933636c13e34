package providersim

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2" // flags of a message that IMAP deletes meanwhile
)

// popClient is a raw POP3 client.
type popClient struct {
	t *testing.T
	c *tls.Conn
	r *bufio.Reader
}

func popDial(t *testing.T, p *Provider) *popClient {
	t.Helper()
	c, err := tls.Dial("tcp", p.POP3Addr(), tlsFor(t, p))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &popClient{t: t, c: c, r: bufio.NewReader(c)}
}

// dialog plays lines that begin with "C: " and "S: ". An answer that ends with
// "..." is compared as far as that; "S: (end)" wants the connection closed.
func (c *popClient) dialog(text string) {
	c.t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		who, what, _ := strings.Cut(strings.TrimSpace(line), ":")
		what = strings.TrimPrefix(what, " ")
		switch who {
		case "C":
			if _, err := io.WriteString(c.c, what+"\r\n"); err != nil {
				c.t.Fatal(err)
			}
		case "S":
			got, err := c.r.ReadString('\n')
			if what == "(end)" {
				if err == nil || got != "" {
					c.t.Fatalf("%q, %v instead of the end", got, err)
				}
				continue
			}
			got, whole := strings.CutSuffix(got, "\r\n")
			begin, open := strings.CutSuffix(what, "...")
			if err != nil || !whole || got != what && !(open && strings.HasPrefix(got, begin)) {
				c.t.Fatalf("S: %q, %v; want %q", got, err, what)
			}
		default:
			c.t.Fatalf("line %q of the dialog", line)
		}
	}
}

// lines reads a multi-line answer and gives back what was sent, dots undone.
func (c *popClient) lines(command string) []byte {
	c.t.Helper()
	c.dialog("C: " + command + "\nS: +OK...")
	body, err := unstuff(c.r)
	if err != nil {
		c.t.Fatal(err)
	}
	return body
}

// unstuff is the reader of RFC 1939 3: only CRLF ends a line.
func unstuff(r *bufio.Reader) ([]byte, error) {
	var out, line []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		if line = append(line, b); !bytes.HasSuffix(line, []byte("\r\n")) {
			continue
		}
		if string(line) == ".\r\n" {
			return out, nil
		}
		out = append(out, bytes.TrimPrefix(line, []byte("."))...)
		line = line[:0]
	}
}

func popLogin(t *testing.T, p *Provider) *popClient {
	t.Helper()
	c := popDial(t, p)
	c.dialog("S: +OK pec.gestore.example POP3 ready\nC: USER " + alice + "\nS: +OK...\nC: PASS segreta-a\nS: +OK...")
	return c
}

func inject(t *testing.T, p *Provider, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := p.Inject(alice, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
}

// inbox are the messages that were put into one mailbox.
func inbox(list []Emitted, mailbox string) []Emitted {
	return slices.DeleteFunc(list, func(e Emitted) bool { return e.Mailbox != mailbox })
}

func TestPOP3Dialog(t *testing.T) {
	p := start(t, nil)
	inject(t, p, "Subject: uno\r\n\r\n.\r\na\r\n", "Subject: due\r\n\r\nb\r\nc\r\n..d", "Subject: tre\r\n\r\n")
	state, err := p.folder(alice, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%08x.", state.state().validity)
	popDial(t, p).dialog(`
		S: +OK pec.gestore.example POP3 ready
		C: CAPA
		S: +OK capabilities follow
		S: TOP
		S: USER
		S: SASL PLAIN
		S: RESP-CODES
		S: AUTH-RESP-CODE
		S: PIPELINING
		S: EXPIRE NEVER
		S: UIDL
		S: .
		C: STAT
		S: -ERR log in first
		C: UTF8
		S: -ERR command not known
		C: PASS segreta-a
		S: -ERR USER first
		C: user ` + alice + `
		S: +OK...
		C: pass segreta-a
		S: +OK 3 messages (63 octets)
		C: USER x
		S: -ERR logged in already
		C: STAT
		S: +OK 3 63
		C: LIST
		S: +OK...
		S: 1 22
		S: 2 25
		S: 3 16
		S: .
		C: LIST 2
		S: +OK 2 25
		C: LIST 4
		S: -ERR no such message
		C: LIST 0
		S: -ERR...
		C: LIST -1
		S: -ERR...
		C: LIST 99999999999999999999
		S: -ERR...
		C: UIDL
		S: +OK...
		S: 1 ` + id + `1
		S: 2 ` + id + `2
		S: 3 ` + id + `3
		S: .
		C: UIDL 3
		S: +OK 3 ` + id + `3
		C: RETR 1
		S: +OK 22 octets
		S: Subject: uno
		S:
		S: ..
		S: a
		S: .
		C: TOP 2 1
		S: +OK...
		S: Subject: due
		S:
		S: b
		S: .
		C: TOP 2 0
		S: +OK...
		S: Subject: due
		S:
		S: .
		C: TOP 2
		S: -ERR TOP needs a message number and a number of lines
		C: TOP 9 1
		S: -ERR no such message
		C: RETR
		S: -ERR no such message
		C: NOOP
		S: +OK...
		C: DELE 1
		S: +OK message 1 marked
		C: DELE 1
		S: -ERR no such message
		C: RETR 1
		S: -ERR no such message
		C: STAT
		S: +OK 2 41
		C: LIST
		S: +OK...
		S: 2 25
		S: 3 16
		S: .
		C: RSET
		S: +OK 3 messages (63 octets)
		C: DELE 2
		S: +OK message 2 marked
		C: QUIT
		S: +OK bye
		S: (end)`)
	list, err := p.Folder(alice, "INBOX")
	if err != nil || len(list) != 2 || list[0].UID != 1 || list[1].UID != 3 {
		t.Errorf("left %+v, %v", list, err)
	}
}

func TestPOP3Login(t *testing.T) {
	p := start(t, nil)
	plain := func(name, password string) string { return b64("\x00" + name + "\x00" + password) }
	popDial(t, p).dialog(`
		S: +OK...
		C: USER ` + alice + `
		S: +OK...
		C: PASS wrong
		S: -ERR [AUTH] authentication failed
		C: AUTH
		S: +OK...
		S: PLAIN
		S: .
		C: AUTH CRAM-MD5
		S: -ERR mechanism not known
		C: AUTH PLAIN !!!
		S: -ERR response not understood
		C: AUTH PLAIN
		S: +...
		C: *
		S: -ERR given up
		C: AUTH PLAIN
		S: +...
		C: ` + plain("M123", "segreta-b") + `
		S: +OK 0 messages (0 octets)
		C: QUIT
		S: +OK bye
		S: (end)`)
	popDial(t, p).dialog("S: +OK...\nC: AUTH PLAIN " + plain(alice, "segreta-a") + "\nS: +OK...\nC: CAPA\nS: +OK...")
	// Exclusive: the second session is told so, the first one's end lets it in.
	first := popDial(t, p)
	first.dialog("S: +OK...\nC: AUTH PLAIN " + plain("M123", "segreta-b") + "\nS: +OK...")
	second := popDial(t, p)
	second.dialog("S: +OK...\nC: AUTH PLAIN " + plain("M123", "segreta-b") + "\nS: -ERR [IN-USE]...")
	first.dialog("C: QUIT\nS: +OK bye")
	second.dialog("C: AUTH PLAIN " + plain("M123", "segreta-b") + "\nS: +OK...")

	if err := p.SetPassword(bob, "altra"); err != nil {
		t.Fatal(err)
	}
	popDial(t, p).dialog("S: +OK...\nC: AUTH PLAIN " + plain("M123", "segreta-b") + "\nS: -ERR [AUTH]...")
	p.Faults().RefuseLogin.Next(1)
	popDial(t, p).dialog("S: +OK...\nC: AUTH PLAIN " + plain("M123", "altra") + "\nS: -ERR [AUTH]...")
	for _, l := range p.Logins() {
		if l.Protocol != "pop3" {
			t.Errorf("login %+v", l)
		}
	}
	if n := len(p.Logins()); n != 8 {
		t.Errorf("%d logins", n)
	}
	tries := strings.Repeat("C: AUTH PLAIN "+plain("x", "y")+"\nS: -ERR [AUTH]...\n", maxBadLogin)
	popDial(t, p).dialog("S: +OK...\n" + tries + "S: (end)")
	for _, err := range []error{p.SetPassword("nobody@x.example", "x"), p.SetPassword(bob, "")} {
		if err == nil {
			t.Error("password set")
		}
	}
}

func TestPOP3Limits(t *testing.T) {
	p := start(t, nil)
	popDial(t, p).dialog("S: +OK...\nC: NOOP " + strings.Repeat("x", 250) + "\nS: -ERR line too long\nS: (end)")
	// The provider does not read on, so the end may come as a broken pipe.
	flood := popDial(t, p)
	_, _ = io.WriteString(flood.c, strings.Repeat("x", 1<<20))
	_, _ = io.Copy(io.Discard, flood.r)
	popDial(t, p).dialog("S: +OK...\nC: AUTH PLAIN\nS: +...\nC: " + b64(strings.Repeat("x", 10000)) + "\nS: -ERR line too long\nS: (end)")
	popDial(t, p).dialog("S: +OK...\n" + strings.Repeat("C: STAT\nS: -ERR...\n", maxBad+1) + "S: (end)")
	// Pipelined, as CAPA allows.
	c := popDial(t, p)
	c.dialog("C: USER " + alice + "\nC: PASS segreta-a\nC: STAT\nC: QUIT\nS: +OK...\nS: +OK...\nS: +OK...\nS: +OK 0 0\nS: +OK bye\nS: (end)")
}

// What RETR gives are the bytes in Emitted; only the line end that POP3 needs
// is added to a message without one.
func TestPOP3Bytes(t *testing.T) {
	for name, style := range map[string]Style{"old": StyleOld, "new": StyleNew} {
		t.Run(name, func(t *testing.T) {
			p := start(t, func(o *Options) { o.Style = style })
			submit(t, p, ordinary(alice+", "+ghost), alice, ghost)
			inject(t, p, "", ".", "..\r\n", "a\n.\nb\r\n", "a\n\nlf only\n", "x\r\r\n.\r\r\n", "no header at all", "\r\n\r\n\x00\xff\r\n", strings.Repeat("l", 70000)+"\r\n", ".\r\n.\r\n..\r\n")
			c := popLogin(t, p)
			emitted := inMailbox(p, alice)
			var total int
			for i, e := range emitted {
				want := e.Raw
				total += len(want)
				if len(want) > 0 && !bytes.HasSuffix(want, []byte("\r\n")) {
					want = append(bytes.Clone(want), "\r\n"...)
				}
				if got := c.lines("RETR " + strconv.Itoa(i+1)); !bytes.Equal(got, want) {
					t.Errorf("message %d: %.80q, want %.80q", i+1, got, want)
				}
				if got := c.lines(fmt.Sprintf("TOP %d 1000000", i+1)); !bytes.Equal(got, want) {
					t.Errorf("top of message %d: %.80q", i+1, got)
				}
				c.dialog(fmt.Sprintf("C: LIST %d\nS: +OK %d %d", i+1, i+1, len(e.Raw)))
			}
			c.dialog(fmt.Sprintf("C: STAT\nS: +OK %d %d", len(emitted), total))
			if list, err := p.Folder(alice, "INBOX"); err != nil || len(list) != len(emitted) {
				t.Errorf("%d left, %v", len(list), err)
			}
		})
	}
}

// A session sees INBOX as it was at login, and INBOX alone; what was marked
// goes at QUIT and at no other end.
func TestPOP3Snapshot(t *testing.T) {
	p := start(t, nil)
	inject(t, p, "Subject: a\r\n\r\n", "Subject: b\r\n\r\n", "Subject: c\r\n\r\n", "Subject: d\r\n\r\n")
	c := popLogin(t, p)
	inject(t, p, "Subject: e\r\n\r\n")
	if err := p.CreateFolder(alice, "INBOX.Ricevute"); err != nil {
		t.Fatal(err)
	}
	if err := p.Move(alice, 2, "INBOX.Ricevute"); err != nil {
		t.Fatal(err)
	}
	f, err := p.folder(alice, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	f.setFlags(map[uint32]bool{3: true}, func([]string) []string { return []string{string(imap.FlagDeleted)} })
	f.expunge(nil)
	c.dialog("C: STAT\nS: +OK 4 56")
	if got := c.lines("RETR 3"); string(got) != "Subject: c\r\n\r\n" {
		t.Errorf("%q", got)
	}
	c.dialog("C: DELE 1\nS: +OK...\nC: DELE 2\nS: +OK...\nC: DELE 3\nS: +OK...")
	c.c.Close() // no QUIT
	left := func() string {
		var b strings.Builder
		for _, m := range f.state().messages {
			fmt.Fprint(&b, m.UID, " ")
		}
		return b.String()
	}
	// The lock goes when the provider has seen the end of the connection.
	waitFree := func() {
		t.Helper()
		if err := p.Wait(deadline(t), func() bool { return !p.account(alice).popOpen.Load() }); err != nil {
			t.Fatal(err)
		}
	}
	waitFree()
	if got := left(); got != "1 4 5 " {
		t.Errorf("after a cut: %s", got)
	}
	c = popLogin(t, p)
	c.dialog("C: STAT\nS: +OK 3 42\nC: DELE 1\nS: +OK...\nC: DELE 2\nS: +OK...\nC: RSET\nS: +OK...\nC: DELE 3\nS: +OK...\nC: QUIT\nS: +OK bye")
	if got := left(); got != "1 4 " {
		t.Errorf("after QUIT: %s", got)
	}
	if list, err := p.Folder(alice, "INBOX.Ricevute"); err != nil || len(list) != 1 || string(list[0].Raw) != "Subject: b\r\n\r\n" {
		t.Errorf("moved: %+v, %v", list, err)
	}
	// Renumbered meanwhile: nothing of others is deleted, and the ids change.
	c = popLogin(t, p)
	before := string(c.lines("UIDL"))
	c.dialog("C: DELE 1\nS: +OK...")
	if err := p.Renumber(alice, "INBOX"); err != nil {
		t.Fatal(err)
	}
	c.dialog("C: QUIT\nS: -ERR [SYS/TEMP]...\nS: (end)")
	if got := left(); got != "1 2 " {
		t.Errorf("after renumbering: %s", got)
	}
	if after := string(popLogin(t, p).lines("UIDL")); after == before {
		t.Errorf("ids are the same: %s", after)
	}
	for _, err := range []error{p.Move(alice, 99, "INBOX.Ricevute"), p.Move(alice, 1, "INBOX.Altro"), p.Move("x@y.example", 1, "INBOX"), p.CreateFolder(alice, "Fuori"), p.CreateFolder(alice, "INBOX.Ricevute")} {
		if err == nil {
			t.Error("done, though it could not be")
		}
	}
}

func TestPOP3Faults(t *testing.T) {
	p := start(t, nil)
	raw := "Subject: lungo\r\n\r\n" + strings.Repeat("riga\r\n", 50000)
	inject(t, p, raw)
	p.Faults().CutRetr.Set(20000)
	c := popLogin(t, p)
	c.dialog("C: NOOP\nC: RETR 1\nS: +OK...")
	got, _ := io.ReadAll(c.r)
	if len(got) != 20000 || strings.HasSuffix(string(got), "\r\n.\r\n") {
		t.Errorf("cut after %d bytes", len(got))
	}
	if err := p.Wait(deadline(t), func() bool { return !p.account(alice).popOpen.Load() }); err != nil {
		t.Fatal(err)
	}
	c = popLogin(t, p)
	if got := c.lines("RETR 1"); string(got) != raw {
		t.Error("the second RETR is not whole")
	}
	first := string(c.lines("UIDL"))
	c.dialog("C: QUIT\nS: +OK bye")

	p.Faults().WrongSizes.Next(1)
	p.Faults().ChangingUIDL.Next(1)
	c = popLogin(t, p)
	c.dialog(fmt.Sprintf("C: LIST 1\nS: +OK 1 %d", len(raw)-50000-2-1))
	if second := string(c.lines("UIDL")); second == first {
		t.Errorf("the same ids: %s", second)
	}
	c.dialog("C: QUIT\nS: +OK bye")

	p.Faults().NoUIDL.On()
	c = popLogin(t, p)
	if capa := string(c.lines("CAPA")); strings.Contains(capa, "UIDL") {
		t.Errorf("CAPA: %s", capa)
	}
	c.dialog("C: UIDL\nS: -ERR command not known\nC: QUIT\nS: +OK bye")
	p.Faults().NoUIDL.Off()
	c = popLogin(t, p)
	if third := string(c.lines("UIDL")); third != first {
		t.Errorf("ids %s, were %s", third, first)
	}
}

func FuzzWriteStuffed(f *testing.F) {
	for _, s := range []string{"", ".", "a\r\n.\r\n", "\n.\n", "\r.\r\r\n.", ".\n\r\n..", "a"} {
		f.Add([]byte(s), 0)
	}
	f.Fuzz(func(t *testing.T, raw []byte, lines int) {
		var b bytes.Buffer
		if err := writeStuffed(&b, raw); err != nil {
			t.Fatal(err)
		}
		b.WriteString("+OK")
		r := bufio.NewReader(&b)
		got, err := unstuff(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > 0 && !bytes.HasSuffix(raw, []byte("\r\n")) {
			raw = append(bytes.Clone(raw), "\r\n"...)
		}
		if !bytes.Equal(got, raw) {
			t.Fatalf("%q came back as %q", raw, got)
		}
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "+OK" {
			t.Fatalf("then %q, %v", rest, err)
		}
		if top := topOf(raw, lines); !bytes.HasPrefix(raw, top) {
			t.Fatalf("top %q of %q", top, raw)
		}
	})
}
