package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"       // names of its files
	"github.com/dgraph-io/badger/v4/table" // names of its tables

	"pecgate/mailbox/kv"
)

// makeDir makes the folder and its name durable, and closes it to others.
func makeDir(dir string) error {
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return os.Chmod(dir, 0o700)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Clean(dir)))
}

// closeFiles takes from others what an earlier release, or badger under another
// mask of the process, has let them: the folder alone would keep them out.
func closeFiles(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		st, err := e.Info()
		if err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0 {
			err = os.Chmod(filepath.Join(dir, e.Name()), 0o600)
		}
		if err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

// lockDir takes the folder for this store alone, until the file is closed.
// badger would take the same lock, but later, after the check.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = kv.ErrInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock folder: %w", err), f.Close())
	}
	return f, nil
}

// checkFolder reads all that is stored before badger opens the folder, since
// badger mends in silence and removes what it mended from. It gives the journal
// and the mark of the newest commit that is there, which may be above the
// counted one: a crash came before its count. The folder is as it was after an
// error, and after success it holds no log that badger could read otherwise. A
// folder that is not counted is taken over before, if the owner agrees (adopt).
func checkFolder(o Options) (*journal, mark, error) {
	j, err := openJournal(o.Dir)
	if missing(err) {
		switch used, uerr := badgersFiles(o.Dir); {
		case uerr != nil:
			return nil, mark{}, uerr
		case used:
			if err := adopt(o); err != nil {
				return nil, mark{}, err
			}
			j, err = openJournal(o.Dir)
		default:
			j, err = newJournal(o.Dir)
		}
	}
	if err != nil {
		return nil, mark{}, err
	}
	at, err := checkRecords(o, j, closingList)
	if err != nil { // there is none, or it is of no use
		at, err = checkRecords(o, j, badger.ManifestFilename)
	}
	if err != nil {
		return nil, mark{}, errors.Join(err, j.close())
	}
	return j, at, nil
}

// badgersFiles says whether badger has used the folder.
func badgersFiles(dir string) (bool, error) {
	for _, pattern := range []string{badger.ManifestFilename, badger.KeyRegistryFileName, "*.sst", "*" + logExt, "*.vlog"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(names) > 0 {
			return len(names) > 0, err
		}
	}
	return false, nil
}

// checkRecords goes by one of the lists of tables.
func checkRecords(o Options, j *journal, list string) (mark, error) {
	if _, err := os.Stat(filepath.Join(o.Dir, list)); err != nil && list == closingList {
		return mark{}, err
	}
	if err := checkRegistry(o.Dir); err != nil {
		return mark{}, err
	}
	tables, err := checkTables(context.Background(), o.Dir, list, o.Form, false)
	if err != nil {
		return mark{}, err
	}
	if tables.upTo != tables.mark.seq {
		return mark{}, fmt.Errorf("%w: the tables have records of commit %d, but not its chain", kv.ErrCorrupt, tables.upTo)
	}
	if tables.mark.seq == 0 {
		tables.mark = genesis(j.id)
	}
	at, logs, err := checkLogs(o.Dir, tables.mark, j.mark, &tables.form)
	if err != nil {
		return mark{}, fmt.Errorf("%w%s", err, unlisted(o.Dir))
	}
	if o.Judge != nil {
		if err := o.Judge(tables.form.value, true); err != nil {
			return mark{}, err
		}
	}
	return at, errors.Join(mendList(o.Dir, list), mendLogs(o.Dir, logs, at.seq > j.mark.seq))
}

// unlisted names tables that the list of tables does not have, for whoever
// looks for missing records: it may have been cut.
func unlisted(dir string) string {
	listed, err := tablesOf(dir, badger.ManifestFilename)
	names, err2 := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || err2 != nil {
		return "" // there is a better error to tell
	}
	var text strings.Builder
	if c, err := readList(dir, badger.ManifestFilename); err == nil {
		for _, id := range c.gone {
			fmt.Fprintf(&text, "; file %s is missing", table.IDToFilename(id))
		}
	}
	for _, name := range names {
		id, _ := table.ParseFileID(filepath.Base(name))
		if _, ok := listed[id]; !ok {
			fmt.Fprintf(&text, "; file %s is not in file %s", filepath.Base(name), badger.ManifestFilename)
		}
	}
	return text.String()
}

// checkRegistry looks at badger's list of encryption keys. There are none, so
// it is a random number and a text.
func checkRegistry(dir string) error {
	const random, text = 16, "Hello Badger"
	b, err := os.ReadFile(filepath.Join(dir, badger.KeyRegistryFileName))
	if missing(err) {
		return nil // badger makes a new one
	}
	if err != nil {
		return err
	}
	if len(b) != random+len(text) || string(b[random:]) != text {
		return fmt.Errorf("file %s: %w", badger.KeyRegistryFileName, kv.ErrCorrupt)
	}
	return nil
}

// mendLogs ends the logs where they were found to end, and removes those that
// hold nothing, so that badger replays exactly what was checked: it does not
// open a log that a crash left empty. When a commit is there that was not
// counted, it makes sure that it stays there, since it will be counted now.
func mendLogs(dir string, logs []logFile, uncounted bool) error {
	for _, l := range logs {
		name := filepath.Join(dir, l.name)
		var err error
		switch {
		case l.end <= logHeader:
			err = os.Remove(name)
		case uncounted:
			err = syncFile(name)
		}
		if err == nil && l.end > logHeader && l.end < l.size {
			err = os.Truncate(name, l.end)
		}
		if err != nil {
			return err
		}
	}
	// The value log is not used: files without an entry are rubbish, and badger
	// does not open one whose beginning is damaged.
	names, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		return err
	}
	for _, name := range names {
		unused, err := emptyLog(name)
		if err == nil && unused {
			err = os.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// emptyLog says whether a file of the value log has no entry.
func emptyLog(name string) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	b := make([]byte, 64)
	n, err := f.ReadAt(b, logHeader)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return len(bytes.Trim(b[:n], "\x00")) == 0, nil
}
