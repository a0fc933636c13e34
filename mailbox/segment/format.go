package segment

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Format is the form of the segments. The group of their entries tells it:
// "pecgate" is 1. A release with another form N writes "pecgate-N", and it never
// goes on in a segment of an older form; so the newest segment of each kind tells
// the form of the folder, and what an older release would cut or pass over stays.
const Format = 1

// ErrFormat: written by a newer release, in a form this one does not know.
var ErrFormat = errors.New("segment: written by a newer release")

// CheckFormat answers ErrFormat when a newer release has written in the folder.
// It reads two headers and changes nothing. A folder that is not there is good.
func CheckFormat(o Options) error {
	s := &Store{opts: o, fs: o.FS}
	if s.fs == nil {
		s.fs = Disk()
	}
	numbers, _, err := s.list()
	if missing(err) {
		return nil
	}
	if err == nil {
		err = s.checkFormat(numbers)
	}
	if err != nil {
		return fmt.Errorf("segment: look at the format: %w", err)
	}
	return nil
}

// checkFormat looks at the newest segment of each kind.
func (s *Store) checkFormat(numbers []uint64) error {
	var newest [2]uint64 // small, large
	for _, n := range numbers {
		newest[n%2] = max(newest[n%2], n)
	}
	for _, n := range newest {
		if n == 0 {
			continue
		}
		f, err := s.fs.Open(s.path(n))
		if err != nil {
			return fmt.Errorf("open segment %d: %w", n, err)
		}
		format, err := firstFormat(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("read segment %d: %w", n, err)
		}
		if format > Format {
			return fmt.Errorf("%w: file %s has form %d, known is %d", ErrFormat, filepath.Base(s.path(n)), format, Format)
		}
	}
	return nil
}

// firstFormat is the form that the first header of a segment tells; 0 when it
// is damaged, or none of ours, or there is none.
func firstFormat(f File) (uint64, error) {
	size, err := f.Size()
	if err != nil || size < block {
		return 0, err
	}
	var b [block]byte
	if err := readFull(f, b[:], 0); err != nil {
		return 0, err
	}
	sum, ok := parseOctal(b[offSum : offType-1])
	copy(b[offSum:offType], "        ")
	for _, c := range b {
		sum -= uint64(c)
	}
	name, ours := strings.CutPrefix(cString(b[offGname:offMajor]), group)
	if !ok || sum != 0 || !ours {
		return 0, nil
	}
	digits, other := strings.CutPrefix(name, "-")
	if !other {
		return Format, nil
	}
	digits, _, _ = strings.Cut(digits, ".") // as of a copy
	format, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, nil // not ours
	}
	return format, nil
}
