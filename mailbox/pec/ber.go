package pec

import "errors"

// Bounds of a decoded signature. A real one has 2 to 7 KiB, some 400 elements
// and is 12 levels deep.
const (
	maxCMS      = 128 << 10
	maxBERDepth = 40
	maxBERNodes = 20_000
)

var errBER = errors.New("not readable as BER")

// checkBER walks over the first BER element of b without keeping anything and
// refuses what the CMS library cannot be given: its decoder recurses once a
// level, so deep nesting ends the process by stack overflow, and it copies
// every level into the one above, so closed deep nesting costs the square of the
// size. It also refuses forms that the library reads in another way than the
// standard (an empty indefinite-length element) and tags that CMS and X.509 do
// not use, so that what is bounded here is what is parsed there. Bytes after
// the first element are not looked at, by the library neither.
func checkBER(b []byte) error {
	if len(b) > maxCMS {
		return errors.New("larger than 128 KiB")
	}
	w := berWalker{b: b}
	_, err := w.element(0, len(b), 0)
	return err
}

type berWalker struct {
	b     []byte
	nodes int
}

// element reads the element at off, which must end at or before limit, and
// returns the offset after it.
func (w *berWalker) element(off, limit, depth int) (int, error) {
	if depth > maxBERDepth {
		return 0, errors.New("nested too deeply")
	}
	if w.nodes++; w.nodes > maxBERNodes {
		return 0, errors.New("too many elements")
	}
	if limit-off < 2 {
		return 0, errBER
	}
	tag, l := w.b[off], int(w.b[off+1])
	off += 2
	if tag&0x1f == 0x1f {
		return 0, errBER
	}
	constructed := tag&0x20 != 0
	if l == 0x80 {
		if !constructed {
			return 0, errBER
		}
		for first := true; ; first = false {
			if limit-off < 2 {
				return 0, errBER
			}
			if w.b[off] == 0 && w.b[off+1] == 0 {
				if first {
					return 0, errBER
				}
				return off + 2, nil
			}
			next, err := w.element(off, limit, depth+1)
			if err != nil {
				return 0, err
			}
			off = next
		}
	}
	if l > 0x80 {
		n := l & 0x7f
		if n > 3 || limit-off < n {
			return 0, errBER
		}
		l = 0
		for range n {
			l = l<<8 | int(w.b[off])
			off++
		}
	}
	if l > limit-off {
		return 0, errBER
	}
	end := off + l
	if !constructed {
		return end, nil
	}
	for off < end {
		next, err := w.element(off, end, depth+1)
		if err != nil {
			return 0, err
		}
		off = next
	}
	return end, nil
}
