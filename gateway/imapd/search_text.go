package imapd

import (
	"bytes"
	"strings"

	"pecgate/mailbox/mime"
)

// field looks for a header criterion: in the ENVELOPE where that shows the
// field, else in the header.
func (m *candidate) field(h *headerTerm) bool {
	if h.summary && m.envelope != nil {
		switch shown, ok := mime.EnvelopeField(m.envelope, h.name); {
		case ok && bytes.Contains(shown, []byte(h.folded)):
			return true
		case m.whole && !h.marked:
			return false
		}
	}
	if !m.readFields() {
		return false
	}
	for i := range m.fields {
		if f := &m.fields[i]; strings.EqualFold(f.name, h.name) && m.among(f.values, h.folded) {
			return true
		}
	}
	return false
}

// foldedField is a field of the header, ready to be compared.
type foldedField struct {
	name   string
	values []string
}

func (m *candidate) readFields() bool {
	if m.fields != nil || !m.open() {
		return m.err == nil
	}
	m.fields = []foldedField{}
	if !m.spend(m.c.ix.Root.HeaderLen) {
		return false
	}
	header, err := mime.ReadHeader(m.c.r, &m.c.ix.Root)
	if err != nil {
		m.err = err
		return false
	}
	for _, f := range mime.Fields(header) {
		m.fields = append(m.fields, foldedField{f.Name, f.Folded()})
	}
	return true
}

// among tells whether one of values holds a string.
func (m *candidate) among(values []string, needle string) bool {
	for _, v := range values {
		if !m.spend(int64(len(v)) / compared) {
			return false
		}
		if strings.Contains(v, needle) {
			return true
		}
	}
	return false
}

// maxPieces bounds what is kept of a message's text, in bytes, so that several
// strings can be looked for.
const maxPieces = 1 << 20

// inMessage looks for a string in the body, and in the header if that is wanted.
func (m *candidate) inMessage(needle string, header bool) bool {
	if !m.open() {
		return false
	}
	if m.sr.looks.texts > 1 && !m.large {
		m.keepPieces()
		if m.err != nil {
			return false
		}
		if !m.large {
			return header && m.among(m.head, needle) || m.among(m.body, needle)
		}
	}
	found := false
	t := mime.Texts{R: m.c.r, Overlap: len(needle), Spend: m.afford, Piece: func(b []byte) bool {
		found = bytes.Contains(b, []byte(needle))
		return !found
	}}
	if header {
		m.err = t.Header(&m.c.ix.Root)
	}
	if m.err == nil && !found {
		m.err = t.Body(&m.c.ix.Root)
	}
	return found && m.err == nil
}

// keepPieces reads a message's text once, if it is not too large.
func (m *candidate) keepPieces() {
	if m.head != nil || m.err != nil {
		return
	}
	m.head = []string{}
	into, size := &m.head, 0
	t := mime.Texts{R: m.c.r, Overlap: maxNeedle * foldedGrowth, Spend: m.afford, Piece: func(b []byte) bool {
		if size += len(b); size > maxPieces {
			m.large, m.head, m.body = true, []string{}, nil
			return false
		}
		*into = append(*into, string(b))
		return true
	}}
	if m.err = t.Header(&m.c.ix.Root); m.err == nil && !m.large {
		into = &m.body
		m.err = t.Body(&m.c.ix.Root)
	}
}

// foldedGrowth is how many times longer folding makes a string of a client at
// most, in bytes.
const foldedGrowth = 12

// afford is spend for those who read for the candidate.
func (m *candidate) afford(n int64) error {
	m.spend(n)
	return m.err
}
