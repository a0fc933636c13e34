package smtpd

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pecgate/gateway/gate"
	"pecgate/mailbox/netconn"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// A dialog is a file of lines:
//
//	# a remark
//	C: text         the client says this and CRLF
//	C! "text"       the client says exactly this (a Go string)
//	S: text         the server's next line; `...` at the end stands for anything
//	S! closed       the server ends the connection
//	= committed n   at the end so many submissions were committed
//	= stored "text" the last of them contains this (a Go string)
//	= not "text"    it does not
//	= log "text"    the log does not contain this
//
//	= strays n      so many were filed for the administrator
//
// The clients of files that are called relay-* are groupware servers.
//
// {login} in a client's line is AUTH PLAIN's response of mario, {pin} the PIN.
type dialog struct {
	name  string
	steps []step
	facts []step
}

type step struct {
	line       int
	kind, text string
}

func dialogs(t *testing.T) []dialog {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "dialogs", "smtp", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogs: %v", err)
	}
	var out []dialog
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		d := dialog{name: strings.TrimSuffix(filepath.Base(f), ".txt")}
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			line = strings.TrimRight(line, "\n")
			if line == "" || line[0] == '#' {
				continue
			}
			kind, text, _ := strings.Cut(line, " ")
			text = strings.NewReplacer("{login}", b64("\x00mario\x00"+password), "{pin}", pin).Replace(text)
			s := step{n, kind, text}
			switch kind {
			case "C:":
				s.text += "\r\n"
			case "C!":
				if s.text, err = strconv.Unquote(text); err != nil {
					t.Fatalf("%s:%d: %v", f, n, err)
				}
			case "S:", "S!":
			case "=":
				d.facts = append(d.facts, s)
				continue
			default:
				t.Fatalf("%s:%d: %q", f, n, line)
			}
			d.steps = append(d.steps, s)
		}
		out = append(out, d)
	}
	return out
}

// run holds a dialog. It stops at the first error, of whichever side.
func (d dialog) run(c net.Conn) error {
	r := &client{c: c}
	*r = *newClient(nil, c)
	for _, s := range d.steps {
		switch s.kind {
		case "C:", "C!":
			if _, err := io.WriteString(c, s.text); err != nil {
				return fmt.Errorf("line %d: %w", s.line, err)
			}
		case "S:":
			got, err := r.r.ReadString('\n')
			if err != nil {
				return fmt.Errorf("line %d: %w", s.line, err)
			}
			want, open := strings.CutSuffix(s.text, "...")
			if g := strings.TrimSuffix(got, "\r\n"); g != want && !(open && strings.HasPrefix(g, want)) {
				return fmt.Errorf("line %d: server says %q, want %q", s.line, g, s.text)
			}
		case "S!":
			if b, err := io.ReadAll(r.r); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("line %d: not closed: %q, %v", s.line, b, err)
			}
		}
	}
	return nil
}

// server is the one that a dialog is held with.
func (d dialog) server(t testing.TB) (*server, *admin) {
	if strings.HasPrefix(d.name, "relay-") {
		return relayServer(t, nil)
	}
	return newServer(t, nil), &admin{}
}

// ends is how many messages the client had ended at a byte of what it says.
func (d dialog) ends(k int) int {
	n, at := strings.Count(d.said()[:k], "\r\n.\r\n"), 0
	for _, s := range d.steps {
		if s.kind[0] != 'C' {
			continue
		}
		if at += len(s.text); at <= k && strings.HasPrefix(s.text, "BDAT ") {
			n += strings.Count(s.text, " LAST\r\n")
		}
	}
	return n
}

