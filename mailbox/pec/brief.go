package pec

import (
	"bytes"
	"context"
	"crypto/sha1" // the hash that RFC 6109 section 2.1.1.3 prescribes for brief receipts
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"pecgate/mailbox/mime"
)

// briefDepth bounds how deep two trees of parts are compared. mime makes none
// deeper.
const briefDepth = 64

// CompareBrief compares our own copy, as it went to the provider, with the inner
// message of a brief receipt, where each part with a name and each nested message
// is replaced by a text/plain part that holds 40 hexadecimal digits of SHA-1.
// Which bytes were hashed differs; those that fit are named in BriefBy. ownIx is
// the index of our copy. Headers are compared as in CompareComplete, but for the
// type of what was replaced. An error is one of reading or of ctx.
func CompareBrief(ctx context.Context, own io.ReaderAt, ownSize int64, ownIx *mime.Index, outer io.ReaderAt, in *Inner) (Comparison, error) {
	c := Comparison{Likeness: LikeSame, Differences: []string{}}
	// Types are compared part by part: a brief form may be put together anew.
	_, _, err := c.heads(own, ownSize, outer, in, func(name string) bool {
		return !strings.HasPrefix(name, "content-") && name != "mime-version"
	})
	if err != nil || c.Likeness == LikeUnknown {
		return c, err
	}
	inner := io.NewSectionReader(outer, in.Off, in.Size)
	ix, err := mime.Parse(inner, in.Size, mime.Limits{})
	if err != nil {
		return c, fmt.Errorf("read the structure of %s: %w", innerName, err)
	}
	br := briefing{Comparison: c, ctx: ctx, own: own, inner: inner}
	if err := br.part("", &ownIx.Root, &ix.Root, 0); err != nil {
		return c, fmt.Errorf("compare with our own copy: %w", err)
	}
	slices.Sort(br.by)
	br.BriefBy = strings.Join(slices.Compact(br.by), ", ")
	return br.Comparison, nil
}

// briefing is a comparison with a brief form under way.
type briefing struct {
	Comparison
	ctx        context.Context
	own, inner io.ReaderAt
	by         []string
}

// part compares a part of ours with what stands in its place. path is its IMAP
// section, "" for the whole.
func (b *briefing) part(path string, own, in *mime.Part, depth int) error {
	label := "part " + path
	if path == "" {
		label = "the content"
	}
	if own.FileName != "" {
		label += " (" + clip(own.FileName) + ")"
	}
	digest, err := b.hashPart(in)
	if err != nil {
		return err
	}
	if own.Type == "multipart" && in.Type == "multipart" && depth < briefDepth {
		if own.Subtype != in.Subtype {
			b.differ(LikeBody, label+" is multipart/"+clip(in.Subtype)+" instead of multipart/"+clip(own.Subtype))
		}
		return b.children(path, own, in, depth)
	}
	if own.Type == in.Type && own.Subtype == in.Subtype {
		same, err := b.sameLeaf(label, own, in)
		if err != nil || same {
			return err
		}
	}
	if digest != "" {
		return b.hashed(label, own, digest)
	}
	if blob := own.Type == "application" && own.Subtype == "octet-stream"; own.Type != in.Type && (blob || in.Type == "application" && in.Subtype == "octet-stream") {
		b.differ(LikeUnknown, label+" cannot be compared: too many or too deep parts")
		return nil
	}
	b.differ(LikeBody, label+" is another")
	return nil
}

// sameLeaf compares two bodies, decoded where they are encoded differently.
func (b *briefing) sameLeaf(label string, own, in *mime.Part) (bool, error) {
	like, err := sameBytes(b.ctx, io.NewSectionReader(b.own, own.BodyOff, own.BodyLen), io.NewSectionReader(b.inner, in.BodyOff, in.BodyLen))
	if err != nil {
		return false, err
	}
	switch {
	case like == identical:
		return true, nil
	case like == lineEnds:
		b.differ(LikeSame, onlyLineEnds)
		return true, nil
	case own.Encoding == in.Encoding:
		return false, nil
	}
	same, err := sameText(b.ctx, mime.Content(b.own, own), mime.Content(b.inner, in))
	if same {
		b.differ(LikeSame, label+" is encoded as "+clip(in.Encoding)+" instead of "+clip(own.Encoding))
	}
	return same, err
}

