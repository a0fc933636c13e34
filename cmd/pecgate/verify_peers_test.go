//go:build peers

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// opensslSays asks openssl about the outermost signature of a message.
func opensslSays(t *testing.T, file string) bool {
	t.Helper()
	// The time is that of the samples; a chain may end at any certificate trusted.
	err := exec.Command("openssl", "smime", "-verify", "-purpose", "any", "-partial_chain", "-attime", "1783065600", "-in", file,
		"-CAfile", filepath.Join(samplesDir, "ca.pem"), "-out", "/dev/null").Run()
	if _, ran := err.(*exec.ExitError); err != nil && !ran {
		t.Fatal(err)
	}
	return err == nil
}

// TestVerifyAgreesWithOpenSSL: over every sample, each as it is, with a byte of
// the signed part changed, with another outer Subject and with its signature
// spoilt, both say the same. Of hostile messages openssl judges less (sender,
// daticert.xml) and splits fewer, so there a signature that is good to it must
// not be wrong to us.
func TestVerifyAgreesWithOpenSSL(t *testing.T) {
	samples, err := filepath.Glob(filepath.Join(samplesDir, "*.eml"))
	if err != nil || len(samples) < 24 {
		t.Fatal(len(samples), err)
	}
	files := map[string][]byte{}
	for _, f := range samples {
		b, name := readFile(t, f), filepath.Base(f)
		files[name] = b
		inside := bytes.Index(b, []byte("\r\n\r\n--")) + 8
		content := inside + bytes.Index(b[inside:], []byte("\r\n\r\n")) + 4
		changed := slices.Clone(b)
		changed[content+40] ^= 1
		files["changed-"+name] = changed
		files["subject-"+name] = bytes.Replace(b, []byte("Subject: "), []byte("Subject: Fwd: "), 1)
		files["spoilt-"+name] = bytes.Replace(b, []byte("smime.p7s\"\r\n\r\n"), []byte("smime.p7s\"\r\n\r\nAAAA"), 1)
	}
	dir := put(t, files)
	_, out, _ := verify(t, "--json", dir)
	got := objects(t, out)
	if len(got) != len(files) {
		t.Fatalf("%d lines of %d", len(got), len(files))
	}
	good := 0
	for _, g := range got {
		file := g["file"].(string)
		ours := strings.HasPrefix(g["verdict"].(string), "valid")
		if theirs := opensslSays(t, file); ours != theirs {
			t.Errorf("%s: we say %v (%v), openssl says %v", filepath.Base(file), g["verdict"], g["reason"], theirs)
		}
		if ours {
			good++
		}
	}
	if want := 2 * len(samples); good != want {
		t.Errorf("%d good, want %d", good, want)
	}

	_, out, _ = verify(t, "--json", hostileDir)
	for _, g := range objects(t, out) {
		file, _, _ := strings.Cut(g["file"].(string), "#")
		if reason := g["reason"].(string); (strings.HasPrefix(reason, "digest: ") || strings.HasPrefix(reason, "signature: ")) && opensslSays(t, file) {
			t.Errorf("%s: we say %v (%s), openssl says it is good", file, g["verdict"], reason)
		}
	}
}

// TestVerifyWhatPythonKept: samples kept by Python's mailbox module as mbox and
// Maildir, and packed by its zipfile, verify as they do by themselves.
func TestVerifyWhatPythonKept(t *testing.T) {
	dir := t.TempDir()
	samples, err := filepath.Abs(samplesDir)
	if err != nil {
		t.Fatal(err)
	}
	py, err := exec.Command("python3", "-c", `
import glob, mailbox, os, shutil, sys
os.chdir(sys.argv[1])
box, dir = mailbox.mbox("box"), mailbox.Maildir("M")
for name in sorted(glob.glob(sys.argv[2] + "/*.eml")):
    text = open(name, "rb").read()
    box.add(text); dir.add(text)
box.close(); dir.close()
shutil.make_archive("M", "zip", "M")
os.mkdir("Z"); shutil.copy("box", "Z")
shutil.make_archive("Z", "zip", "Z")
`, dir, samples).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, py)
	}
	n, err := filepath.Glob(filepath.Join(samplesDir, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"box", "M", "M.zip", "Z.zip"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		state, out, errs := verify(t, "--json", filepath.Join(dir, name))
		if got := objects(t, out); state != exitGood || len(got) != len(n) {
			t.Errorf("%s: %d, %d messages, want %d: %s", name, state, len(got), len(n), errs)
		}
	}
}
