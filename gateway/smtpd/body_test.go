package smtpd

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"pecgate/mailbox/netconn"
)

func wrapped(c net.Conn) *netconn.Conn { return netconn.Wrap(c, netconn.Options{}) }

// texts are what lines of generated bodies are made of.
var texts = []string{"", ".", "..", ". ", ".x", "...", "text", "From here", " .", "\x80\xff", "perché", "\t"}

// generate makes a body of lines; dirty ones hold what must be refused.
func generate(r *rand.Rand) (body string, dirty bool) {
	var b strings.Builder
	for range r.IntN(12) {
		switch r.IntN(12) {
		case 0:
			b.WriteString(strings.Repeat("x", []int{998, 999, 2000, 100_000}[r.IntN(4)]))
		case 1:
			b.WriteString("." + strings.Repeat("y", r.IntN(70_000)))
		default:
			b.WriteString(texts[r.IntN(len(texts))])
		}
		if r.IntN(40) == 0 {
			dirty = true
			b.WriteString([]string{"\r", "\n", "\x00", "\r\r\n", "\n.\n", "\r\n.\rX", "\r\n.\n"}[r.IntN(7)] + "z")
		}
		b.WriteString("\r\n")
	}
	return b.String(), dirty
}

func TestA14_BodiesAreByteExact(t *testing.T) {
	s := newServer(t, func(o *Options) { o.MaxSize = 10 << 20 })
	p := s.pipes(t)
	r := rand.New(rand.NewPCG(1, 2))
	c := newClient(t, p.dial(1))
	c.login()
	var want [][32]byte
	refused := 0
	for i := range 1000 {
		body, dirty := generate(r)
		head := strings.Replace(header, "<1@", fmt.Sprintf("<%d@", i), 1) + "\r\n"
		c.envelope(office, other)
		sent := stuff(head + body)
		for len(sent) > 0 { // in random pieces
			n := 1 + r.IntN(len(sent))
			if r.IntN(3) == 0 {
				n = min(n, 1+r.IntN(5))
			}
			c.send(sent[:n])
			sent = sent[n:]
		}
		got := c.reply()
		switch {
		case dirty && strings.HasPrefix(got, "550-5.6.0 "):
			refused++
		case !dirty && strings.HasPrefix(got, "250 2.0.0 Accettato"):
			want = append(want, sha256.Sum256([]byte(head+body)))
		default:
			t.Fatalf("body %d, dirty %v: %q", i, dirty, got)
		}
	}
	c.c.Close()
	all := s.store.all()
	if len(all) != len(want) || len(want) < 500 || refused < 50 {
		t.Fatalf("%d committed of %d, %d refused", len(all), len(want), refused)
	}
	for i, m := range all {
		if sha256.Sum256(m.data) != want[i] {
			t.Errorf("message %d was changed", i)
		}
	}
}

// unstuff is the plain way to read what DATA carries: line by line in memory.
func unstuff(wire []byte) (message []byte, rest []byte, ok bool) {
	for start := true; ; {
		if start && bytes.HasPrefix(wire, []byte(".\r\n")) {
			return message, wire, true
		}
		if start && bytes.HasPrefix(wire, []byte(".")) {
			wire = wire[1:]
		}
		i := bytes.Index(wire, []byte("\r\n"))
		if i < 0 {
			return nil, nil, false
		}
		message = append(message, wire[:i+2]...)
		wire, start = wire[i+2:], true
	}
}

// scripted is a connection that gives out pieces.
type scripted struct {
	pipeLink
	pieces [][]byte
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func FuzzA14_Body(f *testing.F) {
	for _, s := range smuggling {
		f.Add([]byte("a: b\r\n\r\ntext"+s+"more\r\n.\r\nNOOP\r\n"), uint64(1))
	}
	for _, s := range []string{".\r\n", "..\r\n.\r\n", ".x\r\n.\r\nQUIT\r\n", "\r\n.\r\n", "x\r\n.\r\r\n.\r\n", "\r\r\n.\r\n", "\r\n.\rX\r\n.\r\n", "x\r\n..\r\n.\r\n", "x\r\n.", "x\r\n.\r", "\r\n\r\n.\r\n.\r\n"} {
		f.Add([]byte(s), uint64(7))
	}
	srv := newServer(f, nil)
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		l := &scripted{}
		for rest := wire; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 9))
			l.pieces = append(l.pieces, rest[:n])
			rest = rest[n:]
		}
		c := &conn{link: l, srv: srv.Server, in: make([]byte, 16)}
		b := c.message()
		var got []byte
		var err error
		for err == nil {
			var p []byte
			p, err = b.next()
			got = append(got, p...)
		}
		want, rest, ok := unstuff(wire)
		if !ok {
			if !errors.Is(err, errLost) {
				t.Fatalf("no end mark in %q, but %v", wire, err)
			}
			return
		}
		if err != io.EOF || !bytes.Equal(got, want) {
			t.Fatalf("%q: %q, %v, want %q", wire, got, err, want)
		}
		dirty := bytes.IndexByte(want, 0) >= 0 || bytes.ContainsAny(bytes.ReplaceAll(want, []byte("\r\n"), nil), "\r\n")
		if b.dirty != dirty || b.n != int64(len(want)) {
			t.Errorf("%q: dirty %v, %d octets", want, b.dirty, b.n)
		}
		// What follows is still there, beginning with the end mark.
		left := append([]byte(nil), c.in[c.r:c.w]...)
		for _, p := range l.pieces {
			left = append(left, p...)
		}
		if !bytes.Equal(left, rest) {
			t.Errorf("%q left of %q", left, rest)
		}
	})
}
