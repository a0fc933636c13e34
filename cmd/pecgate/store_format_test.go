package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox"
)

// storeCommands are those that open a store.
func storeCommands() [][]string {
	return append(reading(), []string{"serve"}, []string{"fsck"}, []string{"fsck", "--repair"})
}

// TestK14_OpenedTwice: while one process has the store every other one is told
// so in one line, and the first goes on.
func TestK14_OpenedTwice(t *testing.T) {
	config, data := dataFolder(t)
	store, err := mailbox.Open(mailbox.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range storeCommands() {
		state, out, errs := program(t, "", append(args, "--config", config)...)
		if state != exitFailed || out != "" || !strings.HasPrefix(errs, "pecgate: the store in "+data+" is in use") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: %d %s%s", args, state, out, errs)
		}
	}
	err = store.Update(t.Context(), func(tx *mailbox.Tx) error {
		return tx.Audit(mailbox.AuditLine{Actor: "test", Event: "goes-on"})
	})
	if err != nil {
		t.Errorf("the first one: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestK12_Downgrade: no command touches a store of a newer release, and each
// says so in one line.
func TestK12_Downgrade(t *testing.T) {
	config, data := dataFolder(t)
	store, err := mailbox.Open(mailbox.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	journal := filepath.Join(data, "records", "JOURNAL")
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	b[7]++ // the format; the sum of the slot follows it
	binary.BigEndian.PutUint32(b[64:], crc32.Checksum(b[:64], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(journal, b, 0o600); err != nil {
		t.Fatal(err)
	}
	before := allFiles(t, data)
	for _, args := range storeCommands() {
		state, out, errs := program(t, "", append(args, "--config", config)...)
		if state != exitFailed || out != "" || !strings.Contains(errs, "written by a newer pecgate") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: %d %s%s", args, state, out, errs)
		}
	}
	after := allFiles(t, data)
	for name, b := range after {
		if old, ok := before[name]; !ok || !bytes.Equal(old, b) {
			t.Errorf("%s was made or changed", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files of %d are there", len(after), len(before))
	}
}

func allFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
