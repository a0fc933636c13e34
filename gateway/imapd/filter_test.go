package imapd

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

// What the filter does between client and library.

func (c *client) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.read(); !fits(c.t, w, got) {
			c.t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func TestFilterPipelinedMix(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	c := h.connect()
	msg := "Subject: a\r\n\r\nz9 LOGOUT\r\n"
	c.send("a ID NIL\r\nb LOGIN {5+}\r\nmario secret\r\nc ID (\"name\" {3+}\r\nabc)\r\nd APPEND Bozze " +
		fmt.Sprintf("{%d+}\r\n%s\r\n", len(msg), msg) +
		"e ID NIL\r\nf STATUS Bozze (MESSAGES)\r\ng IDLE\r\nDONE\r\nh id nil\r\ni LOGOUT\r\n")
	c.expect(`* ID {{.*}}`, `a OK ID completed`, `b OK {{.*}}`, `* ID {{.*}}`, `c OK ID completed`, `d OK [APPENDUID {{.*}}] APPEND completed`,
		`* ID {{.*}}`, `e OK ID completed`, `* STATUS "Bozze" (MESSAGES 1)`, `f OK STATUS completed`, `+ idling`, `g OK IDLE completed`,
		`* ID {{.*}}`, `h OK ID completed`, `* BYE Logging out`, `i OK LOGOUT completed`)
}

func TestFilterByteByByte(t *testing.T) {
	h := newHouse(t)
	c := h.connect()
	for _, b := range []byte("a ID (\"x\" \"y\")\r\nb LOGIN mario {6+}\r\nsecret\r\nc LIST \"\" {1+}\r\n%\r\n") {
		c.send(string(b))
	}
	c.expect(`* ID {{.*}}`, `a OK ID completed`, `b OK {{.*}}`, `* LIST {{.*}}`, `* LIST {{.*}}`, `* LIST {{.*}}`, `* LIST {{.*}}`, `* LIST {{.*}}`, `c OK LIST completed`)
}

// What is left of a refused command is never run as commands.
func TestFilterRefusedLiteralIsNotRun(t *testing.T) {
	h := newHouse(t)
	c := h.login("mario")
	smuggled := "x CREATE Entrato\r\n"
	n := len(smuggled)
	for _, cmd := range []string{
		"NONSENSE {%d+}\r\n%s", "CREATE ( {%d+}\r\n%s", "SELECT a b {%d+}\r\n%s", "SEARCH SUBJECT {%d+}\r\n%s", "FETCH 1 {%d+}\r\n%s",
		"APPEND Bozze (\\Bad\\Flag) {%d+}\r\n%s", "APPEND Bozze \"bad date\" {%d+}\r\n%s", "APPEND nowhere {%d+}\r\n%s", "STATUS {%d+}\r\n%s",
		"CREATE {5+}\r\n&AC8- {%d+}\r\n%s",
	} {
		c.n++
		tag := fmt.Sprintf("t%d", c.n)
		c.send(tag + " " + fmt.Sprintf(cmd, n, smuggled) + "\r\n")
		if _, answer := c.until(tag); strings.HasPrefix(answer, "OK") {
			t.Errorf("%q: %s", cmd, answer)
		}
	}
	// One that waits to be asked and is refused.
	c.send("y NONSENSE {10000}\r\n")
	if _, answer := c.until("y"); !strings.HasPrefix(answer, "NO [TOOBIG]") {
		t.Error(answer)
	}
	for _, l := range c.ok(`LIST "" "*"`) {
		if strings.Contains(l, "Entrato") {
			t.Error("a literal was run as a command")
		}
	}
}

// D4: what is too long is refused where the client can still be told, and ends
// the connection where what follows could be taken for commands.
func TestD4_LinesAndLiteralsAreBounded(t *testing.T) {
	h := newHouse(t)
	t.Run("long line", func(t *testing.T) {
		c := h.login("mario")
		c.send("a SEARCH " + strings.Repeat("ALL ", 100_000) + "ALL\r\nb NOOP\r\n")
		c.expect("a BAD [TOOBIG] {{.*}}", "b OK NOOP completed")
		_ = c.conn.Close()
	})
	t.Run("long line before login", func(t *testing.T) {
		c := h.connect()
		c.send("a LOGIN mario " + strings.Repeat("x", 40_000) + "\r\nb LOGIN mario secret\r\n")
		c.expect("a BAD [TOOBIG] {{.*}}", "b OK {{.*}}")
		_ = c.conn.Close()
	})
	bye := map[string]string{
		"literal nobody asked for":      "a LOGIN mario {5000+}\r\n" + strings.Repeat("x", 5000),
		"long line ends with a literal": "a NOOP " + strings.Repeat("x", maxBefore) + " {3+}\r\nabc\r\n",
		"endless line":                  "a " + strings.Repeat("x", maxDiscard+maxCommand),
		"many small literals":           "a LOGIN " + strings.Repeat("{1+}\r\nx ", 10_000) + "\r\n",
		"another protocol":              strings.Repeat("GET / HTTP/1.1\r\n: x\r\n", 30),
		"empty lines":                   strings.Repeat("\r\n", 30),
		"a message nobody announced":    "a LOGIN mario secret\r\nb APPEND Bozze {9999999+}\r\n",
		"no command before a literal":   "a {20+}\r\nb CREATE Entrato  \r\n\r\n",
		"control characters before one": "a LOGIN \x01 {20+}\r\nb CREATE Entrato  \r\n\r\n",
		"several messages":              "a LOGIN mario secret\r\nb APPEND Bozze {3+}\r\na:b {3+}\r\nc:d\r\n",
	}
	for name, input := range bye {
		t.Run(name, func(t *testing.T) {
			c := h.connect()
			go func() { _, _ = io.WriteString(c.conn, input) }() // ends with the connection
			c.t = t
			if bye := c.gone(); strings.Contains(bye, "Too long without") {
				t.Error(bye)
			}
			_ = c.conn.Close()
		})
	}
	h.quiet(t)
	if got := h.messages(mailbox.FolderKey{Owner: h.people["mario"], Role: mailbox.RoleDrafts}, mailbox.Viewer{Person: h.people["mario"]}); len(got) != 0 {
		t.Errorf("%d messages were stored", len(got))
	}
}

func TestFailedLoginsEndTheConnection(t *testing.T) {
	h := newHouse(t)
	c := h.connect()
	for range maxFailures {
		if _, answer := c.cmd("LOGIN mario wrong"); answer != "NO [AUTHENTICATIONFAILED] Nome utente o password non accettati / Authentication failed" {
			t.Error(answer)
		}
	}
	c.gone()
}

// A client that has gone silent in the middle of reading stops nobody.
func TestSlowReaderStopsNobody(t *testing.T) {
	h := newHouse(t)
	h.deliver(shared1(mailbox.RoleInbox), "Subject: x\r\n\r\n"+strings.Repeat("x", 1<<20), mailbox.Filing{})
	slow, err := h.ln.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	greeting := make([]byte, 5)
	if _, err := io.ReadFull(slow, greeting); err != nil {
		t.Fatal(err)
	}
	go io.WriteString(slow, "a LOGIN mario/"+protocollo+" secret\r\nb SELECT INBOX\r\nc FETCH 1 BODY[]\r\n")
	c := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	c.ok(`STORE 1 +FLAGS (\Flagged)`)
	h.deliver(shared1(mailbox.RoleInbox), plainMail, mailbox.Filing{})
	if lines := c.ok("NOOP"); lines[0] != "* 2 EXISTS" {
		t.Error(lines)
	}
}

func TestShutdownSaysBye(t *testing.T) {
	h := newHouse(t)
	idle, quiet, busy := h.login("mario"), h.connect(), h.login("lucia")
	idle.send("a IDLE\r\n")
	idle.expect("+ idling")
	busy.send("b APPEND Bozze {100}\r\n")
	busy.expect("+ Ready for literal data")
	busy.send("Subject: x\r\n")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := h.srv.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{idle, quiet, busy} {
		if bye := c.gone(); bye != "* BYE "+both(byeStopping) {
			t.Error(bye)
		}
	}
	if err := h.srv.Serve(newPipeListener()); err != ErrClosed {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

func TestShutdownCutsWhoDoesNotRead(t *testing.T) {
	h := newHouse(t)
	conn, err := h.ln.dial() // never reads its greeting
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for end := time.Now().Add(20 * time.Second); len(h.srv.connections()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server has not taken the connection")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := h.srv.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestG6_NoPINInWhatIsAppended(t *testing.T) {
	h := newHouse(t)
	const pin = "73915028"
	word := func(s string) string { return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?=" }
	headers := []string{
		"Subject: [PIN:" + pin + "] Richiesta\r\n",
		"Subject: Richiesta [pin: " + pin + "]\r\nThread-Topic: Richiesta [PIN:" + pin + "]\r\n",
		"Subject: " + word("Perché [PIN:"+pin+"] no") + "\r\n",
		"Subject: " + word("Perché [PI") + "\r\n " + word("N:"+pin+"] no") + "\r\n",
		"Subject: =?utf-8?q?Perch=C3=A9_[PIN:" + pin + "]?=\r\n",
		"Subject: =?utf-16?b?" + base64.StdEncoding.EncodeToString(inUTF16("[PIN:"+pin+"] x")) + "?=\r\n",
		"Subject: [PIN:" + pin[:4] + "\r\n " + pin[4:] + "]\r\n",
		"Subject: non ancora chiuso [PIN:" + pin + "\r\n",
		"subject: [ PIN :" + pin + "]\r\nX-PECGATE-PIN: " + pin + "\r\nX-Pecgate-Pin:\r\n " + pin + "\r\n",
		"X-Other-Topic: [PIN:" + pin + "]\r\nSubject: x\r\n",
		// What a person may have meant as one.
		"Subject: [PIN " + pin + "] x\r\n", "Subject: [PIN;" + pin + "]\r\n", "Subject: [pin - " + pin[:4] + " " + pin[4:] + "\r\n",
		"Subject: [PIN\u200b\u00a0" + pin + "]\r\n", "Subject: \uff3bPIN\uff1a" + pin + "\uff3d\r\n", "Thread-Topic: x\r\nComments: [P IN" + pin + "]\r\n",
		"Subject: =?iso-8859-1?q?[PIN=A0" + pin + "]?=\r\n", "Subject: =?utf-8?q?[PIN=C2=A0:" + pin + "]_x?=\r\n", "Subject: [PIN\xa0" + pin + "]\r\n",
	}
	c := h.login("mario")
	for n, header := range headers {
		msg := "From: a@b.it\r\n" + header + "Message-ID: <" + fmt.Sprint(n) + "@b.it>\r\n\r\ncorpo\r\n"
		c.ok(fmt.Sprintf("APPEND Bozze {%d+}\r\n%s", len(msg), msg))
	}
	drafts := h.messages(mailbox.FolderKey{Owner: h.people["mario"], Role: mailbox.RoleDrafts}, mailbox.Viewer{})
	if len(drafts) != len(headers) {
		t.Fatalf("%d drafts", len(drafts))
	}
	for i, raw := range drafts {
		if !bytes.HasPrefix(raw, []byte("From: a@b.it\r\n")) || !bytes.HasSuffix(raw, []byte("\r\n\r\ncorpo\r\n")) {
			t.Errorf("more than the PIN was changed:\n%s", raw)
		}
		if bytes.Contains(bytes.ToUpper(raw), []byte("PIN")) {
			t.Errorf("of %q stayed:\n%s", headers[i], raw)
		}
	}
	for _, subject := range []string{"[PIN] 2026 del 3 marzo", "[PING 73915]", "PIN: chiedere", "[Pineta] 12345"} {
		if got, err := withoutPIN([]byte("Subject: "+subject+"\r\n\r\n"), pinMark()); err != nil || string(got) != "Subject: "+subject+"\r\n\r\n" {
			t.Errorf("%q became %q, %v", subject, got, err)
		}
	}
	h.shut()
	forms := [][]byte{[]byte(pin), inUTF16(pin)}
	for shift := range 3 {
		enc := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + pin))
		forms = append(forms, []byte(enc[4:8]+enc[8:min(len(enc), 10)]))
	}
	for _, f := range files(t, h.dir) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range forms {
			if bytes.Contains(b, form) {
				t.Errorf("%s holds the PIN as %q", f, form)
			}
		}
	}
	h.open()
}

func inUTF16(s string) []byte {
	var b []byte
	for _, c := range []byte(s) {
		b = append(b, 0, c)
	}
	return b
}

func TestAppendHeaderLimit(t *testing.T) {
	h := newHouse(t)
	c := h.login("mario")
	long := "Subject: x\r\n" + strings.Repeat("X: "+strings.Repeat("y", 990)+"\r\n", 270) + "\r\nbody"
	c.send(fmt.Sprintf("a APPEND Bozze {%d}\r\n", len(long)))
	c.expect("+ Ready for literal data")
	c.send(long + "\r\n")
	c.expect("a NO [LIMIT] {{.*}}")
	c.ok("NOOP")
	small := newHouse(t, func(o *Options) { o.MaxAppend = 1000 })
	c = small.login("mario")
	if _, answer := c.cmd("APPEND Bozze {1001}"); !strings.HasPrefix(answer, "NO [TOOBIG]") {
		t.Error(answer)
	}
}

func TestEnglishNames(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Language = "en" })
	c := h.login("lucia/" + protocollo)
	got := strings.Join(c.ok(`LIST "" "*"`), "\n")
	for _, name := range []string{"INBOX", `"Sent"`, `"Receipts/Acceptance"`, `"Receipts/Ordinary acceptance"`, `"Receipts/Delivery"`, `"Receipts/Errors"`, `"Anomalies"`, `"Drafts"`, `"Trash"`} {
		if !strings.Contains(got, name) {
			t.Errorf("%s is not listed:\n%s", name, got)
		}
	}
}

