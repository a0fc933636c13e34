//go:build peers

package autoconfig

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// xmllint finds every answer well-formed.
func TestWellFormedForXmllint(t *testing.T) {
	files, err := filepath.Glob(goldens + "/*")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	out, err := exec.Command("xmllint", append([]string{"--noout", "--nonet"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// Python's reader of property lists takes the profiles, and finds what stands in
// them.
func TestProfilesForPython(t *testing.T) {
	files, err := filepath.Glob(goldens + "/*.mobileconfig")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	const program = `
import plistlib, sys, uuid
for name in sys.argv[1:]:
    p = plistlib.load(open(name, "rb"))
    m = p["PayloadContent"][0]
    assert m["IncomingMailServerUseSSL"] is True and m["OutgoingMailServerUseSSL"] is True, name
    assert m["IncomingMailServerPortNumber"] == 993 and p["PayloadRemovalDisallowed"] is False, name
    assert uuid.UUID(p["PayloadUUID"]) != uuid.UUID(m["PayloadUUID"]), name
    assert not [k for k in m if k in ("IncomingPassword", "OutgoingPassword")], name
`
	if out, err := exec.Command("python3", append([]string{"-c", program}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
