package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// removalSize is what a removal entry takes in a segment, in bytes.
const removalSize = 2 * block

// pad is how many zeros follow n bytes of content.
func pad(n int64) int64 { return -n & (block - 1) }

// pairSize is what a message and its sidecar take in a segment, in bytes.
func pairSize(message, sidecar int64) int64 {
	return 2*block + message + pad(message) + sidecar + pad(sidecar)
}

// piece is what a segment is made of: a message with its sidecar, or a removal.
type piece struct {
	removal bool
	number  uint64 // of the pair; of a removal: of the pair it removes
	start   int64  // offset of the first header
	end     int64
	synced  int64 // the segment was synced up to here when the piece was written
	time    time.Time
	tag     string

	ref     Ref // of a removal only Sum
	sideOff int64
	sideLen int64
	sideCRC uint64
	from    uint64 // number of the pair it was copied from, or 0
}

func (p *piece) bytes() int64 { return p.end - p.start }

// segmentOf is the segment of the pair with a number.
func segmentOf(number uint64) uint64 { return number / perSegment }

var (
	// errTorn: at this offset there is no whole piece.
	errTorn = errors.New("no whole entry")
	// errEnd: at this offset is the end of the archive.
	errEnd = errors.New("end of archive")
	// errNoEnd: a segment that is sealed ends without the end of an archive.
	errNoEnd = errors.New("no end of archive")
)

// readPiece reads the headers of the piece at off. It answers io.EOF exactly at
// size, errEnd at a proper end of archive, errTorn for anything that is not a
// whole piece, and other errors only for failed reads.
func readPiece(f io.ReaderAt, segment uint64, off, size int64) (piece, error) {
	if off == size {
		return piece{}, io.EOF
	}
	if size-off < 2*block {
		return piece{}, errTorn
	}
	var b [2 * block]byte
	if err := readFull(f, b[:block], off); err != nil {
		return piece{}, err
	}
	p, ok := parseMessage(b[:block], segment, off)
	if !ok {
		return readOther(f, b, off, size)
	}
	side := p.ref.Offset + p.ref.Size + pad(p.ref.Size)
	if side > size-block {
		return piece{}, errTorn
	}
	if err := readFull(f, b[:block], side); err != nil {
		return piece{}, err
	}
	h, ok := parseHeader(b[:block])
	if !ok || h.tag != p.tag || h.size > MaxSidecar {
		return piece{}, errTorn
	}
	p.number, ok = parseSidecarName(h.name, p.ref.Sum)
	p.from = h.from
	p.sideOff, p.sideLen, p.sideCRC = side+block, h.size, h.mark
	p.end = p.sideOff + h.size + pad(h.size)
	if !ok || segmentOf(p.number) != segment || p.number%perSegment == 0 || p.end > size {
		return piece{}, errTorn
	}
	return p, nil
}

// readOther reads what is no message: a removal or the end. b holds its first block.
func readOther(f io.ReaderAt, b [2 * block]byte, off, size int64) (piece, error) {
	if err := readFull(f, b[block:], off+block); err != nil {
		return piece{}, err
	}
	if p, ok := parseRemoval(b[:], off); ok {
		return p, nil
	}
	if size-off == endSize && allZero(b[:]) {
		return piece{}, errEnd
	}
	return piece{}, errTorn
}

// parseMessage begins a piece with the message header in b, found at off.
func parseMessage(b []byte, segment uint64, off int64) (p piece, ok bool) {
	h, ok := parseHeader(b)
	if !ok || h.tag == "" || h.from != 0 || int64(h.mark) > off/block {
		return p, false
	}
	sum, ok := parseMessageName(h.name)
	return piece{
		ref:    Ref{Segment: segment, Offset: off + block, Size: h.size, Sum: sum},
		start:  off,
		synced: int64(h.mark) * block,
		time:   time.Unix(h.time, 0).UTC(),
		tag:    h.tag,
	}, ok
}

