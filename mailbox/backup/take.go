package backup

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox/segment"
)

// Report says what a run did. JSON keys are stable.
type Report struct {
	Folder    string    `json:"folder"`
	Run       uint64    `json:"run"`
	At        time.Time `json:"at"`
	Whole     bool      `json:"whole"`     // nothing of an earlier run was built on
	Encrypted bool      `json:"encrypted"` //
	Files     int       `json:"files"`     // that this run wrote, and
	Written   int64     `json:"written"`   // their bytes, all read back and compared
	Records   int64     `json:"records"`   // bytes of them that are records
	Messages  int       `json:"messages"`  // that were copied by this run
	Dropped   int       `json:"dropped"`   // files of earlier runs that are not needed any more
	Parts     int       `json:"parts"`     // of the whole backup
	Bytes     int64     `json:"bytes"`     // of it
	Manifest  string    `json:"sha256"`    // of the manifest: its own field
	// Damaged are messages that are not what was stored, already in the store:
	// the first 100.
	Damaged []string `json:"damaged"`
}

const maxDamaged = 100

// take is a run that receives a stream.
type take struct {
	f        *Folder
	in       *receiver
	begin    Begin
	run      uint64
	new      []Part
	done     int64 // bytes of segments that came
	report   *Report
	read     int64 // bytes received
	progress func()
}

// Take receives what the source sends and makes it the backup. When it returns
// without an error the backup stands, synced and read back. After an error the
// backup of before counts, and what this run wrote was taken away as far as the
// disk let it.
func (f *Folder) Take(ctx context.Context, in io.Reader) (*Report, error) {
	rc, begin, err := newReceiver(in)
	if err != nil {
		return nil, err
	}
	t := &take{f: f, in: rc, begin: begin, run: 1, report: &Report{
		Folder: f.o.Dir, At: begin.At, Whole: begin.Anew || f.last == nil, Encrypted: f.o.Recipients != nil, Damaged: []string{},
	}}
	if f.last != nil {
		t.run = f.last.Run + 1
	}
	t.report.Run = t.run
	m, err := t.receive(ctx)
	if err == nil {
		err = t.check(ctx)
	}
	unknown := false
	if err == nil {
		unknown, err = f.publish(m)
	}
	if unknown {
		return nil, fmt.Errorf("%w; whether the new backup or the one of before counts is seen by the next run", f.told(err))
	}
	if err != nil {
		if _, serr := f.sweep(); serr != nil {
			err = fmt.Errorf("%w (and its beginnings could not be taken away: %w)", err, serr)
		}
		return nil, err
	}
	t.report.Parts, t.report.Bytes, t.report.Manifest = len(m.Parts), m.Bytes(), m.Sum
	if t.report.Dropped, err = f.sweep(); err != nil {
		return t.report, fmt.Errorf("the backup stands, but files that are not needed any more could not be taken away: %w", f.told(err))
	}
	return t.report, nil
}

// receive writes all parts and gives the manifest that they make.
func (t *take) receive(ctx context.Context) (*Manifest, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, end, err := t.in.part()
		if err != nil {
			return nil, err
		}
		if end != nil {
			for _, dir := range folders {
				if err := t.f.fs.SyncDir(t.f.path(dir)); err != nil {
					return nil, t.f.told(err)
				}
			}
			return t.manifest(end)
		}
		if err := t.part(ctx, h); err != nil {
			return nil, err
		}
	}
}