// children compares the parts of two multiparts: one by one where there are as
// many, else by name and type.
func (b *briefing) children(path string, own, in *mime.Part, depth int) error {
	sub := func(i int) string {
		if path == "" {
			return fmt.Sprint(i + 1)
		}
		return fmt.Sprintf("%s.%d", path, i+1)
	}
	if len(own.Children) == len(in.Children) {
		for i := range own.Children {
			if err := b.part(sub(i), &own.Children[i], &in.Children[i], depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	next := 0
	for i := range own.Children {
		o := &own.Children[i]
		at := -1
		for j := next; j < len(in.Children) && at < 0; j++ {
			if standsFor(&in.Children[j], o) {
				at = j
			}
		}
		if at < 0 {
			b.differ(LikeBody, "part "+sub(i)+fileName(o)+" is missing")
			continue
		}
		b.extra(in.Children[next:at])
		if err := b.part(sub(i), o, &in.Children[at], depth+1); err != nil {
			return err
		}
		next = at + 1
	}
	b.extra(in.Children[next:])
	return nil
}

// extra names parts of the provider's that stand for none of ours.
func (b *briefing) extra(parts []mime.Part) {
	for i := range parts {
		b.differ(LikeBody, "a part was added"+fileName(&parts[i]))
	}
}

func fileName(p *mime.Part) string {
	if p.FileName == "" {
		return ""
	}
	return " (" + clip(p.FileName) + ")"
}

// hashSuffix ends the name of a part that holds the hash of another.
const hashSuffix = ".hash"

// standsFor reports whether a part of the provider's may stand for one of ours.
func standsFor(in, own *mime.Part) bool {
	if own.FileName != "" {
		return in.FileName == own.FileName || in.FileName == own.FileName+hashSuffix
	}
	if own.Message != nil || own.Type == "message" {
		return in.Type == "message" || strings.HasSuffix(in.FileName, hashSuffix)
	}
	return in.FileName == "" && in.Type == own.Type && in.Subtype == own.Subtype
}

// hashPart returns the hash that a part holds in place of another, in lower
// case, or "" where it is no such part. The name need not fit: an original
// without one has been given some name.
func (b *briefing) hashPart(p *mime.Part) (string, error) {
	if p.Type != "text" || p.Subtype != "plain" || p.BodyLen > 1<<10 {
		return "", nil
	}
	text, err := io.ReadAll(mime.Content(b.inner, p))
	if err != nil {
		return "", err
	}
	digits := strings.ToLower(string(bytes.TrimSpace(text)))
	if raw, err := hex.DecodeString(digits); err != nil || len(raw) != sha1.Size {
		return "", nil
	}
	return digits, nil
}

// hashed compares a part of ours with the hash that stands for it.
func (b *briefing) hashed(label string, own *mime.Part, digest string) error {
	by, err := b.whichBytes(own, digest)
	if err != nil {
		return err
	}
	if by == "" {
		b.differ(LikeBody, label+": the hash is of other bytes")
		return nil
	}
	b.by = append(b.by, by)
	return nil
}

// whichBytes says which bytes of a part have the hash, or "" if none that
// anybody would hash. RFC 6109 wants the part encoded as base64; whether its last
// line end belongs to it is anybody's reading, some software holds texts with
// bare LF, and a part in another encoding has to be encoded anew.
func (b *briefing) whichBytes(p *mime.Part, digest string) (string, error) {
	body := io.NewSectionReader(b.own, p.BodyOff, p.BodyLen)
	trimmed, err := withoutEnds(body)
	if err != nil {
		return "", err
	}
	is := func(h hash.Hash) bool { return hex.EncodeToString(h.Sum(nil)) == digest }
	raw, lf := sha1.New(), sha1.New()
	if err := b.stream(raw, io.NewSectionReader(body, 0, trimmed)); err != nil {
		return "", err
	}
	if is(raw) {
		if trimmed == body.Size() {
			return "encoded", nil
		}
		return "encoded, without final line end", nil
	}
	stands := sha1.New()
	if err := b.stream(stands, body); err != nil {
		return "", err
	}
	if is(stands) {
		return "encoded", nil
	}
	raw.Write([]byte("\r\n"))
	if is(raw) {
		return "encoded, with final line end", nil
	}
	if err := b.stream(lf, newLFReader(io.NewSectionReader(body, 0, trimmed))); err != nil {
		return "", err
	}
	if is(lf) {
		return "encoded, with LF, without final line end", nil
	}
	lf.Write([]byte("\n"))
	if is(lf) {
		return "encoded, with LF", nil
	}
	decoded := sha1.New()
	if err := b.stream(decoded, mime.Content(b.own, p)); err != nil {
		return "", err
	}
	if is(decoded) {
		return "decoded", nil
	}
	anew := &lineWriter{h: sha1.New()}
	enc := base64.NewEncoder(base64.StdEncoding, anew)
	if err := b.stream(enc, mime.Content(b.own, p)); err != nil {
		return "", err
	}
	_ = enc.Close() // a hash takes everything
	if is(anew.h) {
		return "encoded anew", nil
	}
	anew.h.Write([]byte("\r\n"))
	if is(anew.h) {
		return "encoded anew, with final line end", nil
	}
	whole := sha1.New()
	off, length := p.Raw()
	if err := b.stream(whole, io.NewSectionReader(b.own, off, length)); err != nil {
		return "", err
	}
	if is(whole) {
		return "whole part", nil
	}
	return "", nil
}

// stream hashes what r gives, in blocks, as long as ctx lasts.
func (b *briefing) stream(h io.Writer, r io.Reader) error {
	buf := make([]byte, digestBlock)
	for {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		n, err := fill(r, buf)
		if _, err := h.Write(buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lineWriter hashes text in lines of 76 characters, with CRLF between them
// (RFC 2045 section 6.8).
type lineWriter struct {
	h      hash.Hash
	column int
}

func (l *lineWriter) Write(p []byte) (int, error) {
	const width = 76
	n := len(p)
	for len(p) > 0 {
		if l.column == width {
			l.h.Write([]byte("\r\n"))
			l.column = 0
		}
		k := min(len(p), width-l.column)
		l.h.Write(p[:k])
		l.column += k
		p = p[k:]
	}
	return n, nil
}

// withoutEnds is the length of a body without the line ends at its end, of which
// at most 64 bytes are looked at.
func withoutEnds(body *io.SectionReader) (int64, error) {
	tail := make([]byte, min(64, body.Size()))
	if err := readFull(body, tail, body.Size()-int64(len(tail))); err != nil {
		return 0, err
	}
	return body.Size() - int64(len(tail)-len(bytes.TrimRight(tail, "\r\n"))), nil
}
