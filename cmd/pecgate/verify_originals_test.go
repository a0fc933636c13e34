package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/pec"
)

// namesIn gives the names in a folder.
func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// submitted is what the sender of certified submitted.
func submitted(text string) string {
	return "Message-ID: <m1@alfa.example>\r\nFrom: a@pec.alfa.example\r\nTo: b@pec.beta.example\r\nSubject: Prova\r\n\r\n" + text
}

func recoveredName(text string) string {
	return fmt.Sprintf("%x%s", sha256.Sum256([]byte(text)), recoveredEnd)
}

// Every sample: envelopes and complete receipts give an original, brief and
// synthetic ones say why not, and the exit status is what it is without.
func TestVerifyOriginals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	for round := range 2 { // the second finds all made
		state, out, errs := verify(t, "--json", "--originals", dir, samplesDir)
		if state != exitGood || errs != "" {
			t.Fatalf("%d: %s", state, errs)
		}
		files := map[string]bool{}
		for _, g := range objects(t, out) {
			rec, ok := g["recovered"].(map[string]any)
			if _, there := g["recovered"]; !there {
				t.Errorf("%s: no key recovered", g["file"])
			}
			why, _ := g["no_original"].(string)
			full := g["kind"] == "transport" || g["kind"] == "delivery" && g["receipt"] == "complete"
			if ok != full || (why != "") != (g["kind"] == "delivery" && !full) {
				t.Errorf("%s: recovered %v, %q", g["file"], rec, why)
			}
			if g["receipt"] != "" && !strings.Contains(why+"complete", g["receipt"].(string)) {
				t.Errorf("%s: %q", g["file"], why)
			}
			if !full {
				continue
			}
			file, sum := rec["file"].(string), rec["sha256"].(string)
			b := readFile(t, file)
			if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != sum || file != filepath.Join(dir, sum+recoveredEnd) || int(rec["size"].(float64)) != len(b) {
				t.Errorf("%v", rec)
			}
			if st, err := os.Stat(file); err != nil || st.Mode() != 0o600 {
				t.Errorf("%v, %v", st.Mode(), err)
			}
			if text := string(b); !strings.Contains(text, "Message-ID: "+g["msgid"].(string)) || strings.Contains(text, "X-Riferimento") || rec["msgid"] != g["msgid"] {
				t.Errorf("%s: %s", g["file"], text)
			}
			if assumed := rec["assumed"].([]any); len(assumed) == 0 {
				t.Errorf("%s: nothing assumed", g["file"])
			}
			files[filepath.Base(file)] = true
		}
		if names := namesIn(t, dir); len(files) == 0 || len(names) != len(files) {
			t.Errorf("round %d: %d files, told of %d", round, len(names), len(files))
		}
	}
	// Without it no key says anything.
	if _, out, _ := verify(t, "--json", samplesDir); strings.Contains(out, `"recovered"`) {
		t.Error("recovered without --originals")
	}
}

// What is written is what was submitted, in archives too, and once only.
func TestVerifyOriginalsText(t *testing.T) {
	at := time.Date(2026, 7, 3, 7, 15, 42, 0, time.UTC)
	a, ca := authority(t, at)
	const text = "Hello\r\n\r\nFrom here on\r\n>From there\r\n"
	msg := string(certified(t, a.Signer(), at, text))
	lf := strings.ReplaceAll(msg, "\r\n", "\n")
	box := "From MAILER Fri Jul  3 09:15:42 2026\n" + strings.NewReplacer("\nFrom ", "\n>From ", "\n>From ", "\n>>From ").Replace(lf) + "\n"
	files := put(t, map[string][]byte{
		"a.eml": []byte(msg), "b.eml": []byte("X-Delivered: again\r\n" + msg), "box": []byte(box),
		"spoilt.eml": []byte(strings.Replace(msg, "</postacert>", " </postacert>", 1)),
	})
	in := func(name string) string { return filepath.Join(files, name) }
	dir := filepath.Join(t.TempDir(), "o")
	run := func(names ...string) (int, string) {
		args := []string{"verify", "--at", sampleDay, "--trust", ca, "--originals", dir}
		for _, n := range names {
			args = append(args, in(n))
		}
		state, out, errs := program(t, "", args...)
		if errs != "" {
			t.Error(errs)
		}
		return state, out
	}
	state, out := run("a.eml", "b.eml", "box", "spoilt.eml")
	crlf, bare := recoveredName(submitted(text)), recoveredName(strings.ReplaceAll(submitted(text), "\r\n", "\n"))
	if got := namesIn(t, dir); state != exitFailed || !slices.Equal(got, slices.Sorted(slices.Values([]string{crlf, bare}))) {
		t.Errorf("%d, %q, want %s and %s\n%s", state, got, crlf, bare, out)
	}
	lines := strings.Split(out, "\n")
	for i, want := range []string{
		1: in("a.eml") + ": original recovered as " + filepath.Join(dir, crlf) + "; assumed: the client's Message-ID stood where the provider's stands;",
		3: in("b.eml") + ": original recovered as " + filepath.Join(dir, crlf) + "; assumed: ",
		5: in("box") + "#1: original recovered as " + filepath.Join(dir, bare) + "; assumed: ",
		7: in("spoilt.eml") + ": no original: its signature is not known to be good.",
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Fatalf("line %d is not %s\n%s", i, want, out)
		}
	}
	if note := "lines end in LF as in the file that was read; mail has CRLF."; !strings.HasSuffix(lines[5], note) || strings.Contains(lines[1], note) {
		t.Error(out)
	}
	if state, _ := run("a.eml", "box"); state != exitGood {
		t.Errorf("%d", state)
	}

	// What has the name already is neither overwritten nor believed.
	for name, make := range map[string]func(p string) error{
		"another file":         func(p string) error { return os.WriteFile(p, []byte("mine"), 0o600) },
		"a link out of it":     func(p string) error { return os.Symlink(in("a.eml"), p) },
		"a link to nothing":    func(p string) error { return os.Symlink(in("none"), p) },
		"a folder of the name": func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		dir = t.TempDir()
		p := filepath.Join(dir, crlf)
		if err := make(p); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(p)
		if err != nil {
			t.Fatal(err)
		}
		state, out := run("a.eml", "box")
		after, err := os.Lstat(p)
		if err != nil || !os.SameFile(before, after) || after.Size() != before.Size() || after.ModTime() != before.ModTime() {
			t.Errorf("%s: changed: %v", name, err)
		}
		want := in("a.eml") + ": the original cannot be written: " + crlf + " is there already and holds something else.\n"
		if state != exitFailed || !strings.Contains(out, want) || !strings.Contains(out, filepath.Join(dir, bare)) {
			t.Errorf("%s: %d\n%s", name, state, out)
		}
		if _, err := os.Stat(in("none")); err == nil {
			t.Error("written where a link leads")
		}
	}
}

