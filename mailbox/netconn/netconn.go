// Package netconn is a connection whose deadlines roll.
//
// The protocol libraries set one deadline for a whole message, so a slow but
// living upload dies in the middle; without any deadline a silent peer stays
// for ever. A Conn sits below TLS, takes the deadlines that a library sets as
// idle times and renews them with each read and write, and adds the two limits
// that idle times cannot give: an absolute end, and a pace that a peer must
// keep while something is under way.
//
// Invariants: no read or write waits beyond the absolute end; a deadline that
// already lies in the past stops a waiting call at once and stays in force
// until another is set; nothing is buffered, no byte is changed; no lock is
// held while reading from or writing to the peer.
//
// It is a leaf: standard library only, and nothing of pecgate. Its tests need
// no fixtures. Cutter (cutter.go) is for tests of other rooms.
package netconn

import (
	"net"
	"sync"
	"time"
)

// writeChunk is the most bytes written under one deadline, so that a large
// write to a slow reader rolls too. A TLS record is about this size.
const writeChunk = 16 << 10

// Options are the limits of a connection. A zero duration means none.
type Options struct {
	Idle     time.Duration // longest wait of one read or write while the library sets no deadline
	MaxIdle  time.Duration // upper bound of any idle time, also of one a library set
	Absolute time.Duration // life of the connection, counted from Wrap
	Now      func() time.Time
}

// Conn is a net.Conn with rolling deadlines. Safe for one reader and one
// writer at a time, and for setting limits from anywhere.
type Conn struct {
	net.Conn
	opt Options

	mu          sync.Mutex
	read, write side
	absolute    time.Time // zero: none
	paceStart   time.Time // zero: no pace asked
	paceRate    int64     // bytes per second
	paceGrace   time.Duration
	paceBytes   int64 // read since paceStart
}

// side is what is known of one direction.
type side struct {
	idle    time.Duration // 0: none
	expired bool          // a deadline in the past was set
}

// Wrap puts rolling deadlines on c.
func Wrap(c net.Conn, o Options) *Conn {
	if o.Now == nil {
		o.Now = time.Now
	}
	n := &Conn{Conn: c, opt: o}
	n.read.idle, n.write.idle = n.bound(o.Idle), n.bound(o.Idle)
	if o.Absolute > 0 {
		n.absolute = o.Now().Add(o.Absolute)
	}
	return n
}

// Read reads from the peer under a renewed deadline.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	err := c.Conn.SetReadDeadline(c.readDeadline())
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	c.paceBytes += int64(n)
	c.mu.Unlock()
	return n, err
}

// Write writes to the peer, renewing the deadline every 16 KiB.
func (c *Conn) Write(p []byte) (int, error) {
	done := 0
	for {
		part := p[done:]
		if len(part) > writeChunk {
			part = part[:writeChunk]
		}
		c.mu.Lock()
		err := c.Conn.SetWriteDeadline(c.writeDeadline())
		c.mu.Unlock()
		if err != nil {
			return done, err
		}
		n, err := c.Conn.Write(part)
		done += n
		if err != nil || done == len(p) {
			return done, err
		}
	}
}

// SetReadDeadline takes the distance from now as the idle time of reads; zero
// goes back to Options.Idle; a time that has passed stops a waiting read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(&c.read, t)
	return c.Conn.SetReadDeadline(c.readDeadline())
}

// SetWriteDeadline is SetReadDeadline for writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(&c.write, t)
	return c.Conn.SetWriteDeadline(c.writeDeadline())
}

// SetDeadline sets both directions.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetAbsolute moves the absolute end of the connection; zero takes it away.
// A call that waits meets the new end at once.
func (c *Conn) SetAbsolute(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.absolute = t
	if err := c.Conn.SetReadDeadline(c.readDeadline()); err != nil {
		return err
	}
	return c.Conn.SetWriteDeadline(c.writeDeadline())
}

// Expect asks the peer to send at least rate bytes a second from now on, after
// a grace. A peer that falls behind meets a deadline. Rate 0 ends it.
func (c *Conn) Expect(rate int64, grace time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paceRate, c.paceGrace, c.paceBytes = rate, grace, 0
	c.paceStart = time.Time{}
	if rate > 0 {
		c.paceStart = c.opt.Now()
	}
}

func (c *Conn) set(s *side, t time.Time) {
	if t.IsZero() {
		s.idle, s.expired = c.bound(c.opt.Idle), false
		return
	}
	d := t.Sub(c.opt.Now())
	if s.expired = d <= 0; !s.expired {
		s.idle = c.bound(d)
	}
}

func (c *Conn) bound(d time.Duration) time.Duration {
	if c.opt.MaxIdle > 0 && (d == 0 || d > c.opt.MaxIdle) {
		return c.opt.MaxIdle
	}
	return d
}

// readDeadline is the nearest of idle time, absolute end and pace. mu is held.
func (c *Conn) readDeadline() time.Time {
	t := c.deadline(&c.read)
	if c.paceStart.IsZero() || c.read.expired {
		return t
	}
	// Bytes earn time; whole seconds and the rest apart, so that no product
	// overflows.
	earned := time.Duration(c.paceBytes/c.paceRate)*time.Second +
		time.Duration(c.paceBytes%c.paceRate)*time.Second/time.Duration(c.paceRate)
	return earlier(t, c.paceStart.Add(c.paceGrace+earned))
}

func (c *Conn) writeDeadline() time.Time { return c.deadline(&c.write) }

func (c *Conn) deadline(s *side) time.Time {
	if s.expired {
		return time.Unix(1, 0) // long past, and not the zero time, which means none
	}
	var t time.Time
	if s.idle > 0 {
		t = c.opt.Now().Add(s.idle)
	}
	return earlier(t, c.absolute)
}

// earlier is the earlier of two deadlines; a zero time is no deadline.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
