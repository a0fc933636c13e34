package mime

import (
	"encoding/binary"
	"errors"
	"sort"
	"time"
)

// ErrRecord is returned for bytes that are no encoded index, and for an index
// too big to encode.
var ErrRecord = errors.New("mime: bad index record")

const recordVersion = 1

// common are strings that most messages hold; their place in the list is what
// is stored. Only ever append: records on disk refer to it.
var common = [...]string{
	"", "text", "plain", "html", "multipart", "mixed", "alternative", "signed", "related", "report",
	"message", "rfc822", "application", "octet-stream", "xml", "pdf", "pkcs7-signature",
	"x-pkcs7-signature", "7bit", "8bit", "base64", "quoted-printable", "binary", "attachment",
	"inline", "charset", "name", "boundary", "utf-8", "iso-8859-1", "us-ascii", "daticert.xml",
	"postacert.eml", "smime.p7s", "protocol", "micalg", "image", "jpeg", "png", "windows-1252",
	"x-pkcs7-mime", "pkcs7-mime", "delivery-status", "format", "flowed",
}

// MarshalBinary encodes the offsets and names, not the wire bytes. At most
// 48 KiB for whatever Parse made.
func (ix *Index) MarshalBinary() ([]byte, error) {
	b := ix.encode()
	if len(b) > maxRecord {
		return nil, ErrRecord
	}
	return b, nil
}

func (ix *Index) encode() []byte {
	e := &encoder{b: make([]byte, 0, 512)}
	e.b = append(e.b, recordVersion)
	e.uint(uint64(ix.Size))
	flags := uint64(0)
	if ix.HeaderCut {
		flags |= 1
	}
	if !ix.Date.IsZero() {
		flags |= 2
	}
	e.uint(flags)
	e.str(ix.MessageID)
	e.str(ix.Subject)
	if !ix.Date.IsZero() {
		_, zone := ix.Date.Zone()
		e.int(ix.Date.Unix())
		e.int(int64(zone))
	}
	e.part(&ix.Root)
	return e.b
}

type encoder struct{ b []byte }

func (e *encoder) uint(n uint64) { e.b = binary.AppendUvarint(e.b, n) }
func (e *encoder) int(n int64)   { e.b = binary.AppendVarint(e.b, n) }

// str writes the place in common, or the length and the bytes.
func (e *encoder) str(s string) {
	if len(s) < 20 {
		for i, c := range common {
			if c == s {
				e.uint(uint64(i)<<1 | 1)
				return
			}
		}
	}
	e.uint(uint64(len(s)) << 1)
	e.b = append(e.b, s...)
}

func (e *encoder) part(p *Part) {
	e.uint(uint64(p.HeaderOff))
	e.uint(uint64(p.HeaderLen))
	e.uint(uint64(p.BodyLen))
	e.uint(uint64(p.Lines))
	e.str(p.Type)
	e.str(p.Subtype)
	e.str(p.Encoding)
	e.str(p.Disposition)
	e.str(p.FileName)
	names := make([]string, 0, len(p.Params))
	for name := range p.Params {
		names = append(names, name)
	}
	sort.Strings(names) // the same message always gives the same record
	e.uint(uint64(len(names)))
	for _, name := range names {
		e.str(name)
		e.str(p.Params[name])
	}
	kids := uint64(len(p.Children)) << 1
	if p.Message != nil {
		kids |= 1
	}
	e.uint(kids)
	for i := range p.Children {
		e.part(&p.Children[i])
	}
	if p.Message != nil {
		e.part(p.Message)
	}
}

// UnmarshalBinary reads what MarshalBinary wrote. Every range is checked to lie
// inside the message. Wire bytes stay empty.
func (ix *Index) UnmarshalBinary(b []byte) error {
	d := &decoder{b: b, parts: maxParts}
	if len(b) > maxRecord || d.byte() != recordVersion {
		return ErrRecord
	}
	var out Index
	out.Size = d.length(1 << 62)
	d.size = out.Size
	flags := d.uint()
	out.HeaderCut = flags&1 != 0
	out.MessageID = d.str()
	out.Subject = d.str()
	if flags&2 != 0 {
		sec, zone := d.int(), d.int()
		if zone < -100*3600 || zone > 100*3600 || sec < -1<<40 || sec > 1<<40 {
			d.bad = true
		} else {
			out.Date = time.Unix(sec, 0).In(time.FixedZone("", int(zone)))
		}
	}
	d.part(&out.Root, 0)
	if d.bad || len(d.b) > 0 || flags > 3 {
		return ErrRecord
	}
	*ix = out
	return nil
}

// decoder reads values until one is bad; then it gives zeros.
type decoder struct {
	b     []byte
	size  int64
	parts int // that may still come
	bad   bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uint() uint64 {
	n, used := binary.Uvarint(d.b)
	if used <= 0 || d.bad {
		d.bad = true
		return 0
	}
	d.b = d.b[used:]
	return n
}

func (d *decoder) int() int64 {
	n, used := binary.Varint(d.b)
	if used <= 0 || d.bad {
		d.bad = true
		return 0
	}
	d.b = d.b[used:]
	return n
}

// length reads a number from 0 to most.
func (d *decoder) length(most int64) int64 {
	n := d.uint()
	if n > uint64(most) {
		d.bad = true
		return 0
	}
	return int64(n)
}

func (d *decoder) str() string {
	n := d.uint()
	if n&1 == 1 {
		if n >>= 1; n < uint64(len(common)) {
			return common[n]
		}
		d.bad = true
		return ""
	}
	n >>= 1
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) part(p *Part, depth int) {
	d.parts--
	if depth > maxDepth || d.parts < 0 {
		d.bad = true
	}
	if d.bad {
		return
	}
	p.HeaderOff = d.length(d.size)
	p.HeaderLen = d.length(d.size - p.HeaderOff)
	p.BodyOff = p.HeaderOff + p.HeaderLen
	p.BodyLen = d.length(d.size - p.BodyOff)
	p.Lines = d.length(d.size + 1)
	p.Type = d.str()
	p.Subtype = d.str()
	p.Encoding = d.str()
	p.Disposition = d.str()
	p.FileName = d.str()
	if n := d.length(maxParams); n > 0 && !d.bad {
		p.Params = make(map[string]string, min(n, maxKeptParams))
		for ; n > 0 && !d.bad; n-- {
			name := d.str()
			p.Params[name] = d.str()
		}
	}
	kids := d.uint()
	for n := kids >> 1; n > 0 && !d.bad; n-- {
		var c Part
		d.part(&c, depth+1)
		p.Children = append(p.Children, c)
	}
	if kids&1 == 1 && !d.bad {
		p.Message = new(Part)
		d.part(p.Message, depth+1)
	}
}
