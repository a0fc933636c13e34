package imapd

import (
	"bufio"
	"compress/flate"
	"io"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox"
)

// squeezed is a client's line once both sides compress.
type squeezed struct {
	io.Reader
	w *flate.Writer
}

func (s squeezed) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err == nil {
		err = s.w.Flush()
	}
	return n, err
}

// deflate switches the client over.
func (c *client) deflate() squeezed {
	c.t.Helper()
	w, err := flate.NewWriter(c.conn, flate.BestCompression)
	if err != nil {
		c.t.Fatal(err)
	}
	return squeezed{Reader: flate.NewReader(c.r), w: w}
}

func TestCompress(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	big := mail("<big@pec.example.org>", "grande") + strings.Repeat("riga di testo che si ripete\r\n", 20_000)
	h.deliver(shared1(mailbox.RoleInbox), big, mailbox.Filing{})
	plain, c := h.login("mario/"+protocollo), h.login("mario/"+protocollo)
	c.ok("COMPRESS DEFLATE")
	line := c.deflate()
	c.r = bufio.NewReader(line)
	compare := func(cmd string) {
		t.Helper()
		want, wantEnd := plain.cmd(cmd)
		if _, err := io.WriteString(line, "z "+cmd+"\r\n"); err != nil {
			t.Fatal(err)
		}
		got, end := c.until("z")
		if !slices.Equal(got, want) || end != wantEnd {
			t.Fatalf("%s: %d lines and %q, want %d and %q", cmd, len(got), end, len(want), wantEnd)
		}
	}
	compare("EXAMINE INBOX")
	compare("FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE)")
	compare("FETCH 4 BODY.PEEK[]")
	compare("SEARCH TEXT ripete")
	compare("NOSUCH command")
	compare("GETQUOTA nothing")
	// What comes by itself is compressed too.
	if _, err := io.WriteString(line, "i IDLE\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := c.read(); !strings.HasPrefix(got, "+ ") {
		t.Fatalf("IDLE: %q", got)
	}
	h.deliver(shared1(mailbox.RoleInbox), plainMail, mailbox.Filing{})
	if got := c.read(); got != "* 5 EXISTS" {
		t.Fatalf("in IDLE: %q", got)
	}
	if _, err := io.WriteString(line, "DONE\r\nj COMPRESS DEFLATE\r\n"); err != nil {
		t.Fatal(err)
	}
	c.until("i")
	if _, end := c.until("j"); end != "NO [COMPRESSIONACTIVE] DEFLATE is active already" {
		t.Errorf("twice: %q", end)
	}
	if _, err := io.WriteString(line, "k LOGOUT\r\n"); err != nil {
		t.Fatal(err)
	}
	c.until("k")

	// A bomb is a command that is too long, and no more.
	b := h.login("mario")
	b.ok("COMPRESS DEFLATE")
	line = b.deflate()
	b.r = bufio.NewReader(line)
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := line.Write(zeros); err != nil {
			break // it has hung up
		}
	}
	b.gone()
	// Rubbish ends the connection.
	r := h.login("mario")
	r.ok("COMPRESS DEFLATE")
	r.send(strings.Repeat("\xff", 100))
	r.r = bufio.NewReader(flate.NewReader(r.r))
	if _, err := r.r.ReadString('\n'); err == nil {
		t.Error("rubbish was answered as a command")
	}
	// Before the answer nothing may follow.
	e := h.login("mario")
	e.send("x COMPRESS DEFLATE\r\ny NOOP\r\n")
	if _, end := e.until("x"); !strings.HasPrefix(end, "BAD") {
		t.Errorf("with a command behind it: %q", end)
	}
	if _, end := e.until("y"); !strings.HasPrefix(end, "OK") {
		t.Errorf("the command behind it: %q", end)
	}
	e.ok("NOOP")
	if _, end := e.cmd("COMPRESS LZW"); !strings.HasPrefix(end, "BAD") {
		t.Errorf("LZW: %q", end)
	}
}
