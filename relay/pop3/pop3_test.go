package pop3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

// awkward are messages that a parser on the way might change.
func awkward() []string {
	return []string{
		"From: a@pec.test\r\nSubject: x\r\n\r\nciao\r\n",
		"",
		"\r\n",
		"no header at all, no line end",
		".",
		".\r\n",
		"..\r\n.\r\n...\r\n",
		"a\r\n.\r\r\n.\rX\r\n",
		"LF only\n\nx\n.\n.\n..\n",
		"\n.\n",
		"x\r\n.\n.\r.\r\n",
		"bare CR\rand NUL \x00 and \xff\xfe\r\n\r",
		"\r\r\n\r\r\n",
		"+OK\r\n-ERR no\r\n.x\r\n+OK 5 octets\r\n",
		strings.Repeat("long line ", 50_000),
		strings.Repeat("\r", 70_000) + "\r\n" + strings.Repeat(".", 70_000) + "\r\n",
		strings.Repeat(".\r\n", 30_000),
	}
}

func TestMessagesAreUnchanged(t *testing.T) {
	s := newServer(t, awkward()...)
	c := s.must(t, nil)
	list, err := c.List(t.Context())
	if err != nil || len(list) != len(s.messages) || list[2] != (Entry{Number: 3, Size: 2, ID: "id3"}) {
		t.Fatalf("%v, %v", list, err)
	}
	for i, e := range list {
		got, err := read(t, c, e)
		if err != nil || got != s.messages[i] {
			t.Errorf("message %d: %.60q, %v", e.Number, got, err)
		}
		// By one byte at a time too.
		var one []byte
		err = c.Retr(t.Context(), e, func(r io.Reader) (err error) { one, err = io.ReadAll(iotest.OneByteReader(r)); return err })
		if err != nil || string(one) != s.messages[i] {
			t.Errorf("message %d by bytes: %.60q, %v", e.Number, one, err)
		}
	}
	if n, size, err := c.Stat(t.Context()); err != nil || n != len(list) || size != int64(len(strings.Join(s.messages, ""))) {
		t.Errorf("%d %d %v", n, size, err)
	}
	var head []byte
	err = c.Top(t.Context(), list[0], 0, func(r io.Reader) (err error) { head, err = io.ReadAll(r); return err })
	if err != nil || string(head) != "From: a@pec.test\r\nSubject: x\r\n\r\n" {
		t.Errorf("%q, %v", head, err)
	}
	if err := errors.Join(c.Dele(t.Context(), list[1]), c.Rset(t.Context()), c.Noop(t.Context()), c.Dele(t.Context(), list[4]), c.Quit(t.Context())); err != nil {
		t.Error(err)
	}
	if err := c.Noop(t.Context()); !errors.Is(err, ErrOver) {
		t.Errorf("after QUIT: %v", err)
	}
}

// TestSizes: what is taken as whole is as large as listed, by a server that
// counts line ends as one byte too.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		raw    string
		listed int
		want   string
		err    error
	}{
		{"a\r\nb\r\nc\r\n", 9, "a\r\nb\r\nc\r\n", nil},
		{"a\r\nb\r\nc\r\n", 6, "a\r\nb\r\nc\r\n", nil}, // 3 line ends of one byte
		{"a\r\nb\r\nc", 7, "a\r\nb\r\nc", nil},
		{"a\r\nb\r\nc\r\n", 5, "", ErrSize},
		{"a\r\nb\r\nc\r\n", 8, "", ErrSize},
		{"a\r\nb\r\nc\r\n", 10, "", ErrSize},
		{"", 1, "", ErrSize},
		{"a\r\nb\r\nc\r\n", 1 << 40, "", ErrTooLarge},
	} {
		s := newServer(t, c.raw)
		cl := s.must(t, nil)
		got, err := read(t, cl, Entry{Number: 1, Size: int64(c.listed)})
		if !errors.Is(err, c.err) || err == nil && got != c.want {
			t.Errorf("%q listed as %d: %q, %v", c.raw, c.listed, got, err)
		}
		// A size that differs ends the session: what follows may be the rest of it.
		if err := cl.Dele(t.Context(), Entry{Number: 1}); (err != nil) != errors.Is(c.err, ErrSize) {
			t.Errorf("%q listed as %d: afterwards %v", c.raw, c.listed, err)
		}
	}
}

