//go:build peers

package segment

import (
	"context"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tool runs a program that must end well and say nothing on its error output.
func tool(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil || problems.Len() > 0 {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, problems.String())
	}
	return out.String()
}

// TestTarAndSha256sum reads a folder of segments, with removals, copies, a
// sweep behind it and one that stopped, with the programs tar and sha256sum
// alone: every message is there and its name is its hash.
func TestTarAndSha256sum(t *testing.T) {
	ctx, dir := context.Background(), lived(t)
	s := onDisk(t, dir)
	defer s.Close()
	// A large one is removed, the highest, and a sweep stops.
	for _, size := range []string{strings.Repeat("l", 9000), "small"} {
		if ref := mustPut(t, s, size, "{}"); large(ref.Segment) {
			if err := s.Remove(ctx, ref); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.Sweep(ctx, 4, func(Ref) (bool, error) { return false, nil }, func(context.Context, []Move) error { return os.ErrInvalid }); err == nil {
		t.Fatal("the sweep did not stop")
	}
	var want []string
	for _, e := range entries(t, s) {
		want = append(want, hex.EncodeToString(e.Sum[:])+".eml")
	}
	slices.Sort(want)

	out := t.TempDir()
	names := segments(t, dir)
	if len(names) < 4 {
		t.Fatalf("files %q", names)
	}
	var listed, removals int
	for _, name := range names { // the active one too, while the store is open
		for line := range strings.Lines(tool(t, dir, "tar", "tf", filepath.Base(name))) {
			listed++
			if strings.HasSuffix(line, ".removed.json\n") {
				removals++
			}
		}
		tool(t, dir, "tar", "xf", filepath.Base(name), "-C", out)
	}
	if listed < 2*len(want) || removals < 2 {
		t.Errorf("%d entries, %d removals listed for %d messages", listed, removals, len(want))
	}
	files, err := filepath.Glob(filepath.Join(out, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, filepath.Base(f))
	}
	if !slices.Equal(got, want) {
		t.Errorf("unpacked %q, want %q", got, want)
	}
	for line := range strings.Lines(tool(t, out, "sha256sum", got...)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if sum+".eml" != name {
			t.Errorf("%s has the hash %s", name, sum)
		}
	}
}
