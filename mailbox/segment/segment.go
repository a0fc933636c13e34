package segment

import (
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Errors that callers tell apart; all are wrapped with what was attempted.
var (
	// ErrFailed: a write or sync failed earlier, the store takes nothing more.
	// Whether a message that got this answer is on disk is known after Open.
	ErrFailed = errors.New("segment: store failed")
	// ErrClosed: the store, the writer or the reader was ended before.
	ErrClosed = errors.New("segment: closed")
	// ErrCorrupt: bytes on disk are not what was written.
	ErrCorrupt = errors.New("segment: corrupt")
	// ErrNotFound: there is no such segment.
	ErrNotFound = errors.New("segment: not found")
	// ErrTooBig: above MaxMessage or MaxSidecar.
	ErrTooBig = errors.New("segment: too big")
	// ErrInUse: another process (or Store) has the folder open.
	ErrInUse = errors.New("segment: folder in use")
	// ErrReadOnly: the store was opened for looking only.
	ErrReadOnly = errors.New("segment: opened for looking only")
	// ErrBusy: the segment cannot be swept yet: a message in it was not released,
	// or it holds copies out of a segment whose sweep was interrupted.
	ErrBusy = errors.New("segment: busy")
)

const (
	// MaxMessage is the largest message in bytes (eleven octal digits, POSIX.1-1988 ustar).
	MaxMessage = 1<<33 - 1
	// MaxSidecar is the largest sidecar in bytes.
	MaxSidecar = 1 << 20
)

// Options says where a store lives and how it divides its files.
type Options struct {
	// Dir is the folder, made with mode 0700 when missing. Required.
	Dir string
	// MaxSegment is the size in bytes at which the active segment is sealed;
	// 0 means 256 MiB. A message larger than it gets a segment of its own.
	MaxSegment int64
	// LargeAt is the size in bytes from which a message is streamed to a file
	// of its own; 0 means 1 MiB. A Writer holds at most this much in memory.
	LargeAt int64
	// Handles is how many files are kept open for reading while nobody reads
	// them; 0 means 64. Files in use are not counted.
	Handles int
	// Named is how far the owner's records name the bytes of small messages: the
	// highest even segment that any names one in, and an offset up to which it was
	// whole, such as that of the last such message (Ref.Offset). The zero Place:
	// nothing is known of records.
	Named Place
	// ReadOnly opens a folder for looking at what is there, damaged or not, and
	// changes nothing in it: it is not locked, nothing is cut or removed, and
	// what would write answers ErrReadOnly.
	ReadOnly bool
	// Now dates the entries; nil means time.Now.
	Now func() time.Time
	// FS is where the files are; nil means the disk. Fault tests give another.
	FS FS
}

// Place is a length of a segment in bytes.
type Place struct {
	Segment uint64
	End     int64
}

// Ref says where a message is. It stays true for as long as its segment exists.
type Ref struct {
	Segment uint64   // number of the segment
	Offset  int64    // of the first byte of the message in the segment file
	Size    int64    // of the message in bytes
	Sum     [32]byte // SHA-256 of the message
}

var (
	_ encoding.BinaryMarshaler   = Ref{}
	_ encoding.BinaryUnmarshaler = (*Ref)(nil)
)

const refVersion = 1

// refSize is the length of an encoded Ref.
const refSize = 1 + 8 + 8 + 8 + 32

// MarshalBinary encodes a Ref in 57 bytes: a version byte, three big-endian
// numbers, the sum.
func (r Ref) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, refSize)
	b = append(b, refVersion)
	b = binary.BigEndian.AppendUint64(b, r.Segment)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Offset))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Size))
	return append(b, r.Sum[:]...), nil
}

// UnmarshalBinary reads what MarshalBinary wrote; anything else is ErrCorrupt.
func (r *Ref) UnmarshalBinary(b []byte) error {
	if len(b) != refSize || b[0] != refVersion {
		return fmt.Errorf("read reference of %d bytes: %w", len(b), ErrCorrupt)
	}
	n := Ref{
		Segment: binary.BigEndian.Uint64(b[1:]),
		Offset:  int64(binary.BigEndian.Uint64(b[9:])),
		Size:    int64(binary.BigEndian.Uint64(b[17:])),
	}
	copy(n.Sum[:], b[25:])
	if err := n.check(); err != nil {
		return err
	}
	*r = n
	return nil
}

// check refuses references that no Commit can have given.
func (r Ref) check() error {
	if r.Segment == 0 || r.Offset < block || r.Offset%block != 0 || r.Size < 0 || r.Size > MaxMessage {
		return fmt.Errorf("reference to segment %d offset %d size %d: %w", r.Segment, r.Offset, r.Size, ErrCorrupt)
	}
	return nil
}

// MarshalText writes the reference as segment/offset/size/sha256, for records
// that people read.
func (r Ref) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%d/%d/%d/%x", r.Segment, r.Offset, r.Size, r.Sum), nil
}

// UnmarshalText reads what MarshalText wrote; anything else is ErrCorrupt.
func (r *Ref) UnmarshalText(b []byte) error {
	var n Ref
	parts := strings.Split(string(b), "/")
	if len(parts) != 4 {
		return fmt.Errorf("read reference of %d parts: %w", len(parts), ErrCorrupt)
	}
	segment, err1 := strconv.ParseUint(parts[0], 10, 64)
	offset, err2 := strconv.ParseInt(parts[1], 10, 64)
	size, err3 := strconv.ParseInt(parts[2], 10, 64)
	sum, err4 := hex.DecodeString(parts[3])
	if err := errors.Join(err1, err2, err3, err4); err != nil || copy(n.Sum[:], sum) != len(n.Sum) || len(sum) != len(n.Sum) {
		return fmt.Errorf("read reference: %w", ErrCorrupt)
	}
	n.Segment, n.Offset, n.Size = segment, offset, size
	if err := n.check(); err != nil {
		return err
	}
	*r = n
	return nil
}

// Entry is one stored message as Walk finds it.
type Entry struct {
	Ref
	Time    time.Time // of the commit, in whole seconds
	Sidecar []byte    // the caller's own; it may be kept
	// Removed: Remove was called for it, its bytes wait for a sweep.
	Removed bool
	// Copy is the second place of a message whose segment is half swept; records
	// may name this one or Ref. Zero for all others.
	Copy Ref
}

// Recovery says what Open found and put right.
type Recovery struct {
	Segment uint64 // the active segment, 0 if there was none
	Cut     int64  // bytes cut off its end
	Uploads int    // unfinished large messages removed
}
