package mailbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"pecgate/mailbox/segment"
)

// frozen is the folder of the segments as nothing changes it: what an opening
// store cuts or removes is only out of sight. It counts what is read.
type frozen struct {
	segment.FS
	dir  string
	lock io.Closer // nil: not held
	read func(int)

	mu  sync.Mutex
	cut map[string]int64 // sizes of files that were cut, by name
}

func newFrozen(dir string) *frozen {
	return &frozen{FS: segment.Disk(), dir: dir, read: func(int) {}, cut: map[string]int64{}}
}

var errFrozen = errors.New("mailbox: a check does not write")

// hold locks the folder for the whole check.
func (d *frozen) hold() (err error) {
	if _, err := d.FS.List(d.dir); err != nil {
		return err // the lock is not made where there is no folder
	}
	d.lock, err = d.FS.Lock(filepath.Join(d.dir, "LOCK"))
	return err
}

func (d *frozen) free() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

// size is the sum of all files in the folder.
func (d *frozen) size() (sum int64, err error) {
	names, err := d.FS.List(d.dir)
	for _, name := range names {
		f, err := d.FS.Open(filepath.Join(d.dir, name))
		if err != nil {
			continue // the check says so
		}
		if n, err := f.Size(); err == nil {
			sum += n
		}
		if err := f.Close(); err != nil {
			return sum, err
		}
	}
	return sum, err
}

func (d *frozen) Open(name string) (segment.File, error) {
	f, err := d.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &frozenFile{File: f, d: d, name: name}, nil
}

func (d *frozen) Edit(name string) (segment.File, error) { return d.Open(name) }

func (*frozen) MkdirAll(string) error               { return nil }
func (*frozen) Create(string) (segment.File, error) { return nil, errFrozen }
func (*frozen) Rename(_, _ string) error            { return errFrozen }
func (*frozen) Remove(string) error                 { return nil }
func (*frozen) SyncDir(string) error                { return nil }
func (*frozen) Lock(string) (io.Closer, error)      { return io.NopCloser(nil), nil } // held already

func (d *frozen) limit(name string) (int64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.cut[name]
	return n, ok
}

type frozenFile struct {
	segment.File
	d    *frozen
	name string
}

func (f *frozenFile) WriteAt([]byte, int64) (int, error) { return 0, errFrozen }
func (f *frozenFile) Sync() error                        { return nil }

func (f *frozenFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.cut[f.name] = size
	return nil
}

func (f *frozenFile) Size() (int64, error) {
	if n, ok := f.d.limit(f.name); ok {
		return n, nil
	}
	return f.File.Size()
}

func (f *frozenFile) ReadAt(p []byte, off int64) (n int, err error) {
	most, ok := f.d.limit(f.name)
	if short := ok && off+int64(len(p)) > most; short {
		p = p[:max(0, most-off)]
		defer func() {
			if err == nil {
				err = io.EOF
			}
		}()
	}
	n, err = f.File.ReadAt(p, off)
	f.d.read(n)
	return n, err
}

// segments checks the files of the segments, then opens them for the records.
func (x *fsck) segments(disk *frozen) error {
	total, err := disk.size()
	if errors.Is(err, fs.ErrNotExist) {
		x.r.find(NoSegments, "segments", "the folder is missing")
		return nil
	}
	if err != nil {
		return fmt.Errorf("check the segments: %w", err)
	}
	var read int64
	disk.read = func(n int) {
		read += int64(n)
		x.o.Progress(min(read*orphansFrom/max(total, 1), orphansFrom))
	}
	o := segment.Options{Dir: disk.dir, FS: disk}
	var names named
	if x.s.records != nil {
		if names, err = x.s.named(x.ctx, disk.dir); err != nil {
			return err
		}
		o.Named = names.furthest
	}
	sum, err := segment.Check(x.ctx, o, segment.CheckOptions{Deep: x.o.Deep}, func(f segment.Finding) { x.segmentFinding(&f) })
	if err != nil {
		return fmt.Errorf("check the segments: %w", err)
	}
	disk.read = func(int) {}
	x.r.Segments, x.r.Bytes = sum.Segments, sum.Bytes
	if x.s.records == nil {
		return nil
	}
	var lost []*FsckFinding
	for _, n := range names.missing {
		lost = append(lost, x.r.find(NoFile, segment.FileName(n), ""))
	}
	if slices.Contains(names.missing, o.Named.Segment) {
		o.Named = segment.Place{} // told
	}
	x.s.bytes, err = segment.Open(o)
	damaged := errors.Is(err, segment.ErrCorrupt)
	if damaged {
		lost = append(lost, x.r.find(NoSegments, "segments", err.Error()))
		o.ReadOnly = true
		x.s.bytes, err = segment.Open(o) // for what can be read
	}
	if err != nil {
		return fmt.Errorf("open the segments: %w", err)
	}
	if !x.o.Repair || len(lost) == 0 {
		return nil
	}
	if err := segment.Forgo(disk.FS, disk.dir, names.missing, damaged); err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	for _, f := range lost {
		x.r.repaired(f)
	}
	return nil
}

func (x *fsck) segmentFinding(f *segment.Finding) {
	where := f.File
	if f.Problem != segment.Foreign && f.Problem != segment.Upload {
		where = fmt.Sprintf("%s, offset %d", f.File, f.Offset)
	}
	if f.Ref.Segment != 0 && x.s.records != nil {
		// Which message it is helps whoever looks; that it is not known does not matter.
		_ = x.view(func() error {
			ids, err := x.tx.named(f.Ref)
			if len(ids) > 0 {
				where += fmt.Sprintf(" (message %d)", ids[0])
			}
			return err
		})
	}
	detail := ""
	switch {
	case f.Missing > 0:
		detail = fmt.Sprintf("%d are missing", f.Missing)
	case f.Err != nil:
		detail = f.Err.Error()
	}
	x.r.find(Trouble(f.Problem), where, detail)
}

// orphans compares all bytes with the records that name them.
func (x *fsck) orphans() error {
	if x.s.bytes == nil {
		return nil
	}
	x.o.Progress(orphansFrom)
	var entries []segment.Entry
	judge := func() error {
		err := x.view(func() error {
			for _, e := range entries {
				if err := x.orphan(&e); err != nil {
					return err
				}
			}
			return nil
		})
		entries = entries[:0]
		return err
	}
	err := x.s.bytes.Walk(x.ctx, func(e segment.Entry) error {
		e.Sidecar = nil
		if entries = append(entries, e); len(entries) < fsckChunk {
			return nil
		}
		return judge()
	})
	if errors.Is(err, segment.ErrCorrupt) {
		err = nil // the check of the segments has told of it
	}
	if err = errors.Join(err, judge()); err != nil {
		return fmt.Errorf("compare bytes and records: %w", err)
	}
	return nil
}

func (x *fsck) orphan(e *segment.Entry) error {
	where := fmt.Sprintf("segment %d, offset %d", e.Ref.Segment, e.Ref.Offset)
	if !e.Removed {
		known, err := x.tx.accounted(e.Ref, e.Copy)
		if err == nil && !known {
			x.r.Orphans++
			x.find(NoRecord, where, "", nil)
		}
		return err
	}
	for _, ref := range []segment.Ref{e.Ref, e.Copy} {
		if ref.Segment == 0 {
			continue
		}
		ids, err := x.tx.named(ref)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if known, err := x.tx.has(key("m", id)); err != nil || !known {
				return err
			}
			x.find(RemovedBytes, fmt.Sprintf("message %d", id), where, nil)
		}
	}
	return nil
}
