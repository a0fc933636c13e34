package providersim

import (
	"bufio"
	"bytes"
	"errors"
	"time"
)

// data reads the message and decides what the client gets to see of it.
func (s *smtpSession) data(arg string) error {
	if arg != "" {
		return s.fail(501, "5.5.4", "DATA takes no argument")
	}
	if !s.inMail || len(s.recipients) == 0 {
		return s.fail(503, "5.5.1", "no recipients given")
	}
	s.reply(354, "", "end with <CRLF>.<CRLF>")
	if err := s.bw.Flush(); err != nil {
		return err
	}
	raw, tooBig, err := readData(s.br, s.p.o.MaxSize, s.p.faults.lenientEnds())
	if err != nil {
		return err // cut before the end: nothing was accepted
	}
	from, recipients := s.from, s.recipients
	s.reset()
	f := &s.p.faults
	switch {
	case tooBig:
		return s.fail(552, "5.3.4", "message too large")
	case f.RejectAtDot.fires():
		s.reply(554, "5.6.0", "transaction failed")
		return nil
	case f.DeferAtDot.fires():
		s.reply(451, "4.3.0", "try again later")
		return nil
	case f.LoseAfterDot.fires():
		s.conn.drop()
		return errQuit
	}
	at := s.p.accept(s.user, from, recipients, raw)
	if f.CutAfterDot.fires() {
		s.conn.drop()
		return errQuit
	}
	if d := f.HoldDot.Get(); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.p.ctx.Done():
			return errQuit
		}
	}
	s.reply(250, "2.0.0", "ok: queued as "+s.p.submissionID(at))
	if err := s.bw.Flush(); err != nil {
		return err
	}
	s.p.answered(at)
	return nil
}

func (p *Provider) submissionID(at int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ledger[at].ID
}

var errNoEnd = errors.New("connection ended inside a message")

// readData reads up to CRLF.CRLF (RFC 5321 4.1.1.4), or up to one of ends as
// well, and takes away one leading dot of each line. Nothing else is changed.
// Beyond limit bytes the message is read to its end and not kept.
func readData(br *bufio.Reader, limit int64, ends []string) (raw []byte, tooBig bool, err error) {
	if len(ends) > 0 {
		return readLenient(br, limit, ends)
	}
	lineStart, afterCR := true, false
	for {
		chunk, err := br.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, errNoEnd
		}
		if lineStart && string(chunk) == ".\r\n" {
			return raw, tooBig, nil
		}
		// Only CRLF ends a line. The CR may be the last byte of the chunk before.
		next := bytes.HasSuffix(chunk, []byte("\r\n")) || afterCR && string(chunk) == "\n"
		afterCR = chunk[len(chunk)-1] == '\r'
		if lineStart && chunk[0] == '.' {
			chunk = chunk[1:]
		}
		lineStart = next
		if tooBig = tooBig || int64(len(raw)+len(chunk)) > limit; tooBig {
			raw = nil
			continue
		}
		raw = append(raw, chunk...)
	}
}

// readLenient is a provider that believes in more ends of data than there are.
func readLenient(br *bufio.Reader, limit int64, ends []string) (raw []byte, tooBig bool, err error) {
	marks := [][]byte{[]byte("\r\n.\r\n")}
	for _, e := range ends {
		marks = append(marks, []byte(e))
	}
	raw = []byte("\r\n") // the line end of DATA itself, so that a first line can be the end
	for {
		c, err := br.ReadByte()
		if err != nil {
			return nil, false, errNoEnd
		}
		raw = append(raw, c)
		for _, m := range marks {
			if !bytes.HasSuffix(raw, m) {
				continue
			}
			dot := max(bytes.IndexByte(m, '.'), 0)
			raw = bytes.ReplaceAll(raw[:len(raw)-len(m)+dot], []byte("\r\n."), []byte("\r\n"))
			return raw[min(2, len(raw)):], false, nil
		}
		if int64(len(raw)) > limit {
			return nil, false, errNoEnd
		}
	}
}
