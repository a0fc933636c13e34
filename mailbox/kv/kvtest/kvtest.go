// Package kvtest is the contract of package kv as tests. Every implementation
// runs them; what they do not ask for, nothing above may rely on.
//
// It owns no data and imports kv and the standard library only. It does not
// test what cannot be seen through the interface: that is for the tests of
// each implementation (syncs, power cuts, failed commits).
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"pecgate/mailbox/kv"
)

// Open opens the store of a test. Called again with the same t, after Close,
// it opens the same data.
type Open func(t *testing.T) kv.Store

// Run runs the whole contract.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"ReadYourWrites", readYourWrites},
		{"ValuesAreCopies", valuesAreCopies},
		{"Reopen", reopen},
		{"Scan", scan},
		{"ScanMergesOwnWrites", scanMerges},
		{"ScanStops", scanStops},
		{"WriteWhileScanning", writeWhileScanning},
		{"PrefixSafety", prefixSafety},
		{"ScanLikeModel", scanLikeModel},
		{"ErrorDropsOwnWrites", errorDropsOwnWrites},
		{"TooBig", tooBig},
		{"FoldTooBig", foldTooBig},
		{"BadKeys", badKeys},
		{"SnapshotOfView", snapshotOfView},
		{"Counters", counters},
		{"Transfers", transfers},
		{"Watch", watch},
		{"Context", contextEnds},
		{"EndedTransaction", endedTransaction},
		{"Close", closeWaits},
		{"Panic", panics},
		{"Backup", backup},
		{"BackupIncremental", backupIncremental},
		{"BackupEnds", backupEnds},
		{"K8_BackupUnderLoad", backupUnderLoad},
		{"Now", now},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

// store opens a store that is closed with the test.
func store(t *testing.T, open Open) kv.Store {
	t.Helper()
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func update(t *testing.T, s kv.Store, fn func(kv.Txn) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func view(t *testing.T, s kv.Store, fn func(kv.Reader) error) {
	t.Helper()
	if err := s.View(context.Background(), fn); err != nil {
		t.Fatalf("view: %v", err)
	}
}

// fill puts pairs: key, value, key, value.
func fill(t *testing.T, s kv.Store, pairs ...string) {
	t.Helper()
	update(t, s, func(tx kv.Txn) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Put([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
}

// expect compares one key with its value; "<none>" stands for ErrNotFound.
func expect(r kv.Reader, key, want string) error {
	v, err := r.Get([]byte(key))
	if errors.Is(err, kv.ErrNotFound) {
		v, err = []byte("<none>"), nil
	}
	if err != nil {
		return fmt.Errorf("get %q: %w", key, err)
	}
	if string(v) != want {
		return fmt.Errorf("get %q: %q, want %q", key, v, want)
	}
	return nil
}

func expectAll(r kv.Reader, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := expect(r, pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// list gives "key=value " for a scan.
func list(r kv.Reader, prefix, from string) (string, error) {
	var b bytes.Buffer
	err := r.Scan([]byte(prefix), []byte(from), collect(&b))
	return b.String(), err
}

func listBack(r kv.Reader, prefix string) (string, error) {
	var b bytes.Buffer
	err := r.ScanBack([]byte(prefix), collect(&b))
	return b.String(), err
}

func collect(b *bytes.Buffer) func(k, v []byte) (bool, error) {
	return func(k, v []byte) (bool, error) {
		fmt.Fprintf(b, "%s=%s ", k, v)
		return true, nil
	}
}

func expectList(r kv.Reader, prefix, from, want string) error {
	got, err := list(r, prefix, from)
	if err == nil && got != want {
		err = fmt.Errorf("scan %q from %q: %q, want %q", prefix, from, got, want)
	}
	return err
}

func expectBack(r kv.Reader, prefix, want string) error {
	got, err := listBack(r, prefix)
	if err == nil && got != want {
		err = fmt.Errorf("scan back %q: %q, want %q", prefix, got, want)
	}
	return err
}
