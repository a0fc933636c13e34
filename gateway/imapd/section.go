package imapd

import (
	"context"
	"errors"
	"io"

	"github.com/emersion/go-imap/v2" // what FETCH asks for

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
)

// content is a message open for reading.
type content struct {
	ix     *mime.Index
	r      io.ReaderAt
	closer io.Closer
}

func (s *session) open(id mailbox.MessageID) (*content, error) {
	m, err := s.srv.opt.Store.Message(s.ctx, id)
	if err != nil {
		return nil, hide(err)
	}
	ix, err := s.srv.opt.Store.Index(s.ctx, id)
	if err != nil {
		return nil, hide(err)
	}
	r, err := s.srv.opt.Store.Open(m)
	if err != nil {
		return nil, hide(err)
	}
	return &content{ix: ix, r: r, closer: r}, nil
}

// hide keeps "not found" of a message that an entry names from being answered
// as a missing folder: it is a fault of the store.
func hide(err error) error {
	if errors.Is(err, context.Canceled) || !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	return errors.New("imapd: a message is missing in the store")
}

func (c *content) close() { _ = c.closer.Close() } // read only: nothing to lose

// read reads a range whole; callers bound n.
func (c *content) read(off, n int64) ([]byte, error) {
	b := make([]byte, n)
	if _, err := c.r.ReadAt(b, off); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// piece is one section of an answer.
type piece struct {
	label  []byte
	none   bool // there is no such part
	nul    bool // it cannot be given out; see nul.go
	eight  bool // goes out as a literal8
	number bool // size is the answer
	size   int64
	data   []byte                // small ones; good until the next piece
	send   func(f *filter) error // large ones: exactly size bytes
}

// sections is how many pieces an answer has: body sections, binary sections,
// binary sizes.
func (p *plan) sections() int {
	return len(p.o.BodySection) + len(p.o.BinarySection) + len(p.o.BinarySectionSize)
}

func (f *fetcher) piece(c *content, i int) (piece, error) {
	if i < len(f.o.BodySection) {
		return f.bodyPiece(c, f.o.BodySection[i], f.labels[i])
	}
	i -= len(f.o.BodySection)
	var path []int
	var partial *imap.SectionPartial
	number := i >= len(f.o.BinarySection)
	label := []byte("BINARY[")
	if number {
		path = f.o.BinarySectionSize[i-len(f.o.BinarySection)].Part
		label = []byte("BINARY.SIZE[")
	} else {
		path, partial = f.o.BinarySection[i].Part, f.o.BinarySection[i].Partial
	}
	p, err := binaryPiece(c, path, partial, number)
	if errors.Is(err, errUnknownEncoding) {
		f.failed = no(imap.ResponseCodeUnknownCTE, "A part is written in an unknown transfer encoding")
		p, err = piece{none: !number, number: number}, nil
	}
	p.label = append(appendPath(label, path), ']')
	if partial != nil {
		p.label = appendOrigin(p.label, partial)
	}
	p.eight = !number
	return p, err
}

// bodyPiece is BODY[...]: a range of the stored bytes, or some fields of a
// header.
func (f *fetcher) bodyPiece(c *content, o *imap.FetchItemBodySection, obsolete string) (piece, error) {
	p := piece{label: []byte(obsolete)}
	if obsolete == "" {
		p.label = appendSection(nil, o)
	}
	off, n, ok := c.ix.Section(o.Part, string(o.Specifier))
	if !ok {
		p.none = true
		return p, nil
	}
	names, not := o.HeaderFields, false
	if len(names) == 0 {
		names, not = o.HeaderFieldsNot, true
	}
	if o.Specifier == imap.PartSpecifierHeader && len(names) > 0 {
		header, err := c.header(off, n)
		if err != nil {
			return p, err
		}
		p.data = withoutNUL(mime.SelectFields(header, names, not))
		from, size := partOf(int64(len(p.data)), o.Partial)
		p.data, p.size = p.data[from:from+size], size
		return p, nil
	}
	from, size := partOf(n, o.Partial)
	err := f.plain(c, off+from, size, &p)
	return p, err
}

// smallPiece is the size up to which a piece is put together with what stands
// around it.
const smallPiece = 4 << 10

// maxHeader bounds a header that is handled in memory; the index makes none
// longer.
const maxHeader = 1 << 20

func (c *content) header(off, n int64) ([]byte, error) {
	if n > maxHeader {
		return nil, mime.ErrHeaderTooBig
	}
	return c.read(off, n)
}

// partOf is the range that <offset.size> leaves of n bytes; nothing overflows.
func partOf(n int64, p *imap.SectionPartial) (from, size int64) {
	if p == nil {
		return 0, n
	}
	from = min(max(p.Offset, 0), n)
	return from, min(max(p.Size, 0), n-from)
}

// binaryPiece is BINARY[...] (RFC 9051 section 6.4.5.2): the part without its
// transfer encoding. The size must be known first, so the part is decoded
// twice rather than held.
func binaryPiece(c *content, path []int, partial *imap.SectionPartial, number bool) (piece, error) {
	off, n := int64(0), c.ix.Size
	encoding := ""
	if len(path) > 0 {
		part, ok := c.ix.Part(path)
		if !ok {
			return piece{none: true}, nil
		}
		off, n = part.BodyOff, part.BodyLen
		if len(part.Children) == 0 && part.Message == nil {
			encoding = part.Encoding
		}
	}
	if identity(encoding) {
		from, size := partOf(n, partial)
		off += from
		return piece{number: number, size: size, send: func(f *filter) error { return f.copyRange(c.r, off, size) }}, nil
	}
	d, err := decoder(encoding, c.r, off, n)
	if err != nil {
		return piece{}, err
	}
	whole, err := io.Copy(io.Discard, d)
	if err != nil {
		return piece{}, err
	}
	from, size := partOf(whole, partial)
	return piece{number: number, size: size, send: func(f *filter) error {
		d, err := decoder(encoding, c.r, off, n)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, d, from); err != nil {
			return err
		}
		_, err = io.CopyN(appender{f}, d, size)
		return err
	}}, nil
}

// appender writes into the output of a connection.
type appender struct{ f *filter }

func (a appender) Write(p []byte) (int, error) {
	if err := a.f.append(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
