package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox/audit"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
)

// Content is the bytes of a message, read by range.
type Content interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Source is where the bytes of a Message are. Open may be called more than once.
type Source struct {
	*Message
	Open func(context.Context) (Content, error)
}

// Input is what a bundle is made of. Of the report the caller gives the facts;
// files, hashes, verdicts and comparisons are made here.
type Input struct {
	Report  *Report
	Sources map[*Message]func(context.Context) (Content, error) // of every message in the report
	Reader  *pec.Reader
	Proof   *audit.Proof
	Growth  *audit.Growth
	Public  string // the key of the proofs, as audit.Key.Public writes it
	// Sign signs with that key.
	Sign func([]byte) (sig []byte, public string, err error)
	// Revocation gives what was kept about a provider's certificate when a message came,
	// and its bytes; where there is none its Status says why and its Kind is empty. nil:
	// nothing was kept.
	Revocation func(ctx context.Context, cert *x509.Certificate, arrived time.Time) (Revocation, []byte, error)
	// Progress, which may be nil, is told the bytes of messages read, and all that
	// will be.
	Progress func(done, total int64)
}

// Made says what was written.
type Made struct {
	Files       int    `json:"files"`
	Messages    int    `json:"messages"`
	Bytes       int64  `json:"bytes"`
	Fingerprint string `json:"fingerprint"` // of the key
}

// part is a member about to be written: bytes, or where to read them.
type part struct {
	File
	crc  uint32
	b    []byte
	open func(context.Context) (Content, error)
	off  int64 // of the bytes in what open gives
}

type writer struct {
	in    Input
	parts []*part
	cas   map[string]*x509.Certificate // by DER: the trusted ones of proven chains
	done  int64
	total int64
}

