package imapd

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestSentencesInBothLanguages: what is said to people stands in the table.
func TestSentencesInBothLanguages(t *testing.T) {
	said := regexp.MustCompile(`(?:\bno\([^"]*(?:"[A-Z]+", )?|errLimit\(|sayBye\()"([A-Z][a-z][^"]+)"`)
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range said.FindAllSubmatch(b, -1) {
			n++
			if text := string(m[1]); both(text) == text && !strings.Contains(text, " / ") && !strings.HasPrefix(text, "In carico") {
				t.Errorf("%s: %q has no Italian", f.Name(), text)
			}
		}
	}
	for _, text := range []string{someGone, byeFolderGone, byeStopping, byeLogin, byeFolder} {
		if both(text) == text {
			t.Errorf("%q has no Italian", text)
		}
	}
	if n < 35 {
		t.Errorf("only %d sentences were found", n)
	}
}
