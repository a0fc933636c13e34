package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix" // flock on a folder: the standard library has none

	"pecgate/mailbox/backup"
	"pecgate/mailbox/events"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/kv/badger"
	"pecgate/mailbox/segment"
)

var (
	// ErrNotEmpty: something is in the folder that a restore would fill.
	ErrNotEmpty = errors.New("mailbox: data_dir is not empty")
	// ErrRestoring: a restore into the folder was interrupted, or is under way.
	ErrRestoring = errors.New("mailbox: a restore is not finished")
)

// A restore fills this folder inside of the store's own, which may be a disk of
// its own, or in a folder where the appliance's user makes nothing. Nothing is
// moved out of it before all is there, synced and checked; the file in it says
// so. Until it is gone the store is not opened.
const (
	restoringName = "restoring"
	completeName  = "complete"
)

// RestoreOptions says what is restored and for whom.
type RestoreOptions struct {
	Source   *backup.Source
	By       string                  // who does it, for the audit log
	Own      func(path string) error // gives each file and folder to the appliance's user; nil: it is
	Progress func(thousandths int64) // nil: nobody is told
}

// RestoreReport says what a restore did. JSON keys are stable.
type RestoreReport struct {
	Folder   string      `json:"folder"`
	From     time.Time   `json:"from"` // the state that was restored
	Run      uint64      `json:"run"`  // of the backup
	Resumed  bool        `json:"resumed"`
	Segments int         `json:"segments"`
	Messages int64       `json:"messages"`
	Bytes    int64       `json:"bytes"`   // of messages
	Records  int64       `json:"records"` // that were looked at
	Damage   int64       `json:"damage"`  // that was in the store already when it was backed up
	Check    *FsckReport `json:"check,omitempty"`
}

// Restore fills o.Dir, which must be missing or empty, with a backup, and
// checks that every record has its bytes. Then the store has new UIDVALIDITY
// values, a line in its audit log, and the mark of Restored.
//
// Until the last step o.Dir holds nothing but a folder that the next Restore
// takes away; an interrupted last step is ended by it. Errors: ErrNotEmpty,
// ErrRestoring, ErrNoSpace, ErrNewer, and those of Source.
func Restore(ctx context.Context, o Options, how RestoreOptions) (_ *RestoreReport, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Events == nil {
		o.Events = events.Discard()
	}
	if o.Free == nil {
		o.Free = func() (DiskFree, error) { return diskFree(o.Dir) }
	}
	if how.Progress == nil {
		how.Progress = func(int64) {}
	}
	if how.Own == nil {
		how.Own = func(string) error { return nil }
	}
	r := &restore{ctx: ctx, o: o, how: how, src: how.Source, dir: filepath.Join(o.Dir, restoringName)}
	r.report = &RestoreReport{Folder: o.Dir, From: r.src.Manifest().At, Run: r.src.Manifest().Run}
	if err := os.Mkdir(o.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make data_dir: %w", err)
	}
	free, err := lockFolder(o.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, free()) }()
	done, err := r.begun()
	if err != nil {
		return nil, err
	}
	if done {
		r.report.Resumed = true
		return r.report, r.finish()
	}
	if err := r.fill(); err != nil {
		// What was begun is of no use to anybody.
		return nil, errors.Join(err, os.RemoveAll(r.dir))
	}
	return r.report, r.finish()
}

// restore is one Restore under way.
type restore struct {
	ctx    context.Context
	o      Options
	how    RestoreOptions
	src    *backup.Source
	dir    string
	report *RestoreReport
}

// lockFolder keeps a second restore out.
func lockFolder(dir string) (free func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open data_dir: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w: another one fills %s", ErrRestoring, dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// restoreEnded refuses a folder that a restore has not come to an end in.
func restoreEnded(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, restoringName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w in %s: run `pecgate restore` again, with the same backup", ErrRestoring, dir)
	}
	return err
}

// begun looks at what is there. done: all was restored but for the last step.
// What an interrupted restore has left otherwise goes.
func (r *restore) begun() (done bool, err error) {
	list, err := os.ReadDir(r.o.Dir)
	if err != nil {
		return false, fmt.Errorf("look into data_dir: %w", err)
	}
	var others []string
	left := false
	for _, e := range list {
		switch name := e.Name(); name {
		case restoringName:
			left = true
		case "lost+found": // the disk's own
		default:
			others = append(others, name)
		}
	}
	if left {
		aside, err := os.ReadDir(r.dir)
		if err != nil {
			return false, err
		}
		// Empty beside a store: the last of the last step was interrupted.
		if len(aside) == 0 && slices.Contains(others, "records") || slices.ContainsFunc(aside, func(e fs.DirEntry) bool { return e.Name() == completeName }) {
			return true, nil
		}
	}
	if len(others) > 0 {
		more := ""
		if len(others) > 3 {
			others, more = others[:3], ", ..."
		}
		return false, fmt.Errorf("%w: %s holds %s%s; a restore overwrites nothing: move that away first, or choose another data_dir",
			ErrNotEmpty, r.o.Dir, strings.Join(others, ", "), more)
	}
	if left {
		return false, os.RemoveAll(r.dir)
	}
	return false, nil
}

