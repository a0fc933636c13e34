package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestE3_NothingAroundLowersTLS: each service of the unit files clears GODEBUG,
// no program sets it for itself, and certificates are checked everywhere. That the
// setting changes nothing where it does arrive is shown by TestE2 in gateway/gate,
// relay/submit and relay/fetch and by TestE3 in relay/upstream.
func TestE3_NothingAroundLowersTLS(t *testing.T) {
	units, err := filepath.Glob("../../systemd/*.service")
	if err != nil || len(units) == 0 {
		t.Fatal(units, err)
	}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^UnsetEnvironment=.*\bGODEBUG\b`).Match(text) || regexp.MustCompile(`(?m)^Environment=.*GODEBUG`).Match(text) {
			t.Errorf("%s leaves GODEBUG", unit)
		}
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil || regexp.MustCompile(`(?m)^godebug`).Match(mod) {
		t.Errorf("go.mod: %v", err)
	}
	lowers := regexp.MustCompile(`(?m)^//go:debug|InsecureSkipVerify:\s*true|Setenv\("GODEBUG"|MinVersion:\s*tls\.Version(TLS10|TLS11|SSL30)`)
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2 {
			return filepath.SkipDir
		}
		// What stands in for bad servers in tests lives in upstreamtest.
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "upstreamtest") {
			return nil
		}
		text, err := os.ReadFile(path)
		if found := lowers.Find(text); found != nil {
			t.Errorf("%s: %s", path, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
