package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/netconn"
)

// onBody answers the request for one message in its own way.
func onBody(uid uint32, answer func(c *conn, tag string) bool) func(*conn, string, string) bool {
	return func(c *conn, tag, cmd string) bool {
		if !strings.HasPrefix(cmd, fmt.Sprintf("UID FETCH %d (", uid)) || !strings.Contains(cmd, "BODY") {
			return false
		}
		return answer(c, tag)
	}
}

// TestC12_StrangeButWhole: answers that are odd in form and complete in content.
func TestC12_StrangeButWhole(t *testing.T) {
	messages := map[uint32]string{3: "three\r\n", 9: "nine\r\n", 4_000_000_000: "far\r\n"}
	want := []uint32{3, 9, 4_000_000_000}
	tests := []struct {
		name string
		on   func(p *provider, c *conn, tag, cmd string) bool
	}{
		{"listed in descending order, twice, with others", func(p *provider, c *conn, tag, cmd string) bool {
			if !strings.Contains(cmd, "RFC822.SIZE") {
				return false
			}
			uids := p.uids()
			slices.Reverse(uids)
			c.say(`* 1 FETCH (UID 1 RFC822.SIZE 5 INTERNALDATE %s)`, date) // not asked for where the cursor is 2
			for range 2 {
				for i, uid := range uids {
					p.give(c, len(uids)-i, uid, "")
				}
			}
			c.say("%s OK", tag)
			return true
		}},
		{"unsolicited data everywhere", func(p *provider, c *conn, tag, cmd string) bool {
			c.say("* 4 EXISTS\r\n* 1 RECENT\r\n* FLAGS (\\Seen $x)\r\n* OK [ALERT] password expires\r\n* 77 FETCH (FLAGS (\\Seen))\r\n* NO [X {5}] warning \"\r\n* CAPABILITY %s", p.caps)
			return false
		}},
		{"each message given twice", func(p *provider, c *conn, tag, cmd string) bool {
			if !strings.Contains(cmd, "BODY") {
				return false
			}
			for range 2 {
				p.command(c, "*", "OK next")
				for i, uid := range p.uids() {
					if strings.HasPrefix(cmd, fmt.Sprintf("UID FETCH %d ", uid)) {
						p.give(c, i+1, uid, "BODY.PEEK[]")
					}
				}
			}
			c.say("%s OK", tag)
			return true
		}},
		{"another message given first", func(p *provider, c *conn, tag, cmd string) bool {
			if strings.Contains(cmd, "BODY") {
				c.say("* 99 FETCH (UID 77 BODY[] {7}\r\nother\r\n)\r\n* 98 FETCH (BODY[] {2}\r\n\r\n FLAGS ())\r\n* 9 EXPUNGE")
			}
			return false
		}},
		{"other order, other case, other items", func(p *provider, c *conn, tag, cmd string) bool {
			var uid uint32
			if _, err := fmt.Sscanf(cmd, "UID FETCH %d (UID BODY", &uid); err != nil {
				return false
			}
			m, _ := p.message(uid)
			c.say("* 1 fetch (FLAGS (\\Seen) uid %d BODY[HEADER] {4}\r\nab\r\n BODY[]<0> \"x\" body[] {%d}\r\n%s RFC822.SIZE 9 INTERNALDATE %s)", uid, len(m), m, date)
			c.say("%s ok fine", tag)
			return true
		}},
		{"quoted string instead of a literal", func(p *provider, c *conn, tag, cmd string) bool {
			if !strings.HasPrefix(cmd, "UID FETCH 3 (UID BODY") {
				return false
			}
			p.set(3, `a "quoted" \ one`)
			defer p.set(3, "three\r\n")
			c.say("* 1 FETCH (UID 3 BODY[] \"three..\")\r\n%s OK", tag)
			return true
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvider(t, messages)
			p.on = func(c *conn, tag, cmd string) bool { return tt.on(p, c, tag, cmd) }
			var list []got
			st, err := p.dial(t).New(t.Context(), "INBOX", Cursor{7, 2}, 10, keep(&list))
			if err != nil || !slices.Equal(numbers(list), want) || len(st.Gone) != 0 {
				t.Fatalf("%v %+v %v", list, st, err)
			}
			for _, g := range list {
				if g.body != messages[g.uid] && g.body != "three.." {
					t.Errorf("%d: %q", g.uid, g.body)
				}
			}
		})
	}
}

