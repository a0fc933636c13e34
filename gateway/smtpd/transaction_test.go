package smtpd

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"pecgate/gateway/gate"
	"pecgate/policy"
)

// TestA9_ProductOfTheProvider: the limit is on size times recipients, exactly,
// and is told after the message or, where SIZE tells it, before its body is
// stored.
func TestA9_ProductOfTheProvider(t *testing.T) {
	const product = 1_000_000
	p := people(t)
	for i := range p.Mailboxes {
		p.Mailboxes[i].Product, p.Mailboxes[i].Recipients = product, 50
	}
	s := newServer(t, func(o *Options) { o.Policy = func() *policy.Policy { return p } })
	pipe := s.pipes(t)
	for i, tt := range []struct{ recipients, over int }{{1, -1}, {1, 0}, {1, 1}, {2, -1}, {2, 0}, {2, 1}, {50, -1}, {50, 0}, {50, 1}} {
		var to []string
		for j := range tt.recipients {
			to = append(to, fmt.Sprintf("r%d@pec.example.net", j))
		}
		m := strings.Replace(header, other, strings.Join(to, ",\r\n "), 1) + "\r\n"
		m += strings.Repeat("x", product/tt.recipients+tt.over-len(m)-2) + "\r\n"
		c := newClient(t, pipe.dial(i))
		c.login()
		want := "250 "
		if tt.over > 0 {
			want = "552-5.3.4 "
		}
		c.envelope(office, to...)
		c.send(stuff(m))
		if got := c.reply(); !strings.HasPrefix(got, want) {
			t.Errorf("%d recipients, limit %+d: %q", tt.recipients, tt.over, got)
		} else if tt.over > 0 {
			told(t, got)
		}
		// Declared too big for so many: nothing of it goes to the disk.
		s.store.mu.Lock()
		opened := s.store.opened
		s.store.mu.Unlock()
		c.do(fmt.Sprintf("MAIL FROM:<%s> SIZE=%d", office, len(m)), "250 ")
		for _, r := range to {
			c.do("RCPT TO:<"+r+">", "250 ")
		}
		c.do("DATA", "354 ")
		c.send(stuff(m))
		c.reply()
		s.store.mu.Lock()
		if grown := s.store.opened > opened; grown != (tt.over <= 0) {
			t.Errorf("%d recipients, limit %+d: a delivery begun: %v", tt.recipients, tt.over, grown)
		}
		s.store.mu.Unlock()
		c.c.Close()
	}
	if n := len(s.store.all()); n != 12 {
		t.Errorf("%d committed", n)
	}
}

// TestA11_AllOrNothing: after one refused recipient nothing leaves, in whatever
// order they come and however the client goes on.
func TestA11_AllOrNothing(t *testing.T) {
	s := newServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.login()
	bad := []string{`RCPT TO:<"a b"@pec.example.net>`, "RCPT TO:<nobody>", "RCPT TO:<@r.example:a@pec.example.net>", "RCPT TO:a@pec.example.net",
		"RCPT TO:<>", "RCPT TO:<a@pec.example.net> NOTIFY=NEVER", "RCPT TO:<a@pec.example.net.>", "RCPT TO:<perch\u00e9@pec.example.net>", "RCPT", "RCPT FROM:<a@pec.example.net>"}
	for _, wrong := range bad {
		for at := range 3 {
			c.do("MAIL FROM:<"+office+">", "250 ")
			for i := range 3 {
				if i == at {
					c.do(wrong, "5")
					continue
				}
				c.do(fmt.Sprintf("RCPT TO:<r%d@pec.example.net>", i), "250 ")
			}
			got := c.do("DATA", "554 5.5.1 ")
			if !strings.Contains(got, " / ") {
				t.Errorf("DATA: %q", got)
			}
			c.do("DATA", "554 5.5.1 ") // and again
			c.do("RSET", "250 ")
		}
	}
	// All in one group, as a client that does not look at the answers.
	c.send("MAIL FROM:<" + office + ">\r\nRCPT TO:<" + other + ">\r\nRCPT TO:<nobody>\r\nDATA\r\n")
	for _, want := range []string{"250 ", "250 ", "501 5.5.2 ", "554 5.5.1 "} {
		if got := c.reply(); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %s", got, want)
		}
	}
	c.do("RSET", "250 ")
	c.envelope(office, other) // the next transaction is not spoiled
	c.send(stuff(header + "\r\n"))
	if got := c.reply(); !strings.HasPrefix(got, "250 ") {
		t.Errorf("after all: %q", got)
	}
	c.c.Close()
	if n := len(s.store.all()); n != 1 {
		t.Errorf("%d committed", n)
	}
}

