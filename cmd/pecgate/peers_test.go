//go:build peers

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// demoProcess is a running `pecgate demo --dir`, as its user starts it.
type demoProcess struct {
	dir, imap string
	password  map[string]string // by login
}

func startDemo(t *testing.T) *demoProcess {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "pecgate")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	d := &demoProcess{dir: filepath.Join(t.TempDir(), "demo"), password: map[string]string{}}
	cmd := exec.Command(bin, "demo", "--dir", d.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		var said bytes.Buffer
		for sc := bufio.NewScanner(out); sc.Scan(); {
			fmt.Fprintln(&said, sc.Text())
			if strings.HasPrefix(sc.Text(), "Running until") {
				ready <- ""
			}
		}
		ready <- "the demo ended by itself:\n" + said.String()
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Errorf("stop the demo: %v", err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the demo's end: %v", err)
		}
	})
	select {
	case trouble := <-ready:
		if trouble != "" {
			t.Fatal(trouble)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the demo was not ready after two minutes")
	}
	b, err := os.ReadFile(filepath.Join(d.dir, "accounts.txt"))
	if err != nil {
		t.Fatal(err)
	}
	imap := regexp.MustCompile(`\(IMAP\):\s+server (\S+) port (\d+)`).FindSubmatch(b)
	if imap == nil {
		t.Fatalf("accounts.txt names no IMAP server:\n%s", b)
	}
	d.imap = string(imap[1]) + ":" + string(imap[2])
	for _, m := range regexp.MustCompile(`user name  (\w+)\s+password  (\S+)`).FindAllSubmatch(b, -1) {
		d.password[string(m[1])] = string(m[2])
	}
	if len(d.password) != 2 {
		t.Fatalf("accounts.txt names %d users", len(d.password))
	}
	return d
}

// provided are the hashes of everything that the provider put out.
func (d *demoProcess) provided(t *testing.T) []string {
	t.Helper()
	var sums []string
	files, err := filepath.Glob(filepath.Join(d.dir, "messages", "*.eml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("messages/ holds %d files: %v", len(files), err)
	}
	for _, f := range files {
		out := peer(t, nil, "sha256sum", f)
		sum, name := strings.Fields(out)[0], strings.TrimSuffix(filepath.Base(f), ".eml")
		if sum != name {
			t.Errorf("%s.eml has the hash %s", name, sum)
		}
		sums = append(sums, sum)
	}
	return sums
}

func peer(t *testing.T, stdin []byte, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out, errs.Bytes())
	}
	return string(out)
}

func demoFolders() map[string][]string {
	tree := "PEC/" + demoBoxMario + "/"
	return map[string][]string{
		"mario": {tree + "Ricevute/Accettazione", tree + "Ricevute/Consegna", tree + "Ricevute/Errori"},
		"lucia": {"PEC/" + demoBoxLucia + "/Posta in arrivo"},
	}
}

// TestDemoWithRealPeers reads the demo's mail with real clients: the bytes are
// those of the provider, and openssl verifies every signature on what was left
// or saved.
func TestDemoWithRealPeers(t *testing.T) {
	d := startDemo(t)
	provided := d.provided(t)
	t.Run("openssl on what --dir leaves", func(t *testing.T) { d.opensslOnDir(t) })
	t.Run("curl", func(t *testing.T) { d.curl(t, provided) })
	t.Run("imaplib", func(t *testing.T) { d.imaplib(t, provided) })
	t.Run("mbsync and openssl", func(t *testing.T) { d.mbsync(t) })
}

func (d *demoProcess) verify(t *testing.T, file string) {
	t.Helper()
	peer(t, nil, "openssl", "smime", "-verify", "-purpose", "any", "-CAfile", filepath.Join(d.dir, "ca.pem"), "-in", file, "-out", os.DevNull)
}

