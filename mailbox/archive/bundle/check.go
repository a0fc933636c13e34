package bundle

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox/audit"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
)

// CheckOptions say what is believed besides the bundle.
type CheckOptions struct {
	// Keys are the fingerprints of keys of which one must have signed: SHA-256 of the
	// DER, in hexadecimal. None: the bundle's own.
	Keys []string
	// Reader judges messages as of today, with the certification authorities that are
	// believed here; nil: those built in.
	Reader   *pec.Reader
	Progress func(done, total int64)
}

// The checks, in their order.
const (
	CheckZip    = "zip"       // the form of the archive: nothing more, less, twice or elsewhere
	CheckKey    = "key"       // whose key it is
	CheckSigned = "signature" // of SHA256SUMS
	CheckFiles  = "files"     // hashes, and that the manifest names exactly these files
	CheckLog    = "audit log" // proofs
	CheckReport = "report"    // that it says what the messages say, signature and content judged again
)

// Step is one check.
type Step struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"`
}

// Checked is what a bundle proves.
type Checked struct {
	MadeAt      time.Time `json:"made_at,omitzero"`
	Appliance   string    `json:"appliance"`
	Fingerprint string    `json:"fingerprint"`
	Pinned      bool      `json:"pinned"` // the key was told apart
	Steps       []Step    `json:"checks"`
	// Messages are those of the report, with what they prove now.
	Messages []Found `json:"-"`
}

// Found is one message of a bundle. Own tells that its signature leads to a CA for
// which only the bundle vouches. Where its key was told apart that is enough, and the
// verdict is a good one; else anybody could have made it, and it is unverifiable.
type Found struct {
	File   string
	Role   string
	Report *pec.Report // nil for a submission
	Own    bool
}

// OK tells that every check that could be made was good.
func (c *Checked) OK() bool {
	return len(c.Steps) > 0 && !slices.ContainsFunc(c.Steps, func(s Step) bool { return !s.OK })
}

func (c *Checked) step(check string, err error, good string, args ...any) bool {
	s := Step{check, err == nil, fmt.Sprintf(good, args...)}
	if err != nil {
		s.Text = err.Error()
	}
	c.Steps = append(c.Steps, s)
	return err == nil
}

// Bounds of what is read into memory.
const (
	maxManifest = 32 << 20
	maxReport   = 256 << 20
)

// checker reads one bundle.
type checker struct {
	o        CheckOptions
	r        io.ReaderAt
	size     int64
	members  map[string]*member
	order    []*member
	start    int64
	manifest Manifest
	report   *Report
	key      ed25519.PublicKey
	out      *Checked
	done     int64
}

// Is tells whether a file is meant as a bundle: its first member is the README of
// one. Whatever else is wrong with it is for Check to say.
func Is(r io.ReaderAt, size int64) bool {
	members, _, err := readMembers(r, size)
	if err == nil && slices.ContainsFunc(members, func(m *member) bool { return m.name == "manifest.json" || m.name == "SHA256SUMS.sig" }) {
		return true
	}
	head := make([]byte, localSize+10)
	if n, _ := r.ReadAt(head, 0); n < len(head) {
		return false
	}
	tail := make([]byte, min(size, 4096))
	n, _ := r.ReadAt(tail, size-int64(len(tail)))
	return bytes.Contains(tail[:n], []byte("SHA256SUMS.sig")) || bytes.Contains(head, []byte("README.txt")) && bytes.Contains(tail[:n], []byte("manifest.json"))
}

// Check checks a bundle, offline. The error is one of reading or of ctx: whatever is
// wrong with the bundle is in what it returns.
func Check(ctx context.Context, r io.ReaderAt, size int64, o CheckOptions) (*Checked, error) {
	c := &checker{o: o, r: r, size: size, members: map[string]*member{}, out: &Checked{}}
	for _, step := range []func(context.Context) bool{c.zip, c.signature, c.files, c.log, c.cases} {
		ok := step(ctx)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !ok {
			break // what follows rests on it
		}
	}
	return c.out, nil
}

func (c *checker) zip(context.Context) bool {
	err := func() (err error) {
		if c.order, c.start, err = readMembers(c.r, c.size); err != nil {
			return err
		}
		for _, m := range c.order {
			if c.members[m.name] != nil {
				return fmt.Errorf("%s is there twice", m.name)
			}
			c.members[m.name] = m
		}
		b, err := c.small("manifest.json", maxManifest)
		if err != nil {
			return err
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&c.manifest); err != nil {
			return fmt.Errorf("manifest.json cannot be read: %w", err)
		}
		if c.manifest.Format != format || c.manifest.Version != Version {
			return fmt.Errorf("manifest.json is of format %q version %d; this program knows %q version %d", c.manifest.Format, c.manifest.Version, format, Version)
		}
		return sameForm(c.r, c.size, c.order, c.start, c.manifest.MadeAt)
	}()
	return c.out.step(CheckZip, err, "%d files, and nothing else", len(c.order))
}

