package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pecgate/gateway/admin"
	"pecgate/relay"
	"pecgate/relay/submit"
)

func TestDemoFolder(t *testing.T) {
	marked := map[string]string{demoMarker: "", "pecgate.yaml": "old", "data/records/000001.vlog": "old"}
	for name, c := range map[string]struct {
		files map[string]string // nil: the folder does not exist
		want  string            // in the error; empty: the folder is the demo's
	}{
		"missing":                {nil, ""},
		"empty":                  {map[string]string{}, ""},
		"of an earlier demo":     {marked, ""},
		"demo stopped early":     {map[string]string{demoMarker: ""}, ""},
		"a real configuration":   {map[string]string{"pecgate.yaml": "", "policy.yaml": "", "tls/key.pem": "", "secrets/x": ""}, "no demo made it"},
		"something else":         {map[string]string{"letter.txt": ""}, "no demo made it"},
		"a demo and a letter":    {map[string]string{demoMarker: "", "policy.yaml": "", "letter.txt": ""}, `holds "letter.txt"`},
		"the marker is a folder": {map[string]string{demoMarker + "/x": "", "policy.yaml": ""}, "no demo made it"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			if c.files != nil {
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range c.files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.want != "" {
				state, out, errs := program(t, "", "demo", "--once", "--dir", dir)
				if state != exitFailed || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 || out != "" {
					t.Errorf("%d %s%s", state, out, errs)
				}
				for name := range c.files {
					if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
						t.Error(err)
					}
				}
				return
			}
			if err := claimDemo(dir); err != nil {
				t.Fatal(err)
			}
			found, err := os.ReadDir(dir)
			if err != nil || len(found) != 1 || found[0].Name() != demoMarker {
				t.Errorf("left: %v, %v", found, err)
			}
		})
	}
}

// A name at which the control socket or the configuration could not be is
// refused before anything is made.
func TestDemoFolderName(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 90))
	for dir, want := range map[string]string{
		long:                               "a socket may have 107; choose a shorter --dir",
		filepath.Join(t.TempDir(), "a\nb"): "cannot stand in a configuration",
		filepath.Join(t.TempDir(), "\xff"): "cannot stand in a configuration",
	} {
		state, out, errs := program(t, "", "demo", "--once", "--dir", dir)
		if state != exitFailed || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 || out != "" {
			t.Errorf("%q: %d %s%s", dir, state, out, errs)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%q: %v", dir, err)
		}
	}
}

