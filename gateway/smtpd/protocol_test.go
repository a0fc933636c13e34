package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/gateway/gate"
)

// pieces says how a message is cut into writes, and so into TLS records and
// TCP segments.
var splits = []struct {
	name string
	cut  func(before, seq, after string) []string
}{
	{"whole", func(b, s, a string) []string { return []string{b + s + a} }},
	{"before", func(b, s, a string) []string { return []string{b, s + a} }},
	{"inside", func(b, s, a string) []string { return []string{b + s[:len(s)/2], s[len(s)/2:] + a} }},
	{"every byte", func(b, s, a string) []string { return append([]string{b}, append(strings.Split(s, ""), a)...) }},
}

var smuggling = []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n"}

func TestA13_Smuggling(t *testing.T) {
	s := newServer(t, nil)
	s.listen(t, gate.ImplicitTLS)
	second := "MAIL FROM:<" + office + ">\r\nRCPT TO:<evil@pec.example.net>\r\nDATA\r\n" + header + "\r\nsmuggled\r\n"
	for _, seq := range smuggling {
		for _, sp := range splits {
			t.Run(fmt.Sprintf("DATA %q %s", seq, sp.name), func(t *testing.T) {
				c := newClient(t, s.dial(t))
				c.login()
				c.envelope(office, other)
				for _, p := range sp.cut(header+"\r\ntext", seq, second+".\r\n") {
					c.send(p)
				}
				if got := c.reply(); !strings.HasPrefix(got, "550-5.6.0 ") {
					t.Errorf("answer %q", got)
				}
				c.do("NOOP", "250 ") // one answer to the whole, and the line is in step
				c.do("QUIT", "221 ")
				c.ended()
			})
			t.Run(fmt.Sprintf("BDAT %q %s", seq, sp.name), func(t *testing.T) {
				c := newClient(t, s.dial(t))
				c.login()
				c.do("MAIL FROM:<"+office+">", "250 ")
				c.do("RCPT TO:<"+other+">", "250 ")
				chunk := header + "\r\ntext" + seq + second
				for _, p := range sp.cut(fmt.Sprintf("BDAT %d LAST\r\n", len(chunk))+header+"\r\ntext", seq, second) {
					if _, err := io.WriteString(c.c, p); err != nil {
						break // closed in between
					}
				}
				got, err := c.tryReply()
				if err == nil && !strings.HasPrefix(got, "502 5.5.1 ") {
					t.Errorf("answer %q", got)
				}
				if b, _ := io.ReadAll(c.r); len(b) > 0 {
					t.Errorf("more answers: %q", b)
				}
			})
		}
	}
	s.stop(t)
	if n := len(s.store.all()); n > 0 {
		t.Errorf("%d committed: %q", n, s.store.all()[0].data)
	}
}

func TestA16_PipeliningAndSTARTTLS(t *testing.T) {
	s := newServer(t, nil)
	s.listen(t, gate.StartTLSSMTP)
	c := newClient(t, s.startTLS(t))
	c.do("NOOP", "250 ") // the library's own greeting did not come
	c.do("EHLO c", "250-")
	if got := c.do("EHLO c", "250-"); strings.Contains(got, "STARTTLS") || strings.Contains(got, "CHUNKING") || !strings.Contains(got, "AUTH PLAIN LOGIN") {
		t.Errorf("EHLO: %q", got)
	}
	c.do("AUTH PLAIN "+b64("\x00mario\x00"+password), "235 ")

	// Behind STARTTLS nothing is executed.
	raw, err := net.Dial("tcp", s.gate.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_, _ = io.WriteString(raw, "EHLO c\r\nSTARTTLS\r\nEHLO injected\r\n")
	b, _ := io.ReadAll(raw)
	if bytes.Contains(b, []byte("injected")) || bytes.Contains(b, []byte("Ready to start")) {
		t.Errorf("injected: %q", b)
	}

	// A message that comes along with DATA would be commands if DATA failed.
	c.send("MAIL FROM:<" + office + ">\r\nRCPT TO:<" + other + ">\r\nDATA\r\n" + header + "\r\n.\r\n")
	c.reply()
	c.reply()
	if got := c.reply(); !strings.HasPrefix(got, "503 5.5.0 ") {
		t.Errorf("data with DATA: %q", got)
	}
	c.ended()
}

// startTLS is a connection after STARTTLS, before EHLO.
func (s *server) startTLS(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.gate.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, "EHLO c\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "250 STARTTLS\r\n" {
			break
		}
	}
	_, _ = io.WriteString(c, "STARTTLS\r\n")
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "220 ") {
		t.Fatalf("STARTTLS: %q, %v", line, err)
	}
	tc := tls.Client(c, &tls.Config{ServerName: "127.0.0.1", RootCAs: s.pool})
	t.Cleanup(func() { tc.Close() })
	return tc
}

