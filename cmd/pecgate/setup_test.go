package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const setupAppliance = `hostname: pecgate.comune.example
address: pecgate@pecgate.comune.example
tls: {certificate: fullchain.pem, key: key.pem}
smtp: {relay: ["192.0.2.30:25"]}
outgoing: {smarthost: {host: mail.comune.example}}
`

// setupPolicy has a relay for each way to set a groupware server up.
const setupPolicy = `users:
  - {login: mario, email: mario.rossi@comune.example, pin: HASH}
  - {login: sean, email: "sean.o'brien@comune.example", pin: HASH}
  - {login: anna, email: anna.verdi@comune.example}
  - {login: lucia}
mailboxes:
  - address: protocollo@pec.comune.example
    provider: aruba
    password: {file: secret}
    admin: mario
    pin_required: true
    pin_methods: [reply]
    members: [{user: mario}, {user: sean}, {user: lucia}, {user: anna, send: false}]
relays:
  - {name: suffix, networks: [192.0.2.10/32], suffix: pec, domains: [pec.azienda.example], senders: [mario.rossi@comune.example]}
  - {name: header, networks: [192.0.2.11/32], users: "header:X-Pecgate-User-7f3a91c2", suffix: pec}
  - {name: all, networks: [192.0.2.12/32], unmarked: smarthost, login: gruppo, password: HASH}
  - {name: certificate, networks: [192.0.2.13/32], suffix: pec, client_ca: fullchain.pem, client_names: [ex01.comune.example]}
  - {name: secret, networks: [192.0.2.14/32], suffix: pec, secret_header: {name: X-Pecgate-Secret, value: $sha256$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA}}
  - {name: secretall, networks: [192.0.2.15/32], unmarked: smarthost, secret_header: {name: X-Pecgate-Secret, value: $sha256$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA}}
  - {name: journal, networks: [192.0.2.16/32], suffix: pec, journal: true}
`

const setupHash = `"$argon2id$v=19$m=65536,t=3,p=2$c2FsdHNhbHRzYWx0c2FsdA$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"`

