package smtpd

import (
	"bytes"
	"strings"

	"pecgate/mailbox/mime"
)

// Bounds of the search. What a message has beyond them is not looked at: the
// search is a service to honest senders, whose programs write the part early.
const (
	maxPartHeader   = 16 << 10 // octets of a part's header
	maxPartsSeen    = 1000
	maxOpen         = 32   // boundaries of multiparts in each other
	maxBoundaryLine = 1024 // octets; RFC 2046 allows 70 and dashes and blanks
)

// parts looks for winmail.dat (TNEF) among the parts of a message while it
// passes: only the lines of boundaries and the headers behind them are read. A
// message that is attached whole is not looked into, since what its sender once
// did cannot be switched off here.
type parts struct {
	open []string // boundaries with their two dashes
	seen int
	at   place
	line []byte // the begin of a line that may be a boundary, or the header of a part
}

// place is where in a body the next octet stands.
type place int

const (
	lineStart place = iota
	otherLine       // in a line that is no boundary
	maybe           // in a line that begins as a boundary does
	partHeader
)

// partsOf begins with the message's own header. It tells what the whole is.
func partsOf(header []byte) (parts, error) {
	var p parts
	return p, p.header(header)
}

// header judges the header of the message or of a part.
func (p *parts) header(h []byte) error {
	part := mime.ReadHeading(h)
	switch {
	case strings.HasSuffix(part.Subtype, "ms-tnef"), strings.EqualFold(part.FileName, "winmail.dat"):
		return winmail()
	case part.Boundary != "" && len(p.open) < maxOpen:
		p.open = append(p.open, "--"+part.Boundary)
	}
	return nil
}

// look takes the next piece of the body.
func (p *parts) look(piece []byte) error {
	for len(p.open) > 0 && p.seen < maxPartsSeen && len(piece) > 0 {
		n := len(piece)
		switch p.at {
		case lineStart:
			n = 0
			if p.at = otherLine; piece[0] == '-' {
				p.at = maybe
			}
		case otherLine:
			if i := bytes.Index(piece, []byte("\n-")); i >= 0 {
				n, p.at = i+1, lineStart
			} else if piece[n-1] == '\n' {
				p.at = lineStart
			}
		case maybe:
			i := bytes.IndexByte(piece, '\n')
			if i >= 0 {
				n, p.at = i+1, lineStart
			}
			p.line = append(p.line, piece[:min(n, max(0, maxBoundaryLine-len(p.line)))]...)
			if i >= 0 {
				p.boundary()
			}
		case partHeader:
			var err error
			if n, err = p.more(piece); err != nil {
				return err
			}
		}
		piece = piece[n:]
	}
	return nil
}

// boundary judges a line that has come whole.
func (p *parts) boundary() {
	line := bytes.TrimRight(p.line, " \t\r\n")
	p.line = p.line[:0]
	for i := len(p.open) - 1; i >= 0; i-- {
		switch string(line) {
		case p.open[i]:
			p.open = p.open[:i+1] // whatever was open inside has ended
			p.at = partHeader
			p.seen++
			return
		case p.open[i] + "--":
			p.open = p.open[:i]
			return
		}
	}
}

// more takes what a piece holds of a part's header, and says how much that is.
func (p *parts) more(piece []byte) (int, error) {
	before := len(p.line)
	p.line = append(p.line, piece[:min(len(piece), maxPartHeader-before)]...)
	end := headerEnd(p.line, max(0, before-3))
	if end < 0 && len(p.line) < maxPartHeader {
		return len(piece), nil
	}
	n := len(p.line) - before
	if end >= 0 {
		n = end - before
		p.line = p.line[:end]
	}
	err := p.header(p.line)
	p.line, p.at = p.line[:0], lineStart
	if end < 0 {
		p.at = otherLine
	}
	return n, err
}
