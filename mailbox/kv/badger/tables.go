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
func tablesOf(dir, list string) (map[uint64]badger.TableManifest, error) {
	f, err := os.Open(filepath.Join(dir, list))
	if missing(err) {
		return nil, missingManifest(dir)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, 0, badger.Options{})
	if err != nil {
		return nil, fmt.Errorf("file %s: %w: %s", list, kv.ErrCorrupt, firstLine(err))
	}
	c, err := readList(dir, list)
	if err != nil || c.whole {
		return m.Tables, err
	}
	return c.tables, nil
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
// gives what they say together. No table is trusted because an earlier run found
// it good: badger answers "no such key" for a block it cannot read, and takes it
// for the end of the table when it compacts.
//
// While the store is open, tables come and go: live passes over those that went.
func checkTables(ctx context.Context, dir, list string, form []byte, live bool) (tableCheck, error) {
	all := tableCheck{form: sighting{key: form}}
	tables, err := tablesOf(dir, list)
	if err != nil {
		return all, err
	}
	ids := make([]uint64, 0, len(tables))
	for id := range tables {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		next int
		errs []error
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
				c, err := tableCheck{form: sighting{key: form}}, ctx.Err()
				if err == nil {
					buffer, err = c.read(dir, id, tables[id].Compression, buffer)
				}
				mu.Lock()
				switch {
				case live && missing(err):
				case missing(err):
					errs = append(errs, fmt.Errorf("file %s is missing: %w", table.IDToFilename(id), kv.ErrCorrupt))
				case err != nil:
					errs = append(errs, fmt.Errorf("file %s: %w", table.IDToFilename(id), err))
				default:
					all.add(c)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(errs) > 0 {
		return all, errs[0]
	}
	return all, nil
}

// maxReaders bounds how many tables are in memory at once.
const maxReaders = 4

// tableCheck is what good tables say.
type tableCheck struct {
	upTo    uint64   // their newest commit
	mark    mark     // the newest one whose chain they have
	adopted uint64   // the commit that took a folder over, see adopt
	form    sighting // of Options.Form
}

func (c *tableCheck) add(o tableCheck) {
	c.upTo, c.adopted = max(c.upTo, o.upTo), max(c.adopted, o.adopted)
	if o.mark.seq > c.mark.seq {
		c.mark = o.mark
	}
	c.form.see(o.form.seq, o.form.value)
}

// sighting is the newest value of one key that was seen.
type sighting struct {
	key   []byte
	seq   uint64 // of the commit that wrote it; 0: none was seen
	value []byte // nil: it was deleted
}

func (s *sighting) see(seq uint64, value []byte) {
	if seq > s.seq {
		s.seq, s.value = seq, value
	}
}

// read checks one table. It reads the file and does not map it, so a bad disk
// is an error and no signal. badger answers some damage with a panic of its own
// code; here that is one more way of saying so. buffer is used again.
func (c *tableCheck) read(dir string, id uint64, compression options.CompressionType, buffer []byte) (_ []byte, err error) {
	data, err := readAll(table.NewFilename(id, dir), buffer)
	if err != nil {
		return buffer, err
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
		return data, fmt.Errorf("%w: %s", kv.ErrCorrupt, firstLine(err))
	}
	c.upTo = t.MaxVersion()
	if seq, v, ok := newestIn(t, []byte(chainKey)); ok {
		c.mark.seq = seq
		if copy(c.mark.chain[:], v) != len(c.mark.chain) {
			return data, fmt.Errorf("%w: the chain of commit %d is no hash", kv.ErrCorrupt, seq)
		}
	}
	if seq, _, ok := newestIn(t, []byte(adoptedKey)); ok {
		c.adopted = seq
	}
	if len(c.form.key) > 0 {
		if seq, v, ok := newestIn(t, c.form.key); ok {
			c.form.see(seq, v)
		}
	}
	return data, nil
}

// newestIn gives the newest value of a key in a table; nil: it was deleted.
func newestIn(t *table.Table, key []byte) (seq uint64, value []byte, ok bool) {
	it := t.NewIterator(table.NOCACHE)
	defer it.Close()
	it.Seek(y.KeyWithTs(key, math.MaxUint64))
	if !it.Valid() || !bytes.Equal(y.ParseKey(it.Key()), key) {
		return 0, nil, false
	}
	v := it.ValueCopy()
	if v.Meta&metaDelete != 0 {
		return y.ParseTs(it.Key()), nil, true
	}
	return y.ParseTs(it.Key()), append([]byte{}, v.Value...), true
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
