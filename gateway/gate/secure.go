package gate

import (
	"crypto/tls"
	"errors"
	"io"
	"os"

	"pecgate/mailbox/netconn"
)

// handshakeRecord is the first byte of every TLS connection (RFC 8446 section
// 5.1). Anything else is clear text, and is not waited for.
const handshakeRecord = 22

// secure brings a line to TLS. It returns a word for the event log when that
// failed.
func (l *Listener) secure(line *netconn.Conn) (*Conn, string) {
	c := &Conn{l: l, line: line}
	defer l.unlessClosed(line)()
	if l.opt.Mode == StartTLSSMTP {
		if why := l.startTLS(line); why != "" {
			return nil, why
		}
		c.upgraded = true
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(line, first); err != nil {
		return nil, reason(err)
	}
	if first[0] != handshakeRecord {
		return nil, "not TLS"
	}
	t := tls.Server(&peeked{Conn: line, first: first}, l.tls)
	if err := t.HandshakeContext(l.ctx); err != nil {
		return nil, reason(err)
	}
	c.Conn, c.state = t, t.ConnectionState()
	return c, ""
}

// peeked gives back the byte that was looked at.
type peeked struct {
	*netconn.Conn
	first []byte
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(p.first) > 0 && len(b) > 0 {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// reason is a word for an error, so that no byte of the peer gets into a log.
func reason(err error) string {
	var header tls.RecordHeaderError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.As(err, &header):
		return "not TLS"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "gone"
	}
	return "handshake refused"
}
