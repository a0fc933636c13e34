package imapd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"pecgate/mailbox/planted"
)

// outSize is how much output is gathered before it leaves. Smaller pieces leave
// when the library asks for more input and the client has sent none.
const outSize = 64 << 10

// Times of a connection that the library does not set well (its own are for
// whole messages). Each is for one step: a slow but living client is not cut.
const (
	writeTime   = time.Minute      // for one write of at most outSize bytes
	closeTime   = 10 * time.Second // for what is left at the end
	commandTime = time.Minute      // from the first byte of a command to its last
	literalTime = 2 * time.Minute  // for the next bytes of a message
	idleTime    = 31 * time.Minute // for the next command; RFC 9051 section 5.4 wants 30 minutes at least
)

// filter is the connection that the library sees, above TLS. Towards the
// library it hands over whole commands (input.go) and takes its answers;
// towards the client it gathers what is written and sends it when the library
// waits. FETCH answers go into it directly, past the library's encoder.
type filter struct {
	raw   net.Conn
	srv   *Server
	input // only the library's reading goroutine touches it

	mu     sync.Mutex // never held while reading or writing
	wait   time.Duration
	authed bool
	bye    string // to be said at the next command
	closed bool

	// wmu orders the two writers that this connection may have, the library's
	// goroutine and IDLE's. Nobody else takes it.
	wmu     sync.Mutex
	out     []byte
	blocked bool      // the library waits for the client: nothing is gathered
	cont    bool      // a continuation request was written since the last command
	done    bool      // the library has answered the command
	swallow bool      // the next continuation request is not for the client
	retold  rewording // of the library's OK to the command under way
	unsaid  []string  // how the library's next answer may begin that is not for the client
	tag     string
	over    bool // the last line is said
	werr    error
}

var errBye = errors.New("imapd: the connection is to end")

func newFilter(raw net.Conn, srv *Server) *filter {
	return &filter{raw: raw, srv: srv, wait: idleTime}
}

// Write takes one answer of the library, or a part of a long one.
func (f *filter) Write(p []byte) (int, error) {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	if f.tag != "" && bytes.HasPrefix(p, []byte(f.tag+" ")) {
		f.done = true
	}
	if bytes.HasPrefix(p, []byte("+ ")) {
		f.cont = true
		if f.swallow {
			f.swallow = false
			return len(p), f.werr
		}
		if string(p) == "+ =\r\n" {
			// The library's form of an empty challenge; base64 has none (RFC 9051 section 6.2.2).
			f.put([]byte("+ \r\n"))
			return len(p), f.werr
		}
	}
	if f.unsaid != nil && slices.ContainsFunc(f.unsaid, func(start string) bool { return bytes.HasPrefix(p, []byte(start)) }) {
		f.unsaid = nil
		return len(p), f.werr
	}
	f.put(f.announce(f.reworded(f.blame(p))))
	f.flushIfBlocked()
	return len(p), f.werr
}

// rewording is how a tagged answer begins, and how it shall begin instead.
type rewording struct{ from, to string }

// retell has the library's OK to the command under way begin with other words:
// it knows nothing of READ-ONLY after SELECT, nor of response codes beside the
// result of a SEARCH.
func (f *filter) retell(from, to string) {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	f.retold = rewording{from: from, to: to}
}

// reworded is the answer p with the words of retell. wmu is held.
func (f *filter) reworded(p []byte) []byte {
	start := []byte(f.tag + " " + f.retold.from)
	if f.retold.from == "" || !bytes.HasPrefix(p, start) {
		return p
	}
	return append([]byte(f.tag+" "+f.retold.to), p[len(start):]...)
}

// drop keeps the library's next answer that begins so from the client, who has
// got another.
func (f *filter) drop(starts ...string) {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	f.unsaid = starts
}

// announce adds what the filter itself can do to a list of capabilities.
func (f *filter) announce(p []byte) []byte {
	caps := extraCaps
	if !f.isLoggedIn() {
		caps = " ID"
	}
	for _, start := range []string{"* CAPABILITY ", "* OK [CAPABILITY ", f.tag + " OK [CAPABILITY "} {
		if !bytes.HasPrefix(p, []byte(start)) {
			continue
		}
		end := bytes.IndexAny(p, "]\r")
		if end < 0 {
			return p
		}
		return append(append(append(make([]byte, 0, len(p)+len(caps)), p[:end]...), caps...), p[end:]...)
	}
	return p
}

// answered tells whether the library has answered the command under way.
func (f *filter) answered() bool {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	return f.done
}

// append puts whole answers behind what was gathered.
func (f *filter) append(p []byte) error {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	f.put(p)
	f.flushIfBlocked()
	return f.werr
}

// put copies p into the output and sends each time it is full. After the last
// line it drops p. wmu is held.
func (f *filter) put(p []byte) {
	for len(p) > 0 && f.werr == nil && !f.over {
		n := copy(f.room(), p)
		f.out = f.out[:len(f.out)+n]
		p = p[n:]
	}
}

// room is the free part of the output, never empty. wmu is held.
func (f *filter) room() []byte {
	if len(f.out) == outSize {
		f.flush()
	}
	if f.out == nil {
		f.out = f.srv.takeBuffer()
	}
	return f.out[len(f.out):outSize]
}

