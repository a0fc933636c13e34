package mime

import (
	"fmt"
	"io"
)

// Parse reads a message of size bytes once, in blocks, and gives its Index. It
// fails only when r does or size is negative. Line ends are CRLF or LF. Where a
// limit is met, the rest becomes one leaf (see Limits); where structure cannot
// be understood, the part is a text/plain leaf.
func Parse(r io.ReaderAt, size int64, lim Limits) (*Index, error) {
	if size < 0 {
		return nil, fmt.Errorf("mime: message of %d bytes", size)
	}
	p := &parser{lr: newLineReader(r, size), lim: lim.withDefaults()}
	root, err := p.run()
	if err != nil {
		return nil, err
	}
	ix := p.index(root)
	ix.Size = size
	return ix, nil
}

// frame is an open part whose body is being read.
type frame struct {
	n        *node
	boundary string // of a multipart that is still open
	lines    int64  // line ends before the body
}

type parser struct {
	lr    *lineReader
	lim   Limits
	stack []frame
	head  *node // the part whose header is being read, not yet on the stack
	asRoot,
	digest bool // of head: a message's own header; default type message/rfc822
	nodes int

	root      *node
	headerCut bool

	lf        int64 // line ends so far
	prevEOL   int   // bytes of the line end of the line before
	prevBlank bool  // that line was empty
	err       error
}

func (p *parser) run() (*node, error) {
	p.root = p.open(0, true, false)
	for p.err == nil {
		ln, ok := p.lr.next()
		if !ok {
			break
		}
		before := p.lf
		if ln.eol > 0 {
			p.lf++
		}
		switch {
		case len(p.stack) > 0 && len(ln.text) > 2 && ln.text[0] == '-' && ln.text[1] == '-' && p.delimiter(ln, before):
		case p.head != nil && ln.next-p.head.off > p.lim.Header:
			p.cutHeader(ln, before)
		case p.head != nil && ln.blank():
			p.endHeader(ln.next, p.lf)
		}
		p.prevEOL, p.prevBlank = ln.eol, ln.blank()
	}
	if p.lr.err != nil {
		return nil, p.lr.err
	}
	lines := p.lf
	if p.prevEOL == 0 && !p.prevBlank {
		lines++ // the last line has no end
	}
	p.closeTo(0, p.lr.size, lines)
	return p.root, p.err
}

// open begins a part at off; its header comes next.
func (p *parser) open(off int64, root, digest bool) *node {
	n := &node{off: off}
	p.nodes++
	p.head, p.asRoot, p.digest = n, root, digest
	return n
}

// delimiter handles a line that may be a boundary (RFC 2046 section 5.1.1). The
// whole line must be the boundary, space behind it apart: so a boundary that
// begins like another is never taken for it. The innermost multipart wins.
func (p *parser) delimiter(ln line, before int64) bool {
	text := ln.text[2:]
	for len(text) > 0 && (text[len(text)-1] == ' ' || text[len(text)-1] == '\t') {
		text = text[:len(text)-1]
	}
	for i := len(p.stack) - 1; i >= 0; i-- {
		b := p.stack[i].boundary
		if b == "" {
			continue
		}
		closing := len(text) == len(b)+2 && text[len(b)] == '-' && text[len(b)+1] == '-'
		if !closing && len(text) != len(b) {
			continue
		}
		p.lr.work += int64(len(b))
		if string(text[:len(b)]) != b {
			continue
		}
		// The line end before the boundary belongs to the boundary.
		lines := before
		if p.prevBlank && lines > 0 {
			lines--
		}
		p.closeTo(i+1, ln.off-int64(p.prevEOL), lines)
		f := &p.stack[i]
		switch {
		case closing:
			f.boundary = "" // what follows is epilogue
		case p.nodes >= p.lim.Parts:
			// The rest of this multipart, boundaries and all, is one blob.
			n := &node{off: ln.next, encoding: "8bit"}
			n.toBlob()
			f.boundary = ""
			f.n.children = append(f.n.children, n)
			p.stack = append(p.stack, frame{n: n, lines: p.lf})
		default:
			n := p.open(ln.next, false, f.n.subtype == "digest")
			f.n.children = append(f.n.children, n)
		}
		return true
	}
	return false
}

// cutHeader ends a header that passes the limit, at a line where it can. The
// part becomes a blob, its headings those of the fields seen.
func (p *parser) cutHeader(ln line, before int64) {
	n := p.head
	end := ln.off
	if end == n.off {
		end = n.off + p.lim.Header
	}
	if n == p.root {
		p.headerCut = true
	}
	if !p.parseHeader(end) {
		return
	}
	n.toBlob()
	p.stack = append(p.stack, frame{n: n, lines: before})
}

// endHeader ends the header of the part at bodyOff and opens its body.
func (p *parser) endHeader(bodyOff, lines int64) {
	n := p.head
	if p.parseHeader(bodyOff) {
		p.openBody(n, lines)
	}
}

// parseHeader reads the header of the part that is being opened, which ends at
// end. False after a read error.
func (p *parser) parseHeader(end int64) bool {
	n := p.head
	p.head = nil
	n.hlen = end - n.off
	raw, err := p.lr.slice(n.off, n.hlen)
	if err != nil {
		p.err = err
		return false
	}
	n.readHeader(raw, p.lim.Fields, p.asRoot, p.digest)
	switch {
	case n == p.root:
		n.envelope = n.headings.envelope(1)
	case p.asRoot:
		n.envelope = n.headings.envelope(nestedDivisor)
		if len(n.envelope) > 1000 {
			n.smallEnvelope = n.headings.envelope(smallDivisor)
		}
		n.headings = headings{} // only the root's own are asked for later
	}
	return true
}

func (p *parser) openBody(n *node, lines int64) {
	f := frame{n: n, lines: lines}
	switch {
	case n.typ == "multipart":
		switch {
		case n.boundary == "" || len(n.boundary) > maxBoundary:
			n.toText()
		case len(p.stack) >= p.lim.Depth || p.nodes >= p.lim.Parts:
			n.toBlob()
		default:
			f.boundary = n.boundary
		}
		p.stack = append(p.stack, f)
	case n.typ == "message" && n.subtype == "rfc822":
		p.stack = append(p.stack, f)
		if !n.identity() || len(p.stack) > p.lim.Depth || p.nodes >= p.lim.Parts {
			n.toBlob()
			return
		}
		n.msg = p.open(n.bodyOff(), true, false)
	default:
		p.stack = append(p.stack, f)
	}
}

// closeTo ends all parts above the given height at offset end; lines is the
// number of lines before that offset, one without an end included.
func (p *parser) closeTo(height int, end, lines int64) {
	for p.head != nil && p.err == nil {
		// A header without blank line: all there is of the part. A message part
		// opens one more header, which is empty.
		p.head.off = min(p.head.off, end)
		p.endHeader(end, lines)
	}
	for len(p.stack) > height {
		f := p.stack[len(p.stack)-1]
		p.stack = p.stack[:len(p.stack)-1]
		n := f.n
		// The line end that belongs to the boundary may be that of the blank line
		// or of the delimiter line before.
		n.off = min(n.off, end)
		n.hlen = min(n.hlen, end-n.off)
		n.blen = end - n.bodyOff()
		if n.blen > 0 {
			n.lines = max(lines-f.lines, 0)
		}
		if n.typ == "multipart" && len(n.children) == 0 {
			n.toText()
		}
	}
}
