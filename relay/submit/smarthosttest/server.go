// Package smarthosttest is an SMTP server for tests that takes ordinary mail without
// TLS on a loopback address.
//
// It must not import any room of pecgate.
package smarthosttest

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server takes ordinary mail as the test says.
type Server struct {
	t    *testing.T
	ln   net.Listener
	done sync.WaitGroup

	mu     sync.Mutex
	got    []Received
	Answer func(to string) string // reply to RCPT, "": 250; set before the first connection
	CutDot int                    // so many replies to the dot are lost
	DSN    bool                   // offered (RFC 3461); set before the first connection
}

// Received is a message that was taken: the line of MAIL, the address of the last RCPT
// that was taken, the lines of all of those, and the message.
type Received struct {
	From, To, Data string
	Rcpts          []string
}

// New starts a server that ends with the test.
func New(t *testing.T) *Server {
	t.Helper()
	return On(t, "127.0.0.1:0")
}

// On is New at an address.
func On(t *testing.T, address string) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	h := &Server{t: t, ln: ln}
	h.done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			h.done.Go(func() { h.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		h.done.Wait()
	})
	return h
}

func (h *Server) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second)) // a test that hangs ends
	r := &lines{c: c}
	say := func(s string) { fmt.Fprintf(c, "%s\r\n", s) }
	say("220 exchange.example ESMTP")
	var m Received
	for {
		line, err := r.next()
		if err != nil {
			return
		}
		switch word := strings.ToUpper(line[:min(len(line), 4)]); word {
		case "EHLO":
			if h.DSN {
				say("250-exchange.example\r\n250-DSN\r\n250 8BITMIME")
			} else {
				say("250-exchange.example\r\n250 8BITMIME")
			}
		case "MAIL":
			m = Received{From: line}
			say("250 ok")
		case "RCPT":
			to, _, _ := strings.Cut(strings.TrimPrefix(line, "RCPT TO:<"), ">")
			h.mu.Lock()
			reply := "250 ok"
			if h.Answer != nil {
				if a := h.Answer(to); a != "" {
					reply = a
				}
			}
			h.mu.Unlock()
			if strings.HasPrefix(reply, "2") {
				m.To, m.Rcpts = to, append(m.Rcpts, line)
			}
			say(reply)
		case "DATA":
			say("354 go on")
			var data strings.Builder
			for {
				l, err := r.next()
				if err != nil {
					return
				}
				if l == "." {
					break
				}
				data.WriteString(strings.TrimPrefix(l, ".") + "\r\n")
			}
			m.Data = data.String()
			h.mu.Lock()
			h.got = append(h.got, m)
			cut := h.CutDot > 0
			h.CutDot = max(h.CutDot-1, 0)
			h.mu.Unlock()
			if cut {
				return
			}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// lines reads lines that end in CRLF.
type lines struct {
	c    net.Conn
	rest string
}

func (l *lines) next() (string, error) {
	for {
		if line, rest, ok := strings.Cut(l.rest, "\r\n"); ok {
			l.rest = rest
			return line, nil
		}
		b := make([]byte, 4096)
		n, err := l.c.Read(b)
		if err != nil {
			return "", err
		}
		l.rest += string(b[:n])
	}
}

// All are the messages that were taken.
func (h *Server) All() []Received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Received(nil), h.got...)
}

// Addr is host:port.
func (h *Server) Addr() string { return h.ln.Addr().String() }

// Close lets nobody connect any more.
func (h *Server) Close() { h.ln.Close() }