func setupFolder(t *testing.T, appliance, policy string) (config string) {
	t.Helper()
	config = configFolder(t)
	dir := filepath.Dir(config)
	for name, text := range map[string]string{"pecgate.yaml": appliance, "policy.yaml": strings.ReplaceAll(policy, "HASH", setupHash)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config
}

// setupCases are what is printed, by golden file.
func setupCases() map[string][]string {
	public := "--address=198.51.100.7"
	return map[string][]string{
		"exchange-suffix.ps1":         {"exchange", "--relay", "suffix"},
		"exchange-suffix-it.ps1":      {"exchange", "--relay", "suffix", "--language", "it"},
		"exchange-suffix-remove.ps1":  {"exchange", "--relay", "suffix", "--remove"},
		"exchange-header.ps1":         {"exchange", "--relay", "header"},
		"exchange-all.ps1":            {"exchange", "--relay", "all"},
		"exchange-certificate.ps1":    {"exchange", "--relay", "certificate"},
		"exchange-secret.ps1":         {"exchange", "--relay", "secret"},
		"exchange-secretall.ps1":      {"exchange", "--relay", "secretall"},
		"exchange-secret-remove.ps1":  {"exchange", "--relay", "secret", "--remove"},
		"exchange-journal.ps1":        {"exchange", "--relay", "journal"},
		"exchange-journal-remove.ps1": {"exchange", "--relay", "journal", "--remove"},
		"m365-journal-it.ps1":         {"m365", "--relay", "journal", public, "--language", "it"},
		"m365-journal-remove.ps1":     {"m365", "--relay", "journal", public, "--remove"},
		"m365-secret.ps1":             {"m365", "--relay", "secret", public},
		"m365-secret-it.ps1":          {"m365", "--relay", "secret", public, "--language", "it"},
		"m365-secret-remove.ps1":      {"m365", "--relay", "secret", public, "--remove"},
		"m365-suffix.ps1":             {"m365", "--relay", "suffix", public},
		"m365-header.ps1":             {"m365", "--relay", "header", public},
		"m365-header-it.ps1":          {"m365", "--relay", "header", public, "--lang=it"},
		"m365-header-remove.ps1":      {"m365", "--relay", "header", public, "--remove"},
		"postfix-suffix.sh":           {"postfix", "--relay", "suffix"},
		"postfix-suffix-remove.sh":    {"postfix", "--relay", "suffix", "--remove"},
		"postfix-all.sh":              {"postfix", "--relay", "all", "--ca", "/etc/ssl/pecgate-ca.pem"},
		"postfix-certificate-it.sh":   {"postfix", "--relay", "certificate", "--language", "it"},
		"domino-suffix.txt":           {"domino", "--relay", "suffix"},
		"domino-all.txt":              {"domino", "--relay", "all"},
		"domino-all-it.txt":           {"domino", "--relay", "all", "--language", "it"},
		"domino-suffix-remove.txt":    {"domino", "--relay", "suffix", "--remove"},
		"domino-all-remove.txt":       {"domino", "--relay", "all", "--remove"},
		"mdaemon-suffix.txt":          {"mdaemon", "--relay", "suffix"},
		"mdaemon-all.txt":             {"mdaemon", "--relay", "all"},
		"mdaemon-all-remove.txt":      {"mdaemon", "--relay", "all", "--remove"},
		"mdaemon-suffix-remove.txt":   {"mdaemon", "--relay", "suffix", "--remove"},
		"suffix.json":                 {"exchange", "--relay", "SUFFIX", "--json"},
	}
}

// What setup prints is what stands in its golden file, ASCII only, without a secret.
func TestSetupGolden(t *testing.T) {
	config := setupFolder(t, setupAppliance, setupPolicy)
	const dir = "../../testdata/golden/setup"
	for golden, args := range setupCases() {
		state, out, errs := program(t, "", append([]string{"setup", "--config", config}, args...)...)
		if state != exitGood {
			t.Errorf("%v: state %d, %s", args, state, errs)
			continue
		}
		for line := range strings.Lines(errs) {
			if !strings.HasPrefix(line, "pecgate: warning: ") {
				t.Errorf("%v: %s", args, line)
			}
		}
		name := filepath.Join(dir, golden)
		if *update {
			if err := os.WriteFile(name, []byte(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := string(readFile(t, name)); out != want {
			t.Errorf("%s is\n%s\nwanted\n%s", golden, out, want)
		}
		if strings.ContainsFunc(out, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' && r != '\t' }) {
			t.Errorf("%s is not ASCII", golden)
		}
		if strings.Contains(out, "argon2id") || strings.Contains(out, "sha256$") {
			t.Errorf("%s holds a hash", golden)
		}
		if strings.Contains(out, "{{") || strings.Contains(out, "<no value>") {
			t.Errorf("%s holds what the template did not fill", golden)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(setupCases()) {
		t.Errorf("%d golden files for %d cases", len(files), len(setupCases()))
	}
}

// What cannot work is refused with what to do; nothing is printed then.
func TestSetupRefuses(t *testing.T) {
	config := setupFolder(t, setupAppliance, setupPolicy)
	anywhere := setupFolder(t, strings.Replace(setupAppliance, "192.0.2.30:25", "0.0.0.0:2525", 1), setupPolicy)
	one := setupPolicy[:strings.Index(setupPolicy, "  - {name: header")]
	subject := strings.Replace(one, "suffix: pec, domains: [pec.azienda.example], senders: [mario.rossi@comune.example]", "marks: [subject]", 1)
	only := setupFolder(t, setupAppliance, one)
	marked := setupFolder(t, setupAppliance, subject)
	none := setupFolder(t, setupAppliance, setupPolicy[:strings.Index(setupPolicy, "relays:")])
	for _, c := range []struct {
		config string
		args   []string
		says   string
	}{
		{config, []string{}, "setup needs one of exchange, m365, domino, postfix, mdaemon"},
		{config, []string{"sendmail"}, "setup needs one of"},
		{config, []string{"exchange"}, "several relays: choose one with --relay (suffix, header, all, certificate, secret, secretall, journal)"},
		{config, []string{"exchange", "--relay", "nobody"}, `there is no relay "nobody"`},
		{none, []string{"exchange"}, "policy.yaml has no relays"},
		{anywhere, []string{"exchange", "--relay", "suffix"}, "say it with --address IP"},
		{anywhere, []string{"exchange", "--relay", "suffix", "--address", "gateway"}, `--address "gateway" is not the IP address`},
		{anywhere, []string{"m365", "--relay", "suffix", "--address", "198.51.100.7"}, "port 25 only, and smtp.relay listens on 2525"},
		{config, []string{"m365", "--relay", "suffix", "--address", "10.0.0.7"}, "give the public IPv4 address"},
		{config, []string{"m365", "--relay", "suffix", "--address", "2001:db8::7"}, "give the public IPv4 address"},
		{config, []string{"m365", "--relay", "all", "--address", "198.51.100.7"}, "Microsoft 365 cannot log in"},
		{config, []string{"postfix", "--relay", "header"}, "Postfix cannot set"},
		{config, []string{"domino", "--relay", "header"}, "Domino cannot set"},
		{config, []string{"postfix", "--relay", "secret"}, "for Postfix write login: and password: in its place"},
		{marked, []string{"exchange"}, "give relay \"suffix\" a suffix: or domains:"},
		{config, []string{"mdaemon", "--relay", "certificate"}, "MDaemon chooses the way by listed domains only"},
		{config, []string{"exchange", "--relay", "suffix", "--language", "de"}, "--language needs en or it"},
		{config, []string{"exchange", "--relay", "suffix", "--ca", "x.pem"}, "--ca is for postfix only"},
		{config, []string{"postfix", "--relay", "suffix", "--ca", "/etc/x y.pem"}, "master.cf takes no blanks"},
	} {
		state, out, errs := program(t, "", append([]string{"setup", "--config", c.config}, c.args...)...)
		if state != exitUsage || out != "" || !strings.Contains(errs, c.says) {
			t.Errorf("%v: state %d, %q, %q; want %q", c.args, state, out, errs, c.says)
		}
	}
	if state, out, _ := program(t, "", "setup", "--config", only, "exchange"); state != exitGood || !strings.Contains(out, "'SMTP:*.pec;1'") {
		t.Errorf("the only relay is not chosen: state %d", state)
	}
}

// --out writes a file that did not exist, and never over another.
func TestSetupOut(t *testing.T) {
	config := setupFolder(t, setupAppliance, setupPolicy)
	name := filepath.Join(t.TempDir(), "setup.ps1")
	args := []string{"setup", "--config", config, "exchange", "--relay", "suffix", "--out", name}
	if state, out, errs := program(t, "", args...); state != exitGood || out != "" {
		t.Fatalf("state %d, %q, %s", state, out, errs)
	}
	if got, want := string(readFile(t, name)), string(readFile(t, "../../testdata/golden/setup/exchange-suffix.ps1")); got != want {
		t.Error("the file is not what is printed")
	}
	if err := os.WriteFile(name, []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	state, _, errs := program(t, "", args...)
	if state != exitFailed || !strings.Contains(errs, "exists already") || string(readFile(t, name)) != "mine\n" {
		t.Errorf("state %d, %s", state, errs)
	}
}

// Who may not write a PEC, or has no ordinary mailbox, is in no rule; what works otherwise than somebody may think is told.
func TestSetupFacts(t *testing.T) {
	noBack := strings.Replace(setupAppliance, "outgoing: {smarthost: {host: mail.comune.example}}\n", "", 1)
	mixed := strings.Replace(setupAppliance, "pecgate@pecgate.comune.example", "pecgate@comune.example", 1)
	for _, c := range []struct {
		appliance string
		args      []string
		says      string // a warning; empty: none
	}{
		{setupAppliance, []string{"exchange", "--relay", "header"}, "Exchange chooses the way by the recipient's domain only"},
		{noBack, []string{"postfix", "--relay", "suffix"}, "nothing goes back"},
		{mixed, []string{"postfix", "--relay", "suffix"}, "replies with a PIN stay in Postfix: give the gateway a domain of its own"},
		{setupAppliance, []string{"postfix", "--relay", "suffix"}, ""},
		{setupAppliance, []string{"m365", "--relay", "suffix", "--address", "198.51.100.7"}, "any of them could name your users"},
		{setupAppliance, []string{"m365", "--relay", "header", "--address", "198.51.100.7"}, "any of them could name your users"},
		{setupAppliance, []string{"m365", "--relay", "secret", "--address", "198.51.100.7"}, ""},
		{setupAppliance, []string{"exchange", "--relay", "secretall"}, "take login: and password: in its place"},
		{setupAppliance, []string{"domino", "--relay", "all"}, ""},
	} {
		policy := setupPolicy
		if c.appliance == noBack { // unmarked: smarthost needs one
			policy = policy[:strings.Index(policy, "  - {name: header")]
		}
		config := setupFolder(t, c.appliance, policy)
		state, out, errs := program(t, "", append([]string{"setup", "--json", "--config", config}, c.args...)...)
		var f setupFacts
		if err := json.Unmarshal([]byte(out), &f); state != exitGood || err != nil {
			t.Errorf("%v: state %d, %v, %s", c.args, state, err, errs)
			continue
		}
		if told := strings.Join(f.Warnings, "\n"); c.says == "" && told != "" || !strings.Contains(told, c.says) {
			t.Errorf("%v warns %q, want %q", c.args, told, c.says)
		}
		want := []setupIdentity{{"mario.rossi@comune.example", "mario"}, {"sean.o'brien@comune.example", "sean"}}
		if !slices.Equal(f.Identities, want) {
			t.Errorf("%v: identities %v", c.args, f.Identities)
		}
	}
}