// TestC9_HostilePOP3Body: messages that pose as answers, from a server that
// stuffs no dots or ends messages in other ways: each is given byte by byte or
// the session ends, and no DELE is sent.
func TestC9_HostilePOP3Body(t *testing.T) {
	for _, m := range []string{
		"a\r\n.\r\n+OK\r\n+OK deleted\r\n+OK bye\r\n",
		"a\n.\n+OK\r\n",
		"a\r\n.\n+OK\r\n",
		"a\n.\r\n+OK\r\n",
		"-ERR no\r\n+OK\r\n.\r\n",
		strings.Repeat("x", 5000) + "\r\n.\r\n+OK\r\n",
		"..\r\n.\r\n.\r\n",
		"\r\n.\r\n-ERR\r\n",
		".\r\n+OK\r\n",
	} {
		for name, wire := range map[string]string{
			"stuffed":        string(stuffed(m)),
			"not stuffed":    m + ".\r\n",
			"ends in LF":     m + "\n.\n",
			"ends in CRLFLF": m + "\r\n.\n",
			"no dot":         m,
		} {
			s := newServer(t, m)
			s.on = func(c *conn, cmd string) bool {
				if cmd != "RETR 1" {
					return false
				}
				io.WriteString(c, "+OK\r\n"+wire)
				if name != "stuffed" && name != "not stuffed" {
					c.Close()
				}
				return true
			}
			c := s.must(t, nil)
			got, err := read(t, c, Entry{Number: 1, Size: int64(len(m))})
			switch {
			case err == nil && got != m:
				t.Errorf("%q %s: taken as %q", m, name, got)
			case err == nil:
				if err := c.Dele(t.Context(), Entry{Number: 1}); err != nil {
					t.Errorf("%q %s: %v", m, name, err)
				}
				continue
			case name == "stuffed":
				t.Errorf("%q: %v", m, err)
			}
			if err := c.Dele(t.Context(), Entry{Number: 1}); err == nil || strings.Contains(s.seen(), "DELE") {
				t.Errorf("%q %s: DELE was sent", m, name)
			}
		}
	}
}

// TestUnstuffing: a dot at the beginning of a line goes, and only CRLF begins one.
func TestUnstuffing(t *testing.T) {
	for wire, want := range map[string]string{
		"a\r\n.\nb\r\n.\r\n":          "a\r\n\nb\r\n",
		"a\r\n.\rb\r\n.\r\n":          "a\r\n\rb\r\n",
		"a\n.\r\n.\r\n":               "a\n.\r\n",
		"a\r.\r\n.\r\n":               "a\r.\r\n",
		".a\r\n..\r\n...\r\n.\r\n":    "a\r\n.\r\n..\r\n",
		"\r\n\r\n.\r\n":               "\r\n\r\n",
		"a\r\n.\x00\r\n.\r\n":         "a\r\n\x00\r\n",
		"a\r\n.\r\r\n.\r\n":           "a\r\n\r\r\n",
		"\r\r\n.\r\n":                 "\r\r\n",
		"a\r\n.\n\n\r\n..\n\r\n.\r\n": "a\r\n\n\n\r\n.\n\r\n",
	} {
		s := newServer(t, want)
		s.on = func(c *conn, cmd string) bool {
			if cmd == "RETR 1" {
				io.WriteString(c, "+OK\r\n"+wire)
			}
			return cmd == "RETR 1"
		}
		if got, err := read(t, s.must(t, nil), Entry{Number: 1, Size: int64(len(want))}); err != nil || got != want {
			t.Errorf("%q: %q, %v", wire, got, err)
		}
	}
}

// TestC10_CutAtEveryByte: no message that a broken line cut short is whole.
func TestC10_CutAtEveryByte(t *testing.T) {
	const m = "Subject: x\r\n\r\n.\r\n..a\r\nb\r\n"
	whole := "+OK\r\n" + string(stuffed(m))
	for n := range len(whole) {
		s := newServer(t, m)
		s.on = func(c *conn, cmd string) bool {
			if cmd != "RETR 1" {
				return false
			}
			io.WriteString(c, whole[:n])
			c.Close()
			return true
		}
		c := s.must(t, nil)
		if got, err := read(t, c, Entry{Number: 1, Size: int64(len(m))}); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("after %d bytes: %q, %v", n, got, err)
		}
		s.stop()
	}
}

