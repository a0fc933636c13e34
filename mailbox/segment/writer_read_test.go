package segment

import (
	"bytes"
	"io"
	"testing"
)

// What was taken reads back before it is committed, wherever it lies by then.
func TestWriterReadsBack(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir(), LargeAt: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	var want []byte
	for n := range 40 {
		piece := bytes.Repeat([]byte{byte('a' + n%26), byte(n)}, 9_973)
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
		want = append(want, piece...)
		for _, off := range []int64{0, 1, int64(len(want)) / 2, int64(len(want)) - 3} {
			got, err := io.ReadAll(io.NewSectionReader(w, off, int64(len(want))))
			if err != nil || !bytes.Equal(got, want[off:]) {
				t.Fatalf("from %d of %d: %d bytes, %v", off, len(want), len(got), err)
			}
		}
	}
	if _, err := w.ReadAt(make([]byte, 1), int64(len(want))); err != io.EOF {
		t.Error(err)
	}
	w.Abort()
	if _, err := w.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("read after its end")
	}
}
