//go:build peers

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox/archive/bundle"
)

// expert is a machine with a shell and the four tools of the README, nothing else.
type expert struct {
	t   *testing.T
	bin string
}

func newExpert(t *testing.T) *expert {
	e := &expert{t, t.TempDir()}
	for _, tool := range []string{"unzip", "openssl", "sha256sum", "xmllint"} {
		at, err := exec.LookPath(tool)
		if err == nil {
			err = os.Symlink(at, filepath.Join(e.bin, tool))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// runs follows the README: its commands, as they stand there, in an empty folder.
func (e *expert) runs(readme, zip []byte, env ...string) (string, error) {
	e.t.Helper()
	dir := e.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "evidence.zip"), zip, 0o600); err != nil {
		e.t.Fatal(err)
	}
	var script strings.Builder
	for line := range strings.Lines(string(readme)) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			script.WriteString(command)
		}
	}
	cmd := exec.Command("/bin/sh")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, append([]string{"PATH=" + e.bin}, env...), strings.NewReader(script.String())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestEvidence_CheckedByItsOwnReadme: the README of a bundle that the built program made
// of a demo message is a script that needs unzip, openssl, sha256sum and xmllint alone
// and finds everything good. With one byte of any file flipped, one that is missing, one
// too many, or under another key it finds that; given the SHA-256 of the whole file, it
// finds every byte.
func TestEvidence_CheckedByItsOwnReadme(t *testing.T) {
	dir := t.TempDir()
	bin, demo, file := filepath.Join(dir, "pecgate"), filepath.Join(dir, "demo"), filepath.Join(dir, "evidence.zip")
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	run("go", "build", "-o", bin, ".")
	said := run(bin, "demo", "--once", "--dir", demo)
	id := strings.Fields(said[strings.Index(said, "pecgate show ")+len("pecgate show "):])[0]
	incoming := ""
	for line := range strings.Lines(said[strings.Index(said, "Lucia reads"):]) {
		if at := strings.Index(line, "sha256 "); at >= 0 {
			incoming = strings.TrimSpace(line[at+len("sha256 "):])
			break
		}
	}
	// The second bundle has an older head to go on from.
	run(bin, "--config", filepath.Join(demo, "pecgate.yaml"), "evidence", id, "--out", filepath.Join(dir, "first.zip"))
	said = run(bin, "--config", filepath.Join(demo, "pecgate.yaml"), "evidence", id, incoming, "--out", file)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	members := unzipped(t, file)
	if r := reportOf(t, members); len(r.Cases) != 2 || r.Cases[1].Direction != bundle.Incoming {
		t.Fatalf("%d cases", len(r.Cases))
	}
	if bytes.Equal(members["audit/old-head.txt"], members["audit/head.txt"]) {
		t.Error("the log did not grow")
	}
	readme, e := members["README.txt"], newExpert(t)
	key := strings.Fields(said[strings.Index(said, "signed by")+len("signed by"):])[0]
	sum := strings.Fields(said[strings.Index(said, "SHA-256")+len("SHA-256"):])[0]
	if out, err := e.runs(readme, whole, "KEY="+key, "SUM="+sum); err != nil || !strings.HasSuffix(out, "EVERYTHING CHECKED\n") {
		t.Fatalf("%v\n%s", err, out)
	} else {
		for line := range strings.Lines(string(readme)) { // what it says must appear does
			if want, ok := strings.CutPrefix(line, "> "); ok && !strings.Contains(out, want) {
				t.Errorf("%q does not appear", want)
			}
		}
	}
	if out, err := e.runs(readme, whole, "KEY="+strings.Repeat("0", 64)); err == nil {
		t.Errorf("another key: %s", out)
	}
	bad := func(what string, zip []byte, env ...string) {
		t.Helper()
		if out, err := e.runs(readme, zip, env...); err == nil {
			t.Errorf("%s: nothing was found\n%s", what, out)
		}
	}
	bad("a byte of the zip itself", flipped(whole, bytes.Index(whole, []byte("PK\x01\x02"))+12), "SUM="+sum)
	for name, b := range members {
		at := bytes.Index(whole, b)
		if at < 0 || len(b) == 0 {
			t.Fatalf("%s does not stand in the zip as it is", name)
		}
		bad("a byte of "+name, flipped(whole, at+len(b)/2))
		// The same with a CRC that fits: the hashes and signatures must tell.
		bad("a byte of "+name+", packed anew", packed(t, file, name, flipped(b, len(b)/2), false))
	}
	bad("a file that is missing", packed(t, file, "messages/002-acceptance.eml", nil, true))
	bad("a file too many", packed(t, file, "messages/099-other.eml", []byte("x"), false))
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x01
	return b
}

// packed is the bundle with another content of one file, or without it, in a zip that is
// good as such.
func packed(t *testing.T, file, name string, content []byte, without bool) []byte {
	t.Helper()
	dir := t.TempDir()
	members := unzipped(t, file)
	var order []string
	for line := range strings.Lines(string(members["MEMBERS.txt"])) {
		order = append(order, strings.TrimSpace(line))
	}
	if members[name] == nil {
		order = append(order, name)
	}
	members[name] = content
	out := filepath.Join(dir, "new.zip")
	var b bytes.Buffer
	if err := writeZip(&b, order, members, name, without); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