// TestC7_Identifiers: an id that names no single message is none.
func TestC7_Identifiers(t *testing.T) {
	long := strings.Repeat("x", 70)
	for answer, want := range map[string][]string{
		"1 a\r\n2 b\r\n3 c":                 {"a", "b", "c"},
		"1 a\r\n3 c":                        {"a", "", "c"},
		"1 a\r\n2 a\r\n3 c":                 {"", "", "c"},
		"1 a\r\n2 a\r\n3 a":                 {"", "", ""},
		"1 a\r\n1 b\r\n2 b\r\n3 a":          {"", "", ""},
		"1 a b\r\n2 \r\n3":                  {"", "", ""},
		"1 è\r\n2 \x01\r\n3 c":              {"", "", "c"},
		"1 " + long + "\r\n2 " + long + "y": {long, "", ""},
		"9 a\r\n1 b":                        {"b", "", ""},
		"3 c\r\n2 b\r\n1 a":                 {"a", "b", "c"},
		"1 a\r\n1 a\r\n2 b":                 {"", "b", ""},
	} {
		s := newServer(t, "1", "2", "3")
		s.on = func(c *conn, cmd string) bool {
			if cmd == "UIDL" {
				c.say("+OK\r\n%s\r\n.", answer)
			}
			return cmd == "UIDL"
		}
		list, err := s.must(t, nil).List(t.Context())
		var ids []string
		for _, e := range list {
			ids = append(ids, e.ID)
		}
		if err != nil || !slices.Equal(ids, want) {
			t.Errorf("%q: %q, %v", answer, ids, err)
		}
	}
	s := newServer(t, "1")
	s.on = func(c *conn, cmd string) bool {
		if cmd == "UIDL" {
			c.say("-ERR what?")
		}
		return cmd == "UIDL"
	}
	if _, err := s.must(t, nil).List(t.Context()); !errors.Is(err, ErrNoUIDL) {
		t.Errorf("without UIDL: %v", err)
	}
}

