package imapd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak" // no goroutine outlives a test

	"pecgate/gateway/auth"
	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

const (
	protocollo = "protocollo@pec.example.org"
	privata    = "direzione@pec.example.org" // of lucia only
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// testPolicy is mario, who sends and receives for one mailbox, lucia, who has
// all rights on two, and ugo, who only sends.
func testPolicy() *policy.Policy {
	return &policy.Policy{
		Users: []policy.User{{Login: "mario"}, {Login: "lucia"}, {Login: "ugo"}},
		Mailboxes: []policy.Mailbox{
			{Address: protocollo, Active: true, ReceiptsTo: "sender", Admin: "lucia", Members: []policy.Member{
				{User: "mario", Send: true, Receive: true},
				{User: "lucia", Send: true, Receive: true, Anomalies: true},
				{User: "ugo", Send: true},
			}},
			{Address: privata, Active: true, ReceiptsTo: "both", Members: []policy.Member{
				{User: "lucia", Send: true, Receive: true, Anomalies: true},
			}},
		},
	}
}

// house is a running service on a store of its own.
type house struct {
	t      testing.TB
	dir    string
	store  *mailbox.Store
	srv    *Server
	ln     *pipeListener
	served chan error
	policy atomic.Pointer[policy.Policy]
	log    *logBuffer
	people map[string]mailbox.Person
	every  time.Duration // of the watch
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newHouse(t testing.TB, change ...func(*Options)) *house {
	t.Helper()
	return newHouseWatching(t, 20*time.Millisecond, change...)
}

// newHouseWatching is newHouse with a watch of its own pace.
func newHouseWatching(t testing.TB, every time.Duration, change ...func(*Options)) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), log: &logBuffer{}, people: map[string]mailbox.Person{}, every: every}
	h.policy.Store(testPolicy())
	h.open(change...)
	t.Cleanup(h.close)
	return h
}

func (h *house) open(change ...func(*Options)) {
	h.t.Helper()
	store, err := mailbox.Open(mailbox.Options{Dir: h.dir})
	if err != nil {
		h.t.Fatal(err)
	}
	h.store = store
	for _, login := range []string{"mario", "lucia", "ugo"} {
		if h.people[login], err = store.Person(context.Background(), login); err != nil {
			h.t.Fatal(err)
		}
	}
	o := Options{
		Store: store, Policy: h.policy.Load, Location: time.UTC,
		Occupied: func(string) Occupied { return Occupied{Used: 900 << 10, Limit: 1000 << 10, Known: true} },
		Events:   events.New(slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		Login: func(_ context.Context, name, password, _ string) (auth.Entry, error) {
			id, ok := h.policy.Load().Resolve(name)
			if !ok || password != "secret" {
				return auth.Entry{}, auth.ErrRefused
			}
			return auth.Entry{Identity: id}, nil
		},
	}
	for _, c := range change {
		c(&o)
	}
	h.srv = New(o)
	if h.every > 0 {
		h.srv.every = h.every
	}
	h.ln = newPipeListener()
	h.served = make(chan error, 1)
	srv, ln, served := h.srv, h.ln, h.served
	go func() { served <- srv.Serve(ln) }()
}

// shut stops the service and the store.
func (h *house) shut() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := h.srv.Shutdown(ctx); err != nil {
		h.t.Errorf("Shutdown: %v", err)
	}
	if err := <-h.served; err != nil && err != ErrClosed {
		h.t.Errorf("Serve: %v", err)
	}
	if err := h.store.Close(); err != nil {
		h.t.Errorf("Close: %v", err)
	}
}

func (h *house) close() {
	h.shut()
	for line := range strings.Lines(h.log.String()) {
		if strings.Contains(line, "connection panic") || strings.Contains(line, "IMAP command failed") {
			h.t.Errorf("the log tells of a fault: %s", line)
		}
	}
}

