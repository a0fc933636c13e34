//go:build peers

package pec

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestOpenSSLAgrees: what the tests sign and call valid, openssl does too, so
// the tests' signer and the reader do not share a mistake.
func TestOpenSSLAgrees(t *testing.T) {
	files := must(filepath.Glob(filepath.Join(goldenDir, "*.eml")))
	if len(files) == 0 {
		t.Fatal("no samples")
	}
	for _, f := range files {
		out, err := exec.Command("openssl", "smime", "-verify", "-purpose", "any", "-in", f,
			"-CAfile", filepath.Join(goldenDir, "ca.pem"), "-out", "/dev/null").CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", f, err, out)
		}
	}
}
