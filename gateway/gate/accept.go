package gate

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"pecgate/mailbox/netconn"
)

const (
	// farewellTime is how long somebody who is turned away may take to hear why.
	farewellTime = 5 * time.Second
	// maxFarewells is how many are told at once: each costs a handshake and a
	// file. The others find the line closed.
	maxFarewells = 8
	// spareTime is how long the spare file is away at most while nobody comes.
	spareTime = time.Second
)

// acceptLoop accepts until Close. Where the process has no file left for a
// connection it gives up one that it holds for that, so that the client is not
// left waiting for a greeting that does not come.
func (l *Listener) acceptLoop() {
	const longest = time.Second
	delay := time.Duration(0)
	spare := openSpare()
	defer func() { spare.close() }()
	for {
		c, err := l.raw.Accept()
		room := true
		if spare.open() && (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) {
			c, room, err = l.acceptWith(&spare)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				continue // nobody waits
			}
		}
		if err != nil {
			if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of files or memory: what lives goes on, and accepting is tried
			// again.
			l.refused("", "accept")
			delay = min(max(2*delay, 5*time.Millisecond), longest)
			if !l.pause(delay) {
				return
			}
			spare.again()
			continue
		}
		delay = 0
		remote := remoteAddr(c)
		proxied := l.fromProxy(remote)
		why := "files"
		if room {
			why = l.opt.Limits.enter(remote, proxied)
		}
		if why != "" {
			l.refused(remote.String(), why)
			l.turnAway(c)
			continue
		}
		l.wg.Go(func() { l.admit(c, remote, proxied) })
	}
}

// acceptWith takes one connection with the file that the spare holds. room
// tells that there is another one for the spare by now, and so for a session.
func (l *Listener) acceptWith(s *spare) (c net.Conn, room bool, err error) {
	s.close()
	if d, ok := l.raw.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Now().Add(spareTime)) // a failure shows in Accept
		defer func() { _ = d.SetDeadline(time.Time{}) }()
	}
	c, err = l.raw.Accept()
	s.again()
	return c, s.open(), err
}

// pause waits, or returns false at Close.
func (l *Listener) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// turnAway ends a connection over the limits, and tells the client why where
// that costs little.
func (l *Listener) turnAway(c net.Conn) {
	if l.opt.Mode == StartTLSSMTP {
		// A few bytes into an empty socket buffer do not wait.
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = c.Write([]byte(l.opt.Busy))
	}
	if l.opt.Mode == StartTLSSMTP || l.opt.Busy == "" {
		_ = c.Close()
		return
	}
	select {
	case l.opt.Limits.farewells <- struct{}{}:
	default:
		_ = c.Close()
		return
	}
	l.wg.Go(func() {
		defer func() { <-l.opt.Limits.farewells }()
		line := netconn.Wrap(c, netconn.Options{Absolute: farewellTime})
		defer line.Close()
		if c, why := l.secure(line); why == "" {
			_, _ = c.Conn.Write([]byte(l.opt.Busy))
			_ = c.Conn.Close() // TLS is ended too, so that the word is not taken for a cut one
		}
	})
}

// unlessClosed makes Close break the line until the function it returns is
// called.
func (l *Listener) unlessClosed(line *netconn.Conn) (stop func() bool) {
	return context.AfterFunc(l.ctx, func() { _ = line.Close() })
}

// spare is an open file that means nothing: its place in the table of files is
// what counts.
type spare struct{ f *os.File }

func openSpare() (s spare) {
	s.again()
	return s
}

func (s *spare) open() bool { return s.f != nil }

func (s *spare) close() {
	if s.f != nil {
		_ = s.f.Close()
		s.f = nil
	}
}

// again takes the place once more, where there is one.
func (s *spare) again() {
	if s.f == nil {
		s.f, _ = os.Open(os.DevNull) // nil: it is tried again later
	}
}
