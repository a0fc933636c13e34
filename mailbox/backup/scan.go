package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
)

const block = 512 // unit of a tar archive (POSIX ustar interchange format)

// found is a message in a segment, as scan met it.
type found struct {
	segment uint64
	offset  int64 // of its first byte in the segment
	size    int64
	sum     [32]byte // its name
	whole   bool     // its bytes hash to it
}

// scan goes through the bytes of a segment as they are written to it and
// compares each message with its name. It knows no more of a segment than that
// it is a tar archive: what holds here holds for anybody's tar. It never fails;
// what is wrong is told.
type scan struct {
	segment uint64
	at      int64 // in the segment
	message func(found)
	damage  func(offset int64)

	head  [block]byte
	in    int   // bytes of head
	left  int64 // of the content under way
	pad   int64 // behind it
	now   found
	hash  hash.Hash // nil: the content is no message
	ended bool      // zeros: the end of the archive
	lost  bool      // a header could not be read: nothing behind it is looked at
}

func newScan(segment uint64, from int64, message func(found), damage func(offset int64)) *scan {
	return &scan{segment: segment, at: from, message: message, damage: damage}
}

func (s *scan) Write(p []byte) (int, error) {
	for all := p; len(all) > 0; {
		n := s.take(all)
		s.at += int64(n)
		all = all[n:]
	}
	return len(p), nil
}

// take uses some of p, which is not empty, and says how much.
func (s *scan) take(p []byte) int {
	switch {
	case s.lost:
		return len(p)
	case s.left > 0:
		n := int(min(int64(len(p)), s.left))
		if s.hash != nil {
			s.hash.Write(p[:n])
		}
		if s.left -= int64(n); s.left == 0 {
			s.content()
		}
		return n
	case s.pad > 0:
		n := int(min(int64(len(p)), s.pad))
		s.pad -= int64(n)
		return n
	}
	n := copy(s.head[s.in:], p)
	if s.in += n; s.in == block {
		s.in = 0
		s.entry(s.at + int64(n))
	}
	return n
}

// entry reads a header whose content begins at an offset.
func (s *scan) entry(content int64) {
	if s.head == [block]byte{} {
		s.ended = true
		return
	}
	name, _, _ := strings.Cut(string(s.head[:100]), "\x00")
	size, err := strconv.ParseInt(strings.Trim(string(s.head[124:136]), " \x00"), 8, 64)
	if s.ended || err != nil || size < 0 || !s.summed() {
		s.lost = true
		s.damage(content - block)
		return
	}
	s.left, s.pad = size, -size&(block-1)
	s.hash = nil
	if digits, ok := strings.CutSuffix(name, ".eml"); ok {
		s.now = found{segment: s.segment, offset: content, size: size}
		sum, err := hex.DecodeString(digits)
		if err != nil || copy(s.now.sum[:], sum) != len(sum) || len(sum) != len(s.now.sum) {
			s.lost = true
			s.damage(content - block)
			return
		}
		s.hash = sha256.New()
	}
	if size == 0 {
		s.content()
	}
}

// summed tells whether the header's own sum is right.
func (s *scan) summed() bool {
	want, err := strconv.ParseInt(strings.Trim(string(s.head[148:156]), " \x00"), 8, 64)
	var sum int64
	for i, c := range s.head {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	return err == nil && sum == want
}

func (s *scan) content() {
	if s.hash != nil {
		s.now.whole = bytes.Equal(s.hash.Sum(nil), s.now.sum[:])
		s.message(s.now)
		s.hash = nil
	}
}

// end tells when the last entry was cut.
func (s *scan) end() {
	if !s.lost && (s.in > 0 || s.left > 0 || s.pad > 0) {
		s.damage(s.at)
	}
}
