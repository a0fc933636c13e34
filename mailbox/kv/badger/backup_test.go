package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox/kv"
)

// TestRestoreUnfinished: a store that was filled in part is not opened again.
func TestRestoreUnfinished(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	ctx := context.Background()
	for n := range 3 {
		err := s.Update(ctx, func(tx kv.Txn) error {
			for i := range 900 {
				if err := tx.Put(fmt.Appendf(nil, "%d/%d", n, i), []byte("v")); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var full bytes.Buffer
	if _, err := s.Backup(ctx, &full, 0); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("connection lost")
	for name, r := range map[string]io.Reader{
		"cut":         bytes.NewReader(full.Bytes()[:full.Len()/2]),
		"read error":  io.MultiReader(bytes.NewReader(full.Bytes()[:full.Len()/2]), errReader{broken}),
		"never begun": strings.NewReader(""),
	} {
		dir := t.TempDir()
		into := open(t, dir)
		if err := into.Restore(ctx, r); !errors.Is(err, kv.ErrCorrupt) && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		if err := into.Close(); err != nil {
			t.Error(err)
		}
		if _, err := Open(Options{Dir: dir}); !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), "restore") {
			t.Errorf("%s: open: %v", name, err)
		}
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestK8_TraceOfDelete: what was deleted stays deleted in an incremental backup
// though badger has removed every trace of it.
func TestK8_TraceOfDelete(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir(), tune: small})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	for _, key := range []string{"a", "gone", "z"} {
		if err := s.Update(ctx, putOne(key)); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	at, err := s.Backup(ctx, &b, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(ctx, func(tx kv.Txn) error { return tx.Delete([]byte("gone")) }); err != nil {
		t.Fatal(err)
	}
	for n := range 20 { // so that it goes to a table
		err := s.Update(ctx, func(tx kv.Txn) error {
			for i := range 100 {
				if err := tx.Put(fmt.Appendf(nil, "z%03d", i), damageValue(n+i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Flatten(1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(ctx, &b, at); err != nil {
		t.Fatal(err)
	}
	into := open(t, t.TempDir())
	defer into.Close()
	if err := into.Restore(ctx, &b); err != nil {
		t.Fatal(err)
	}
	err = into.View(ctx, func(r kv.Reader) error {
		_, err := r.Get([]byte("gone"))
		return err
	})
	if !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("a deleted record: %v", err)
	}
}

// TestBackupOfDamage: badger would pass over what it cannot read; the backup
// does not, and the store ends.
func TestBackupOfDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ctx := context.Background()
	err := s.Update(ctx, func(tx kv.Txn) error {
		for n := range 500 {
			if err := tx.Put(fmt.Appendf(nil, "k%03d", n), damageValue(n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(names) == 0 {
		t.Fatal("no table", err)
	}
	if err := flip(names[0], 50_000, 4); err != nil {
		t.Fatal(err)
	}
	_, err = s.Backup(ctx, io.Discard, 0)
	if !errors.Is(err, kv.ErrCorrupt) || !errors.Is(err, kv.ErrFailed) || !strings.Contains(err.Error(), filepath.Base(names[0])) {
		t.Errorf("backup of a damaged table: %v", err)
	}
	if err := s.Update(ctx, putOne("a")); !errors.Is(err, kv.ErrFailed) || !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("update after it: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}
