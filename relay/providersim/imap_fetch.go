package providersim

import (
	"bytes"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"            // types of the session interface
	"github.com/emersion/go-imap/v2/imapserver" // as above
)

// chosen is a message that a command names: its number in the client's view and
// its present state.
type chosen struct {
	seq uint32
	Message
}

// choose resolves a number set against the view, in ascending order. Messages
// that are gone already are left out.
func (s *imapSession) choose(set imap.NumSet) []chosen {
	in := s.matcher(set)
	byUID := map[uint32]Message{}
	for _, m := range s.selected.state().messages {
		byUID[m.UID] = m
	}
	var out []chosen
	for i, v := range s.view {
		if m, ok := byUID[v.uid]; ok && in(uint32(i+1), v.uid) {
			out = append(out, chosen{uint32(i + 1), m})
		}
	}
	return out
}

// matcher resolves '*' to the highest number in use (RFC 9051 9, seq-number).
func (s *imapSession) matcher(set imap.NumSet) func(seq, uid uint32) bool {
	top := uint32(len(s.view))
	var ranges [][2]uint32
	byUID := false
	switch set := set.(type) {
	case imap.SeqSet:
		for _, r := range set {
			ranges = append(ranges, [2]uint32{r.Start, r.Stop})
		}
	case imap.UIDSet:
		byUID = true
		top = 0
		if n := len(s.view); n > 0 {
			top = s.view[n-1].uid
		}
		for _, r := range set {
			ranges = append(ranges, [2]uint32{uint32(r.Start), uint32(r.Stop)})
		}
	}
	for i, r := range ranges {
		for j := range r {
			if r[j] == 0 {
				r[j] = top
			}
		}
		slices.Sort(r[:])
		ranges[i] = r
	}
	return func(seq, uid uint32) bool {
		n := seq
		if byUID {
			n = uid
		}
		return slices.ContainsFunc(ranges, func(r [2]uint32) bool { return r[0] <= n && n <= r[1] })
	}
}

func (s *imapSession) Fetch(w *imapserver.FetchWriter, set imap.NumSet, o *imap.FetchOptions) error {
	if len(o.BinarySection) > 0 || len(o.BinarySectionSize) > 0 {
		return no(imap.ResponseCodeCannot, "BINARY is not offered by this simulator")
	}
	seenByReading := !s.readOnly && slices.ContainsFunc(o.BodySection, func(b *imap.FetchItemBodySection) bool { return !b.Peek })
	for _, m := range s.choose(set) {
		flags := o.Flags
		if seenByReading && !hasFlag(m.Flags, `\Seen`) {
			m.Flags = s.changeFlags(m, func(f []string) []string { return append(f, `\Seen`) })
			flags = true
		}
		if err := s.fetchOne(w, m, o, flags); err != nil {
			return err
		}
	}
	return nil
}

func (s *imapSession) fetchOne(w *imapserver.FetchWriter, m chosen, o *imap.FetchOptions, flags bool) (err error) {
	r := w.CreateMessage(m.seq)
	// Close gives back the library's lock on the connection.
	defer func() {
		if closeErr := r.Close(); err == nil {
			err = closeErr
		}
	}()
	if o.UID {
		r.WriteUID(imap.UID(m.UID))
	}
	if flags {
		r.WriteFlags(imapFlags(m.Flags))
	}
	if o.RFC822Size {
		r.WriteRFC822Size(int64(len(m.Raw)))
	}
	if o.InternalDate {
		r.WriteInternalDate(internalDate(m.At))
	}
	if o.Envelope {
		r.WriteEnvelope(envelopeOf(m.Raw))
	}
	if o.BodyStructure != nil {
		r.WriteBodyStructure(structureOf(m.Raw))
	}
	for _, item := range o.BodySection {
		data := section(m.Raw, item)
		if n := s.p.faults.CutFetch.n.Load(); n > 0 && s.p.faults.CutFetch.n.CompareAndSwap(n, 0) {
			s.conn.cutAfter(n)
		}
		lit := r.WriteBodySection(item, int64(len(data)))
		if _, err := lit.Write(data); err != nil {
			return err
		}
		if err := lit.Close(); err != nil {
			return err
		}
	}
	return nil
}

// section cuts a byte range out of the stored message; only HEADER.FIELDS is
// put together, out of whole raw fields.
func section(raw []byte, item *imap.FetchItemBodySection) []byte {
	data, header, text, ok := locate(raw, item.Part)
	if !ok {
		return nil
	}
	switch item.Specifier {
	case imap.PartSpecifierHeader:
		data = header
		if len(item.HeaderFields) > 0 || len(item.HeaderFieldsNot) > 0 {
			data = selectFields(header, item.HeaderFields, item.HeaderFieldsNot)
		}
	case imap.PartSpecifierMIME:
		data = header
	case imap.PartSpecifierText:
		data = text
	}
	if p := item.Partial; p != nil {
		n := int64(len(data))
		from := min(max(p.Offset, 0), n)
		// Compared, not added: the sum may overflow.
		if p.Size < n-from {
			return data[from : from+max(p.Size, 0)]
		}
		return data[from:]
	}
	return data
}

// locate finds a part by its IMAP section numbers (RFC 9051 6.4.5.1): whole
// content, header with its blank line, and text.
func locate(raw []byte, path []int) (data, header, text []byte, ok bool) {
	if len(path) == 0 {
		_, _, body := split(raw)
		return raw, raw[:body], raw[body:], true
	}
	p := readParts(raw)
	for i, n := range path {
		if p.children == nil && p.kind == "message/rfc822" && i > 0 {
			raw = raw[p.body:p.end]
			p = readParts(raw)
		}
		switch {
		case p.children != nil && n >= 1 && n <= len(p.children):
			p = p.children[n-1]
		case p.children == nil && n == 1: // the only part of a message that is none
		default:
			return nil, nil, nil, false
		}
	}
	data = raw[p.body:p.end]
	if p.kind == "message/rfc822" {
		_, _, body := split(data)
		return data, data[:body], data[body:], true
	}
	return data, raw[p.off:p.body], data, true
}

func selectFields(header []byte, names, not []string) []byte {
	fields, _, _ := split(header)
	var b bytes.Buffer
	for _, f := range fields {
		named := slices.ContainsFunc(append(slices.Clone(names), not...), func(n string) bool { return strings.EqualFold(n, f.name) })
		if named == (len(names) > 0) {
			b.Write(f.raw)
		}
	}
	b.WriteString("\r\n")
	return b.Bytes()
}
