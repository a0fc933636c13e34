package badger

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4" // its settings
)

// small makes tables small, so that few records fill many.
func small(o badger.Options) badger.Options {
	return o.WithMemTableSize(1 << 20).WithValueThreshold(100 << 10).WithBaseTableSize(128 << 10).WithBaseLevelSize(512 << 10).WithNumLevelZeroTables(2)
}

// copyFolder copies the files of a folder as a kill would leave them. The count
// is copied first: whoever writes meanwhile is then ahead of it.
func copyFolder(t testing.TB, from, to string) {
	t.Helper()
	copyFile(t, filepath.Join(from, journalName), filepath.Join(to, journalName))
	names, err := filepath.Glob(filepath.Join(from, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if filepath.Base(name) != journalName {
			copyFile(t, name, filepath.Join(to, filepath.Base(name)))
		}
	}
}

// copyFile copies one file, if it is there, with its holes.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buf, zeros := make([]byte, 256<<10), make([]byte, 256<<10)
	size := int64(0)
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				t.Fatal(err)
			}
		}
		size += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Truncate(size); err != nil {
		t.Fatal(err)
	}
}
