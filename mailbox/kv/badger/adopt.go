package badger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4" // the embedded store

	"pecgate/mailbox/kv"
)

// Releases before the count (form 0) left badger's files alone in the folder.
// Their commits are numbered by badger without a gap, and have no chain.
//
// A folder without a JOURNAL is either such a one, or has lost its count. The
// second has a chain in each commit; or, where a crash interrupted adopt, in
// those commits only that adopt made.

// olderTables is the size of a table in memory of the releases before the count:
// their logs hold as much.
const olderTables = 16 << 20

// adopt takes over a folder of form 0: it checks all of it, asks the owner, lets
// badger bring all logs to tables, and begins the count. What it cannot be sure
// of it refuses and leaves as it is. It can be interrupted anywhere and begins
// again at the next Open.
func adopt(o Options) error {
	lost := fmt.Errorf("file %s is missing: %w", journalName, kv.ErrCorrupt)
	if o.Judge == nil {
		return lost
	}
	if err := checkRegistry(o.Dir); err != nil {
		return err
	}
	found, err := checkTables(context.Background(), o.Dir, badger.ManifestFilename, o.Form, false)
	if err != nil {
		return err
	}
	logs, err := found.uncounted(o.Dir)
	switch {
	case err != nil:
		return fmt.Errorf("%w%s", err, unlisted(o.Dir))
	case found.upTo == 0 || found.mark.seq != found.adopted:
		return lost
	}
	if err := o.Judge(found.form.value, false); err != nil {
		return err
	}
	for _, l := range logs {
		if !l.clean && l.end > 0 {
			return fmt.Errorf("%w: %s, and nothing counted what should follow; start and stop it once with the release that wrote it",
				kv.ErrCorrupt, l.where())
		}
	}
	return o.takeOver(found.upTo, logs)
}

// uncounted goes on through the logs.
func (c *tableCheck) uncounted(dir string) ([]logFile, error) {
	names, err := logsOf(dir)
	if err != nil {
		return nil, err
	}
	var logs []logFile
	for _, name := range names {
		l, err := readLog(name, func(f commit) error {
			switch {
			case f.seq <= c.upTo:
				return nil // in a table already, or read
			case f.seq != c.upTo+1:
				return fmt.Errorf("%w: records are missing: commit %d follows commit %d%s; "+
					"if the release that wrote it opens it, start and stop it once with that", kv.ErrCorrupt, f.seq, c.upTo, lastLog(logs))
			}
			c.upTo = f.seq
			f.show(&c.form)
			taken := sighting{key: []byte(adoptedKey)}
			f.show(&taken)
			c.adopted = max(c.adopted, taken.seq)
			if len(f.chain) > 0 {
				c.mark.seq = f.seq
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", filepath.Base(name), err)
		}
		logs = append(logs, l)
	}
	return logs, nil
}

// takeOver writes: first the commit from which the chain goes on, then, when all
// is in tables, the count of it. What is found after an interruption is the same
// folder, with a chain that only adopt has written.
func (o Options) takeOver(upTo uint64, logs []logFile) error {
	o.between()
	if err := errors.Join(mendList(o.Dir, badger.ManifestFilename), mendLogs(o.Dir, logs, true)); err != nil {
		return err
	}
	o.between()
	o.behind = newBackground(o)
	older, err := roomToOpen(settings(o).WithMemTableSize(olderTables))
	if err != nil {
		return err
	}
	db, err := o.behind.open(older)
	if err != nil {
		return err
	}
	o.between()
	id := newID()
	at := genesis(id)
	at.seq = upTo
	at = at.next(nil)
	if err = begin(db, at); err == nil {
		o.between()
	}
	if err = errors.Join(err, o.behind.close(db), o.behind.check()); err != nil {
		return fmt.Errorf("take the folder over: %w", err)
	}
	o.between()
	left, err := filepath.Glob(filepath.Join(o.Dir, "*"+logExt))
	if err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("take the folder over: badger left %d logs", len(left)))
	}
	for _, name := range []string{badger.ManifestFilename, badger.KeyRegistryFileName} {
		if err := syncFile(filepath.Join(o.Dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	j, err := makeJournal(o.Dir, id, at)
	if err != nil {
		return err
	}
	o.between()
	return j.close()
}

// begin commits the mark from which the count goes on.
func begin(db *badger.DB, at mark) error {
	if found := db.MaxVersion(); found != at.seq-1 {
		return fmt.Errorf("%w: records are missing: badger opened %d commits, %d are in the files", kv.ErrCorrupt, found, at.seq-1)
	}
	t := db.NewTransactionAt(math.MaxUint64, true)
	defer t.Discard()
	if err := errors.Join(t.Set([]byte(adoptedKey), nil), t.Set([]byte(chainKey), at.chain[:])); err != nil {
		return err
	}
	return t.CommitAt(at.seq, nil)
}

func (o Options) between() {
	if o.step != nil {
		o.step()
	}
}