// part writes one file.
func (t *take) part(ctx context.Context, h *Head) (err error) {
	switch h.Kind {
	case KindKeys, KindHeads, KindRecords, KindSegment:
	default:
		return ErrStream
	}
	p := Part{Kind: h.Kind, Segment: h.Segment, From: h.From, Since: h.Since}
	p.Name = piece(p.Kind, p.Segment, t.run, t.report.Encrypted)
	for _, other := range t.new {
		if other.Name == p.Name {
			return ErrStream
		}
	}
	f, err := t.f.fs.Create(t.f.path(p.Name))
	if err != nil {
		return t.f.told(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out := &summed{f: f, sum: sha256.New()}
	buffered := bufio.NewWriterSize(out, 1<<20)
	crypt, err := t.f.o.Recipients.encrypt(buffered)
	if err != nil {
		return fmt.Errorf("encrypt the backup: %w", err)
	}
	size, err := t.copy(ctx, crypt, h)
	if out.err != nil {
		return t.f.told(out.err)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(crypt.Close(), buffered.Flush(), f.Sync()); err != nil {
		return t.f.told(err)
	}
	p.Size, p.SHA256 = out.at, hex.EncodeToString(out.sum.Sum(nil))
	p.Next = t.in.next
	if h.Kind == KindSegment {
		p.To = h.From + size
	}
	t.new = append(t.new, p)
	t.report.Files++
	t.report.Written += p.Size
	if h.Kind == KindRecords {
		t.report.Records += p.Size
	}
	return nil
}

// copy brings the bytes of a part to w, and compares messages with their names
// on the way: a copy of what is damaged must not pass for a good one.
func (t *take) copy(ctx context.Context, w io.Writer, h *Head) (n int64, err error) {
	if h.Kind == KindSegment {
		tell := func(offset int64) { t.damaged(h.Segment, offset) }
		look := newScan(h.Segment, h.From, func(m found) {
			t.report.Messages++
			if !m.whole {
				tell(m.offset)
			}
		}, tell)
		defer look.end()
		w = io.MultiWriter(w, look)
	}
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		got, err := t.in.Read(buf)
		if got > 0 {
			if _, err := w.Write(buf[:got]); err != nil {
				return n, err
			}
			n += int64(got)
			if h.Kind == KindSegment {
				t.done += int64(got)
				t.f.o.Progress(t.done, max(t.begin.Bytes, t.done))
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (t *take) damaged(segment uint64, offset int64) {
	if len(t.report.Damaged) < maxDamaged {
		t.report.Damaged = append(t.report.Damaged, fmt.Sprintf("segment %d, offset %d", segment, offset))
	}
}

// manifest puts new and old parts together.
func (t *take) manifest(end *End) (*Manifest, error) {
	m := &Manifest{Format: format, Store: t.begin.Store, Token: t.begin.Token, Run: t.run, At: t.begin.At.UTC()}
	if t.report.Encrypted {
		m.Encryption, m.Recipients = encryptedAge, t.f.o.Recipients.sum
	}
	var old []Part
	if t.f.last != nil && !t.begin.Anew {
		old = t.f.last.Parts
	}
	fresh := func(kind string) (out []Part) {
		for _, p := range t.new {
			if p.Kind == kind {
				out = append(out, p)
			}
		}
		return out
	}
	m.Parts = append(fresh(KindKeys), fresh(KindHeads)...)
	records := fresh(KindRecords)
	if len(records) != 1 {
		return nil, ErrStream
	}
	if records[0].Since != 0 {
		for _, p := range old {
			if p.Kind == KindRecords {
				m.Parts = append(m.Parts, p)
			}
		}
	}
	m.Parts = append(m.Parts, records...)
	m.Position = records[0].Next
	segments, err := join(old, fresh(KindSegment), end.Segments)
	if err != nil {
		return nil, err
	}
	m.Parts = append(m.Parts, segments...)
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStream, err)
	}
	return m, nil
}

// join gives the pieces of the segments there are: those of before and the new
// ones, which must reach to where each segment ends.
func join(old, fresh []Part, want []segment.Extent) ([]Part, error) {
	pieces := map[uint64][]Part{}
	for _, p := range old {
		if p.Kind == KindSegment {
			pieces[p.Segment] = append(pieces[p.Segment], p)
		}
	}
	for _, p := range fresh {
		if p.From == 0 {
			pieces[p.Segment] = nil // copied anew
		}
		pieces[p.Segment] = append(pieces[p.Segment], p)
	}
	var out []Part
	if !slices.IsSortedFunc(want, func(a, b segment.Extent) int { return cmp.Compare(a.Segment, b.Segment) }) {
		return nil, ErrStream
	}
	for _, e := range want {
		var end int64
		for _, p := range pieces[e.Segment] {
			if p.From != end {
				return nil, fmt.Errorf("%w: segment %d has a gap", ErrStream, e.Segment)
			}
			end = p.To
		}
		if end != e.Size {
			return nil, fmt.Errorf("%w: %d of %d bytes of segment %d", ErrStream, end, e.Size, e.Segment)
		}
		out = append(out, pieces[e.Segment]...)
	}
	return out, nil
}

// check reads back what this run wrote.
func (t *take) check(ctx context.Context) error {
	for _, p := range t.new {
		err := readBack(ctx, t.f.fs, t.f.o.Dir, p, true, func(int64) {})
		var bad *PartError
		if errors.As(err, &bad) {
			return fmt.Errorf("backup into %s: %s was not stored as it was written: the disk there is not to be trusted", t.f.o.Dir, p.Name)
		}
		if err != nil {
			return t.f.told(err)
		}
	}
	return nil
}

// publish puts the manifest in place; from then on it counts. unknown: either
// one may stand there now, so the parts of both must stay.
func (f *Folder) publish(m *Manifest) (unknown bool, err error) {
	b, err := m.encode()
	if err != nil {
		return false, err
	}
	next := f.path(manifestName + newSuffix)
	out, err := f.fs.Create(next)
	if err != nil {
		return false, f.told(err)
	}
	if _, err = out.WriteAt(b, 0); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return false, f.told(err)
	}
	if err := errors.Join(f.fs.Rename(next, f.path(manifestName)), f.fs.SyncDir(f.o.Dir)); err != nil {
		return true, err
	}
	f.last = m
	return false, nil
}

// summed writes a file and sums it up.
type summed struct {
	f   segment.File
	at  int64
	sum hash.Hash
	err error
}

func (s *summed) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.f.WriteAt(p, s.at)
	s.at += int64(n)
	s.sum.Write(p[:n])
	s.err = err
	return n, err
}

// Damage is which parts of a backup are not as they must be. It is ErrDamaged.
type Damage struct{ Parts []PartError }

func (d *Damage) Error() string {
	const most = 10
	var b strings.Builder
	for i, p := range d.Parts {
		if i == most {
			fmt.Fprintf(&b, ", and %d more", len(d.Parts)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.Error())
	}
	return fmt.Sprintf("%s: %s", ErrDamaged, b.String())
}

func (d *Damage) Unwrap() error { return ErrDamaged }

// PartError is a part that is not as it must be. JSON keys are stable.
type PartError struct {
	Name string `json:"name"`
	What string `json:"what"`
}

func (e *PartError) Error() string { return e.Name + " " + e.What }
