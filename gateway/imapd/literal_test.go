package imapd

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"pecgate/mailbox"
)

// D4: literals beyond the limits, before and after login. One that nobody waits
// for ends the connection with TOOBIG, one that waits is refused with it and the
// next command is read. Nothing is kept for what was only announced.
func TestD4_LiteralBombs(t *testing.T) {
	h := newHouse(t)
	const login = "z LOGIN mario secret\r\n"
	small := strings.Repeat("{1+}\r\nx ", 10_000) + "\r\n"
	bombs := map[string]string{
		"before login, {n+}":                       "a LOGIN {4097+}\r\n",
		"before login, {n+} of gigabytes":          "a LOGIN {999999999999+}\r\n",
		"before login, 10,000 small":               "a LOGIN " + small,
		"before login, 10,000 small in ID":         "a ID (" + small,
		"before login, a message":                  "a APPEND INBOX {1000000+}\r\n",
		"after login, {n+}":                        login + "a SELECT {4097+}\r\n",
		"after login, {n+} of gigabytes":           login + "a LIST \"\" {999999999999+}\r\n",
		"after login, 10,000 small":                login + "a SEARCH SUBJECT " + small,
		"after login, small ones beyond a command": login + "a SEARCH " + strings.Repeat("BODY {4000+}\r\n"+strings.Repeat("x", 4000)+" ", 20) + "\r\n",
		"after login, a message {n+}":              login + "a APPEND Bozze {4097+}\r\n",
		"after login, a message of gigabytes":      login + "a APPEND Bozze {999999999999+}\r\n",
		"after login, a binary message {n+}":       login + "a APPEND Bozze ~{4097+}\r\n",
	}
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			c := h.connect()
			c.t = t
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			go func() { _, _ = io.WriteString(c.conn, bomb) }() // ends with the connection
			if bye := c.gone(); !strings.HasPrefix(bye, "* BYE [TOOBIG] ") {
				t.Error(bye)
			}
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
				t.Errorf("%d bytes allocated", used)
			}
			_ = c.conn.Close()
		})
	}
	for name, cmd := range map[string][2]string{
		"before login":            {"", "LOGIN {4097}"},
		"before login, gigabytes": {"", "LOGIN mario {999999999999}"},
		"after login":             {login, "SELECT {4097}"},
		"after login, gigabytes":  {login, "SEARCH BODY {999999999999}"},
		"a message":               {login, fmt.Sprintf("APPEND Bozze {%d}", int64(100<<20)+1)},
		"a message of gigabytes":  {login, "APPEND Bozze {999999999999}"},
	} {
		t.Run("waiting, "+name, func(t *testing.T) {
			c := h.connect()
			c.t = t
			if cmd[0] != "" {
				c.send(cmd[0])
				c.until("z")
			}
			for range maxBad {
				if _, answer := c.cmd(cmd[1]); !strings.HasPrefix(answer, "NO [TOOBIG] ") {
					t.Fatal(answer)
				}
			}
			c.ok("CAPABILITY")
			c.send("y " + cmd[1] + "\r\n") // the last straw
			c.gone()
			_ = c.conn.Close()
		})
	}
	for _, who := range []string{"", login} {
		t.Run(fmt.Sprintf("10,000 small ones that wait, login %q", who), func(t *testing.T) {
			c := h.connect()
			c.t = t
			if who != "" {
				c.send(who)
				c.until("z")
			}
			c.send("a ID ({1}\r\n")
			asked := 0
			line := c.read()
			for ; strings.HasPrefix(line, "+ ") && asked < 10_000; line = c.read() {
				asked++
				c.send("x {1}\r\n")
			}
			if asked != maxLiterals || !strings.HasPrefix(line, "a NO [TOOBIG] ") {
				t.Errorf("%d literals were taken, then %s", asked, line)
			}
			c.ok("CAPABILITY")
			_ = c.conn.Close()
		})
	}
	h.quiet(t)
	if got := h.messages(mailbox.FolderKey{Owner: h.people["mario"], Role: mailbox.RoleDrafts}, mailbox.Viewer{Person: h.people["mario"]}); len(got) != 0 {
		t.Errorf("%d messages were stored", len(got))
	}
}

// D4: many clients in the middle of a literal hold what they sent and not more.
func TestD4_UnfinishedLiteralsHoldLittle(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	const n = 100
	buf := make([]byte, 4096)
	half := func() {
		conn, err := h.ln.dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		r := bufio.NewReaderSize(conn, 16)
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		go io.WriteString(conn, "a LOGIN {4096}\r\n") // a pipe has no buffer; the answer shows that all was read
		if line, err := r.ReadString('\n'); err != nil || line[0] != '+' {
			t.Fatal(line, err)
		}
		if _, err := conn.Write(buf[:4000]); err != nil {
			t.Fatal(err)
		}
	}
	half()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		half()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc) + int64(after.StackInuse) - int64(before.StackInuse)) / n; each > 80<<10 {
		t.Errorf("%d bytes for each", each)
	}
}