// TestC12_FlagChangeHidesTheAnswer: another client reads the message while it is
// fetched; the library takes the news of its flags for the answer.
func TestC12_FlagChangeHidesTheAnswer(t *testing.T) {
	p := newProvider(t, map[uint32]string{3: "three\r\n", 9: "nine\r\n"})
	news := map[string]int{"RFC822.SIZE": 1, "BODY": 2}
	p.on = func(c *conn, tag, cmd string) bool {
		for what, left := range news {
			if left > 0 && strings.Contains(cmd, what) {
				news[what]--
				c.say("* 1 FETCH (UID 3 FLAGS (\\Seen))\r\n* 2 FETCH (UID 9 FLAGS ())")
			}
		}
		return false
	}
	var list []got
	st, err := p.dial(t).New(t.Context(), "INBOX", Cursor{}, 10, keep(&list))
	if err != nil || len(list) != 2 || list[0].body != "three\r\n" || list[1].body != "nine\r\n" || len(st.Gone) != 0 {
		t.Errorf("%v %+v %v", list, st, err)
	}
}

func TestC12_MessageGoneOrNotGiven(t *testing.T) {
	messages := func() map[uint32]string { return map[uint32]string{3: "three\r\n", 5: "five\r\n", 9: "nine\r\n"} }
	t.Run("expunged while we fetch", func(t *testing.T) {
		p := newProvider(t, messages())
		p.on = onBody(5, func(c *conn, tag string) bool {
			p.remove(5)
			c.say("* 2 EXPUNGE\r\n%s OK", tag)
			return true
		})
		var list []got
		st, err := p.dial(t).New(t.Context(), "INBOX", Cursor{}, 10, keep(&list))
		if err != nil || !slices.Equal(numbers(list), []uint32{3, 9}) || !slices.Equal(st.Gone, []uint32{5}) {
			t.Errorf("%v %+v %v", numbers(list), st, err)
		}
	})
	for name, answer := range map[string]string{
		"refused":          "%s NO [SERVERBUG] cannot read it",
		"nothing":          "%s OK",
		"NIL":              "* 2 FETCH (UID 5 BODY[] NIL)\r\n%s OK",
		"UID at the end":   "* 2 FETCH (BODY[] {6}\r\nfive\r\n UID 5)\r\n%s OK",
		"without a number": "* 2 FETCH (BODY[] {6}\r\nfive\r\n)\r\n%s OK",
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, messages())
			asked := 0
			p.on = onBody(5, func(c *conn, tag string) bool {
				asked++
				c.say(answer, tag)
				return true
			})
			var list []got
			st, err := p.dial(t).New(t.Context(), "INBOX", Cursor{}, 10, keep(&list))
			if err != nil || !slices.Equal(numbers(list), []uint32{3, 5, 9}) || len(st.Gone) != 0 || asked != maxAsk {
				t.Fatalf("%v %+v %v, asked %d times", numbers(list), st, err, asked)
			}
			if !errors.Is(list[1].problem, ErrNoAnswer) {
				t.Errorf("problem %v", list[1].problem)
			}
		})
	}
}