func TestA17_NoAuthBeforeTLS(t *testing.T) {
	s := newServer(t, nil)
	s.listen(t, gate.StartTLSSMTP)
	raw, err := net.Dial("tcp", s.gate.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_, _ = io.WriteString(raw, "EHLO c\r\nAUTH PLAIN "+b64("\x00mario\x00"+password)+"\r\n")
	b, _ := io.ReadAll(raw)
	if !bytes.Contains(b, []byte("\n538 5.7.11 ")) || bytes.Contains(b, []byte("AUTH PLAIN")) || bytes.Contains(b, []byte("235 ")) {
		t.Errorf("answers %q", b)
	}
	s.stop(t)
	if strings.Contains(s.log.String(), b64("\x00mario\x00"+password)) {
		t.Error("the secret is in the log")
	}
}

func TestE2_OldTLSIsRefused(t *testing.T) {
	s := newServer(t, nil)
	s.listen(t, gate.ImplicitTLS)
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		c, err := tls.Dial("tcp", s.gate.Addr().String(), &tls.Config{RootCAs: s.pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS10, MaxVersion: v})
		if err == nil {
			c.Close()
			t.Errorf("TLS %x accepted", v)
		}
	}
}

func TestE5_HTTPInsideTLS(t *testing.T) {
	s := newServer(t, nil)
	s.listen(t, gate.ImplicitTLS)
	c := newClient(t, s.dial(t))
	c.reply()
	c.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO c\r\n")
	c.ended()
}

func TestCommandLines(t *testing.T) {
	s := newServer(t, nil)
	p := s.pipes(t)
	for i, tt := range []struct{ say, want string }{
		{"NOOP\n", "500 5.5.2 "},
		{"NOOP\r\r\n", "500 5.5.2 "},
		{"NO\x00OP\r\n", "500 5.5.2 "},
		{"NOOP\rMAIL\r\n", "500 5.5.2 "},
		{strings.Repeat("x", maxLine+10) + "\r\n", "500 5.5.2 "},
		{"AUTH PLAIN " + strings.Repeat("A", maxAuthLine) + "\r\n", "500 5.5.2 "},
		{"BDAT 3\r\nabc", "502 5.5.1 "},
	} {
		c := newClient(t, p.dial(i))
		c.reply()
		go io.WriteString(c.c, tt.say) // the pipe takes it only as far as it is read
		if got := c.reply(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%.20q answered %q", tt.say, got)
		}
		c.ended()
		c.c.Close()
	}
	// A stranger may not talk for ever, and half a command is none.
	c := newClient(t, p.dial(100))
	c.reply()
	n := 0
	for ; n < 1000; n++ {
		c.send("NOOP\r\n")
		if got := c.reply(); !strings.HasPrefix(got, "250 ") {
			break
		}
	}
	if n > maxUnknown {
		t.Errorf("%d commands before login", n)
	}
	c.c.Close()
	c = newClient(t, p.dial(101))
	c.login()
	c.do("MAIL FROM:<"+office+">", "250 ")
	c.do("RCPT TO:<"+other+">", "250 ")
	c.send("DATA")
	c.c.Close()
}

func TestG15_SASL(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Logins = 1000 })
	p := s.pipes(t)
	bad := []string{
		"\x00mario\x00wrong", "lucia\x00mario\x00" + password, "\x00mario", "\x00\x00", "", "mario", "\x00mario\x00" + password + "\x00",
		"\x00mario\x00" + password + "\r\n", "\x00mario\r\n\x00" + password, "\x00\x00" + password, "\x00mario\x00", "\x00" + strings.Repeat("m", 2000) + "\x00x",
	}
	for i, r := range bad {
		c := newClient(t, p.dial(i))
		c.reply()
		c.do("EHLO c", "250-")
		ir := b64(r)
		if ir == "" {
			ir = "="
		}
		c.do("AUTH PLAIN "+ir, "535-5.7.8 ")
		c.do("AUTH PLAIN", "334 ")
		c.do(b64(r), "535-5.7.8 ")
		c.do("MAIL FROM:<"+office+">", "530-5.7.0 ")
		c.c.Close()
	}
	for i, r := range [][2]string{{"mario", "wrong"}, {"mario\r\n", password}, {"mario", password + "\r"}, {"", password}, {"mario", ""}, {"mario\x00", password}} {
		c := newClient(t, p.dial(100+i))
		c.reply()
		c.do("EHLO c", "250-")
		c.do("AUTH LOGIN", "334 VXNlcm5hbWU6")
		c.do(b64(r[0]), "334 UGFzc3dvcmQ6")
		c.do(b64(r[1]), "535-5.7.8 ")
		c.c.Close()
	}
	c := newClient(t, p.dial(200))
	c.reply()
	c.do("AUTH PLAIN "+b64("\x00mario\x00"+password), "502 ") // before EHLO
	c.do("EHLO c", "250-")
	c.do("AUTH PLAIN !!!!", "501 5.5.2 ")
	c.do("AUTH PLAIN", "334 ")
	c.do("!!!!", "501 5.5.2 ")
	c.do("NOOP", "250 ") // a command again, not a response
	c.do("AUTH PLAIN", "334 ")
	c.do("*", "501 ")
	c.do("AUTH CRAM-MD5", "504-5.5.4 ")
	c.do("AUTH PLAIN "+b64("mario\x00mario\x00"+password), "235 ")
	c.do("MAIL FROM:<"+office+">", "250 ")
	c.do("RSET", "250 ")
	c.do("EHLO again", "250-") // keeps the login (RFC 4954 section 4 asks for no new one)
	c.do("MAIL FROM:<"+office+">", "250 ")
	c.c.Close()
}

