package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"         // name and lines of its list of tables
	"github.com/dgraph-io/badger/v4/options" // names of the ways to compress
	"github.com/dgraph-io/badger/v4/table"   // names of its tables

	"pecgate/mailbox/kv"
)

// badger writes what it does into its list of tables. When the sync of the list
// fails it removes the new tables again, but the list names them; and when it
// could not make all of the new ones, the list says nothing of it (background.go).
// So what the list says last is undone as long as nothing is lost by it.
//
// The list is a header of 8 bytes and sets of changes: length and CRC-32C (4
// bytes each), then a protocol buffer. A set is one of these:
//
//   - A memory table was written out: one table is made on level 0. If it is the
//     newest such set and its file is missing, then its log is still there, or else
//     the chain of commits is not whole: the commits of the newest are above those
//     of all others.
//   - Tables were merged: some are made, some removed. As long as all that are
//     removed have their files, they hold the same.
//   - The list was written anew: many are made, or none.
//
// From the last set back to the first merge that stands. The newest memory table
// is looked for further back: tables may be merged while it is written out.
const (
	listHeader = 8
	setHeader  = 8
)

// closingList is the list from before badger was closed, there until that was
// good (background.close). As long as all tables and logs of then are there it
// counts instead: the chain of commits tells whether they are.
const closingList = badger.ManifestFilename + ".closing"

// changes is one set.
type changes struct {
	from, to int // in the list
	made     map[uint64]badger.TableManifest
	removed  []uint64
	flush    bool // a memory table was written out
}

// carriedOut is badger's list of tables without the sets that were not carried
// out.
type carriedOut struct {
	list   []byte
	tables map[uint64]badger.TableManifest
	gone   []uint64 // tables of those sets that have no file
	whole  bool     // there were none
}

// readList reads the list. Badger itself must have accepted it.
func readList(dir, name string) (c carriedOut, err error) {
	list, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return c, err
	}
	sets, err := parseList(list)
	if err != nil {
		return c, fmt.Errorf("file %s: %w", name, err)
	}
	c = carriedOut{list: slices.Clone(list[:min(listHeader, len(list))]), tables: map[uint64]badger.TableManifest{}, whole: true}
	void, err := voids(dir, sets)
	if err != nil {
		return c, err
	}
	for i, s := range sets {
		if void[i] {
			c.whole = false
			for id := range s.made {
				if there, err := tableThere(dir, id); err == nil && !there {
					c.gone = append(c.gone, id)
				}
			}
			continue
		}
		c.list = append(c.list, list[s.from:s.to]...)
		maps.Copy(c.tables, s.made)
		for _, id := range s.removed {
			delete(c.tables, id)
		}
	}
	return c, nil
}

// voids says which sets are undone.
func voids(dir string, sets []changes) (map[int]bool, error) {
	void := map[int]bool{}
	spent := map[uint64]bool{} // removed by sets that stand
	newest, stands := true, false
	for i := len(sets) - 1; i >= 0 && (newest || !stands); i-- {
		s := sets[i]
		files := s.removed
		if s.flush {
			files = slices.Collect(maps.Keys(s.made))
		}
		missing := 0
		for _, id := range files {
			there, err := tableThere(dir, id)
			if err != nil {
				return nil, err
			}
			if !there && !spent[id] {
				missing++
			}
		}
		switch {
		case s.flush:
			void[i] = newest && missing > 0
			newest = false
		case stands || len(s.removed) == 0 || missing > 0:
			stands = true
		default:
			void[i] = true
		}
		if !void[i] {
			for _, id := range s.removed {
				spent[id] = true
			}
		}
	}
	return void, nil
}

// tableThere says whether a table has its file. badger empties a file before it
// removes it.
func tableThere(dir string, id uint64) (bool, error) {
	st, err := os.Stat(table.NewFilename(id, dir))
	if missing(err) {
		return false, nil
	}
	return err == nil && st.Size() > 0, err
}

// mendList writes what one of the lists says, without what was not carried out,
// as badger's list. The file is the old one or the new one, whatever happens.
func mendList(dir, list string) error {
	c, err := readList(dir, list)
	if missing(err) {
		return nil // a new folder
	}
	if err == nil && (!c.whole || list != badger.ManifestFilename) {
		if err = writeList(dir, badger.ManifestFilename, c.list); err != nil {
			err = fmt.Errorf("mend file %s: %w", badger.ManifestFilename, err)
		}
	}
	if err == nil {
		err = os.Remove(filepath.Join(dir, closingList))
	}
	if missing(err) {
		return nil
	}
	return err
}

// writeList writes a list durably; it is whole or not there.
func writeList(dir, name string, list []byte) error {
	name = filepath.Join(dir, name)
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(list)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// parseList reads the sets of a list. The end of an interrupted write ends it.
func parseList(list []byte) ([]changes, error) {
	var sets []changes
	for at := listHeader; at+setHeader <= len(list); {
		n := int(binary.BigEndian.Uint32(list[at:]))
		from := at
		at += setHeader
		if n > len(list)-at {
			break
		}
		body := list[at : at+n]
		if crc32.Checksum(body, castagnoli()) != binary.BigEndian.Uint32(list[from+4:]) {
			return nil, kv.ErrCorrupt
		}
		at += n
		s, err := parseChanges(body)
		if err != nil {
			return nil, err
		}
		s.from, s.to = from, at
		sets = append(sets, s)
	}
	return sets, nil
}

// Fields of badger's messages: a set has changes; a change has the number of a
// table, what is done with it, its level, and what does not matter here.
const (
	fieldChange    = 1
	fieldTable     = 1
	fieldOperation = 2
	fieldLevel     = 3
	fieldPacked    = 6

	operationRemove = 1
)

func parseChanges(b []byte) (s changes, err error) {
	s.made = map[uint64]badger.TableManifest{}
	err = fields(b, func(field int, _ uint64, change []byte) error {
		if field != fieldChange {
			return nil
		}
		var id, operation uint64
		var t badger.TableManifest
		err := fields(change, func(field int, v uint64, _ []byte) error {
			switch field {
			case fieldTable:
				id = v
			case fieldOperation:
				operation = v
			case fieldLevel:
				t.Level = uint8(v)
			case fieldPacked:
				t.Compression = options.CompressionType(v)
			}
			return nil
		})
		if operation == operationRemove {
			s.removed = append(s.removed, id)
		} else {
			s.made[id] = t
			s.flush = t.Level == 0
		}
		return err
	})
	s.flush = s.flush && len(s.made) == 1 && len(s.removed) == 0
	return s, err
}

// fields calls fn for each field of a protocol buffer: with its number, or with
// its bytes.
func fields(b []byte, fn func(field int, v uint64, text []byte) error) error {
	const number, text = 0, 2
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return kv.ErrCorrupt
		}
		b = b[n:]
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return kv.ErrCorrupt
		}
		b = b[n:]
		var content []byte
		switch tag & 7 {
		case number:
		case text:
			if v > uint64(len(b)) {
				return kv.ErrCorrupt
			}
			content, b = b[:v], b[v:]
		default:
			return kv.ErrCorrupt
		}
		if err := fn(int(tag>>3), v, content); err != nil {
			return err
		}
	}
	return nil
}
