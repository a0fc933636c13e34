package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pecgate/mailbox/segment"
)

// Options says where a backup is written.
type Options struct {
	Dir        string      // made when there is none; the folder above it must be there
	Recipients *Recipients // nil: nothing is encrypted
	FS         segment.FS  // nil: the disk; tests give another
	// Progress is told how many bytes of segments came of how many, about.
	Progress func(done, total int64)
}

// Folder is the folder of a backup, open for one run.
type Folder struct {
	o    Options
	fs   segment.FS
	lock io.Closer
	last *Manifest // nil: none yet
}

// Bounds of a chain of records and of the pieces of a segment: beyond them all
// is written anew, once.
const (
	maxChain  = 30
	maxPieces = 60
)

// Open opens the folder for a run and takes away what an interrupted one left.
// Errors: ErrForeign, ErrInUse, ErrKeys, ErrNewer, ErrDamaged.
func Open(o Options) (_ *Folder, err error) {
	if o.FS == nil {
		o.FS = segment.Disk()
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	f := &Folder{o: o, fs: o.FS}
	// A disk that is not mounted must not be mistaken for an empty one.
	if _, err := f.fs.List(filepath.Dir(filepath.Clean(o.Dir))); err != nil {
		return nil, fmt.Errorf("the folder above %s: %w (is the disk mounted?)", o.Dir, err)
	}
	if err := f.fs.MkdirAll(o.Dir); err != nil {
		return nil, f.told(err)
	}
	// Before the lock is made: what is not ours stays as it is.
	if err := f.ours(); err != nil {
		return nil, err
	}
	f.lock, err = f.fs.Lock(f.path(lockName))
	if errors.Is(err, segment.ErrInUse) {
		return nil, fmt.Errorf("%s: %w", o.Dir, ErrInUse)
	}
	if err != nil {
		return nil, f.told(err)
	}
	if err := f.load(); err != nil {
		return nil, errors.Join(err, f.lock.Close())
	}
	return f, nil
}

// Close ends the run.
func (f *Folder) Close() error { return f.lock.Close() }

// Last is the backup that the folder holds; nil if there is none.
func (f *Folder) Last() *Manifest { return f.last }

func (f *Folder) path(name string) string { return filepath.Join(f.o.Dir, filepath.FromSlash(name)) }

// told says where an error of the folder came up, and what a full disk means.
func (f *Folder) told(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		state := "there is no earlier backup in it"
		if f.last != nil {
			state = fmt.Sprintf("the backup of %s in it is as it was", f.last.At.Format(time.DateTime+" MST"))
		}
		return fmt.Errorf("no room for the backup in %s: make room there or give another folder; %s (%w)", f.o.Dir, state, err)
	}
	return fmt.Errorf("backup into %s: %w", f.o.Dir, err)
}

// ours refuses a folder that holds something else than a backup.
func (f *Folder) ours() error {
	names, err := f.fs.List(f.o.Dir)
	if err != nil {
		return f.told(err)
	}
	for _, name := range names {
		switch {
		case slices.Contains(folders[:], name), name == manifestName, name == manifestName+newSuffix, name == lockName:
		case name == "lost+found": // the disk's own
		default:
			return fmt.Errorf("%s: %w", f.o.Dir, ErrForeign)
		}
	}
	return nil
}

// load reads the manifest, and makes the folder what it says.
func (f *Folder) load() error {
	m, err := readManifest(f.fs, f.o.Dir)
	switch {
	case errors.Is(err, ErrNone):
	case err != nil:
		return f.told(err)
	default:
		f.last = m
	}
	if m != nil {
		switch r := f.o.Recipients; {
		case m.Encryption != "" && r == nil:
			return fmt.Errorf("%s: %w: give its recipients, or another folder", f.o.Dir, ErrKeys)
		case m.Encryption == "" && r != nil:
			return fmt.Errorf("%s holds a backup that is not encrypted: give another folder", f.o.Dir)
		case r != nil && m.Recipients != r.sum:
			return fmt.Errorf("%s: %w for other recipients: give the same, or another folder", f.o.Dir, ErrKeys)
		}
	}
	for _, name := range folders {
		if err := f.fs.MkdirAll(f.path(name)); err != nil {
			return f.told(err)
		}
	}
	if _, err := f.sweep(); err != nil {
		return f.told(err)
	}
	return f.present()
}

// present refuses to build on a backup of which a part is gone.
func (f *Folder) present() error {
	if f.last == nil {
		return nil
	}
	bad, err := missing(f.fs, f.o.Dir, f.last)
	if err != nil {
		return f.told(err)
	}
	if len(bad) > 0 {
		return fmt.Errorf("backup into %s: %w; give another folder, and look into this one with --verify", f.o.Dir, &Damage{Parts: bad})
	}
	return nil
}

// sweep takes away what the manifest does not name, and says how many files.
func (f *Folder) sweep() (n int, err error) {
	named := map[string]bool{}
	if f.last != nil {
		for _, p := range f.last.Parts {
			named[p.Name] = true
		}
	}
	remove := func(name string) {
		rerr := f.fs.Remove(f.path(name))
		if rerr == nil {
			n++
		} else if !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	remove(manifestName + newSuffix)
	for _, dir := range folders {
		names, lerr := f.fs.List(f.path(dir))
		if lerr != nil {
			return n, lerr
		}
		for _, name := range names {
			if name = dir + "/" + name; !named[name] && made(name) {
				remove(name)
			}
		}
	}
	return n, err
}

// made says whether a file has a name that a run gives.
func made(name string) bool {
	dir, base, _ := strings.Cut(strings.TrimSuffix(name, ageSuffix), "/")
	ext := filepath.Ext(base)
	for _, r := range strings.TrimSuffix(base, ext) {
		if (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	switch dir {
	case "audit":
		return ext == "."+KindKeys || ext == "."+KindHeads
	case "records":
		return ext == ".kv"
	}
	return ext == ".tar"
}

// Have is what the source need not send.
func (f *Folder) Have() Have {
	if f.last == nil {
		return Have{}
	}
	h := Have{Store: f.last.Store, Token: f.last.Token, Since: f.last.Position}
	chain := f.last.parts(KindRecords)
	var more int64
	for _, p := range chain[1:] {
		more += p.Size
	}
	if len(chain) >= maxChain || more > chain[0].Size {
		h.Since = 0 // one whole file is smaller
	}
	pieces := map[uint64]int{}
	for _, p := range f.last.parts(KindSegment) {
		pieces[p.Segment]++
	}
	for _, e := range f.last.Extents() {
		if pieces[e.Segment] < maxPieces {
			h.Segments = append(h.Segments, e)
		}
	}
	return h
}