// TestC12_NeverAWholeMessage: whatever breaks in a message, its reader sees an
// error and never a clean end.
func TestC12_NeverAWholeMessage(t *testing.T) {
	const five = "five and some more bytes\r\n"
	head := fmt.Sprintf("* 2 FETCH (UID 5 BODY[] {%d}\r\n", len(five))
	tests := map[string]string{
		"cut at once":                  head,
		"cut in the middle":            head + five[:10],
		"cut one byte early":           head + five[:len(five)-1],
		"cut right behind":             head + five,
		"cut behind the parenthesis":   head + five + ")",
		"cut before the OK":            head + five + ")\r\n",
		"cut in the OK":                head + five + ")\r\n%s O",
		"BYE inside":                   head + five[:10] + "* BYE shutting down\r\n",
		"BYE behind":                   head + five + ")\r\n* BYE shutting down\r\n",
		"NO behind":                    head + five + ")\r\n%s NO [SERVERBUG] disk error\r\n",
		"BAD behind":                   head + five + ")\r\n%s BAD what\r\n",
		"other UID behind":             head + five + " UID 6)\r\n%s OK\r\n",
		"second body behind":           head + five + " BODY[] {3}\r\nabc)\r\n%s OK\r\n",
		"more bytes than announced":    head + five + "and more)\r\n%s OK\r\n",
		"fewer bytes than announced":   head + five[:10] + ")\r\n%s OK\r\n* BYE\r\n",
		"not IMAP any more":            head + five + ")\r\nHTTP/1.1 200 OK\r\n\r\n",
		"OK of a command never given":  head + five + ")\r\nT999 OK\r\n",
		"cut in the number":            "* 2 FETCH (UID 5 BODY[] {2",
		"cut in a quoted string":       `* 2 FETCH (UID 5 BODY[] "five and so`,
		"line ends in a quoted string": "* 2 FETCH (UID 5 BODY[] \"five\r\nmore\")\r\n%s OK\r\n",
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, map[uint32]string{3: "three\r\n", 5: five, 9: "nine\r\n"})
			p.on = onBody(5, func(c *conn, tag string) bool {
				io.WriteString(c, strings.ReplaceAll(answer, "%s", tag))
				c.Close()
				return true
			})
			var list []got
			_, err := p.dial(t).New(t.Context(), "INBOX", Cursor{}, 10, keep(&list))
			var me *MessageError
			if !errors.As(err, &me) || me.UID != 5 || me.Folder != "INBOX" || me.UIDValidity != 7 {
				t.Errorf("error %v", err)
			}
			if !slices.Equal(numbers(list), []uint32{3}) {
				t.Errorf("given as whole: %v", list)
			}
		})
	}
	// A callback that looks at nothing must not turn a torn message into success.
	t.Run("careless callback", func(t *testing.T) {
		p := newProvider(t, map[uint32]string{5: five})
		p.on = onBody(5, func(c *conn, _ string) bool {
			io.WriteString(c, head+five[:9])
			c.Close()
			return true
		})
		_, err := p.dial(t).New(t.Context(), "INBOX", Cursor{}, 10, func(_ context.Context, it Item) error {
			n, e := io.Copy(io.Discard, it.Body)
			if n != 9 || !errors.Is(e, io.ErrUnexpectedEOF) {
				t.Errorf("%d bytes, %v", n, e)
			}
			return nil
		})
		if err == nil {
			t.Error("no error")
		}
	})
}

// TestC12_CutAtEveryByte cuts the whole dialog after each byte that the
// provider sends: only messages that are whole are ever given.
func TestC12_CutAtEveryByte(t *testing.T) {
	messages := map[uint32]string{3: "three\r\n", 9: strings.Repeat("nine\r\n", 20)}
	p := newProvider(t, messages)
	srv := p.server()
	plain := srv.Dial
	whole := 0
	for cut := int64(900); ; cut += 7 { // the TLS handshake is tried elsewhere
		srv.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := plain(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return netconn.Cut(c, cut, -1), nil
		}
		s, err := Dial(t.Context(), srv)
		if err != nil {
			continue
		}
		var list []got
		_, err = s.New(t.Context(), "INBOX", Cursor{}, 10, keep(&list))
		s.Close()
		for _, g := range list {
			if g.body != messages[g.uid] {
				t.Fatalf("cut after %d bytes: message %d is %q", cut, g.uid, g.body)
			}
		}
		whole += len(list)
		if err == nil {
			break
		}
		if len(list) == 2 {
			t.Errorf("cut after %d bytes: both given and yet %v", cut, err)
		}
	}
	if whole < 3 {
		t.Errorf("%d messages in all cuts", whole)
	}
}

func TestC16_TooLargeIsLeftAside(t *testing.T) {
	p := newProvider(t, map[uint32]string{3: "three\r\n", 5: strings.Repeat("x", 2000), 9: "nine\r\n", 10: strings.Repeat("y", 1000)})
	srv := p.server()
	srv.MaxMessage = 1000
	var list []got
	_, err := p.dialAs(t, srv).New(t.Context(), "INBOX", Cursor{}, 10, keep(&list))
	if err != nil || !slices.Equal(numbers(list), []uint32{3, 5, 9, 10}) || !errors.Is(list[1].problem, ErrTooLarge) {
		t.Fatalf("%v %v", numbers(list), err)
	}
	if list[0].body != "three\r\n" || list[2].body != "nine\r\n" || len(list[3].body) != 1000 {
		t.Error("the others are not whole")
	}
	if strings.Contains(p.seen(), "UID FETCH 5 (UID BODY") {
		t.Error("asked for all the same")
	}
}

