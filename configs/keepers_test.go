package configs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestS3_FilesOfTheConfiguration: what others could read or change is refused with the name of the file and a command
// that mends it; what is usual is good.
func TestS3_FilesOfTheConfiguration(t *testing.T) {
	command := regexp.MustCompile("run `chmod (0[0-7]{3}) ([^`]+)`")
	for _, c := range []struct {
		file   string
		secret bool
	}{
		{"policy.yaml", true}, {"tls/key.pem", true}, {"secrets/protocollo", true}, {"data/audit.key", true},
		{"pecgate.yaml", false}, {"tls/fullchain.pem", false}, {"pec-ca.pem", false},
	} {
		config := house(t)
		dir := filepath.Dir(config)
		write(t, config, goodAppliance+"provider_trust: [pec-ca.pem]\ndata_dir: data\n", 0o644)
		write(t, filepath.Join(dir, "data/audit.key"), "secret", 0o600)
		name := filepath.Join(dir, c.file)
		for mode, good := range map[os.FileMode]bool{
			0o600: true, 0o400: true, 0o640: true, 0o440: true, 0o644: !c.secret, 0o604: !c.secret, 0o444: !c.secret,
			0o660: false, 0o620: false, 0o606: false, 0o602: false, 0o664: false, 0o666: false, 0o777: false,
		} {
			if err := os.Chmod(name, mode); err != nil {
				t.Fatal(err)
			}
			r := Check(config)
			if good {
				if len(r.Faults) > 0 {
					t.Errorf("%s with mode %04o: %v", c.file, mode, r.Faults)
				}
				continue
			}
			if len(r.Faults) != 1 || r.Loaded != nil || !strings.Contains(r.Faults[0].String(), filepath.Base(c.file)) {
				t.Errorf("%s with mode %04o: %v", c.file, mode, r.Faults)
				continue
			}
			m := command.FindStringSubmatch(r.Faults[0].Message)
			if m == nil || m[2] != name {
				t.Errorf("%s with mode %04o: no command for it: %s", c.file, mode, r.Faults[0].Message)
				continue
			}
			n, err := strconv.ParseUint(m[1], 8, 32)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(m[2], os.FileMode(n)); err != nil {
				t.Fatal(err)
			}
			if r := Check(config); len(r.Faults) > 0 {
				t.Errorf("%s after %s: %v", c.file, m[0], r.Faults)
			}
		}
	}
}

// info is a file of somebody.
type info struct {
	mode fs.FileMode
	uid  uint32
}

func (i info) Name() string       { return "x" }
func (i info) Size() int64        { return 0 }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return &syscall.Stat_t{Uid: i.uid} }

// TestS3_Owners: a third user's file is refused whatever its mode says.
func TestS3_Owners(t *testing.T) {
	const pecgate, third = 990, 4_000_123
	service := keepers{0, pecgate}
	for uid, good := range map[uint32]bool{0: true, pecgate: true, third: false} {
		for _, judge := range []func(string, fs.FileInfo) error{service.private, service.unwritable} {
			err := judge("/etc/pecgate/policy.yaml", info{0o600, uid})
			if (err == nil) != good {
				t.Errorf("of uid %d: %v", uid, err)
			}
			if !good && err.Error() != "it belongs to uid 4000123, who can change it: run `chown root /etc/pecgate/policy.yaml`" {
				t.Errorf("of uid %d: %v", uid, err)
			}
		}
	}
	if k := keepersOf(""); k[0] != 0 || k[1] != os.Geteuid() || len(k) != 2 {
		t.Errorf("who may own without a data_dir: %v", k)
	}
}

func TestInShell(t *testing.T) {
	for name, want := range map[string]string{
		"/etc/pecgate/policy.yaml": "/etc/pecgate/policy.yaml",
		"/etc/my files/a":          "'/etc/my files/a'",
		"/etc/it's":                `'/etc/it'\''s'`,
		"/etc/a\nb":                "FILE",
		"/etc/$argon2id":           "FILE",
		"/etc/città":               "'/etc/città'",
		"":                         "''",
	} {
		if got := inShell(name); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
}