func (d dialog) check(t *testing.T, s *server, a *admin) {
	t.Helper()
	got := s.store.all()
	var last []byte
	if len(got) > 0 {
		last = got[len(got)-1].data
	}
	for _, f := range d.facts {
		word, arg, _ := strings.Cut(f.text, " ")
		if word == "committed" {
			if strconv.Itoa(len(got)) != arg {
				t.Errorf("line %d: %d committed", f.line, len(got))
			}
			continue
		}
		if word == "strays" {
			if strconv.Itoa(a.count()) != arg {
				t.Errorf("line %d: %d filed for the administrator", f.line, a.count())
			}
			continue
		}
		text, err := strconv.Unquote(arg)
		if err != nil {
			t.Fatal(err)
		}
		switch word {
		case "stored":
			if !bytes.Contains(last, []byte(text)) {
				t.Errorf("line %d: not stored: %q", f.line, last)
			}
		case "not":
			if bytes.Contains(last, []byte(text)) {
				t.Errorf("line %d: stored: %q", f.line, last)
			}
		case "log":
			if strings.Contains(s.log.String(), text) {
				t.Errorf("line %d: in the log: %s", f.line, s.log.String())
			}
		default:
			t.Errorf("line %d: %q", f.line, word)
		}
	}
	for _, secret := range []string{pin, password, b64("\x00mario\x00" + password)} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("a secret is in the log: %s", s.log.String())
		}
		for _, m := range got {
			if bytes.Contains(m.data, []byte(secret)) || strings.Contains(fmt.Sprint(m.Submission), secret) {
				t.Errorf("a secret is stored: %q", m.data)
			}
		}
	}
}

func TestDialogs(t *testing.T) {
	for _, d := range dialogs(t) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			s, a := d.server(t)
			s.listen(t, gate.ImplicitTLS)
			c := s.dial(t)
			if err := d.run(c); err != nil {
				t.Fatal(err)
			}
			c.Close()
			s.stop(t)
			d.check(t, s, a)
			if a.began != a.ended {
				t.Errorf("%d strays begun, %d ended", a.began, a.ended)
			}
			if s.store.opened != s.store.gone {
				t.Errorf("%d deliveries begun, %d ended", s.store.opened, s.store.gone)
			}
		})
	}
}

// said are the client's bytes of a dialog.
func (d dialog) said() string {
	var b strings.Builder
	for _, s := range d.steps {
		if s.kind[0] == 'C' {
			b.WriteString(s.text)
		}
	}
	return b.String()
}

// TestA3_CutAtEveryByte cuts each dialog at each byte: what was not ended must
// not be committed, and nothing of it stays open.
func TestA3_CutAtEveryByte(t *testing.T) {
	for _, d := range dialogs(t) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			said := d.said()
			step := 1 + len(said)/4000 // long dialogs: every few bytes
			for k := 0; k < len(said); k += step {
				s, a := d.server(t)
				p := s.pipes(t)
				c := netconn.Cut(p.dial(k), -1, int64(k))
				if err := d.run(c); err == nil {
					t.Fatalf("cut at %d of %d was not noticed", k, len(said))
				}
				c.Close()
				s.stop(t)
				if n, ends := len(s.store.all())+a.count(), d.ends(k); n > ends {
					t.Fatalf("cut at %d: %d committed, %d ended", k, n, ends)
				}
				if s.store.opened != s.store.gone || a.began != a.ended {
					t.Fatalf("cut at %d: %d deliveries begun, %d ended", k, s.store.opened, s.store.gone)
				}
			}
		})
	}
}

func TestA3_CutOverTCP(t *testing.T) {
	for _, d := range dialogs(t) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			said := d.said()
			s, a := d.server(t)
			s.listen(t, gate.ImplicitTLS)
			ends := 0
			for range 20 {
				k := rand.IntN(len(said))
				c := netconn.Cut(s.dial(t), -1, int64(k))
				_ = d.run(c)
				c.Close()
				ends += d.ends(k)
			}
			s.stop(t)
			if n := len(s.store.all()) + a.count(); n > ends {
				t.Errorf("%d committed, %d end marks", n, ends)
			}
			if s.store.opened != s.store.gone {
				t.Errorf("%d deliveries begun, %d ended", s.store.opened, s.store.gone)
			}
		})
	}
}