// deliver files a message and returns its UID.
func (h *house) deliver(k mailbox.FolderKey, raw string, how mailbox.Filing) mailbox.UID {
	h.t.Helper()
	ctx := context.Background()
	in, err := h.store.Begin(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := io.WriteString(in, raw); err != nil {
		h.t.Fatal(err)
	}
	st, err := in.Store(ctx, mailbox.Origin{Box: k.Box, Direction: mailbox.In, Date: time.Date(2026, 3, 5, 10, 30, 0, 0, time.UTC)})
	if err != nil {
		h.t.Fatal(err)
	}
	defer st.Close()
	var uid mailbox.UID
	_, err = h.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		var err error
		_, uid, err = tx.File(k, m, how)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return uid
}

func shared1(role mailbox.Role) mailbox.FolderKey {
	return mailbox.FolderKey{Box: protocollo, Role: role}
}

// furnish puts the same messages into every test's store.
func (h *house) furnish() {
	h.t.Helper()
	for _, raw := range []string{plainMail, mixedMail, pecMail} {
		h.deliver(shared1(mailbox.RoleInbox), raw, mailbox.Filing{})
	}
	mario, lucia := h.people["mario"], h.people["lucia"]
	h.deliver(shared1(mailbox.RoleSent), mail("<s1@pec.example.org>", "di mario"), mailbox.Filing{Audience: mario, Seen: true, Keywords: []string{"$PecAccepted"}})
	h.deliver(shared1(mailbox.RoleSent), mail("<s2@pec.example.org>", "di lucia"), mailbox.Filing{Audience: lucia, Seen: true})
	h.deliver(shared1(mailbox.RoleAcceptance), mail("<a1@pec.example.org>", "ACCETTAZIONE: di mario"), mailbox.Filing{Audience: mario})
	h.deliver(shared1(mailbox.RoleAcceptance), mail("<a2@pec.example.org>", "ACCETTAZIONE: di lucia"), mailbox.Filing{Audience: lucia})
	h.deliver(shared1(mailbox.RoleAcceptance), mail("<a3@pec.example.org>", "ACCETTAZIONE: di nessuno"), mailbox.Filing{})
	h.deliver(shared1(mailbox.RoleAnomalies), mail("<x1@pec.example.org>", "ANOMALIA"), mailbox.Filing{})
	h.deliver(mailbox.FolderKey{Box: privata, Role: mailbox.RoleInbox}, mail("<p1@pec.example.org>", "riservata"), mailbox.Filing{})
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func mail(id, subject string) string {
	return crlf("From: a@pec.example.org\nTo: b@pec.example.org\nSubject: " + subject +
		"\nDate: Thu, 05 Mar 2026 10:29:00 +0100\nMessage-ID: " + id + "\n\nTesto di prova.\n")
}

var plainMail = mail("<m1@pec.example.org>", "Prima")

var mixedMail = crlf(`From: "Rossi, Mario" <rossi@pec.example.org>
To: protocollo@pec.example.org
Cc: =?utf-8?q?Societ=C3=A0?= <cc@example.com>
Subject: =?utf-8?b?RmF0dHVyYSBwZXIgcXVhbGl0w6A=?=
Date: Wed, 04 Mar 2026 23:30:00 +0100
Message-ID: <m2@pec.example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b1"

--b1
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Perch=E9 no? Ci vediamo luned=EC.
--b1
Content-Type: application/pdf; name="fattura.pdf"
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename="fattura.pdf"

JVBERi0xLjQKZmF0dHVyYQo=
--b1--
`)

var pecMail = crlf(`From: "Per conto di: altri@pec.example.net" <posta-certificata@gestore.example.net>
To: protocollo@pec.example.org
Subject: POSTA CERTIFICATA: Richiesta
Date: Thu, 05 Mar 2026 11:00:00 +0100
Message-ID: <m3@gestore.example.net>
X-Trasporto: posta-certificata
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

--outer
Content-Type: text/plain; charset=utf-8

Messaggio di posta certificata
--outer
Content-Type: message/rfc822; name="postacert.eml"
Content-Disposition: attachment; filename="postacert.eml"

From: altri@pec.example.net
To: protocollo@pec.example.org
Subject: Richiesta
Message-ID: <inner@pec.example.net>
Content-Type: multipart/alternative; boundary="inner"

--inner
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

UGFyb2xhIG5hc2Nvc3RhOiBwYXBhdmVybw==
--inner
Content-Type: text/html

<p>papavero</p>
--inner--
--outer--
`)

// pipeListener hands out in-process connections.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// dial gives the client's end of a new connection.
func (l *pipeListener) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// inflow reads a connection all the time, as a socket's buffer does: a pipe has
// none.
type inflow struct {
	mu   sync.Mutex
	more *sync.Cond
	b    []byte
	err  error
	done chan struct{}
}

func newInflow(conn net.Conn) *inflow {
	in := &inflow{done: make(chan struct{})}
	in.more = sync.NewCond(&in.mu)
	go func() {
		defer close(in.done)
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			in.mu.Lock()
			in.b = append(in.b, buf[:n]...)
			in.err = err
			in.more.Broadcast()
			in.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return in
}

func (in *inflow) Read(p []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.b) == 0 && in.err == nil {
		in.more.Wait()
	}
	if len(in.b) == 0 {
		return 0, in.err
	}
	n := copy(p, in.b)
	in.b = in.b[n:]
	return n, nil
}

// client speaks lines.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	n    int
}

func (h *house) connect() *client {
	h.t.Helper()
	conn, err := h.ln.dial()
	if err != nil {
		h.t.Fatal(err)
	}
	// Only a test that hangs meets it.
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	in := newInflow(conn)
	c := &client{t: h.t, conn: conn, r: bufio.NewReader(in)}
	h.t.Cleanup(func() {
		_ = conn.Close()
		<-in.done
	})
	if line := c.read(); !strings.HasPrefix(line, "* OK [CAPABILITY ") {
		h.t.Fatalf("greeting: %q", line)
	}
	return c
}

func (h *house) login(name string) *client {
	h.t.Helper()
	c := h.connect()
	c.ok("LOGIN " + name + " secret")
	return c
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		rest, _ := io.ReadAll(c.r)
		c.t.Fatalf("send: %v after %q", err, rest)
	}
}

