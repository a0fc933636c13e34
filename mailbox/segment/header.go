package segment

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	// block is the unit of a tar archive (POSIX ustar interchange format).
	block = 512
	// endSize is the end of an archive: two blocks of zeros.
	endSize = 2 * block
	// perSegment is the factor in the number of a sidecar, hence one more than
	// the pairs a segment can hold.
	perSegment = 1_000_000

	group = "pecgate"
)

// The device fields of a regular file mean nothing in ustar and readers pass
// over them. Here (header.mark) the message entry keeps the number of blocks of
// its segment that were synced when its group began, and the sidecar entry the
// CRC-32C of the sidecar.

var crcTable = crc32.MakeTable(crc32.Castagnoli)

func crc(p []byte) uint64 { return uint64(crc32.Checksum(p, crcTable)) }

// header is one ustar header of ours. The user name is the store's tag, a
// random value no sender of a message can know, so that a header inside a
// message is never taken for one of ours.
type header struct {
	name string
	size int64
	time int64  // seconds since 1970, not before
	mark uint64 // at most 42 bits, 21 in each device field
	tag  string
}

// field offsets of a ustar header
const (
	offMode  = 100
	offUID   = 108
	offGID   = 116
	offSize  = 124
	offTime  = 136
	offSum   = 148
	offType  = 156
	offMagic = 257
	offUname = 265
	offGname = 297
	offMajor = 329
	offMinor = 337
)

// encode writes h over the 512 bytes of b.
func (h *header) encode(b []byte) {
	b = b[:block]
	clear(b)
	copy(b, h.name)
	octal(b[offMode:offUID], 0o600)
	octal(b[offUID:offGID], 0)
	octal(b[offGID:offSize], 0)
	octal(b[offSize:offTime], uint64(h.size))
	octal(b[offTime:offSum], uint64(h.time))
	b[offType] = '0'
	copy(b[offMagic:], "ustar\x0000")
	copy(b[offUname:], h.tag)
	copy(b[offGname:], group)
	octal(b[offMajor:offMinor], h.mark>>21)
	octal(b[offMinor:offMinor+8], h.mark&(1<<21-1))
	copy(b[offSum:offType], "        ")
	var sum uint64
	for _, c := range b {
		sum += uint64(c)
	}
	octal(b[offSum:offType-1], sum) // six digits, NUL, space
}

// octal fills b with the digits of v and a closing NUL.
func octal(b []byte, v uint64) {
	for i := len(b) - 2; i >= 0; i-- {
		b[i] = '0' + byte(v&7)
		v >>= 3
	}
	b[len(b)-1] = 0
}

func parseOctal(b []byte) (uint64, bool) {
	var v uint64
	for _, c := range b[:len(b)-1] {
		if c < '0' || c > '7' {
			return 0, false
		}
		v = v<<3 | uint64(c-'0')
	}
	return v, true
}

// parseHeader reads a header this package wrote. It is strict: what does not
// encode to the very same 512 bytes is not ours or is damaged.
func parseHeader(b []byte) (h header, ok bool) {
	b = b[:block]
	if string(b[offMagic:offMagic+8]) != "ustar\x0000" || b[offType] != '0' {
		return h, false
	}
	size, ok1 := parseOctal(b[offSize:offTime])
	sec, ok2 := parseOctal(b[offTime:offSum])
	major, ok3 := parseOctal(b[offMajor:offMinor])
	minor, ok4 := parseOctal(b[offMinor : offMinor+8])
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return h, false
	}
	h = header{
		name: cString(b[:offMode]),
		size: int64(size),
		time: int64(sec),
		mark: major<<21 | minor,
		tag:  cString(b[offUname:offGname]),
	}
	var again [block]byte
	h.encode(again[:])
	return h, bytes.Equal(again[:], b)
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func messageName(sum [32]byte) string { return hex.EncodeToString(sum[:]) + ".eml" }

