package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"

	"pecgate/mailbox/segment"
)

// Source is a backup that is read: for a restore or a check.
type Source struct {
	dir  string
	fs   segment.FS
	m    *Manifest
	keys *Identities

	pieces map[uint64][]Part // by segment

	// Progress is told of the bytes that were read.
	Progress func(bytes int64)
}

// Read opens the backup in a folder. keys may be nil when it is not encrypted,
// or when only the files are looked at. Errors: ErrNone, ErrNewer, ErrDamaged.
func Read(dir string, keys *Identities, fsys segment.FS) (*Source, error) {
	if fsys == nil {
		fsys = segment.Disk()
	}
	m, err := readManifest(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	s := &Source{dir: dir, fs: fsys, m: m, keys: keys, pieces: map[uint64][]Part{}, Progress: func(int64) {}}
	for _, p := range m.parts(KindSegment) {
		s.pieces[p.Segment] = append(s.pieces[p.Segment], p)
	}
	return s, nil
}

// Manifest says what there is. It is not to be changed.
func (s *Source) Manifest() *Manifest { return s.m }

// Readable says why what is in the files cannot be read, or nil: it is
// encrypted and the key is missing or another one.
func (s *Source) Readable() error {
	if s.m.Encryption == "" {
		return nil
	}
	if s.keys == nil {
		return fmt.Errorf("%s: %w: give --identity FILE with the secret key of one of its recipients", s.dir, ErrKeys)
	}
	p := s.m.parts(KindKeys)[0] // the smallest
	f, err := s.fs.Open(filepath.Join(s.dir, filepath.FromSlash(p.Name)))
	if err != nil {
		return nil // said by whoever reads it
	}
	_, err = s.keys.decrypt(bufio.NewReader(io.NewSectionReader(f, 0, p.Size)))
	if err = errors.Join(err, f.Close()); errors.Is(err, ErrKeys) {
		return fmt.Errorf("%s: %w", s.dir, err)
	}
	return nil
}

// Complete answers Damage when a part is missing or has another size: that is
// seen at once.
func (s *Source) Complete() error {
	bad, err := missing(s.fs, s.dir, s.m)
	if err != nil {
		return fmt.Errorf("%s: %w", s.dir, err)
	}
	if len(bad) > 0 {
		return fmt.Errorf("%s: %w", s.dir, &Damage{Parts: bad})
	}
	return nil
}

const (
	isMissing = "is missing"
	isCut     = "has another size than when it was written"
	isChanged = "was changed since it was written (its SHA-256 differs)"
)

// missing names the parts that are not there whole.
func missing(fsys segment.FS, dir string, m *Manifest) (bad []PartError, err error) {
	for _, p := range m.Parts {
		f, err := fsys.Open(filepath.Join(dir, filepath.FromSlash(p.Name)))
		if errors.Is(err, fs.ErrNotExist) {
			bad = append(bad, PartError{p.Name, isMissing})
			continue
		}
		if err != nil {
			return nil, err
		}
		size, err := f.Size()
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		if size != p.Size {
			bad = append(bad, PartError{p.Name, isCut})
		}
	}
	return bad, nil
}

// readBack compares a file with its sum, with cold as the medium has it where
// that can be asked for. A PartError says that it differs.
func readBack(ctx context.Context, fsys segment.FS, dir string, p Part, cold bool, progress func(int64)) (err error) {
	f, err := fsys.Open(filepath.Join(dir, filepath.FromSlash(p.Name)))
	if errors.Is(err, fs.ErrNotExist) {
		return &PartError{p.Name, isMissing}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size != p.Size {
		return &PartError{p.Name, isCut}
	}
	if cold {
		uncache(f)
	}
	sum := sha256.New()
	buf := make([]byte, min(max(size, 1), 1<<20))
	in := io.NewSectionReader(f, 0, size)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := in.Read(buf)
		sum.Write(buf[:n])
		progress(int64(n))
		if err == io.EOF {
			break
		}
		if err != nil {
			return &PartError{p.Name, "cannot be read: " + err.Error()}
		}
	}
	if hex.EncodeToString(sum.Sum(nil)) != p.SHA256 {
		return &PartError{p.Name, isChanged}
	}
	return nil
}

// Blame gives the reason why records are corrupt: a reader of them sees damage
// before the end of a part, where its sum is compared.
func (s *Source) Blame(ctx context.Context, corrupt error) error {
	bad, err := s.blame(ctx)
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		return &Damage{Parts: bad}
	}
	return corrupt
}