func TestC16_SizeThatDiffersIsLeftAside(t *testing.T) {
	for _, size := range []int{0, 5, 7, 100} {
		p := newProvider(t, map[uint32]string{3: "three\r\n", 5: "five\r\n", 9: "nine\r\n"})
		p.on = func(c *conn, tag, cmd string) bool {
			if !strings.HasPrefix(cmd, "UID FETCH 1:") {
				return false
			}
			p.give(c, 1, 3, "")
			c.say("* 2 FETCH (UID 5 RFC822.SIZE %d INTERNALDATE %s)", size, date)
			p.give(c, 3, 9, "")
			c.say("%s OK", tag)
			return true
		}
		var list []got
		_, err := p.dial(t).New(t.Context(), "INBOX", Cursor{}, 10, keep(&list))
		if err != nil || !slices.Equal(numbers(list), []uint32{3, 5, 9}) || !errors.Is(list[1].problem, ErrSize) {
			t.Errorf("listed with %d: %v %v", size, list, err)
		}
	}
}

// TestC16_FloodsAreBounded: what has no end or says it is huge ends the session,
// not the memory, and names the message where one is at fault.
func TestC16_FloodsAreBounded(t *testing.T) {
	endless := func(start, unit string) func(*conn, string) bool {
		return func(c *conn, _ string) bool {
			block := strings.Repeat(unit, 1000)
			if _, err := io.WriteString(c, start); err != nil {
				return true
			}
			for { // until the client hangs up
				if _, err := io.WriteString(c, block); err != nil {
					return true
				}
			}
		}
	}
	bodies := map[string]func(*conn, string) bool{
		"literal of 4 GB":         endless("* 2 FETCH (UID 5 BODY[] {4294967295}\r\n", "x"),
		"literal without number":  endless("* 2 FETCH (UID 5 BODY[] {99999999999999999999999}\r\n", "x"),
		"literal above the limit": endless("* 2 FETCH (UID 5 BODY[] {200000}\r\n", "x"),
		"header literal":          endless("* 2 FETCH (UID 5 BODY[HEADER] {100000}\r\n", "x"),
		"line without end":        endless("* 2 FETCH (UID 5 FLAGS (", "aaaaaaaaaa"),
		"quoted without end":      endless("* 2 FETCH (UID 5 BODY[] \"", "aaaaaaaa"),
		"quoted over lines":       endless("* 2 FETCH (UID 5 BODY[] \"", "aaaaaaaa\r\n"),
		"list without end":        endless("* LIST ({0}\r\n", " {0}\r\n"),
		"lines without end":       endless("", "* OK still working on it, do not go away please\r\n"),
		"text without end":        endless("* OK ", "aaaaaaaaaa"),
		"small literals":          endless("* 2 FETCH (FLAGS (a)) \r\n", "* LIST () \"/\" {50}\r\n01234567890123456789012345678901234567890123456789\r\n"),
	}
	for name, answer := range bodies {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, map[uint32]string{3: "three\r\n", 5: "five\r\n", 9: "nine\r\n"})
			p.on = onBody(5, answer)
			srv := p.server()
			srv.MaxMessage = 100_000
			var list []got
			s := p.dialAs(t, srv)
			s.g.mu.Lock()
			s.g.answer = 1 << 20 // the same as in earnest, sooner
			s.g.mu.Unlock()
			_, err := s.New(t.Context(), "INBOX", Cursor{}, 10, keep(&list))
			var me *MessageError
			if !errors.As(err, &me) || me.UID != 5 || len(err.Error()) > 2000 {
				t.Errorf("%.3000v", err)
			}
			if strings.HasPrefix(name, "literal") && !errors.Is(err, ErrTooLarge) {
				t.Errorf("%v", err)
			}
			if !slices.Equal(numbers(list), []uint32{3}) {
				t.Errorf("given %v", numbers(list))
			}
		})
	}
	t.Run("greeting", func(t *testing.T) {
		p := newProvider(t, nil)
		p.greeting = "* OK " + strings.Repeat("x", 1<<20)
		if _, err := Dial(t.Context(), p.server()); err == nil || p.loginsSeen() != 0 {
			t.Errorf("%v", err)
		}
	})
}

