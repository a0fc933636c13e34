package kv

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// The form of a backup: parts one after the other, the first one full, each
// later one incremental to the one before it. A part is
//
//	"pecgate records 1\n", the store (16 bytes), since and next (8 bytes each),
//	entries in ascending order of their keys,
//	0, the number of entries (8 bytes), SHA-256 of all before it in this part.
//
// An entry is its kind, how many bytes of its key are those of the key before
// it, how many follow, these, and for a record how long the value is, and the
// value. Numbers of fixed length are big-endian, the others as in
// encoding/binary. An incremental part names the records that stayed, since
// what was deleted need not be known any more to who makes it.
const backupMagic = "pecgate records 1\n"

const (
	kindEnd    = 0
	kindRecord = 1
	kindKept   = 2
)

// BackupHeader begins a part.
type BackupHeader struct {
	Store [16]byte // which store wrote it
	Since uint64   // position after which records are in the part; 0: all are
	Next  uint64   // position of the state it holds
}

// BackupEntry is one key of the state a part holds.
type BackupEntry struct {
	Key   []byte
	Value []byte
	Kept  bool // as the parts before have it; no value
}

// BackupWriter writes one part.
type BackupWriter struct {
	out   *bufio.Writer
	sum   hash.Hash
	last  []byte
	count uint64
	head  []byte // of an entry, built here
}

// NewBackupWriter begins a part.
func NewBackupWriter(w io.Writer, h BackupHeader) (*BackupWriter, error) {
	b := &BackupWriter{out: bufio.NewWriterSize(w, 64<<10), sum: sha256.New()}
	head := append([]byte(backupMagic), h.Store[:]...)
	head = binary.BigEndian.AppendUint64(head, h.Since)
	head = binary.BigEndian.AppendUint64(head, h.Next)
	return b, b.write(head)
}

func (b *BackupWriter) write(p []byte) error {
	b.sum.Write(p)
	if _, err := b.out.Write(p); err != nil {
		return fmt.Errorf("kv: write backup: %w", err)
	}
	return nil
}

// Put adds a record. Keys must ascend.
func (b *BackupWriter) Put(key, value []byte) error {
	b.begin(kindRecord, key)
	b.head = binary.AppendUvarint(b.head, uint64(len(value)))
	return errors.Join(b.write(b.head), b.write(value))
}

// Keep names a record that stayed as it was.
func (b *BackupWriter) Keep(key []byte) error {
	b.begin(kindKept, key)
	return b.write(b.head)
}

func (b *BackupWriter) begin(kind byte, key []byte) {
	same := 0
	for same < min(len(key), len(b.last)) && key[same] == b.last[same] {
		same++
	}
	b.head = append(b.head[:0], kind)
	b.head = binary.AppendUvarint(b.head, uint64(same))
	b.head = binary.AppendUvarint(b.head, uint64(len(key)-same))
	b.head = append(b.head, key[same:]...)
	b.last = append(b.last[:0], key...)
	b.count++
}

// Close ends the part; without it nobody believes it. It does not close the
// writer below.
func (b *BackupWriter) Close() error {
	err := b.write(binary.BigEndian.AppendUint64([]byte{kindEnd}, b.count))
	if err == nil {
		_, err = b.out.Write(b.sum.Sum(nil))
	}
	if err == nil {
		err = b.out.Flush()
	}
	if err != nil {
		return fmt.Errorf("kv: end backup: %w", err)
	}
	return nil
}

// BackupReader reads the parts of a backup and checks them: Part, Next until
// io.EOF, and so on until Part answers io.EOF.
type BackupReader struct {
	in    *bufio.Reader
	sum   hash.Hash
	part  BackupHeader // as read last
	parts int
	last  []byte
	value []byte
	count uint64
	open  bool

	failed error // to read
}

// NewBackupReader reads from r, in large pieces.
func NewBackupReader(r io.Reader) *BackupReader {
	return &BackupReader{in: bufio.NewReaderSize(r, 64<<10)}
}

