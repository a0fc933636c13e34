package imapd

import (
	"io"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
)

// The folder Contenuti shows what a transport envelope carries: the same entries
// as the inbox, with the bytes of the message inside, which are a range of the
// stored envelope. An envelope without such a range is shown as it is.

// innerName is how providers name the message inside (DM 2 November 2005,
// technical rules, 6.3.3).
const innerName = "postacert.eml"

// inside finds the message that an envelope carries, in a place that the
// signature covers.
func inside(ix *mime.Index) (off, n int64, ok bool) {
	root := &ix.Root
	if root.Type != "multipart" || len(root.Children) == 0 {
		return 0, 0, false
	}
	mixed, signed := root, root.Subtype == "signed"
	if signed {
		mixed = &root.Children[0]
	}
	if mixed.Type != "multipart" || mixed.Subtype != "mixed" {
		return 0, 0, false
	}
	var found *mime.Part
	for i := range mixed.Children {
		p := &mixed.Children[i]
		if p.Message == nil || !identity(p.Encoding) {
			continue
		}
		if p.FileName == innerName || p.Params["name"] == innerName {
			found = p
			break
		}
		if found == nil && signed { // a name is not prescribed
			found = p
		}
	}
	if found == nil {
		return 0, 0, false
	}
	return found.BodyOff, found.BodyLen, true
}

// openIn opens a message as a view shows it.
func (s *session) openIn(v *view, id mailbox.MessageID) (*content, error) {
	c, err := s.open(id)
	if err != nil || !v.inner {
		return c, err
	}
	off, n, ok := inside(c.ix)
	if !ok {
		return c, nil
	}
	r := io.NewSectionReader(c.r, off, n)
	ix, err := mime.Parse(r, n, mime.Limits{})
	if err != nil {
		c.close()
		return nil, err
	}
	return &content{ix: ix, r: r, closer: c.closer}, nil
}

// shown puts into an entry what a view shows in place of what the folder holds.
// Only what want names is right afterwards, and the size.
func (s *session) shown(v *view, e *mailbox.Entry, want mailbox.Want) error {
	if !v.inner {
		return nil
	}
	if !want.Envelope && !want.BodyStructure && !want.Body {
		ix, err := s.srv.opt.Store.Index(s.ctx, e.Message)
		if err != nil {
			return hide(err)
		}
		if _, n, ok := inside(ix); ok {
			e.Size = n
		}
		return nil
	}
	c, err := s.openIn(v, e.Message)
	if err != nil {
		return err
	}
	defer c.close()
	if e.Size == c.ix.Size {
		return nil // the envelope itself, whose forms are stored
	}
	e.Size, e.Envelope, e.BodyStructure, e.Body = c.ix.Size, c.ix.Envelope, c.ix.BodyStructure, c.ix.Body
	return nil
}
