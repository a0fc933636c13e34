package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// awkward are messages that a parser on the way might change.
var awkward = map[uint32]string{
	3:              "From: a@pec.test\r\nSubject: x\r\n\r\nciao\r\n",
	4:              "",
	9:              "no header at all",
	10:             "LF only\n\nx\n.\n",
	11:             "bare CR\rand NUL \x00 and \xff\xfe\r\n.\r\n",
	40:             ")\r\nT5 OK done\r\n* 1 FETCH (UID 3 BODY[] {5}\r\n{99999999999}\r\n",
	5000:           strings.Repeat("long line ", 50_000),
	1 << 20:        "far away\r\n",
	math.MaxUint32: "the last UID\r\n",
}

func TestNewGivesEveryMessageUnchanged(t *testing.T) {
	for _, security := range []string{"tls", "starttls"} {
		t.Run(security, func(t *testing.T) {
			p := newProvider(t, awkward)
			p.plain = security == "starttls"
			p.uidNext = math.MaxUint32
			s := p.dial(t)
			var list []got
			st, err := s.New(t.Context(), "INBOX", Cursor{}, 100, keep(&list))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(numbers(list), p.uids()) {
				t.Errorf("UIDs %v", numbers(list))
			}
			for _, g := range list {
				if g.body != awkward[g.uid] {
					t.Errorf("message %d changed: %.40q", g.uid, g.body)
				}
			}
			if st.UIDValidity != 7 || st.Exists != uint32(len(awkward)) || st.Reset || st.More || len(st.Gone) > 0 {
				t.Errorf("state %+v", st)
			}
			if s.TLSVersion != "TLS 1.3" || s.Cipher == "" || s.CertificateExpires.IsZero() {
				t.Errorf("TLS facts %+v", s)
			}
			if c := p.seen(); strings.Contains(c, "SELECT") || strings.Contains(c, "BODY[") || strings.Contains(c, "STORE") {
				t.Errorf("commands that change something:\n%s", c)
			}
		})
	}
}

func TestNewAfterACursor(t *testing.T) {
	p := newProvider(t, awkward)
	s := p.dial(t)
	tests := []struct {
		cursor Cursor
		max    int
		want   []uint32
		more   bool
		reset  bool
	}{
		{Cursor{7, 0}, 2, []uint32{3, 4}, true, false},
		{Cursor{7, 4}, 3, []uint32{9, 10, 11}, true, false},
		{Cursor{7, 11}, 2, []uint32{40, 5000}, true, false},
		{Cursor{7, 5000}, 2, []uint32{1 << 20, math.MaxUint32}, false, false},
		{Cursor{7, 1 << 20}, 5, []uint32{math.MaxUint32}, false, false},
		{Cursor{7, 4}, 0, nil, false, false},
		{Cursor{6, 4}, 0, nil, false, true},
		{Cursor{7, math.MaxUint32}, 5, nil, false, false},
		{Cursor{6, math.MaxUint32}, 1, []uint32{3}, true, true},
		{Cursor{}, 1, []uint32{3}, true, false},
	}
	for _, tt := range tests {
		var list []got
		st, err := s.New(t.Context(), "INBOX", tt.cursor, tt.max, keep(&list))
		if err != nil || !slices.Equal(numbers(list), tt.want) || st.More != tt.more || st.Reset != tt.reset {
			t.Errorf("%+v max %d: %v %+v %v", tt.cursor, tt.max, numbers(list), st, err)
		}
	}
	var list []got
	if st, err := s.Again(t.Context(), "INBOX", 7, []uint32{9, 12, 3}, keep(&list)); err != nil ||
		!slices.Equal(numbers(list), []uint32{9, 3}) || !slices.Equal(st.Gone, []uint32{12}) {
		t.Errorf("again: %v %+v %v", numbers(list), st, err)
	}
	if st, err := s.Again(t.Context(), "INBOX", 8, []uint32{9}, keep(&list)); err != nil || !st.Reset || len(list) != 2 {
		t.Errorf("again, other UIDVALIDITY: %+v %v", st, err)
	}
}