func (c *client) read() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read after %q: %v", line, err)
	}
	return strings.TrimRight(line, "\r\n")
}

// cmd sends a command and returns the untagged lines and the tagged answer
// without its tag. Literals in answers come as lines.
func (c *client) cmd(s string) (lines []string, answer string) {
	c.t.Helper()
	c.n++
	tag := fmt.Sprintf("t%d", c.n)
	c.send(tag + " " + s + "\r\n")
	return c.until(tag)
}

func (c *client) until(tag string) (lines []string, answer string) {
	c.t.Helper()
	for {
		line := c.read()
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			return lines, rest
		}
		lines = append(lines, line)
	}
}

func (c *client) ok(s string) []string {
	c.t.Helper()
	lines, answer := c.cmd(s)
	if !strings.HasPrefix(answer, "OK") {
		c.t.Fatalf("%s: %s", s, answer)
	}
	return lines
}

// gone expects a BYE, nothing behind it, and the end.
func (c *client) gone() string {
	c.t.Helper()
	bye := ""
	for {
		line, err := c.r.ReadString('\n')
		if bye != "" && line != "" {
			c.t.Errorf("behind %q came %q", bye, line)
		}
		if strings.HasPrefix(line, "* BYE") {
			bye = strings.TrimSpace(line)
		}
		if err != nil {
			if bye == "" {
				c.t.Errorf("the connection ended without BYE: %v", err)
			}
			return bye
		}
	}
}
