package smtpd

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// A message is the same however it is cut into chunks, and the same as by DATA.
func TestBDATCutAnywhere(t *testing.T) {
	message := strings.Replace(outlook, "<1@", "<chunks@", 1) + "\r\nuno\r\n.due\r\n..\r\n.\r\ntre\r\n"
	s, _ := relayServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	if got := c.message(personal, message, other); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	for k := range message {
		if k%7 != 0 && !strings.ContainsAny(message[k:min(len(message), k+3)], "\r\n.") {
			continue
		}
		c.do("MAIL FROM:<"+personal+">", "250 ")
		c.do("RCPT TO:<"+other+">", "250 ")
		c.send(fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", k, message[:k], len(message)-k, message[k:]))
		for range 2 {
			if got := c.reply(); !strings.HasPrefix(got, "250 ") {
				t.Fatalf("cut at %d: %q", k, got)
			}
		}
	}
	c.do("QUIT", "221 ")
	s.stop(t)
	all := s.store.all()
	for i, one := range all {
		if string(one.data) != string(all[0].data) {
			t.Fatalf("message %d differs:\n%s\nof\n%s", i, one.data, all[0].data)
		}
	}
	if len(all) < 100 {
		t.Errorf("%d messages", len(all))
	}
}

// Bare CR, bare LF and NUL are refused wherever a chunk ends; a last line without
// its end gets it.
func TestBDATBytes(t *testing.T) {
	for _, tc := range []struct {
		body []string
		want string
	}{
		{[]string{"a\r", "b\r\n"}, "550"}, {[]string{"a\r"}, "550"}, {[]string{"a", "\nb\r\n"}, "550"}, {[]string{"a\x00\r\n"}, "550"},
		{[]string{"a\r", "\r\n"}, "550"}, {[]string{"a\r", "\n"}, "250"}, {[]string{"a\r", "", "\n"}, "250"}, {[]string{"a"}, "250"}, {[]string{"a\r\n", ""}, "250"},
	} {
		s, _ := relayServer(t, nil)
		c := newClient(t, s.pipes(t).dial(1))
		c.greet()
		c.do("MAIL FROM:<"+personal+">", "250 ")
		c.do("RCPT TO:<"+other+">", "250 ")
		c.send(fmt.Sprintf("BDAT %d\r\n%s", len(outlook)+2, outlook+"\r\n"))
		c.reply()
		got := ""
		for i, part := range tc.body {
			last := ""
			if i == len(tc.body)-1 {
				last = " LAST"
			}
			c.send(fmt.Sprintf("BDAT %d%s\r\n%s", len(part), last, part))
			got = c.reply()
		}
		if !strings.HasPrefix(got, tc.want) {
			t.Errorf("%q: %q", tc.body, got)
		}
		s.stop(t)
		if all := s.store.all(); len(all) == 1 && (!strings.HasSuffix(string(all[0].data), "\r\n\r\na\r\n") || tc.want != "250") {
			t.Errorf("%q: stored %q", tc.body, all[0].data)
		}
	}
}

// Whatever a client says behind an envelope, nothing is committed of which the end
// was not seen, and a chunk is never run as commands.
func FuzzBDAT(f *testing.F) {
	whole := outlook + "\r\nx\r\n"
	f.Add(fmt.Sprintf("BDAT %d LAST\r\n%s", len(whole), whole))
	f.Add(fmt.Sprintf("BDAT %d\r\n%sRSET\r\nBDAT 5 LAST\r\nQUIT\r\n", 20, whole[:20]))
	f.Add("BDAT 5 FIRST\r\nQUIT\r\n")
	f.Add("BDAT 99999999999999999999 LAST\r\n")
	f.Add("BDAT 900000000000000000\r\nx")
	f.Add("BDAT -1 LAST\r\n")
	f.Add("BDAT 3\r\nabcDATA\r\nBDAT 0 LAST\r\n")
	f.Fuzz(func(t *testing.T, said string) {
		s, _ := relayServer(t, nil)
		conn := s.pipes(t).dial(1)
		c := newClient(t, conn)
		c.greet()
		c.do("MAIL FROM:<"+personal+">", "250 ")
		c.do("RCPT TO:<"+other+">", "250 ")
		read := make(chan struct{})
		go func() { _, _ = io.Copy(io.Discard, c.r); close(read) }()
		_, _ = io.WriteString(conn, said)
		conn.Close()
		<-read
		s.stop(t)
		if n := len(s.store.all()); n > strings.Count(strings.ToUpper(said), "BDAT")+strings.Count(said, "\r\n.\r\n") || s.store.opened != s.store.gone {
			t.Errorf("%d committed, %d begun, %d ended", n, s.store.opened, s.store.gone)
		}
	})
}