// TestBefore: the newest first, over gaps, in parts, and no message twice.
func TestBefore(t *testing.T) {
	p := newProvider(t, awkward)
	s := p.dial(t)
	if last, st, err := s.Last(t.Context(), "INBOX"); err != nil || last != math.MaxUint32 || st.UIDValidity != 7 {
		t.Fatal(last, st, err)
	}
	all := p.uids()
	slices.Reverse(all)
	for part := 1; part <= len(all)+1; part++ {
		var have []uint32
		for last, more := uint32(math.MaxUint32), true; more; last = have[len(have)-1] - 1 {
			var list []got
			st, err := s.Before(t.Context(), "INBOX", 7, last, part, keep(&list))
			if err != nil || len(list) > part {
				t.Fatalf("%d: %v, %v", last, numbers(list), err)
			}
			for _, g := range list {
				if g.body != awkward[g.uid] {
					t.Errorf("message %d changed: %.40q", g.uid, g.body)
				}
			}
			have, more = append(have, numbers(list)...), st.More
		}
		if !slices.Equal(have, all) {
			t.Errorf("in parts of %d: %v", part, have)
		}
	}
	var list []got
	if st, err := s.Before(t.Context(), "INBOX", 8, 100, 10, keep(&list)); err != nil || !st.Reset || len(list) > 0 {
		t.Errorf("other UIDVALIDITY: %+v, %v", st, err)
	}
	empty := newProvider(t, nil).dial(t)
	if last, _, err := empty.Last(t.Context(), "INBOX"); err != nil || last != 0 {
		t.Errorf("%d, %v", last, err)
	}
	if st, err := empty.Before(t.Context(), "INBOX", 7, 100, 10, keep(&list)); err != nil || st.More || len(list) > 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestC11_UIDValidityChanges(t *testing.T) {
	p := newProvider(t, map[uint32]string{1: "one\r\n", 2: "two\r\n"})
	s := p.dial(t)
	var list []got
	if st, err := s.New(t.Context(), "INBOX", Cursor{7, 2}, 10, keep(&list)); err != nil || len(list) != 0 || st.Reset {
		t.Fatalf("%+v %v", st, err)
	}
	q := newProvider(t, map[uint32]string{1: "one\r\n", 2: "two\r\n"})
	q.validity = 8
	st, err := q.dial(t).New(t.Context(), "INBOX", Cursor{7, 2}, 10, keep(&list))
	if err != nil || !st.Reset || st.UIDValidity != 8 || !slices.Equal(numbers(list), []uint32{1, 2}) {
		t.Errorf("%+v %v %v", st, numbers(list), err)
	}
}

func TestC11_NoUIDValidityIsAnError(t *testing.T) {
	p := newProvider(t, awkward)
	p.on = func(c *conn, tag, cmd string) bool {
		if strings.HasPrefix(cmd, "EXAMINE") {
			c.say("* 5 EXISTS\r\n%s OK", tag)
			return true
		}
		return false
	}
	if _, err := p.dial(t).New(t.Context(), "INBOX", Cursor{}, 10, keep(new([]got))); err == nil {
		t.Error("fetched without knowing what the numbers mean")
	}
}

// TestListIsBounded: a long folder is listed in windows, not as a whole.
func TestListIsBounded(t *testing.T) {
	p := newProvider(t, map[uint32]string{})
	for uid := uint32(1); uid <= 5000; uid++ {
		p.messages[uid] = "x\r\n"
	}
	s := p.dial(t)
	var list []got
	st, err := s.New(t.Context(), "INBOX", Cursor{7, 100}, 10, keep(&list))
	if err != nil || len(list) != 10 || list[0].uid != 101 || !st.More {
		t.Fatalf("%v %+v %v", numbers(list), st, err)
	}
	if c := p.seen(); strings.Contains(c, "*") || !strings.Contains(c, "UID FETCH 101:1124 (") {
		t.Errorf("commands\n%s", c)
	}
}

func TestBodyOneByteAtATime(t *testing.T) {
	p := newProvider(t, awkward)
	err := func() error {
		_, err := p.dial(t).New(t.Context(), "INBOX", Cursor{}, 6, func(_ context.Context, it Item) error {
			b, err := io.ReadAll(iotest.OneByteReader(it.Body))
			if err == nil && string(b) != awkward[it.UID] {
				err = fmt.Errorf("message %d changed", it.UID)
			}
			if n, e := it.Body.Read(make([]byte, 1)); n != 0 || e != io.EOF {
				err = fmt.Errorf("after the end: %d %v", n, e)
			}
			return err
		})
		return err
	}()
	if err != nil {
		t.Error(err)
	}
}

func TestCallbackNeedNotRead(t *testing.T) {
	p := newProvider(t, awkward)
	s := p.dial(t)
	n := 0
	if _, err := s.New(t.Context(), "INBOX", Cursor{}, 100, func(_ context.Context, it Item) error {
		n++
		_, err := io.CopyN(io.Discard, it.Body, it.Size/2)
		return err
	}); err != nil || n != len(awkward) {
		t.Errorf("%d messages, %v", n, err)
	}
}

func TestCallbackErrorEndsTheCall(t *testing.T) {
	broken := errors.New("no space left")
	for _, read := range []bool{true, false} {
		p := newProvider(t, awkward)
		s := p.dial(t)
		n := 0
		_, err := s.New(t.Context(), "INBOX", Cursor{}, 100, func(_ context.Context, it Item) error {
			n++
			if read {
				io.Copy(io.Discard, it.Body)
			}
			return broken
		})
		var me *MessageError
		if n != 1 || !errors.Is(err, broken) || errors.As(err, &me) {
			t.Errorf("%d calls, %v", n, err)
		}
	}
}

func TestFolderThatIsNotThere(t *testing.T) {
	p := newProvider(t, awkward)
	p.on = func(c *conn, tag, cmd string) bool {
		if strings.HasPrefix(cmd, "EXAMINE") && strings.Contains(cmd, "Inviata") {
			c.say("%s NO [NONEXISTENT] no such folder \x01%s", tag, password)
			return true
		}
		return false
	}
	s := p.dial(t)
	_, err := s.New(t.Context(), "INBOX.Inviata", Cursor{}, 10, keep(new([]got)))
	if !errors.Is(err, ErrNoFolder) || strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "\x01") {
		t.Errorf("%v", err)
	}
	var list []got
	if _, err := s.New(t.Context(), "INBOX", Cursor{}, 1, keep(&list)); err != nil || len(list) != 1 {
		t.Errorf("the session did not go on: %v", err)
	}
}

