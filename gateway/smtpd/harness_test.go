package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak" // finds goroutines that nobody waited for

	"pecgate/gateway/auth"
	"pecgate/gateway/gate"
	"pecgate/gateway/gate/gatetest"
	"pecgate/mailbox/events"
	"pecgate/mailbox/netconn"
	"pecgate/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	pin      = "914273"
	password = "correct horse"
)

// taken is one committed submission.
type taken struct {
	Submission
	data []byte
	held Lack

	proved bool
}

// memory is an Intake that keeps what was committed.
type memory struct {
	ready atomic.Pointer[error]

	mu     sync.Mutex
	opened int
	gone   int // deliveries ended, one way or the other
	got    []taken
	known  Receipt       // what every delivery repeats
	forget bool          // keep nothing, for benchmarks
	fail   error         // of Commit
	hold   chan struct{} // Commit waits for it
}

func (m *memory) Ready(context.Context) error {
	if e := m.ready.Load(); e != nil {
		return *e
	}
	return nil
}

func (m *memory) Begin(_ context.Context, s Submission) (Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened++
	return &parcel{m: m, s: s}, nil
}

func (m *memory) all() []taken {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]taken(nil), m.got...)
}

type parcel struct {
	m    *memory
	s    Submission
	data bytes.Buffer
	held Lack
	done bool

	proved bool
}

func (p *parcel) Write(b []byte) (int, error) {
	if p.m.forget {
		return len(b), nil
	}
	return p.data.Write(b)
}

func (p *parcel) Known(context.Context) (Receipt, error) { return p.m.known, nil }
func (p *parcel) Hold(why Lack)                          { p.held = why }
func (p *parcel) Proved()                                { p.proved = true }

