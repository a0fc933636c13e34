package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/groupware.md explains every cmdlet and parameter that is printed, every parameter of Postfix that is set, and every
// field of the sheets.
func TestSetupIsExplained(t *testing.T) {
	doc := string(readFile(t, "../../docs/groupware.md"))
	words := map[string]bool{} // of all that stands as code
	for line := range strings.Lines(doc) {
		for i, part := range strings.Split(line, "`") {
			for _, w := range strings.FieldsFunc(part, func(r rune) bool { return strings.ContainsRune(" \n=:,|", r) }) {
				if i%2 == 1 {
					words[w] = true
				}
			}
		}
	}
	explained := func(what string) bool { return words[what] }
	table := psCmdlets(t)
	said := map[string]bool{}
	for name, src := range psScripts(t) {
		used, err := readPowerShell(src, psProduct(name), table)
		if err != nil {
			t.Fatal(err)
		}
		for what := range used {
			cmdlet, parameter, is := strings.Cut(what, " ")
			if cmdlet == "Set-PecgateRule" || said[what] {
				continue
			}
			said[what] = true
			switch {
			case !is && !explained(cmdlet):
				t.Errorf("%s is printed and not explained", cmdlet)
			case is && !explained(parameter):
				t.Errorf("%s is printed and not explained", what)
			}
		}
	}
	if len(said) < 100 {
		t.Errorf("only %d cmdlets and parameters", len(said))
	}
	set := regexp.MustCompile(`(?m)(?:/unix/|^first |^postconf -e ['"])([a-z_]+)(?:=| )`)
	for golden := range setupCases() {
		if !strings.HasSuffix(golden, ".sh") {
			continue
		}
		for _, m := range set.FindAllStringSubmatch(string(readFile(t, "../../testdata/golden/setup/"+golden)), -1) {
			if name := m[1]; !strings.HasPrefix(name, "pecgate_") && !explained(name) && !(strings.HasSuffix(name, "_options") && explained("smtp_sasl_..._options")) {
				t.Errorf("%s: %s is set and not explained", golden, name)
			}
		}
	}
	for _, field := range []string{"SMTP used when sending messages outside of the local internet domain", "Relay host for messages leaving the local internet domain",
		"Use authentication when sending messages to the relay host", "SIZE extension", "8 bit MIME extension", "DSN extension", "SSL negotiated over TCP/IP port",
		"Foreign SMTP Domain", "SMTP Connection", "Destination domain", "SMTP MTA relay host", "Format preference for incoming mail"} {
		printed := slices.ContainsFunc([]string{"domino-suffix.txt", "domino-all.txt"}, func(f string) bool {
			return strings.Contains(string(readFile(t, "../../testdata/golden/setup/"+f)), field)
		})
		if !printed || !strings.Contains(doc, field) {
			t.Errorf("%s: printed %t, explained %t", field, printed, strings.Contains(doc, field))
		}
	}
}
