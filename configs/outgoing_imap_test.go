package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What cannot work as delivery by IMAP is refused where it is written.
func TestOutgoingIMAP(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"good", "host: outlook.office365.com, domains: [example.org], password_file: secrets/protocollo", ""},
		{"tokens", "host: outlook.office365.com, domains: [example.org], oauth2: {token_url: https://login.example.org/t, client_id: app, client_secret_file: secrets/protocollo, scope: x}", ""},
		{"no domains", "host: outlook.office365.com, password_file: secrets/protocollo", "domains: needs the domains"},
		{"no domain", "host: outlook.office365.com, domains: [localhost], password_file: secrets/protocollo", "not \"localhost\""},
		{"no credential", "host: outlook.office365.com, domains: [example.org]", "needs password_file or oauth2"},
		{"tokens without an address", "host: outlook.office365.com, domains: [example.org], oauth2: {client_id: app}", "needs token_url"},
		{"tokens in the open", "host: outlook.office365.com, domains: [example.org], oauth2: {token_url: http://login.example.org/t, client_id: app, client_secret_file: secrets/protocollo}", "needs an https address"},
		{"half an application", "host: outlook.office365.com, domains: [example.org], oauth2: {token_url: https://login.example.org/t, client_id: app}", "belong to token_url"},
		{"no secret there", "host: outlook.office365.com, domains: [example.org], password_file: nowhere", "password_file: file nowhere"},
		{"no TLS", "host: outlook.office365.com, domains: [example.org], password_file: secrets/protocollo, security: none", "none"},
		{"moved", "host: outlook.office365.com, domains: [example.org], password_file: secrets/protocollo, rule: move", ""},
		{"a rule that is none", "host: outlook.office365.com, domains: [example.org], password_file: secrets/protocollo, rule: cut", "rule: "},
		{"a strange port", "host: outlook.office365.com, port: 70000, domains: [example.org], password_file: secrets/protocollo", "needs 1 to 65535"},
		{"a provider of PEC", "host: imaps.pec.aruba.it, domains: [example.org], password_file: secrets/protocollo", "is outgoing.imap.host of pecgate.yaml too"},
		{"a folder of nothing", "host: outlook.office365.com, domains: [example.org], password_file: secrets/protocollo, folder: \" \"", "name of a folder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := house(t)
			b, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(filepath.Dir(config), "secrets/protocollo"), "hunter2\n", 0o600)
			write(t, config, string(b)+"\noutgoing:\n  imap: {"+c.text+"}\n", 0o600)
			r := Check(config)
			got := ""
			if len(r.Faults) > 0 {
				got = r.Faults.Error()
			}
			if c.want == "" && got != "" || !strings.Contains(got, c.want) || c.want != "" && !strings.Contains(got, ".yaml:") {
				t.Errorf("faults %q, want %q", got, c.want)
			}
		})
	}
}
