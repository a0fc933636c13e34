package archive

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// letter is a small message with a body of its own.
func letter(n int, body string) string {
	return fmt.Sprintf("Return-Path: <a@alfa.example>\nFrom: a@alfa.example\nSubject: %d\n\n%s\n", n, body)
}

// fill writes files into a new folder; a name that ends in "/" is a folder.
func fill(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			check(t, os.MkdirAll(p, 0o700))
			continue
		}
		check(t, os.MkdirAll(filepath.Dir(p), 0o700))
		check(t, os.WriteFile(p, []byte(text), 0o600))
	}
	return dir
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// entry is a file for zipped, which stores the smallest and packs the others.
type entry struct{ name, text string }

func zipped(t testing.TB, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	packed := map[string][]byte{} // the same text is packed once
	for _, e := range entries {
		h := zip.FileHeader{Name: e.name, UncompressedSize64: uint64(len(e.text)), CRC32: crc32.ChecksumIEEE([]byte(e.text))}
		text := []byte(e.text)
		if len(text) > 50 {
			h.Method = zip.Deflate
			if text = packed[e.text]; text == nil {
				text = deflated(t, e.text)
				packed[e.text] = text
			}
		}
		h.CompressedSize64 = uint64(len(text))
		w, err := zw.CreateRaw(&h)
		check(t, err)
		_, err = w.Write(text)
		check(t, err)
	}
	check(t, zw.Close())
	return b.String()
}

func deflated(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	check(t, err)
	_, err = io.WriteString(w, text)
	check(t, err)
	check(t, w.Close())
	return b.Bytes()
}

// found is what Walk gave, closed already.
type found struct {
	name, text string
	quoted     int
	err        string
}

// walkAll walks and reads everything. Names are shortened by what path begins with.
func walkAll(t testing.TB, path string, o Options) (all []found, err error) {
	t.Helper()
	err = Walk(context.Background(), path, o, func(it Item) error {
		f := found{name: strings.TrimPrefix(strings.TrimPrefix(it.Name, path), "/"), quoted: it.Quoted}
		if it.Err != nil {
			f.err = it.Err.Error()
		} else {
			f.text = readAll(t, it, it.Size)
		}
		check(t, it.Close())
		check(t, it.Close()) // may be called again
		all = append(all, f)
		return nil
	})
	return all, err
}

func readAll(t testing.TB, r io.ReaderAt, size int64) string {
	t.Helper()
	b := make([]byte, size)
	if n, err := r.ReadAt(b, 0); int64(n) != size {
		t.Fatalf("read %d of %d: %v", n, size, err)
	}
	return string(b)
}

// same compares what was found; the texts of want may be left out with "*".
func same(t testing.TB, got, want []found) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %+v", want[i])
		case i >= len(want):
			t.Errorf("too many: %+v", got[i])
		case want[i].text == "*" && got[i].err == "":
			want[i].text = got[i].text
			fallthrough
		default:
			if got[i] != want[i] {
				t.Errorf("got  %+v\nwant %+v", got[i], want[i])
			}
		}
	}
}