func (p *parcel) Commit(ctx context.Context) (Receipt, error) {
	if p.m.hold != nil {
		select {
		case <-p.m.hold:
		case <-ctx.Done():
			return Receipt{}, ctx.Err()
		}
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.m.fail != nil {
		return Receipt{}, p.m.fail
	}
	p.done = true
	p.m.gone++
	if p.m.forget {
		return Receipt{ID: "id"}, nil
	}
	p.m.got = append(p.m.got, taken{p.s, p.data.Bytes(), p.held, p.proved})
	return Receipt{ID: fmt.Sprintf("id%d", len(p.m.got)), Held: p.held != ""}, nil
}

func (p *parcel) Abort() {
	if !p.done {
		p.done = true
		p.m.mu.Lock()
		p.m.gone++
		p.m.mu.Unlock()
	}
}

// hashes are made once: each costs a few milliseconds under the race detector.
var hashes = sync.OnceValues(func() ([2]string, error) {
	cost := auth.Cost{Time: 1, Memory: 8, Threads: 1}
	a, err1 := auth.HashSecretCost(password, cost)
	b, err2 := auth.HashSecretCost(pin, cost)
	return [2]string{a, b}, errors.Join(err1, err2)
})

func people(t testing.TB) *policy.Policy {
	t.Helper()
	h, err := hashes()
	if err != nil {
		t.Fatal(err)
	}
	send := policy.Member{User: "mario", Send: true, Receive: true}
	return &policy.Policy{
		Users: []policy.User{
			{Login: "mario", Email: "mario.rossi@example.org", Password: h[0], PIN: h[1]},
			{Login: "lucia", Password: h[0], PIN: h[1]},
		},
		Mailboxes: []policy.Mailbox{
			{Address: "protocollo@pec.example.org", Active: true, PINRequired: true, Receipt: "complete", Members: []policy.Member{send}},
			{Address: "ufficio@pec.example.org", Active: true, Receipt: "brief", Recipients: 3, Members: []policy.Member{send, {User: "lucia", Receive: true}}},
			{Address: "spento@pec.example.org", Receipt: "complete", Members: []policy.Member{send}},
			{Address: "scaduto@pec.example.org", Active: true, Members: []policy.Member{{User: "mario", Send: true, Expires: time.Unix(1, 0)}}},
		},
	}
}

// server is a running one; the fields may be used from the test's goroutine.
type server struct {
	*Server
	store *memory
	log   *lockedBuffer
	wg    sync.WaitGroup
	gate  *gate.Listener
	pool  *x509.CertPool
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newServer(t testing.TB, change func(*Options)) *server {
	t.Helper()
	p := people(t)
	s := &server{store: &memory{}, log: &lockedBuffer{}}
	ev := events.New(slog.New(slog.NewJSONHandler(s.log, nil)))
	o := Options{
		Hostname: "pecgate.example.org", MaxSize: 1 << 20,
		Policy: func() *policy.Policy { return p }, Intake: s.store, Events: ev,
		Auth: auth.New(auth.Options{Policy: func() *policy.Policy { return p }, Events: ev}),
	}
	if change != nil {
		change(&o)
	}
	var err error
	if s.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	return s
}

// listen opens the server to TCP.
func (s *server) listen(t testing.TB, mode gate.Mode) {
	t.Helper()
	cert, pool := gatetest.Certificate(t)
	l, err := gate.Listen(t.Context(), gate.Options{
		Name: "submission", Address: "127.0.0.1:0", Mode: mode, Hostname: "pecgate.example.org",
		Certificate: cert, Filter: s.Filter, Events: s.opt.Events,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.gate, s.pool = l, pool
	s.serve(t, l)
}

func (s *server) serve(t testing.TB, l net.Listener) {
	s.wg.Go(func() {
		if err := s.Serve(l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() { s.stop(t) })
}

func (s *server) stop(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if s.gate != nil {
		s.gate.Drain(ctx)
	}
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	s.wg.Wait()
}

func (s *server) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", s.gate.Addr().String(), &tls.Config{ServerName: "127.0.0.1", RootCAs: s.pool})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pipes is a listener for connections in the process.
type pipes struct {
	s    *server
	c    chan net.Conn
	done chan struct{}
	once sync.Once
}

func (s *server) pipes(t testing.TB) *pipes {
	p := &pipes{s: s, c: make(chan net.Conn), done: make(chan struct{})}
	s.serve(t, p)
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.c:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// dial returns the client's end; n tells callers apart for the throttle.
func (p *pipes) dial(n int) net.Conn {
	us, them := net.Pipe()
	p.c <- p.s.filter(&pipeLink{Conn: netconn.Wrap(us, netconn.Options{}), remote: fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255)})
	return them
}

type pipeLink struct {
	*netconn.Conn
	remote string
}

func (l *pipeLink) Remote() string { return l.remote }
func (l *pipeLink) Upgraded() bool { return false }
func (l *pipeLink) LoggedIn()      {}
func (l *pipeLink) Draining() bool { return false }
func (l *pipeLink) OnDrain(func()) {}
func (l *pipeLink) Interrupt()     {}

// client is the other end of a conversation.
type client struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader
}

func newClient(t testing.TB, c net.Conn) *client {
	_ = c.SetDeadline(time.Now().Add(60 * time.Second)) // a test that hangs shall fail by itself
	return &client{t: t, c: c, r: bufio.NewReader(c)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.c, s); err != nil {
		c.t.Fatalf("send %.60q: %v", s, err)
	}
}

// reply reads one reply, all its lines.
func (c *client) reply() string {
	c.t.Helper()
	s, err := c.tryReply()
	if err != nil {
		c.t.Fatalf("reply: %q, %v", s, err)
	}
	return s
}

func (c *client) tryReply() (string, error) {
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		all.WriteString(line)
		if err != nil || len(line) < 4 || line[3] != '-' {
			return all.String(), err
		}
	}
}

// do sends a command and wants a reply that begins so.
func (c *client) do(cmd, want string) string {
	c.t.Helper()
	c.send(cmd + "\r\n")
	got := c.reply()
	if !strings.HasPrefix(got, want) {
		c.t.Fatalf("%.80q answered %q, want %s", cmd, got, want)
	}
	return got
}

// ended wants the server to close without another word.
func (c *client) ended() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); len(b) > 0 || err != nil && !errors.Is(err, io.ErrClosedPipe) {
		c.t.Errorf("not ended: %q, %v", b, err)
	}
}

func (c *client) login() {
	c.t.Helper()
	if got := c.reply(); !strings.HasPrefix(got, "220 ") {
		c.t.Fatalf("greeting %q", got)
	}
	c.do("EHLO client.example.org", "250-")
	c.do("AUTH PLAIN "+b64("\x00mario\x00"+password), "235 ")
}

// envelope goes up to the 354.
func (c *client) envelope(from string, to ...string) {
	c.t.Helper()
	c.do("MAIL FROM:<"+from+">", "250 ")
	for _, r := range to {
		c.do("RCPT TO:<"+r+">", "250 ")
	}
	c.do("DATA", "354 ")
}

const (
	office = "ufficio@pec.example.org" // needs no PIN
	other  = "destinatario@pec.example.net"
	// header is a good one for office and other, without its blank line.
	header = "From: Ufficio <" + office + ">\r\nTo: " + other + "\r\nSubject: prova\r\n" +
		"Date: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@client.example.org>\r\nX-TipoRicevuta: breve\r\n"
)

// stuff makes a message fit for DATA, with the end mark. The message ends in
// CRLF.
func stuff(message string) string {
	s := strings.ReplaceAll(message, "\r\n.", "\r\n..")
	if strings.HasPrefix(s, ".") {
		s = "." + s
	}
	return s + ".\r\n"
}
