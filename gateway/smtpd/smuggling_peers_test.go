//go:build peers

package smtpd

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pecgate/gateway/gate"
	"pecgate/relay/submit/postfixtest"
)

// submitter is a submission service whose end of data is looked at from
// outside.
type submitter struct {
	name string
	dial func() net.Conn
	ours bool
}

// TestA13_Peers_Smuggling says the same to our service, to Postfix's and to
// Dovecot's: ours ends a message only at CRLF.CRLF. What the others do is
// written down; they differ by version and setting.
func TestA13_Peers_Smuggling(t *testing.T) {
	us := newServer(t, nil)
	us.listen(t, gate.ImplicitTLS)
	postfix, dovecot := postfixtest.Start(t, postfixtest.Options{}).Addr("smtp"), startDovecotSubmission(t, startSink(t))
	tcp := func(addr string) func() net.Conn {
		return func() net.Conn {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
	}
	for _, s := range []submitter{
		{"pecgate", func() net.Conn { return us.dial(t) }, true},
		{"Postfix", tcp(postfix), false},
		{"Dovecot", tcp(dovecot), false},
	} {
		var table strings.Builder
		for _, seq := range append([]string{"\r\n.\r\n"}, smuggling...) {
			for _, sp := range splits {
				for _, chunk := range []bool{false, true} {
					n, first := s.answers(t, seq, sp.cut, chunk)
					what := "takes it"
					switch {
					case n > 1:
						what = "ENDS THERE"
					case !strings.HasPrefix(first, "250"):
						what = "refuses, " + strings.TrimSpace(first[:min(len(first), 9)])
					}
					command := map[bool]string{false: "DATA", true: "BDAT"}[chunk]
					fmt.Fprintf(&table, "\n%-22q %-10s %s: %s", seq, sp.name, command, what)
					switch real := seq == "\r\n.\r\n" && !chunk; {
					case real && n < 2:
						t.Errorf("%s: a real end of data is not seen (%d answers)", s.name, n)
					case s.ours && !real && (n > 1 || !chunk && !strings.HasPrefix(first, "550-5.6.0 ")):
						t.Errorf("%s, %q, %s, %s: %d answers, the first %q", s.name, seq, sp.name, command, n, first)
					}
				}
			}
		}
		t.Logf("%s:%s", s.name, &table)
	}
}

// answers counts what a service answers to a message that holds seq and behind
// it what could be commands, and says the first. More than one answer says that
// some of it was taken for commands.
func (s submitter) answers(t *testing.T, seq string, cut func(before, seq, after string) []string, chunk bool) (n int, first string) {
	nc := s.dial()
	defer nc.Close()
	c := newClient(t, nc)
	c.reply()
	c.do("EHLO client.example.org", "250")
	if s.name != "Postfix" {
		c.do("AUTH PLAIN "+b64("\x00mario\x00"+password), "235")
	}
	c.do("MAIL FROM:<"+office+">", "250")
	c.do("RCPT TO:<"+other+">", "250")
	// Commands that change nothing: Dovecot 2.3 does not outlive a second
	// transaction in the segment of the first, which would hide what it does. Our
	// own service meets whole transactions in TestA13_Smuggling.
	before, after := header+"\r\ntext", strings.Repeat("NOOP\r\n", 5)
	if chunk {
		before = fmt.Sprintf("BDAT %d LAST\r\n", len(before+seq+after)) + before
	} else {
		c.do("DATA", "354")
		after += ".\r\n"
	}
	for _, p := range cut(before, seq, after) {
		if _, err := io.WriteString(nc, p); err != nil {
			break // closed in between: the answers tell
		}
	}
	if first, _ = c.tryReply(); first == "" {
		return 0, "closed"
	}
	_, _ = io.WriteString(nc, "HELP\r\nQUIT\r\n")
	for n = 1; n < 20; n++ {
		r, err := c.tryReply()
		if err != nil || strings.HasPrefix(r, "221") {
			break
		}
	}
	return max(1, n-1), first // HELP has one answer, of whatever kind
}

// open makes every folder down to dir one that other users may pass.
func open(t *testing.T, dir string) {
	t.Helper()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // the port only is wanted
	return l.Addr().String()
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run starts a service that stays in the foreground, waits for its port, and
// ends it with the test; what it wrote into log is shown where that fails.
func run(t *testing.T, addr, log, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("%s ended: %v\n%.2000s\n%.4000s", name, err, said.String(), text)
		}
	})
	for range 400 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(50 * time.Millisecond) // until it listens
	}
	t.Fatalf("%s does not listen", name)
}

// startDovecotSubmission runs a Dovecot of its own that hands on to relay.
func startDovecotSubmission(t *testing.T, relay string) string {
	t.Helper()
	dir, addr := t.TempDir(), freeAddress(t)
	open(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "home"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "home"), 0o777); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	_, relayPort, _ := net.SplitHostPort(relay)
	put(t, filepath.Join(dir, "dovecot.conf"), fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
listen = 127.0.0.1
protocols = submission
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
hostname = dovecot.example
mail_location = maildir:%[1]s/home/mail
submission_relay_host = 127.0.0.1
submission_relay_port = %[3]s
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%[1]s/home
}
service submission-login {
  chroot =
  inet_listener submission {
    port = %[2]s
  }
}
`, dir, port, relayPort))
	run(t, addr, filepath.Join(dir, "log"), "dovecot", "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	return addr
}

// startSink takes every message of a relay on loopback.
func startSink(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				sink(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait() // after Dovecot, which holds the connections, has ended
	})
	return l.Addr().String()
}

func sink(c net.Conn) {
	r := bufio.NewReader(c)
	say := func(s string) { _, _ = io.WriteString(c, s+"\r\n") }
	say("220 sink.example")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.TrimSpace(line)[:min(4, len(strings.TrimSpace(line)))]); verb {
		case "EHLO":
			say("250-sink.example\r\n250-8BITMIME\r\n250 PIPELINING")
		case "DATA":
			say("354 go on")
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			say("250 2.0.0 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 2.0.0 ok")
		}
	}
}