// TestA15_Chunks: CHUNKING is not offered, since the library under this service
// takes a cut chunk for a whole one. Who sends BDAT all the same is told and
// closed: no octet of a chunk is ever a message or a command.
func TestA15_Chunks(t *testing.T) {
	s := newServer(t, nil)
	s.listen(t, gate.ImplicitTLS)
	whole := header + "\r\ntext\r\n"
	evil := "RSET\r\nMAIL FROM:<" + office + ">\r\nRCPT TO:<evil@pec.example.net>\r\nDATA\r\n"
	for _, tt := range []struct{ name, say string }{
		{"whole", fmt.Sprintf("BDAT %d LAST\r\n%s", len(whole), whole)},
		{"LAST of 0", "BDAT 0 LAST\r\n"},
		{"whole, then LAST of 0", fmt.Sprintf("BDAT %d\r\n%sBDAT 0 LAST\r\n", len(whole), whole)},
		{"aborted", fmt.Sprintf("BDAT %d LAST\r\n%s", len(whole), whole[:len(whole)/2])},
		{"aborted in the second", fmt.Sprintf("BDAT %d\r\n%sBDAT 1000 LAST\r\nx", len(whole), whole)},
		{"shorter than its commands", "BDAT 1 LAST\r\n" + evil},
		{"only commands", fmt.Sprintf("BDAT %d LAST\r\n%s", len(evil), evil)},
		{"RSET between", fmt.Sprintf("BDAT %d\r\n%sRSET\r\n", len(whole), whole)},
		{"negative", "BDAT -1 LAST\r\n" + evil},
		{"huge", "BDAT 99999999999999999999 LAST\r\n" + evil},
		{"no number", "BDAT LAST\r\n" + evil},
		{"small letters", "bdat 10 last\r\n" + evil},
	} {
		for _, transaction := range []bool{true, false} {
			c := newClient(t, s.dial(t))
			c.login()
			if got := c.do("EHLO again", "250-"); strings.Contains(got, "CHUNKING") || strings.Contains(got, "BINARYMIME") {
				t.Errorf("offered: %q", got)
			}
			if transaction {
				c.do("MAIL FROM:<"+office+">", "250 ")
				c.do("RCPT TO:<"+other+">", "250 ")
			}
			c.send(tt.say)
			if got := c.reply(); !strings.HasPrefix(got, "502 5.5.1 ") {
				t.Errorf("%s: %q", tt.name, got)
			}
			if b, _ := io.ReadAll(c.r); len(b) > 0 { // an error is a reset: there was more to read
				t.Errorf("%s: more answers: %q", tt.name, b)
			}
			c.c.Close()
		}
	}
	s.stop(t)
	if n := len(s.store.all()); n > 0 || s.store.opened != s.store.gone {
		t.Errorf("%d committed, %d begun, %d ended", n, s.store.opened, s.store.gone)
	}
}

