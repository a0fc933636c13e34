package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"hash/crc32"
	"testing"
	"time"
)

// TestJ6_ZipTimes: the times of a zip are read by another reader as they were written,
// behind 2038 too; what no zip can say is at its end.
func TestJ6_ZipTimes(t *testing.T) {
	for at, want := range map[time.Time]time.Time{
		time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC):    {},
		time.Date(2026, 12, 31, 23, 59, 58, 0, time.UTC): {},
		time.Date(2106, 2, 7, 6, 28, 16, 0, time.UTC):    {},
		time.Date(9999, 1, 2, 3, 4, 6, 0, time.UTC):      time.Date(2107, 1, 2, 3, 4, 6, 0, time.UTC),
		time.Date(1, 1, 2, 3, 4, 6, 0, time.UTC):         time.Date(1980, 1, 2, 3, 4, 6, 0, time.UTC),
	} {
		var b bytes.Buffer
		z := &zipWriter{w: &b, at: at}
		if err := z.file(context.Background(), "a/b.txt", 1, crc32.ChecksumIEEE([]byte("x")), bytes.NewReader([]byte("x"))); err != nil {
			t.Fatal(err)
		}
		if err := z.close(); err != nil {
			t.Fatal(err)
		}
		r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if want.IsZero() {
			want = at
		}
		if got := r.File[0].Modified; !got.Equal(want) {
			t.Errorf("%s: %s", at, got)
		}
		members, start, err := readMembers(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil || sameForm(bytes.NewReader(b.Bytes()), int64(b.Len()), members, start, at) != nil {
			t.Errorf("%s: not read as it was written: %v", at, err)
		}
	}
}

// TestNames: only the program's own names get in.
func TestNames(t *testing.T) {
	z := &zipWriter{w: new(bytes.Buffer)}
	for _, name := range []string{"", "../x", "/x", "a/../b", "a//b", "a b", "a;b", "$(x)", "a/b/c", "x\n", ".x", "-x"} {
		if err := z.file(context.Background(), name, 0, 0, bytes.NewReader(nil)); err == nil {
			t.Errorf("%q got in", name)
		}
	}
	for _, name := range []string{"README.txt", "messages/001-delivery-error.eml"} {
		if err := z.file(context.Background(), name, 0, 0, bytes.NewReader(nil)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := z.file(context.Background(), "README.txt", 0, 0, bytes.NewReader(nil)); err == nil {
		t.Error("a name twice")
	}
}

// FuzzCheck: whatever a stranger calls a bundle ends in an answer.
func FuzzCheck(f *testing.F) {
	var b bytes.Buffer
	z := &zipWriter{w: &b, at: time.Unix(1800000000, 0)}
	for _, name := range []string{"README.txt", "manifest.json", "SHA256SUMS", "SHA256SUMS.sig"} {
		text := []byte(`{"format":"pecgate evidence","version":1}`)
		if err := z.file(context.Background(), name, int64(len(text)), crc32.ChecksumIEEE(text), bytes.NewReader(text)); err != nil {
			f.Fatal(err)
		}
	}
	if err := z.close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("PK\x05\x06"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		Is(r, r.Size())
		if c, err := Check(context.Background(), r, r.Size(), CheckOptions{}); err != nil || c.OK() {
			t.Errorf("%v, %+v", err, c)
		}
	})
}