// The longest name that `check` lets pass is one on which the socket listens,
// and a name with signs that YAML knows is taken as it is.
func TestDemoFolderNames(t *testing.T) {
	base := t.TempDir()
	room := 107 - len(filepath.Join(base, "x", "data", admin.SocketName)) + 1
	for _, name := range []string{strings.Repeat("x", room), `a: "b" #c {d} è`} {
		dir := filepath.Join(base, name)
		if err := claimDemo(dir); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		w, err := buildDemo(dir)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if err := w.provider.Close(); err != nil {
			t.Error(err)
		}
		if state, out, errs := program(t, "", "check", "--config", w.config); state != exitGood {
			t.Errorf("%q: %d %s%s", name, state, out, errs)
		}
		l, err := net.Listen("unix", filepath.Join(dir, "data", admin.SocketName))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// tap is what a demo prints; it calls hear once when a text is there.
type tap struct {
	syncBuffer
	text string
	hear func()
}

func (p *tap) Write(b []byte) (int, error) {
	n, err := p.syncBuffer.Write(b)
	if p.hear != nil && strings.Contains(p.String(), p.text) {
		p.hear()
		p.hear = nil
	}
	return n, err
}

func TestDemoSaysWhichStepWasNotSeen(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := &tap{text: "the gateway is ready", hear: cancel}
	var errs bytes.Buffer
	dir := filepath.Join(t.TempDir(), "d")
	state := run(ctx, []string{"demo", "--once", "--dir", dir}, strings.NewReader(""), out, &errs)
	const step = "Mario sends without his PIN: refused"
	if state != exitFailed || !strings.HasSuffix(out.String(), "NOT SEEN: "+step+"\n") ||
		!strings.HasPrefix(errs.String(), "pecgate: not seen: "+step+": ") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("%d\n%s\n%s", state, out, &errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "timeline.json")); err != nil {
		t.Error(err)
	}
}

// A demo that goes on leaves in messages/ what came after its story too.
func TestDemoKeepsWhatCameLater(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	told := make(chan struct{})
	out := &tap{text: "Running until Ctrl-C", hear: func() { close(told) }}
	var errs bytes.Buffer
	dir := filepath.Join(t.TempDir(), "d")
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"demo", "--dir", dir}, strings.NewReader(""), out, &errs)
	}()
	select {
	case <-told:
	case state := <-ended:
		t.Fatalf("%d\n%s\n%s", state, out, &errs)
	}
	accounts, err := os.ReadFile(filepath.Join(dir, "accounts.txt"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)Outgoing mail \(SMTP\): +server (\S+) port (\d+).*user name +lucia +password +(\S+)`).FindSubmatch(accounts)
	if m == nil {
		t.Fatalf("%s", accounts)
	}
	roots, err := (&demoWorld{dir: dir}).roots()
	if err != nil {
		t.Fatal(err)
	}
	before := emls(t, dir)
	const msgid = "later@beta.example"
	r := sendTo(t, fmt.Sprintf("%s:%s", m[1], m[2]), roots, "lucia", string(m[3]), demoBoxLucia, []string{demoBoxMario}, mail(demoBoxLucia, demoBoxMario, "later", msgid))
	if r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	var s relay.Shown
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := admin.NewClient(filepath.Join(dir, "data")).JSON(ctx, "/v1/show", map[string][]string{"id": {msgid}}, &s)
		if err == nil && s.Recipients[0].State == relay.Delivered {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not delivered: %+v %v", s, err)
		}
	}
	// What is changed counts, by itself and at SIGHUP, and messages/ has what came
	// while the demo runs.
	waits := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not seen: %s", what)
			}
		}
	}
	reloads := func() int {
		b, err := os.ReadFile(filepath.Join(dir, "log.json"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), `"configuration reloaded"`)
	}
	file := filepath.Join(dir, "policy.yaml")
	policy, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(policy, "# mine\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	waits("the changed file is taken up", func() bool { return reloads() == 1 })
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waits("and again at SIGHUP", func() bool { return reloads() == 2 })
	waits("the receipts are in messages/", func() bool { return len(emls(t, dir)) >= len(before)+3 })
	cancel()
	if state := <-ended; state != exitGood {
		t.Fatalf("%d\n%s\n%s", state, out, &errs)
	}
	// The next demo there would lose the change.
	if state, _, errs := program(t, "", "demo", "--once", "--dir", dir); state != exitFailed || !strings.Contains(errs, "policy.yaml was changed since the demo wrote it") {
		t.Errorf("%d %s", state, errs)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	after := emls(t, dir)
	if err := clearDemo(dir); err != nil {
		t.Errorf("with the changed file moved away: %v", err)
	}
	for _, receipt := range append(s.Receipts, s.Recipients[0].Receipts...) {
		if name := receipt.SHA256 + ".eml"; slices.Contains(before, name) || !slices.Contains(after, name) {
			t.Errorf("%s %s is not among what was kept at the end", receipt.Kind, name)
		}
	}
	if len(after) < len(before)+3 { // acceptance, delivery, transport envelope
		t.Errorf("%d messages when the story was told, %d at the end", len(before), len(after))
	}
}

func emls(t *testing.T, dir string) (names []string) {
	t.Helper()
	found, err := os.ReadDir(filepath.Join(dir, "messages"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if strings.HasSuffix(f.Name(), ".eml") {
			names = append(names, f.Name())
		}
	}
	return names
}