// TestG7_NothingIsInjected: whatever stands in a PIN or subject, the fields of
// the header stay those that were sent and the body keeps its hash.
func TestG7_NothingIsInjected(t *testing.T) {
	s := newServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.login()
	const desk = "protocollo@pec.example.org"
	body := "\r\nBcc: evil@pec.example.net\r\n\r\n[PIN:" + "000000" + "]\r\n.\r\n..\r\n"
	want := sha256.Sum256([]byte(body))
	right := "[PIN:" + pin + "]"
	for i, subject := range []string{
		right, right + " x", "x " + right + " y", "\r\n " + right, right + "\r\n Bcc: evil@pec.example.net", "x\r\n\t" + right + "\r\n y",
		"=?utf-8?q?=5BPIN=3A" + pin + "=5D=0D=0ABcc:_evil@pec.example.net?=", "=?utf-8?q?x=0D=0A=0D=0Abody?= " + right,
		"=?utf-8?q?=00=0A=0D?= " + right, "=?utf-8?b?DQpCY2M6IGV2aWw=?= " + right, "=?x\r\n ?q?=0ABcc:?= " + right,
		strings.Repeat("a ", 5000) + right, right + strings.Repeat("\r\n x", 500), strings.Repeat("=?utf-8?q?=0D=0A?= ", 200) + right,
		"[PIN:" + pin + "\r\n ]", "[ PIN :\t" + pin + " ]", right + right, "=?utf-16?b?AA0ACgBC?= " + right,
		"[PIN:" + pin + "=0D=0ABcc:]", "[PIN:" + strings.Repeat("1", 10_000) + "]", "[PIN:\t]", "[PIN:=?utf-8?q?" + pin + "?=]",
	} {
		stored := len(s.store.all())
		fields := []string{"From", "To", "Subject", "Date", "Message-ID", "X-TipoRicevuta"}
		m := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <%d@c.example>\r\nX-TipoRicevuta: completa\r\n", desk, other, subject, i)
		c.envelope(desk, other)
		c.send(stuff(m + body))
		answer := c.reply()
		all := s.store.all()
		if strings.HasPrefix(answer, "550-5.7.1 ") {
			if len(all) != stored {
				t.Errorf("%.80q: refused and stored", subject)
			}
			continue
		}
		if !strings.HasPrefix(answer, "250 ") || len(all) != stored+1 {
			t.Fatalf("%.80q: %q, %d stored", subject, answer, len(all)-stored)
		}
		got := string(all[stored].data)
		end := headerEnd([]byte(got), 0)
		if sha256.Sum256([]byte(got[end-2:])) != want {
			t.Errorf("%.80q: the body is %q", subject, got[end-2:])
		}
		var names []string
		for line := range strings.Lines(got[:end-2]) {
			if line[0] != ' ' && line[0] != '\t' {
				name, _, _ := strings.Cut(line, ":")
				names = append(names, name)
			}
		}
		if strings.Join(names, " ") != strings.Join(fields, " ") {
			t.Errorf("%.80q: the fields are %q", subject, names)
		}
		if strings.Contains(got[:end], pin) {
			t.Errorf("%.80q: the PIN is left", subject)
		}
	}
	c.c.Close()
	if n := len(s.store.all()); n < 15 {
		t.Errorf("only %d were stored", n)
	}
}

// states are those of the protocol, each with what leads to it.
var states = []struct {
	name string
	say  []string
}{
	{"greeted", nil},
	{"EHLO", []string{"EHLO c"}},
	{"AUTH asked", []string{"EHLO c", "AUTH LOGIN"}},
	{"password asked", []string{"EHLO c", "AUTH LOGIN", "bWFyaW8="}},
	{"logged in", []string{"EHLO c", "{login}"}},
	{"MAIL", []string{"EHLO c", "{login}", "MAIL FROM:<" + office + ">"}},
	{"RCPT", []string{"EHLO c", "{login}", "MAIL FROM:<" + office + ">", "RCPT TO:<" + other + ">"}},
	{"DATA", []string{"EHLO c", "{login}", "MAIL FROM:<" + office + ">", "RCPT TO:<" + other + ">", "DATA"}},
	{"in the header", []string{"EHLO c", "{login}", "MAIL FROM:<" + office + ">", "RCPT TO:<" + other + ">", "DATA", "From: " + office}},
	{"spoiled", []string{"EHLO c", "{login}", "MAIL FROM:<" + office + ">", "RCPT TO:<nobody>"}},
}