func TestRefusedLoginsCloseTheConnection(t *testing.T) {
	s := newServer(t, nil)
	p := s.pipes(t)
	c := newClient(t, p.dial(1))
	c.reply()
	c.do("EHLO c", "250-")
	for range 3 {
		c.do("AUTH PLAIN "+b64("\x00mario\x00x"), "535-5.7.8 ")
	}
	if got := c.reply(); !strings.HasPrefix(got, "421 4.7.0 ") {
		t.Errorf("answer %q", got)
	}
	c.ended()
}

func TestRepliesOfErrors(t *testing.T) {
	s := newServer(t, nil)
	p := s.pipes(t)
	secret := errors.New("open /var/lib/pecgate/x: input/output error")
	for i, tt := range []struct {
		err  error
		want string
	}{
		{secret, "451-4.3.0 Errore temporaneo, riprovare piu' tardi (codice "},
		{fmt.Errorf("write: %w", ErrNoSpace), "452-4.3.1 "},
		{ErrDraining, "421-4.3.2 "},
		{fmt.Errorf("wait: %w", context.Canceled), "421-4.3.2 "},
	} {
		c := newClient(t, p.dial(i))
		c.login()
		s.store.mu.Lock()
		s.store.fail = tt.err
		s.store.mu.Unlock()
		c.envelope(office, other)
		c.send(stuff(header + "\r\n"))
		if got := c.reply(); !strings.HasPrefix(got, tt.want) || strings.Contains(got, "/var/") {
			t.Errorf("%v at commit answered %q", tt.err, got)
		}
		s.store.ready.Store(&tt.err)
		c.send("MAIL FROM:<" + office + ">\r\n")
		if got := c.reply(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%v at MAIL answered %q", tt.err, got)
		}
		s.store.ready.Store(nil)
		c.c.Close()
	}
	s.stop(t)
	if n := len(s.store.all()); n > 0 {
		t.Errorf("%d committed", n)
	}
	if !strings.Contains(s.log.String(), "input/output error") {
		t.Error("the fault is not in the log")
	}
}

// TestA4_LineDropsAfterTheDot: the message is whole, so it is kept though the
// client never hears of it.
func TestA4_LineDropsAfterTheDot(t *testing.T) {
	s := newServer(t, nil)
	s.store.hold = make(chan struct{})
	s.listen(t, gate.ImplicitTLS)
	c := newClient(t, s.dial(t))
	c.login()
	c.envelope(office, other)
	c.send(stuff(header + "\r\n"))
	for {
		s.store.mu.Lock()
		begun := s.store.opened
		s.store.mu.Unlock()
		if begun > 0 {
			break
		}
		time.Sleep(time.Millisecond) // until the server has begun; nothing depends on how long
	}
	c.c.Close()
	close(s.store.hold)
	for len(s.gate.Conns()) > 0 {
		time.Sleep(time.Millisecond) // until it has seen the end
	}
	s.stop(t)
	if n := len(s.store.all()); n != 1 {
		t.Errorf("%d committed", n)
	}
}

func TestDrainLetsTransactionsEnd(t *testing.T) {
	s := newServer(t, nil)
	s.listen(t, gate.ImplicitTLS)
	idle, busy := newClient(t, s.dial(t)), newClient(t, s.dial(t))
	idle.login()
	busy.login()
	busy.envelope(office, other)
	busy.send(header + "\r\nfirst half\r\n")
	done := make(chan int)
	go func() { done <- s.gate.Drain(t.Context()) }()
	if got := idle.reply(); !strings.HasPrefix(got, "421 4.3.2 ") {
		t.Errorf("idle: %q", got)
	}
	idle.ended()
	busy.send("second half\r\n.\r\n")
	if got := busy.reply(); !strings.HasPrefix(got, "250 2.0.0 Accettato") {
		t.Errorf("busy: %q", got)
	}
	if got := busy.reply(); !strings.HasPrefix(got, "421 4.3.2 ") {
		t.Errorf("after it: %q", got)
	}
	busy.ended()
	idle.c.Close()
	busy.c.Close()
	if cut := <-done; cut != 0 {
		t.Errorf("%d cut", cut)
	}
}