// Write writes a bundle. Every message is read twice: to look at it, and to copy it.
func Write(ctx context.Context, w io.Writer, in Input) (*Made, error) {
	b := &writer{in: in, cas: map[string]*x509.Certificate{}}
	rep := in.Report
	rep.Version, rep.MadeAt = Version, rep.MadeAt.UTC().Truncate(2*time.Second)
	rep.MadeAt = rep.MadeAt.Add(-time.Duration(rep.MadeAt.Second()%2) * time.Second)
	name, key, err := audit.PublicKey(in.Public)
	if err != nil {
		return nil, err
	}
	rep.Appliance = name
	messages := 0
	for _, c := range rep.Cases {
		for _, m := range c.Messages {
			b.total += 2 * m.Size
		}
	}
	for _, c := range rep.Cases {
		own, err := b.caseFiles(ctx, c, &messages)
		if own != nil {
			err = errors.Join(err, own.Close())
		}
		if err != nil {
			return nil, err
		}
	}
	b.trusted()
	if err := b.log(); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	fingerprint := hexSum(der)
	b.add("public-key.pem", "the key that signed SHA256SUMS and the heads of the audit log", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	front, err := b.front(fingerprint)
	if err != nil {
		return nil, err
	}
	b.parts = append(front, b.parts...)
	b.members()
	manifest := Manifest{Format: format, Version: Version, MadeAt: rep.MadeAt, Appliance: name, PublicKey: in.Public, Fingerprint: fingerprint}
	for _, c := range rep.Cases {
		manifest.Cases = append(manifest.Cases, c.ID)
	}
	for _, p := range b.parts {
		manifest.Files = append(manifest.Files, p.File)
	}
	text, err := indent(manifest)
	if err != nil {
		return nil, err
	}
	b.add("manifest.json", "", text)
	var sums bytes.Buffer
	for _, p := range b.parts {
		fmt.Fprintf(&sums, "%s  %s\n", p.SHA256, p.Name)
	}
	sig, public, err := in.Sign(sums.Bytes())
	if err != nil {
		return nil, err
	}
	if public != in.Public {
		return nil, errors.New("the key changed meanwhile")
	}
	b.add("SHA256SUMS", "", sums.Bytes())
	b.add("SHA256SUMS.sig", "", sig)
	made := &Made{Files: len(b.parts), Messages: messages, Fingerprint: fingerprint}
	z := &zipWriter{w: w, at: rep.MadeAt}
	for _, p := range b.parts {
		if err := b.copy(ctx, z, p); err != nil {
			return nil, fmt.Errorf("write %s: %w", p.Name, err)
		}
	}
	if err := z.close(); err != nil {
		return nil, err
	}
	made.Bytes = z.off
	return made, nil
}

// add appends a member of these bytes.
func (b *writer) add(name, about string, content []byte) {
	b.parts = append(b.parts, &part{File: File{Name: name, Size: int64(len(content)), SHA256: hexSum(content), About: about}, crc: crc32.ChecksumIEEE(content), b: content})
}

func (b *writer) copy(ctx context.Context, z *zipWriter, p *part) error {
	if p.open == nil {
		return z.file(ctx, p.Name, p.Size, p.crc, bytes.NewReader(p.b))
	}
	c, err := p.open(ctx)
	if err != nil {
		return err
	}
	h := sha256.New()
	err = z.file(ctx, p.Name, p.Size, p.crc, io.TeeReader(&counted{b, io.NewSectionReader(c, p.off, p.Size)}, h))
	if err == nil && hex.EncodeToString(h.Sum(nil)) != p.SHA256 {
		err = errors.New("its bytes changed while it was written")
	}
	return errors.Join(err, c.Close())
}

// counted tells the progress of what is read.
type counted struct {
	b *writer
	r io.Reader
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.b.read(int64(n))
	return n, err
}

func (b *writer) read(n int64) {
	b.done += n
	if b.in.Progress != nil {
		b.in.Progress(min(b.done, b.total), b.total)
	}
}

// caseFiles adds what belongs to one case. own is its submission, for comparing; the
// caller closes it.
func (b *writer) caseFiles(ctx context.Context, c *Case, n *int) (own Content, err error) {
	if c.Notes == nil {
		c.Notes = []string{}
	}
	var sent *ownCopy
	files := map[string]string{} // by hash: one message may be about several recipients
	for _, m := range c.Messages {
		*n++
		kind := m.Role
		open := b.in.Sources[m]
		if open == nil {
			return own, fmt.Errorf("a message of %s has no bytes", c.ID)
		}
		body, err := open(ctx)
		if err != nil {
			return own, err
		}
		s, err := look(ctx, b.in.Reader, body, m.Role)
		if err == nil && m.SHA256 != "" && s.sum != m.SHA256 {
			err = fmt.Errorf("a message of %s has other bytes than when it was stored", c.ID)
		}
		if err != nil {
			return own, errors.Join(err, body.Close())
		}
		b.read(body.Size())
		if s.report != nil {
			kind = string(s.report.Kind)
		}
		m.File, m.SHA256, m.Size = fmt.Sprintf("messages/%03d-%s.eml", *n, kind), s.sum, body.Size()
		m.Pec, m.SHA1 = s.report, s.signed != nil && s.signed.SHA1
		if m.Revocation == nil {
			m.Revocation = []Revocation{}
		}
		files[m.SHA256] = m.File
		b.parts = append(b.parts, &part{File: File{m.File, m.Size, s.sum, m.Role + " of " + c.ID}, crc: s.crc, open: open})
		if sent != nil && s.report != nil {
			m.Original, err = sent.compare(ctx, body, s.report)
		}
		if err == nil {
			err = b.derived(ctx, body, open, *n, m, s)
		}
		if m.Role == RoleSubmission && sent == nil {
			sent, own = &ownCopy{r: body, size: body.Size()}, body
		} else {
			err = errors.Join(err, body.Close())
		}
		if err != nil {
			return own, err
		}
	}
	for _, r := range c.Recipients {
		for i, sum := range r.Receipts { // hashes until here
			if f := files[sum]; f != "" {
				r.Receipts[i] = f
			}
		}
	}
	return own, nil
}

// derived adds what is taken out of a message: daticert.xml, certificates, and the
// message inside of what came in.
func (b *writer) derived(ctx context.Context, body Content, open func(context.Context) (Content, error), n int, m *Message, s *seen) error {
	if s.signed == nil {
		return nil
	}
	if d := s.signed.Daticert; d != nil {
		m.Daticert, m.Encoding = fmt.Sprintf("daticert/%03d.xml", n), s.signed.Encoding
		b.add(m.Daticert, "daticert.xml of "+m.File, d)
	}
	if len(s.signed.Chain) > 0 {
		m.Certificates = fmt.Sprintf("certificates/%03d.pem", n)
		m.Chain = chainOf(s.signed.Chain)
		b.add(m.Certificates, "who signed "+m.File, pemOf(s.signed.Chain))
		if s.signed.Proven {
			for _, ca := range s.signed.Chain[1:] {
				b.cas[string(ca.Raw)] = ca
			}
		}
	}
	if err := b.revocation(ctx, n, m, s); err != nil {
		return err
	}
	in := s.report.Inner
	if m.Role != RoleEnvelope || in == nil || in.Size == 0 {
		return nil
	}
	h, crc := sha256.New(), crc32.NewIEEE()
	if _, err := io.Copy(io.MultiWriter(h, crc), io.NewSectionReader(body, in.Off, in.Size)); err != nil {
		return err
	}
	m.Content = fmt.Sprintf("content/%03d.eml", n)
	b.parts = append(b.parts, &part{
		File: File{m.Content, in.Size, hex.EncodeToString(h.Sum(nil)), "the message inside of " + m.File},
		crc:  crc.Sum32(), open: open, off: in.Off,
	})
	return nil
}

// revocation adds what was said of the certificate when the message came.
func (b *writer) revocation(ctx context.Context, n int, m *Message, s *seen) error {
	m.RevocationText = "not available"
	if !s.signed.Proven || b.in.Revocation == nil {
		return nil
	}
	rev, answer, err := b.in.Revocation(ctx, s.signed.Chain[0], m.Arrived)
	if err != nil {
		return err
	}
	if rev.Kind == "" {
		m.RevocationText = rev.Status
		return nil
	}
	rev.File = fmt.Sprintf("revocation/%03d.%s", n, rev.Kind)
	m.Revocation, m.RevocationText = []Revocation{rev}, ""
	b.add(rev.File, "what the authority said of the certificate of "+m.File, answer)
	return nil
}

// trusted adds the certification authorities.
func (b *writer) trusted() {
	if list := sorted(b.cas); len(list) > 0 {
		b.add(caFile, "the certification authorities that were trusted for the messages", pemOf(list))
	}
}

func sorted(cas map[string]*x509.Certificate) []*x509.Certificate {
	return slices.SortedFunc(maps.Values(cas), func(x, y *x509.Certificate) int { return bytes.Compare(x.Raw, y.Raw) })
}

// front is what stands first: the texts for people and what happened.
func (b *writer) front(fingerprint string) ([]*part, error) {
	rep := b.in.Report
	report, err := indent(rep)
	if err != nil {
		return nil, err
	}
	timeline, err := indent(timeline(rep))
	if err != nil {
		return nil, err
	}
	page, err := page(rep, fingerprint)
	if err != nil {
		return nil, err
	}
	f := &writer{}
	f.add("README.txt", "how to check everything", readme(rep, fingerprint, b.cas))
	f.add("report.html", "the report for people", page)
	f.add(reportFile, "the report for programs", report)
	f.add("timeline.json", "what happened, by time", timeline)
	return f.parts, nil
}

// members adds the list of all names, its own and those that follow included.
func (b *writer) members() {
	var list strings.Builder
	for _, p := range b.parts {
		list.WriteString(p.Name + "\n")
	}
	for _, name := range lastMembers {
		list.WriteString(name + "\n")
	}
	b.add(lastMembers[0], "the names of all files, in their order", []byte(list.String()))
}

const (
	reportFile = "report.json"
	caFile     = "certificates/ca.pem"
)

// lastMembers end every bundle.
var lastMembers = [4]string{"MEMBERS.txt", "manifest.json", "SHA256SUMS", "SHA256SUMS.sig"}

// seen is what is learnt from the bytes of one message.
type seen struct {
	sum    string
	crc    uint32
	report *pec.Report // nil for a submission
	signed *pec.Signed // nil for one
}

// look reads a message whole, and what it proves unless it is a submission.
func look(ctx context.Context, rd *pec.Reader, c Content, role string) (*seen, error) {
	h, crc := sha256.New(), crc32.NewIEEE()
	if _, err := io.Copy(io.MultiWriter(h, crc), &untilDone{ctx, io.NewSectionReader(c, 0, c.Size())}); err != nil {
		return nil, err
	}
	s := &seen{sum: hex.EncodeToString(h.Sum(nil)), crc: crc.Sum32()}
	if role == RoleSubmission {
		return s, nil
	}
	ix, err := mime.Parse(c, c.Size(), mime.Limits{})
	if err != nil {
		return nil, err
	}
	if s.report, err = rd.Read(ctx, c, c.Size(), ix); err != nil {
		return nil, err
	}
	s.signed, err = rd.Signed(ctx, c, c.Size(), ix)
	return s, err
}

// ownCopy is the submission that receipts are compared with.
type ownCopy struct {
	r    io.ReaderAt
	size int64
	ix   *mime.Index
}

// compare holds a delivery receipt against the submission; nil where the receipt
// carries nothing to compare.
func (o *ownCopy) compare(ctx context.Context, outer io.ReaderAt, r *pec.Report) (*pec.Comparison, error) {
	if !r.Believed() || r.Kind != pec.Delivery || r.Inner == nil || r.Receipt != pec.Complete && r.Receipt != pec.Brief {
		return nil, nil
	}
	var c pec.Comparison
	var err error
	if r.Receipt == pec.Complete {
		c, err = pec.CompareComplete(ctx, o.r, o.size, outer, r.Inner)
	} else {
		if o.ix == nil {
			if o.ix, err = mime.Parse(o.r, o.size, mime.Limits{}); err != nil {
				return nil, err
			}
		}
		c, err = pec.CompareBrief(ctx, o.r, o.size, o.ix, outer, r.Inner)
	}
	return &c, err
}

func chainOf(list []*x509.Certificate) []Certificate {
	var out []Certificate
	for _, c := range list {
		out = append(out, Certificate{
			Subject: c.Subject.String(), Serial: c.SerialNumber.Text(16), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), SHA256: hexSum(c.Raw),
		})
	}
	return out
}

func pemOf(list []*x509.Certificate) []byte {
	var b []byte
	for _, c := range list {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// indent writes JSON for people and programs. What strangers wrote stays as it is,
// but for what a terminal or a page would obey.
func indent(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return append(b, '\n'), err
}
