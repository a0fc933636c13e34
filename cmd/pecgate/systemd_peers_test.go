//go:build peers

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSystemdUnits: systemd reads the units without a complaint, and the service is
// exposed by 1.3 at most.
func TestSystemdUnits(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"pecgate.service", "pecgate.socket", "pecgate-backup.service", "pecgate-backup.timer"} {
		// The program and its manual are not installed here.
		b := strings.ReplaceAll(string(readFile(t, "../../systemd/"+name)), "/usr/bin/pecgate", "/bin/true")
		b = regexp.MustCompile(`(?m)^Documentation=.*\n`).ReplaceAllString(b, "")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pecgate.service", "pecgate.socket", "pecgate-backup.service", "pecgate-backup.timer"} {
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, name)).CombinedOutput()
		for _, line := range strings.Split(string(out), "\n") {
			if strings.Contains(line, "pecgate") {
				t.Errorf("%s: %s", name, line)
			}
		}
		if err != nil && strings.Contains(string(out), "pecgate") {
			t.Errorf("%s: %v", name, err)
		}
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", filepath.Join(dir, "pecgate.service")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if got == nil {
		t.Fatalf("%s", out)
	}
	if level, err := strconv.ParseFloat(string(got[1]), 64); err != nil || level > 1.3 {
		t.Errorf("exposure %s: %s", got[1], out)
	}
}

// TestServedOnSystemdsSockets: a served program takes over the sockets that systemd
// opened, for which it needs no right of its own.
func TestServedOnSystemdsSockets(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	log, err := os.Create(filepath.Join(h.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // read below by its name
	// It starts the program at the first connection, with the socket open.
	p := exec.Command("systemd-socket-activate", "--listen="+h.imaps, "-E", childMark+"=1", os.Args[0], "serve", "--config", h.config())
	p.Stderr = log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Process.Kill(); _ = p.Wait() }() // ours alone
	if !listening(h.imaps, 20*time.Second) {
		t.Fatal("nobody listens")
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		b := string(readFile(t, log.Name()))
		if strings.Contains(b, `"listener":"imaps","address":"`+h.imaps) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it does not serve: %s", b)
		}
	}
}
