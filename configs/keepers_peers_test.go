//go:build peers

package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestS3_FilesOfOthers needs root: it gives files away. A third user's file is refused; root may look at the files of
// the appliance's user, who owns data_dir.
func TestS3_FilesOfOthers(t *testing.T) {
	const service, third = 4_000_990, 4_000_123
	for _, file := range []string{"policy.yaml", "pecgate.yaml", "tls/key.pem", "tls/fullchain.pem", "secrets/protocollo", "data/audit.key"} {
		config := house(t)
		dir := filepath.Dir(config)
		write(t, config, goodAppliance+"data_dir: data\n", 0o644)
		write(t, filepath.Join(dir, "data/audit.key"), "secret", 0o600)
		name := filepath.Join(dir, file)
		if err := errors.Join(os.Chown(filepath.Join(dir, "data"), service, service), os.Chown(name, service, service)); err != nil {
			t.Fatal(err)
		}
		if r := Check(config); len(r.Faults) > 0 {
			t.Errorf("%s of the appliance's user: %v", file, r.Faults)
		}
		if err := os.Chown(name, third, third); err != nil {
			t.Fatal(err)
		}
		r := Check(config)
		if len(r.Faults) != 1 || !strings.Contains(r.Faults[0].Message, "run `chown root "+name+"`") {
			t.Errorf("%s of a third user: %v", file, r.Faults)
		}
		if err := os.Chown(name, 0, service); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, 0o640); err != nil {
			t.Fatal(err)
		}
		if r := Check(config); len(r.Faults) > 0 {
			t.Errorf("%s as root:pecgate 0640: %v", file, r.Faults)
		}
	}
}
