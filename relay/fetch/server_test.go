package fetch

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak" // no connection may leave a goroutine behind

	"pecgate/relay/upstream/upstreamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user     = "M1234567"
	password = `corretto "cavallo" \==`
	date     = `"17-Jul-2026 02:44:25 +0200"`
)

var authority = sync.OnceValue(func() *upstreamtest.CA {
	return upstreamtest.NewCA(&testing.T{}, "Test root")
})

// provider is an IMAP server whose answers a test may change.
type provider struct {
	ln       net.Listener
	tls      *tls.Config
	plain    bool   // begin without TLS
	greeting string // instead of * OK
	caps     string
	validity uint32
	uidNext  uint32 // 0: told as it is
	// on may answer a command in its own way; false means the usual answer.
	on func(c *conn, tag, cmd string) bool

	once     sync.Once
	wg       sync.WaitGroup
	mu       sync.Mutex
	messages map[uint32]string
	logins   int
	lines    []string
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

func (c *conn) say(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }

func newProvider(t testing.TB, messages map[uint32]string) *provider {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{
		ln:       ln,
		tls:      &tls.Config{Certificates: []tls.Certificate{authority().Server(t, nil)}},
		greeting: "* OK ready",
		caps:     "IMAP4rev1 IDLE AUTH=PLAIN",
		validity: 7,
		messages: messages,
	}
	t.Cleanup(p.stop)
	return p
}

// run accepts connections, once the test has said how to answer them.
func (p *provider) run() {
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		for {
			c, err := p.ln.Accept()
			if err != nil {
				return
			}
			p.wg.Add(1)
			go func() {
				defer p.wg.Done()
				defer c.Close()
				p.serve(c)
			}()
		}
	}()
}

func (p *provider) stop() {
	p.ln.Close()
	p.wg.Wait()
}

func (p *provider) server() Server {
	p.once.Do(p.run)
	srv := serverAt(p.ln)
	if p.plain {
		srv.Security = "starttls"
	}
	return srv
}

// serverAt is the client's view of whatever listens at ln.
func serverAt(ln net.Listener) Server {
	return Server{
		Host: upstreamtest.Host, Port: 993, Security: "tls", Roots: authority().Roots(),
		Username: user, Password: password, Timeout: 10 * time.Second,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
		},
	}
}

// dial logs in and closes at the end of the test.
func (p *provider) dial(t testing.TB) *Session {
	t.Helper()
	return p.dialAs(t, p.server())
}

func (p *provider) dialAs(t testing.TB, srv Server) *Session {
	t.Helper()
	s, err := Dial(t.Context(), srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (p *provider) loginsSeen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logins
}

func (p *provider) seen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

func (p *provider) uids() []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var uids []uint32
	for uid := range p.messages {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return uids
}

func (p *provider) message(uid uint32) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.messages[uid]
	return m, ok
}

func (p *provider) set(uid uint32, m string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages[uid] = m
}

func (p *provider) remove(uid uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.messages, uid)
}

func (p *provider) secure(c *conn) bool {
	tc := tls.Server(c.Conn, p.tls)
	c.Conn, c.r = tc, bufio.NewReader(tc)
	return tc.Handshake() == nil
}

func (p *provider) serve(raw net.Conn) {
	c := &conn{Conn: raw, r: bufio.NewReader(raw)}
	if !p.plain && !p.secure(c) {
		return
	}
	c.say("%s", p.greeting)
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		tag, cmd, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		p.mu.Lock()
		p.lines = append(p.lines, cmd)
		if strings.HasPrefix(cmd, "LOGIN") || strings.HasPrefix(cmd, "AUTHENTICATE") {
			p.logins++
		}
		p.mu.Unlock()
		if p.on != nil && p.on(c, tag, cmd) {
			continue
		}
		if !p.command(c, tag, cmd) {
			return
		}
	}
}

