package bundle

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"
	"time"
)

// ErrTooLarge: the bundle would pass what a zip without ZIP64 holds.
var ErrTooLarge = errors.New("the bundle would be larger than 4 GiB or have more than 65,000 files: make one for fewer messages")

const (
	maxBundle  = 1<<32 - 1<<20 // bytes
	maxMembers = 65_000
	maxName    = 100 // bytes of a member's name

	localSize   = 30
	centralSize = 46
	endSize     = 22
)

// names are those that a member may have. They are the program's: none is a
// stranger's word, leads out of a folder, or means anything to a shell.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)?(\.[a-z0-9]+)?$`)

// member is one file of the zip.
type member struct {
	name string
	size int64
	crc  uint32
	off  int64 // of its bytes; that of its header is before
}

// zipTime is a time as a zip has it: two seconds fine, without a zone. It is that of
// the manifest, in UTC.
func zipTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	year := min(max(t.Year()-1980, 0), 127)
	return uint16(year<<9 | int(t.Month())<<5 | t.Day()), uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}

// local is the header before the bytes of a member (APPNOTE 4.3.7).
func (m *member) local(at time.Time) []byte {
	date, clock := zipTime(at)
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, localSize+len(m.name)), 0x04034b50)
	for _, v := range []uint16{20, 0, 0, clock, date} { // version needed, flags, stored
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	for _, v := range []uint32{m.crc, uint32(m.size), uint32(m.size)} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.name)))
	b = binary.LittleEndian.AppendUint16(b, 0)
	return append(b, m.name...)
}

// central is its entry in the directory at the end (APPNOTE 4.3.12).
func (m *member) central(at time.Time) []byte {
	date, clock := zipTime(at)
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, centralSize+len(m.name)), 0x02014b50)
	for _, v := range []uint16{3<<8 | 20, 20, 0, 0, clock, date} { // made by Unix
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	for _, v := range []uint32{m.crc, uint32(m.size), uint32(m.size)} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for _, v := range []uint16{uint16(len(m.name)), 0, 0, 0, 0} { // extra, comment, disk, attributes
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, 0o100644<<16)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.off-localSize-int64(len(m.name))))
	return append(b, m.name...)
}

// ending is the directory and the record that closes the file (APPNOTE 4.3.16).
func ending(members []*member, at time.Time, start int64) []byte {
	var b []byte
	for _, m := range members {
		b = append(b, m.central(at)...)
	}
	size := len(b)
	b = binary.LittleEndian.AppendUint32(b, 0x06054b50)
	n := uint16(len(members))
	for _, v := range []uint16{0, 0, n, n} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = binary.LittleEndian.AppendUint32(b, uint32(start))
	return binary.LittleEndian.AppendUint16(b, 0)
}

// zipWriter writes the one form.
type zipWriter struct {
	w       io.Writer
	at      time.Time
	off     int64
	members []*member
	there   map[string]bool
}

// file writes a member whose size and CRC-32 are known. That its bytes are those is
// the caller's to check, who has their hash.
func (z *zipWriter) file(ctx context.Context, name string, size int64, crc uint32, r io.Reader) error {
	if len(name) > maxName || !names.MatchString(name) || z.there[name] {
		return fmt.Errorf("a member cannot be named %q", name)
	}
	if z.off+size > maxBundle || len(z.members) >= maxMembers {
		return ErrTooLarge
	}
	if z.there == nil {
		z.there = map[string]bool{}
	}
	z.there[name] = true
	m := &member{name: name, size: size, crc: crc}
	head := m.local(z.at)
	m.off = z.off + int64(len(head))
	if _, err := z.w.Write(head); err != nil {
		return err
	}
	sum := crc32.NewIEEE()
	n, err := io.Copy(io.MultiWriter(z.w, sum), &untilDone{ctx, io.LimitReader(r, size)})
	if err == nil && (n != size || sum.Sum32() != crc) {
		err = fmt.Errorf("%s changed while it was written", name)
	}
	z.off = m.off + n
	z.members = append(z.members, m)
	return err
}

func (z *zipWriter) close() error {
	_, err := z.w.Write(ending(z.members, z.at, z.off))
	return err
}

// readMembers reads the headers of a zip in the one form, one after the other from
// its begin, without a look at the directory: sameForm compares that.
func readMembers(r io.ReaderAt, size int64) (members []*member, start int64, err error) {
	if size > maxBundle+1<<24 {
		return nil, 0, errors.New("it is larger than a bundle can be")
	}
	for off := int64(0); ; {
		var head [localSize + maxName]byte
		n, err := r.ReadAt(head[:min(int64(len(head)), size-off)], off)
		if err != nil && (!errors.Is(err, io.EOF) || n < localSize && n < endSize) {
			return nil, 0, fmt.Errorf("read: %w", err)
		}
		if n >= 4 && binary.LittleEndian.Uint32(head[:]) != 0x04034b50 {
			return members, off, nil
		}
		length := int(binary.LittleEndian.Uint16(head[26:]))
		if n < localSize || length > maxName || n < localSize+length {
			return nil, 0, fmt.Errorf("the header at byte %d is not that of a bundle's file", off)
		}
		m := &member{
			name: string(head[localSize : localSize+length]), crc: binary.LittleEndian.Uint32(head[14:]),
			size: int64(binary.LittleEndian.Uint32(head[22:])), off: off + localSize + int64(length),
		}
		if !names.MatchString(m.name) || m.off+m.size > size || len(members) >= maxMembers {
			return nil, 0, fmt.Errorf("the header at byte %d is not that of a bundle's file", off)
		}
		members, off = append(members, m), m.off+m.size
	}
}

// sameForm compares every byte that belongs to no member with those of the zip made
// anew.
func sameForm(r io.ReaderAt, size int64, members []*member, start int64, at time.Time) error {
	for _, m := range members {
		want := m.local(at)
		if err := sameBytes(r, want, m.off-int64(len(want))); err != nil {
			return fmt.Errorf("the header of %s: %w", m.name, err)
		}
	}
	end := ending(members, at, start)
	if start+int64(len(end)) != size {
		return fmt.Errorf("it has %d bytes, and what it holds makes %d", size, start+int64(len(end)))
	}
	if err := sameBytes(r, end, start); err != nil {
		return fmt.Errorf("the directory at its end: %w", err)
	}
	return nil
}

func sameBytes(r io.ReaderAt, want []byte, off int64) error {
	got := make([]byte, len(want))
	if n, err := r.ReadAt(got, off); n < len(got) {
		return fmt.Errorf("read: %w", err)
	}
	if i := differs(got, want); i >= 0 {
		return fmt.Errorf("byte %d is not what it must be", off+int64(i))
	}
	return nil
}

func differs(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
