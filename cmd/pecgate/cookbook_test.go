package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPolicyCookbook: each file of testdata/policy/cookbook passes `check`, says of each person what its first lines say that
// it says, and stands in docs/policy-cookbook.md from its users to its end.
func TestPolicyCookbook(t *testing.T) {
	files, err := filepath.Glob("../../testdata/policy/cookbook/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	doc := string(readFile(t, "../../docs/policy-cookbook.md"))
	config, dir := policyFolder(t, policyText)
	if err := os.Mkdir(dir+"secrets", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"protocollo", "tributi", "anagrafe", "vecchia"} {
		writeText(t, dir+"secrets/"+name, "hunter2\n")
	}
	writeText(t, config, "hostname: pecgate.example.org\ntls: {certificate: fullchain.pem, key: key.pem}\nsmtp: {relay: [\"127.0.0.1:2525\"]}\n"+
		"outgoing: {smarthost: {host: 127.0.0.1, port: 2526, security: none}}\n")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text := string(readFile(t, file))
			writeText(t, dir+"policy.yaml", text)
			if state, out, errs := program(t, "", "check", "--config", config); state != exitGood || !strings.Contains(out, "good: ") {
				t.Fatalf("check: %d\n%s%s", state, out, errs)
			}
			asked := 0
			for line := range strings.Lines(text) {
				question, is := strings.CutPrefix(line, "# explain: ")
				if !is {
					continue
				}
				asked++
				args, says, _ := strings.Cut(strings.TrimSpace(question), " => ")
				_, out, errs := program(t, "", append([]string{"explain", "--config", config}, strings.Fields(args)...)...)
				if says == "" || !strings.Contains(out, says) {
					t.Errorf("explain %s does not say %q:\n%s%s", args, says, out, errs)
				}
			}
			if asked == 0 {
				t.Error("it asks nothing")
			}
			at := strings.Index(text, "mailboxes:\n")
			if !strings.Contains(doc, "`testdata/policy/cookbook/"+filepath.Base(file)+"`") || !strings.Contains(doc, "```yaml\n"+text[at:]+"```") {
				t.Errorf("docs/policy-cookbook.md does not show it as it is, from `mailboxes:` on")
			}
		})
	}
}
