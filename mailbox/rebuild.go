package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"pecgate/mailbox/audit"
	"pecgate/mailbox/events"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/kv/badger"
	"pecgate/mailbox/segment"
)

// Folders of a rebuild, beside that of the records.
const (
	recordsDir    = "records"
	rebuildingDir = "records.rebuilding" // under way, or cut off: it begins anew
	damagedDir    = "records.damaged-"   // what was there before, with the time
)

// Errors of Rebuild that callers tell apart.
var (
	// ErrRecordsGood: there are records that can be opened and know messages.
	ErrRecordsGood = errors.New("mailbox: the records can be opened")
	// ErrNoSegments: there is nothing to make records from.
	ErrNoSegments = errors.New("mailbox: there are no segments")
)

// Rebuilt says what Rebuild did. JSON keys are stable.
type Rebuilt struct {
	Refiled
	Kept string `json:"kept"` // folder with the records that were there before; empty: there were none
}

// Rebuild makes all records anew from the segments alone, for a store below
// o.Dir that nobody has open and whose records are lost or damaged. look says
// where what is not a person's own belongs; it is given the store that is being
// made. progress is that of Refile.
//
// It changes nothing in the segments. The new records are made in a folder of
// their own, and take the place of the others, which are kept, when they are
// whole: a rebuild that was cut off is begun anew. They carry the mark of a
// restored store (see Restored), since they know as little about what was sent.
//
// What is in no segment cannot be made anew: flags and keywords, what people
// deleted, moved or copied, subscriptions, register numbers, legal holds, the
// lines of the audit log, and what other rooms keep beside messages.
//
// Errors: ErrRecordsGood, ErrNoSegments, ErrNoSpace, and those of segment and kv
// for a folder that is in use or of a newer release.
func Rebuild(ctx context.Context, o Options, look func(*Store) (Look, error), progress func(done, total int64)) (r Rebuilt, err error) {
	o = o.rebuilding()
	if d, err := o.Free(); err != nil {
		return r, err
	} else if d.Bytes < o.MinFree {
		return r, noSpace(DiskSpace{Free: d.Bytes, Floor: o.MinFree})
	}
	found, err := filepath.Glob(filepath.Join(o.Dir, "segments", "*.tar"))
	if err != nil || len(found) == 0 {
		return r, errors.Join(fmt.Errorf("%w in %s", ErrNoSegments, filepath.Join(o.Dir, "segments")), err)
	}
	// First, since what records name must not be cut from the segments below.
	if err := recordsLost(ctx, o); err != nil {
		return r, err
	}
	bytes, err := segment.Open(segment.Options{Dir: filepath.Join(o.Dir, "segments")}) // holds everybody else off
	if err != nil {
		return r, fmt.Errorf("open the message segments: %w", err)
	}
	s := &Store{opt: o, failed: make(chan error, 1), bytes: bytes}
	s.space.s = s
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, bytes.Close())
		}
	}()
	dir := filepath.Join(o.Dir, rebuildingDir)
	if err := os.RemoveAll(dir); err != nil {
		return r, fmt.Errorf("clear what an earlier rebuild left: %w", err)
	}
	if s.records, err = badger.Open(badger.Options{Dir: dir, Now: o.Now}); err != nil {
		return r, fmt.Errorf("make new records: %w", err)
	}
	how, err := look(s)
	if err == nil {
		r.Refiled, err = s.rebuild(ctx, how, progress)
	}
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	if closed = true; err != nil {
		return r, err
	}
	if r.Kept, err = swapRecords(o); err != nil {
		return r, err
	}
	// The first Open keeps the heads of the log that is lost, and begins another.
	if s, err = Open(o); err != nil {
		return r, fmt.Errorf("open the store with its new records: %w", err)
	}
	return r, s.Close()
}

// rebuilding are the options of a rebuild.
func (o Options) rebuilding() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Events == nil {
		o.Events = events.Discard()
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.Free == nil {
		o.Free = func() (DiskFree, error) { return diskFree(o.Dir) }
	}
	return o
}

// recordsLost refuses a rebuild where the records are good: it would lose what
// only they know. A folder of records that knows no message is none.
func recordsLost(ctx context.Context, o Options) error {
	dir := filepath.Join(o.Dir, recordsDir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	records, err := openRecords(o, false)
	if errors.Is(err, kv.ErrInUse) || errors.Is(err, ErrNewer) || errors.Is(err, ErrOlder) {
		return err
	}
	if err != nil {
		return nil // whatever is wrong with them: they are kept
	}
	messages := uint64(0)
	err = (&Store{opt: o, records: records}).View(ctx, func(tx *Tx) (err error) {
		messages, err = tx.number("message")
		return err
	})
	if err = errors.Join(err, records.Close()); err == nil && messages > 0 {
		err = fmt.Errorf("%w: %s", ErrRecordsGood, dir)
	}
	return err
}

// rebuild fills the new records.
func (s *Store) rebuild(ctx context.Context, look Look, progress func(done, total int64)) (Refiled, error) {
	if err := s.openSpace(); err != nil {
		return Refiled{}, err
	}
	if err := s.rebuildAudit(); err != nil {
		return Refiled{}, err
	}
	if err := s.upgrade(ctx); err != nil { // an empty store gets the newest format
		return Refiled{}, err
	}
	r, err := s.Refile(ctx, look, progress)
	if err != nil {
		return r, err
	}
	return r, s.Update(ctx, func(tx *Tx) error {
		filed := map[string]string{}
		for d, n := range r.Filed {
			filed[string(d)] = strconv.FormatInt(n, 10)
		}
		err := tx.Audit(AuditLine{Actor: "store", Event: "rebuilt", Result: "records made anew from the segments", More: filed})
		return errors.Join(err, tx.markRestored(time.Time{}))
	})
}

// rebuildAudit begins a log without its file of heads: that one tells of the log
// that is lost. The next Open keeps it and begins another (see Restored).
func (s *Store) rebuildAudit() error {
	name := s.opt.Name
	if name == "" {
		name = "pecgate"
	}
	key, err := audit.OpenKey(filepath.Join(s.opt.Dir, auditKey), name)
	if err == nil {
		s.audit, err = audit.New(audit.Options{Prefix: []byte("a/"), Key: key, Now: s.opt.Now})
	}
	if err != nil {
		return fmt.Errorf("begin the audit log: %w", err)
	}
	return nil
}

// swapRecords puts the new records in the place of the others. Cut off between
// the two steps, the store has no records, which Open refuses.
func swapRecords(o Options) (kept string, err error) {
	records := filepath.Join(o.Dir, recordsDir)
	if _, err := os.Stat(records); err == nil {
		kept = filepath.Join(o.Dir, damagedDir+o.Now().UTC().Format("20060102T150405.000Z"))
		if err := os.Rename(records, kept); err != nil {
			return "", fmt.Errorf("keep the damaged records: %w", err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.Rename(filepath.Join(o.Dir, rebuildingDir), records); err != nil {
		return kept, fmt.Errorf("put the new records in place: %w", err)
	}
	d, err := os.Open(o.Dir)
	if err != nil {
		return kept, err
	}
	return kept, errors.Join(d.Sync(), d.Close())
}
