package cms

import "errors"

// Bounds of a decoded signature. A real one has 2 to 7 KiB, is 8 levels deep as
// far as it is read here, and some 150 elements of it are looked at.
const (
	// MaxSize bounds the decoded signature, in bytes.
	MaxSize  = 128 << 10
	maxDepth = 40
	maxNodes = 8192
)

var (
	errBER   = errors.New("not readable as BER")
	errDER   = errors.New("not DER")
	errDeep  = errors.New("nested too deeply")
	errNodes = errors.New("too many elements")
)

// Tags that CMS uses.
const (
	tagInteger     = 0x02
	tagOctets      = 0x04
	tagNull        = 0x05
	tagOID         = 0x06
	tagUTCTime     = 0x17
	tagTime        = 0x18 // GeneralizedTime
	tagSequence    = 0x30
	tagSet         = 0x31
	tagImplicit0   = 0x80 // [0] of a primitive type
	tag0           = 0xa0 // [0], constructed
	tag1           = 0xa1
	tag2           = 0xa2
	tag3           = 0xa3
	tagConstructed = 0x20
)

// reader walks over BER (ITU-T X.690) from front to back. The first error
// sticks: every call after it does nothing, so the code that reads a structure
// looks at err once, at its end.
//
// Elements with a definite length are stepped over without looking inside. One
// with an indefinite length must be followed to its end mark; nested ones are
// counted, not recursed into.
type reader struct {
	b     []byte
	off   int
	der   bool // refuse the forms that DER has not
	err   error
	nodes int
	depth int // open elements
	open  [maxDepth]level
}

// level is an element that was entered.
type level struct {
	end   int  // where it ends, or if indefinite where the one around it ends
	indef bool // it ends with an end mark
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// limit is the offset that nothing at the current place may pass.
func (r *reader) limit() int {
	if r.depth == 0 {
		return len(r.b)
	}
	return r.open[r.depth-1].end
}

// endMark reports whether an end mark stands at off.
func (r *reader) endMark() bool {
	return r.limit()-r.off >= 2 && r.b[r.off] == 0 && r.b[r.off+1] == 0
}

// more reports whether the open element holds another one.
func (r *reader) more() bool {
	if r.err != nil {
		return false
	}
	if r.depth > 0 && r.open[r.depth-1].indef {
		if r.limit()-r.off < 2 {
			r.fail(errBER)
			return false
		}
		return !r.endMark()
	}
	return r.off < r.limit()
}

// peek returns the tag of the next element, 0 if there is none.
func (r *reader) peek() byte {
	if !r.more() {
		return 0
	}
	return r.b[r.off]
}

// header reads a tag and a length; the length is -1 if it is indefinite.
func (r *reader) header() (tag byte, length int) {
	limit := r.limit()
	if r.err != nil {
		return 0, 0
	}
	if r.nodes++; r.nodes > maxNodes {
		r.fail(errNodes)
		return 0, 0
	}
	if limit-r.off < 2 {
		r.fail(errBER)
		return 0, 0
	}
	tag, length = r.b[r.off], int(r.b[r.off+1])
	r.off += 2
	// Tag 0 is an end mark where none belongs; CMS and X.509 use no high tags.
	if tag == 0 || tag&0x1f == 0x1f {
		r.fail(errBER)
		return 0, 0
	}
	switch {
	case length < 0x80:
	case length == 0x80:
		if r.der {
			r.fail(errDER)
		} else if tag&tagConstructed == 0 {
			r.fail(errBER)
		}
		return tag, -1
	default:
		n := length & 0x7f
		if n > 4 || limit-r.off < n {
			r.fail(errBER)
			return 0, 0
		}
		length = 0
		for range n {
			length = length<<8 | int(r.b[r.off])
			r.off++
		}
		if r.der && (length < 0x80 || length < 1<<(8*(n-1))) {
			r.fail(errDER)
			return 0, 0
		}
	}
	if length > limit-r.off {
		r.fail(errBER)
		return 0, 0
	}
	return tag, length
}

// enter opens the next element, which must be constructed and have this tag.
func (r *reader) enter(tag byte) {
	if r.peek() != tag {
		r.fail(errBER)
		return
	}
	limit := r.limit()
	_, length := r.header()
	if r.err != nil {
		return
	}
	if r.depth == maxDepth {
		r.fail(errDeep)
		return
	}
	l := level{end: r.off + length}
	if length < 0 {
		l = level{end: limit, indef: true}
	}
	r.open[r.depth] = l
	r.depth++
}

// leave closes the element that was opened last. It must have been read to its
// end.
func (r *reader) leave() {
	if r.more() {
		r.fail(errBER)
	}
	if r.err != nil {
		return
	}
	r.depth--
	if r.open[r.depth].indef {
		r.off += 2
	}
}

// skip steps over the next element.
func (r *reader) skip() {
	if !r.more() {
		r.fail(errBER)
		return
	}
	_, length := r.header()
	if r.err != nil {
		return
	}
	if length >= 0 {
		r.off += length
		return
	}
	for open := 1; open > 0; {
		if r.endMark() {
			r.off += 2
			open--
			continue
		}
		_, length := r.header()
		switch {
		case r.err != nil:
			return
		case length >= 0:
			r.off += length
		case r.depth+open >= maxDepth:
			r.fail(errDeep)
			return
		default:
			open++
		}
	}
}

// element returns the next element whole, its tag and length with it.
func (r *reader) element() []byte {
	start := r.off
	r.skip()
	if r.err != nil {
		return nil
	}
	return r.b[start:r.off:r.off]
}

// value returns the content of the next element, which must be primitive and
// have this tag.
func (r *reader) value(tag byte) []byte {
	if r.peek() != tag {
		r.fail(errBER)
		return nil
	}
	_, length := r.header()
	if r.err != nil {
		return nil
	}
	start := r.off
	r.off += length
	return r.b[start:r.off:r.off]
}

// octets returns the content of the next element, an OCTET STRING with this
// tag. BER may write it as a row of pieces; only then it is copied.
func (r *reader) octets(tag byte) []byte {
	if r.peek() != tag|tagConstructed {
		return r.value(tag)
	}
	r.enter(tag | tagConstructed)
	var out []byte
	for r.more() {
		out = append(out, r.value(tagOctets)...)
	}
	r.leave()
	return out
}

// checkDER walks over b, which must be one element, and refuses lengths and
// strings that DER does not write. The order within sets is not looked at.
func checkDER(b []byte) error {
	r := reader{b: b, der: true}
	for r.err == nil {
		switch tag := r.peek(); {
		case tag == 0 && r.err == nil && r.depth == 0:
			return nil
		case tag == 0:
			r.leave()
		case tag&tagConstructed == 0:
			r.skip()
		case tag&0xc0 == 0 && tag != tagSequence && tag != tagSet:
			return errDER
		default:
			r.enter(tag)
		}
	}
	return r.err
}
