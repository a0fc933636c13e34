package mime

import (
	"strings"
	"time"
)

// Index is a message as offsets, with what IMAP clients ask first.
type Index struct {
	Size int64 // of the message in bytes
	Root Part

	// HeaderCut tells that the message's header was longer than Limits.Header:
	// Root.HeaderLen is where reading stopped, and fields may follow in the body.
	// Whoever must be sure about a field has to refuse such a message.
	HeaderCut bool

	MessageID string    // as in the field, with its angle brackets; "" if absent
	Subject   string    // decoded, cut at 1,000 bytes
	Date      time.Time // zero if absent or unreadable

	// Wire bytes (RFC 9051 section 7.5.2), each below 60 KiB. Not part of the
	// encoded index: they are records of their own.
	Envelope      []byte // ENVELOPE
	BodyStructure []byte // BODYSTRUCTURE, with extension data
	Body          []byte // BODY, without
}

// Part is one body part, or the whole message (Index.Root). Offsets count from
// the start of the message; the body follows its header at once.
type Part struct {
	HeaderOff, HeaderLen int64 // with the blank line
	BodyOff, BodyLen     int64
	Lines                int64             // of the body; text and message parts have use for it
	Type, Subtype        string            // lower case
	Params               map[string]string // of Content-Type: lower-case names, decoded values; nil for none
	Encoding             string            // lower case; "7bit" if absent
	Disposition          string            // lower case; "" if absent
	FileName             string            // decoded filename or name, at most 255 bytes; never a path to open
	Children             []Part            // of a multipart
	Message              *Part             // of a message/rfc822: the root of the message inside
}

// Raw is the range of a part from its first header byte to before the line end
// that precedes the next boundary: what S/MIME signs (RFC 5751 section 3.4.3).
func (p *Part) Raw() (off, length int64) {
	return p.HeaderOff, p.BodyOff + p.BodyLen - p.HeaderOff
}

// Part finds a part by its IMAP section numbers (RFC 9051 section 6.4.5). The
// empty path is the whole message. A message that is no multipart has one part,
// number 1, which is the message itself.
func (ix *Index) Part(path []int) (*Part, bool) {
	cur, entered := &ix.Root, true
	for _, k := range path {
		if !entered && cur.Message != nil {
			cur, entered = cur.Message, true
		}
		switch {
		case len(cur.Children) > 0:
			if k < 1 || k > len(cur.Children) {
				return nil, false
			}
			cur = &cur.Children[k-1]
		case !entered || k != 1:
			return nil, false
		}
		entered = false
	}
	return cur, true
}

// Section turns an IMAP section into a range of the message: spec is "",
// "HEADER", "TEXT" or "MIME" in any case, path the part numbers before it. ok is
// false for what the message does not have: HEADER and TEXT of a part that is
// no message, MIME without a part.
func (ix *Index) Section(path []int, spec string) (off, length int64, ok bool) {
	p, ok := ix.Part(path)
	if !ok {
		return 0, 0, false
	}
	spec = strings.ToUpper(spec)
	if len(path) > 0 && (spec == "HEADER" || spec == "TEXT") {
		if p = p.Message; p == nil {
			return 0, 0, false
		}
	}
	switch {
	case spec == "HEADER", spec == "MIME" && len(path) > 0:
		return p.HeaderOff, p.HeaderLen, true
	case spec == "TEXT", spec == "" && len(path) > 0:
		return p.BodyOff, p.BodyLen, true
	case spec == "":
		return 0, ix.Size, true
	}
	return 0, 0, false
}

// part makes the Part of a node.
func (n *node) part() Part {
	p := Part{
		HeaderOff: n.off, HeaderLen: n.hlen, BodyOff: n.bodyOff(), BodyLen: n.blen,
		Lines: n.lines, Type: n.typ, Subtype: n.subtype, Params: n.decoded, Encoding: n.encoding,
		Disposition: n.disposition, FileName: n.fileName,
	}
	for _, c := range n.children {
		p.Children = append(p.Children, c.part())
	}
	if n.msg != nil {
		m := n.msg.part()
		p.Message = &m
	}
	return p
}

// index makes the Index of the finished tree, reduced until record and wire
// bytes keep their bounds.
func (p *parser) index(root *node) *Index {
	ix := &Index{HeaderCut: p.headerCut, Envelope: root.envelope}
	h := root.headings
	if h.subject != nil {
		ix.Subject = cut(DecodeWords(*h.subject), 1000)
	}
	if h.messageID != nil {
		ix.MessageID = messageID(*h.messageID)
	}
	if h.date != nil {
		ix.Date = ParseDate(*h.date)
	}
	for step := 0; ; step++ {
		ix.Root = root.part()
		last := step == len(reductions)
		if len(ix.encode()) <= p.lim.Record || last {
			full, okFull := structure(root, true)
			plain, okPlain := structure(root, false)
			if okFull && okPlain || last {
				ix.BodyStructure, ix.Body = full, plain
				return ix
			}
		}
		reductions[step](root)
	}
}

// messageID takes the id out of the field's value: the first <...>, or the
// whole where there is none. Bounded to what one line may hold.
func messageID(s string) string {
	if i := strings.IndexByte(s, '<'); i >= 0 {
		if j := strings.IndexByte(s[i:], '>'); j > 0 {
			s = s[i : i+j+1]
		}
	}
	return strings.Clone(cut(s, 998))
}
