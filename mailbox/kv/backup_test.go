package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// parts writes a full backup and an incremental one.
func parts(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	write := func(h BackupHeader, put []string, keep []string) {
		w, err := NewBackupWriter(&b, h)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keep {
			err = errors.Join(err, w.Keep([]byte(k)))
		}
		for _, k := range put {
			err = errors.Join(err, w.Put([]byte(k), []byte("value of "+k)))
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write(BackupHeader{Store: [16]byte{1}, Next: 7}, []string{"a", "ab", "abc", "b"}, nil)
	write(BackupHeader{Store: [16]byte{1}, Since: 7, Next: 9}, []string{"c"}, []string{"a", "abc"})
	return b.Bytes()
}

// readParts gives all entries as text, and the number of whole parts.
func readParts(b []byte) (text string, whole int, err error) {
	r := NewBackupReader(bytes.NewReader(b))
	var out strings.Builder
	for {
		h, err := r.Part()
		if err == io.EOF {
			return out.String(), whole, nil
		}
		if err != nil {
			return out.String(), whole, err
		}
		fmt.Fprintf(&out, "%d-%d:", h.Since, h.Next)
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return out.String(), whole, err
			}
			fmt.Fprintf(&out, " %s=%s", e.Key, e.Value)
		}
		whole++
		out.WriteString("\n")
	}
}

func TestBackupForm(t *testing.T) {
	b := parts(t)
	want := "0-7: a=value of a ab=value of ab abc=value of abc b=value of b\n7-9: a= abc= c=value of c\n"
	if got, _, err := readParts(b); err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	first := bytes.LastIndex(b, []byte(backupMagic))
	for n := range b {
		if _, whole, err := readParts(b[:n]); !errors.Is(err, ErrCorrupt) && n != first || whole > 1 {
			t.Errorf("cut to %d bytes: %d parts, %v", n, whole, err)
		}
		for bit := range 8 {
			c := bytes.Clone(b)
			c[n] ^= 1 << bit
			if _, whole, err := readParts(c); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) || whole > 1 {
				t.Errorf("byte %d flipped: %d parts, %v", n, whole, err)
			}
		}
	}
	broken := errors.New("input/output error")
	r := NewBackupReader(io.MultiReader(bytes.NewReader(b[:100]), errReader{broken}))
	_, err := r.Part()
	for err == nil {
		_, err = r.Next()
	}
	if !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
		t.Errorf("a read error: %v", err)
	}
	newer := bytes.Replace(b, []byte("records 1\n"), []byte("records 2\n"), 1)
	if _, _, err := readParts(newer); !errors.Is(err, ErrFormat) {
		t.Errorf("a newer form: %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestApplyBackupLost: an incremental part that keeps what is not there.
func TestApplyBackupLost(t *testing.T) {
	for _, keep := range []string{"Z", "ax", "zz"} {
		var b bytes.Buffer
		w, _ := NewBackupWriter(&b, BackupHeader{Next: 1})
		err := errors.Join(w.Put([]byte("a"), nil), w.Put([]byte("b"), nil), w.Close())
		w, _ = NewBackupWriter(&b, BackupHeader{Since: 1, Next: 2})
		if err = errors.Join(err, w.Keep([]byte(keep)), w.Close()); err != nil {
			t.Fatal(err)
		}
		m := &memory{}
		err = ApplyBackup(context.Background(), &b, func(_ context.Context, fn func(Txn) error) error { return fn(m) })
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("kept %q: %v", keep, err)
		}
	}
}

// memory is as much of a store as ApplyBackup needs.
type memory struct {
	Txn
	keys []string
}

func (m *memory) Put(key, _ []byte) error {
	m.keys = append(m.keys, string(key))
	return nil
}

func (m *memory) Delete([]byte) error { return nil }

func (m *memory) Scan(_, from []byte, fn func(key, value []byte) (bool, error)) error {
	for _, k := range m.keys {
		if k < string(from) {
			continue
		}
		if more, err := fn([]byte(k), nil); err != nil || !more {
			return err
		}
	}
	return nil
}

// FuzzBackupReader: whatever it reads, it ends, and a part it calls whole can
// be written again to the same bytes.
func FuzzBackupReader(f *testing.F) {
	f.Add(parts(f))
	f.Add([]byte(backupMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewBackupReader(bytes.NewReader(b))
		h, err := r.Part()
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := NewBackupWriter(&again, h)
		for err == nil {
			var e BackupEntry
			if e, err = r.Next(); err != nil {
				break
			}
			if len(e.Key) == 0 || len(e.Key) > MaxKey || len(e.Key)+len(e.Value) > MaxRecord {
				t.Fatalf("an entry of %d and %d bytes", len(e.Key), len(e.Value))
			}
			if e.Kept {
				err = w.Keep(e.Key)
			} else {
				err = w.Put(e.Key, e.Value)
			}
		}
		if err != io.EOF {
			return
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(b, again.Bytes()) {
			t.Errorf("%q is read as %q", b, again.Bytes())
		}
	})
}
