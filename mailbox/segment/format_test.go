package segment

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newer makes the first header of a segment one of a newer release.
func newer(t *testing.T, file string, from uint64) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h, ok := parseHeader(b[:block])
	if !ok {
		t.Fatal("no header of ours")
	}
	h.from = from
	h.encode(b[:block])
	name := "pecgate-2" + strings.TrimPrefix(groupName(from), group)
	copy(b[offGname:offMajor], append([]byte(name), 0))
	copy(b[offSum:offType], "        ")
	var sum uint64
	for _, c := range b[:block] {
		sum += uint64(c)
	}
	octal(b[offSum:offType-1], sum)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestK12_NewerSegments: a folder in which a newer release has written is
// refused, and every byte stays.
func TestK12_NewerSegments(t *testing.T) {
	for _, c := range []struct {
		what  string
		small int // size of the newest message
		from  uint64
	}{{"small", 100, 0}, {"a copy", 100, 2_000_001}, {"large", 3 << 20, 0}} {
		dir := t.TempDir()
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{200, c.small} {
			w, err := s.Begin(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Commit(context.Background(), []byte("{}")); err != nil {
				t.Fatal(err)
			}
			w.Release()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := CheckFormat(Options{Dir: dir}); err != nil {
			t.Errorf("%s: as this release writes it: %v", c.what, err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.tar"))
		if err != nil || len(files) == 0 {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "0000000000000002.tar")
		if c.small > 1<<20 {
			file = filepath.Join(dir, "0000000000000001.tar")
		}
		newer(t, file, c.from)
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"check": CheckFormat(Options{Dir: dir}), "open": openErr(dir)} {
			if !errors.Is(err, ErrFormat) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), filepath.Base(file)) {
				t.Errorf("%s: %s: %v", c.what, what, err)
			}
		}
		if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the segment was changed: %v", c.what, err)
		}
	}
	if err := CheckFormat(Options{Dir: filepath.Join(t.TempDir(), "none")}); err != nil {
		t.Errorf("no folder: %v", err)
	}
}

func openErr(dir string) error {
	s, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	return s.Close()
}