// small reads a member whole.
func (c *checker) small(name string, most int64) ([]byte, error) {
	m := c.members[name]
	if m == nil {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if m.size > most {
		return nil, fmt.Errorf("%s has %d bytes, more than is read", name, m.size)
	}
	b := make([]byte, m.size)
	if _, err := io.ReadFull(c.section(m), b); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

func (c *checker) section(m *member) *io.SectionReader {
	return io.NewSectionReader(c.r, m.off, m.size)
}

// signature checks the key and what it signed.
func (c *checker) signature(context.Context) bool {
	c.out.MadeAt, c.out.Appliance = c.manifest.MadeAt, line(c.manifest.Appliance)
	err := func() error {
		b, err := c.small("public-key.pem", 1<<12)
		if err != nil {
			return err
		}
		block, rest := pem.Decode(b)
		if block == nil || len(rest) > 0 {
			return errors.New("public-key.pem is not a key")
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return fmt.Errorf("public-key.pem: %w", err)
		}
		var ok bool
		if c.key, ok = key.(ed25519.PublicKey); !ok {
			return errors.New("public-key.pem is not an Ed25519 key")
		}
		c.out.Fingerprint, c.out.Pinned = hexSum(block.Bytes), len(c.o.Keys) > 0
		name, noted, err := audit.PublicKey(c.manifest.PublicKey)
		switch {
		case err != nil || !noted.Equal(c.key) || name != c.manifest.Appliance || c.manifest.Fingerprint != c.out.Fingerprint:
			return errors.New("manifest.json names another key than public-key.pem")
		case c.out.Pinned && !slices.ContainsFunc(c.o.Keys, func(k string) bool { return strings.EqualFold(k, c.out.Fingerprint) }):
			return fmt.Errorf("it was signed by the key %s, not by the one that was given", c.out.Fingerprint)
		}
		return nil
	}()
	good := "the bundle's own, " + c.out.Fingerprint + ": compare it with what the administrator told, or give --key"
	if c.out.Pinned {
		good = "the one that was given, " + c.out.Fingerprint
	}
	if !c.out.step(CheckKey, err, "%s", good) {
		return false
	}
	err = func() error {
		sums, err := c.small("SHA256SUMS", maxManifest)
		if err != nil {
			return err
		}
		sig, err := c.small("SHA256SUMS.sig", ed25519.SignatureSize)
		if err != nil {
			return err
		}
		if !ed25519.Verify(c.key, sums, sig) {
			return errors.New("SHA256SUMS was not signed by that key, or changed since")
		}
		return nil
	}()
	return c.out.step(CheckSigned, err, "SHA256SUMS is as it was signed")
}

// files checks every hash, and that SHA256SUMS, MEMBERS.txt, the manifest and the zip
// name the same files in the same order.
func (c *checker) files(ctx context.Context) bool {
	err := func() error {
		var sums, list strings.Builder
		listed := map[string]File{}
		for _, f := range c.manifest.Files {
			listed[f.Name] = f
		}
		n := len(c.order) - len(lastMembers) // those before the last four; of these the first is in the manifest
		if n < 0 || len(c.manifest.Files) != n+1 {
			return fmt.Errorf("manifest.json names %d files, there are %d", len(c.manifest.Files), n+1)
		}
		for i, m := range c.order {
			list.WriteString(m.name + "\n")
			sum, err := c.hash(ctx, m)
			if err != nil {
				return err
			}
			if i < len(c.order)-2 {
				fmt.Fprintf(&sums, "%s  %s\n", sum, m.name)
			}
			last := i - n - 1
			switch f, there := listed[m.name]; {
			case last >= 0 && (last+1 >= len(lastMembers) || m.name != lastMembers[last+1]):
				return fmt.Errorf("%s stands in the wrong place", m.name)
			case last < 0 && (!there || c.manifest.Files[i].Name != m.name):
				return fmt.Errorf("manifest.json does not name %s at its place", m.name)
			case last < 0 && (f.Size != m.size || f.SHA256 != sum):
				return fmt.Errorf("%s is not what manifest.json says", m.name)
			}
		}
		for _, x := range []struct{ name, want string }{{"SHA256SUMS", sums.String()}, {lastMembers[0], list.String()}} {
			b, err := c.small(x.name, maxManifest)
			if err != nil {
				return err
			}
			if string(b) != x.want {
				return fmt.Errorf("%s does not name these files with these hashes", x.name)
			}
		}
		return nil
	}()
	return c.out.step(CheckFiles, err, "every file has the hash that was signed")
}

func (c *checker) hash(ctx context.Context, m *member) (string, error) {
	h, crc := sha256.New(), crc32.NewIEEE()
	n, err := io.Copy(io.MultiWriter(h, crc), &untilDone{ctx, c.section(m)})
	if err != nil || n != m.size {
		return "", errors.Join(err, fmt.Errorf("%s cannot be read whole", m.name))
	}
	if crc.Sum32() != m.crc {
		return "", fmt.Errorf("%s has another CRC-32 than the zip says", m.name)
	}
	c.done += n
	if c.o.Progress != nil {
		c.o.Progress(c.done, c.size*2)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// log checks the proofs, and that their pieces are those that follow from them.
func (c *checker) log(context.Context) bool {
	var lines int
	err := func() error {
		b, err := c.small("audit/proof.json", audit.MaxProof)
		if err != nil {
			return err
		}
		p, err := audit.ReadProof(b)
		if err != nil {
			return err
		}
		public := c.manifest.PublicKey
		head, _, err := p.Check(public)
		if err != nil {
			return err
		}
		lines = len(p.Entries)
		if b, err = c.small("audit/growth.json", 1<<20); err != nil {
			return err
		}
		g, err := audit.ReadGrowth(b)
		if err != nil {
			return err
		}
		_, now, err := g.Check(public)
		if err != nil {
			return err
		}
		if now.Note != head.Note {
			return errors.New("the lines are proven by another head than the one that the log grew to")
		}
		files, err := logFiles(p, g, public)
		if err != nil {
			return err
		}
		n := 0
		for _, m := range c.order {
			if strings.HasPrefix(m.name, "audit/") {
				n++
			}
		}
		if n != len(files) {
			return fmt.Errorf("%d files in audit/, the proofs make %d", n, len(files))
		}
		for _, f := range files {
			b, err := c.small(f.name, audit.MaxProof)
			if err != nil {
				return err
			}
			if !bytes.Equal(b, f.b) {
				return fmt.Errorf("%s is not what the proofs say", f.name)
			}
		}
		return nil
	}()
	return c.out.step(CheckLog, err, "%d lines stand in the log that the head signs, and it only grew", lines)
}

// cases checks the messages, and the report against them.
func (c *checker) cases(ctx context.Context) bool {
	err := func() error {
		b, err := c.small(reportFile, maxReport)
		if err != nil {
			return err
		}
		c.report = new(Report)
		if err := json.Unmarshal(b, c.report); err != nil {
			return fmt.Errorf("report.json cannot be read: %w", err)
		}
		if again, err := indent(c.report); err != nil || !bytes.Equal(again, b) {
			return errors.Join(err, errors.New("report.json holds something that this program does not know"))
		}
		return c.messages(ctx)
	}()
	return c.out.step(CheckReport, err, "it says what the messages say")
}

// messages judges every message again, as of the bundle's day and with the CAs that
// it names, and compares; and as of today with those that are believed here.
func (c *checker) messages(ctx context.Context) error {
	now := func() time.Time { return c.report.MadeAt }
	own, err := c.reader(now)
	if err != nil {
		return err
	}
	here := c.o.Reader
	if here == nil {
		here = pec.NewReader(pec.Options{})
	}
	there := map[string]bool{}
	for _, cs := range c.report.Cases {
		if cs == nil {
			return errors.New("report.json has an empty case")
		}
		var sent *ownCopy
		for _, m := range cs.Messages {
			if m == nil || c.members[m.File] == nil || !strings.HasPrefix(m.File, "messages/") {
				return errors.New("report.json names a message that is not there")
			}
			there[m.File] = true
			sec := c.section(c.members[m.File])
			body := sectionContent{sec}
			s, err := look(ctx, own, body, m.Role)
			if err != nil {
				return err
			}
			if err := c.compare(ctx, m, s, body, sent); err != nil {
				return fmt.Errorf("%s: %w", m.File, err)
			}
			if m.Role == RoleSubmission && sent == nil {
				sent = &ownCopy{r: body, size: body.Size()}
			}
			f := Found{File: m.File, Role: m.Role}
			if s.report != nil {
				ix, err := mime.Parse(body, body.Size(), mime.Limits{})
				if err != nil {
					return err
				}
				if f.Report, err = here.Read(ctx, body, body.Size(), ix); err != nil {
					return err
				}
				f.Own = proven(s.report) && f.Report.Verdict == pec.Unverifiable && f.Report.Check == "chain"
				if f.Own && c.out.Pinned {
					f.Report = s.report
				}
			}
			c.out.Messages = append(c.out.Messages, f)
			c.done += 1
		}
	}
	for _, m := range c.order {
		if strings.HasPrefix(m.name, "messages/") && !there[m.name] {
			return fmt.Errorf("report.json does not name %s", m.name)
		}
	}
	return nil
}

// reader trusts what is built in and what the bundle names.
func (c *checker) reader(now func() time.Time) (*pec.Reader, error) {
	var pems [][]byte
	if c.members[caFile] != nil {
		b, err := c.small(caFile, 4<<20)
		if err != nil {
			return nil, err
		}
		pems = append(pems, b)
	}
	trust, err := pec.NewTrust(pems...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caFile, err)
	}
	return pec.NewReader(pec.Options{Trust: trust, Now: now}), nil
}

type sectionContent struct{ *io.SectionReader }

func (sectionContent) Close() error { return nil }

func proven(r *pec.Report) bool { return r.Verdict == pec.Valid || r.Verdict == pec.ValidHistoric }

// compare holds what the report says of a message against what it says itself.
func (c *checker) compare(ctx context.Context, m *Message, s *seen, body Content, sent *ownCopy) error {
	if m.SHA256 != s.sum || m.Size != body.Size() {
		return errors.New("the report names another hash or size")
	}
	if (m.Pec == nil) != (s.report == nil) {
		return errors.New("the report says something else of what it is")
	}
	if s.report == nil {
		return nil
	}
	was, is := *m.Pec, *s.report
	switch {
	case was.Verdict == pec.Unverifiable && was.Check == "chain" && proven(&is):
		// A CA that was not known then is now.
	case was.Verdict != is.Verdict:
		return fmt.Errorf("the report calls it %s, it is %s: %s", was.Verdict, is.Verdict, line(is.Reason))
	case was.Kind != is.Kind || was.Receipt != is.Receipt || was.MsgID != is.MsgID || was.Identifier != is.Identifier ||
		was.Recipient != is.Recipient || was.Error != is.Error || was.ErrorCode != is.ErrorCode || was.Final != is.Final ||
		was.Sender != is.Sender || was.Subject != is.Subject || was.Issuer != is.Issuer ||
		!was.At.Equal(is.At) || !was.SignedAt.Equal(is.SignedAt) || !slices.Equal(was.Recipients, is.Recipients):
		return errors.New("the report says something else than its signed data")
	}
	if sent != nil {
		like, err := sent.compare(ctx, body, s.report)
		if err != nil {
			return err
		}
		if (like == nil) != (m.Original == nil) || like != nil && like.Likeness != m.Original.Likeness {
			return errors.New("the report says something else of the message inside")
		}
	}
	return c.derived(m, s, body)
}

// derived compares what was taken out of a message.
func (c *checker) derived(m *Message, s *seen, body Content) error {
	for _, x := range []struct {
		name string
		want []byte
	}{{m.Daticert, s.signed.Daticert}, {m.Certificates, pemOf(s.signed.Chain)}} {
		if x.name == "" {
			continue
		}
		b, err := c.small(x.name, 4<<20)
		if err != nil {
			return err
		}
		if x.name == m.Certificates && m.Pec.Verdict != s.report.Verdict {
			continue // the way to a CA that was not known then
		}
		if !bytes.Equal(b, x.want) {
			return fmt.Errorf("%s is not what stands in it", x.name)
		}
	}
	if m.Content == "" {
		return nil
	}
	in, f := s.report.Inner, c.members[m.Content]
	if in == nil || f == nil || in.Size != f.size {
		return fmt.Errorf("%s is not the message inside", m.Content)
	}
	return sameStreams(c.section(f), io.NewSectionReader(body, in.Off, in.Size), m.Content)
}

func sameStreams(a, b io.Reader, name string) error {
	x, y := sha256.New(), sha256.New()
	if _, err := io.Copy(x, a); err != nil {
		return err
	}
	if _, err := io.Copy(y, b); err != nil {
		return err
	}
	if !bytes.Equal(x.Sum(nil), y.Sum(nil)) {
		return fmt.Errorf("%s is not the message inside", name)
	}
	return nil
}
