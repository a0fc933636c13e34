package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"
	"unicode"

	"pecgate/mailbox/mime"
)

// Bounds of a digest: it is read by a person.
const (
	digestSubject    = 150     // characters
	digestFrom       = 300     // characters
	digestTo         = 2000    // characters of To, and of Cc
	digestName       = 200     // characters of an attachment's name
	digestRecipients = 50      // of the envelope that are named
	digestFiles      = 100     // attachments that are named
	digestHeader     = 1 << 18 // octets of the header that are read
)

// digest is what the notice of a held submission tells of it. Nothing of it is
// as the message has it: it is cleaned for a person to read.
type digest struct {
	from, to, cc, subject string
	date                  time.Time // zero: the message has none that can be read
	size                  int64     // octets
	sha256                string
	files                 []digestFile
	more                  int // attachments beyond files
}

// digestFile is one attachment as a person would save it.
type digestFile struct {
	name   string
	size   int64 // octets
	sha256 string
}

// digest reads the stored message of a submission, from which the PIN was cut
// before it came here.
func (s *Service) digest(ctx context.Context, sub *Submission) (d digest, err error) {
	m, err := s.opt.Store.Message(ctx, sub.Message)
	if err != nil {
		return d, err
	}
	index, err := s.opt.Store.Index(ctx, sub.Message)
	if err != nil {
		return d, err
	}
	body, err := s.opt.Store.Open(m)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	d = digest{size: m.Size(), sha256: m.SHA256(), date: index.Date, subject: shownText(index.Subject, digestSubject)}
	header := make([]byte, min(index.Root.HeaderLen, digestHeader))
	if _, err := body.ReadAt(header, index.Root.HeaderOff); err != nil && !errors.Is(err, io.EOF) {
		return d, err
	}
	for _, f := range mime.Fields(header) {
		switch strings.ToLower(f.Name) {
		case "from":
			d.from = shownText(mime.DecodeWords(f.Body()), digestFrom)
		case "to":
			d.to = shownText(mime.DecodeWords(f.Body()), digestTo)
		case "cc":
			d.cc = shownText(mime.DecodeWords(f.Body()), digestTo)
		}
	}
	return d, d.attachments(ctx, body, &index.Root, true)
}

// attachments lists the parts that a mail program offers to save. first is for
// the part that it shows as the text.
func (d *digest) attachments(ctx context.Context, r io.ReaderAt, p *mime.Part, first bool) error {
	if len(p.Children) > 0 {
		for i := range p.Children {
			// Of alternatives every one is the text.
			text := first && (i == 0 || p.Subtype == "alternative")
			if err := d.attachments(ctx, r, &p.Children[i], text); err != nil {
				return err
			}
		}
		return nil
	}
	if first && p.Type == "text" && p.Disposition != "attachment" && p.FileName == "" {
		return nil
	}
	if len(d.files) >= digestFiles {
		d.more++
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(sum, mime.Content(r, p))
	if err != nil {
		return err
	}
	name := shownText(p.FileName, digestName)
	if name == "" {
		name = p.Type + "/" + p.Subtype
	}
	d.files = append(d.files, digestFile{name: name, size: n, sha256: hex.EncodeToString(sum.Sum(nil))})
	return nil
}

// shownText makes a text of a stranger's fit for a line that a person reads: no
// control characters and none that turn the direction of what follows.
func shownText(s string, most int) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
	}), " ")
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "..."
	}
	return s
}