// TestC16_SkippedMessageDoesNotStopTheOthers is what a caller does with a
// message that always breaks the session: it goes on behind it.
func TestC16_SkippedMessageDoesNotStopTheOthers(t *testing.T) {
	p := newProvider(t, map[uint32]string{3: "three\r\n", 5: "five\r\n", 9: "nine\r\n"})
	p.on = onBody(5, func(c *conn, _ string) bool { c.say("* 2 FETCH (UID 5 BODY[] {4294967295}"); return true })
	var list []got
	cursor := Cursor{UIDValidity: 7}
	for range 2 {
		_, err := p.dial(t).New(t.Context(), "INBOX", cursor, 10, keep(&list))
		if me := (*MessageError)(nil); errors.As(err, &me) {
			cursor.UID = me.UID
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(numbers(list), []uint32{3, 9}) {
		t.Errorf("%v", numbers(list))
	}
}

// TestSilence: a provider that stops talking costs one time limit, also in the
// middle of a message, while a slow reader on our side costs nothing.
func TestSilence(t *testing.T) {
	for _, where := range []string{"LOGIN", "EXAMINE", "UID FETCH 1:", "UID FETCH 5 (UID BODY"} {
		t.Run(where, func(t *testing.T) {
			p := newProvider(t, map[uint32]string{5: "five\r\n"})
			p.on = func(c *conn, _, cmd string) bool {
				if !strings.HasPrefix(cmd, where) {
					return false
				}
				if strings.Contains(where, "BODY") {
					io.WriteString(c, "* 1 FETCH (UID 5 BODY[] {6}\r\nfi")
				}
				io.Copy(io.Discard, c.r)
				return true
			}
			srv := p.server()
			srv.Timeout = time.Second
			s, err := Dial(t.Context(), srv)
			if err == nil {
				_, err = s.New(t.Context(), "INBOX", Cursor{}, 10, keep(new([]got)))
				s.Close()
			}
			var ne net.Error
			if !errors.As(err, &ne) || !ne.Timeout() {
				t.Errorf("%v", err)
			}
		})
	}
	// Silence counts only while an answer is due: not between commands, and not
	// while the callback is busy with a message it has read.
	t.Run("nothing due", func(t *testing.T) {
		p := newProvider(t, map[uint32]string{5: strings.Repeat("five\r\n", aheadBytes), 6: strings.Repeat("six\r\n", aheadBytes)}) // not read ahead
		s := p.dial(t)
		due := func(when string, want int) {
			s.g.mu.Lock()
			defer s.g.mu.Unlock()
			if s.g.open != want {
				t.Errorf("%s: %d answers due, want %d", when, s.g.open, want)
			}
		}
		due("after login", 0)
		if _, err := s.New(t.Context(), "INBOX", Cursor{}, 10, func(_ context.Context, it Item) error {
			due("before reading", 1)
			_, err := io.Copy(io.Discard, it.Body)
			due("after reading", 0)
			return err
		}); err != nil {
			t.Error(err)
		}
		due("after New", 0)
	})
}

// TestProviderHangsUpBetweenCommands: the next command fails, it does not wait.
func TestProviderHangsUpBetweenCommands(t *testing.T) {
	for _, words := range []string{"", "* BYE idle for too long"} {
		p := newProvider(t, awkward)
		conns := make(chan *conn, 1)
		p.on = func(c *conn, _, cmd string) bool {
			if strings.HasPrefix(cmd, "LOGIN") {
				conns <- c
			}
			return false
		}
		s := p.dial(t)
		c := <-conns
		if words != "" {
			c.say("%s", words)
		}
		c.Close()
		<-s.c.Closed()
		if _, err := s.New(t.Context(), "INBOX", Cursor{}, 10, keep(new([]got))); err == nil {
			t.Error("no error")
		}
		if err := s.Idle(t.Context(), func() {}); err == nil {
			t.Error("no error")
		}
		if _, err := s.FindHeader(t.Context(), "INBOX", "Message-ID", "x"); err == nil {
			t.Error("no error")
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func TestContextEnds(t *testing.T) {
	why := errors.New("the gateway stops")
	for _, where := range []string{"CAPABILITY", "LOGIN", "EXAMINE", "UID FETCH 1:", "UID FETCH 5 (UID BODY", "IDLE"} {
		t.Run(where, func(t *testing.T) {
			p := newProvider(t, map[uint32]string{5: "five\r\n"})
			ctx, cancel := context.WithCancelCause(t.Context())
			p.on = func(c *conn, _, cmd string) bool {
				if strings.HasPrefix(cmd, where) {
					cancel(why)
					io.Copy(io.Discard, c.r)
					return true
				}
				return false
			}
			s, err := Dial(ctx, p.server())
			if err == nil {
				if where == "IDLE" {
					err = s.Idle(ctx, func() {})
				} else {
					_, err = s.New(ctx, "INBOX", Cursor{}, 10, keep(new([]got)))
				}
				s.Close()
			}
			var me *MessageError
			if !errors.Is(err, why) || errors.As(err, &me) {
				t.Errorf("%v", err)
			}
		})
	}
}