func TestFindHeader(t *testing.T) {
	p := newProvider(t, map[uint32]string{5: "Message-ID: <a@x>\r\n\r\n", 6: "X-Riferimento-Message-ID: <a@x>\r\n\r\n", 8: "Message-ID: <b@x>\r\n\r\n"})
	s := p.dial(t)
	if uids, err := s.FindHeader(t.Context(), "INBOX", "Message-ID", "<a@x>"); err != nil || !slices.Equal(uids, []uint32{5, 6}) {
		t.Errorf("%v %v", uids, err)
	}
	if uids, err := s.FindHeader(t.Context(), "INBOX", "Message-ID", "<c@x>"); err != nil || len(uids) != 0 {
		t.Errorf("%v %v", uids, err)
	}
	for _, bad := range [][2]string{{"", "x"}, {"a b", "x"}, {"a:", "x"}, {"è", "x"}, {"X", "a\r\nT9 LOGOUT"}, {"X", "\x00"}, {"X", strings.Repeat("x", 1001)}} {
		if _, err := s.FindHeader(t.Context(), "INBOX", bad[0], bad[1]); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	if strings.Contains(p.seen(), "LOGOUT") {
		t.Error("a value became a command")
	}
}

func TestFindHeaderIsBounded(t *testing.T) {
	for _, answer := range []string{"* SEARCH" + strings.Repeat(" 1 3 5 7", 10_000), `* ESEARCH (TAG "%s") UID ALL 1:4294967295`} {
		p := newProvider(t, awkward)
		p.on = func(c *conn, tag, cmd string) bool {
			if !strings.HasPrefix(cmd, "UID SEARCH") {
				return false
			}
			c.say(strings.Replace(answer, "%s", tag, 1)+"\r\n%s OK", tag)
			return true
		}
		uids, err := p.dial(t).FindHeader(t.Context(), "INBOX", "Message-ID", "x")
		if (err == nil && len(uids) > maxFound) || (strings.Contains(answer, "ALL") && err == nil) {
			t.Errorf("%d found, %v", len(uids), err)
		}
	}
}

// TestFindSince: a large folder is searched in parts, whose answers are bounded; a
// small one at once.
func TestFindSince(t *testing.T) {
	since := time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC)
	for exists, want := range map[int]string{
		30_000: "UID 1:20000 SINCE \"20-Nov-2026\" HEADER X-A \"\"|UID 20001:40000 SINCE \"20-Nov-2026\" HEADER X-A \"\"|UID 40001:60000 SINCE \"20-Nov-2026\" HEADER X-A \"\"",
		20_000: "SINCE \"20-Nov-2026\" HEADER X-A \"\"",
	} {
		p := newProvider(t, awkward)
		var asked []string
		p.on = func(c *conn, tag, cmd string) bool {
			switch {
			case strings.HasPrefix(cmd, "EXAMINE"):
				c.say("* %d EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 45001] ok\r\n%s OK [READ-ONLY] ok", exists, tag)
			case strings.HasPrefix(cmd, "UID SEARCH"):
				what := cmd[strings.Index(cmd, "SEARCH ")+7:]
				if strings.HasPrefix(what, "RETURN") {
					_, what, _ = strings.Cut(what, ") ")
				}
				asked = append(asked, strings.ReplaceAll(strings.NewReplacer("(", "", ")", "").Replace(what), `"X-A"`, "X-A"))
				c.say("* SEARCH %d\r\n%s OK", len(asked), tag)
			default:
				return false
			}
			return true
		}
		uids, err := p.dial(t).FindSince(t.Context(), "INBOX", "X-A", since)
		if err != nil || len(uids) != len(asked) || strings.Join(asked, "|") != want {
			t.Errorf("%d: %v %v\n%s", exists, uids, err, strings.Join(asked, "|"))
		}
	}
}

