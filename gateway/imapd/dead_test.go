package imapd

import (
	"bufio"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pecgate/mailbox"
)

// talk sends lines to a connection and reads until each has its answer.
func talk(t testing.TB, conn net.Conn, r *bufio.Reader, lines ...string) {
	t.Helper()
	for _, l := range lines {
		tag, _, _ := strings.Cut(l, " ")
		if _, err := io.WriteString(conn, l+"\r\n"); err != nil {
			t.Fatal(err)
		}
		for {
			got, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", l, err)
			}
			if strings.HasPrefix(got, tag+" ") || got[0] == '+' {
				break
			}
		}
	}
}

// D6: a client that has gone without a word (no FIN, nobody reads any more) is
// let go when its time is over, whatever it was doing, and not a minute before
// the half hour that a client may be silent.
func TestD6_DeadClientsAreLetGo(t *testing.T) {
	login := "a LOGIN mario/" + protocollo + " secret"
	for name, c := range map[string]struct {
		lines    []string
		arrives  bool          // a message for whoever idles
		from, to time.Duration // when it is let go
	}{
		"before login":            {nil, false, 20 * time.Second, time.Minute},
		"logged in":               {[]string{login}, false, 30 * time.Minute, 33 * time.Minute},
		"in IDLE":                 {[]string{login, "b SELECT INBOX", "c IDLE"}, false, 30 * time.Minute, 33 * time.Minute},
		"in IDLE when mail comes": {[]string{login, "b SELECT INBOX", "c IDLE"}, true, 30 * time.Second, 2 * time.Minute},
		"in the middle of a word": {[]string{login, "b SELECT INBOX", "half"}, false, 30 * time.Second, 3 * time.Minute},
		"in the middle of APPEND": {[]string{login, "b APPEND Bozze {1000}"}, false, time.Minute, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouseWatching(t, time.Minute)
				h.furnish()
				conn, err := h.ln.dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				r := bufio.NewReader(conn)
				if _, err := r.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				for _, l := range c.lines {
					if l == "half" {
						if _, err := io.WriteString(conn, "c FETCH 1"); err != nil {
							t.Fatal(err)
						}
						continue
					}
					talk(t, conn, r, l)
				}
				synctest.Wait()
				start := time.Now()
				if c.arrives {
					h.deliver(shared1(mailbox.RoleInbox), plainMail, mailbox.Filing{})
				}
				for len(h.srv.connections()) > 0 && time.Since(start) < time.Hour {
					time.Sleep(time.Second)
				}
				if after := time.Since(start); after < c.from || after > c.to {
					t.Errorf("let go after %v", after)
				}
			})
		})
	}
}

// D6: what an idle connection holds, TLS apart.
func TestD6_IdleConnectionsHoldLittle(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	const n = 200
	idle := func() {
		conn, err := h.ln.dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		r := bufio.NewReaderSize(conn, 16)
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		talk(t, conn, r, "a LOGIN mario/"+protocollo+" secret", "b SELECT INBOX", "c IDLE")
	}
	idle()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		idle()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc) + int64(after.StackInuse) - int64(before.StackInuse)) / n
	t.Logf("%d bytes for each", each)
	if each > 64<<10 { // the race detector takes some of it
		t.Errorf("%d bytes for each", each)
	}
	if got := len(h.srv.connections()); got != n+1 {
		t.Errorf("%d of %d connections are open", got, n+1)
	}
}
