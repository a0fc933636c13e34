package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// everyCommand calls fn for each command that does something.
func everyCommand(c *cobra.Command, fn func(*cobra.Command)) {
	if c.Runnable() && c.HasParent() && !c.HasSubCommands() { // one with subcommands only says that one is needed
		fn(c)
	}
	for _, sub := range c.Commands() {
		everyCommand(sub, fn)
	}
}

// TestHelpShowsAnExample: the help of every command shows how it is used, with flags
// that it has, and says in a sentence what it does.
func TestHelpShowsAnExample(t *testing.T) {
	root := newRootCommand(new(app))
	everyCommand(root, func(c *cobra.Command) {
		if c.Short == "" || strings.TrimSpace(c.Example) == "" {
			t.Errorf("%s has no example", c.CommandPath())
			return
		}
		used := false
		for _, line := range strings.Split(c.Example, "\n") {
			used = used || strings.Contains(line, c.CommandPath())
			if line != "" && !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: %q is not indented", c.CommandPath(), line)
			}
			for _, word := range strings.Fields(line) {
				if name, ok := strings.CutPrefix(word, "--"); ok && strings.Contains(line, c.CommandPath()) {
					name, _, _ = strings.Cut(name, "=")
					if c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil {
						t.Errorf("%s: it has no flag %s", c.CommandPath(), word)
					}
				}
			}
		}
		if !used {
			t.Errorf("%s: its example does not use it: %s", c.CommandPath(), c.Example)
		}
	})
}

// TestManualPages: every command has a page that says what its help says, and the same
// program writes the same pages.
func TestManualPages(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "1795000000")
	for _, dir := range []string{one, two} {
		if state, out, errs := program(t, "", "man", dir); state != exitGood {
			t.Fatalf("state %d: %s %s", state, out, errs)
		}
	}
	everyCommand(newRootCommand(new(app)), func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(one, name))
		if err != nil || !strings.Contains(string(page), ".SH EXAMPLE") {
			t.Errorf("%s: %v %.200s", name, err, page)
		}
		if again := readFile(t, filepath.Join(two, name)); string(again) != string(page) {
			t.Errorf("%s differs from run to run", name)
		}
	})
	if state, _, errs := program(t, "", "man", filepath.Join(one, "missing")); state != exitFailed || !strings.Contains(errs, "make it first") {
		t.Errorf("state %d: %s", state, errs)
	}
}

// TestCompletion: each shell gets its completion, and the help tells of it.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if state, out, errs := program(t, "", "completion", shell); state != exitGood || !strings.Contains(out, "pecgate") {
			t.Errorf("%s: state %d: %.100s %s", shell, state, out, errs)
		}
	}
	if _, out, _ := program(t, "", "--help"); !strings.Contains(out, "completion") {
		t.Error("the help does not tell of it")
	}
}
