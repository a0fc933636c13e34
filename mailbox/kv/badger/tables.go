package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"         // its list of tables
	"github.com/dgraph-io/badger/v4/options" // names of the ways to compress
	"github.com/dgraph-io/badger/v4/table"   // its table files
	"github.com/dgraph-io/badger/v4/y"       // its keys with versions

	"pecgate/mailbox/kv"
)

// tablesOf reads badger's list of tables; none in a new folder. Files that are
// not in it are left over from a crash and removed by badger.
func tablesOf(dir string) (map[uint64]badger.TableManifest, error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if missing(err) {
		return nil, missingManifest(dir)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, 0, badger.Options{})
	if err != nil {
		return nil, fmt.Errorf("file %s: %w: %s", badger.ManifestFilename, kv.ErrCorrupt, firstLine(err))
	}
	return m.Tables, nil
}

// missingManifest refuses a folder that has tables or logs but no list of
// them: badger would begin anew and remove them.
func missingManifest(dir string) error {
	for _, pattern := range []string{"*.sst", "*" + logExt} {
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

// checkTables reads all tables of a folder, compares all their checksums, and
// gives the mark of the newest commit that is in them. No table is trusted
// because an earlier run found it good: badger answers "no such key" for a
// block it cannot read, and takes it for the end of the table when it compacts.
//
// While the store is open, tables come and go: live passes over those that went.
func checkTables(ctx context.Context, dir string, live bool) (mark, error) {
	tables, err := tablesOf(dir)
	if err != nil {
		return mark{}, err
	}
	ids := make([]uint64, 0, len(tables))
	for id := range tables {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		next   int
		newest mark
		upTo   uint64
		errs   []error
	)
	for range min(runtime.GOMAXPROCS(0), maxReaders, len(ids)) {
		wg.Go(func() {
			var buffer []byte
			for {
				mu.Lock()
				if next == len(ids) || len(errs) > 0 {
					mu.Unlock()
					return
				}
				id := ids[next]
				next++
				mu.Unlock()
				c, err := tableCheck{}, ctx.Err()
				if err == nil {
					buffer, c, err = checkTable(dir, id, tables[id].Compression, buffer)
				}
				mu.Lock()
				switch {
				case live && missing(err):
				case missing(err):
					errs = append(errs, fmt.Errorf("file %s is missing: %w", table.IDToFilename(id), kv.ErrCorrupt))
				case err != nil:
					errs = append(errs, fmt.Errorf("file %s: %w", table.IDToFilename(id), err))
				default:
					upTo = max(upTo, c.upTo)
					if c.mark.seq > newest.seq {
						newest = c.mark
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(errs) > 0 {
		return mark{}, errs[0]
	}
	if upTo != newest.seq && !live {
		return mark{}, fmt.Errorf("%w: the tables have records of commit %d, but not its chain", kv.ErrCorrupt, upTo)
	}
	return newest, nil
}

// maxReaders bounds how many tables are in memory at once.
const maxReaders = 4

// tableCheck is what a good table says.
type tableCheck struct {
	upTo uint64 // its newest commit
	mark mark   // the newest one whose chain it has
}

// checkTable checks one table. It reads the file and does not map it, so a bad
// disk is an error and no signal. badger answers some damage with a panic of
// its own code; here that is one more way of saying so.
func checkTable(dir string, id uint64, compression options.CompressionType, buffer []byte) (_ []byte, c tableCheck, err error) {
	data, err := readAll(table.NewFilename(id, dir), buffer)
	if err != nil {
		return buffer, c, err
	}
	defer func() {
		if recover() != nil {
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
		return data, c, fmt.Errorf("%w: %s", kv.ErrCorrupt, firstLine(err))
	}
	c.upTo = t.MaxVersion()
	it := t.NewIterator(table.NOCACHE)
	defer it.Close()
	it.Seek(y.KeyWithTs([]byte(chainKey), math.MaxUint64))
	if it.Valid() && bytes.Equal(y.ParseKey(it.Key()), []byte(chainKey)) {
		c.mark.seq = y.ParseTs(it.Key())
		if copy(c.mark.chain[:], it.ValueCopy().Value) != len(c.mark.chain) {
			return data, c, fmt.Errorf("%w: the chain of commit %d is no hash", kv.ErrCorrupt, c.mark.seq)
		}
	}
	return data, c, nil
}

// readAll is os.ReadFile into a buffer that is used again.
func readAll(name string, buffer []byte) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return buffer, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return buffer, err
	}
	size := int(st.Size())
	if cap(buffer) < size {
		buffer = make([]byte, size)
	}
	_, err = io.ReadFull(f, buffer[:size])
	if size == 0 || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fs.ErrNotExist // badger empties a table before it removes it
	}
	return buffer[:size], err
}

// firstLine is what badger says, without its advice.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
