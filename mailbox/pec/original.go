package pec

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"pecgate/mailbox/mime"
)

// ErrNoOriginal is returned where no original can be recovered: there is no
// inner message, it stands nowhere as it is, or its header passes the limit.
var ErrNoOriginal = errors.New("pec: no original that can be recovered")

// Recovered is the original as its sender submitted it, recovered from what the
// provider made of it. It is never the original itself, whose exact bytes nobody
// but the sender holds: Assumed says what had to be guessed. Only the header is
// held in memory.
type Recovered struct {
	Size      int64    `json:"size"`    // bytes
	MessageID string   `json:"msgid"`   // the client's, put back; empty where the client gave none
	Dropped   []string `json:"dropped"` // fields that the provider put in, taken out again, by name
	Added     []string `json:"added"`   // fields that providers are known to add, left inside, by name
	Assumed   []string `json:"assumed"` // sentences; never empty

	head []byte
	body *io.SectionReader
	from innerHead
}

// Original recovers the original from a transport envelope, a complete delivery
// receipt or a brief one (whose attachments stay hashes); r is the outer message
// and in the inner one that Read found in it.
func Original(r io.ReaderAt, in *Inner) (*Recovered, error) {
	h, err := openInner(r, in)
	if err != nil {
		return nil, err
	}
	return h.recover(false), nil
}

// WithoutAdded is the same original without the fields in Added.
func (o *Recovered) WithoutAdded() *Recovered {
	return o.from.recover(true)
}

// Reader reads the whole original.
func (o *Recovered) Reader() io.Reader { return io.NewSectionReader(o, 0, o.Size) }

// WriteTo writes the whole original.
func (o *Recovered) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, o.Reader()) }

// ReadAt implements io.ReaderAt.
func (o *Recovered) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("pec: negative offset")
	}
	if off < int64(len(o.head)) {
		n = copy(p, o.head[off:])
		if n == len(p) {
			return n, nil
		}
	}
	k, err := o.body.ReadAt(p[n:], off+int64(n)-int64(len(o.head)))
	return n + k, err
}

// role says who put a field of the inner header there.
type role byte

const (
	roleClient    role = iota
	roleTrace          // Received and Return-Path on top
	rolePECID          // the Message-ID, replaced
	roleReference      // X-Riferimento-Message-ID, appended
	roleKnown          // what providers are known to add
)

// innerHead is the header of an inner message, each field with its role.
type innerHead struct {
	fields []mime.Field
	roles  []role
	end    []byte // the blank line
	body   *io.SectionReader
}

// openInner reads the header of the inner message again, now with its bytes.
func openInner(r io.ReaderAt, in *Inner) (innerHead, error) {
	if in == nil || in.Encoding != "" || in.Off < 0 || in.Size < 0 {
		return innerHead{}, ErrNoOriginal
	}
	head, whole, err := readHead(&wholeReader{io.NewSectionReader(r, in.Off, in.Size), in.Size})
	if err != nil {
		return innerHead{}, fmt.Errorf("read header of %s: %w", innerName, err)
	}
	if !whole {
		return innerHead{}, ErrNoOriginal
	}
	n := int64(len(head))
	h := innerHead{fields: mime.Fields(head), body: io.NewSectionReader(r, in.Off+n, in.Size-n), end: head}
	if k := len(h.fields); k > 0 {
		last := h.fields[k-1]
		h.end = head[last.Off+len(last.Raw):]
	}
	h.assign()
	return h, nil
}

// wholeReader tells a range that ends too early from one that ends.
type wholeReader struct {
	r    io.Reader
	left int64
}

func (w *wholeReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.left -= int64(n)
	if err == io.EOF && w.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// assign finds out who put each field there.
func (h *innerHead) assign() {
	h.roles = make([]role, len(h.fields))
	top, id, ref := true, -1, -1
	for i, f := range h.fields {
		name := strings.ToLower(f.Name)
		isTrace := name == "received" || name == "return-path"
		switch {
		case top && isTrace:
			h.roles[i] = roleTrace
		case strings.HasPrefix(name, "x-namirial-"):
			h.roles[i] = roleKnown
			continue // stands among the trace fields, too
		case name == "message-id" && id < 0:
			id = i
		case name == "x-riferimento-message-id":
			ref = i // the last one; an earlier one is the client's own
		}
		top = top && isTrace
	}
	if id >= 0 {
		h.roles[id] = rolePECID
	}
	if ref >= 0 {
		h.roles[ref] = roleReference
	}
}

// recover makes the original out of the inner header.
func (h innerHead) recover(dropKnown bool) *Recovered {
	o := &Recovered{Dropped: []string{}, Added: []string{}, body: h.body, from: h}
	ref := -1
	for i, r := range h.roles {
		if r == roleReference {
			ref = i
		}
	}
	put := func(raw []byte) { o.head = append(o.head, raw...) }
	value := func(f mime.Field) {
		put(f.Raw[len(f.Name):])
		if f.Raw[len(f.Raw)-1] != '\n' {
			put([]byte("\r\n")) // the last field of a header without an end
		}
	}
	replaced := false
	for i, f := range h.fields {
		switch h.roles[i] {
		case rolePECID:
			if ref < 0 {
				o.Dropped = append(o.Dropped, f.Name)
				continue
			}
			// The field as the provider wrote it, with the value that it put aside.
			put(f.Raw[:len(f.Name)])
			value(h.fields[ref])
			replaced = true
		case roleReference, roleTrace:
			o.Dropped = append(o.Dropped, f.Name)
		case roleKnown:
			if dropKnown {
				o.Dropped = append(o.Dropped, f.Name)
				continue
			}
			o.Added = append(o.Added, f.Name)
			put(f.Raw)
		default:
			put(f.Raw)
		}
	}
	switch {
	case replaced:
		o.MessageID = hint(h.fields[ref].Body())
		o.Assumed = append(o.Assumed, "the client's Message-ID stood where the provider's stands; its exact bytes are not known")
	case ref >= 0:
		o.MessageID = hint(h.fields[ref].Body())
		put([]byte("Message-ID"))
		value(h.fields[ref])
		o.Assumed = append(o.Assumed, "the place of the client's Message-ID is not known")
	default:
		o.Assumed = append(o.Assumed, "the client gave no Message-ID, since no X-Riferimento-Message-ID is there")
	}
	if ref >= 0 {
		o.Assumed = append(o.Assumed, "the last X-Riferimento-Message-ID is the provider's")
	}
	for _, r := range h.roles {
		if r == roleTrace {
			o.Assumed = append(o.Assumed, "the Received and Return-Path fields on top are the provider's")
			break
		}
	}
	put(h.end)
	o.Size = int64(len(o.head)) + h.body.Size()
	return o
}
