package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// load says what the driver sends.
type load struct {
	Sessions int           // SMTP sessions at once; the people take turns
	Each     int           // messages of a session; 0: until the line breaks or the context ends
	Size     int           // largest body in bytes; sizes are spread below it
	Large    int           // every so many-th message has more than 1 MiB; 0: none
	Pause    time.Duration // between two messages of a session
	Repeat   bool          // begin with what was not answered before, as mail programs do

	// OnDot is called when a dot was written, in the session's goroutine; OnReply
	// when a 250 was read and before it is written down. They may end the gateway.
	OnDot, OnReply func()
}

// replyWait is how long a session waits for any reply.
const replyWait = 30 * time.Second

// errBroken: the line to the gateway broke, as it does when it is killed.
var errBroken = errors.New("the line broke")

// drive runs the sessions and waits for all. A session whose line breaks ends;
// that and refusals are no errors. Errors are the ledger's.
func (w *world) drive(ctx context.Context, o load) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	all := people()
	for n := range o.Sessions {
		rnd := rand.New(rand.NewPCG(w.o.Seed, w.rnd.Uint64()))
		p, to := all[n%len(all)], all[(n+1)%len(all)].box
		wg.Go(func() {
			s := &submitter{w: w, o: o, from: p, to: to, rnd: rnd}
			if err := s.run(ctx); err != nil && !errors.Is(err, errBroken) && ctx.Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
				cancel()
			}
		})
	}
	wg.Wait()
	return failed
}

// submitter is one SMTP session.
type submitter struct {
	w    *world
	o    load
	from person
	to   string
	rnd  *rand.Rand
	conn net.Conn
	r    *bufio.Reader
}

func (s *submitter) run(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	defer s.conn.Close() // it broke, or QUIT was said
	socket := s.conn
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	for n := 0; s.o.Each == 0 || n < s.o.Each; n++ {
		var m *letter
		if s.o.Repeat {
			m = s.w.ledger.again(s.from)
		}
		if m == nil {
			m = s.letter()
		}
		if err := s.send(m); err != nil {
			return err
		}
		if s.o.Pause > 0 {
			if err := pause(ctx, s.o.Pause); err != nil {
				return err
			}
		}
	}
	_, err := s.command("QUIT")
	return err
}

// letter makes the next message.
func (s *submitter) letter() *letter {
	k := s.w.next()
	size := 200 + s.rnd.IntN(max(s.o.Size, 1))
	if s.o.Large > 0 && k%s.o.Large == 0 {
		size = 1<<20 + s.rnd.IntN(200<<10)
	}
	return newLetter(fmt.Sprintf("n%d.%x@driver.example", k, s.w.o.Seed), s.from, s.to, size)
}

// open connects and logs in.
func (s *submitter) open(ctx context.Context) error {
	d := tls.Dialer{Config: &tls.Config{RootCAs: s.w.roots, ServerName: "localhost"}}
	conn, err := d.DialContext(ctx, "tcp", s.w.smtps)
	if err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	s.conn, s.r = conn, bufio.NewReader(conn)
	err = s.hello()
	if err != nil {
		conn.Close()
	}
	return err
}

func (s *submitter) hello() error {
	if code, err := s.reply(); err != nil || code != 220 {
		return broken(code, err)
	}
	if code, err := s.command("EHLO driver.example"); err != nil || code != 250 {
		return broken(code, err)
	}
	token := base64.StdEncoding.EncodeToString([]byte("\x00" + s.from.login + "\x00" + s.from.password()))
	if code, err := s.command("AUTH PLAIN " + token); err != nil || code != 235 {
		return broken(code, err)
	}
	return nil
}

// broken makes one error of a wrong answer and of none.
func broken(code int, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: unexpected answer %d", errBroken, code)
}

// send hands in one letter and writes down what came of it.
func (s *submitter) send(m *letter) error {
	for _, line := range []string{"MAIL FROM:<" + m.From.box + ">", "RCPT TO:<" + m.To + ">", "DATA"} {
		code, err := s.command(line)
		if err != nil {
			return err
		}
		if code >= 400 {
			s.w.ledger.no()
			if code == 421 {
				return errBroken
			}
			code, err := s.command("RSET")
			if err != nil || code != 250 {
				return broken(code, err)
			}
			return nil
		}
	}
	stuffed := strings.ReplaceAll(m.Raw, "\r\n.", "\r\n..")
	if err := s.put(stuffed); err != nil {
		return err
	}
	s.w.ledger.sending(m)
	if err := s.put(".\r\n"); err != nil {
		s.w.ledger.unanswered(m)
		return err
	}
	if s.o.OnDot != nil {
		s.o.OnDot()
	}
	code, err := s.reply()
	switch {
	case err != nil:
		s.w.ledger.unanswered(m)
		return err
	case code == 250:
		if s.o.OnReply != nil {
			s.o.OnReply()
		}
		return s.w.ledger.promise(m)
	}
	s.w.ledger.no()
	if code == 421 {
		return errBroken
	}
	return nil
}

func (s *submitter) command(line string) (int, error) {
	if err := s.put(line + "\r\n"); err != nil {
		return 0, err
	}
	return s.reply()
}

func (s *submitter) put(text string) error {
	err := s.conn.SetWriteDeadline(time.Now().Add(replyWait))
	if err == nil {
		_, err = io.WriteString(s.conn, text)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return nil
}

// reply reads one reply of any number of lines and gives its code.
func (s *submitter) reply() (int, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(replyWait)); err != nil {
		return 0, fmt.Errorf("%w: %w", errBroken, err)
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errBroken, err)
		}
		var code int
		if _, err := fmt.Sscanf(line, "%3d", &code); err != nil {
			return 0, fmt.Errorf("%w: a reply without a code", errBroken)
		}
		if len(line) < 4 || line[3] != '-' {
			return code, nil
		}
	}
}
