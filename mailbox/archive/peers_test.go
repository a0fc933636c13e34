//go:build peers

package archive

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPythonWrote: what Python's mailbox and zipfile modules write is read back
// byte for byte, the mbox quoting apart, which is undone.
func TestPythonWrote(t *testing.T) {
	dir := t.TempDir()
	messages := []string{
		letter(1, "one"), letter(2, "From here\nto there\n\nFrom: x\n>>From y\n"), letter(3, strings.Repeat("long ", 300_000)),
		letter(4, "no line end at the end"), letter(5, "8 bit: \xe8\n.\n"), strings.TrimSuffix(letter(6, "x"), "\n"),
	}
	for i, m := range messages {
		check(t, os.WriteFile(filepath.Join(dir, string(rune('a'+i))), []byte(m), 0o600))
	}
	out, err := exec.Command("python3", "-c", `
import mailbox, os, shutil, sys
os.chdir(sys.argv[1])
box, dir = mailbox.mbox("box"), mailbox.Maildir("M")
sub = dir.add_folder("Sent")
for name in "abcdef":
    text = open(name, "rb").read()
    box.add(text); dir.add(text); sub.add(text)
box.close(); dir.close(); sub.close()
shutil.make_archive("M", "zip", "M")
os.mkdir("Z"); shutil.copy("box", "Z")
shutil.make_archive("Z", "zip", "Z")
`, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Python ends every message of an mbox with a line end.
	ended := slices.Clone(messages)
	ended[5] += "\n"
	for _, c := range []struct {
		path string
		want []string
	}{
		{"box", ended},
		{"Z.zip", ended},
		{"M", slices.Concat(messages, messages)},
		{"M.zip", slices.Concat(messages, messages)},
	} {
		var got []string
		check(t, Walk(context.Background(), filepath.Join(dir, c.path), Options{}, func(it Item) error {
			check(t, it.Err)
			text := readAll(t, it, it.Size)
			if slices.Contains(it.Unquotings(), Mboxo) {
				r, size := it.Unquoted(Mboxo)
				text = readAll(t, r, size)
			} else if len(it.Unquotings()) > 0 {
				r, size := it.Unquoted(Mboxrd)
				text = readAll(t, r, size)
			}
			got = append(got, text)
			return it.Close()
		}))
		want := slices.Clone(c.want)
		if !strings.Contains(strings.ToLower(c.path), "box") && c.path != "Z.zip" {
			slices.Sort(got) // Maildir names are of the time
			slices.Sort(want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d messages", c.path, len(got))
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Errorf("%d: %d bytes, want %d: %.300q", i, len(got[i]), len(want[i]), got[i])
				}
			}
		}
	}
}
