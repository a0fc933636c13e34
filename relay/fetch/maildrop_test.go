package fetch

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pecgate/relay/providersim" // the provider as the other rooms' tests know it
)

// maildrop starts a provider with messages in a mailbox and returns the login.
func maildrop(t *testing.T, messages ...string) (*providersim.Provider, Server) {
	t.Helper()
	p, in, _ := simulated(t)
	for _, m := range messages {
		if err := p.Inject(register, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	in.Port = port(t, p.POP3Addr())
	return p, in
}

func dialMaildrop(t *testing.T, srv Server) *Maildrop {
	t.Helper()
	d, err := DialMaildrop(t.Context(), srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// keepDrop is keep for a maildrop, whose items tell no size.
func keepDrop(into *[]got) func(context.Context, Item) error {
	return func(_ context.Context, it Item) error {
		b, err := io.ReadAll(it.Body)
		if it.Problem != nil {
			*into = append(*into, got{body: it.ID, problem: it.Problem})
			return nil
		}
		if err == nil {
			*into = append(*into, got{body: string(b)})
		}
		return err
	}
}

func bodies(list []got) []string {
	var out []string
	for _, g := range list {
		out = append(out, g.body)
	}
	return out
}

var dropped = []string{
	"From: a@x.example\r\nSubject: one\r\n\r\n.\r\n..\r\n+OK\r\n",
	"Subject: two\r\n\r\n" + strings.Repeat("x", 5000) + "\r\n.\r\n",
	"Subject: three\r\n\r\nno line end",
	"Subject: four\r\n\r\nbare \n.\n and \r.\r\n",
}

func TestMaildropGivesEveryMessageUnchanged(t *testing.T) {
	p, srv := maildrop(t, dropped...)
	d := dialMaildrop(t, srv)
	list, err := d.List(t.Context())
	if err != nil || len(list) != len(dropped) {
		t.Fatalf("%v, %v", list, err)
	}
	var have []got
	// In the order that was asked for.
	slices.Reverse(list)
	if err := d.Fetch(t.Context(), list, keepDrop(&have)); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(have)
	if !slices.Equal(bodies(have), dropped) {
		t.Errorf("%q", bodies(have))
	}
	if d.TLSVersion != "TLS 1.3" || d.CertificateExpires.IsZero() {
		t.Errorf("%+v", d)
	}
	for i, l := range list {
		m := dropped[len(dropped)-1-i]
		for _, other := range []string{m, strings.Replace(m, "Subject", "Subject2", 1), m + "x", m[:len(m)-1], ""} {
			same, err := d.Same(t.Context(), l, strings.NewReader(other), int64(len(other)))
			if err != nil || same != (other == m) {
				t.Errorf("%q beside %.60q: %t, %v", m[:14], other, same, err)
			}
		}
	}
	// Nothing goes without QUIT (C3), and with it only what was named.
	if refused, err := d.Delete(t.Context(), list[:1]); err != nil || len(refused) > 0 {
		t.Fatal(refused, err)
	}
	d.Close()
	left := func() int {
		m, err := p.Folder(register, "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		return len(m)
	}
	if left() != len(dropped) {
		t.Errorf("%d left without QUIT", left())
	}
	d = redial(t, srv)
	again, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if refused, err := d.Delete(t.Context(), again[1:3]); err != nil || len(refused) > 0 {
		t.Fatal(refused, err)
	}
	if err := d.Quit(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, err := p.Folder(register, "INBOX")
	if err != nil || len(m) != 2 || string(m[0].Raw) != dropped[0] || string(m[1].Raw) != dropped[3] {
		t.Errorf("%d left, %v", len(m), err)
	}
}

// redial dials until the session before has let go of the maildrop.
func redial(t *testing.T, srv Server) *Maildrop {
	t.Helper()
	for {
		d, err := DialMaildrop(t.Context(), srv)
		if err == nil {
			t.Cleanup(func() { d.Close() })
			return d
		}
		if !strings.Contains(err.Error(), "IN-USE") || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestMaildropFaults(t *testing.T) {
	t.Run("login refused", func(t *testing.T) {
		p, srv := maildrop(t)
		p.Faults().RefuseLogin.Next(1)
		if _, err := DialMaildrop(t.Context(), srv); !errors.Is(err, ErrAuthRefused) || strings.Contains(err.Error(), srv.Password) {
			t.Errorf("%v", err)
		}
	})
	t.Run("unknown authority", func(t *testing.T) {
		p, srv := maildrop(t)
		srv.Roots = authority().Roots()
		if _, err := DialMaildrop(t.Context(), srv); !errors.Is(err, ErrTLS) || len(p.Logins()) > 0 {
			t.Errorf("%v", err)
		}
	})
	t.Run("no UIDL", func(t *testing.T) {
		p, srv := maildrop(t, dropped...)
		p.Faults().NoUIDL.On()
		if _, err := dialMaildrop(t, srv).List(t.Context()); !errors.Is(err, ErrNoIDs) || !strings.Contains(err.Error(), "IMAP") {
			t.Errorf("%v", err)
		}
	})
	t.Run("wrong sizes", func(t *testing.T) { // C10
		p, srv := maildrop(t, dropped...)
		p.Faults().WrongSizes.On()
		d := dialMaildrop(t, srv)
		list, err := d.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var have []got
		err = d.Fetch(t.Context(), list, keepDrop(&have))
		if me := new(MessageError); !errors.As(err, &me) || !errors.Is(err, ErrSize) || me.ID != list[0].ID || len(have) > 0 {
			t.Errorf("%v, %d", err, len(have))
		}
		if _, err := d.Delete(t.Context(), list); err == nil {
			t.Error("the session goes on")
		}
	})
	t.Run("cut in a body", func(t *testing.T) {
		p, srv := maildrop(t, dropped...)
		p.Faults().CutRetr.Set(3000)
		d := dialMaildrop(t, srv)
		list, err := d.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var have []got
		err = d.Fetch(t.Context(), list[1:], keepDrop(&have))
		if me := new(MessageError); !errors.As(err, &me) || me.ID != list[1].ID || len(have) > 0 {
			t.Errorf("%v, %d", err, len(have))
		}
	})
	t.Run("too large", func(t *testing.T) { // C16
		_, srv := maildrop(t, dropped...)
		srv.MaxMessage = 1000
		d := dialMaildrop(t, srv)
		list, err := d.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var have []got
		if err := d.Fetch(t.Context(), list, keepDrop(&have)); err != nil || len(have) != 4 || !errors.Is(have[1].problem, ErrTooLarge) {
			t.Errorf("%v, %v", have, err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		_, srv := maildrop(t, dropped...)
		d := dialMaildrop(t, srv)
		list, err := d.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list[0].Number = 99
		var have []got
		if err := d.Fetch(t.Context(), list[:2], keepDrop(&have)); err != nil || len(have) != 2 || !errors.Is(have[0].problem, ErrNoAnswer) || have[1].body != dropped[1] {
			t.Errorf("%v, %v", have, err)
		}
	})
}

// TestC7_MadeIDs: messages without a usable id are known by what TOP gives, over
// sessions, and never deleted.
func TestC7_MadeIDs(t *testing.T) {
	var list, again []Listed
	top := "-ERR what?"
	ln := listen(t, nil, func(cmd string) string {
		switch word, arg, _ := strings.Cut(cmd, " "); word {
		case "CAPA":
			return "-ERR what?"
		case "LIST":
			return "+OK\r\n1 10\r\n2 10\r\n3 11\r\n4 9\r\n."
		case "UIDL":
			return "+OK\r\n1 same\r\n2 same\r\n3 same\r\n4 own\r\n."
		case "TOP":
			return strings.ReplaceAll(top, "%", strings.Fields(arg)[0])
		}
		return "+OK"
	})
	read := func() (list []Listed, err error) { return dialMaildrop(t, serverAt(ln)).List(t.Context()) }
	if _, err := read(); !errors.Is(err, ErrNoIDs) {
		t.Errorf("without TOP: %v", err)
	}
	top = "+OK\r\nSubject: the same\r\n\r\n."
	list, err1 := read()
	again, err2 := read()
	if err := errors.Join(err1, err2); err != nil || !slices.Equal(list, again) || list[3].ID != "own" || list[3].Doubtful() {
		t.Fatalf("%v, %v, %v", list, again, err)
	}
	ids := map[string]bool{}
	for _, l := range list[:3] {
		ids[l.ID] = true
		d := dialMaildrop(t, serverAt(ln))
		if _, err := d.Delete(t.Context(), []Listed{l}); !l.Doubtful() || err == nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
	if len(ids) != 3 {
		t.Errorf("%v", ids)
	}
	top = "+OK\r\nSubject: %\r\n\r\n."
	if other, err := read(); err != nil || other[0].ID == list[0].ID {
		t.Errorf("%v, %v", other, err)
	}
}

// listen runs a POP3 server of single answers over TLS. config nil is a good one.
func listen(t *testing.T, config *tls.Config, answer func(cmd string) string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config == nil {
		config = &tls.Config{Certificates: []tls.Certificate{authority().Server(t, nil)}}
	}
	p := &provider{ln: ln}
	t.Cleanup(p.stop)
	p.wg.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() {
				defer raw.Close()
				c := tls.Server(raw, config)
				io.WriteString(c, "+OK ready\r\n")
				for sc := bufio.NewScanner(c); sc.Scan(); {
					io.WriteString(c, answer(sc.Text())+"\r\n")
				}
			})
		}
	})
	return ln
}

func TestE1_NoPOP3LoginUnderABadCertificate(t *testing.T) {
	var seen atomic.Int64
	for _, b := range append(authority().BadCertificates(t), authority().BadProtocols(t)...) {
		t.Run(b.Name, func(t *testing.T) {
			ln := listen(t, b.Config, func(string) string { seen.Add(1); return "+OK" })
			if _, err := DialMaildrop(t.Context(), serverAt(ln)); !errors.Is(err, ErrTLS) || errors.Is(err, ErrAuthRefused) {
				t.Errorf("%v", err)
			}
		})
	}
	if seen.Load() > 0 {
		t.Errorf("%d commands were sent", seen.Load())
	}
}
