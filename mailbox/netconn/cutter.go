package netconn

import (
	"errors"
	"net"
	"sync/atomic"
)

// ErrCut is what a Cutter returns on its own side once the line is cut.
var ErrCut = errors.New("line cut")

// Cutter is a connection that breaks after a number of bytes, for tests of
// what happens to a message that stops in the middle.
type Cutter struct {
	net.Conn
	reads, writes atomic.Int64 // bytes left
}

// Cut returns c, broken once reads bytes were read from it or writes bytes
// written to it; a negative number means never. The byte that reaches the
// limit still passes; the next call closes the connection.
func Cut(c net.Conn, reads, writes int64) *Cutter {
	k := &Cutter{Conn: c}
	k.reads.Store(reads)
	k.writes.Store(writes)
	return k
}

// Read reads up to the cut.
func (k *Cutter) Read(p []byte) (int, error) {
	left := k.reads.Load()
	if left < 0 {
		return k.Conn.Read(p)
	}
	if left == 0 {
		_ = k.Conn.Close()
		return 0, ErrCut
	}
	n, err := k.Conn.Read(p[:min(int64(len(p)), left)])
	k.reads.Add(-int64(n))
	return n, err
}

// Write writes up to the cut; what lies beyond is lost, as on a broken line.
func (k *Cutter) Write(p []byte) (int, error) {
	left := k.writes.Load()
	if left < 0 {
		return k.Conn.Write(p)
	}
	n, err := 0, error(nil)
	if left > 0 {
		n, err = k.Conn.Write(p[:min(int64(len(p)), left)])
		k.writes.Add(-int64(n))
	}
	if err == nil && n < len(p) {
		_ = k.Conn.Close()
		err = ErrCut
	}
	return n, err
}