// parseRemoval reads the two blocks of a removal entry, found at off.
func parseRemoval(b []byte, off int64) (p piece, ok bool) {
	h, ok := parseHeader(b)
	if !ok || h.tag == "" || h.from != 0 || int64(h.mark) > off/block {
		return p, false
	}
	sum, number, ok := parseRemovalName(h.name)
	want := removalContent(h.time)
	rest, whole := bytes.CutPrefix(b[block:removalSize], want)
	if !ok || !whole || h.size != int64(len(want)) || !allZero(rest) || segmentOf(number) == 0 || number%perSegment == 0 {
		return p, false
	}
	return piece{
		removal: true,
		ref:     Ref{Sum: sum},
		number:  number,
		start:   off,
		end:     off + removalSize,
		synced:  int64(h.mark) * block,
		time:    time.Unix(h.time, 0).UTC(),
		tag:     h.tag,
	}, true
}

// scanner goes through the pieces of a segment, also behind damage.
type scanner struct {
	f       io.ReaderAt
	segment uint64
	size    int64  // how much of the file is looked at
	grows   bool   // it is written on, so it needs no end
	tag     string // of the store, for a segment whose first piece is damaged
	piece   func(piece) error
	damage  func(off int64, problem error) // errTorn or errNoEnd
}

// run answers what piece answers, ctx's error, and failed reads.
func (c scanner) run(ctx context.Context) error {
	f := &window{f: c.f}
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := readPiece(f, c.segment, off, c.size)
		switch {
		case err == nil:
		case errors.Is(err, errEnd), err == io.EOF && c.grows:
			return nil
		case err == io.EOF:
			c.damage(off, errNoEnd)
			return nil
		case errors.Is(err, errTorn):
			c.damage(off, errTorn)
			var found bool
			if p, found, err = findPiece(c.f, c.segment, c.tag, off+block, c.size); err != nil {
				return fmt.Errorf("read segment %d: %w", c.segment, err)
			} else if !found {
				return nil
			}
		default:
			return fmt.Errorf("read segment %d: %w", c.segment, err)
		}
		c.tag, off = p.tag, p.end
		if err := c.piece(p); err != nil {
			return err
		}
	}
}

// findPiece searches from an offset on for the next piece that bears the tag;
// an empty tag matches any.
func findPiece(f io.ReaderAt, segment uint64, tag string, from, size int64) (piece, bool, error) {
	from += pad(from)
	buf := make([]byte, min(256<<10, max(0, size-from)))
	for from+endSize <= size {
		n := min(int64(len(buf)), size-from) &^ (block - 1)
		if err := readFull(f, buf[:n], from); err != nil {
			return piece{}, false, err
		}
		for i := int64(0); i < n; i += block {
			if !bytes.HasPrefix(buf[i+offMagic:], []byte("ustar\x0000")) {
				continue
			}
			p, err := readPiece(f, segment, from+i, size)
			if err == nil && (tag == "" || p.tag == tag) {
				return p, true, nil
			}
			if err != nil && !errors.Is(err, errTorn) && !errors.Is(err, errEnd) {
				return piece{}, false, err
			}
		}
		from += n
	}
	return piece{}, false, nil
}

// windowSize holds the end of one pair and the header of the next.
const windowSize = 8 << 10

// window reads ahead a little: the header of a sidecar, the sidecar and the
// next message's header stand together, so they cost one read.
type window struct {
	f   io.ReaderAt
	off int64
	n   int
	b   [windowSize]byte
}

func (w *window) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > windowSize/2 {
		return w.f.ReadAt(p, off)
	}
	if off < w.off || off+int64(len(p)) > w.off+int64(w.n) {
		n, _ := w.f.ReadAt(w.b[:], off)
		w.off, w.n = off, n
		if n < len(p) { // the end, or a bad place further on that nobody asked for
			return w.f.ReadAt(p, off)
		}
	}
	return copy(p, w.b[off-w.off:w.n]), nil
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
