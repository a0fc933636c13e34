package segment

import (
	"bytes"
	"encoding/hex"
	"hash/crc32"
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
	from uint64 // of a sidecar: number of the pair this one was copied from, or 0
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
	copy(b[offGname:], groupName(h.from))
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
	if h.from, ok = parseGroup(cString(b[offGname:offMajor])); !ok {
		return h, false
	}
	var again [block]byte
	h.encode(again[:])
	return h, bytes.Equal(again[:], b)
}

// groupName is the group of an entry; a copy names its origin there, where
// programs that unpack look for a group that exists and go on without.
func groupName(from uint64) string {
	if from == 0 {
		return group
	}
	return group + "." + strconv.FormatUint(from, 10)
}

func parseGroup(name string) (from uint64, ok bool) {
	if name == group {
		return 0, true
	}
	digits, ok := strings.CutPrefix(name, group+".")
	if !ok {
		return 0, false
	}
	from, err := strconv.ParseUint(digits, 10, 64)
	return from, err == nil
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

func removalName(sum [32]byte, number uint64) string {
	return hex.EncodeToString(sum[:]) + "." + strconv.FormatUint(number, 10) + ".removed.json"
}

// removalContent is what a removal entry holds; it follows from the entry's time.
func removalContent(sec int64) []byte {
	return []byte(`{"removed":"` + time.Unix(sec, 0).UTC().Format(time.RFC3339) + "\"}\n")
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

// parseRemovalName gives sum and number of the pair that a removal entry names.
func parseRemovalName(name string) (sum [32]byte, number uint64, ok bool) {
	rest, ok := strings.CutSuffix(name, ".removed.json")
	if !ok || len(rest) < 66 {
		return sum, 0, false
	}
	if sum, ok = parseMessageName(rest[:64] + ".eml"); !ok {
		return sum, 0, false
	}
	number, err := strconv.ParseUint(rest[65:], 10, 64)
	return sum, number, err == nil && removalName(sum, number) == name
}