// words are what lines of the fuzz are made of.
var words = []string{"EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "AUTH", "VRFY", "EXPN", "HELP", "STARTTLS", "XCLIENT", "GET", "*", "=", ".",
	"PLAIN", "LOGIN", "FROM:<" + office + ">", "TO:<" + other + ">", "FROM:<>", "TO:<>", "SIZE=1", "SIZE=-1", "SIZE=99999999999999999999", "BODY=8BITMIME", "SMTPUTF8", "LAST", "0",
	"18446744073709551616", "<", ">", "\"", "\\", "@", ",", ";", ":", "%s%n", "\x00", "\x7f", "\xff", "\u00e8", "\r", "\n", "\t", "", " ", "From: " + office, "To: " + other,
	b64("\x00mario\x00" + password), b64("\x00mario\x00x"), strings.Repeat("A", 700), strings.Repeat("x ", 900)}

// fuzzed says a state and then a line's bytes, ends the client's side, and
// wants the server to come to its end.
func fuzzed(t *testing.T, s *server, p *pipes, n, state int, say string) {
	t.Helper()
	nc := p.dial(n)
	c := newClient(t, nc)
	c.reply()
	for _, line := range states[state].say {
		if line == "{login}" {
			line = "AUTH PLAIN " + b64("\x00mario\x00"+password)
		}
		c.send(line + "\r\n")
		if line != "From: "+office {
			c.reply()
		}
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, c.r) // whatever is answered
	}()
	_, _ = io.WriteString(nc, say) // the server may have ended it in between
	nc.Close()
	<-read
}

// settle waits for every connection to be gone: a server that hangs fails the
// test by its time.
func (s *server) settle(t *testing.T) {
	t.Helper()
	s.stop(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) > 0 {
		t.Errorf("%d connections are left", len(s.conns))
	}
	if log := s.log.String(); strings.Contains(log, "panic") || strings.Contains(log, `"SMTP fault"`) {
		t.Errorf("the log tells of a panic or a fault: %.2000s", log)
	}
	for _, m := range s.store.all() {
		if m.From != office || len(m.Recipients) != 1 {
			t.Errorf("committed: %+v", m.Submission)
		}
	}
	if s.store.opened != s.store.gone {
		t.Errorf("%d deliveries begun, %d ended", s.store.opened, s.store.gone)
	}
}

// TestA19_CommandsInEachState says random lines in each state of the protocol:
// no panic, no fault, no hang, nothing left open (TestMain counts goroutines).
func TestA19_CommandsInEachState(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 19))
	s := newServer(t, func(o *Options) { o.Logins = 1000 })
	p := s.pipes(t)
	for state := range states {
		for n := range 60 {
			var b strings.Builder
			for range 1 + r.IntN(6) {
				for i := range 1 + r.IntN(5) {
					if i > 0 && r.IntN(8) > 0 {
						b.WriteByte(' ')
					}
					b.WriteString(words[r.IntN(len(words))])
				}
				b.WriteString([]string{"\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", ""}[r.IntN(7)])
			}
			fuzzed(t, s, p, state*1000+n, state, b.String())
		}
	}
	s.settle(t)
}

func FuzzA19_Commands(f *testing.F) {
	for i := range states {
		f.Add(i, []byte("NOOP\r\nQUIT\r\n"))
		f.Add(i, []byte("MAIL FROM:<"+office+"> SIZE=1\r\nRCPT TO:<"+other+">\r\nDATA\r\n"))
		f.Add(i, []byte("*\r\nAUTH PLAIN =\r\n"))
		f.Add(i, []byte(header+"\r\n.\r\nRSET\r\n"))
	}
	n := 0
	f.Fuzz(func(t *testing.T, state int, say []byte) {
		s := newServer(t, func(o *Options) { o.Logins = 1000 })
		p := s.pipes(t)
		n++
		fuzzed(t, s, p, n, int(uint(state)%uint(len(states))), string(say))
		s.settle(t)
	})
}
