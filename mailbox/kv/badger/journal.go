package badger

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/planted"
)

// journalName is the file that counts the commits of the folder.
const journalName = "JOURNAL"

// Format is the form of the folder, which the journal says. A folder of form 0
// has none: see adopt.
const Format = 1

// The journal file has two slots, far enough apart that a torn write hits only
// one. They are written in turn; the one with the higher number counts. A slot
// is
//
//	"pecgkv", format (2 bytes), store (16), number of commits (8),
//	their hash (32), CRC-32C of all before it (4)
const (
	slotMagic     = "pecgkv"
	journalFormat = Format
	slotSize      = 68
	slotStride    = 4096
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once by the library

// journal is the open file.
type journal struct {
	f    *os.File
	id   storeID
	mark mark // counted last
	slot int  // that holds it
	err  error
}

// newJournal begins the count of a new folder, before badger makes its first
// file.
func newJournal(dir string) (*journal, error) {
	id := newID()
	return makeJournal(dir, id, genesis(id))
}

func newID() (id storeID) {
	rand.Read(id[:]) // never fails
	return id
}

// makeJournal makes the file, whole or not at all.
func makeJournal(dir string, id storeID, at mark) (*journal, error) {
	j := &journal{id: id, mark: at}
	b := make([]byte, 2*slotStride)
	copy(b, j.encode(j.mark))
	copy(b[slotStride:], j.encode(j.mark))
	name := filepath.Join(dir, journalName)
	f, err := os.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	j.f = f
	return j, nil
}

// openJournal reads the count; fs.ErrNotExist when there is no file.
func openJournal(dir string) (*journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, journalName), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	j := &journal{f: f}
	if err := j.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("file %s: %w", journalName, err), f.Close())
	}
	return j, nil
}

func (j *journal) read() error {
	good := 0
	for slot := range 2 {
		b := make([]byte, slotSize)
		if _, err := j.f.ReadAt(b, int64(slot)*slotStride); errors.Is(err, io.EOF) {
			continue // cut short: as a torn one
		} else if err != nil {
			return err
		}
		id, m, err := decodeSlot(b)
		switch {
		case errors.Is(err, kv.ErrFormat):
			return err
		case err != nil:
			continue
		case good > 0 && id != j.id:
			return fmt.Errorf("%w: it counts two stores", kv.ErrCorrupt)
		}
		if good == 0 || m.seq > j.mark.seq {
			j.id, j.mark, j.slot = id, m, slot
		}
		good++
	}
	if good == 0 {
		return fmt.Errorf("%w: neither of its counts can be read", kv.ErrCorrupt)
	}
	return nil
}

func (j *journal) encode(m mark) []byte {
	b := append(make([]byte, 0, slotSize), slotMagic...)
	b = binary.BigEndian.AppendUint16(b, journalFormat)
	b = append(b, j.id[:]...)
	b = binary.BigEndian.AppendUint64(b, m.seq)
	b = append(b, m.chain[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

func decodeSlot(b []byte) (id storeID, m mark, err error) {
	body := b[:slotSize-4]
	if !bytes.HasPrefix(b, []byte(slotMagic)) || crc32.Checksum(body, castagnoli()) != binary.BigEndian.Uint32(b[slotSize-4:]) {
		return id, m, kv.ErrCorrupt
	}
	if format := binary.BigEndian.Uint16(b[6:]); format != journalFormat {
		return id, m, fmt.Errorf("%w: form %d, known is %d", kv.ErrFormat, format, journalFormat)
	}
	copy(id[:], b[8:])
	m.seq = binary.BigEndian.Uint64(b[24:])
	copy(m.chain[:], b[32:])
	return id, m, nil
}

// write counts up to m, synced. After an error nothing is written any more: it
// is not known what the file holds.
func (j *journal) write(m mark) error {
	if j.err != nil {
		return j.err
	}
	slot := 1 - j.slot
	_, err := j.f.WriteAt(j.encode(m), int64(slot)*slotStride)
	if err == nil && !planted.Is(planted.NoSync) {
		err = datasync(j.f)
	}
	if err != nil {
		j.err = fmt.Errorf("count %d commits: %w", m.seq, err)
		return j.err
	}
	j.mark, j.slot = m, slot
	return nil
}

func (j *journal) close() error { return j.f.Close() }

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	if planted.Is(planted.NoSync) {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// missing says whether an error is that a file is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