func (s *Source) blame(ctx context.Context) (bad []PartError, err error) {
	for _, p := range s.m.parts(KindRecords) {
		var one *PartError
		switch err := readBack(ctx, s.fs, s.dir, p, false, func(int64) {}); {
		case errors.As(err, &one):
			bad = append(bad, *one)
		case err != nil:
			return nil, err
		}
	}
	return bad, nil
}

// part is the content of a part while it is read. It gives io.EOF only where
// the file is whole and what the manifest says; else the error is a PartError.
type part struct {
	s     *Source
	ctx   context.Context
	p     Part
	f     segment.File
	raw   *raw
	plain io.Reader
}

// raw reads a file and sums it up.
type raw struct {
	in  *io.SectionReader
	sum hash.Hash
	n   int64
}

func (r *raw) Read(b []byte) (int, error) {
	n, err := r.in.Read(b)
	r.sum.Write(b[:n])
	r.n += int64(n)
	return n, err
}

func (s *Source) open(ctx context.Context, p Part) (*part, error) {
	f, err := s.fs.Open(filepath.Join(s.dir, filepath.FromSlash(p.Name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &PartError{p.Name, isMissing}
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && size != p.Size {
		err = &PartError{p.Name, isCut}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r := &part{s: s, ctx: ctx, p: p, f: f, raw: &raw{in: io.NewSectionReader(f, 0, size), sum: sha256.New()}}
	r.plain = bufio.NewReaderSize(r.raw, 256<<10)
	if s.m.Encryption != "" {
		if s.keys == nil {
			return nil, errors.Join(ErrKeys, f.Close())
		}
		if r.plain, err = s.keys.decrypt(r.plain); err != nil {
			return nil, errors.Join(r.why(err), f.Close())
		}
	}
	return r, nil
}

// why is the reason that a part cannot be read: a changed file says so in many
// ways.
func (r *part) why(err error) error {
	if _, cerr := io.Copy(io.Discard, r.raw); cerr != nil {
		return &PartError{r.p.Name, "cannot be read: " + cerr.Error()}
	}
	if hex.EncodeToString(r.raw.sum.Sum(nil)) != r.p.SHA256 {
		return &PartError{r.p.Name, isChanged}
	}
	if errors.Is(err, ErrKeys) {
		return err
	}
	return &PartError{r.p.Name, "cannot be read: " + err.Error()}
}

func (r *part) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	before := r.raw.n
	n, err := r.plain.Read(b)
	r.s.Progress(r.raw.n - before)
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		return n, r.why(err)
	}
	if _, cerr := io.Copy(io.Discard, r.raw); cerr != nil || hex.EncodeToString(r.raw.sum.Sum(nil)) != r.p.SHA256 {
		return n, r.why(err)
	}
	return n, io.EOF
}

func (r *part) Close() error { return r.f.Close() }

// chain reads parts one after the other.
type chain struct {
	s     *Source
	ctx   context.Context
	parts []Part
	now   *part
}

func (c *chain) Read(b []byte) (int, error) {
	for {
		if c.now == nil {
			if len(c.parts) == 0 {
				return 0, io.EOF
			}
			p, err := c.s.open(c.ctx, c.parts[0])
			if err != nil {
				return 0, err
			}
			c.now, c.parts = p, c.parts[1:]
		}
		n, err := c.now.Read(b)
		if err == io.EOF {
			err = c.now.Close()
			c.now = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *chain) Close() error {
	if c.now == nil {
		return nil
	}
	return c.now.Close()
}

// Keys gives the file of public audit keys.
func (s *Source) Keys(ctx context.Context) io.ReadCloser {
	return &chain{s: s, ctx: ctx, parts: s.m.parts(KindKeys)}
}

// Heads gives the file of the audit log's heads.
func (s *Source) Heads(ctx context.Context) io.ReadCloser {
	return &chain{s: s, ctx: ctx, parts: s.m.parts(KindHeads)}
}

// Records gives the records as kv.Store.Restore reads them. All that was given
// is to be believed only at io.EOF.
func (s *Source) Records(ctx context.Context) io.ReadCloser {
	return &chain{s: s, ctx: ctx, parts: s.m.parts(KindRecords)}
}

// Segment gives the bytes of a segment, from its beginning.
func (s *Source) Segment(ctx context.Context, number uint64) io.ReadCloser {
	return &chain{s: s, ctx: ctx, parts: s.pieces[number]}
}