func TestIdle(t *testing.T) {
	p := newProvider(t, awkward)
	idles := make(chan struct{}, 10)
	p.on = func(c *conn, tag, cmd string) bool {
		if cmd != "IDLE" {
			return false
		}
		c.say("+ idling\r\n* OK still here\r\n* 5 FETCH (FLAGS (\\Seen))")
		idles <- struct{}{}
		if len(idles) == 2 {
			c.say("* 10 EXISTS")
		}
		line, _ := c.r.ReadString('\n')
		c.say("%s OK %s", tag, strings.TrimSpace(line))
		return true
	}
	s := p.dial(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	hints := 0
	err := s.idle(ctx, 20*time.Millisecond, func() {
		if hints++; hints == 2 { // the first: it listens
			cancel(why)
		}
	})
	if !errors.Is(err, why) || hints != 2 || len(idles) < 2 {
		t.Errorf("%v, %d hints, %d rounds", err, hints, len(idles))
	}
	// The session was left in order.
	var list []got
	if _, err := s.New(t.Context(), "INBOX", Cursor{}, 1, keep(&list)); err != nil || len(list) != 1 {
		t.Errorf("after IDLE: %v", err)
	}
}

func TestIdleEndsWithTheConnection(t *testing.T) {
	p := newProvider(t, awkward)
	p.on = func(c *conn, tag, cmd string) bool {
		if cmd == "IDLE" {
			c.say("+ idling\r\n* BYE going down")
			c.Close()
		}
		return cmd == "IDLE"
	}
	if err := p.dial(t).Idle(t.Context(), func() {}); err == nil {
		t.Error("no error")
	}
	q := newProvider(t, awkward)
	q.caps = "IMAP4rev1"
	if err := q.dial(t).Idle(t.Context(), func() {}); !errors.Is(err, ErrNoIdle) {
		t.Errorf("%v", err)
	}
}

func BenchmarkNew(b *testing.B) {
	for _, size := range []int{10 << 10, 10 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := newProvider(b, map[uint32]string{5: strings.Repeat("0123456789abcde\r\n", size/17)})
			s := p.dial(b)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.New(b.Context(), "INBOX", Cursor{}, 1, func(_ context.Context, it Item) error {
					_, err := io.Copy(io.Discard, it.Body)
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
