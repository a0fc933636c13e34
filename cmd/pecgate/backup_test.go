package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age" // makes the keys of the tests

	"pecgate/mailbox"
	"pecgate/mailbox/audit"
	"pecgate/mailbox/backup"
	"pecgate/relay"
)

// TestBackupAndRestoreCommands is a night and a bad day of an appliance: backups
// while it runs, encrypted, one while it does not, a check, and a restore into
// another data_dir, where it serves what was there.
func TestBackupAndRestoreCommands(t *testing.T) {
	h := newHouse(t).start()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	h.write("recipients.txt", "# who may restore\n"+key.Recipient().String()+"\n")
	h.write("identity.txt", "# created: today\n"+key.String()+"\n")
	dir := filepath.Join(t.TempDir(), "backup")
	h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "uno [PIN:"+pinMario+"]", "b1@alfa.example"))
	sent := h.settled("b1@alfa.example", relay.Accepted)

	make := func(args ...string) (int, string, string) {
		t.Helper()
		return program(t, "", append([]string{"backup", "--config", h.config(), "--recipient", "@" + filepath.Join(h.dir, "recipients.txt"), dir}, args...)...)
	}
	state, out, errs := make()
	if state != exitGood || errs != "" || !strings.Contains(out, " run 1 (all anew, encrypted): ") || !strings.Contains(out, "written and read back") || strings.Count(out, "\n") != 1 {
		t.Fatalf("first: %d, %s%s", state, out, errs)
	}
	state, out, errs = make("--json")
	var r backup.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || state != exitGood || r.Run != 2 || r.Whole || !r.Encrypted || errs != "" {
		t.Fatalf("second: %d, %v, %s%s", state, err, out, errs)
	}
	var lines []string
	tail := func(store *mailbox.Store) error {
		lines = nil
		return store.View(t.Context(), func(tx *mailbox.Tx) error {
			return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
				if l.Event == "backup" {
					lines = append([]string{l.Actor + " " + l.Result + " " + l.More["run"] + " " + l.More["sha256"]}, lines...)
				}
				return true
			})
		})
	}
	h.stop()
	state, out, errs = make()
	if state != exitGood || errs != "" || !strings.Contains(out, " run 3 (new since the run before, encrypted): ") {
		t.Fatalf("while nothing runs: %d, %s%s", state, out, errs)
	}
	store, err := mailbox.Open(mailbox.Options{Dir: filepath.Join(h.dir, "data")})
	if err != nil {
		t.Fatal(err)
	}
	if err := tail(store); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"control socket begun", "control socket done 1", "control socket begun", "control socket done 2 " + r.Manifest, "pecgate backup begun", "pecgate backup done 3"}
	for i, w := range want {
		if i >= len(lines) || !strings.HasPrefix(lines[i], w) {
			t.Errorf("audit lines %q, want %q", lines, want)
			break
		}
	}

	h.searched(dir, key.String())
	verify := func(args ...string) (int, string, string) {
		t.Helper()
		return program(t, "", append([]string{"backup", "--verify", dir}, args...)...)
	}
	if state, out, errs := verify(); state != exitGood || errs != "" || !strings.Contains(out, "every file is what was written; what is in them needs --identity FILE\n") {
		t.Errorf("verify: %d, %s%s", state, out, errs)
	}
	identity := filepath.Join(h.dir, "identity.txt")
	if state, out, errs := verify("--identity", identity); state != exitGood || errs != "" || !strings.Contains(out, "messages has its bytes\n") {
		t.Errorf("verify with the key: %d, %s%s", state, out, errs)
	}

	// The bad day.
	old := filepath.Join(h.dir, "data")
	restore := func(args ...string) (int, string, string) {
		t.Helper()
		return program(t, "", append([]string{"restore", "--config", h.config(), dir}, args...)...)
	}
	if state, out, errs := restore("--identity", identity); state != exitFailed || out != "" || !strings.Contains(errs, "a restore overwrites nothing") || strings.Count(errs, "\n") != 1 {
		t.Errorf("over a store: %d, %s%s", state, out, errs)
	}
	if err := os.Rename(old, old+".lost"); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if state, _, errs := restore("--identity", identity); state != exitFailed || !strings.Contains(errs, "install -d -m 0700") {
			t.Errorf("root without a data_dir: %d, %s", state, errs)
		}
		if err := os.Mkdir(old, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if state, out, errs := restore(); state != exitFailed || out != "" || !strings.Contains(errs, "give --identity FILE") || strings.Count(errs, "\n") != 1 {
		t.Errorf("without the key: %d, %s%s", state, out, errs)
	}
	state, out, errs = restore("--identity", identity)
	if state != exitGood || errs != "" || !strings.Contains(out, "pecgate queue list") || !strings.Contains(out, "each read and compared with its SHA-256") {
		t.Fatalf("restore: %d, %s%s", state, out, errs)
	}
	state, out, errs = program(t, "", "audit", "verify", "--config", h.config())
	if state != exitGood || errs != "" || !strings.Contains(out, "(worth knowing): from head ") || !strings.Contains(out, "another key signs") {
		t.Errorf("audit verify: %d, %s%s", state, out, errs)
	}
	h.start()
	again, err := h.shown("b1@alfa.example")
	if err != nil || again.ID != sent.ID || again.State != relay.Accepted {
		t.Errorf("%+v, %v", again, err)
	}
	var report audit.Report
	if state, out, _ := program(t, "", "audit", "verify", "--json", "--config", h.config()); state != exitGood || json.Unmarshal([]byte(out), &report) != nil || report.Found == 0 {
		t.Errorf("audit verify while it runs: %d, %s", state, out)
	}
	// What was restored is another store: the folder it came from stays as it is.
	if state, out, errs := make(); state != exitFailed || out != "" || !strings.Contains(errs, "give another folder") || strings.Count(errs, "\n") != 1 {
		t.Errorf("into the folder it came from: %d, %s%s", state, out, errs)
	}
	h.stop()
}