func TestShutdownCutsWhoStays(t *testing.T) {
	s := newServer(t, nil)
	s.store.hold = make(chan struct{}) // never given free
	s.listen(t, gate.ImplicitTLS)
	c := newClient(t, s.dial(t))
	c.login()
	c.envelope(office, other)
	c.send(stuff(header + "\r\n"))
	s.stop(t) // returns, and goleak finds nobody waiting
	if n := len(s.store.all()); n != 0 {
		t.Errorf("%d committed", n)
	}
}

func TestA9_SizeLimitIsExact(t *testing.T) {
	const limit = 100_000
	s := newServer(t, func(o *Options) { o.MaxSize = limit })
	p := s.pipes(t)
	for i, tt := range []struct {
		size int
		want string
	}{{limit - 1, "250 "}, {limit, "250 "}, {limit + 1, "552-5.3.4 "}, {2 * limit, "552-5.3.4 "}} {
		c := newClient(t, p.dial(i))
		c.login()
		c.envelope(office, other)
		m := header + "\r\n"
		m += "." + strings.Repeat("x", tt.size-len(m)-3) + "\r\n" // the dot of transparency does not count
		c.send(stuff(m))
		if got := c.reply(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%d octets: %q", tt.size, got)
		}
		c.do(fmt.Sprintf("MAIL FROM:<%s> SIZE=%d", office, tt.size), tt.want[:3])
		c.c.Close()
	}
	if n := len(s.store.all()); n != 2 {
		t.Errorf("%d committed", n)
	}
	// Nobody reads a flood to its end.
	c := newClient(t, p.dial(10))
	c.login()
	c.envelope(office, other)
	go func() {
		line := strings.Repeat("x", 998) + "\r\n"
		if _, err := io.WriteString(c.c, header+"\r\n"); err != nil {
			return
		}
		for range 4 * limit {
			if _, err := io.WriteString(c.c, line); err != nil {
				return
			}
		}
		t.Error("all of it was read")
	}()
	if got := c.reply(); !strings.HasPrefix(got, "552 5.3.4 ") {
		t.Errorf("flood: %q", got)
	}
	c.ended()
	c.c.Close()
}

func TestA10_ManyRecipients(t *testing.T) {
	s := newServer(t, nil)
	p := s.pipes(t)
	c := newClient(t, p.dial(1))
	c.login()
	c.do("MAIL FROM:<protocollo@pec.example.org>", "250 ") // without a limit of its own
	var refused []string
	for i := range 10_000 {
		c.send(fmt.Sprintf("RCPT TO:<r%d@pec.example.net>\r\n", i))
		if got := c.reply(); !strings.HasPrefix(got, "250 ") {
			refused = append(refused, got[:len("452-4.5.3 ")])
		}
	}
	if slices.Sort(refused); len(refused) != 9000 || refused[0] != "452-4.5.3 " || refused[8999] != "452-4.5.3 " {
		t.Errorf("%d refused", len(refused))
	}
	c.do("DATA", "554 5.5.1 ")
	c.do("RSET", "250 ")
	c.do("MAIL FROM:<"+office+">", "250 ")
	c.do("RCPT TO:<"+other+">", "250 ")
	for range maxDuplicates {
		c.do("RCPT TO:<"+other+">", "250 ")
	}
	c.do("RCPT TO:<"+other+">", "452-4.5.3 ")
	c.c.Close()
}

// TestA18_SlowMessage: ten octets a second are cut by the pace, not by silence.
func TestA18_SlowMessage(t *testing.T) {
	s := newServer(t, nil)
	asked := make(chan int64, 10)
	us, them := net.Pipe()
	l := &paced{pipeLink: pipeLink{remote: "192.0.2.1"}, asked: asked}
	l.pipeLink.Conn = wrapped(us)
	p := s.pipes(t)
	p.c <- s.filter(l)
	c := newClient(t, them)
	c.login()
	c.envelope(office, other)
	c.send(stuff(header + "\r\n"))
	c.reply()
	c.send("NO")
	c.send("OP\r\n")
	c.reply()
	them.Close()
	s.stop(t)
	close(asked)
	var got []int64
	for r := range asked {
		got = append(got, r)
	}
	if !slices.Equal(got, []int64{dataPace, 0, commandPace, 0}) {
		t.Errorf("paces asked: %v", got)
	}
}

// paced notes what pace is asked of a client.
type paced struct {
	pipeLink
	asked chan int64
}

func (p *paced) Expect(rate int64, _ time.Duration) { p.asked <- rate }