// fill makes the store in the folder aside.
func (r *restore) fill() error {
	for _, look := range []func() error{r.src.Readable, r.src.Complete, r.room} {
		if err := look(); err != nil {
			return err
		}
	}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return err
	}
	var read int64
	total := max(r.src.Manifest().Bytes(), 1)
	r.src.Progress = func(n int64) {
		read += n
		r.how.Progress(min(read*checkFrom/total, checkFrom))
	}
	for _, step := range []func() error{r.audit, r.segments, r.records, r.open, r.check, r.own} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := errors.Join(syncFolder(filepath.Join(r.dir, "segments")), syncFolder(r.dir)); err != nil {
		return err
	}
	return errors.Join(r.file(completeName, strings.NewReader("all is here and was checked\n")), syncFolder(r.dir))
}

// checkFrom is where the check begins, in thousandths of the work.
const checkFrom = 600

// room refuses a disk that cannot hold it all: the records are written more
// than once on their way.
func (r *restore) room() error {
	free, err := r.o.Free()
	if err != nil {
		return err
	}
	need := r.o.MinFree
	for _, p := range r.src.Manifest().Parts {
		need += p.Size
		if p.Kind == backup.KindRecords {
			need += p.Size
		}
	}
	if free.Bytes < need {
		return fmt.Errorf("%w: the backup needs %d bytes with min_free, %d are free on the disk of %s", ErrNoSpace, need, free.Bytes, r.o.Dir)
	}
	return nil
}

// file writes a file below the folder. Its name is durable once its folder is
// synced.
func (r *restore) file(name string, in io.Reader) error {
	f, err := os.OpenFile(filepath.Join(r.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("restore %s: %w", name, err)
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// audit brings what the heads of the old log are checked with. The key that
// signed them is in no backup: Open makes a new one.
func (r *restore) audit() error {
	for _, f := range []struct {
		name string
		in   io.ReadCloser
	}{{auditKey + ".pub", r.src.Keys(r.ctx)}, {auditHeads, r.src.Heads(r.ctx)}} {
		err := r.file(f.name, f.in)
		if err := errors.Join(err, f.in.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (r *restore) segments() error {
	dir := filepath.Join(r.dir, "segments")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, e := range r.src.Manifest().Extents() {
		in := r.src.Segment(r.ctx, e.Segment)
		err := r.file(filepath.Join("segments", segment.FileName(e.Segment)), in)
		if err := errors.Join(err, in.Close()); err != nil {
			return err
		}
		r.report.Segments++
	}
	return nil
}

// records fills the record store and marks it, before anybody can open it.
func (r *restore) records() (err error) {
	db, err := badger.Open(badger.Options{Dir: filepath.Join(r.dir, "records"), Now: r.o.Now})
	if err != nil {
		return fmt.Errorf("restore the records: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	in := r.src.Records(r.ctx)
	err = errors.Join(db.Restore(r.ctx, in), in.Close())
	if errors.Is(err, kv.ErrFormat) {
		return backup.ErrNewer
	}
	if errors.Is(err, kv.ErrCorrupt) {
		err = r.src.Blame(r.ctx, err)
	}
	if err != nil {
		return fmt.Errorf("restore the records: %w", err)
	}
	s := &Store{opt: r.o, records: db, failed: make(chan error, 1)}
	s.opt.MinFree = 0 // asked before
	s.space.s = s
	return s.Update(r.ctx, func(tx *Tx) error { return tx.markRestoredBy(r.src.Manifest().At, r.how.By) })
}

// open does what the first Open does to records with the mark, while a failure
// is still none of the appliance's.
func (r *restore) open() error {
	o := r.o
	o.Dir = r.dir
	s, err := Open(o)
	if err != nil {
		return fmt.Errorf("open what was restored: %w", err)
	}
	return s.Close()
}

// check makes sure that nothing is missing. What it finds was so when the
// backup was made, since every part is what was written then: the store is
// given back with it, and it is told.
func (r *restore) check() error {
	o := r.o
	o.Dir = r.dir
	found, err := Fsck(r.ctx, o, FsckOptions{Deep: true, Progress: func(n int64) { r.how.Progress(checkFrom + n*(1000-checkFrom)/1000) }})
	if err != nil {
		return fmt.Errorf("check what was restored: %w", err)
	}
	r.report.Messages, r.report.Bytes, r.report.Records, r.report.Damage = found.Messages, found.Bytes, found.Records, found.Damage
	r.report.Check = found
	return nil
}

func (r *restore) own() error {
	return filepath.WalkDir(r.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return r.how.Own(path)
	})
}

// finish moves everything to its place, the records last: without them the
// store is not opened. It goes on where it was interrupted.
func (r *restore) finish() error {
	list, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(list))
	for _, e := range list {
		if name := e.Name(); name != completeName && name != "records" {
			names = append(names, name)
		}
	}
	for _, name := range append(names, "records") {
		err := os.Rename(filepath.Join(r.dir, name), filepath.Join(r.o.Dir, name))
		if errors.Is(err, fs.ErrNotExist) && !slices.Contains(names, name) {
			continue // moved before it was interrupted
		}
		if err != nil {
			return fmt.Errorf("put what was restored in its place (run the same command again): %w", err)
		}
	}
	// The new names are durable before the folder that says they are not is gone.
	if err := errors.Join(syncFolder(r.o.Dir), os.RemoveAll(r.dir), syncFolder(r.o.Dir)); err != nil {
		return fmt.Errorf("end the restore (run the same command again): %w", err)
	}
	return nil
}