func (d *demoProcess) opensslOnDir(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(d.dir, "messages", "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	signed := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := bytes.Cut(b, []byte("\r\n\r\n"))
		if bytes.Contains(bytes.ToLower(header), []byte("multipart/signed")) {
			d.verify(t, f)
			signed++
		}
	}
	if signed < 4 {
		t.Errorf("%d signed messages, at least 4 expected", signed)
	}
}

func (d *demoProcess) curl(t *testing.T, provided []string) {
	for login, folders := range demoFolders() {
		for _, f := range folders {
			u := "imaps://" + d.imap + "/" + url.PathEscape(f) + ";UID=1"
			body := peer(t, nil, "curl", "--silent", "--show-error", "--cacert", filepath.Join(d.dir, "tls", "ca.pem"),
				"--user", login+":"+d.password[login], u)
			sum := sha256.Sum256([]byte(body))
			if s := hex.EncodeToString(sum[:]); !slices.Contains(provided, s) {
				t.Errorf("%s: curl got %d bytes with hash %s, which the provider did not put out", f, len(body), s)
			}
		}
	}
}

const imaplibScript = `
import hashlib, imaplib, ssl, sys
host, port, ca, login, password = sys.argv[1:6]
c = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca))
c.login(login, password)
for folder in sys.argv[6:]:
    typ, _ = c.select('"%s"' % folder, readonly=True)
    assert typ == "OK", folder
    typ, data = c.uid("SEARCH", None, "ALL")
    assert typ == "OK" and data[0], folder
    for uid in data[0].split():
        typ, got = c.uid("FETCH", uid, "(RFC822.SIZE BODY.PEEK[])")
        assert typ == "OK"
        head, body = got[0]
        assert b"RFC822.SIZE %d" % len(body) in head, head
        print(hashlib.sha256(body).hexdigest())
c.logout()
`

func (d *demoProcess) imaplib(t *testing.T, provided []string) {
	host, port, _ := strings.Cut(d.imap, ":")
	for login, folders := range demoFolders() {
		args := append([]string{"-", host, port, filepath.Join(d.dir, "tls", "ca.pem"), login, d.password[login]}, folders...)
		sums := strings.Fields(peer(t, []byte(imaplibScript), "python3", args...))
		if len(sums) != len(folders) {
			t.Errorf("%s: imaplib read %d messages of %d", login, len(sums), len(folders))
		}
		for _, s := range sums {
			if !slices.Contains(provided, s) {
				t.Errorf("%s: imaplib got a message with hash %s, which the provider did not put out", login, s)
			}
		}
	}
}

// mbsync stores LF and adds a header of its own, so hashes differ; the
// signatures must hold all the same. (It compares the certificate with host
// names only, hence localhost.)
func (d *demoProcess) mbsync(t *testing.T) {
	_, port, _ := strings.Cut(d.imap, ":")
	for login := range d.password {
		dir := t.TempDir()
		rc := filepath.Join(dir, "mbsyncrc")
		conf := fmt.Sprintf(`IMAPAccount pec
Host localhost
Port %s
User %s
Pass %s
SSLType IMAPS
CertificateFile %s

IMAPStore far
Account pec

MaildirStore near
Path %s/
Inbox %s/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns "PEC/*" !PEC/*/Archivio*
Create Near
Sync Pull
SyncState *
`, port, login, d.password[login], filepath.Join(d.dir, "tls", "ca.pem"), dir, dir)
		if err := os.WriteFile(rc, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		peer(t, nil, "mbsync", "-c", rc, "-a")
		signed := 0
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || (filepath.Base(filepath.Dir(path)) != "new" && filepath.Base(filepath.Dir(path)) != "cur") {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			header, _, _ := bytes.Cut(b, []byte("\n\n"))
			if bytes.Contains(bytes.ToLower(header), []byte("multipart/signed")) {
				d.verify(t, path)
				signed++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := len(demoFolders()[login]); signed != want {
			t.Errorf("%s: mbsync saved %d signed messages instead of %d", login, signed, want)
		}
	}
}