// copyRange sends n bytes of r from off, without ever holding more than the
// output's room of them. An error of r leaves the answer broken: the caller
// cuts the connection.
func (f *filter) copyRange(r io.ReaderAt, off, n int64) error {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	for n > 0 && f.werr == nil {
		part := f.room()
		if int64(len(part)) > n {
			part = part[:n]
		}
		got, err := r.ReadAt(part, off)
		if got < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if planted.Is(planted.ServeOtherBytes) {
			part[got/2] ^= 1
		}
		f.out = f.out[:len(f.out)+got]
		off, n = off+int64(got), n-int64(got)
	}
	return f.werr
}

// flush sends what was gathered. wmu is held.
func (f *filter) flush() {
	if len(f.out) > 0 && f.werr == nil {
		// A failed deadline shows in the write.
		_ = f.raw.SetWriteDeadline(time.Now().Add(writeTime))
		if _, f.werr = f.raw.Write(f.out); f.werr != nil {
			f.sayBye("Connection cut") // who takes no answer sends no command either
		}
	}
	f.out = f.out[:0]
}

func (f *filter) flushIfBlocked() {
	if f.blocked {
		f.flush()
		f.release()
	}
}

// release gives the output's memory back while there is nothing to send: most
// connections idle. wmu is held.
func (f *filter) release() {
	if f.out != nil && len(f.out) == 0 {
		f.srv.giveBuffer(f.out)
		f.out = nil
	}
}

// sawContinuation tells whether the library has asked the client to go on since
// the last command, and forgets it.
func (f *filter) sawContinuation() bool {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	seen := f.cont
	f.cont, f.swallow = false, false
	return seen
}

// broken tells whether nothing reaches the client any more.
func (f *filter) broken() bool {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	return f.werr != nil
}

// answer writes a line of the filter's own.
func (f *filter) answer(line string) { _ = f.append([]byte(line + "\r\n")) }

// fill reads more from the client, at least one byte, before until.
func (f *filter) fill(into []byte, until time.Time) (int, error) {
	f.wmu.Lock()
	f.flush()
	f.release()
	f.blocked = true
	err := f.werr
	f.wmu.Unlock()
	defer func() {
		f.wmu.Lock()
		f.blocked = false
		f.wmu.Unlock()
	}()
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	if f.bye != "" {
		f.mu.Unlock()
		return 0, errBye
	}
	err = f.raw.SetReadDeadline(until)
	f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := f.raw.Read(into)
	if err != nil && n == 0 {
		if text := f.byeText(); text != "" {
			return 0, errBye
		}
		return 0, err
	}
	return n, nil
}

// sayBye ends the connection with a BYE when the command under way is done; at
// once when none is. It does not wait.
func (f *filter) sayBye(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bye != "" || f.closed {
		return
	}
	f.bye = both(text)
	// A time in the past wakes a waiting read; the reading goroutine then says
	// good-bye itself.
	_ = f.raw.SetReadDeadline(time.Unix(1, 0))
}

func (f *filter) byeText() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bye
}

// cut breaks the connection without a word.
func (f *filter) cut() {
	f.sayBye("Connection cut")
	_ = f.raw.Close()
}

// loggedIn lifts the limits of the time before login.
func (f *filter) loggedIn() {
	f.mu.Lock()
	f.authed = true
	f.mu.Unlock()
	if g, ok := f.raw.(interface{ LoggedIn() }); ok {
		g.LoggedIn()
	}
}

// loggedOut puts the limits on what is said before login back. The time for
// logging in is not: whoever had one login may idle.
func (f *filter) loggedOut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.authed = false
}

func (f *filter) isLoggedIn() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.authed
}

// remote is the client's address without its port.
func (f *filter) remote() string {
	if g, ok := f.raw.(interface{ Remote() string }); ok {
		return g.Remote()
	}
	addr := f.raw.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// Close sends what is left and closes the line. It may be called more than
// once.
func (f *filter) Close() error {
	f.mu.Lock()
	first := !f.closed
	f.closed = true
	f.mu.Unlock()
	if !first {
		return net.ErrClosed
	}
	defer f.srv.forget(f)
	f.wmu.Lock()
	if len(f.out) > 0 && f.werr == nil {
		_ = f.raw.SetWriteDeadline(time.Now().Add(closeTime))
		_, f.werr = f.raw.Write(f.out)
	}
	f.out = f.out[:0]
	f.release()
	if f.werr == nil {
		f.werr = net.ErrClosed
	}
	f.wmu.Unlock()
	return f.raw.Close()
}

// LocalAddr is the server's end.
func (f *filter) LocalAddr() net.Addr { return f.raw.LocalAddr() }

// RemoteAddr is the client's end.
func (f *filter) RemoteAddr() net.Addr { return f.raw.RemoteAddr() }

// SetDeadline sets the reading deadline only; writes have times of their own.
func (f *filter) SetDeadline(t time.Time) error { return f.SetReadDeadline(t) }

// SetReadDeadline is taken as how long the library would wait for the next
// command, up to idleTime: a client that has gone without a word must not stay.
func (f *filter) SetReadDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wait = min(time.Until(t), idleTime); t.IsZero() {
		f.wait = idleTime
	}
	return nil
}

// SetWriteDeadline does nothing: the library sets one for each answer, which
// leaves much later.
func (f *filter) SetWriteDeadline(time.Time) error { return nil }

// patience is how long to wait for the first byte of a command.
func (f *filter) patience() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Add(max(f.wait, time.Second))
}
