package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra" // the tree of commands

	"pecgate/relay"
)

// documents are the files that a stranger reads.
func documents(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(all) < 5 {
		t.Fatalf("%d documents, %v", len(all), err)
	}
	return append(all, "../../README.md")
}

// commandLines are the lines with pecgate that a document shows: in blocks, fenced or indented, and within a line.
func commandLines(text string) (lines []string) {
	fenced := false
	inline := regexp.MustCompile("`(pecgate [^`]+)`")
	// A span may go over the end of a line.
	flat := strings.ReplaceAll(text, "\n", " ")
	for _, m := range inline.FindAllStringSubmatch(flat, -1) {
		lines = append(lines, m[1])
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		if !fenced && !strings.HasPrefix(line, "    ") {
			continue
		}
		line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
		line = strings.TrimPrefix(line, "sudo -u pecgate ")
		line = strings.Replace(line, "go run ./cmd/pecgate ", "pecgate ", 1)
		if strings.HasPrefix(line, "pecgate ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestDocumentedCommandsExist: every command and every flag that README and docs show is one of the program's.
func TestDocumentedCommandsExist(t *testing.T) {
	root := newRootCommand(&app{})
	seen := map[*cobra.Command]bool{}
	for _, file := range documents(t) {
		for _, line := range commandLines(string(readFile(t, file))) {
			line, _, _ = strings.Cut(line, " # ")
			line = strings.TrimRight(line, ".:,;")
			words := strings.Fields(line)[1:]
			if len(words) == 0 || strings.HasPrefix(words[0], "-") {
				continue
			}
			name := strings.FieldsFunc(words[0], func(r rune) bool { return r == '|' || r == '/' })[0]
			if name == "help" || name == strings.ToUpper(name) { // a program's name in a sentence
				continue
			}
			c, _, err := root.Find(append([]string{name}, words[1:]...))
			if err != nil || c == root {
				t.Errorf("%s: there is no command of `%s`", filepath.Base(file), line)
				continue
			}
			seen[c] = true
			for _, w := range words[1:] {
				flag, is := strings.CutPrefix(strings.Trim(w, "[]'\",."), "--")
				flag, _, _ = strings.Cut(flag, "=")
				if !is || flag == "" {
					continue
				}
				if flag != "help" && c.Flags().Lookup(flag) == nil && c.InheritedFlags().Lookup(flag) == nil {
					t.Errorf("%s: %s has no --%s: `%s`", filepath.Base(file), c.CommandPath(), flag, line)
				}
			}
		}
	}
	if len(seen) < 25 {
		t.Errorf("only %d commands are documented", len(seen))
	}
}

// TestWhatToDoWhen runs each command of the blocks marked `sh demo` in docs/admin.md on an appliance that runs, with a message
// that was sent and one that is held.
func TestWhatToDoWhen(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, "    pin_methods: [subject, reply]\n", "mario"), mailboxText(boxB, false, "", "lucia")).start()
	sent := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "uno [PIN:"+pinMario+"]", "uno@alfa.example")))
	accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "due", "due@alfa.example"))) // held
	h.settled(sent, relay.Accepted)
	put := strings.NewReplacer("ID", sent, "protocollo@pec.example.org", boxA)
	ran, on := 0, false
	for line := range strings.Lines(string(readFile(t, "../../docs/admin.md"))) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			on = line == "```sh demo"
			continue
		}
		if !on || line == "" {
			continue
		}
		ran++
		args := append([]string{"--config", h.config()}, strings.Fields(put.Replace(strings.TrimPrefix(line, "pecgate ")))...)
		if state, out, errs := program(t, "", args...); state != exitGood || out == "" && errs == "" {
			t.Errorf("%s: %d %s%s", line, state, out, errs)
		}
	}
	if ran < 10 {
		t.Errorf("%d commands", ran)
	}
}

// TestLinksOfTheDocs: what a document links to in this tree is there.
func TestLinksOfTheDocs(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	for _, file := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(string(readFile(t, file)), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to, section, _ := strings.Cut(m[1], "#")
			if to == "" {
				to = filepath.Base(file)
			}
			to = filepath.Join(filepath.Dir(file), to)
			if section == "" {
				readFile(t, to)
			} else if !anchors(t, to)[section] {
				t.Errorf("%s: %s is not there", file, m[1])
			}
		}
	}
}
