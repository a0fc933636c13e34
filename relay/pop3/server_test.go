package pop3

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak" // no connection may leave a goroutine behind
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user     = "M1234567"
	password = "corretto cavallo"
)

// server is a POP3 server whose answers a test may change.
type server struct {
	ln       net.Listener
	greeting string
	caps     []string // nil: CAPA is not known
	messages []string
	// on may answer a command in its own way; false means the usual answer.
	on func(c *conn, cmd string) bool

	wg      sync.WaitGroup
	mu      sync.Mutex
	lines   []string
	deleted []int // by QUIT
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

func (c *conn) say(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }

func newServer(t testing.TB, messages ...string) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		ln: ln, greeting: "+OK ready", messages: messages,
		caps: []string{"USER", "TOP", "UIDL", "SASL PLAIN XOAUTH2", "RESP-CODES"},
	}
	t.Cleanup(s.stop)
	return s
}

func (s *server) stop() {
	s.ln.Close()
	s.wg.Wait()
}

// dial logs in at the server.
func (s *server) dial(t testing.TB, change func(*Options)) (*Client, error) {
	t.Helper()
	s.wg.Go(func() {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		s.serve(&conn{Conn: c, r: bufio.NewReader(c)})
	})
	o := Options{
		Security: "tls", Username: user, Password: password, Timeout: 10 * time.Second,
		Secure: func(_ context.Context, c net.Conn) (net.Conn, error) { return c, nil },
	}
	if change != nil {
		change(&o)
	}
	raw, err := net.Dial("tcp", s.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(t.Context(), raw, o)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func (s *server) must(t testing.TB, change func(*Options)) *Client {
	t.Helper()
	c, err := s.dial(t, change)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *server) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func (s *server) gone() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.deleted...)
}

func (s *server) serve(c *conn) {
	c.say("%s", s.greeting)
	var marked []int
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		cmd := strings.TrimRight(line, "\r\n")
		s.mu.Lock()
		s.lines = append(s.lines, cmd)
		s.mu.Unlock()
		if s.on != nil && s.on(c, cmd) {
			continue
		}
		verb, arg, _ := strings.Cut(cmd, " ")
		number, _ := strconv.Atoi(strings.Fields(arg + " x")[0])
		switch verb {
		case "CAPA":
			if s.caps == nil {
				c.say("-ERR what?")
				continue
			}
			c.say("+OK\r\n%s\r\n.", strings.Join(s.caps, "\r\n"))
		case "STLS", "UTF8", "USER", "NOOP", "RSET":
			c.say("+OK")
		case "PASS":
			c.say("%s", verdict(arg == password))
		case "AUTH":
			s.auth(c, arg)
		case "STAT":
			c.say("+OK %d %d", len(s.messages), len(strings.Join(s.messages, "")))
		case "LIST", "UIDL":
			c.say("+OK")
			for i, m := range s.messages {
				if verb == "LIST" {
					c.say("%d %d", i+1, len(m))
				} else {
					c.say("%d id%d", i+1, i+1)
				}
			}
			c.say(".")
		case "RETR":
			c.say("+OK here it comes")
			c.Write(stuffed(s.messages[number-1]))
		case "TOP":
			head, _, _ := strings.Cut(s.messages[number-1], "\r\n\r\n")
			c.say("+OK")
			c.Write(stuffed(head + "\r\n\r\n"))
		case "DELE":
			marked = append(marked, number)
			c.say("+OK")
		case "QUIT":
			s.mu.Lock()
			s.deleted = append(s.deleted, marked...)
			s.mu.Unlock()
			c.say("+OK bye")
			return
		default:
			c.say("-ERR what?")
		}
	}
}

func (s *server) auth(c *conn, arg string) {
	mechanism, initial, has := strings.Cut(arg, " ")
	if !has {
		c.say("+ ")
		line, _ := c.r.ReadString('\n')
		initial = strings.TrimSpace(line)
	}
	text, _ := base64.StdEncoding.DecodeString(initial)
	if mechanism == "PLAIN" {
		c.say("%s", verdict(strings.HasSuffix(string(text), "\x00"+password)))
		return
	}
	if string(text) == "user="+user+"\x01auth=Bearer good\x01\x01" {
		c.say("+OK")
		return
	}
	c.say("+ eyJzdGF0dXMiOiI0MDEifQ==")
	if line, _ := c.r.ReadString('\n'); line != "\r\n" {
		c.say("-ERR an empty line was due")
		return
	}
	c.say("-ERR [AUTH] no")
}

func verdict(ok bool) string {
	if ok {
		return "+OK welcome"
	}
	return "-ERR [AUTH] wrong"
}

// stuffed is a message as RFC 1939 sends it, with the final dot.
func stuffed(m string) []byte {
	var out bytes.Buffer
	for _, line := range strings.SplitAfter(m, "\r\n") {
		if line == "" {
			continue
		}
		if line[0] == '.' {
			out.WriteByte('.')
		}
		out.WriteString(line)
		if !strings.HasSuffix(line, "\r\n") {
			out.WriteString("\r\n")
		}
	}
	out.WriteString(".\r\n")
	return out.Bytes()
}

// read is a whole message.
func read(t testing.TB, c *Client, e Entry) (string, error) {
	t.Helper()
	var got []byte
	err := c.Retr(t.Context(), e, func(r io.Reader) (err error) { got, err = io.ReadAll(r); return err })
	return string(got), err
}
