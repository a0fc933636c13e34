package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// notYet are the features that nothing proves so far, and what is awaited. It only shrinks: a row whose test is there gets
// the state done in testdata/features.tsv and leaves this table.
func notYet() map[int]string {
	return map[int]string{
		142: "notes on a message",
		175: "export --delete",
		176: "scheduled export by size",
		177: "scheduled export by period",
		180: "exports that are kept for a week",
		181: "the notice of an export",
		182: "list and cancel of exports",
		200: "messages --pdf",
		209: "the parts of a message over HTTPS",
	}
}

// features are the rows of testdata/features.tsv.
func features(t *testing.T) (rows [][]string) {
	t.Helper()
	for n, line := range strings.Split(strings.TrimSuffix(string(readFile(t, "../../testdata/features.tsv")), "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		row := strings.Split(line, "\t")
		if len(row) != 5 || slices.Contains(row, "") {
			t.Fatalf("line %d has not five columns: %q", n+1, line)
		}
		rows = append(rows, row)
	}
	return rows
}

// testNames are all tests of the module, those behind build tags too.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	is := regexp.MustCompile(`(?m)^func (Test\w+)\(\w+ \*testing\.T\)`)
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range is.FindAllSubmatch(b, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil || len(names) < 1000 {
		t.Fatalf("%d tests, %v", len(names), err)
	}
	return names
}

// anchors are the sections of a document as links name them.
func anchors(t *testing.T, file string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for line := range strings.Lines(string(readFile(t, file))) {
		title, is := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !is || !strings.HasPrefix(line, "#") {
			continue
		}
		anchor := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
		found[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	return found
}

// TestEveryFeatureIsTestedOrDocumented: the list of features has every number once; what is done names tests that exist,
// what is documented a section that exists; nothing else is open but what notYet names.
func TestEveryFeatureIsTestedOrDocumented(t *testing.T) {
	const last = 230
	rows, tests := features(t), testNames(t)
	later := []int{21, 22, 57, 58, 59, 60, 61, 62, 63, 64, 65, 67, 78, 132, 133, 221, 222, 227, 228, 229}
	marks := map[string]int{}
	documents := map[string]map[string]bool{}
	for i, row := range rows {
		number, err := strconv.Atoi(row[0])
		if err != nil || number != i+1 {
			t.Fatalf("row %d has the number %s", i+1, row[0])
		}
		mark, state, where := row[1], row[2], strings.Fields(row[3])
		marks[mark]++
		if slices.Contains(later, number) != (state == "later") || mark == "out" && state != "out" && state != "later" || mark != "out" && state == "out" {
			t.Errorf("%d (%s) cannot be %s", number, mark, state)
		}
		if _, open := notYet()[number]; open != (state == "missing") {
			t.Errorf("%d is %s: the table notYet says otherwise", number, state)
		}
		switch state {
		case "done":
			for _, name := range where {
				if !tests[name] {
					t.Errorf("%d: there is no test %s", number, name)
				}
			}
		case "documented":
			for _, link := range where {
				file, section, _ := strings.Cut(link, "#")
				if documents[file] == nil {
					documents[file] = anchors(t, filepath.Join("../..", file))
				}
				if !documents[file][section] {
					t.Errorf("%d: %s has no section %s", number, file, section)
				}
			}
		case "later", "out", "missing":
			if row[3] != "-" {
				t.Errorf("%d is %s and names %s", number, state, row[3])
			}
		default:
			t.Errorf("%d: what is %q?", number, state)
		}
	}
	if got, want := fmt.Sprint(marks), "map[admin:58 client:51 core:107 out:14]"; len(rows) != last || got != want {
		t.Errorf("%d rows, %s; want %d, %s", len(rows), got, last, want)
	}
}