func (p *provider) command(c *conn, tag, cmd string) bool {
	verb, args, _ := strings.Cut(cmd, " ")
	bySeq := verb == "FETCH"
	if verb == "UID" {
		verb, args, _ = strings.Cut(args, " ")
	}
	switch verb {
	case "CAPABILITY":
		c.say("* CAPABILITY %s\r\n%s OK", p.caps, tag)
	case "STARTTLS":
		c.say("%s OK go", tag)
		return p.secure(c)
	case "LOGIN":
		c.say("%s %s", tag, p.verdict(args == `"M1234567" "corretto \"cavallo\" \\=="`))
	case "AUTHENTICATE":
		c.say("+ ")
		got, _ := c.r.ReadString('\n')
		raw, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(got))
		c.say("%s %s", tag, p.verdict(strings.HasSuffix(string(raw), "è"+password)))
	case "EXAMINE":
		uids := p.uids()
		next := p.uidNext
		if next == 0 && len(uids) > 0 {
			next = uids[len(uids)-1] + 1
		}
		c.say("* FLAGS (\\Seen)\r\n* %d EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY %d] ok\r\n* OK [UIDNEXT %d] ok\r\n* OK [PERMANENTFLAGS ()] no\r\n%s OK [READ-ONLY] done",
			len(uids), p.validity, next, tag)
	case "FETCH":
		set, items, _ := strings.Cut(args, " ")
		all := p.uids()
		for i, uid := range all {
			if bySeq && inSet(set, uint32(i+1), all) || !bySeq && inSet(set, uid, all) {
				p.give(c, i+1, uid, items)
			}
		}
		c.say("%s OK fetched", tag)
	case "SEARCH":
		hit := "* SEARCH"
		for _, uid := range p.uids() {
			m, _ := p.message(uid)
			if strings.Contains(args, `HEADER "Message-ID" "`) && strings.Contains(m, strings.Split(args, `"`)[3]) {
				hit += fmt.Sprintf(" %d", uid)
			}
		}
		c.say("%s\r\n%s OK", hit, tag)
	case "IDLE":
		c.say("+ idling")
		if line, err := c.r.ReadString('\n'); err != nil || strings.TrimSpace(line) != "DONE" {
			return false
		}
		c.say("%s OK", tag)
	case "LOGOUT":
		c.say("* BYE\r\n%s OK", tag)
		return false
	default:
		c.say("%s BAD %s", tag, verb)
	}
	return true
}

func (p *provider) verdict(ok bool) string {
	if ok {
		return "OK welcome"
	}
	return "NO [AUTHENTICATIONFAILED] wrong"
}

// give answers one message to FETCH.
func (p *provider) give(c *conn, seq int, uid uint32, items string) {
	m, _ := p.message(uid)
	if strings.Contains(items, "BODY.PEEK[]") {
		fmt.Fprintf(c, "* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", seq, uid, len(m), m)
		return
	}
	fmt.Fprintf(c, "* %d FETCH (UID %d RFC822.SIZE %d INTERNALDATE %s)\r\n", seq, uid, len(m), date)
}

func inSet(set string, uid uint32, all []uint32) bool {
	lo, hi, isRange := strings.Cut(set, ":")
	first, _ := strconv.ParseUint(lo, 10, 32)
	last := first
	if hi == "*" {
		last = uint64(all[len(all)-1])
	} else if isRange {
		last, _ = strconv.ParseUint(hi, 10, 32)
	}
	if first > last {
		first, last = last, first
	}
	return uint64(uid) >= first && uint64(uid) <= last
}

// got is a message as a callback had it.
type got struct {
	uid     uint32
	body    string
	problem error
}

// keep is a callback that keeps all.
func keep(into *[]got) func(context.Context, Item) error {
	return func(_ context.Context, it Item) error {
		if it.Problem != nil {
			*into = append(*into, got{uid: it.UID, problem: it.Problem})
			return nil
		}
		b, err := io.ReadAll(it.Body)
		if err != nil {
			return err
		}
		if int64(len(b)) != it.Size {
			return fmt.Errorf("%d bytes of %d and no error", len(b), it.Size)
		}
		*into = append(*into, got{uid: it.UID, body: string(b)})
		return nil
	}
}

func numbers(list []got) []uint32 {
	var uids []uint32
	for _, g := range list {
		uids = append(uids, g.uid)
	}
	return uids
}
