//go:build peers

package main

import (
	"bytes"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestS10_ReproducibleBuild: the same sources in two folders make the same program,
// without C and without a path of the machine.
func TestS10_ReproducibleBuild(t *testing.T) {
	var sums [2][32]byte
	for i := range sums {
		dir := filepath.Join(t.TempDir(), strings.Repeat("sources", i+1))
		for _, part := range []string{"cmd", "configs", "gateway", "mailbox", "policy", "relay"} {
			if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join("../..", part))); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"go.mod", "go.sum"} {
			if err := os.WriteFile(filepath.Join(dir, name), readFile(t, filepath.Join("../..", name)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out := filepath.Join(t.TempDir(), "pecgate")
		c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", out, "./cmd/pecgate")
		c.Dir, c.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if said, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		b := readFile(t, out)
		if bytes.Contains(b, []byte(dir)) {
			t.Error("the program names the folder that it was built in")
		}
		sums[i] = sha256.Sum256(b)
		facts, err := exec.Command("go", "version", "-m", out).CombinedOutput()
		if err != nil || !bytes.Contains(facts, []byte("CGO_ENABLED=0")) || !bytes.Contains(facts, []byte("-trimpath=true")) {
			t.Errorf("%v: %s", err, facts)
		}
	}
	if sums[0] != sums[1] {
		t.Errorf("%x and %x", sums[0], sums[1])
	}
}
