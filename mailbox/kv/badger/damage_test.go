package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox/kv"
)

const damageRecords = 600

func damageValue(n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	b := make([]byte, 200)
	r.Read(b)
	return b
}

// closedStore makes a store whose records are in a table, and gives its files.
func closedStore(t *testing.T) (dir string, files map[string][]byte) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir)
	err := s.Update(context.Background(), func(tx kv.Txn) error {
		for n := range damageRecords {
			if err := tx.Put(fmt.Appendf(nil, "k%04d", n), damageValue(n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	files = map[string][]byte{}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range names {
		if files[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return dir, files
}

// outcome opens a damaged store: it is refused with ErrCorrupt, or has every
// record as it was.
func outcome(dir string) (refused bool, err error) {
	s, err := Open(Options{Dir: dir})
	if errors.Is(err, kv.ErrCorrupt) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	n := 0
	err = s.View(context.Background(), func(r kv.Reader) error {
		return r.Scan(nil, nil, func(k, v []byte) (bool, error) {
			if string(k) != fmt.Sprintf("k%04d", n) || !bytes.Equal(v, damageValue(n)) {
				return false, errors.New("a record differs")
			}
			n++
			return true, nil
		})
	})
	if err == nil && n != damageRecords {
		err = fmt.Errorf("%d of %d records in silence", n, damageRecords)
	}
	return false, errors.Join(err, s.Close())
}

// TestK5_DamagedTable changes single bytes of the table and of the list of
// tables, and TestK6 cuts them: never are there fewer records without a word.
func TestK5_DamagedTable(t *testing.T) {
	dir, files := closedStore(t)
	refused := 0
	for name, whole := range files {
		if !strings.HasSuffix(name, ".sst") && !strings.HasSuffix(name, "MANIFEST") {
			continue
		}
		step := max(1, len(whole)/60)
		for at := 0; at < len(whole); at += step {
			b := bytes.Clone(whole)
			b[at] ^= 0x41
			restore(t, dir, files)
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			no, err := outcome(dir)
			if err != nil {
				t.Errorf("%s byte %d: %v", filepath.Base(name), at, err)
			}
			if no {
				refused++
			}
		}
	}
	if refused < 40 {
		t.Errorf("only %d changes were noticed", refused)
	}
}

func TestK6_CutTable(t *testing.T) {
	dir, files := closedStore(t)
	for name, whole := range files {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		for at := 0; at < len(whole); at += max(1, len(whole)/40) {
			restore(t, dir, files)
			if err := os.WriteFile(name, whole[:at], 0o600); err != nil {
				t.Fatal(err)
			}
			if no, err := outcome(dir); err != nil || !no {
				t.Errorf("%s cut to %d bytes: refused %t, %v", filepath.Base(name), at, no, err)
			}
		}
	}
}

// TestK7_MissingFile: the answer names what is missing.
func TestK7_MissingFile(t *testing.T) {
	dir, files := closedStore(t)
	for name := range files {
		base := filepath.Base(name)
		if base != "MANIFEST" && filepath.Ext(base) != ".sst" {
			continue
		}
		restore(t, dir, files)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		_, err := Open(Options{Dir: dir})
		if !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), base) {
			t.Errorf("without %s: %v", base, err)
		}
	}
}

// restore puts all files back as they were.
func restore(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range files {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
