package configs

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestE3_NoSwitchLowersTLS: there is no key that would take an unchecked
// certificate, no TLS, or an old one, wherever it is written.
func TestE3_NoSwitchLowersTLS(t *testing.T) {
	config := house(t)
	policy := filepath.Join(filepath.Dir(config), "policy.yaml")
	try := func(file, text, want string) {
		t.Helper()
		write(t, file, text, 0o600)
		_, err := Load(config)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, key := range []string{
		"insecure: true", "insecure_skip_verify: true", "verify: false", "min_version: \"1.0\"", "tls_min: 1.0", "ciphers: [RC4]", "check_certificate: no",
	} {
		name, _, _ := strings.Cut(key, ":")
		for _, server := range []string{"smtp", "incoming"} {
			line := fmt.Sprintf("    %s: {host: mail.example.org, %s}\n    admin", server, key)
			try(policy, strings.Replace(goodPolicy, "    admin", line, 1), "unknown key "+quote(name))
		}
		write(t, policy, goodPolicy, 0o600)
		for _, old := range []string{"tls:\n", "smtp:\n", "imap:\n"} {
			if strings.Contains(goodAppliance, old) {
				try(config, strings.Replace(goodAppliance, old, old+"  "+key+"\n", 1), "unknown key "+quote(name))
			}
		}
		write(t, config, goodAppliance, 0o600)
	}
	for _, security := range []string{"none", "plain", "auto", "starttls-if-available", "ssl3"} {
		for _, server := range []string{"smtp", "incoming"} {
			line := fmt.Sprintf("    %s: {host: mail.example.org, security: %s}\n    admin", server, security)
			try(policy, strings.Replace(goodPolicy, "    admin", line, 1), "security")
		}
	}
}

// TestIncomingFolders: names of folders at the provider.
func TestIncomingFolders(t *testing.T) {
	config := house(t)
	policy := filepath.Join(filepath.Dir(config), "policy.yaml")
	with := func(incoming string) error {
		write(t, policy, strings.Replace(goodPolicy, "    admin", "    incoming: "+incoming+"\n    admin", 1), 0o600)
		l, err := Load(config)
		if err == nil && strings.Join(l.Policy.Mailboxes[0].Incoming.Folders, "|") != "INBOX.Ricevute|Più vecchie" {
			t.Errorf("%q", l.Policy.Mailboxes[0].Incoming.Folders)
		}
		return err
	}
	if err := with("{folders: [INBOX.Ricevute, Più vecchie]}"); err != nil {
		t.Error(err)
	}
	for incoming, want := range map[string]string{
		"{folders: [inbox]}":                            "INBOX is fetched always",
		"{folders: [A, A]}":                             "stands there twice",
		`{folders: [""]}`:                               "needs a folder's name",
		`{folders: ["a\nb"]}`:                           "needs a folder's name",
		"{folders: [" + strings.Repeat("x", 256) + "]}": "needs a folder's name",
		"{protocol: pop3, host: pop3.example.org, folders: [Altro]}": "pop3 shows the inbox only",
	} {
		if err := with(incoming); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v", incoming, err)
		}
	}
}
