package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/dgraph-io/badger/v4"         // its list of tables
	"github.com/dgraph-io/badger/v4/options" // names of the ways to compress
	"github.com/dgraph-io/badger/v4/table"   // its table files

	"pecgate/mailbox/kv"
)

// verify reads all tables of a folder and compares their checksums. It must
// run before badger opens the folder: from then on it compacts. The tables are
// read as files, not mapped, so a bad disk is an error and no signal.
func verify(dir string) (err error) {
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	// The same lock as badger's, so that nobody writes meanwhile.
	switch err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return kv.ErrInUse
	case err != nil:
		return fmt.Errorf("lock folder: %w", err)
	}
	tables, err := tablesOf(dir)
	if err != nil {
		return err
	}
	ids := make([]uint64, 0, len(tables))
	for id := range tables {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err := verifyTable(dir, id, tables[id].Compression); err != nil {
			return fmt.Errorf("table %s: %w", table.IDToFilename(id), err)
		}
	}
	return nil
}

// tablesOf reads badger's list of tables; none in a new folder. Files that are
// not in it are left over from a crash and removed by badger.
func tablesOf(dir string) (map[uint64]badger.TableManifest, error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missingManifest(dir)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir))
	if err != nil {
		return nil, fmt.Errorf("file %s: %w: %w", badger.ManifestFilename, kv.ErrCorrupt, err)
	}
	return m.Tables, nil
}

// missingManifest refuses a folder that has tables or logs but no list of
// them: badger would begin anew and remove them.
func missingManifest(dir string) error {
	for _, pattern := range []string{"*.sst", "*.mem"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return fmt.Errorf("file %s is missing: %w", badger.ManifestFilename, kv.ErrCorrupt)
		}
	}
	return nil
}

// verifyTable checks one table. badger answers some damage with a panic of its
// own code; here that is one more way of saying so.
func verifyTable(dir string, id uint64, compression options.CompressionType) (err error) {
	data, err := os.ReadFile(table.NewFilename(id, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("missing: %w", kv.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = kv.ErrCorrupt
		}
	}()
	t, err := table.OpenInMemoryTable(data, id, &table.Options{
		Compression: compression,
		BlockSize:   badger.DefaultOptions(dir).BlockSize,
		ChkMode:     options.OnBlockRead,
	})
	if err == nil {
		err = t.VerifyChecksum()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", kv.ErrCorrupt, err)
	}
	return nil
}
