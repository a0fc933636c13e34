//go:build peers

package pec

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenSSLAgreesOnHostile: openssl verifies the content of each hostile
// sample that is good here, and refuses those whose content was changed. It
// looks at no From, and into no other multipart, so the rest is not compared; and
// it does not read some forms at all.
func TestOpenSSLAgreesOnHostile(t *testing.T) {
	unread := map[string]bool{"no-final-boundary.eml": true, "header-names-in-any-case-and-folded.eml": true}
	rd := stored(t)
	for name, msg := range storedFiles(t, hostileDir) {
		rep := readWith(t, rd, msg)
		changed := rep.Verdict == Invalid && strings.Contains(rep.Reason, "digest: ")
		if rep.Relayed || !rep.good() && !changed {
			continue
		}
		out, err := exec.Command("openssl", "smime", "-verify", "-purpose", "any", "-in", filepath.Join(hostileDir, name),
			"-CAfile", filepath.Join(goldenDir, "ca.pem"), "-out", "/dev/null").CombinedOutput()
		if (err == nil) == (changed || unread[name]) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