// TestHostileAnswers: nothing unbounded, nothing half understood.
func TestHostileAnswers(t *testing.T) {
	flood := func(line string, times int) string { return "+OK\r\n" + strings.Repeat(line, times) + ".\r\n" }
	for name, tt := range map[string]struct {
		cmd, answer string
		want        error
	}{
		"endless line":           {"LIST", "+OK " + strings.Repeat("x", 1<<16), ErrProtocol},
		"endless line of a list": {"LIST", "+OK\r\n1 " + strings.Repeat("9", 1<<16), ErrProtocol},
		"no status":              {"LIST", "OK\r\n", ErrProtocol},
		"small letters":          {"LIST", "+ok\r\n.\r\n", ErrProtocol},
		"bare LF":                {"LIST", "+OK\n.\n", ErrProtocol},
		"NUL":                    {"LIST", "+OK\x00\r\n.\r\n", ErrProtocol},
		"bare CR":                {"LIST", "+OK\ra\r\n.\r\n", ErrProtocol},
		"twice":                  {"LIST", "+OK\r\n1 1\r\n1 2\r\n.\r\n", ErrProtocol},
		"number 0":               {"LIST", "+OK\r\n0 1\r\n.\r\n", ErrProtocol},
		"negative":               {"LIST", "+OK\r\n1 -1\r\n.\r\n", ErrProtocol},
		"size too large":         {"LIST", "+OK\r\n1 99999999999999999999\r\n.\r\n", ErrProtocol},
		"number too large":       {"LIST", "+OK\r\n99999999999 1\r\n.\r\n", ErrProtocol},
		"too many":               {"LIST", flood("1 1\r\n", MaxList+1), ErrTooMany},
		"more ids than messages": {"UIDL", flood("1 a\r\n", MaxList+1), ErrTooMany},
		"too many capabilities":  {"CAPA", flood("X\r\n", maxCaps+1), ErrProtocol},
		"answer before":          {"LIST", "+OK\r\n1 1\r\n.\r\n+OK more\r\n", ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, "1")
			s.on = func(c *conn, cmd string) bool {
				if cmd == tt.cmd {
					io.WriteString(c, tt.answer)
				}
				return cmd == tt.cmd
			}
			cl, err := s.dial(t, nil)
			if err == nil {
				_, err = cl.List(t.Context())
			}
			if !errors.Is(err, tt.want) || len(err.Error()) > 2000 {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestSilence: a server that stands still, and one that drips, meet a deadline.
func TestSilence(t *testing.T) {
	for name, answer := range map[string]func(*conn){
		"silent": func(c *conn) {},
		"in the middle": func(c *conn) {
			io.WriteString(c, "+OK\r\nabc\r\n")
		},
		"drips": func(c *conn) {
			io.WriteString(c, "+OK\r\n")
			for range 1000 {
				time.Sleep(10 * time.Millisecond) // the drip itself
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, strings.Repeat("x", 5000))
			s.on = func(c *conn, cmd string) bool {
				if cmd == "RETR 1" {
					answer(c)
				}
				return cmd == "RETR 1"
			}
			c := s.must(t, func(o *Options) { o.Timeout = 50 * time.Millisecond })
			_, err := read(t, c, Entry{Number: 1, Size: 5000})
			var ne net.Error
			if !errors.As(err, &ne) || !ne.Timeout() {
				t.Errorf("%v", err)
			}
			c.Close()
		})
	}
}

func TestContextEndsTheSession(t *testing.T) {
	s := newServer(t, "x")
	s.on = func(c *conn, cmd string) bool { return cmd == "RETR 1" }
	c := s.must(t, nil)
	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	time.AfterFunc(20*time.Millisecond, func() { stop(why) })
	err := c.Retr(ctx, Entry{Number: 1, Size: 1}, func(r io.Reader) error { _, err := io.ReadAll(r); return err })
	if !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if err := c.Noop(t.Context()); !errors.Is(err, ErrOver) {
		t.Errorf("afterwards %v", err)
	}
}

func TestCallback(t *testing.T) {
	s := newServer(t, "one\r\n", "two\r\n")
	c := s.must(t, nil)
	why := errors.New("no room")
	stop := func(r io.Reader) error {
		_, err := io.ReadAll(r)
		return errors.Join(why, err)
	}
	if err := c.Retr(t.Context(), Entry{Number: 1, Size: 5}, stop); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	// Not read to its end without an error: the rest is passed over.
	if err := c.Retr(t.Context(), Entry{Number: 1, Size: 5}, func(io.Reader) error { return nil }); err != nil {
		t.Errorf("%v", err)
	}
	if got, err := read(t, c, Entry{Number: 2, Size: 5}); err != nil || got != "two\r\n" {
		t.Errorf("%q, %v", got, err)
	}
	if err := c.Retr(t.Context(), Entry{Number: 1, Size: 5}, func(io.Reader) error { return why }); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if err := c.Noop(t.Context()); !errors.Is(err, ErrOver) {
		t.Errorf("%v", err)
	}
}

// TestQuit: only a good answer is the word that what was marked is gone.
func TestQuit(t *testing.T) {
	for name, answer := range map[string]string{"refused": "-ERR [SYS/TEMP] some are not deleted\r\n", "nothing": "", "half": "+O"} {
		s := newServer(t, "1")
		s.on = func(c *conn, cmd string) bool {
			if cmd == "QUIT" {
				io.WriteString(c, answer)
				c.Close()
			}
			return cmd == "QUIT"
		}
		c := s.must(t, nil)
		if err := c.Dele(t.Context(), Entry{Number: 1}); err != nil {
			t.Fatal(err)
		}
		err := c.Quit(t.Context())
		var no *ReplyError
		if err == nil || errors.As(err, &no) != (name == "refused") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := newServer(t, "1")
	c := s.must(t, nil)
	if err := c.Dele(t.Context(), Entry{Number: 1}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.stop()
	if len(s.gone()) > 0 || strings.Contains(s.seen(), "QUIT") {
		t.Errorf("closed without QUIT: %v", s.gone())
	}
}

func FuzzPOP3(f *testing.F) {
	for _, m := range awkward()[:12] {
		f.Add(fmt.Appendf(nil, "+OK\r\n%s", stuffed(m)), len(m))
		f.Add(fmt.Appendf(nil, "+OK\r\n%s.\r\n", m), len(m))
	}
	f.Add([]byte("+OK\r\n1 5\r\n2 7\r\n.\r\n+OK\r\n1 a\r\n2 b\r\n.\r\n"), 3)
	f.Add([]byte("-ERR [IN-USE] later\r\n+OK\r\n.\n\r\n.\r\r\n..\r\n.\r\n"), 6)
	f.Fuzz(func(t *testing.T, answers []byte, size int) {
		if size < 0 {
			return
		}
		for _, list := range []bool{true, false} {
			here, there := net.Pipe()
			c := &Client{opt: Options{MaxMessage: 1 << 20}, w: newWire(here, time.Minute)}
			var peer sync.WaitGroup
			peer.Go(func() { io.Copy(io.Discard, there) })
			peer.Go(func() { there.Write(answers); there.Close() })
			if list {
				got, err := c.List(context.Background())
				if err == nil && len(got) > len(answers) {
					t.Errorf("%d entries", len(got))
				}
			} else if got, err := read(t, c, Entry{Number: 1, Size: int64(size)}); err == nil {
				// Whatever was taken, another server would have sent in just this way.
				first, rest, _ := strings.Cut(string(answers), "\r\n")
				if model, ok := unstuffed(rest); !strings.HasPrefix(first, "+OK") || !ok || model != got && model != got+"\r\n" {
					t.Errorf("%q gave %q", answers, got)
				}
			}
			c.Close()
			peer.Wait()
		}
	})
}

// unstuffed is the plainest reader of a message: line by line.
func unstuffed(wire string) (string, bool) {
	var out strings.Builder
	for {
		line, rest, ok := strings.Cut(wire, "\r\n")
		if !ok {
			return "", false
		}
		if line == "." {
			return out.String(), true
		}
		out.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
		wire = rest
	}
}