// Whoever interrupts leaves no half of a file.
func TestVerifyOriginalsInterrupted(t *testing.T) {
	msg := "Message-ID: <a@b>\r\n\r\n" + strings.Repeat("x", 1<<20)
	from, err := pec.Original(strings.NewReader(msg), &pec.Inner{Size: int64(len(msg))})
	if err != nil {
		t.Fatal(err)
	}
	o, err := openOriginals(filepath.Join(t.TempDir(), "o"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.root.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	// Once before the first byte, once because the bytes are others than before.
	if err := o.write(ctx, "a", [32]byte{}, from); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := o.write(context.Background(), "a", [32]byte{}, from); err == nil || err.Error() != "the file that is read changed meanwhile" {
		t.Error(err)
	}
	if names := namesIn(t, o.dir); len(names) != 0 {
		t.Error(names)
	}
}

func TestVerifyOriginalsUsage(t *testing.T) {
	good := filepath.Join(samplesDir, "09-delivery-complete-new.eml")
	dir := put(t, map[string][]byte{"mail/a.eml": readFile(t, good), "file": nil})
	mail := filepath.Join(dir, "mail")
	if err := os.Symlink(mail, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for into, want := range map[string]string{
		"":                               "--originals needs a folder",
		mail:                             "--originals " + mail + " lies in " + mail + ", which is read: it needs a folder outside",
		filepath.Join(mail, "x", "y"):    " lies in " + mail + ", which is read: it needs a folder outside",
		filepath.Join(dir, "link", "x"):  " lies in " + mail + ", which is read: it needs a folder outside",
		filepath.Join(dir, "file"):       "--originals: ",
		filepath.Join(dir, "file", "in"): "--originals: ",
	} {
		state, out, errs := verify(t, "--originals", into, mail)
		if state != exitUsage || out != "" || !strings.HasPrefix(errs, "pecgate: --originals") || !strings.Contains(errs, want) {
			t.Errorf("%q: %d, %s%s", into, state, out, errs)
		}
	}
	if names := namesIn(t, mail); len(names) != 1 {
		t.Error(names)
	}
	// Beside it is no trouble.
	if state, out, errs := verify(t, "--originals", filepath.Join(dir, "mail2"), mail); state != exitGood || !strings.Contains(out, "original recovered as") {
		t.Errorf("%d, %s%s", state, out, errs)
	}
}

// A named file that is something else is named as such, not called mail.
func TestVerifyNoMessage(t *testing.T) {
	dir := put(t, map[string][]byte{"a.pdf": []byte("%PDF-1.7\n1 0 obj\n"), "empty.eml": nil})
	for _, name := range []string{"a.pdf", "empty.eml"} {
		p := filepath.Join(dir, name)
		state, out, _ := verify(t, p)
		want := p + ": unverifiable: file: this is no message: it begins without a header, and is no mbox and no .zip.\n"
		if state != exitFailed || out != want {
			t.Errorf("%d, %s", state, out)
		}
	}
}
