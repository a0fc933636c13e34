package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// wire is a client that sees every byte of an answer, to tell a polite end from
// a cut one.
type wire struct {
	c    *tls.Conn
	r    *bufio.Reader
	last string // the last whole line that came
	torn string // what came after it when the line ended
	n    int    // commands so far, for IMAP's tags
}

// dialWire connects and reads nothing yet. Every answer has half a minute.
func dialWire(addr string, roots *x509.CertPool) (*wire, error) {
	d := net.Dialer{Timeout: 30 * time.Second}
	c, err := tls.DialWithDialer(&d, "tcp", addr, &tls.Config{ServerName: "localhost", RootCAs: roots})
	if err != nil {
		return nil, err
	}
	return &wire{c: c, r: bufio.NewReader(c)}, nil
}

func (w *wire) close() { _ = w.c.Close() } // nobody to tell

// line reads one line without its end.
func (w *wire) line() (string, error) {
	_ = w.c.SetReadDeadline(time.Now().Add(30 * time.Second)) // a failure shows in the read
	s, err := w.r.ReadString('\n')
	if err != nil {
		w.torn = s
		return "", err
	}
	w.last = strings.TrimRight(s, "\r\n")
	return w.last, nil
}

func (w *wire) say(s string) error {
	_ = w.c.SetWriteDeadline(time.Now().Add(30 * time.Second)) // a failure shows in the write
	_, err := io.WriteString(w.c, s)
	return err
}

// reply reads one SMTP reply, of several lines perhaps.
func (w *wire) reply() (code int, err error) {
	for {
		s, err := w.line()
		if err != nil {
			return 0, err
		}
		if len(s) < 4 {
			return 0, fmt.Errorf("%q is no reply", s)
		}
		if code, err = strconv.Atoi(s[:3]); err != nil {
			return 0, err
		}
		if s[3] != '-' {
			return code, nil
		}
	}
}

// ask sends an SMTP command and returns the code of its reply. A line that
// breaks while writing may have its reason waiting to be read.
func (w *wire) ask(command string) (int, error) {
	werr := w.say(command + "\r\n")
	code, err := w.reply()
	if err != nil && werr != nil {
		return 0, werr
	}
	return code, err
}

// smtpLogin reads the greeting and logs in.
func (w *wire) smtpLogin(login, password string) (code int, err error) {
	if code, err = w.reply(); err != nil || code != 220 {
		return code, err
	}
	if code, err = w.ask("EHLO client.example"); err != nil || code != 250 {
		return code, err
	}
	return w.ask("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+login+"\x00"+password)))
}

// deliver sends a message and returns the code of the first reply that is not
// as it should be, or 250 of the end.
func (w *wire) deliver(from, to, text string) (code int, err error) {
	for _, step := range []struct {
		say  string
		want int
	}{{"MAIL FROM:<" + from + ">", 250}, {"RCPT TO:<" + to + ">", 250}, {"DATA", 354}} {
		if code, err = w.ask(step.say); err != nil || code != step.want {
			return code, err
		}
	}
	return w.ask(strings.ReplaceAll(text, "\r\n.", "\r\n..") + ".")
}

// imap sends an IMAP command and returns all it answers, literals included;
// status is OK, NO or BAD.
func (w *wire) imap(command string) (answer, status string, err error) {
	w.n++
	tag := "a" + strconv.Itoa(w.n)
	werr := w.say(tag + " " + command + "\r\n")
	var all strings.Builder
	for {
		s, err := w.line()
		if err != nil {
			if werr != nil {
				err = werr
			}
			return all.String(), "", err
		}
		if rest, ok := strings.CutPrefix(s, tag+" "); ok {
			status, _, _ = strings.Cut(rest, " ")
			return all.String(), status, nil
		}
		all.WriteString(s + "\r\n")
		if open := strings.LastIndexByte(s, '{'); open >= 0 && strings.HasSuffix(s, "}") {
			n, err := strconv.Atoi(s[open+1 : len(s)-1])
			if err != nil {
				return all.String(), "", err
			}
			if got, err := io.CopyN(&all, w.r, int64(n)); err != nil {
				w.torn = fmt.Sprintf("%d bytes of %d", got, n)
				return all.String(), "", err
			}
		}
	}
}

// imapLogin reads the greeting and logs in.
func (w *wire) imapLogin(login, password string) (status string, err error) {
	greeting, err := w.line()
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(greeting, "* OK ") {
		return "", nil
	}
	_, status, err = w.imap("LOGIN " + login + " " + password)
	return status, err
}

// polite tells whether the other side said good-bye before it closed the line,
// in the words of its protocol, and cut no answer.
func (w *wire) polite() bool {
	return w.torn == "" && (strings.HasPrefix(w.last, "421 ") || strings.HasPrefix(w.last, "* BYE "))
}

// logged is an SMTP conversation after login.
func (h *house) logged() *wire {
	h.t.Helper()
	w, err := dialWire(h.smtps, h.roots())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(w.close)
	if code, err := w.smtpLogin("mario", "mariomario"); err != nil || code != 235 {
		h.t.Fatalf("login: %d %q, %v", code, w.last, err)
	}
	return w
}
