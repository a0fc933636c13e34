package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const servedPolicy = groupedPolicy + `relays:
  - {name: exchange, networks: [192.0.2.10/32], suffix: pec, domains: [pec.comune.example.it]}
  - {name: domino, networks: [192.0.2.11/32], users: "header:X-Pecgate-User", internal_recipients: warn, pin: subject}
  - {name: split, networks: [192.0.2.12/32], unmarked: smarthost, trigger: "[CERT]"}
`

// Every answer stands in testdata/golden/explain-relay.txt.
func TestExplainRelay(t *testing.T) {
	const golden = "../../testdata/golden/explain-relay.txt"
	text := strings.Replace(servedPolicy, "pin_required: true", "pin_required: true\n    pin_methods: [subject, reply]", 1)
	text = strings.Replace(text, "lists:", `  - address: lucia@pec.example.org
    provider: aruba
    password: {file: secret}
    members:
      - {user: lucia}
      - {user: anna, compose: true}
lists:`, 1)
	config, dir := policyFolder(t, text)
	appliance, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, config, string(appliance)+"outgoing: {smarthost: {host: 127.0.0.1, security: none}}\n")
	var out strings.Builder
	for _, c := range []struct {
		name string
		args []string
	}{
		{"by the subject, held for the PIN", []string{"--relay", "exchange", "--mail-from", "Mario@example.org", "--subject", "Offerta [PEC:protocollo]  n. 3", "--to", "a@b.example"}},
		{"by suffix, several recipients", []string{"--relay", "exchange", "--mail-from", "mario@example.org", "--to", "a@b.example.pec", "--to", "c@pec.comune.example.it"}},
		{"a list", []string{"--relay", "exchange", "--mail-from", "mario@example.org", "--header-from", "protocollo@pec.example.org", "--to", "sindaci@liste.example.org"}},
		{"a field, and somebody inside", []string{"--relay", "DOMINO", "--mail-from", "x@example.org", "--header", "lucia", "--subject", "[pec]", "--to", "a@b.example", "--cc", "capo@example.org"}},
		{"a field, to approve", []string{"--relay", "domino", "--mail-from", "x@example.org", "--header", "anna", "--subject", "[PEC]", "--to", "a@b.example"}},
		{"unmarked to the smarthost", []string{"--relay", "split", "--mail-from", "mario@example.org", "--subject", "[PEC]", "--to", "a@b.example"}},
		{"a bounce", []string{"--relay", "split", "--mail-from", "", "--to", "mario@example.org"}},
		{"not marked", []string{"--relay", "exchange", "--mail-from", "mario@example.org", "--to", "a@b.example"}},
		{"not a member", []string{"--relay", "exchange", "--mail-from", "mario@example.org", "--header-from", "lucia@pec.example.org", "--to", "a@b.example"}},
		{"a stranger", []string{"--relay", "exchange", "--mail-from", "x@example.org", "--subject", "[PEC]", "--to", "a@b.example"}},
	} {
		state, table, errs := program(t, "", append([]string{"explain", "--config", config}, c.args...)...)
		if state != exitGood || errs != "" {
			t.Errorf("%s: %d %s", c.name, state, errs)
		}
		state, line, errs := program(t, "", append([]string{"explain", "--json", "--config", config}, c.args...)...)
		if state != exitGood || errs != "" || strings.Count(line, "\n") != 1 {
			t.Errorf("%s: %d %s", c.name, state, errs)
		}
		var x relayExplanation
		if err := json.Unmarshal([]byte(line), &x); err != nil || x.Verdict.Reason == "" || x.To == nil || x.Marks == nil || x.Warn == nil || x.PINBy == nil {
			t.Errorf("%s: %v\n%s", c.name, err, line)
		}
		// The width of the columns is that of the folder's name.
		for row := range strings.Lines(strings.ReplaceAll(table, dir, "")) {
			out.WriteString(strings.Join(strings.Fields(row), " ") + "\n")
		}
		out.WriteString(strings.ReplaceAll(line, dir, "") + "\n")
	}
	if *update {
		writeText(t, golden, out.String())
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("differs from %s:\n%s", golden, out.String())
	}
}

func TestExplainRelay_Usage(t *testing.T) {
	config, _ := policyFolder(t, strings.Replace(servedPolicy, "unmarked: smarthost", "unmarked: refuse", 1))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--relay", "notes", "--mail-from", "x@example.org"}, `there is no relay "notes" in policy.yaml: known: exchange, domino, split`},
		{[]string{"--relay", "exchange", "--to", "x@example.org"}, "explain --relay needs --mail-from"},
		{[]string{"--relay", "exchange", "--mail-from", "x@example.org", "--user", "mario"}, "--relay stands in place of --user, --from and --eml"},
		{[]string{"--user", "mario", "--from", "protocollo@pec.example.org", "--subject", "[PEC]"}, "--subject needs --relay NAME"},
	} {
		state, out, errs := program(t, "", append([]string{"explain", "--config", config}, c.args...)...)
		if state != exitUsage || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d %s%s", c.args, state, out, errs)
		}
	}
	config, _ = policyFolder(t, groupedPolicy)
	if state, _, errs := program(t, "", "explain", "--config", config, "--relay", "x", "--mail-from", ""); state != exitUsage || !strings.Contains(errs, "known: none") {
		t.Errorf("%d %s", state, errs)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(config), "store")); err == nil {
		t.Error("explain made something")
	}
}