// searched looks for every secret of the house in a backup, and holds modes to
// what they must be.
func (h *house) searched(dir string, more ...string) {
	h.t.Helper()
	key, err := os.ReadFile(filepath.Join(h.dir, "data", "audit.key"))
	if err != nil {
		h.t.Fatal(err)
	}
	parts := strings.SplitN(strings.TrimSpace(string(key)), "+", 5) // base64 has plus signs of its own
	secrets := append([]string{parts[len(parts)-1], "PRIVATE", "AGE-SECRET", "provider-a", "provider-b", "mariomario", pinMario, "$argon2id$"}, more...)
	seen := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			h.t.Errorf("%s has mode %v", path, info.Mode())
		}
		if d.IsDir() {
			return nil
		}
		seen++
		b, err := os.ReadFile(path)
		for _, s := range secrets {
			if bytes.Contains(b, []byte(s)) {
				h.t.Errorf("%s holds %.8q...", path, s)
			}
		}
		return err
	})
	if err != nil || seen < 6 {
		h.t.Errorf("%d files, %v", seen, err)
	}
}

// The same of a backup in the clear: what it holds is what the store holds, and
// that is no secret.
func TestBackupInTheClearHoldsNoSecret(t *testing.T) {
	h := newHouse(t).start()
	h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "uno [PIN:"+pinMario+"]", "c1@alfa.example"))
	h.settled("c1@alfa.example", relay.Accepted)
	dir := filepath.Join(t.TempDir(), "backup")
	if state, out, errs := program(t, "", "backup", "--config", h.config(), dir); state != exitGood || errs != "" || strings.Contains(out, "encrypted") {
		t.Fatalf("%d, %s%s", state, out, errs)
	}
	h.searched(dir)
	// Damage is named, and the command fails.
	names, err := filepath.Glob(filepath.Join(dir, "segments", "*.tar"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(names[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	part := "segments/" + filepath.Base(names[0])
	state, out, errs := program(t, "", "backup", "--verify", dir)
	if state != exitFailed || !strings.Contains(out, part+" was changed since it was written") || !strings.Contains(errs, "make a new one in another folder") {
		t.Errorf("verify: %d, %s%s", state, out, errs)
	}
	h.stop()
	if err := os.RemoveAll(filepath.Join(h.dir, "data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(h.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	state, out, errs = program(t, "", "restore", "--config", h.config(), dir)
	if state != exitFailed || out != "" || !strings.Contains(errs, part+" was changed since it was written") || strings.Count(errs, "\n") != 1 {
		t.Errorf("restore: %d, %s%s", state, out, errs)
	}
	if left, err := os.ReadDir(filepath.Join(h.dir, "data")); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

func TestBackupUsage(t *testing.T) {
	config, data := dataFolder(t)
	store, err := mailbox.Open(mailbox.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(filepath.Dir(config), "secret.txt")
	if err := os.WriteFile(secret, []byte(key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "b")
	for _, c := range []struct {
		args  []string
		state int
		want  string
	}{
		{[]string{"backup"}, exitUsage, "takes one folder"},
		{[]string{"backup", "a", "b"}, exitUsage, "takes one folder"},
		{[]string{"backup", data}, exitUsage, "lie in one another"},
		{[]string{"backup", filepath.Join(data, "b")}, exitUsage, "lie in one another"},
		{[]string{"backup", filepath.Dir(data)}, exitUsage, "lie in one another"},
		{[]string{"backup", dir, "--recipient", "me"}, exitUsage, "is no recipient"},
		{[]string{"backup", dir, "--recipient", "@" + secret}, exitUsage, "a secret one"},
		{[]string{"backup", dir, "--recipients-file", filepath.Join(dir, "none")}, exitUsage, "no such file"},
		{[]string{"backup", dir, "--identity", secret}, exitUsage, "--identity is for --verify"},
		{[]string{"backup", dir, "--verify", "--recipient", key.Recipient().String()}, exitUsage, "no recipient"},
		{[]string{"backup", dir, "--verify"}, exitFailed, "no such file"},
		{[]string{"backup", t.TempDir(), "--verify"}, exitFailed, "there is no backup here"},
		{[]string{"backup", filepath.Join(dir, "deeper")}, exitFailed, "is the disk mounted?"},
		{[]string{"restore"}, exitUsage, "takes one folder"},
		{[]string{"restore", t.TempDir()}, exitFailed, "there is no backup here"},
		{[]string{"restore", t.TempDir(), "--identity", config}, exitUsage, "no file of secret keys"},
		{[]string{"restore", data}, exitUsage, "lie in one another"},
	} {
		state, out, errs := program(t, "", append([]string{"--config", config}, c.args...)...)
		if state != c.state || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 || strings.Contains(errs, key.String()[20:]) {
			t.Errorf("%v: %d, %q%q, want %d, %q", c.args, state, out, errs, c.state, c.want)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) > 0 {
		t.Errorf("made %v, %v", left, err)
	}
	if got := fmt.Sprint(byteSize(999), " ", byteSize(1500), " ", byteSize(2_000_000), " ", byteSize(3_100_000_000)); got != "999 bytes 1.5 kB 2.0 MB 3.1 GB" {
		t.Error(got)
	}
}
