package export

import (
	"io"
)

const fromWord = "From "

// quoter passes a message on as an mbox has it: each line of the body that begins with
// any number of ">" and "From " gets one ">" more (mboxrd). With undo it takes one away.
// Of the header nothing is changed: no reader begins a message there.
type quoter struct {
	w     io.Writer
	undo  bool
	body  bool // the first blank line is behind
	in    int  // bytes of the line so far; 2 stands for more
	cr    bool // the line is "\r"
	deep  int  // ">" at the beginning of the line; -1: it begins otherwise, or is decided
	held  bool // undo: a ">" that may have to go
	match int  // bytes of "From " that stand behind it, held back
	last  byte
	lines int // that were changed
	buf   []byte
}

func newQuoter(w io.Writer, undo bool) *quoter { return &quoter{w: w, undo: undo} }

// Write implements io.Writer.
func (q *quoter) Write(p []byte) (int, error) {
	q.buf = q.buf[:0]
	for _, c := range p {
		q.next(c)
	}
	if len(p) > 0 {
		q.last = p[len(p)-1]
	}
	if _, err := q.w.Write(q.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (q *quoter) next(c byte) {
	switch {
	case !q.body || q.deep < 0:
		q.buf = append(q.buf, c)
	case q.match == 0 && c == '>':
		q.deep++
		if q.held || !q.undo {
			q.buf = append(q.buf, c)
		}
		q.held = q.undo
	case c == fromWord[q.match]:
		if q.match++; q.match < len(fromWord) {
			return // it begins no line end: nothing to count
		}
		if q.match = 0; !q.undo {
			q.buf = append(q.buf, '>')
			q.lines++
		} else if q.held {
			q.held = false
			q.lines++
		}
		q.buf = append(q.buf, fromWord...)
		q.deep, q.in = -1, 2
		return
	default:
		q.release()
		q.buf = append(q.buf, c)
	}
	q.line(c)
}

// release passes on what was held back: the line is an ordinary one.
func (q *quoter) release() {
	if q.held {
		q.buf = append(q.buf, '>')
		q.held = false
	}
	if q.match > 0 {
		q.buf = append(q.buf, fromWord[:q.match]...)
		q.in = 2
	}
	q.match, q.deep = 0, -1
}

// line follows where lines begin.
func (q *quoter) line(c byte) {
	if c != '\n' {
		q.cr = q.in == 0 && c == '\r'
		q.in = min(q.in+1, 2)
		return
	}
	if q.in == 0 || q.in == 1 && q.cr {
		q.body = true
	}
	q.in, q.cr, q.deep, q.held = 0, false, 0, false
}

// Close passes the rest on.
func (q *quoter) Close() error {
	q.buf = q.buf[:0]
	if q.body && q.deep >= 0 {
		q.release()
	}
	_, err := q.w.Write(q.buf)
	return err
}
