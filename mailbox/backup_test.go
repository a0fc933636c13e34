package mailbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age" // makes the keys of the tests

	"pecgate/mailbox/backup"
)

// backupTo runs one backup into a folder.
func backupTo(t *testing.T, s *Store, o backup.Options) *backup.Report {
	t.Helper()
	r, err := tryBackup(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryBackup(s *Store, o backup.Options) (r *backup.Report, err error) {
	f, err := backup.Open(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return s.BackupTo(context.Background(), f, AuditLine{Actor: "test"})
}

// restoreTo restores a backup into a new folder and opens it.
func restoreTo(t *testing.T, from string, keys *backup.Identities) (*Store, *RestoreReport, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	r, err := tryRestore(from, dir, keys)
	if err != nil {
		t.Fatal(err)
	}
	if r.Damage != 0 {
		for _, f := range r.Check.Findings {
			t.Errorf("%+v", f)
		}
	}
	return open(t, dir), r, dir
}

func tryRestore(from, dir string, keys *backup.Identities) (*RestoreReport, error) {
	src, err := backup.Read(from, keys, nil)
	if err != nil {
		return nil, err
	}
	return Restore(context.Background(), Options{Dir: dir}, RestoreOptions{Source: src, By: "uid 0"})
}

// check reads a backup without restoring it.
func checkBackup(t *testing.T, from string, keys *backup.Identities) *backup.Checked {
	t.Helper()
	src, err := backup.Read(from, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := CheckBackup(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// content reads the bytes of a message.
func content(t *testing.T, s *Store, id MessageID) string {
	t.Helper()
	m, err := s.Message(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, m.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func identity(t *testing.T) (*backup.Recipients, *backup.Identities, string) {
	t.Helper()
	k, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	to, err := backup.NewRecipients(k.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := backup.ReadIdentities(strings.NewReader(k.String() + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return to, keys, k.String()
}

func TestBackupAndRestore(t *testing.T) {
	s, _ := world(t)
	defer s.Close()
	dir := filepath.Join(t.TempDir(), "b")
	large := text("large") + strings.Repeat("0123456789abcdef\r\n", 100_000)
	big, _ := put(t, s, inbox, large, Filing{})
	first := backupTo(t, s, backup.Options{Dir: dir})
	if !first.Whole || first.Messages != 6 || len(first.Damaged) != 0 {
		t.Errorf("first run: %+v", first)
	}
	more, _ := put(t, s, inbox, text("more"), Filing{})
	second := backupTo(t, s, backup.Options{Dir: dir})
	if second.Whole || second.Messages != 1 || second.Written > first.Written/20 {
		t.Errorf("second run: %+v after %+v", second, first)
	}
	third := backupTo(t, s, backup.Options{Dir: dir})
	if third.Messages != 0 || third.Files != 3 || third.Run != 3 {
		t.Errorf("third run: %+v", third)
	}
	if c := checkBackup(t, dir, nil); !c.OK() || !c.Content || c.Messages != 6 {
		t.Errorf("check: %+v", c)
	}
	late, _ := put(t, s, inbox, text("late"), Filing{})

	back, r, _ := restoreTo(t, dir, nil)
	defer back.Close()
	if r.Messages != 6 || r.Resumed {
		t.Errorf("restored: %+v", r)
	}
	if got := content(t, back, big.ID); got != large {
		t.Error("the large message is another one")
	}
	if got := content(t, back, more.ID); got != text("more") {
		t.Error("the message of the second run is another one")
	}
	if _, err := back.Message(context.Background(), late.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("a message that came after the backup: %v", err)
	}
}

// What a backup holds is for the machine that restores it: no key that signs,
// no secret. World has none else.
func TestBackupHoldsNoSecret(t *testing.T) {
	s, dir := world(t)
	defer s.Close()
	to := filepath.Join(t.TempDir(), "b")
	backupTo(t, s, backup.Options{Dir: to})
	secret, err := os.ReadFile(filepath.Join(dir, auditKey))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(strings.TrimSpace(string(secret)), "+", 5) // base64 has plus signs of its own
	seed := []byte(parts[len(parts)-1])
	pub, err := os.ReadFile(filepath.Join(dir, auditKey+".pub"))
	if err != nil {
		t.Fatal(err)
	}
	public, seen := 0, 0
	walk(t, to, func(path string, info fs.FileInfo, b []byte) {
		seen++
		if bytes.Contains(b, seed) || bytes.Contains(b, []byte("PRIVATE")) {
			t.Errorf("%s holds the audit key", path)
		}
		if bytes.Contains(b, bytes.TrimSpace(pub)) {
			public++
		}
	})
	if seen < 6 || public != 2 { // the file of keys, and the line that tells that it was made
		t.Errorf("%d files, %d with the public key", seen, public)
	}
}

// walk shows every file below a folder, and holds modes to what they must be.
func walk(t *testing.T, dir string, fn func(path string, info fs.FileInfo, b []byte)) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if info.IsDir() {
			want = fs.ModeDir | 0o700
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if info.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		fn(path, info, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
