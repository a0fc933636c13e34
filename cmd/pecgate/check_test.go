package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// configFolder makes a folder with a good configuration and gives the name of pecgate.yaml.
func configFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"pecgate.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"fullchain.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"key.pem":       string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
		"secret":        "hunter2\n",
		"pecgate.yaml":  "hostname: pecgate.example.org\ntls: {certificate: fullchain.pem, key: key.pem}\n",
		"policy.yaml":   policyText,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "pecgate.yaml")
}

const policyText = `users:
  - login: mario
    email: mario.rossi@example.org
    password: $argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8
  - login: lucia
    password: $argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8
mailboxes:
  - address: Protocollo@PEC.example.org
    provider: aruba
    password: {file: secret}
    limits: {recipients: 20}
    shared_seen: true
    admin: lucia
    members:
      - {user: mario, anomalies: false, expires: 2099-06-30}
      - {user: lucia, own_only: true}
`

// program runs the whole program with a command line and an input.
func program(t testing.TB, stdin string, args ...string) (state int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	state = run(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	return state, out.String(), errs.String()
}

func TestCheck(t *testing.T) {
	config := configFolder(t)
	dir := filepath.Dir(config) + string(filepath.Separator)
	state, out, errs := program(t, "", "check", "--config", config)
	if state != exitGood || out != "good: 2 users, 1 mailbox, 0 warnings\n" || errs != "" {
		t.Errorf("good: %d\n%s%s", state, out, errs)
	}

	broken := strings.Replace(policyText, "admin: lucia", "admin: luca\n    pin_required: true\n    kepp: 10d", 1)
	if err := os.WriteFile(dir+"policy.yaml", []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	state, out, errs = program(t, "", "--config", config, "check")
	want := `policy.yaml:13:12: error: admin: there is no user "luca": did you mean "lucia"?
policy.yaml:15:5: error: unknown key "kepp": did you mean "keep"?
policy.yaml:17:9: warning: user "mario" has no pin and cannot send from protocollo@pec.example.org, which requires one
policy.yaml:18:9: warning: user "lucia" has no pin and cannot send from protocollo@pec.example.org, which requires one
`
	if got := strings.ReplaceAll(out, dir, ""); state != exitUsage || got != want {
		t.Errorf("broken: %d\n%swant\n%s", state, got, want)
	}
	if errs != "pecgate: 2 faults in the configuration: mend them before the next start; an appliance that runs keeps what it has\n" {
		t.Errorf("stderr %q", errs)
	}

	state, out, _ = program(t, "", "check", "--json", "--config", config)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if state != exitUsage || len(lines) != 4 {
		t.Fatalf("json: %d\n%s", state, out)
	}
	var f map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &f); err != nil {
		t.Fatal(err)
	}
	if f["severity"] != "error" || f["file"] != dir+"policy.yaml" || f["line"] != 13.0 || f["column"] != 12.0 || len(f) != 5 {
		t.Errorf("finding %v", f)
	}
	if !strings.Contains(lines[2], `"severity":"warning"`) {
		t.Error(lines[2])
	}
}

func TestUsage(t *testing.T) {
	config := configFolder(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "pecgate: a command is needed (see pecgate --help)\n"},
		{[]string{"chekc"}, "pecgate: there is no command \"chekc\": did you mean check? (see pecgate --help)\n"},
		{[]string{"check", "--onlin"}, "pecgate: unknown flag: --onlin (see pecgate --help)\n"},
		{[]string{"check", "extra"}, "pecgate: check takes no argument: use --config FILE for another configuration (see pecgate --help)\n"},
		{[]string{"check", "--config"}, "pecgate: flag needs an argument: --config (see pecgate --help)\n"},
		{[]string{"password", "hunter2"}, "pecgate: password takes no argument: type the secret when asked, or give it on standard input (see pecgate --help)\n"},
		{[]string{"check", "--config", config + ".none"}, "pecgate: 1 fault in the configuration: mend them before the next start; an appliance that runs keeps what it has\n"},
	} {
		state, _, errs := program(t, "", c.args...)
		if state != exitUsage || errs != c.want {
			t.Errorf("%v: %d %q", c.args, state, errs)
		}
	}
	if state, out, errs := program(t, "", "--help"); state != exitGood || !strings.Contains(out, "/etc/pecgate/pecgate.yaml") || errs != "" {
		t.Errorf("help: %d %s %s", state, out, errs)
	}
}