func sidecarName(sum [32]byte, number uint64) string {
	return hex.EncodeToString(sum[:]) + "." + strconv.FormatUint(number, 10) + ".json"
}

// parseMessageName gives the sum in the name of a message entry.
func parseMessageName(name string) (sum [32]byte, ok bool) {
	digits, ok := strings.CutSuffix(name, ".eml")
	if !ok || len(digits) != 64 || strings.ToLower(digits) != digits {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(digits))
	return sum, err == nil
}

// parseSidecarName gives the number in the name of the sidecar of sum.
func parseSidecarName(name string, sum [32]byte) (uint64, bool) {
	rest, ok := strings.CutPrefix(name, hex.EncodeToString(sum[:])+".")
	if !ok {
		return 0, false
	}
	digits, ok := strings.CutSuffix(rest, ".json")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && sidecarName(sum, n) == name
}

// pad is how many zeros follow n bytes of content.
func pad(n int64) int64 { return -n & (block - 1) }

// pairSize is what a message and its sidecar take in a segment, in bytes.
func pairSize(message, sidecar int64) int64 {
	return 2*block + message + pad(message) + sidecar + pad(sidecar)
}

// pair is a message and its sidecar in a segment.
type pair struct {
	ref     Ref
	start   int64 // offset of the message's header
	sideOff int64
	sideLen int64
	sideCRC uint64
	end     int64
	number  uint64
	synced  int64 // the segment was synced up to here when the pair was written
	time    time.Time
	tag     string
}

var (
	// errTorn: at this offset there is no whole pair.
	errTorn = errors.New("no whole entry pair")
	// errEnd: at this offset is the end of the archive.
	errEnd = errors.New("end of archive")
)

// readPair reads the two headers of the pair at off. It answers io.EOF exactly
// at size, errEnd at a proper end of archive, errTorn for anything that is not
// a whole pair, and other errors only for failed reads.
func readPair(f io.ReaderAt, segment uint64, off, size int64) (pair, error) {
	if off == size {
		return pair{}, io.EOF
	}
	if size-off < 2*block {
		return pair{}, errTorn
	}
	var b [2 * block]byte
	if err := readFull(f, b[:], off); err != nil {
		return pair{}, err
	}
	if b[0] == 0 {
		if size-off == endSize && allZero(b[:]) {
			return pair{}, errEnd
		}
		return pair{}, errTorn
	}
	p, ok := messagePair(b[:block], segment, off)
	if !ok {
		return pair{}, errTorn
	}
	side := p.ref.Offset + p.ref.Size + pad(p.ref.Size)
	if side > size-block {
		return pair{}, errTorn
	}
	if err := readFull(f, b[:block], side); err != nil {
		return pair{}, err
	}
	h, ok := parseHeader(b[:block])
	if !ok || h.tag != p.tag || h.size > MaxSidecar {
		return pair{}, errTorn
	}
	p.number, ok = parseSidecarName(h.name, p.ref.Sum)
	p.sideOff, p.sideLen, p.sideCRC = side+block, h.size, h.mark
	p.end = p.sideOff + h.size + pad(h.size)
	if !ok || p.number/perSegment != segment || p.end > size {
		return pair{}, errTorn
	}
	return p, nil
}

// messagePair begins a pair with the message header in b, found at off.
func messagePair(b []byte, segment uint64, off int64) (p pair, ok bool) {
	h, ok := parseHeader(b)
	if !ok || h.tag == "" || int64(h.mark) > off/block {
		return p, false
	}
	sum, ok := parseMessageName(h.name)
	return pair{
		ref:    Ref{Segment: segment, Offset: off + block, Size: h.size, Sum: sum},
		start:  off,
		synced: int64(h.mark) * block,
		time:   time.Unix(h.time, 0).UTC(),
		tag:    h.tag,
	}, ok
}

// readFull reads all of p at off; a file that ends early is an error here.
func readFull(f io.ReaderAt, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at offset %d: %w", len(p), off, err)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
