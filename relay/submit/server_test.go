package submit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
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
	password = "corretto-cavallo=="
)

var authority = sync.OnceValue(func() *upstreamtest.CA {
	return upstreamtest.NewCA(&testing.T{}, "Test root")
})

// mail is one message a provider has accepted.
type mail struct {
	from string
	to   []string
	data []byte
}

// provider is an SMTP server whose answers a test may change.
type provider struct {
	ln    net.Listener
	tls   *tls.Config
	plain bool     // begin without TLS, offer STARTTLS
	offer []string // EHLO lines
	// on may answer a command (upper-case verb, whole line) in its own way;
	// "" means the usual answer. Verbs besides commands: GREETING, DOT.
	on func(c *conn, verb, line string) string
	// login answers AUTH in its own way.
	login func(c *conn, line string) string
	// read reads DATA; nil is the strict reader.
	read func(r *bufio.Reader) ([]byte, error)

	once   sync.Once
	wg     sync.WaitGroup
	mu     sync.Mutex
	mails  []mail
	logins int      // AUTH commands and answers to 334 seen
	lines  []string // all command lines
}

// conn is one connection in the hands of a provider.
type conn struct {
	net.Conn
	r      *bufio.Reader
	secure bool
	from   string
	to     []string
}

func newProvider(t testing.TB) *provider {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{
		ln:    ln,
		tls:   &tls.Config{Certificates: []tls.Certificate{authority().Server(t, nil)}},
		offer: []string{"SIZE 1000000", "8BITMIME", "AUTH PLAIN LOGIN"},
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

// stop takes no more connections and waits for those there are.
func (p *provider) stop() {
	p.ln.Close()
	p.wg.Wait()
}

// server is the client's view of the provider.
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
		Host: upstreamtest.Host, Port: 465, Security: "tls", Roots: authority().Roots(),
		Username: user, Password: password, Hello: "gateway.test",
		Timeout: 10 * time.Second, DotTimeout: 10 * time.Second,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
		},
	}
}

func (p *provider) accepted() []mail {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]mail(nil), p.mails...)
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

func (p *provider) serve(raw net.Conn) {
	c := &conn{Conn: raw, r: bufio.NewReader(raw)}
	if !p.plain {
		if err := p.secure(c); err != nil {
			return
		}
	}
	if !p.answer(c, "GREETING", "", "220 provider.test ready") {
		return
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		p.mu.Lock()
		p.lines = append(p.lines, line)
		p.mu.Unlock()
		if !p.command(c, line) {
			return
		}
	}
}

func (p *provider) secure(c *conn) error {
	tc := tls.Server(c.Conn, p.tls)
	if err := tc.Handshake(); err != nil {
		return err
	}
	c.Conn, c.r, c.secure = tc, bufio.NewReader(tc), true
	return nil
}

// answer sends the test's answer or else the usual one; false ends.
func (p *provider) answer(c *conn, verb, line, usual string) bool {
	if p.on != nil {
		if own := p.on(c, verb, line); own != "" {
			usual = own
		}
	}
	if usual == "close" {
		return false
	}
	_, err := io.WriteString(c, usual+"\r\n")
	return err == nil && !strings.HasPrefix(usual, "421")
}

func (p *provider) command(c *conn, line string) bool {
	verb := strings.ToUpper(strings.Fields(line + " x")[0])
	switch verb {
	case "EHLO":
		offer := append([]string{"provider.test"}, p.offer...)
		if p.plain && !c.secure {
			offer = append(offer, "STARTTLS")
		}
		return p.answer(c, verb, line, "250-"+strings.Join(offer[:len(offer)-1], "\r\n250-")+"\r\n250 "+offer[len(offer)-1])
	case "STARTTLS":
		if !p.answer(c, verb, line, "220 go") {
			return false
		}
		return p.secure(c) == nil
	case "AUTH":
		return p.auth(c, line)
	case "MAIL":
		c.from, c.to = path(line), nil
		return p.answer(c, verb, line, "250 2.1.0 ok")
	case "RCPT":
		c.to = append(c.to, path(line))
		return p.answer(c, verb, line, "250 2.1.5 ok")
	case "DATA":
		return p.data(c, line)
	case "QUIT":
		p.answer(c, verb, line, "221 bye")
		return false
	default:
		return p.answer(c, verb, line, "250 ok")
	}
}

func path(line string) string {
	_, rest, _ := strings.Cut(line, "<")
	addr, _, _ := strings.Cut(rest, ">")
	return addr
}

func (p *provider) auth(c *conn, line string) bool {
	p.mu.Lock()
	p.logins++
	p.mu.Unlock()
	if p.login != nil {
		return p.answer(c, "-", "", p.login(c, line))
	}
	good := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	ok := strings.HasSuffix(line, good)
	if strings.EqualFold(line, "AUTH LOGIN") {
		ok = true
		for _, want := range []string{user, password} {
			fmt.Fprintf(c, "334 \r\n")
			got, err := c.r.ReadString('\n')
			if err != nil {
				return false
			}
			ok = ok && strings.TrimSpace(got) == base64.StdEncoding.EncodeToString([]byte(want))
		}
	}
	if !ok {
		return p.answer(c, "AUTH", line, "535 5.7.8 wrong")
	}
	return p.answer(c, "AUTH", line, "235 2.7.0 ok")
}

func (p *provider) data(c *conn, line string) bool {
	custom := ""
	if p.on != nil {
		custom = p.on(c, "DATA", line)
	}
	if custom != "" {
		return p.answer(c, "-", "", custom)
	}
	if _, err := io.WriteString(c, "354 go ahead\r\n"); err != nil {
		return false
	}
	read := p.read
	if read == nil {
		read = strictData
	}
	data, err := read(c.r)
	if err != nil {
		return false
	}
	reply := ""
	if p.on != nil {
		reply = p.on(c, "DOT", "")
	}
	if reply == "" || reply[0] == '2' {
		p.mu.Lock()
		p.mails = append(p.mails, mail{c.from, c.to, data})
		p.mu.Unlock()
	}
	return p.answer(c, "-", "", orElse(reply, "250 2.0.0 queued as 7F"))
}

func orElse(s, usual string) string {
	if s == "" {
		return usual
	}
	return s
}

var errTorn = errors.New("torn")

// strictData reads up to CRLF.CRLF and takes stuffed dots off.
func strictData(r *bufio.Reader) ([]byte, error) { return dataUntil(r, "\r\n.\r\n") }

// dataUntil reads until one of the ends is seen; stuffed dots after CRLF go.
func dataUntil(r *bufio.Reader, ends ...string) ([]byte, error) {
	raw := []byte("\r\n") // so that a dot on the first line is on a line
	for {
		b, err := r.ReadByte()
		if err != nil {
			return raw, errTorn
		}
		raw = append(raw, b)
		for _, end := range ends {
			if bytes.HasSuffix(raw, []byte(end)) {
				body := raw[:len(raw)-len(end)+strings.IndexByte(end, '.')]
				body = bytes.ReplaceAll(body, []byte("\r\n.."), []byte("\r\n."))
				return body[2:], nil
			}
		}
	}
}

// text is a Body in memory.
type text string

func (b text) Size() int64 { return int64(len(b)) }

func (b text) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(b)).ReadAt(p, off)
}

const hello text = "From: a@pec.test\r\nSubject: x\r\n\r\n.\r\n..\r\n.dot\r\nend\r\n"
