package imapd

import (
	"io"
	"strings"

	"pecgate/mailbox/mime"
)

// textBlock is how much of a text is looked at in one go.
const textBlock = 128 << 10

// fields looks for the header criteria, in decoded fields.
func (m *candidate) fields(t *term) bool {
	if len(t.headers) == 0 {
		return true
	}
	if !m.readHeader() {
		return false
	}
	fields := mime.Fields(m.header)
	for _, h := range t.headers {
		found := false
		for _, f := range fields {
			if strings.EqualFold(f.Name, h.name) && (h.needle == "" || holds(f.Body(), h.needle)) {
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// holds looks for a lower-case string in a header field's value, decoded and as
// it is written.
func holds(value, needle string) bool {
	return strings.Contains(strings.ToLower(mime.DecodeWords(value)), needle) || strings.Contains(strings.ToLower(value), needle)
}

func (m *candidate) readHeader() bool {
	if m.header != nil || m.err != nil {
		return m.err == nil
	}
	if m.open() && m.spend(m.c.ix.Root.HeaderLen) {
		m.header, m.err = mime.ReadHeader(m.c.r, &m.c.ix.Root)
	}
	return m.err == nil
}

// texts looks for BODY and TEXT criteria.
func (m *candidate) texts(t *term) bool {
	for _, needle := range t.body {
		if !m.open() || !m.inBody(&m.c.ix.Root, needle) {
			return false
		}
	}
	for _, needle := range t.text {
		if !m.readHeader() || !m.inHeader(m.header, needle) && !m.inBody(&m.c.ix.Root, needle) {
			return false
		}
	}
	return m.err == nil
}

func (m *candidate) inHeader(header []byte, needle string) bool {
	for _, f := range mime.Fields(header) {
		if holds(f.Name+": "+f.Body(), needle) {
			return true
		}
	}
	return false
}

// inBody looks into every text part, also of messages inside the message with
// their headers: the text of a PEC is in the message that its envelope carries.
func (m *candidate) inBody(p *mime.Part, needle string) bool {
	if m.err != nil {
		return false
	}
	for i := range p.Children {
		if m.inBody(&p.Children[i], needle) {
			return true
		}
	}
	if in := p.Message; in != nil {
		if !m.spend(in.HeaderLen) {
			return false
		}
		var header []byte
		if header, m.err = mime.ReadHeader(m.c.r, in); m.err != nil {
			return false
		}
		return m.inHeader(header, needle) || m.inBody(in, needle)
	}
	if len(p.Children) > 0 || p.Type != "text" {
		return false
	}
	return m.inText(p, needle)
}

func (m *candidate) inText(p *mime.Part, needle string) bool {
	if !m.spend(p.BodyLen) {
		return false
	}
	d := mime.Content(m.c.r, p) // an unknown encoding is searched as it is written
	// The end of each block is looked at again with the next one, so that
	// nothing is missed between them. Four bytes hold a character in any set.
	keep := 4*len(needle) + 16
	buf := make([]byte, 0, int(min(p.BodyLen, textBlock))+keep)
	for {
		n, err := io.ReadFull(d, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if strings.Contains(strings.ToLower(mime.DecodeCharset(p.Params["charset"], buf)), needle) {
			return true
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false
		}
		if err != nil {
			m.err = err
			return false
		}
		tail := copy(buf, buf[max(0, len(buf)-keep):])
		buf = buf[:tail]
	}
}
