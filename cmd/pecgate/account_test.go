package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const accountHash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

// accountPolicy has every kind of member that a sheet tells apart.
const accountPolicy = `users:
  - {login: mario, name: Mario Rossi, email: mario.rossi@example.org, password: "` + accountHash + `", pin: "` + accountHash + `"}
  - {login: lucia, password: "` + accountHash + `"}
  - {login: nuovo}
mailboxes:
  - {address: protocollo@pec.example.org, name: Ufficio Protocollo, provider: aruba, password: {file: secret}, pin_required: true, admin: lucia,
     members: [{user: mario, delete: true, expires: 2099-06-30}, {user: lucia, own_only: true}]}
  - {address: firma@pec.example.org, provider: aruba, password: {file: secret}, admin: lucia, members: [{user: mario, send: false, anomalies: false}]}
  - {address: chiusa@pec.example.org, provider: aruba, active: false, admin: lucia, members: [{user: mario}]}
  - {address: scaduta@pec.example.org, provider: aruba, password: {file: secret}, admin: lucia, members: [{user: lucia}, {user: mario, expires: 2020-01-31}]}
`

func accountFolder(t *testing.T, appliance string) string {
	t.Helper()
	config := configFolder(t)
	dir := filepath.Dir(config)
	text := "hostname: pecgate.example.org\ntls: {certificate: fullchain.pem, key: key.pem}\n" + appliance
	for name, text := range map[string]string{"pecgate.yaml": text, "policy.yaml": accountPolicy} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config
}

// The sheet in both languages and as JSON is what stands in its golden file, and
// no secret is in any.
func TestAccountSheet(t *testing.T) {
	config := accountFolder(t, "autoconfig: {listen: \"0.0.0.0:8444\"}\n")
	for _, c := range []struct {
		golden string
		args   []string
	}{
		{"mario-it.txt", []string{"mario"}}, // the language of the appliance
		{"mario-en.txt", []string{"--lang", "en", "Mario.Rossi@example.org"}},
		{"mario-it.json", []string{"--json", "mario"}},
		{"mario-en.json", []string{"--json", "--lang=en", "mario"}},
		{"one-mailbox-it.txt", []string{"mario/protocollo@pec.example.org"}},
		{"lucia-it.txt", []string{"lucia"}},
		{"nobodys-it.txt", []string{"nuovo"}},
		{"mario.mobileconfig", []string{"--mobileconfig", "Protocollo@pec.example.org", "mario"}},
	} {
		state, out, errs := program(t, "", append([]string{"account", "--config", config}, c.args...)...)
		if state != exitGood || errs != "" {
			t.Errorf("%v: state %d, %s", c.args, state, errs)
			continue
		}
		name := filepath.Join("../../testdata/golden/account", c.golden)
		if *update {
			if err := os.WriteFile(name, []byte(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if out != string(want) {
			t.Errorf("%s is\n%s\nwanted\n%s", c.golden, out, want)
		}
		for _, secret := range []string{"argon2id", "c2FsdHNhbHRz", "AAECAwQF", "hunter2"} {
			if strings.Contains(out, secret) {
				t.Errorf("%s holds %s of a secret", c.golden, secret)
			}
		}
	}
}

// Every login that a sheet names is one that the policy knows, and means this
// user.
func TestAccountLoginsWork(t *testing.T) {
	config := accountFolder(t, "")
	_, out, _ := program(t, "", "account", "--config", config, "--json", "mario")
	var s sheet
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	p := loadedPolicy(t, config)
	names := s.Logins
	for _, m := range s.Mailboxes {
		names = append(names, m.Login)
		if m.ArchiveLogin != "" {
			names = append(names, m.ArchiveLogin)
		}
		if m.Profile != "" {
			t.Errorf("profile %s where none is served", m.Profile)
		}
	}
	if len(s.Mailboxes) != 3 || len(names) < 5 {
		t.Fatalf("mailboxes %+v", s.Mailboxes)
	}
	for _, n := range names {
		if id, ok := p.Resolve(n); !ok || id.User != "mario" {
			t.Errorf("login %s is %+v", n, id)
		}
	}
}

func TestAccountRefusals(t *testing.T) {
	config := accountFolder(t, "")
	for _, c := range []struct {
		args  []string
		state int
		want  string
	}{
		{nil, exitUsage, "account needs one USER"},
		{[]string{"mario", "lucia"}, exitUsage, "account needs one USER"},
		{[]string{"--lang", "de", "mario"}, exitUsage, "--lang needs it or en"},
		{[]string{"--json", "--mobileconfig", "x", "mario"}, exitUsage, "not both"},
		{[]string{"maria"}, exitFailed, `"maria" is no login and no email of policy.yaml`},
		{[]string{"lucia/firma@pec.example.org"}, exitFailed, "is no login"},
		{[]string{"--mobileconfig", "altra@pec.example.org", "mario"}, exitFailed, "use one of chiusa@pec.example.org, firma@pec.example.org, protocollo@pec.example.org"},
		{[]string{"--mobileconfig", "firma@pec.example.org", "nuovo"}, exitFailed, "nuovo has no right on any mailbox"},
	} {
		state, out, errs := program(t, "", append([]string{"account", "--config", config}, c.args...)...)
		if state != c.state || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: state %d, %q, %q", c.args, state, out, errs)
		}
	}
	// Without listeners there is nobody to log in to, and the sheet says so.
	config = accountFolder(t, "smtp: {submissions: [], submission: []}\n")
	if state, out, errs := program(t, "", "account", "--config", config, "mario"); state != exitGood || !strings.Contains(out, "nessuno: rivolgersi") {
		t.Errorf("state %d, %s\n%s", state, errs, out)
	}
	if state, _, errs := program(t, "", "account", "--config", config, "--mobileconfig", "firma@pec.example.org", "mario"); state != exitFailed || !strings.Contains(errs, "needs an IMAP listener and a submission listener") {
		t.Errorf("state %d, %s", state, errs)
	}
}

// Whoever has one-time codes reads that the PIN is one of them, without any secret of theirs.
func TestAccountSheetOfCodes(t *testing.T) {
	config := accountFolder(t, "")
	_, sealed, _ := program(t, "hunter2\n", "seal", "--config", config)
	state, line, shown, _ := enrolled(t, config, "mario", func(secret []byte) []string { return []string{codeNow(t, secret)} })
	if state != exitGood {
		t.Fatalf("%d %s", state, shown)
	}
	text := strings.Replace(accountPolicy, `pin: "`+accountHash+`"`, strings.TrimSpace(line), 1)
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "policy.yaml"), []byte(strings.Replace(text, "{file: secret}", strings.TrimSpace(sealed), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for language, want := range map[string]string{"it": "  Il PIN è il codice di 6 cifre che l'app mostra", "en": "  The PIN is the code of 6 digits that your app shows"} {
		state, out, errs := program(t, "", "account", "--config", config, "--lang", language, "mario")
		if state != exitGood || errs != "" || !strings.Contains(out, want) || !strings.Contains(out, "[PIN:...]") || strings.Contains(out, "v1.") {
			t.Errorf("%s: %d %s\n%s", language, state, errs, out)
		}
	}
	_, out, _ := program(t, "", "account", "--config", config, "--json", "mario")
	var s sheet
	if err := json.Unmarshal([]byte(out), &s); err != nil || !s.Codes || !s.PINSet {
		t.Errorf("%v: %s", err, out)
	}
}