// Part begins the next part. It answers io.EOF after the last one, ErrCorrupt
// for one that does not follow the one before it, and ErrFormat.
func (b *BackupReader) Part() (BackupHeader, error) {
	if b.open {
		return BackupHeader{}, errors.New("kv: the part before was not read to its end")
	}
	if _, err := b.in.Peek(1); err == io.EOF {
		if b.parts == 0 {
			return BackupHeader{}, fmt.Errorf("%w: the backup is empty", ErrCorrupt)
		}
		return BackupHeader{}, io.EOF
	}
	b.sum, b.last, b.count = sha256.New(), b.last[:0], 0
	head := make([]byte, len(backupMagic)+16+8+8)
	if err := b.full(head); err != nil {
		return BackupHeader{}, err
	}
	if magic := head[:len(backupMagic)]; string(magic) != backupMagic {
		if bytes.HasPrefix(magic, []byte("pecgate records ")) {
			return BackupHeader{}, fmt.Errorf("backup: %w", ErrFormat)
		}
		return BackupHeader{}, fmt.Errorf("%w: this is no backup of records", ErrCorrupt)
	}
	var h BackupHeader
	rest := head[len(backupMagic):]
	copy(h.Store[:], rest)
	h.Since, h.Next = binary.BigEndian.Uint64(rest[16:]), binary.BigEndian.Uint64(rest[24:])
	switch {
	case b.parts == 0 && h.Since != 0:
		return h, fmt.Errorf("%w: the backup begins with an incremental part", ErrCorrupt)
	case b.parts > 0 && (h.Since == 0 || h.Store != b.part.Store || h.Since != b.part.Next):
		return h, fmt.Errorf("%w: part %d of the backup does not follow the one before it", ErrCorrupt, b.parts+1)
	}
	b.part, b.open = h, true
	b.parts++
	return h, nil
}

// full reads p whole. A backup that ends inside is corrupt.
func (b *BackupReader) full(p []byte) error {
	_, err := io.ReadFull(b.in, p)
	b.sum.Write(p)
	return b.short(err)
}

func (b *BackupReader) short(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the backup ends too early", ErrCorrupt)
	}
	return fmt.Errorf("kv: read backup: %w", err)
}

// summed reads single bytes, as binary.ReadUvarint wants them.
type summed struct{ *BackupReader }

func (s summed) ReadByte() (byte, error) {
	c, err := s.in.ReadByte()
	switch {
	case err == nil:
		s.sum.Write([]byte{c})
	case !errors.Is(err, io.EOF):
		s.failed = err
	}
	return c, err
}

// length reads a number that must not be above limit.
func (b *BackupReader) length(limit int) (int, error) {
	n, err := binary.ReadUvarint(summed{b})
	switch {
	case b.failed != nil:
		return 0, b.short(b.failed)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return 0, b.short(err)
	case err != nil, n > uint64(limit):
		return 0, fmt.Errorf("%w: entry %d of the backup is too long", ErrCorrupt, b.count+1)
	}
	return int(n), nil
}

// Next gives the next entry, valid until the next call; io.EOF at the end of
// the part, when it was whole.
func (b *BackupReader) Next() (BackupEntry, error) {
	if !b.open {
		return BackupEntry{}, io.EOF
	}
	kind, err := summed{b}.ReadByte()
	if err != nil {
		return BackupEntry{}, b.short(err)
	}
	switch kind {
	case kindEnd:
		return BackupEntry{}, b.end()
	case kindRecord, kindKept:
	default:
		return BackupEntry{}, fmt.Errorf("%w: entry %d of the backup is of kind %d", ErrCorrupt, b.count+1, kind)
	}
	if kind == kindKept && b.part.Since == 0 {
		return BackupEntry{}, fmt.Errorf("%w: a full backup refers to an earlier one", ErrCorrupt)
	}
	same, err := b.length(len(b.last))
	if err != nil {
		return BackupEntry{}, err
	}
	more, err := b.length(MaxKey - same)
	if err != nil {
		return BackupEntry{}, err
	}
	rest := make([]byte, more)
	if err := b.full(rest); err != nil {
		return BackupEntry{}, err
	}
	// All that is left of the key before is its beginning: the rest must ascend.
	if more == 0 || bytes.Compare(rest, b.last[same:]) <= 0 {
		return BackupEntry{}, fmt.Errorf("%w: entry %d of the backup is out of order", ErrCorrupt, b.count+1)
	}
	b.last = append(b.last[:same], rest...)
	e := BackupEntry{Key: b.last, Kept: kind == kindKept}
	if kind == kindRecord {
		size, err := b.length(MaxRecord - len(b.last))
		if err != nil {
			return BackupEntry{}, err
		}
		if cap(b.value) < size {
			b.value = make([]byte, size)
		}
		e.Value = b.value[:size]
		if err := b.full(e.Value); err != nil {
			return BackupEntry{}, err
		}
	}
	b.count++
	return e, nil
}

// end reads the end of a part and answers io.EOF when all is well.
func (b *BackupReader) end() error {
	var count [8]byte
	if err := b.full(count[:]); err != nil {
		return err
	}
	want, got := b.sum.Sum(nil), make([]byte, sha256.Size)
	if err := b.full(got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) || binary.BigEndian.Uint64(count[:]) != b.count {
		return fmt.Errorf("%w: part %d of the backup is damaged", ErrCorrupt, b.parts)
	}
	b.open = false
	return io.EOF
}
