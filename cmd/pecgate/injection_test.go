package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"pecgate/relay"
)

// TestS4_StrangersWriteNoLines: strangers and members put line ends, escapes, a megabyte and bytes that are no UTF-8 into
// every place that they fill: names, EHLO, paths, subjects, folders, the words of a provider. Each line of the log is one
// JSON object, none is what they wanted, and none is long.
func TestS4_StrangersWriteNoLines(t *testing.T) {
	const planted = "planted-line"
	// A provider that refuses in hostile words.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close() // ends the loop below
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("554 \x1b[2J\u009b\x00\xff {\"msg\":\"" + planted + "\"}" + strings.Repeat("Z", 2000) + "\r\n")) // who hears is the one under test
			_ = c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	hostile := strings.NewReplacer("host: localhost, port: SMTPPORT", "host: localhost, security: starttls, port: "+port).Replace(mailboxText(boxA, false, "", "mario"))
	h := newHouse(t, hostile, mailboxText(boxB, false, "", "lucia", "mario")).start()
	words := []string{
		"x\r\n{\"time\":\"2026-11-22T10:00:00Z\",\"level\":\"INFO\",\"msg\":\"" + planted + "\"}", "\x1b[2J\x1b]0;" + planted + "\x07", "m\xffrio\xc3(",
		"a\u0085\u009b2Jb\u2028c", strings.Repeat("A", 1<<20), strings.Repeat("\x00", 2000), `"}{"msg":"` + planted,
	}
	line := strings.NewReplacer("\r", "", "\n", "")
	for _, word := range words {
		flat := line.Replace(word)
		for _, commands := range [][]string{
			{"EHLO " + flat, "MAIL FROM:<" + flat + ">", "QUIT"},
			{"EHLO c.example", "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+word+"\x00wrong")), flat, "QUIT"},
			{"EHLO c.example", "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00mario\x00mariomario")), "MAIL FROM:<" + flat + ">", "MAIL FROM:<" + boxA + ">", "RCPT TO:<" + flat + "@pec.beta.example>", "QUIT"},
		} {
			h.babble(h.smtps, commands)
		}
		for _, commands := range [][]string{
			{`a LOGIN "` + flat + `" wrong`, flat, "z LOGOUT"},
			{"a LOGIN mario mariomario", `b SELECT "` + flat + `"`, `c CREATE "` + flat + `"`, `d LIST "" "` + flat + `"`, `e UID SEARCH SUBJECT "` + flat + `"`, "z LOGOUT"},
		} {
			h.babble(h.imaps, commands)
		}
		// A subject and a Message-ID that nobody writes; what it becomes is another test's.
		w := h.logged()
		text := "From: <" + boxB + ">\r\nTo: <" + boxA + ">\r\nSubject: " + flat[:min(len(flat), 900)] + "\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <" + flat[:min(len(flat), 200)] + "@alfa.example>\r\n\r\nx\r\n"
		if _, err := w.deliver(boxB, boxA, text); err != nil {
			t.Log(err) // refused, perhaps
		}
		w.close()
	}
	id := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Prova", "risposta@alfa.example")))
	h.until("the provider's words are in the log", func() bool { return strings.Contains(h.log.String(), "ZZZZZZZZ") || h.state(id) == relay.NotAccepted })
	h.stop()
	lines := 0
	in := bufio.NewScanner(strings.NewReader(h.log.String()))
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		lines++
		var o struct{ Time, Level, Msg string }
		if err := json.Unmarshal(in.Bytes(), &o); err != nil || o.Time == "" || o.Level == "" || o.Msg == "" || strings.Contains(o.Msg, planted) {
			t.Errorf("not a line of ours (%v): %.300q", err, in.Text())
		}
		if len(in.Bytes()) > 16<<10 || strings.ContainsAny(in.Text(), "\x1b\x00\x7f\u009b\u0085\u2028") {
			t.Errorf("a line of %d bytes: %.300q", len(in.Bytes()), in.Text())
		}
	}
	if err := in.Err(); err != nil || lines < 30 {
		t.Errorf("%d lines, %v", lines, err)
	}
}

// babble says lines and waits until the other side ends it, or a moment: what it answers is not looked at.
func (h *house) babble(addr string, lines []string) {
	h.t.Helper()
	w, err := dialWire(addr, h.roots())
	if err != nil {
		h.t.Fatal(err)
	}
	defer w.close()
	_ = w.say(strings.Join(lines, "\r\n") + "\r\n") // it may be thrown out meanwhile
	_ = w.c.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, w.r)
}

// state is what a submission is now; "" where it cannot be told.
func (h *house) state(id string) relay.State {
	s, err := h.shown(id)
	if err != nil {
		return ""
	}
	return s.State
}
