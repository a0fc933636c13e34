package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Ordinary mail can go to no PEC mailbox: an email that is one is refused.
func TestEmailIsNoPECMailbox(t *testing.T) {
	config := house(t)
	text := strings.Replace(people("", "      - {user: mario}\n      - {user: lucia}\n"), "lucia@example.org", "protocollo@pec.example.org", 1)
	write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), text, 0o600)
	if _, err := Load(config); err == nil || !strings.Contains(err.Error(), "is the PEC mailbox at line") {
		t.Errorf("check says %v", err)
	}
}

// Nor is any other address of a PEC domain an ordinary one.
func TestEmailInAPECDomain(t *testing.T) {
	config := house(t)
	text := strings.Replace(people("", "      - {user: mario}\n      - {user: lucia}\n"), "lucia@example.org", "lucia@PEC.example.org", 1)
	write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), text, 0o600)
	if _, err := Load(config); err == nil || !strings.Contains(err.Error(), "is in the PEC domain of the mailbox at line") {
		t.Errorf("check says %v", err)
	}
}

// The smarthost is no server of a PEC provider, whichever of them and however written.
func TestSmarthostIsNoProvider(t *testing.T) {
	for host, refused := range map[string]bool{"SMTPS.pec.aruba.it": true, "imaps.pec.aruba.it": true, "posta.example.org": false} {
		config := house(t)
		text := people("", "      - {user: mario}\n      - {user: lucia}\n")
		write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), text, 0o600)
		b, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		write(t, config, string(b)+"\noutgoing:\n  smarthost: {host: "+host+", port: 587}\n", 0o600)
		_, err = Load(config)
		if got := err != nil && strings.Contains(err.Error(), "ordinary mail never goes by a PEC provider"); got != refused {
			t.Errorf("%s: %v", host, err)
		}
	}
}