func TestPieces(t *testing.T) {
	cmd := "a X {3+}\r\n\r\nb {0+}\r\n c {2+}\r\nd}\r\n"
	want := []string{"a X {3+}\r\n", "\r\nb", " {0+}\r\n", " c {2+}\r\n", "d}", "\r\n"}
	got := pieces([]byte(cmd))
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if string(got[i]) != want[i] {
			t.Errorf("piece %d: %q, want %q", i, got[i], want[i])
		}
	}
}

func TestWithoutSmaller(t *testing.T) {
	for in, want := range map[string]string{
		"a SEARCH SMALLER 5":                                  "a SEARCH NOT LARGER 4",
		"a UID SEARCH UID 1:* smaller 1 SEEN":                 "a UID SEARCH UID 1:* NOT LARGER 0 SEEN",
		"a SEARCH SUBJECT SMALLER SMALLER 0":                  "a SEARCH SUBJECT SMALLER NOT ALL",
		`a SEARCH HEADER X "SMALLER 5" NOT (SMALLER 9)`:       `a SEARCH HEADER X "SMALLER 5" NOT (NOT LARGER 8)`,
		"a SEARCH BODY {9+}\r\nSMALLER 5 OR SMALLER 7 SEEN":   "a SEARCH BODY {9+}\r\nSMALLER 5 OR NOT LARGER 6 SEEN",
		"a SEARCH SMALLER x":                                  "a SEARCH SMALLER x",
		"a SEARCH SUBJECT [a SMALLER 5":                       "a SEARCH SUBJECT [a NOT LARGER 4",
		"a SEARCH RETURN (COUNT ALL) CHARSET UTF-8 SMALLER 3": "a SEARCH RETURN (COUNT ALL) CHARSET UTF-8 NOT LARGER 2",
	} {
		if got := string(searchWords([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDecoders(t *testing.T) {
	for _, c := range []struct{ encoding, in, want string }{
		{"base64", "Y2lhbw==", "ciao"}, {"base64", "Y2 l\r\nh!bw", "ciao"}, {"base64", "Y2lhbw==Y2lhbw==", "ciaociao"}, {"base64", "Y2lh=", "cia"}, {"base64", "", ""},
		{"quoted-printable", "perch=E9 =\r\nno  \r\nfine =3D =zz", "perch\xe9 no\r\nfine = =zz"}, {"quoted-printable", "a=20\r\n b = \r\nc", "a \r\n b c"},
		{"quoted-printable", "a=", "a"}, {"7bit", "a\r\n", "a\r\n"},
	} {
		r, err := decoder(c.encoding, strings.NewReader(c.in), 0, int64(len(c.in)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.MultiReader(r))
		if err != nil || string(got) != c.want {
			t.Errorf("%s of %q: %q %v, want %q", c.encoding, c.in, got, err, c.want)
		}
	}
}
